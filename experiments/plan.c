#include "plan.h"

#include "pool.h"
#include "progress.h"
#include "replicates.h"
#include "words.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Stored cells are read for their pace; more of them than this teach nothing and cost memory (each holds its nll). */
enum { MAX_READ_FOR_PACE = 64 };
/* Reasons that the last error gives. */
enum { MAX_NAMED = 3 };
/* Names of a job that may be second ones. */
enum { MOST_TWINS = 3 };

/* ---- labels ---- */

/* What differs between the jobs, so that labels say it and nothing else. */
struct differs {
    int model, text, calib, calib_windows, calib_window, calib_sample, seed;
};

static struct differs find_differences(const struct ptq_experiment *x)
{
    struct differs d = {0};
    const struct ptq_job *first = x->job;
    for (const struct ptq_job *job = x->job; job < x->job + x->n_jobs; job++) {
        d.model |= strcmp(job->model, first->model) != 0;
        d.text |= strcmp(job->text, first->text) != 0;
        d.calib |= strcmp(job->calib, first->calib) != 0;
        d.calib_windows |= job->calib_windows != first->calib_windows;
        d.calib_window |= job->calib_window != first->calib_window;
        d.calib_sample |= job->calib_sample != first->calib_sample;
        d.seed |= job->seed != first->seed;
    }
    return d;
}

/* Of what a job says beside its SPEC: without what that does not read. */
static struct differs what_it_reads(const struct ptq_job *job, const struct differs *d)
{
    struct differs reads = *d;
    int calib = ptq_spec_text_needs_calib(job->spec);
    reads.calib &= calib, reads.calib_windows &= calib, reads.calib_window &= calib, reads.calib_sample &= calib;
    reads.seed &= calib || ptq_spec_reads_seed(job->spec);
    return reads;
}

static const char *make_label(struct ptq_arena *arena, const struct ptq_job *job, const struct differs *d)
{
    struct ptq_buffer text = {0};
    if (d->model) ptq_buffer_add(&text, "%s  ", job->model);
    ptq_buffer_add(&text, "%s", job->spec);
    if (d->text) ptq_buffer_add(&text, "  text=%s", job->text);
    if (d->calib) ptq_buffer_add(&text, "  calib=%s", job->calib);
    if (d->calib_windows) ptq_buffer_add(&text, "  calib_windows=%lld", (long long)job->calib_windows);
    if (d->calib_window) ptq_buffer_add(&text, "  calib_window=%lld", (long long)job->calib_window);
    if (d->calib_sample && job->calib_sample != PTQ_SAMPLE_AUTO)
        ptq_buffer_add(&text, "  calib_sample=%s", ptq_sample_name(job->calib_sample));
    if (d->seed) ptq_buffer_add(&text, "  seed=%llu", (unsigned long long)job->seed);
    const char *label = ptq_strdup(arena, text.data);
    free(text.data);
    return label;
}

/* ---- planning ---- */

static int find_pace(struct ptq_plan *plan, const char *model)
{
    for (int i = 0; i < plan->n_paces; i++)
        if (strcmp(plan->pace[i].model, model) == 0) return i;
    plan->pace[plan->n_paces] = (struct ptq_pace){.model = model};
    return plan->n_paces++;
}

const struct ptq_plan_cell *ptq_plan_find(const struct ptq_plan *plan, const char *id)
{
    for (int i = 0; i < plan->n; i++)
        if (plan->cell[i].state != PTQ_PLAN_FAILED && memcmp(plan->cell[i].cell.id, id, PTQ_SHA256_HEX) == 0)
            return &plan->cell[i];
    return NULL;
}

int ptq_plan_has(const struct ptq_plan *plan, const char *id)
{
    return ptq_plan_find(plan, id) != NULL;
}

const struct ptq_plan_cell *ptq_plan_find_same(const struct ptq_plan *plan, const struct ptq_cell *cell)
{
    const struct ptq_plan_cell *same = ptq_plan_find(plan, cell->id);
    int n = ptq_spec_text_needs_calib(cell->spec) ? 0 : plan->n;
    for (int i = 0; i < n && !same; i++)
        if (plan->cell[i].state != PTQ_PLAN_FAILED && ptq_is_repeat(&plan->cell[i].cell, cell)) same = &plan->cell[i];
    return same;
}

static void add_twin(struct ptq_plan *plan, enum ptq_twin_kind kind, const char *name, const char *of)
{
    int seen = strcmp(name, of) == 0;
    for (int i = 0; i < plan->n_twins && !seen; i++) {
        const struct ptq_twin *t = &plan->twin[i];
        seen = t->kind == kind && strcmp(t->name, name) == 0 && strcmp(t->of, of) == 0;
    }
    if (!seen) plan->twin[plan->n_twins++] = (struct ptq_twin){kind, name, of};
}

