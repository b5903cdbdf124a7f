/* H = (2 / n) sum over n windows of X^T X: a running mean, one for all linears of one input.
 *
 *   true_sequential=0  all linears of a block are calibrated with its original weights, then the block runs again
 *   true_sequential=1  q, k, v; o; gate, up; down: each with what is before it quantised already
 *
 * In both orders the next block sees what the quantised one gives. The staged order runs each linear once, with its
 * final weights, by core/forward.h's steps. Source of both: IST-DASLab/gptq opt.py and llama.py (2d65066). */
#include "hessian.h"

#include "only.h"
#include "apply.h"
#include "grid.h"
#include "offload.h"
#include "ops.h"
#include "pool.h"
#include "progress.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Activations that are kept from one stage to the next take this much, or what the windows themselves take if that is
 * more; the others are computed again. */
enum { LEAST_GRAM_COLUMNS = 128, MOST_GRAM_COLUMNS = 384, SCALE_ROWS = 64, HELD_BYTES = 192 << 20 };

/* One block under way. */
struct work {
    struct ptq_block_task *task;
    struct ptq_forward *f;
    const struct ptq_hessian_solver *solver;
    struct ptq_block quantized; /* the block with float32 weights of what is coded so far */
    float *h[PTQ_N_INPUT];      /* [K][K], upper triangle */
    int64_t seen[PTQ_N_INPUT];  /* windows in h */
    struct ptq_stats *saw;      /* [PTQ_N_INPUT]: rows of what went into h, for the reported output errors */
    float *scaled;              /* [T][max(C, H D, F)], one window */
    float *in, *wide;           /* one batch: [rows][C], [rows][max(H D, F)] */
    float *held;
    int64_t held_floats;
};

static int64_t width_of(const struct work *w, enum ptq_input input)
{
    return ptq_input_width(&w->f->model->config, input);
}

/* ---- the Hessian ---- */

struct gram_task {
    float *h;
    const float *x; /* one window */
    float *scaled;  /* sqrt(2 / n) x */
    int64_t k, rows, n;
    int64_t columns; /* of a task */
};

static void scale_rows(void *context, int64_t i, int worker)
{
    const struct gram_task *t = context;
    int64_t end = (i + 1) * SCALE_ROWS < t->rows ? (i + 1) * SCALE_ROWS : t->rows;
    float scale = (float)sqrt(2.0 / (double)t->n);
    (void)worker;
    for (int64_t at = i * SCALE_ROWS * t->k; at < end * t->k; at++) t->scaled[at] = scale * t->x[at];
}

/* The last columns are the longest: they are started first. */
static void gram_columns(void *context, int64_t i, int worker)
{
    const struct gram_task *t = context;
    int64_t tiles = (t->k + t->columns - 1) / t->columns, first = (tiles - 1 - i) * t->columns;
    (void)worker;
    ptq_ops()->gram(t->h, t->k, (float)((double)(t->n - 1) / (double)t->n), t->scaled, t->k, t->rows, first,
                    first + t->columns < t->k ? t->columns : t->k - first);
}

/* Wide tiles, since BLAS packs all rows of x for each; four of them, so that the longest and the shortest, and the two
 * others, take two threads as long. */
static int64_t gram_tile(int64_t k)
{
    int64_t columns = (k + 63) / 64 * 16;
    return columns < LEAST_GRAM_COLUMNS  ? LEAST_GRAM_COLUMNS
           : columns > MOST_GRAM_COLUMNS ? MOST_GRAM_COLUMNS
                                         : columns;
}

struct ptq_stats *ptq_hessian_samples(struct ptq_block_task *task)
{
    struct ptq_stats *saw = ptq_new(task->scratch, struct ptq_stats, PTQ_N_INPUT);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        struct ptq_stats *s = &saw[input];
        s->k = ptq_input_width(&task->model->config, (enum ptq_input)input);
        s->rows = task->calib->windows * task->calib->length;
        s->n_sample = s->rows < PTQ_STATS_SAMPLE ? s->rows : PTQ_STATS_SAMPLE;
        s->sample = ptq_new(task->scratch, float, s->n_sample * s->k);
    }
    task->stats = saw;
    return saw;
}

/* The running mean over windows, one after the other as in the published code: H of n - 1 windows times (n - 1) / n,
 * plus 2 / n X^T X. */
