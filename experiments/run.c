#include "run.h"

#include "failures.h"
#include "fresh.h"
#include "launch.h"
#include "mapped.h"
#include "plan_notes.h"
#include "pool.h"
#include "progress.h"
#include "reuse.h"
#include "runner.h"
#include "shares.h"
#include "words.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* One call of ptq_run. */
struct run {
    const struct ptq_run_options *options;
    const struct ptq_runner *runner;
    struct ptq_arena *arena;
    struct ptq_experiment experiment;
    struct ptq_plan plan;
    const char *file;
    void *session;
    const struct ptq_lock *lock; /* of the file, while this process has it */
    int in_slurm;
    char *given;   /* [plan.n], see launch.h */
    int waits;     /* 1: tasks that Slurm has are waited for */
    int n_missing; /* before the first was run */
    int n_ran;
    int n_awaited; /* of a file that --fresh computes anew: cells without which it is not replaced */
    double started;
    FILE *list, *log;
    struct ptq_error *err;
};

/* ---- lines for people ---- */

static void print_summary(const struct run *r, FILE *out)
{
    char left[128];
    int n_missing = ptq_plan_count(&r->plan, PTQ_PLAN_MISSING), n_failed = ptq_plan_count(&r->plan, PTQ_PLAN_FAILED);
    ptq_say(out, "%s: %d cell%s in %s: %d done, %d to run%s", r->experiment.name, r->plan.n, r->plan.n == 1 ? "" : "s",
            r->file, ptq_plan_count(&r->plan, PTQ_PLAN_DONE), n_missing,
            ptq_time_left(r->options, &r->plan, left, sizeof left));
    if (n_failed) fprintf(out, ", %d cannot be run", n_failed);
    fprintf(out, "\n");
}

/* ---- what the parts of a run are handed ---- */

/* Tasks that share this machine's memory: of Slurm's each has its own. */
static int64_t tasks_at_once(const struct run *r)
{
    return r->in_slurm || r->options->jobs < 1 ? 1 : r->options->jobs;
}

static struct ptq_launch launch_of(struct run *r)
{
    const struct ptq_run_options *o = r->options;
    return (struct ptq_launch){.arena = r->arena,
                               .options = o,
                               .experiment = &r->experiment,
                               .plan = &r->plan,
                               .file = r->file,
                               .folder = ptq_format(r->arena, "%s" PTQ_TASKS, r->file),
                               .given = r->given,
                               .memory = o->memory / tasks_at_once(r),
                               .log = r->log};
}

/* ---- running ---- */

/* Failures of one cell that say nothing about the next one. */
static int is_of_the_cell(enum ptq_status status)
{
    return status == PTQ_EINPUT || status == PTQ_ENUMERIC || status == PTQ_EUSAGE;
}

/* What the next cell of this model will take: loading and calibration are shared, so not counted again. */
static double pace_of(const struct ptq_cell *cell, double seconds)
{
    double own = cell->seconds_quantize + cell->seconds_eval;
    return own > 0 ? own : seconds;
}

static enum ptq_status run_cell(struct run *r, struct ptq_arena *arena, struct ptq_plan_cell *planned)
{
    struct ptq_launch l = launch_of(r);
    struct ptq_cell cell = planned->cell;
    double started = ptq_seconds();
    PTQ_TRY(ptq_interrupted(r->err));
    cell.part = ptq_results_part(arena, r->file, cell.id);
    enum ptq_status status = r->runner->run(r->session, planned->job, arena, &cell, r->err);
    if (is_of_the_cell(status)) {
        ptq_plan_fail(r->arena, &r->plan, planned, r->err);
        ptq_launch_say_failed(&l, planned);
        return PTQ_OK;
    }
    PTQ_TRY(status);
    PTQ_TRY(ptq_results_put(r->file, &cell, r->err));
    double seconds = ptq_seconds() - started;
    ptq_plan_done(&r->plan, planned, pace_of(&cell, seconds));
    ptq_plan_add_beside(&r->plan, &cell, seconds);
    r->n_ran++;
    ptq_launch_say_done(&l, planned, cell.ppl, seconds);
    return PTQ_OK;
}

static enum ptq_status run_missing(struct run *r)
{
    for (struct ptq_plan_cell *cell = r->plan.cell; cell < r->plan.cell + r->plan.n; cell++) {
        if (cell->state != PTQ_PLAN_MISSING) continue;
        struct ptq_arena *arena = ptq_arena_make("cell");
        enum ptq_status status = run_cell(r, arena, cell);
        ptq_arena_free(arena);
        PTQ_TRY(status);
    }
    return PTQ_OK;
}

