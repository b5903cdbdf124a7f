#include "fresh.h"

#include "failures.h"
#include "progress.h"

enum ptq_status ptq_fresh_begin(struct ptq_launch *l, struct ptq_error *err)
{
    struct ptq_launch all = *l;
    int n, stays;
    char(*ids)[PTQ_SHA256_HEX] = ptq_plan_ids(l->arena, l->plan, PTQ_PLAN_MISSING, &n);
    all.of_all = 1;
    PTQ_TRY(ptq_results_start_over(l->file, (const char(*)[PTQ_SHA256_HEX])ids, n, err));
    PTQ_TRY(ptq_results_is_fresh(l->arena, l->file, &stays, err));
    if (!stays) PTQ_TRY(ptq_failures_write(l->file, NULL, err));
    return ptq_launch_end(&all, err);
}

enum ptq_status ptq_fresh_go_on(struct ptq_launch *l, struct ptq_error *err)
{
    char(*awaited)[PTQ_SHA256_HEX];
    int n, n_others = 0;
    PTQ_TRY(ptq_results_awaited(l->arena, l->file, &awaited, &n, err));
    for (int i = 0; i < n; i++) n_others += !ptq_plan_has(l->plan, awaited[i]);
    if (n_others)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: --fresh began to compute it anew, and %d of the cells that it still lacks %s not of this "
                        "run; go on with that one, start over with --fresh, or give another name behind -o",
                        l->file, n_others, n_others == 1 ? "is" : "are");
    if (n && !l->options->quiet)
        ptq_say(l->log, "%s: goes on with what --fresh began; until all cells are done %s stays as it was before\n",
                l->experiment->name, l->file);
    return PTQ_OK;
}
