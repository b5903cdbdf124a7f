#include "forward.h"

#include "forward_parts.h"
#include "offload.h"

#include "ops.h"
#include "pool.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { EMBED_ROWS = 256 };

int64_t ptq_chunk_bytes = 128 << 20;

int64_t ptq_input_width(const struct ptq_config *c, enum ptq_input input)
{
    const int64_t width[PTQ_N_INPUT] = {c->width, c->heads * c->head_size, c->width, c->ff};
    return width[input];
}

int64_t ptq_qkv_width(const struct ptq_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->head_size;
}

/* ---- one worker's scratch ---- */

static int64_t mlp_width(const struct ptq_config *c)
{
    return c->activation == PTQ_SILU_GATED ? 2 * c->ff : c->ff;
}

struct ptq_tile_scratch ptq_tile_scratch(const struct ptq_forward *f, int worker)
{
    const struct ptq_config *c = &f->model->config;
    struct ptq_tile_scratch s;
    s.normed = f->scratch[worker];
    s.mixed = s.normed + PTQ_TILE_ROWS * c->width;
    s.mlp = s.mixed + PTQ_TILE_ROWS * c->heads * c->head_size;
    s.attention = s.mlp + PTQ_TILE_ROWS * mlp_width(c);
    s.lse = s.attention + ptq_attention_scratch(f->length, c->head_size);
    return s;
}

static size_t scratch_floats(const struct ptq_forward *f)
{
    const struct ptq_config *c = &f->model->config;
    return (size_t)(PTQ_TILE_ROWS * (c->width + c->heads * c->head_size + mlp_width(c))) +
           ptq_attention_scratch(f->length, c->head_size) + ptq_lse_scratch(PTQ_TILE_ROWS);
}

/* ---- making ---- */

static int64_t batch_windows(int64_t length)
{
    return length < PTQ_BATCH_ROWS ? PTQ_BATCH_ROWS / length : 1;
}

/* Whole batches, so that tiles, and with them the last bits, are the same however many chunks there are. */
int64_t ptq_forward_chunk(const struct ptq_model *model, int64_t length)
{
    int64_t fit = ptq_chunk_bytes / (int64_t)sizeof(float) / model->config.width / length;
    int64_t batch = batch_windows(length);
    return fit < 1 ? 1 : fit > batch ? fit / batch * batch : fit;
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

int64_t ptq_forward_bytes(const struct ptq_model *model, int64_t length)
{
    struct ptq_forward f = {.model = model, .length = length};
    int64_t qkv = batch_windows(length) * length * ptq_qkv_width(&model->config);
    return (int64_t)sizeof(float) * (qkv + (int64_t)scratch_floats(&f) * ptq_pool_size());
}

void ptq_forward_make(struct ptq_arena *arena, const struct ptq_model *model, const int32_t *id, int64_t windows,
                      int64_t length, struct ptq_forward *out)
{
    const struct ptq_config *c = &model->config;
    *out = (struct ptq_forward){.model = model, .id = id, .windows = windows, .length = length};
    out->batch_windows = min64(windows, batch_windows(length));
    out->x = ptq_new(arena, float, windows *length * c->width);
    out->qkv = ptq_new(arena, float, out->batch_windows *length *ptq_qkv_width(c));
    out->scratch = ptq_new(arena, float *, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++) out->scratch[i] = ptq_new(arena, float, scratch_floats(out));
    make_rotations(arena, out);
    if (model->device) ptq_offload_make(arena, out);
}

/* ---- embedding ---- */

struct embed_task {
    struct ptq_forward *f;
    int64_t first, end;   /* rows */
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
    if (m->positions) {
        PTQ_TRY(ptq_model_rows(m->positions, position, 1, token, err));
        for (int64_t i = 0; i < c; i++) x[i] += token[i];
    }
    if (m->embed_norm_w) ptq_norm_rows(f, x, x, m->embed_norm_w, m->embed_norm_b, 1);
    return PTQ_OK;
}

static void embed_rows(void *context, int64_t i, int worker)
{
    struct embed_task *t = context;
    struct ptq_error err;
    for (int64_t row = t->first + i * EMBED_ROWS; row < min64(t->first + (i + 1) * EMBED_ROWS, t->end); row++)
        if (embed_row(t->f, t->project, row, t->f->scratch[worker], &err)) {
            if (!atomic_exchange(&t->failed, 1)) *t->err = err;
            return;
        }
}

enum ptq_status ptq_read_projection(const struct ptq_tensor *t, struct ptq_arena *arena, float **out,
                                    struct ptq_error *err)
{
    *out = NULL;
    if (!t) return PTQ_OK;
    *out = ptq_new(arena, float, t->count);
    return ptq_model_rows(t, 0, t->shape[0], *out, err);
}

enum ptq_status ptq_forward_embed(struct ptq_forward *f, struct ptq_error *err)
{
    f->away = 0;
    return ptq_forward_embed_rows(f, 0, f->windows * f->length, err);
}

enum ptq_status ptq_check_ids(const struct ptq_model *m, const int32_t *id, int64_t first, int64_t n,
                              struct ptq_error *err)
{
    for (int64_t i = first; i < first + n; i++)
        if (id[i] < 0 || id[i] >= m->config.vocab)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: token %lld has id %d, but the vocabulary ends at %lld; "
                            "the tokenizer does not belong to this model",
                            m->checkpoint.path, (long long)i, id[i], (long long)m->config.vocab - 1);
    return PTQ_OK;
}