/* Finished cells into one file, in the experiment's order. One that --fresh computes anew waits for all of them: until
 * then the file stays what it was, and so does the list of what failed in it. */
static enum ptq_status merge(struct run *r)
{
    char(*keep)[PTQ_SHA256_HEX], (*awaited)[PTQ_SHA256_HEX];
    int n;
    PTQ_TRY(ptq_results_awaited(r->arena, r->file, &awaited, &r->n_awaited, r->err));
    if (r->n_awaited) return PTQ_OK;
    keep = ptq_plan_ids(r->arena, &r->plan, PTQ_PLAN_DONE, &n);
    PTQ_TRY(ptq_failures_write(r->file, &r->plan, r->err));
    if (n == 0) return PTQ_OK;
    return ptq_results_merge(r->file, r->experiment.name, r->experiment.yaml, (const char(*)[PTQ_SHA256_HEX])keep, n,
                             r->err);
}

static enum ptq_status reuse(struct run *r, FILE *log, const char *verb)
{
    int n;
    if (!r->options->reuse || !ptq_plan_count(&r->plan, PTQ_PLAN_MISSING)) return PTQ_OK;
    PTQ_TRY(ptq_reuse(&r->plan, r->options->reuse, r->file, !r->options->dry_run, &n, r->err));
    if (r->options->quiet) return PTQ_OK;
    if (n == PTQ_REUSE_NOT_THERE) /* as in a first call of several that share what they make */
        ptq_say(log, "%s: no cell %s from %s, which is not there\n", r->experiment.name, verb, r->options->reuse);
    else /* 0 as well: it may be another path that was meant */
        ptq_say(log, "%s: %d cell%s %s from %s\n", r->experiment.name, n, n == 1 ? "" : "s", verb, r->options->reuse);
    return PTQ_OK;
}

/* ---- cells in processes of their own ---- */

/* Results joined. The tasks' folder, which a killed run may have left, stays where failures have their logs. */
static enum ptq_status join(struct run *r)
{
    struct ptq_launch l = launch_of(r);
    PTQ_TRY(merge(r));
    if (!ptq_plan_count(&r->plan, PTQ_PLAN_FAILED)) return ptq_launch_end(&l, r->err);
    ptq_launch_settle(&l);
    return PTQ_OK;
}

/* What the tasks have finished since the last look. */
static enum ptq_status look_again(struct run *r)
{
    PTQ_TRY(ptq_plan_look(&r->plan, r->file, r->err));
    r->n_ran = r->n_missing - ptq_plan_count(&r->plan, PTQ_PLAN_MISSING);
    return PTQ_OK;
}

/* What the tasks left, joined; who is still missing has failed. */
static enum ptq_status take_results(struct run *r)
{
    struct ptq_launch l = launch_of(r);
    PTQ_TRY(look_again(r));
    ptq_launch_fail_missing(&l);
    return join(r);
}

static enum ptq_status run_children(struct run *r)
{
    struct ptq_launch l = launch_of(r);
    PTQ_TRY(ptq_launch_begin(&l, r->err));
    /* Where this process is killed, the next run waits for them, and does not write beside them. */
    ptq_results_share_lock(r->lock);
    PTQ_TRY(ptq_launch_local(&l, r->err));
    return take_results(r);
}

/* ---- all of it, by whom the file is locked ---- */

static enum ptq_status look_and_say(struct run *r)
{
    struct ptq_launch l = launch_of(r);
    PTQ_TRY(r->options->fresh ? ptq_fresh_begin(&l, r->err) : ptq_fresh_go_on(&l, r->err));
    PTQ_TRY(ptq_plan_look(&r->plan, r->file, r->err));
    PTQ_TRY(reuse(r, r->log, "taken"));
    r->n_missing = ptq_plan_count(&r->plan, PTQ_PLAN_MISSING);
    if (r->options->quiet) return PTQ_OK;
    print_summary(r, r->log);
    return ptq_plan_notes(&r->plan, &r->experiment, r->file, r->log, r->err);
}

