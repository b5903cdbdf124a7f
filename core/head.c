/* The end of the forward pass: final norm and projection, then the vocabulary tile by tile over all rows. */
#include "forward.h"

#include "forward_parts.h"
#include "offload.h"
#include "ops.h"
#include "pool.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { HEAD_ROWS_A_TASK = 64 };

struct head_task {
    struct ptq_forward *f;
    const float *project;                     /* [E][C] or NULL */
    float *x;                                 /* [rows][E], normed and projected */
    float *w;                                 /* [PTQ_VOCAB_ROWS][E], the vocabulary's tile */
    int64_t first, n;                         /* the tile's ids */
    struct ptq_lse *state;                    /* [rows], or NULL where logits are wanted */
    int32_t *target;                          /* [rows] */
    float *logits;                            /* [rows][V] or NULL */
    struct ptq_error *err;                    /* [tasks of reading the tile] */
    const struct ptq_reference_rows *against; /* or NULL */
    struct ptq_reference_rows *made;          /* or NULL; mean is a sum until all tiles are seen */
    float *kl;                                /* [rows], with against */
    int there, here;                          /* 1: the device computes it; the CPU does */
};

static void finish_rows(void *context, int64_t i, int worker)
{
    struct head_task *t = context;
    const struct ptq_model *m = t->f->model;
    const struct ptq_config *c = &m->config;
    int64_t first = i * PTQ_TILE_ROWS, rows = min64(PTQ_TILE_ROWS, t->f->windows * t->f->length - first);
    float *x = t->f->x + first * c->width, *y = t->x + first * c->embed_width;
    (void)worker;
    if (c->final_norm) ptq_norm_rows(t->f, x, x, m->final_norm_w, m->final_norm_b, rows);
    if (t->project)
        ptq_ops()->linear(y, c->embed_width, x, c->width, t->project, NULL, 0, rows, c->embed_width, c->width);
}

static void read_head_rows(void *context, int64_t i, int worker)
{
    struct head_task *t = context;
    int64_t at = i * HEAD_ROWS_A_TASK, e = t->f->model->config.embed_width;
    (void)worker;
    t->err[i].status = PTQ_OK;
    ptq_model_rows(t->f->model->head, t->first + at, min64(HEAD_ROWS_A_TASK, t->n - at), t->w + at * e, &t->err[i]);
}

static void score_rows(void *context, int64_t i, int worker)
{
    struct head_task *t = context;
    int64_t e = t->f->model->config.embed_width, vocab = t->f->model->config.vocab;
    int64_t first = i * PTQ_TILE_ROWS, rows = min64(PTQ_TILE_ROWS, t->f->windows * t->f->length - first);
    const float *x = t->x + first * e;
    float *scratch = ptq_tile_scratch(t->f, worker).lse;
    if (t->logits)
        ptq_ops()->linear(t->logits + first * vocab + t->first, vocab, x, e, t->w, NULL, 0, rows, t->n, e);
    else if (t->made)
        ptq_ops()->lse_mean(t->state + first, t->made->mean + first * e, x, t->w, t->target + first, t->first, rows,
                            t->n, e, scratch);
    else
        ptq_ops()->lse(t->state + first, x, t->w, t->target + first, t->first, rows, t->n, e, scratch);
}

/* Where it is computed: a device that is checked, and the CPU, or one of them. */
static void choose_place(struct head_task *t)
{
    struct ptq_forward *f = t->f;
    int check = f->offload && ptq_offload_checks();
    if (check) ptq_forward_here(f);
    t->there = f->offload && t->state &&
               ptq_offload_head_begin(f, t->project, t->state, t->target, t->made ? t->made->mean : NULL);
    t->here = !t->there || check;
    if (!t->there) ptq_forward_here(f);
}

static enum ptq_status take_from_device(struct head_task *t, struct ptq_arena *arena, struct ptq_error *err)
{
    int64_t rows = t->f->windows * t->f->length;
    struct ptq_lse *state = ptq_new(arena, struct ptq_lse, rows);
    PTQ_TRY(
        ptq_offload_head_end(t->f, state, t->made || t->against ? t->x : NULL, t->made ? t->made->mean : NULL, err));
    if (t->here) PTQ_TRY(ptq_offload_compare_nll(t->f, t->state, state, t->target, err));
    memcpy(t->state, state, sizeof *state * (size_t)rows);
    return PTQ_OK;
}

