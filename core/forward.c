#include "forward.h"

#include "ops.h"
#include "pool.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { CHUNK_BYTES = 128 << 20, EMBED_ROWS = 256, HEAD_ROWS_A_TASK = 64 };

int64_t ptq_input_width(const struct ptq_config *c, enum ptq_input input)
{
    const int64_t width[PTQ_N_INPUT] = {c->width, c->heads * c->head_size, c->width, c->ff};
    return width[input];
}

static int64_t qkv_width(const struct ptq_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->head_size;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- one worker's scratch: the tile's intermediate rows ---- */

struct tile_scratch {
    float *normed;    /* [TILE][C] */
    float *mixed;     /* [TILE][H D] */
    float *mlp;       /* [TILE][2 F] gate and up, or [TILE][F] */
    float *attention; /* ptq_attention_scratch(T) */
    float *lse;       /* ptq_lse_scratch(TILE) */
};

static int64_t mlp_width(const struct ptq_config *c)
{
    return c->family->activation == PTQ_SILU_GATED ? 2 * c->ff : c->ff;
}

static struct tile_scratch cut_scratch(const struct ptq_forward *f, int worker)
{
    const struct ptq_config *c = &f->model->config;
    struct tile_scratch s;
    s.normed = f->scratch[worker];
    s.mixed = s.normed + PTQ_TILE_ROWS * c->width;
    s.mlp = s.mixed + PTQ_TILE_ROWS * c->heads * c->head_size;
    s.attention = s.mlp + PTQ_TILE_ROWS * mlp_width(c);
    s.lse = s.attention + ptq_attention_scratch(f->length);
    return s;
}

static size_t scratch_floats(const struct ptq_forward *f)
{
    const struct ptq_config *c = &f->model->config;
    return (size_t)(PTQ_TILE_ROWS * (c->width + c->heads * c->head_size + mlp_width(c))) +
           ptq_attention_scratch(f->length) + ptq_lse_scratch(PTQ_TILE_ROWS);
}

/* ---- making ---- */

int64_t ptq_forward_chunk(const struct ptq_model *model, int64_t length)
{
    int64_t fit = CHUNK_BYTES / (int64_t)sizeof(float) / model->config.width / length;
    return fit < 1 ? 1 : fit;
}

/* Angles in float32, position times frequency, as the reference has them. */
static void make_rotations(struct ptq_arena *arena, struct ptq_forward *f)
{
    int64_t half = f->model->config.head_size / 2;
    if (!f->model->rope_frequency) return;
    f->cosine = ptq_new(arena, float, f->length *half);
    f->sine = ptq_new(arena, float, f->length *half);
    for (int64_t t = 0; t < f->length; t++)
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)t * f->model->rope_frequency[i];
            f->cosine[t * half + i] = cosf(angle);
            f->sine[t * half + i] = sinf(angle);
        }
}

void ptq_forward_make(struct ptq_arena *arena, const struct ptq_model *model, const int32_t *id, int64_t windows,
                      int64_t length, struct ptq_forward *out)
{
    const struct ptq_config *c = &model->config;
    *out = (struct ptq_forward){.model = model, .id = id, .windows = windows, .length = length};
    out->batch_windows = min64(windows, length < PTQ_BATCH_ROWS ? PTQ_BATCH_ROWS / length : 1);
    out->x = ptq_new(arena, float, windows *length * c->width);
    out->qkv = ptq_new(arena, float, out->batch_windows *length *qkv_width(c));
    out->scratch = ptq_new(arena, float *, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++) out->scratch[i] = ptq_new(arena, float, scratch_floats(out));
    make_rotations(arena, out);
}

/* ---- embedding ---- */

struct embed_task {
    struct ptq_forward *f;
    const float *project; /* [C][E] or NULL */
    struct ptq_error *err;
    atomic_int failed;
};

static enum ptq_status embed_row(const struct ptq_forward *f, const float *project, int64_t row, float *token,
                                 struct ptq_error *err)
{
    const struct ptq_model *m = f->model;
    int64_t c = m->config.width, position = row % f->length + m->config.family->position_offset;
    float *x = f->x + row * c;
    PTQ_TRY(ptq_model_rows(m->embed, f->id[row], 1, project ? token : x, err));
    if (project) ptq_ops()->linear(x, c, token, m->config.embed_width, project, NULL, 0, 1, c, m->config.embed_width);
    if (!m->positions) return PTQ_OK;
    PTQ_TRY(ptq_model_rows(m->positions, position, 1, token, err));
    for (int64_t i = 0; i < c; i++) x[i] += token[i];
    return PTQ_OK;
}

static void embed_rows(void *context, int64_t i, int worker)
{
    struct embed_task *t = context;
    struct ptq_error err;
    int64_t rows = t->f->windows * t->f->length;
    for (int64_t row = i * EMBED_ROWS; row < min64((i + 1) * EMBED_ROWS, rows); row++)
        if (embed_row(t->f, t->project, row, t->f->scratch[worker], &err)) {
            if (!atomic_exchange(&t->failed, 1)) *t->err = err;
            return;
        }
}