static enum ptq_status report_end(const struct run *r)
{
    char duration[32], (*id)[PTQ_SHA256_HEX];
    int n, n_others = 0;
    if (r->options->quiet || !r->n_ran) return PTQ_OK;
    PTQ_TRY(ptq_results_ids(r->arena, r->file, &id, &n, r->err));
    for (int i = 0; i < n; i++) n_others += !ptq_plan_has(&r->plan, id[i]);
    ptq_say(r->log, "%s: %d cell%s run in %s; %s%s holds %d of %d%s\n", r->experiment.name, r->n_ran,
            r->n_ran == 1 ? "" : "s", ptq_duration(ptq_seconds() - r->started, duration, sizeof duration), r->file,
            r->n_awaited ? PTQ_CELLS : "", ptq_plan_count(&r->plan, PTQ_PLAN_DONE), r->plan.n,
            n_others ? ptq_format(r->arena, ", and %d more that the experiment does not have", n_others) : "");
    return PTQ_OK;
}

static enum ptq_status run_here(struct run *r)
{
    /* Without a terminal, a line a cell says enough; the stages' lines would only repeat it. */
    enum ptq_quiet asked = r->options->quiet ? PTQ_QUIET : PTQ_LOUD;
    ptq_progress_quiet(!asked && !isatty(STDERR_FILENO) ? PTQ_NOTES_ONLY : asked);
    enum ptq_status status = run_missing(r);
    ptq_progress_quiet(asked);
    return status;
}

static enum ptq_status run_locked(struct run *r)
{
    PTQ_TRY(ptq_slurm_check_idle(r->arena, r->file, r->err));
    PTQ_TRY(look_and_say(r));
    if (r->options->merge) return take_results(r);
    int children = r->options->jobs > 1 && ptq_plan_count(&r->plan, PTQ_PLAN_MISSING) > 1;
    enum ptq_status status = children ? run_children(r) : run_here(r);
    struct ptq_error second; /* what stopped the run is what is said */
    if (status && children) ptq_plan_look(&r->plan, r->file, &second);
    if (status)
        return ptq_within(r->err, "%d of %d cells are done", ptq_plan_count(&r->plan, PTQ_PLAN_DONE), r->plan.n);
    if (!children) PTQ_TRY(join(r));
    return report_end(r);
}

/* Who has waited for Slurm does not give up since another call, which waited too, has just locked the file. */
static enum ptq_status lock_file(struct run *r, struct ptq_lock *lock)
{
    const struct timespec pause = {.tv_nsec = 200 * 1000 * 1000};
    double end = ptq_seconds() + ptq_results_patience_ms / 1000.;
    for (;;) {
        enum ptq_status status = ptq_results_lock(r->file, lock, r->err);
        if (status != PTQ_EIO || !r->waits || ptq_seconds() > end) return status;
        nanosleep(&pause, NULL);
        PTQ_TRY(ptq_interrupted(r->err));
    }
}

static enum ptq_status locked(struct run *r, enum ptq_status (*what)(struct run *r))
{
    struct ptq_lock lock;
    PTQ_TRY(lock_file(r, &lock));
    r->lock = &lock;
    enum ptq_status status = what(r);
    r->lock = NULL;
    ptq_results_unlock(&lock);
    return status;
}

/* The next step, with the file locked: while Slurm lists tasks, of whatever call, they are waited for, also where
 * nothing is missing; then what no task has had is submitted; when there is nothing of that, all is joined. A call that
 * waited beside this one may have submitted cells of its own since, so Slurm is asked each time. */
static enum ptq_status go_on_in_slurm(struct run *r)
{
    struct ptq_launch l = launch_of(r);
    int left;
    enum ptq_status status = ptq_slurm_ask(&l, &left, r->err);
    if (status == PTQ_EIO && r->waits) return PTQ_OK; /* waits on, and says why */
    PTQ_TRY(status);
    r->waits = 1;
    if (left && !r->options->quiet)
        ptq_say(r->log, "waiting for %d task%s of another call in Slurm\n", left, left == 1 ? "" : "s");
    if (left) return PTQ_OK;
    PTQ_TRY(look_again(r));
    if (ptq_slurm_count_new(&l)) return ptq_slurm_submit(&l, r->err);
    r->waits = 0;
    return take_results(r);
}

static enum ptq_status begin_in_slurm(struct run *r)
{
    if (r->options->fresh) PTQ_TRY(ptq_slurm_check_idle(r->arena, r->file, r->err));
    PTQ_TRY(look_and_say(r));
    return go_on_in_slurm(r);
}

/* The file is not locked while Slurm works on it: the job that joins the results locks it. */
static enum ptq_status run_in_slurm(struct run *r)
{
    struct ptq_launch l = launch_of(r);
    PTQ_TRY(locked(r, begin_in_slurm));
    while (r->waits) {
        PTQ_TRY(ptq_slurm_wait(&l, r->err));
        PTQ_TRY(locked(r, go_on_in_slurm));
    }
    return report_end(r);
}