enum ptq_status ptq_forward_embed_rows(struct ptq_forward *f, int64_t first, int64_t rows, struct ptq_error *err)
{
    PTQ_TRY(ptq_check_ids(f->model, f->id, first, rows, err));
    struct ptq_arena *arena = ptq_arena_make("embedding");
    float *project;
    struct embed_task task = {.f = f, .first = first, .end = first + rows, .err = err};
    enum ptq_status status = ptq_read_projection(f->model->project_in, arena, &project, err);
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
    int64_t base; /* the first of them that is computed: 0, or where a window goes on */
    int64_t rows; /* the end of the rows that are computed */
    atomic_int_fast64_t bad_row;
};

void ptq_norm_rows(const struct ptq_forward *f, float *y, const float *x, const float *w, const float *b, int64_t rows)
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
    int64_t half = c->head_size / 2, ld = ptq_qkv_width(c);
    for (int64_t row = 0, n; row < rows; row += n) {
        int64_t position = (first + row) % f->length;
        n = min64(rows - row, f->length - position);
        ptq_ops()->rope(qkv + row * ld, ld, f->cosine + position * half, f->sine + position * half, n,
                        c->heads + c->kv_heads, c->head_size);
    }
}

/* ---- the steps, each for one tile: rows [first, first + rows) of the batch, x and qkv at its first row ---- */

/* The norm before attention (which = 1) or MLP (2); x as it is where norms come after. */
static void norm_before(const struct block_task *t, int which, const float *x, float *in, int64_t rows)
{
    const struct ptq_block *b = t->block;
    if (t->f->model->config.post_norm)
        memcpy(in, x, sizeof *in * (size_t)(rows * t->f->model->config.width));
    else
        ptq_norm_rows(t->f, in, x, which == 1 ? b->norm1_w : b->norm2_w, which == 1 ? b->norm1_b : b->norm2_b, rows);
}

static void norm_after(const struct block_task *t, int which, float *x, int64_t rows)
{
    const struct ptq_block *b = t->block;
    if (t->f->model->config.post_norm)
        ptq_norm_rows(t->f, x, x, which == 1 ? b->norm1_w : b->norm2_w, which == 1 ? b->norm1_b : b->norm2_b, rows);
}

static void tile_qkv(const struct block_task *t, const float *in, int64_t first, int64_t rows, int worker)
{
    int64_t ld = ptq_qkv_width(&t->f->model->config);
    float *qkv = t->f->qkv + first * ld;
    struct ptq_tile tile = {.x = in, .ldx = t->f->model->config.width, .y = qkv, .ldy = ld, .rows = rows};
    ptq_tile_linear(t->f, t->block, PTQ_ATTN_IN, &tile, worker);
    if (t->f->cosine) rotate(t->f, qkv, first, rows);
}

struct ptq_attention ptq_attention_shape(const struct ptq_model *m, const struct ptq_block *block)
{
    const struct ptq_config *c = &m->config;
    return (struct ptq_attention){.heads = c->heads,
                                  .kv_heads = c->kv_heads,
                                  .head_size = c->head_size,
                                  .scale = 1 / sqrtf((float)c->head_size),
                                  .window = block->window,
                                  .slope = m->alibi_slope};
}

static void tile_attention(const struct block_task *t, float *mixed, int64_t first, int64_t rows, float *scratch)
{
    const struct ptq_config *c = &t->f->model->config;
    int64_t ld = ptq_qkv_width(c), width = c->heads * c->head_size, length = t->f->length;
    struct ptq_attention shape = ptq_attention_shape(t->f->model, t->block);
    for (int64_t row = 0, n; row < rows; row += n) {
        int64_t position = (first + row) % length;
        n = min64(rows - row, length - position);
        const float *window = t->f->qkv + (first + row - position) * ld, *k = window + width;
        ptq_ops()->attention(mixed + row * width, width, window + position * ld, k, k + c->kv_heads * c->head_size, ld,
                             &shape, position, n, scratch);
    }
}