static void add_gram(struct work *w, enum ptq_input input, const float *x, int64_t windows)
{
    int64_t k = width_of(w, input);
    struct gram_task t = {.h = w->h[input], .scaled = w->scaled, .k = k, .columns = gram_tile(k), .rows = w->f->length};
    ptq_stats_sample(&w->saw[input], x, w->seen[input] * t.rows, windows * t.rows);
    for (int64_t i = 0; i < windows; i++) {
        t.x = x + i * t.rows * k;
        t.n = ++w->seen[input];
        ptq_parallel_for((t.rows + SCALE_ROWS - 1) / SCALE_ROWS, scale_rows, &t);
        ptq_parallel_for((k + t.columns - 1) / t.columns, gram_columns, &t);
    }
}

static void make_hessian(struct work *w, enum ptq_input input)
{
    int64_t k = width_of(w, input);
    w->h[input] = ptq_new(w->task->scratch, float, k *k);
}

/* ---- the linears that read one input, as one problem ---- */

static void report_rows(const struct ptq_block_task *task, int role, int64_t first, const struct ptq_hessian_problem *p)
{
    struct ptq_linear_report *report = &task->report[role];
    report->damp = p->percdamp;
    for (int64_t n = first; n < first + task->block->linear[role].n; n++) {
        report->loss += p->loss[n];
        report->saturated += p->saturated[n];
    }
}

/* q, k, v (or gate, up) are rows [first, ..) of the stack. */
void ptq_hessian_share(const struct ptq_block_task *task, enum ptq_input input, const struct ptq_hessian_problem *p)
{
    const struct ptq_qmat *stack = p->q;
    int64_t first = 0;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *linear = &task->block->linear[role];
        struct ptq_qmat *q = &task->q[role];
        if (ptq_role_input[role] != input || !linear->n) continue;
        *q = *stack;
        q->n = linear->n;
        q->code += first * stack->k;
        q->scale += first * stack->n_groups;
        q->zero += first * stack->n_groups;
        report_rows(task, role, first, p);
        first += linear->n;
    }
}

/* What the codes stand for, into w->quantized. */
static void put_weights(struct work *w, enum ptq_input input, const struct ptq_qmat *stack)
{
    struct ptq_qmat fresh[PTQ_N_ROLE] = {0};
    float *weights = ptq_new(w->task->scratch, float, stack->n * stack->k);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        if (ptq_role_input[role] != input || !w->task->block->linear[role].n) continue;
        fresh[role] = w->task->q[role];
        w->quantized.linear[role].w = weights;
        weights += fresh[role].n * stack->k;
    }
    ptq_reapply(fresh, &w->quantized);
}

const struct ptq_linear *ptq_hessian_stack(const struct ptq_block_task *task, enum ptq_input input,
                                           struct ptq_hessian_problem *out)
{
    const struct ptq_linear *top = NULL;
    int64_t n = 0;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *linear = &task->block->linear[role];
        if (ptq_role_input[role] != input || !linear->n) continue;
        if (!top) top = linear;
        assert(linear->w == top->w + n * top->k);
        n += linear->n;
    }
    *out = (struct ptq_hessian_problem){.w = top->w, .arena = task->arena, .scratch = task->scratch, .input = input};
    out->q = ptq_new(task->scratch, struct ptq_qmat, 1);
    ptq_qmat_make(task->arena, &task->spec->grid, n, top->k, out->q);
    out->loss = ptq_new(task->scratch, double, n);
    out->saturated = ptq_new(task->scratch, int32_t, n);
    return top;
}

/* Codes of all linears that read this input, and their float32 weights into w->quantized. */
static enum ptq_status quantize(struct work *w, enum ptq_input input, struct ptq_error *err)
{
    struct ptq_hessian_problem p;
    const struct ptq_linear *top = ptq_hessian_stack(w->task, input, &p);
    p.h = w->h[input];
    PTQ_TRY(ptq_interrupted(err));
    struct ptq_mark mark = ptq_arena_mark(w->task->scratch);
    if (w->solver->solve(w->solver->options, &p, err)) return ptq_within(err, "%s", top->name);
    ptq_arena_rewind(w->task->scratch, mark);
    ptq_hessian_share(w->task, input, &p);
    put_weights(w, input, p.q);
    return PTQ_OK;
}