/* A cell that is planned already: where its jobs name another model or text, the two are the same. Calibration texts
 * are not where the cell reads none. */
static void add_twins(struct ptq_plan *plan, const struct ptq_plan_cell *cell, const struct ptq_plan_cell *of)
{
    add_twin(plan, PTQ_TWIN_MODEL, cell->job->model, of->job->model);
    add_twin(plan, PTQ_TWIN_TEXT, cell->job->text, of->job->text);
    if (ptq_reads_calib(&cell->cell)) add_twin(plan, PTQ_TWIN_CALIB, cell->job->calib, of->job->calib);
}

static enum ptq_status plan_job(struct ptq_arena *arena, const struct ptq_runner *runner, void *session,
                                struct ptq_plan *plan, struct ptq_plan_cell *cell, struct ptq_error *err)
{
    PTQ_TRY(ptq_interrupted(err));
    cell->pace = find_pace(plan, cell->job->model);
    cell->cost = (struct ptq_cost){.evaluate = 1};
    enum ptq_status status = runner->plan(session, cell->job, arena, &cell->cell, err);
    if (!status && runner->cost) status = runner->cost(session, cell->job, &cell->cost, err);
    if (status == PTQ_EINTERRUPT || status == PTQ_EDEVICE) return status;
    if (status) ptq_plan_fail(arena, plan, cell, err);
    return PTQ_OK;
}

enum ptq_status ptq_plan_make(struct ptq_arena *arena, const struct ptq_experiment *experiment,
                              const struct ptq_runner *runner, void *session, struct ptq_plan *out,
                              struct ptq_error *err)
{
    struct differs differs = find_differences(experiment);
    *out = (struct ptq_plan){
        .cell = ptq_new(arena, struct ptq_plan_cell, experiment->n_jobs),
        .pace = ptq_new(arena, struct ptq_pace, experiment->n_jobs),
        .twin = ptq_new(arena, struct ptq_twin, MOST_TWINS * (int64_t)experiment->n_jobs),
    };
    for (int i = 0; i < experiment->n_jobs; i++) {
        struct ptq_plan_cell cell = {.job = &experiment->job[i]};
        PTQ_TRY(plan_job(arena, runner, session, out, &cell, err));
        const struct ptq_plan_cell *same = cell.state == PTQ_PLAN_FAILED ? NULL : ptq_plan_find_same(out, &cell.cell);
        if (same) {
            add_twins(out, &cell, same);
            continue;
        }
        struct differs read = what_it_reads(cell.job, &differs);
        cell.label = make_label(arena, cell.job, &read);
        out->cell[out->n++] = cell;
    }
    return PTQ_OK;
}

/* A cell's own work; what it shares with others is counted apart. */
static double work_of(const struct ptq_plan_cell *cell)
{
    return cell->cost.quantize + cell->cost.evaluate;
}

/* threads 0: not told, so this process's. */
static void add_measured(struct ptq_plan *plan, const struct ptq_plan_cell *cell, double seconds, int64_t threads)
{
    plan->pace[cell->pace].seconds += seconds * (double)(threads > 0 ? threads : ptq_pool_size());
    plan->pace[cell->pace].work += work_of(cell);
}

void ptq_plan_done(struct ptq_plan *plan, struct ptq_plan_cell *cell, double seconds)
{
    assert(cell->state == PTQ_PLAN_MISSING);
    cell->state = PTQ_PLAN_DONE;
    if (seconds > 0) add_measured(plan, cell, seconds, 0);
}

void ptq_plan_finish(struct ptq_plan *plan, struct ptq_plan_cell *cell, const struct ptq_cell *finished)
{
    double seconds = finished->seconds_quantize + finished->seconds_eval;
    ptq_plan_done(plan, cell, 0);
    if (seconds > 0) add_measured(plan, cell, seconds, finished->threads);
}

void ptq_plan_add_beside(struct ptq_plan *plan, const struct ptq_cell *finished, double seconds)
{
    const struct ptq_cell *c = finished;
    double own = c->seconds_calibrate + c->seconds_quantize + c->seconds_eval + (c->kl ? c->seconds_reference : 0);
    plan->beside += fmax(seconds - own, 0);
    plan->n_beside++;
}