static enum ptq_status make_folder_of(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    const char *slash = strrchr(file, '/');
    if (!slash || slash == file) return PTQ_OK;
    return ptq_make_folder(ptq_strndup(arena, file, (size_t)(slash - file)), err);
}

/* None can be run: why stands beside the results that earlier runs left, as that of one cell does. */
static enum ptq_status record_failures(struct run *r)
{
    return ptq_failures_write(r->file, &r->plan, r->err);
}

/* Where nothing can be run, nothing is made either but the list of it, where there are results for it to lie beside;
 * the verdict says why. */
static enum ptq_status run_none(struct run *r)
{
    int there;
    PTQ_TRY(ptq_results_are_there(r->arena, r->file, &there, r->err));
    return there ? locked(r, record_failures) : PTQ_OK;
}

static enum ptq_status run_all(struct run *r)
{
    if (ptq_plan_count(&r->plan, PTQ_PLAN_FAILED) == r->plan.n) return run_none(r);
    struct ptq_launch l = launch_of(r);
    for (int i = 0; i < r->plan.n; i++)
        if (r->plan.cell[i].state == PTQ_PLAN_FAILED) ptq_launch_say_failed(&l, &r->plan.cell[i]);
    PTQ_TRY(make_folder_of(r->arena, r->file, r->err));
    return r->in_slurm ? run_in_slurm(r) : locked(r, run_locked);
}

/* ---- one cell ---- */

/* "N:ID": leaves job number N alone in the experiment. */
static enum ptq_status choose_cell(struct run *r, const char **id)
{
    const char *text = r->options->cell, *colon = strchr(text, ':');
    int64_t number;
    if (!colon || !ptq_parse_int(ptq_strndup(r->arena, text, (size_t)(colon - text)), 0, PTQ_MAX_CELLS - 1, &number) ||
        strlen(colon + 1) != PTQ_SHA256_HEX - 1)
        return ptq_fail(r->err, PTQ_EUSAGE, "--cell is '%.80s'; it must be N:ID, as --launcher gives it to its tasks",
                        text);
    if (number >= r->experiment.n_jobs)
        return ptq_fail(r->err, PTQ_EINPUT, "%s: has no cell number %lld", r->options->experiment, (long long)number);
    *id = colon + 1;
    r->experiment.job += number;
    r->experiment.n_jobs = 1;
    return PTQ_OK;
}

static enum ptq_status run_cell_locked(struct run *r)
{
    int done; /* a task that Slurm starts again may find its work done; what others have done is not its business */
    PTQ_TRY(ptq_results_has(r->file, r->plan.cell->cell.id, &done, r->err));
    return done ? PTQ_OK : run_missing(r);
}

/* What a task does. The lock is the cell's own: tasks of other cells write beside it. */
static enum ptq_status run_task(struct run *r, const char *id)
{
    struct ptq_lock lock;
    if (r->plan.cell->state == PTQ_PLAN_FAILED) return PTQ_OK;
    if (strcmp(r->plan.cell->cell.id, id) != 0)
        return ptq_fail(r->err, PTQ_EINPUT,
                        "%s is another cell now than when it was submitted: its model or a text has "
                        "changed; run the experiment again",
                        r->plan.cell->label);
    PTQ_TRY(ptq_results_lock(ptq_format(r->arena, "%s" PTQ_TASKS "/%s", r->file, id), &lock, r->err));
    enum ptq_status status = run_cell_locked(r);
    ptq_results_unlock(&lock);
    return status;
}

/* What a run would refuse before its first cell is refused here, too. */
static enum ptq_status look_only(struct run *r)
{
    struct ptq_launch l = launch_of(r);
    l.log = r->list;
    if (r->options->fresh) return ptq_results_check_replaceable(r->file, r->err);
    PTQ_TRY(ptq_fresh_go_on(&l, r->err));
    return ptq_plan_look(&r->plan, r->file, r->err);
}