/* A projection of OPT-350m as float32, or NULL. */
static enum ptq_status read_projection(const struct ptq_tensor *t, struct ptq_arena *arena, float **out,
                                       struct ptq_error *err)
{
    *out = NULL;
    if (!t) return PTQ_OK;
    *out = ptq_new(arena, float, t->count);
    return ptq_model_rows(t, 0, t->shape[0], *out, err);
}

enum ptq_status ptq_forward_embed(struct ptq_forward *f, struct ptq_error *err)
{
    const struct ptq_config *c = &f->model->config;
    int64_t rows = f->windows * f->length;
    for (int64_t i = 0; i < rows; i++)
        if (f->id[i] < 0 || f->id[i] >= c->vocab)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: token %lld has id %d, but the vocabulary ends at %lld; "
                            "the tokenizer does not belong to this model",
                            f->model->checkpoint.path, (long long)i, f->id[i], (long long)c->vocab - 1);
    struct ptq_arena *arena = ptq_arena_make("embedding");
    float *project;
    struct embed_task task = {.f = f, .err = err};
    enum ptq_status status = read_projection(f->model->project_in, arena, &project, err);
    if (!status) {
        task.project = project;
        ptq_parallel_for((rows + EMBED_ROWS - 1) / EMBED_ROWS, embed_rows, &task);
        status = atomic_load(&task.failed) ? err->status : PTQ_OK;
    }
    ptq_arena_free(arena);
    return status;
}

/* ---- a block ---- */

struct block_task {
    struct ptq_forward *f;
    const struct ptq_block *block;
    const struct ptq_tap *tap;
    float *x;     /* the batch's rows */
    int64_t rows; /* of the batch */
    atomic_int_fast64_t bad_row;
};

static void norm(const struct ptq_forward *f, float *y, const float *x, const float *w, const float *b, int64_t rows)
{
    const struct ptq_config *c = &f->model->config;
    if (c->family->norm == PTQ_RMSNORM)
        ptq_ops()->rmsnorm(y, x, w, (float)c->norm_eps, rows, c->width);
    else
        ptq_ops()->layernorm(y, x, w, b, (float)c->norm_eps, rows, c->width);
}

/* Where the tile's rows of an input are written: into the tap where there is one, else into scratch. */
static float *tapped(const struct block_task *t, enum ptq_input input, int64_t first, float *scratch)
{
    if (!t->tap) return scratch;
    return t->tap->x[input] + first * ptq_input_width(&t->f->model->config, input);
}

/* Rotation of q and k, window by window, since positions begin anew in each. */
static void rotate(const struct ptq_forward *f, float *qkv, int64_t first, int64_t rows)
{
    const struct ptq_config *c = &f->model->config;
    int64_t half = c->head_size / 2, ld = qkv_width(c);
    for (int64_t row = 0, n; row < rows; row += n) {
        int64_t position = (first + row) % f->length;
        n = min64(rows - row, f->length - position);
        ptq_ops()->rope(qkv + row * ld, ld, f->cosine + position * half, f->sine + position * half, n,
                        c->heads + c->kv_heads, c->head_size);
    }
}

/* Norm (where it comes before), q, k, v, rotation. */
static void tile_in(void *context, int64_t i, int worker)
{
    struct block_task *t = context;
    const struct ptq_config *c = &t->f->model->config;
    const struct ptq_linear *q = &t->block->linear[PTQ_Q];
    int64_t first = i * PTQ_TILE_ROWS, rows = min64(PTQ_TILE_ROWS, t->rows - first), ld = qkv_width(c);
    float *x = t->x + first * c->width, *qkv = t->f->qkv + first * ld;
    float *in = tapped(t, PTQ_ATTN_IN, first, cut_scratch(t->f, worker).normed);
    if (c->post_norm)
        memcpy(in, x, sizeof *in * (size_t)(rows * c->width));
    else
        norm(t->f, in, x, t->block->norm1_w, t->block->norm1_b, rows);
    ptq_ops()->linear(qkv, ld, in, c->width, q->w, q->b, 0, rows, ld, c->width);
    if (t->f->cosine) rotate(t->f, qkv, first, rows);
}

static void tile_attention(struct block_task *t, float *mixed, int64_t first, int64_t rows, float *scratch)
{
    const struct ptq_config *c = &t->f->model->config;
    int64_t ld = qkv_width(c), width = c->heads * c->head_size, length = t->f->length;
    struct ptq_attention shape = {c->heads, c->kv_heads, c->head_size, 1 / sqrtf((float)c->head_size)};
    for (int64_t row = 0, n; row < rows; row += n) {
        int64_t position = (first + row) % length;
        n = min64(rows - row, length - position);
        const float *window = t->f->qkv + (first + row - position) * ld, *k = window + width;
        ptq_ops()->attention(mixed + row * width, width, window + position * ld, k, k + c->kv_heads * c->head_size, ld,
                             &shape, position, n, scratch);
    }
}

