#include "run.h"

#include "failures.h"
#include "mapped.h"
#include "pipeline.h"
#include "progress.h"
#include "reuse.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>
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
    int n_ran;
    double started;
    FILE *list, *log;
    struct ptq_error *err;
};

/* ---- the pipeline as a runner ---- */

static void *pipeline_make(void)
{
    return ptq_session_make();
}

static void pipeline_free(void *session)
{
    ptq_session_free(session);
}

static enum ptq_status pipeline_plan(void *session, const struct ptq_job *job, struct ptq_arena *arena,
                                     struct ptq_cell *cell, struct ptq_error *err)
{
    return ptq_cell_plan(session, job, arena, cell, err);
}

static enum ptq_status pipeline_run(void *session, const struct ptq_job *job, struct ptq_arena *arena,
                                    struct ptq_cell *cell, struct ptq_error *err)
{
    return ptq_cell_run(session, job, arena, cell, err);
}

static const struct ptq_runner pipeline = {
    .make = pipeline_make,
    .free = pipeline_free,
    .plan = pipeline_plan,
    .run = pipeline_run,
};

/* ---- lines for people ---- */

static const char *time_left(const struct run *r, char *text, size_t size)
{
    char duration[32];
    double seconds = ptq_plan_seconds_left(&r->plan);
    *text = 0;
    if (seconds > 0) snprintf(text, size, ", about %s", ptq_duration(seconds, duration, sizeof duration));
    return text;
}

static void print_summary(const struct run *r, FILE *out)
{
    char left[64];
    int n_missing = ptq_plan_count(&r->plan, PTQ_PLAN_MISSING), n_failed = ptq_plan_count(&r->plan, PTQ_PLAN_FAILED);
    fprintf(out, "%s: %d cell%s in %s: %d done, %d to run%s", r->experiment.name, r->plan.n, r->plan.n == 1 ? "" : "s",
            r->file, ptq_plan_count(&r->plan, PTQ_PLAN_DONE), n_missing, time_left(r, left, sizeof left));
    if (n_failed) fprintf(out, ", %d cannot be run", n_failed);
    fprintf(out, "\n");
}

/* Over a line of progress that may stand there on a terminal. */
static void begin_line(const struct run *r, const struct ptq_plan_cell *cell)
{
    if (isatty(fileno(r->log))) fprintf(r->log, "\r\033[K");
    fprintf(r->log, "[%d/%d] %s  ", (int)(cell - r->plan.cell) + 1, r->plan.n, cell->label);
}

static void report_done(const struct run *r, const struct ptq_plan_cell *cell, double ppl, double seconds)
{
    char left[64];
    if (r->options->quiet) return;
    begin_line(r, cell);
    time_left(r, left, sizeof left);
    fprintf(r->log, "ppl %.2f  %.1f s%s%s\n", ppl, seconds, left, *left ? " left" : "");
}

