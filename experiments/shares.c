#include "shares.h"

#include "pool.h"

#include <string.h>

int ptq_shares_in_slurm(const struct ptq_run_options *o)
{
    return o->launcher && strcmp(o->launcher, "slurm") == 0 && !o->cell && !o->merge;
}

struct ptq_shares ptq_shares_of(const struct ptq_run_options *o, const struct ptq_plan *plan)
{
    int64_t cores = ptq_pool_size(), missing = ptq_plan_count(plan, PTQ_PLAN_MISSING);
    int64_t at_once = o->jobs && o->jobs < missing ? o->jobs : missing ? missing : 1;
    if (ptq_shares_in_slurm(o)) return (struct ptq_shares){at_once, o->threads ? o->threads : 1, 1};
    if (o->jobs <= 1 || missing <= 1) return (struct ptq_shares){1, cores, 0};
    return o->jobs < cores ? (struct ptq_shares){at_once, cores / o->jobs, 1}
                           : (struct ptq_shares){at_once < cores ? at_once : cores, 1, 1};
}

const char *ptq_time_left(const struct ptq_run_options *o, const struct ptq_plan *plan, char *text, size_t size)
{
    char duration[32];
    struct ptq_shares s = ptq_shares_of(o, plan);
    double seconds = ptq_plan_seconds_left(plan, &s);
    *text = 0;
    if (seconds <= 0) return text;
    int n = snprintf(text, size, ", about %s", ptq_duration(seconds, duration, sizeof duration));
    if (ptq_shares_in_slurm(o))
        snprintf(text + n, size - (size_t)n, " by %lld task%s at once of %lld thread%s", (long long)s.at_once,
                 s.at_once == 1 ? "" : "s", (long long)s.threads, s.threads == 1 ? "" : "s");
    return text;
}
