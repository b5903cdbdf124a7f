/* The end of the forward pass: final norm and projection, then the vocabulary tile by tile over all rows. */
#include "forward.h"

#include "forward_parts.h"
#include "ops.h"
#include "pool.h"

#include <math.h>

enum { HEAD_ROWS_A_TASK = 64 };

struct head_task {
    struct ptq_forward *f;
    const float *project;  /* [E][C] or NULL */
    float *x;              /* [rows][E], normed and projected */
    float *w;              /* [PTQ_VOCAB_ROWS][E], the vocabulary's tile */
    int64_t first, n;      /* the tile's ids */
    struct ptq_lse *state; /* [rows], or NULL where logits are wanted */
    int32_t *target;       /* [rows] */
    float *logits;         /* [rows][V] or NULL */
    struct ptq_error *err; /* [tasks of reading the tile] */
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
    if (t->logits)
        ptq_ops()->linear(t->logits + first * vocab + t->first, vocab, x, e, t->w, NULL, 0, rows, t->n, e);
    else
        ptq_ops()->lse(t->state + first, x, t->w, t->target + first, t->first, rows, t->n, e,
                       ptq_tile_scratch(t->f, worker).lse);
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
    ptq_parallel_for(tiles, finish_rows, t);
    for (t->first = 0; t->first < c->vocab; t->first += t->n) {
        t->n = min64(PTQ_VOCAB_ROWS, c->vocab - t->first);
        int64_t parts = (t->n + HEAD_ROWS_A_TASK - 1) / HEAD_ROWS_A_TASK;
        ptq_parallel_for(parts, read_head_rows, t);
        for (int64_t i = 0; i < parts; i++)
            if (t->err[i].status) {
                *err = t->err[i];
                return err->status;
            }
        ptq_parallel_for(tiles, score_rows, t);
    }
    return PTQ_OK;
}

enum ptq_status ptq_forward_nll(struct ptq_forward *f, struct ptq_arena *arena, float *nll, struct ptq_error *err)
{
    int64_t rows = f->windows * f->length;
    struct ptq_mark mark = ptq_arena_mark(arena);
    struct head_task task = {.f = f};
    task.state = ptq_new(arena, struct ptq_lse, rows);
    task.target = ptq_new(arena, int32_t, rows);
    for (int64_t i = 0; i < rows; i++) {
        task.state[i] = PTQ_LSE_EMPTY;
        task.target[i] = (i + 1) % f->length ? f->id[i + 1] : -1;
    }
    PTQ_TRY(run_head(&task, arena, err));
    for (int64_t w = 0, at = 0; w < f->windows; w++)
        for (int64_t t = 0; t + 1 < f->length; t++, at++) {
            nll[at] = ptq_lse_nll(&task.state[w * f->length + t]);
            if (!isfinite(nll[at]))
                return ptq_fail(err, PTQ_ENUMERIC, "window %lld, token %lld: the log-probability is not finite",
                                (long long)w, (long long)t + 1);
        }
    ptq_arena_rewind(arena, mark);
    return PTQ_OK;
}

enum ptq_status ptq_forward_logits(struct ptq_forward *f, struct ptq_arena *arena, float *logits, struct ptq_error *err)
{
    struct head_task task = {.f = f, .logits = logits};
    return run_head(&task, arena, err);
}