static void report_failed(const struct run *r, const struct ptq_plan_cell *cell)
{
    if (r->options->quiet) return;
    begin_line(r, cell);
    fprintf(r->log, "failed: %s\n", cell->why);
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
    struct ptq_cell cell = planned->cell;
    double started = ptq_seconds();
    PTQ_TRY(ptq_interrupted(r->err));
    cell.part = ptq_results_part(arena, r->file, cell.id);
    enum ptq_status status = r->runner->run(r->session, planned->job, arena, &cell, r->err);
    if (is_of_the_cell(status)) {
        ptq_plan_fail(r->arena, &r->plan, planned, r->err);
        report_failed(r, planned);
        return PTQ_OK;
    }
    PTQ_TRY(status);
    PTQ_TRY(ptq_results_put(r->file, &cell, r->err));
    double seconds = ptq_seconds() - started;
    ptq_plan_done(&r->plan, planned, pace_of(&cell, seconds));
    r->n_ran++;
    report_done(r, planned, cell.ppl, seconds);
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

/* Finished cells into one file, in the experiment's order. */
static enum ptq_status merge(struct run *r)
{
    char(*keep)[PTQ_SHA256_HEX] = (void *)ptq_new(r->arena, char, (size_t)r->plan.n *PTQ_SHA256_HEX);
    int n = 0;
    for (int i = 0; i < r->plan.n; i++)
        if (r->plan.cell[i].state == PTQ_PLAN_DONE) memcpy(keep[n++], r->plan.cell[i].cell.id, PTQ_SHA256_HEX);
    if (n == 0) return PTQ_OK;
    return ptq_results_merge(r->file, r->experiment.name, r->experiment.yaml, (const char(*)[PTQ_SHA256_HEX])keep, n,
                             r->err);
}

static enum ptq_status reuse(struct run *r)
{
    int n = 0;
    if (r->options->reuse) PTQ_TRY(ptq_reuse(&r->plan, r->options->reuse, r->file, &n, r->err));
    if (n && !r->options->quiet)
        fprintf(r->log, "%s: %d cell%s taken from %s\n", r->experiment.name, n, n == 1 ? "" : "s", r->options->reuse);
    return PTQ_OK;
}

static enum ptq_status run_locked(struct run *r)
{
    if (r->options->fresh) PTQ_TRY(ptq_results_remove(r->file, r->err));
    PTQ_TRY(ptq_plan_look(&r->plan, r->file, r->err));
    PTQ_TRY(reuse(r));
    if (!r->options->quiet) print_summary(r, r->log);
    /* Without a terminal, a line a cell says enough; the stages' lines would only repeat it. */
    enum ptq_quiet asked = r->options->quiet ? PTQ_QUIET : PTQ_LOUD;
    ptq_progress_quiet(!asked && !isatty(STDERR_FILENO) ? PTQ_NOTES_ONLY : asked);
    enum ptq_status status = run_missing(r);
    ptq_progress_quiet(asked);
    if (!status) status = ptq_failures_write(r->file, &r->plan, r->err);
    if (status)
        return ptq_within(r->err, "%d of %d cells are done", ptq_plan_count(&r->plan, PTQ_PLAN_DONE), r->plan.n);
    PTQ_TRY(merge(r));
    char duration[32];
    if (!r->options->quiet && r->n_ran)
        fprintf(r->log, "%s: %d cell%s run in %s; %s holds %d of %d\n", r->experiment.name, r->n_ran,
                r->n_ran == 1 ? "" : "s", ptq_duration(ptq_seconds() - r->started, duration, sizeof duration), r->file,
                ptq_plan_count(&r->plan, PTQ_PLAN_DONE), r->plan.n);
    return PTQ_OK;
}

static enum ptq_status make_folder_of(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    const char *slash = strrchr(file, '/');
    if (!slash || slash == file) return PTQ_OK;
    return ptq_make_folder(ptq_strndup(arena, file, (size_t)(slash - file)), err);
}

static enum ptq_status run_all(struct run *r)
{
    struct ptq_lock lock;
    /* Where nothing can be run, nothing is made either, and the verdict says why. */
    if (ptq_plan_count(&r->plan, PTQ_PLAN_FAILED) == r->plan.n) return PTQ_OK;
    for (int i = 0; i < r->plan.n; i++)
        if (r->plan.cell[i].state == PTQ_PLAN_FAILED) report_failed(r, &r->plan.cell[i]);
    PTQ_TRY(make_folder_of(r->arena, r->file, r->err));
    PTQ_TRY(ptq_results_lock(r->file, &lock, r->err));
    enum ptq_status status = run_locked(r);
    ptq_results_unlock(&lock);
    return status;
}

static enum ptq_status dry_run(struct run *r)
{
    if (!r->options->fresh) PTQ_TRY(ptq_plan_look(&r->plan, r->file, r->err));
    fprintf(r->list, "%s\n", r->experiment.title);
    print_summary(r, r->list);
    ptq_plan_print(&r->plan, r->list);
    return PTQ_OK;
}

static enum ptq_status choose_file(struct run *r)
{
    const char *out = r->options->out;
    r->file =
        out ? out : ptq_format(r->arena, "results/%s%s.h5", r->options->quick_form ? "quick/" : "", r->experiment.name);
    return ptq_results_check_name(r->file, r->err);
}

static enum ptq_status plan_and_run(struct run *r)
{
    const struct ptq_run_options *o = r->options;
    PTQ_TRY(ptq_experiment_read(r->arena, o->experiment, o->set, o->n_sets, &r->experiment, r->err));
    PTQ_TRY(choose_file(r));
    PTQ_TRY(ptq_plan_make(r->arena, &r->experiment, r->runner, r->session, &r->plan, r->err));
    PTQ_TRY(o->dry_run ? dry_run(r) : run_all(r));
    return ptq_plan_verdict(&r->plan, r->file, r->err);
}

enum ptq_status ptq_run(const struct ptq_run_options *options, struct ptq_error *err)
{
    struct run r = {
        .options = options,
        .runner = options->runner ? options->runner : &pipeline,
        .arena = ptq_arena_make("experiment"),
        .list = options->list ? options->list : stdout,
        .log = options->log ? options->log : stderr,
        .started = ptq_seconds(),
        .err = err,
    };
    r.session = r.runner->make();
    enum ptq_status status = plan_and_run(&r);
    r.runner->free(r.session);
    ptq_arena_free(r.arena);
    return status;
}