void ptq_plan_fail(struct ptq_arena *arena, struct ptq_plan *plan, struct ptq_plan_cell *cell,
                   const struct ptq_error *why)
{
    assert(cell->state == PTQ_PLAN_MISSING);
    cell->state = PTQ_PLAN_FAILED;
    /* The pipeline's sentence may begin with the SPEC, as the label does. */
    size_t length = strlen(cell->job->spec);
    int named = strncmp(why->text, cell->job->spec, length) == 0 && strncmp(why->text + length, ": ", 2) == 0;
    cell->why = ptq_strdup(arena, why->text + (named ? length + 2 : 0));
    if (!plan->failed) plan->failed = why->status;
}

int ptq_plan_count(const struct ptq_plan *plan, enum ptq_plan_state state)
{
    int n = 0;
    for (int i = 0; i < plan->n; i++) n += plan->cell[i].state == state;
    return n;
}

char (*ptq_plan_ids(struct ptq_arena *arena, const struct ptq_plan *plan, enum ptq_plan_state state,
                    int *n))[PTQ_SHA256_HEX]
{
    char(*ids)[PTQ_SHA256_HEX] = ptq_alloc_array(arena, (size_t)plan->n, sizeof *ids, "ids of cells");
    *n = 0;
    for (int i = 0; i < plan->n; i++)
        if (plan->cell[i].state == state) memcpy(ids[(*n)++], plan->cell[i].cell.id, PTQ_SHA256_HEX);
    return ids;
}

/* ---- what is there already ---- */