/* Final norm and projection, then the vocabulary tile by tile over all rows. */
static enum ptq_status run_head(struct head_task *t, struct ptq_arena *arena, struct ptq_error *err)
{
    struct ptq_forward *f = t->f;
    const struct ptq_config *c = &f->model->config;
    int64_t rows = f->windows * f->length, tiles = (rows + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS;
    float *project;
    PTQ_TRY(ptq_read_projection(f->model->project_out, arena, &project, err));
    t->project = project;
    t->x = project ? ptq_new(arena, float, rows * c->embed_width) : f->x;
    t->w = ptq_new(arena, float, PTQ_VOCAB_ROWS * c->embed_width);
    t->err = ptq_new(arena, struct ptq_error, PTQ_VOCAB_ROWS / HEAD_ROWS_A_TASK);
    choose_place(t);
    if (t->here) ptq_parallel_for(tiles, finish_rows, t);
    for (t->first = 0; t->first < c->vocab; t->first += t->n) {
        t->n = min64(PTQ_VOCAB_ROWS, c->vocab - t->first);
        int64_t parts = (t->n + HEAD_ROWS_A_TASK - 1) / HEAD_ROWS_A_TASK;
        ptq_parallel_for(parts, read_head_rows, t);
        for (int64_t i = 0; i < parts; i++)
            if (t->err[i].status) {
                *err = t->err[i];
                return err->status;
            }
        if (t->here) ptq_parallel_for(tiles, score_rows, t);
        if (t->there) ptq_offload_head_tile(f, t->w, t->first, t->n);
    }
    if (t->there) return take_from_device(t, arena, err);
    return f->offload ? ptq_offload_failed(f, err) : PTQ_OK;
}

/* ---- scores ---- */

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* reference.h has the equation. */
static void make_row(const struct head_task *t, int64_t row)
{
    int64_t e = t->f->model->config.embed_width;
    const struct ptq_lse *state = &t->state[row];
    float *mean = t->made->mean + row * e, inverse = (float)(1 / state->sum);
    for (int64_t i = 0; i < e; i++) mean[i] *= inverse;
    t->made->offset[row] = dot(mean, t->x + row * e, e) - ptq_lse_log(state);
    t->made->nll[row] = t->target[row] < 0 ? 0 : ptq_lse_nll(state);
    t->made->top[row] = state->top;
}

static void compare_row(const struct head_task *t, int64_t row)
{
    int64_t e = t->f->model->config.embed_width;
    double kl = t->against->offset[row] - dot(t->against->mean + row * e, t->x + row * e, e);
    kl += ptq_lse_log(&t->state[row]);
    t->kl[row] = (float)(kl < 0 ? 0 : kl);
}

static void finish_scores(void *context, int64_t i, int worker)
{
    const struct head_task *t = context;
    int64_t rows = t->f->windows * t->f->length;
    (void)worker;
    for (int64_t row = i * PTQ_TILE_ROWS; row < min64((i + 1) * PTQ_TILE_ROWS, rows); row++) {
        if (t->made) make_row(t, row);
        if (t->against) compare_row(t, row);
    }
}

/* Row number `row` as scored token number `at`. */
static void write_score(const struct head_task *t, int64_t row, int64_t at, const struct ptq_scores *out)
{
    const struct ptq_reference_rows *p = t->against;
    out->nll[at] = ptq_lse_nll(&t->state[row]);
    if (!p) return;
    out->kl[at] = t->kl[row];
    out->delta_p[at] = (float)(exp(-(double)out->nll[at]) - exp(-(double)p->nll[row]));
    out->same_top[at] = t->state[row].top == p->top[row];
}

static void start_scores(struct head_task *t, struct ptq_arena *arena)
{
    const struct ptq_forward *f = t->f;
    int64_t rows = f->windows * f->length;
    t->state = ptq_new(arena, struct ptq_lse, rows);
    t->target = ptq_new(arena, int32_t, rows);
    if (t->against) t->kl = ptq_new(arena, float, rows);
    if (t->made) memset(t->made->mean, 0, sizeof(float) * (size_t)(rows * t->made->width));
    for (int64_t i = 0; i < rows; i++) {
        t->state[i] = PTQ_LSE_EMPTY;
        t->target[i] = (i + 1) % f->length ? f->id[i + 1] : -1;
    }
}

enum ptq_status ptq_forward_score(struct ptq_forward *f, struct ptq_arena *arena,
                                  const struct ptq_reference_rows *against, struct ptq_reference_rows *made,
                                  const struct ptq_scores *out, struct ptq_error *err)
{
    int64_t rows = f->windows * f->length;
    struct ptq_mark mark = ptq_arena_mark(arena);
    struct head_task task = {.f = f, .against = against, .made = made};
    assert(!against || (against->rows == rows && against->width == f->model->config.embed_width));
    start_scores(&task, arena);
    PTQ_TRY(run_head(&task, arena, err));
    if (against || made) ptq_parallel_for((rows + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS, finish_scores, &task);
    for (int64_t w = 0, at = 0; w < f->windows; w++)
        for (int64_t t = 0; t + 1 < f->length; t++, at++) {
            write_score(&task, w * f->length + t, at, out);
            if (!isfinite(out->nll[at]) || (against && !isfinite(out->kl[at])))
                return ptq_fail(err, PTQ_ENUMERIC, "%s: window %lld, token %lld: the log-probability is not finite",
                                f->model->name, (long long)w, (long long)t + 1);
        }
    ptq_arena_rewind(arena, mark);
    return PTQ_OK;
}

enum ptq_status ptq_forward_nll(struct ptq_forward *f, struct ptq_arena *arena, float *nll, struct ptq_error *err)
{
    return ptq_forward_score(f, arena, NULL, NULL, &(struct ptq_scores){.nll = nll}, err);
}

enum ptq_status ptq_forward_logits(struct ptq_forward *f, struct ptq_arena *arena, float *logits, struct ptq_error *err)
{
    struct head_task task = {.f = f, .logits = logits};
    return run_head(&task, arena, err);
}