/* What the last block gives nobody reads. */
static int is_last(const struct work *w)
{
    return w->task->index + 1 == w->f->model->config.blocks;
}

/* ---- one-shot order ---- */

/* 0 where only= leaves alone all linears that read this input, and nothing that is kept depends on them: in this order
 * no input's codes depend on another's, and behind the last block that only= names nothing is coded. OBQ of a few
 * linears would else take hours for the others. */
int ptq_hessian_wants(const struct ptq_block_task *task, enum ptq_input input)
{
    const char *only = task->spec->only;
    int64_t first, last;
    struct ptq_error ignored;
    if (!*only || ptq_only_blocks(only, task->model, &first, &last, &ignored) || task->index != last) return 1;
    unsigned roles = ptq_only_roles(only, task->model, last);
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if ((roles >> role & 1) && ptq_role_input[role] == input) return 1;
    return 0;
}

/* A batch through the original block, but for the last product, whose result nobody reads; x is put back. */
static void look_at(struct work *w, int64_t window, int64_t n, float *saved)
{
    struct ptq_forward *f = w->f;
    const struct ptq_block *block = w->task->block;
    int64_t size = n * f->length * f->model->config.width;
    float *x = f->x + window * f->length * f->model->config.width;
    int moved = f->moved;
    ptq_forward_here(f);
    memcpy(saved, x, sizeof *x * (size_t)size);
    ptq_forward_step(f, block, PTQ_ATTN_IN_STEP, window, n, NULL, w->in);
    add_gram(w, PTQ_ATTN_IN, w->in, n);
    ptq_forward_step(f, block, PTQ_ATTENTION_STEP, window, n, w->in, w->wide);
    add_gram(w, PTQ_ATTN_OUT, w->wide, n);
    ptq_forward_step(f, block, PTQ_ATTN_OUT_STEP, window, n, w->wide, NULL);
    ptq_forward_step(f, block, PTQ_MLP_IN_STEP, window, n, NULL, w->in);
    add_gram(w, PTQ_MLP_IN, w->in, n);
    ptq_forward_step(f, block, PTQ_MLP_STEP, window, n, w->in, w->wide);
    add_gram(w, PTQ_MLP_OUT, w->wide, n);
    memcpy(x, saved, sizeof *x * (size_t)size);
    f->moved = moved;
}

static int64_t batch_at(const struct work *w, int64_t window)
{
    int64_t left = w->f->windows - window;
    return left < w->f->batch_windows ? left : w->f->batch_windows;
}

static enum ptq_status one_shot(struct work *w, struct ptq_error *err)
{
    struct ptq_forward *f = w->f;
    float *saved = ptq_new(w->task->scratch, float, f->batch_windows * f->length * f->model->config.width);
    for (int input = 0; input < PTQ_N_INPUT; input++) make_hessian(w, input);
    for (int64_t window = 0; window < f->windows; window += f->batch_windows) {
        PTQ_TRY(ptq_interrupted(err));
        look_at(w, window, batch_at(w, window), saved);
    }
    /* The widest input first, while no other linear's quantised copy is there yet: for a block of LLaMA-7B that is
     * 0.6 GiB of the peak. One input's codes do not depend on another's. */
    for (int input = PTQ_N_INPUT - 1; input >= 0; input--)
        if (ptq_hessian_wants(w->task, input)) PTQ_TRY(quantize(w, input, err));
    return is_last(w) ? PTQ_OK : ptq_forward_block(f, &w->quantized, w->task->index, NULL, err);
}

/* ---- staged order ---- */

/* Where a batch's outputs of the stage before are, or go: held, or (1 is returned) in the batch's own room, where they
 * are computed again when they are needed. */
static int place(const struct work *w, int64_t window, int64_t n, int64_t width, float **out)
{
    int64_t first = window * w->f->length * width;
    int again = first + n * w->f->length * width > w->held_floats;
    *out = again ? w->wide : w->held + first;
    return again;
}

static void attention(struct work *w, int64_t window, int64_t n, float *out)
{
    ptq_forward_step(w->f, &w->quantized, PTQ_ATTN_IN_STEP, window, n, NULL, w->in);
    ptq_forward_step(w->f, &w->quantized, PTQ_ATTENTION_STEP, window, n, w->in, out);
}