/* x += w in, then the norm where it comes after. */
static void tile_add(const struct block_task *t, enum ptq_input input, int which, const float *in, int64_t ld, float *x,
                     int64_t rows, int worker)
{
    int64_t c = t->f->model->config.width;
    struct ptq_tile tile = {.x = in, .ldx = ld, .y = x, .ldy = c, .accumulate = 1, .rows = rows};
    ptq_tile_linear(t->f, t->block, input, &tile, worker);
    norm_after(t, which, x, rows);
}

/* x[rows][F] in place. */
static void activate(enum ptq_activation activation, float *x, int64_t ld, int64_t rows, int64_t ff)
{
    void (*const plain[PTQ_N_ACTIVATION])(float *, int64_t, int64_t, int64_t) = {
        [PTQ_RELU] = ptq_ops()->relu, [PTQ_GELU_TANH] = ptq_ops()->gelu_tanh, [PTQ_GELU_ERF] = ptq_ops()->gelu_erf};
    plain[activation](x, ld, rows, ff);
}

/* out[rows][ld_out] = the activation; gate and up need [rows][2 F] of scratch, which out may be. */
static void tile_mlp(const struct block_task *t, const float *in, float *out, int64_t ld_out, int64_t rows,
                     float *scratch, int worker)
{
    const struct ptq_config *c = &t->f->model->config;
    int gated = c->activation == PTQ_SILU_GATED;
    float *before = gated ? scratch : out;
    int64_t ld = gated ? mlp_width(c) : ld_out;
    struct ptq_tile tile = {.x = in, .ldx = c->width, .y = before, .ldy = ld, .rows = rows};
    ptq_tile_linear(t->f, t->block, PTQ_MLP_IN, &tile, worker);
    if (gated)
        ptq_ops()->silu_mul(out, ld_out, before, before + c->ff, ld, rows, c->ff);
    else
        activate(c->activation, out, ld_out, rows, c->ff);
    /* what AWQ could not fold into the linear before the activation */
    if (t->block->activation_scale) ptq_ops()->divide(out, ld_out, t->block->activation_scale, rows, c->ff);
}

/* ---- a block, its steps fused: two barriers ---- */