static enum ptq_status dry_run(struct run *r)
{
    PTQ_TRY(look_only(r));
    PTQ_TRY(reuse(r, r->list, "would be taken"));
    /* Where no cell was measured, the machine is: a tenth of the time goes elsewhere than to matrix products. */
    const struct ptq_shares alone = {1, 1, 0};
    if (r->runner->cost && ptq_plan_seconds_left(&r->plan, &alone) < 0)
        r->plan.machine = 1.1 * ptq_machine_pace() * ptq_pool_size();
    ptq_say(r->list, "%s\n", r->experiment.title);
    print_summary(r, r->list);
    struct ptq_launch l = launch_of(r);
    PTQ_TRY(ptq_slurm_list(&l, r->list, r->err));
    PTQ_TRY(ptq_plan_notes(&r->plan, &r->experiment, r->options->fresh ? NULL : r->file, r->list, r->err));
    int64_t memory = l.memory, tasks = tasks_at_once(r), peak = ptq_plan_peak(&r->plan, memory);
    const char *each = tasks > 1 ? ptq_format(r->arena, " in each of %lld tasks at once", (long long)tasks) : "";
    if (peak)
        ptq_say(r->list, "memory: about %lld MiB at most%s%s\n", (long long)(peak >> 20) + 1, each,
                memory && peak > memory ? ", which is more than --memory allows" : "");
    ptq_plan_print(&r->plan, r->list);
    return PTQ_OK;
}

static enum ptq_status choose_file(struct run *r)
{
    const char *out = r->options->out;
    r->file =
        out ? out : ptq_format(r->arena, "results/%s%s.h5", r->options->quick_form ? "quick/" : "", r->experiment.name);
    PTQ_TRY(ptq_results_resolve(r->arena, &r->file, r->err));
    return ptq_results_check_beside(r->file, r->err);
}

/* A launcher that is killed, or has no memory left, cannot stop its tasks: the kernel tells them, and they end as by
 * any SIGTERM. Else they would compute on, unseen, beside those of the next run. */
static void end_with_launcher(void)
{
    const char *launcher = getenv(PTQ_LAUNCHER);
    if (!launcher) return;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (strtol(launcher, NULL, 10) != (long)getppid()) raise(SIGTERM); /* it is dead already */
}

static enum ptq_status plan_and_run(struct run *r)
{
    const struct ptq_run_options *o = r->options;
    const char *id = NULL;
    if (o->cell) end_with_launcher();
    PTQ_TRY(ptq_experiment_read(r->arena, o->experiment, o->set, o->n_sets, &r->experiment, r->err));
    PTQ_TRY(choose_file(r));
    if (o->fresh && o->reuse) PTQ_TRY(ptq_reuse_check(o->reuse, r->file, r->err));
    if (o->cell) PTQ_TRY(choose_cell(r, &id));
    PTQ_TRY(ptq_plan_make(r->arena, &r->experiment, r->runner, r->session, &r->plan, r->err));
    r->plan.begin = o->begun + (ptq_seconds() - r->started) / (r->plan.n_paces > 1 ? r->plan.n_paces : 1);
    r->given = ptq_new(r->arena, char, r->plan.n);
    PTQ_TRY(o->dry_run ? dry_run(r) : id ? run_task(r, id) : run_all(r));
    return ptq_plan_verdict(&r->plan, o->dry_run ? NULL : r->file, r->n_awaited, r->err);
}

enum ptq_status ptq_run_check(const struct ptq_run_options *o, struct ptq_error *err)
{
    if (o->launcher && strcmp(o->launcher, "local") && strcmp(o->launcher, "slurm"))
        return ptq_fail(err, PTQ_EUSAGE, "launcher '%.40s' is not known; known: local, slurm", o->launcher);
    if (o->cell && (o->merge || o->fresh || o->dry_run))
        return ptq_fail(err, PTQ_EUSAGE, "--cell runs one cell; leave --merge, --fresh and --dry-run out");
    if (o->merge && (o->fresh || o->dry_run))
        return ptq_fail(err, PTQ_EUSAGE, "--merge runs nothing; leave --fresh and --dry-run out");
    return PTQ_OK;
}

enum ptq_status ptq_run(const struct ptq_run_options *options, struct ptq_error *err)
{
    struct run r = {
        .options = options,
        .runner = options->runner ? options->runner : &ptq_pipeline_runner,
        .arena = ptq_arena_make("experiment"),
        .list = options->list ? options->list : stdout,
        .log = options->log ? options->log : stderr,
        .started = ptq_seconds(),
        .in_slurm = ptq_shares_in_slurm(options),
        .err = err,
    };
    r.session = r.runner->make();
    if (r.runner->budget) r.runner->budget(r.session, options->memory);
    enum ptq_status status = plan_and_run(&r);
    r.runner->free(r.session);
    ptq_arena_free(r.arena);
    return status;
}
