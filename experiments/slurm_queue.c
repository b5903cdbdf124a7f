/* --launcher slurm: which tasks Slurm has, and waiting for them. */
#include "slurm.h"

#include "mapped.h"
#include "program.h"
#include "progress.h"
#include "words.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE_LIMIT = 1 << 22, POLL_MS = 500, MAX_POLL_MS = 15000, MAX_REASON = 120, IDLE_S = 2 };

/* ---- what Slurm is ---- */

const char ptq_slurm_hint[] = "--launcher slurm needs a Slurm whose commands are in PATH (Debian: slurm-client)";

enum ptq_status ptq_slurm_config(struct ptq_arena *arena, const char *name, const char **value, struct ptq_error *err)
{
    char *said, *argv[] = {"scontrol", "show", "config", NULL};
    PTQ_TRY(ptq_program_run(arena, argv, PTQ_PROGRAM_IS_KILLED, ptq_slurm_hint, &said, err));
    const char *at = strstr(said, name);
    if (at) at += strcspn(at, "=\n");
    if (at) at += strspn(at, "= ");
    *value = at ? ptq_strndup(arena, at, strcspn(at, "\n")) : "";
    return PTQ_OK;
}

enum ptq_status ptq_slurm_check_cluster(struct ptq_error *err)
{
    static const char *const names[] = {"SLURM_CLUSTERS", "SBATCH_CLUSTERS"};
    for (int i = 0; i < 2; i++)
        if (getenv(names[i]))
            return ptq_fail(err, PTQ_EINPUT,
                            "%s is set, but --launcher slurm knows one cluster, that of slurm.conf; unset it",
                            names[i]);
    return PTQ_OK;
}

/* ---- asking ---- */

/* The jobs of a queue: lines of "JOB INDEX ID" behind "user UID". */
struct jobs {
    int64_t *number; /* [n] */
    int *left;       /* [n]: tasks that are pending or running */
    int n, running;
    const char *why; /* what a task waits for, other than for tasks of ours; "" where none does */
};

/* An array's lines stand together. */
static struct jobs jobs_of(struct ptq_arena *arena, const char *queue)
{
    int lines = 0;
    for (const char *at = queue; *at; at++) lines += *at == '\n';
    struct jobs jobs = {
        .number = ptq_new(arena, int64_t, lines + 1), .left = ptq_new(arena, int, lines + 1), .why = ""};
    for (const char *at = queue; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        int64_t number = strtoll(at, NULL, 10);
        if (number && (!jobs.n || jobs.number[jobs.n - 1] != number)) jobs.number[jobs.n++] = number;
    }
    return jobs;
}

/* What people set for a squeue of their own (SQUEUE_STATES, SQUEUE_PARTITION) would hide tasks from ours. */
static void forget_tastes(void)
{
    char name[NAME_MAX];
    for (char **at = environ; *at;) {
        size_t length = strcspn(*at, "=");
        if (strncmp(*at, "SQUEUE_", 7) || length >= sizeof name) {
            at++;
            continue;
        }
        memcpy(name, *at, length);
        name[length] = 0;
        unsetenv(name);
        at = environ; /* it has moved */
    }
}

/* Where Slurm shows a user's jobs to nobody else, a list without them says nothing. */
static enum ptq_status check_visible(struct ptq_arena *arena, const char *queue, struct ptq_error *err)
{
    long long user;
    const char *hidden;
    if (sscanf(queue, "user %lld", &user) != 1 || user == (long long)getuid()) return PTQ_OK;
    PTQ_TRY(ptq_slurm_config(arena, "PrivateData", &hidden, err));
    if (!strstr(hidden, "jobs")) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO, "user %lld submitted them, and Slurm shows them to nobody else: PrivateData=%s", user,
                    hidden);
}

/* What squeue says of a task of ours: " PD Resources", " R None". */
static void note_state(struct jobs *jobs, const char *state)
{
    static const char pending[] = " PD ";
    static const char *const ours[] = {"None", "Dependency", "JobArrayTaskLimit"};
    if (strncmp(state, pending, sizeof pending - 1)) {
        jobs->running++;
        return;
    }
    state += sizeof pending - 1;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strcmp(state, ours[i]) == 0) return;
    jobs->why = state;
}

/* How many tasks of the jobs in `queue` are pending or running, in whatever partition, whoever owns them. */
static enum ptq_status count_left(struct ptq_arena *arena, const char *queue, struct jobs *jobs, int *left,
                                  struct ptq_error *err)
{
    char *said, *argv[] = {"squeue", "--noheader", "--all", "--array", "--format=%F %t %r", NULL};
    *jobs = jobs_of(arena, queue);
    *left = 0;
    forget_tastes();
    PTQ_TRY(ptq_slurm_check_cluster(err));
    PTQ_TRY(check_visible(arena, queue, err));
    PTQ_TRY(ptq_program_run(arena, argv, PTQ_PROGRAM_IS_KILLED, ptq_slurm_hint, &said, err));
    for (char *line; (line = strsep(&said, "\n"));) {
        char *state;
        int64_t number = strtoll(line, &state, 10);
        int i = 0;
        while (i < jobs->n && jobs->number[i] != number) i++;
        if (i == jobs->n) continue;
        jobs->left[i]++;
        ++*left;
        note_state(jobs, state);
    }
    return PTQ_OK;
}