static void tile_in(void *context, int64_t i, int worker)
{
    struct block_task *t = context;
    int64_t first = t->base + i * PTQ_TILE_ROWS, rows = min64(PTQ_TILE_ROWS, t->rows - first);
    float *in = tapped(t, PTQ_ATTN_IN, first, ptq_tile_scratch(t->f, worker).normed);
    norm_before(t, 1, t->x + first * t->f->model->config.width, in, rows);
    tile_qkv(t, in, first, rows, worker);
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

static void tile_out(void *context, int64_t i, int worker)
{
    struct block_task *t = context;
    const struct ptq_config *c = &t->f->model->config;
    int64_t n_tiles = (t->rows - t->base + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS;
    /* The last rows of a window attend to most: they are started first, so that no thread waits long at the end. */
    int64_t first = t->base + (n_tiles - 1 - i) * PTQ_TILE_ROWS, rows = min64(PTQ_TILE_ROWS, t->rows - first);
    struct ptq_tile_scratch s = ptq_tile_scratch(t->f, worker);
    float *x = t->x + first * c->width, *mixed = tapped(t, PTQ_ATTN_OUT, first, s.mixed);
    float *in = tapped(t, PTQ_MLP_IN, first, s.normed), *act = tapped(t, PTQ_MLP_OUT, first, s.mlp);
    int64_t ld = act == s.mlp ? mlp_width(c) : c->ff;
    tile_attention(t, mixed, first, rows, s.attention);
    tile_add(t, PTQ_ATTN_OUT, 1, mixed, c->heads * c->head_size, x, rows, worker);
    norm_before(t, 2, x, in, rows);
    tile_mlp(t, in, act, ld, rows, s.mlp, worker);
    tile_add(t, PTQ_MLP_OUT, 2, act, ld, x, rows, worker);
    note_bad_row(t, x, first, rows);
}

/* ---- a block step by step ---- */

struct step_task {
    struct block_task block;
    enum ptq_step step;
    const float *in;
    float *out;
};

static void tile_step(void *context, int64_t i, int worker)
{
    struct step_task *s = context;
    struct block_task *t = &s->block;
    const struct ptq_config *c = &t->f->model->config;
    int64_t first = i * PTQ_TILE_ROWS, rows = min64(PTQ_TILE_ROWS, t->rows - first), heads = c->heads * c->head_size;
    struct ptq_tile_scratch scratch = ptq_tile_scratch(t->f, worker);
    float *x = t->x + first * c->width;
    switch (s->step) {
    case PTQ_ATTN_IN_STEP:
        norm_before(t, 1, x, s->out + first * c->width, rows);
        break;
    case PTQ_ATTENTION_STEP:
        tile_attention(t, s->out + first * heads, first, rows, scratch.attention);
        break;
    case PTQ_ATTN_OUT_STEP:
        tile_add(t, PTQ_ATTN_OUT, 1, s->in + first * heads, heads, x, rows, worker);
        break;
    case PTQ_MLP_IN_STEP:
        norm_before(t, 2, x, s->out + first * c->width, rows);
        break;
    case PTQ_MLP_STEP:
        tile_mlp(t, s->in + first * c->width, s->out + first * c->ff, c->ff, rows, scratch.mlp, worker);
        break;
    case PTQ_MLP_OUT_STEP:
        tile_add(t, PTQ_MLP_OUT, 2, s->in + first * c->ff, c->ff, x, rows, worker);
        break;
    }
}

static void tile_step_qkv(void *context, int64_t i, int worker)
{
    struct step_task *s = context;
    int64_t first = i * PTQ_TILE_ROWS;
    tile_qkv(&s->block, s->in + first * s->block.f->model->config.width, first,
             min64(PTQ_TILE_ROWS, s->block.rows - first), worker);
}

void ptq_forward_step(struct ptq_forward *f, const struct ptq_block *block, enum ptq_step step, int64_t window,
                      int64_t n, const float *in, float *out)
{
    assert(step != PTQ_ATTENTION_STEP || n <= f->batch_windows);
    ptq_forward_here(f);
    struct step_task task = {.step = step, .in = in, .out = out};
    task.block.f = f;
    task.block.block = block;
    task.block.x = f->x + window * f->length * f->model->config.width;
    task.block.rows = n * f->length;
    int64_t tiles = (task.block.rows + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS;
    if (step == PTQ_ATTN_OUT_STEP || step == PTQ_MLP_OUT_STEP) f->moved = 1;
    if (step == PTQ_ATTENTION_STEP) ptq_parallel_for(tiles, tile_step_qkv, &task);
    ptq_parallel_for(tiles, tile_step, &task);
}

enum ptq_status ptq_bad_row(const struct ptq_forward *f, int64_t index, int64_t row, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_ENUMERIC,
                    "%s: layer %lld: the activation of window %lld, token %lld is not finite; "
                    "the checkpoint is damaged or overflows",
                    f->model->name, (long long)index, (long long)(row / f->length), (long long)(row % f->length));
}

/* The task's rows through a block. Says which window and token went wrong, by the rows before the batch. */
static enum ptq_status run_block(struct block_task *t, int64_t index, int64_t before, struct ptq_error *err)
{
    int64_t tiles = (t->rows - t->base + PTQ_TILE_ROWS - 1) / PTQ_TILE_ROWS;
    atomic_init(&t->bad_row, -1);
    ptq_parallel_for(tiles, tile_in, t);
    ptq_parallel_for(tiles, tile_out, t);
    int64_t bad = atomic_load(&t->bad_row);
    return bad < 0 ? PTQ_OK : ptq_bad_row(t->f, index, before + bad, err);
}

enum ptq_status ptq_forward_rows(struct ptq_forward *f, const struct ptq_block *block, int64_t index, int64_t first,
                                 int64_t rows, struct ptq_error *err)
{
    assert(f->windows == 1 && first + rows <= f->length && !f->offload);
    struct block_task task = {.f = f, .block = block, .x = f->x, .base = first, .rows = first + rows};
    return run_block(&task, index, 0, err);
}

enum ptq_status ptq_forward_block_here(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                       const struct ptq_tap *tap, struct ptq_error *err)
{
    for (int64_t window = 0; window < f->windows; window += f->batch_windows) {
        int64_t first = window * f->length, rows = min64(f->batch_windows, f->windows - window) * f->length;
        struct block_task task = {
            .f = f, .block = block, .tap = tap, .x = f->x + first * f->model->config.width, .rows = rows};
        PTQ_TRY(run_block(&task, index, first, err));
        if (tap) tap->seen(tap->context, first, rows);
    }
    return PTQ_OK;
}

enum ptq_status ptq_forward_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                  const struct ptq_tap *tap, struct ptq_error *err)
{
    f->moved = 1;
    if (!f->windows) return PTQ_OK;
    if (!f->offload) return ptq_forward_block_here(f, block, index, tap, err);
    if (ptq_offload_checks()) return ptq_offload_check_block(f, block, index, tap, err);
    return ptq_offload_block(f, block, index, tap, err);
}