static void tile_mlp(struct block_task *t, const float *in, float *x, int64_t first, int64_t rows, float *scratch)
{
    const struct ptq_config *c = &t->f->model->config;
    const struct ptq_linear *gate = &t->block->linear[PTQ_GATE], *up = &t->block->linear[PTQ_UP];
    const struct ptq_linear *down = &t->block->linear[PTQ_DOWN];
    int gated = c->family->activation == PTQ_SILU_GATED;
    int64_t ff = c->ff, ld = mlp_width(c), ld_out = t->tap ? ff : ld;
    float *out = tapped(t, PTQ_MLP_OUT, first, scratch);
    float *before = gated ? scratch : out;
    if (!gated) ld = ld_out = ff;
    const struct ptq_linear *stacked = gated ? gate : up;
    ptq_ops()->linear(before, ld, in, c->width, stacked->w, stacked->b, 0, rows, ld, c->width);
    if (gated)
        ptq_ops()->silu_mul(out, ld_out, before, before + ff, ld, rows, ff);
    else
        ptq_ops()->relu(out, ld_out, rows, ff);
    ptq_ops()->linear(x, c->width, out, ld_out, down->w, down->b, 1, rows, c->width, ff);
}

static void note_bad_row(struct block_task *t, const float *x, int64_t first, int64_t rows)
{
    int64_t c = t->f->model->config.width;
    for (int64_t i = 0; i < rows * c; i++)
        if (!isfinite(x[i])) {
            int_fast64_t row = first + i / c, seen = atomic_load(&t->bad_row);
            while ((seen < 0 || row < seen) && !atomic_compare_exchange_weak(&t->bad_row, &seen, row)) continue;
            return;
        }
}

/* Attention, its output, the MLP; x is updated in place. */
static void tile_out(void *context, int64_t i, int worker)
{
    struct block_task *t = context;
    const struct ptq_config *c = &t->f->model->config;
    const struct ptq_block *b = t->block;
    const struct ptq_linear *o = &b->linear[PTQ_O];
    int64_t n_tiles = (t->rows + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS;
    /* The last rows of a window attend to most: they are started first, so that no thread waits long at the end. */
    int64_t first = (n_tiles - 1 - i) * PTQ_TILE_ROWS, rows = min64(PTQ_TILE_ROWS, t->rows - first);
    struct tile_scratch s = cut_scratch(t->f, worker);
    float *x = t->x + first * c->width, *mixed = tapped(t, PTQ_ATTN_OUT, first, s.mixed);
    tile_attention(t, mixed, first, rows, s.attention);
    ptq_ops()->linear(x, c->width, mixed, o->k, o->w, o->b, 1, rows, c->width, o->k);
    float *in = tapped(t, PTQ_MLP_IN, first, s.normed);
    if (c->post_norm) {
        norm(t->f, x, x, b->norm1_w, b->norm1_b, rows);
        memcpy(in, x, sizeof *in * (size_t)(rows * c->width));
    } else {
        norm(t->f, in, x, b->norm2_w, b->norm2_b, rows);
    }
    tile_mlp(t, in, x, first, rows, s.mlp);
    if (c->post_norm) norm(t->f, x, x, b->norm2_w, b->norm2_b, rows);
    note_bad_row(t, x, first, rows);
}

enum ptq_status ptq_forward_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                  const struct ptq_tap *tap, struct ptq_error *err)
{
    int64_t c = f->model->config.width;
    for (int64_t window = 0; window < f->windows; window += f->batch_windows) {
        int64_t first = window * f->length, rows = min64(f->batch_windows, f->windows - window) * f->length;
        struct block_task task = {.f = f, .block = block, .tap = tap, .x = f->x + first * c, .rows = rows};
        atomic_init(&task.bad_row, -1);
        int64_t tiles = (rows + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS;
        ptq_parallel_for(tiles, tile_in, &task);
        ptq_parallel_for(tiles, tile_out, &task);
        int64_t bad = atomic_load(&task.bad_row);
        if (bad >= 0)
            return ptq_fail(err, PTQ_ENUMERIC,
                            "layer %lld: the activation of window %lld, token %lld is not finite; "
                            "the checkpoint is damaged or overflows",
                            (long long)index, (long long)((first + bad) / f->length),
                            (long long)((first + bad) % f->length));
        if (tap) tap->seen(tap->context, first, rows);
    }
    return PTQ_OK;
}

/* ---- the head ---- */

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
    if (c->final_norm) norm(t->f, x, x, m->final_norm_w, m->final_norm_b, rows);
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
                       cut_scratch(t->f, worker).lse);
}

/* Final norm and projection, then the vocabulary tile by tile over all rows. */
static enum ptq_status run_head(struct head_task *t, struct ptq_arena *arena, struct ptq_error *err)
{
    struct ptq_forward *f = t->f;
    const struct ptq_config *c = &f->model->config;
    int64_t rows = f->windows * f->length, tiles = (rows + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS;
    float *project;
    PTQ_TRY(read_projection(f->model->project_out, arena, &project, err));
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