static enum ptq_status read_queue(struct ptq_arena *arena, const char *file, char **queue, struct ptq_error *err)
{
    const char *path = ptq_format(arena, "%s" PTQ_TASKS "/queue", file);
    size_t size;
    enum ptq_kind kind;
    *queue = "";
    PTQ_TRY(ptq_look(path, &kind, err));
    return kind == PTQ_FILE ? ptq_read_file(arena, path, QUEUE_LIMIT, queue, &size, err) : PTQ_OK;
}

/* Whether this process is the job that joins the results: Slurm starts it when all the others have ended. */
static int is_merge_job(struct ptq_arena *arena, const char *queue)
{
    const char *job = getenv("SLURM_JOB_ID");
    if (!job || !*job) return 0;
    const char *at = strstr(queue, ptq_format(arena, "%s - merge\n", job));
    return at && (at == queue || at[-1] == '\n');
}

static enum ptq_status ask(struct ptq_arena *arena, const char *file, char **queue, struct jobs *jobs, int *left,
                           struct ptq_error *err)
{
    *left = 0;
    PTQ_TRY(read_queue(arena, file, queue, err));
    if (!**queue || is_merge_job(arena, *queue)) return PTQ_OK;
    enum ptq_status status = count_left(arena, *queue, jobs, left, err);
    if (!status || status == PTQ_EINTERRUPT) return status;
    struct ptq_error why = *err;
    return ptq_fail(err, PTQ_EIO,
                    "%s: was given to Slurm, which does not say whether its tasks have ended (%.600s); ask again, or "
                    "remove %s" PTQ_TASKS "/queue once they have",
                    file, why.text, file);
}

enum ptq_status ptq_slurm_ask(struct ptq_launch *l, int *left, struct ptq_error *err)
{
    char *queue;
    struct jobs jobs;
    PTQ_TRY(ask(l->arena, l->file, &queue, &jobs, left, err));
    for (int i = 0; *left && i < l->plan->n; i++)
        l->given[i] |= strstr(queue, ptq_format(l->arena, " %s\n", l->plan->cell[i].cell.id)) != NULL;
    return PTQ_OK;
}

enum ptq_status ptq_slurm_list(struct ptq_launch *l, FILE *out, struct ptq_error *err)
{
    int left;
    enum ptq_status status = ptq_slurm_ask(l, &left, err);
    if (status == PTQ_EIO) ptq_say(out, "%s\n", err->text);
    if (status == PTQ_EIO) return PTQ_OK;
    if (left) ptq_say(out, "a call waits for %d task%s that Slurm has already\n", left, left == 1 ? "" : "s");
    return status;
}

enum ptq_status ptq_slurm_check_idle(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    char *queue;
    struct jobs jobs;
    int left;
    PTQ_TRY(ask(arena, file, &queue, &jobs, &left, err));
    if (!left) return PTQ_OK;
    struct ptq_buffer list = {0};
    for (int i = 0; i < jobs.n; i++)
        if (jobs.left[i]) ptq_buffer_add(&list, " %lld", (long long)jobs.number[i]);
    ptq_fail(err, PTQ_EIO, "%s: %d task%s in Slurm %s at work on it; wait with --launcher slurm, or scancel%.600s",
             file, left, left == 1 ? "" : "s", left == 1 ? "is" : "are", list.data);
    free(list.data);
    return PTQ_EIO;
}

/* ---- waiting ---- */

static void pause_ms(int ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&pause, NULL);
}

/* While none of the tasks runs. */
struct idle {
    double since;
    char told[MAX_REASON];
};

/* They may wait for hours, or for ever (a node that is down, more cores than any node has, a job that is held): why,
 * once for each reason; not of the moments in which one task ends and the next begins. */
static void say_why(const struct ptq_launch *l, const struct jobs *jobs, int left, struct idle *idle)
{
    if (jobs->running || !*jobs->why) {
        idle->since = ptq_seconds();
        return;
    }
    if (ptq_seconds() - idle->since < IDLE_S || strncmp(idle->told, jobs->why, MAX_REASON - 1) == 0) return;
    snprintf(idle->told, MAX_REASON, "%s", jobs->why);
    if (!l->options->quiet)
        ptq_say(l->log, "none of %d task%s runs in Slurm: %s\n", left, left == 1 ? "" : "s", idle->told);
}

static enum ptq_status look(struct ptq_launch *l, const char *queue, int *left, struct idle *idle,
                            struct ptq_error *err)
{
    struct ptq_arena *scratch = ptq_arena_make("Slurm's queue");
    struct jobs jobs;
    enum ptq_status status = count_left(scratch, queue, &jobs, left, err);
    if (!status) say_why(l, &jobs, *left, idle);
    ptq_arena_free(scratch);
    return status;
}

/* A Slurm that does not answer is asked again: it may be restarting. */
enum ptq_status ptq_slurm_wait(struct ptq_launch *l, struct ptq_error *err)
{
    char *queue;
    int left = 1, unanswered = 0;
    double started = ptq_seconds();
    struct idle idle = {.since = started};
    PTQ_TRY(read_queue(l->arena, l->file, &queue, err));
    while (*queue && left) {
        enum ptq_status status = look(l, queue, &left, &idle, err);
        if (ptq_interrupted(err))
            return ptq_within(err, "the cells stay with Slurm, and the same command waits for them again");
        if (status && !unanswered++ && !l->options->quiet) ptq_say(l->log, "%s; waiting\n", err->text);
        if (status) left = 1;
        ptq_launch_watch(l);
        double pause = (ptq_seconds() - started) * 1000 / 20; /* asked more rarely the longer it takes */
        if (left) pause_ms(pause < POLL_MS ? POLL_MS : pause > MAX_POLL_MS ? MAX_POLL_MS : (int)pause);
    }
    return PTQ_OK;
}