static int by_id(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void learn_pace(struct ptq_plan *plan, const struct ptq_cell *stored, int n)
{
    for (int i = 0; i < plan->n; i++) {
        for (int j = 0; j < n && plan->cell[i].state == PTQ_PLAN_DONE; j++) {
            if (strcmp(stored[j].id, plan->cell[i].cell.id) != 0) continue;
            add_measured(plan, &plan->cell[i], stored[j].seconds_quantize + stored[j].seconds_eval, stored[j].threads);
        }
    }
}

static enum ptq_status look(struct ptq_arena *work, struct ptq_plan *plan, const char *file, struct ptq_error *err)
{
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    struct ptq_cell *stored;
    PTQ_TRY(ptq_results_ids(work, file, &ids, &n, err));
    for (int i = 0; i < plan->n; i++) {
        struct ptq_plan_cell *cell = &plan->cell[i];
        if (cell->state == PTQ_PLAN_MISSING && n && bsearch(cell->cell.id, ids, (size_t)n, sizeof *ids, by_id))
            ptq_plan_done(plan, cell, 0);
    }
    if (n == 0 || n > MAX_READ_FOR_PACE || ptq_plan_count(plan, PTQ_PLAN_MISSING) == 0) return PTQ_OK;
    PTQ_TRY(ptq_results_finished(work, file, &stored, &n, err));
    learn_pace(plan, stored, n);
    return PTQ_OK;
}

enum ptq_status ptq_plan_look(struct ptq_plan *plan, const char *file, struct ptq_error *err)
{
    struct ptq_arena *work = ptq_arena_make("results");
    enum ptq_status status = look(work, plan, file, err);
    ptq_arena_free(work);
    return status;
}

/* ---- time ---- */

int ptq_same_calibration(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return ptq_same_model(a, b) && strcmp(a->calib_sha256, b->calib_sha256) == 0;
}

/* 1 where another cell's pass over the calibration text serves this one too: an earlier missing one's, or one that is
 * done and left it in the cache. */
static int is_calibrated(const struct ptq_plan *plan, const struct ptq_plan_cell *cell)
{
    for (const struct ptq_plan_cell *other = plan->cell; other < plan->cell + plan->n; other++)
        if (other != cell && other->cost.calibrate >= cell->cost.calibrate &&
            (other->state == PTQ_PLAN_DONE || (other->state == PTQ_PLAN_MISSING && other < cell)) &&
            ptq_same_calibration(&other->cell, &cell->cell))
            return 1;
    return 0;
}

/* Seconds of a cell that are not its own: they are one thread's, whatever it has. */
static double beside(const struct ptq_plan *plan, int in_tasks)
{
    if (plan->n_beside) return plan->beside / plan->n_beside;
    return in_tasks ? plan->begin : 0;
}

double ptq_plan_seconds_left(const struct ptq_plan *plan, const struct ptq_shares *shares)
{
    double seconds = 0, work = 0, all = 0, longest = 0;
    for (int i = 0; i < plan->n_paces; i++) {
        seconds += plan->pace[i].seconds;
        work += plan->pace[i].work;
    }
    double usual = work > 0 ? seconds / work : plan->machine;
    if (usual <= 0) return -1;
    for (const struct ptq_plan_cell *cell = plan->cell; cell < plan->cell + plan->n; cell++) {
        const struct ptq_pace *p = &plan->pace[cell->pace];
        if (cell->state != PTQ_PLAN_MISSING) continue;
        double shared = cell->cost.calibrate > 0 && !is_calibrated(plan, cell) ? cell->cost.calibrate : 0;
        double own = (work_of(cell) + shared) * (p->work > 0 ? p->seconds / p->work : usual) / (double)shares->threads +
                     beside(plan, shares->in_tasks);
        all += own;
        longest = fmax(longest, own);
    }
    return fmax(all / (double)shares->at_once, longest);
}

int64_t ptq_plan_peak(const struct ptq_plan *plan, int64_t budget)
{
    int64_t most = 0, peak;
    for (const struct ptq_plan_cell *cell = plan->cell; cell < plan->cell + plan->n; cell++) {
        if (cell->state != PTQ_PLAN_MISSING || !cell->cost.window) continue;
        ptq_cost_chunk(&cell->cost, ptq_memory_in_use(), budget, &peak);
        if (peak > most) most = peak;
    }
    return most;
}

const char *ptq_duration(double seconds, char *text, size_t size)
{
    if (seconds < 90)
        snprintf(text, size, "%.0f s", ceil(seconds));
    else if (seconds < 90 * 60)
        snprintf(text, size, "%.0f min", seconds / 60);
    else
        snprintf(text, size, "%.1f h", seconds / 3600);
    return text;
}

/* ---- what people see ---- */

void ptq_plan_print(const struct ptq_plan *plan, FILE *out)
{
    static const char *const names[] = {"missing", "done", "failed"};
    for (int i = 0; i < plan->n; i++) {
        const struct ptq_plan_cell *cell = &plan->cell[i];
        ptq_say(out, "  %-8s %s%s%s\n", names[cell->state], cell->label, cell->why ? ": " : "",
                cell->why ? cell->why : "");
    }
}

static int same_reason(const struct ptq_plan *plan, int a, int b)
{
    return plan->cell[a].why && plan->cell[b].why && strcmp(plan->cell[a].why, plan->cell[b].why) == 0;
}

/* How many cells failed for the reason of cell[first]; 0 where an earlier cell stands for that reason. */
static int count_reason(const struct ptq_plan *plan, int first)
{
    int n = 0;
    for (int i = 0; i < first; i++)
        if (same_reason(plan, i, first)) return 0;
    for (int i = first; i < plan->n; i++) n += same_reason(plan, i, first);
    return n;
}

/* "rtn:w3,g64 and 2 more (why)" for each reason. */
static void add_reasons(const struct ptq_plan *plan, struct ptq_buffer *list)
{
    int named = 0;
    for (int i = 0; i < plan->n; i++) {
        int n = count_reason(plan, i);
        if (n == 0) continue;
        if (named == MAX_NAMED) {
            ptq_buffer_add(list, ", and others");
            return;
        }
        ptq_buffer_add(list, "%s%s", named++ ? ", " : "", plan->cell[i].label);
        if (n > 1) ptq_buffer_add(list, " and %d more", n - 1);
        ptq_buffer_add(list, " (%.400s)", plan->cell[i].why);
    }
}

/* "; the same command tries them again, x.h5 keeps the others": where there are any. */
static void add_what_stays(const struct ptq_plan *plan, const char *file, int awaits, struct ptq_buffer *text)
{
    ptq_buffer_add(text, "; the same command %stries them again", awaits ? "without --fresh " : "");
    if (ptq_plan_count(plan, PTQ_PLAN_DONE))
        ptq_buffer_add(text, ", %s%s keeps the others", file, awaits ? PTQ_CELLS : "");
    if (awaits) ptq_buffer_add(text, ", and %s stays as it was before", file);
}

enum ptq_status ptq_plan_verdict(const struct ptq_plan *plan, const char *file, int awaits, struct ptq_error *err)
{
    static const char *const what[] = {"cannot be run", "failed"};

    int n_failed = ptq_plan_count(plan, PTQ_PLAN_FAILED);
    if (n_failed == 0) return PTQ_OK;
    /* An experiment that asks for what cannot be is bad input, however the command line would have been told. */
    enum ptq_status status = plan->failed == PTQ_EUSAGE ? PTQ_EINPUT : plan->failed;
    if (!awaits && n_failed == plan->n && count_reason(plan, 0) == n_failed)
        return ptq_fail(err, status, "%s", plan->cell[0].why);
    struct ptq_buffer list = {0};
    add_reasons(plan, &list);
    if (file) add_what_stays(plan, file, awaits, &list);
    ptq_fail(err, status, "%d of %d cells %s: %s", n_failed, plan->n, what[file != NULL], list.data);
    free(list.data);
    return status;
}