static void mlp(struct work *w, int64_t window, int64_t n, float *out)
{
    ptq_forward_step(w->f, &w->quantized, PTQ_MLP_IN_STEP, window, n, NULL, w->in);
    ptq_forward_step(w->f, &w->quantized, PTQ_MLP_STEP, window, n, w->in, out);
}

/* Gathers the Hessian of one input for one batch; what is before the input is quantised already. */
static void gather(struct work *w, enum ptq_input input, int64_t window, int64_t n)
{
    float *wide;
    int again = 0;
    switch (input) {
    case PTQ_ATTN_IN:
        ptq_forward_step(w->f, &w->quantized, PTQ_ATTN_IN_STEP, window, n, NULL, w->in);
        add_gram(w, input, w->in, n);
        break;
    case PTQ_ATTN_OUT:
        place(w, window, n, width_of(w, PTQ_ATTN_OUT), &wide);
        attention(w, window, n, wide);
        add_gram(w, input, wide, n);
        break;
    case PTQ_MLP_IN:
        again = place(w, window, n, width_of(w, PTQ_ATTN_OUT), &wide);
        if (again) attention(w, window, n, wide);
        ptq_forward_step(w->f, &w->quantized, PTQ_ATTN_OUT_STEP, window, n, wide, NULL);
        ptq_forward_step(w->f, &w->quantized, PTQ_MLP_IN_STEP, window, n, NULL, w->in);
        add_gram(w, input, w->in, n);
        break;
    default:
        place(w, window, n, width_of(w, PTQ_MLP_OUT), &wide);
        mlp(w, window, n, wide);
        add_gram(w, input, wide, n);
    }
}

int64_t ptq_hessian_held(int64_t rows, int64_t width, int64_t widest)
{
    int64_t usual = HELD_BYTES / (int64_t)sizeof(float), most = rows * widest;
    if (usual < rows * width) usual = rows * width;
    return usual < most ? usual : most;
}

static enum ptq_status staged(struct work *w, struct ptq_error *err)
{
    struct ptq_forward *f = w->f;
    int64_t most = width_of(w, PTQ_MLP_OUT) > width_of(w, PTQ_ATTN_OUT) ? PTQ_MLP_OUT : PTQ_ATTN_OUT;
    w->held_floats = ptq_hessian_held(f->windows * f->length, f->model->config.width, width_of(w, most));
    w->held = ptq_new(w->task->scratch, float, w->held_floats);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        make_hessian(w, input);
        for (int64_t window = 0; window < f->windows; window += f->batch_windows) {
            PTQ_TRY(ptq_interrupted(err));
            gather(w, input, window, batch_at(w, window));
        }
        PTQ_TRY(quantize(w, input, err));
    }
    for (int64_t window = 0; window < f->windows && !is_last(w); window += f->batch_windows) {
        int64_t n = batch_at(w, window);
        float *wide;
        if (place(w, window, n, width_of(w, PTQ_MLP_OUT), &wide)) mlp(w, window, n, wide);
        ptq_forward_step(f, &w->quantized, PTQ_MLP_OUT_STEP, window, n, wide, NULL);
    }
    return PTQ_OK;
}

unsigned ptq_hessian_need(const struct ptq_spec *spec)
{
    (void)spec;
    return PTQ_NEED_WINDOWS;
}

enum ptq_status ptq_hessian_block(struct ptq_block_task *task, const struct ptq_hessian_solver *solver,
                                  struct ptq_error *err)
{
    if (solver->solve_there && task->calib->offload && !ptq_offload_checks())
        return ptq_hessian_block_there(task, solver, err);
    struct work w = {.task = task, .f = task->calib, .quantized = *task->block, .solver = solver};
    int64_t rows = w.f->batch_windows * w.f->length, out = width_of(&w, PTQ_ATTN_OUT), ff = width_of(&w, PTQ_MLP_OUT);
    int64_t widest = out > ff ? out : ff;
    if (w.f->model->config.width > widest) widest = w.f->model->config.width;
    w.scaled = ptq_new(task->scratch, float, w.f->length *widest);
    w.in = ptq_new(task->scratch, float, rows *w.f->model->config.width);
    w.wide = ptq_new(task->scratch, float, rows *(out > ff ? out : ff));
    w.saw = ptq_hessian_samples(task);
    return solver->true_sequential ? staged(&w, err) : one_shot(&w, err);
}
