#include "resident.h"

#include "forward_parts.h"
#include "offload.h"

#include <string.h>

enum { MOST_ROWS = 2048, AT_BYTES = 256 };

/* ---- memory ---- */

static void give_back(void *context)
{
    struct ptq_resident *r = context;
    if (r->ahead) r->device->error(); /* waits for what nobody will ask for */
    if (r->recording) r->device->decoding.forget(r->recording);
    ptq_offload_give(r->device, r->room, r->bytes);
    r->recording = NULL;
    r->room = NULL;
}

static int64_t qkv_width(const struct ptq_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->head_size;
}

static int64_t mlp_width(const struct ptq_config *c)
{
    return c->activation == PTQ_SILU_GATED ? 2 * c->ff : c->ff;
}

static size_t product_scratch(const struct ptq_resident *r, const struct ptq_resident_product *p, int64_t rows)
{
    if (p->form == PTQ_AS_PACKED) return r->device->packed_scratch(&p->packed, rows);
    return p->form == PTQ_AS_HALF ? r->device->decoding.half_scratch(rows, p->n, p->k) : 0;
}

static size_t scratch_bytes(const struct ptq_resident *r)
{
    size_t most = sizeof(float) * ptq_attention_scratch(r->most_rows, r->model->config.head_size);
    for (int64_t b = 0; b < r->model->config.blocks; b++)
        for (int input = 0; input < PTQ_N_INPUT; input++)
            for (int i = 0; i < r->block[b].input[input].n; i++) {
                size_t bytes = product_scratch(r, &r->block[b].input[input].product[i], r->most_rows);
                most = bytes > most ? bytes : most;
            }
    return most;
}

/* Attention of a block; the slopes are the device's. */
static struct ptq_attention shape_of(const struct ptq_resident *r, const struct ptq_resident_block *b)
{
    struct ptq_attention shape = ptq_attention_shape(r->model, &(struct ptq_block){.window = b->window});
    if (shape.slope) shape.slope = r->slope;
    return shape;
}

static size_t recall_bytes(const struct ptq_resident *r)
{
    size_t most = 0;
    for (int64_t b = 0; b < r->model->config.blocks; b++) {
        struct ptq_attention shape = shape_of(r, &r->block[b]);
        size_t bytes = r->device->decoding.recall_scratch(&shape, r->capacity);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* What rows need beside the weights. Windows of one length have one scratch; others are cleared for each other. */
static void lay_out_rows(struct ptq_resident *r, struct ptq_carve *c)
{
    const struct ptq_config *k = &r->model->config;
    int64_t rows = r->most_rows;
    r->scratch_bytes = scratch_bytes(r);
    r->at = ptq_carve(c, AT_BYTES + sizeof(float) * (size_t)(rows * k->width));
    r->x = r->at ? (float *)((unsigned char *)r->at + AT_BYTES) : NULL;
    r->normed = ptq_carve_floats(c, rows * k->width);
    r->wide = ptq_carve_floats(c, rows * (qkv_width(k) > k->ff ? qkv_width(k) : k->ff));
    r->mixed = ptq_carve_floats(c, rows * k->heads * k->head_size);
    r->mlp = ptq_carve_floats(c, rows * mlp_width(k));
    r->projected = r->projects ? ptq_carve_floats(c, k->embed_width) : NULL;
    r->logits = ptq_carve_floats(c, k->vocab);
    r->best = r->at ? r->at + 1 : NULL;
    r->likeliest_scratch = ptq_carve(c, r->device->decoding.likeliest_scratch);
    r->recall_scratch = ptq_carve(c, recall_bytes(r));
    r->scratch = ptq_carve(c, r->scratch_bytes);
}

static void set_positions(const struct ptq_resident *r)
{
    for (int64_t b = 0; b < r->model->config.blocks; b++) r->block[b].cache.at = r->at;
}

static void clear(const struct ptq_resident *r, struct ptq_arena *scratch, void *memory, size_t bytes)
{
    r->device->upload(memory, ptq_new(scratch, unsigned char, bytes), bytes);
}

static enum ptq_status told(const struct ptq_resident *r, const char *failure, struct ptq_error *err)
{
    if (!failure) return PTQ_OK;
    return ptq_fail(err, PTQ_EDEVICE, "%s: %s; --device cpu computes the same", r->device->name, failure);
}

/* Fewer rows together where memory is short, as many tokens as were asked for. */
static enum ptq_status take_room(struct ptq_resident *r, size_t weights, struct ptq_error *err)
{
    size_t need = 0;
    for (r->most_rows = min64(r->capacity, MOST_ROWS); r->most_rows; r->most_rows /= 2) {
        struct ptq_carve count = {.used = weights};
        lay_out_rows(r, &count);
        need = r->bytes = count.used;
        r->room = ptq_offload_take(r->device, r->bytes);
        if (r->room) return PTQ_OK;
    }
    return ptq_fail(err, PTQ_EDEVICE,
                    "%s: the model and a cache for %lld tokens need %zu bytes of device memory, and %zu bytes are "
                    "free; take fewer bits or fewer tokens (-n), or --device cpu",
                    r->device->name, (long long)r->capacity, need, r->device->room());
}

enum ptq_status ptq_resident_make(struct ptq_arena *arena, const struct ptq_forward *forward,
                                  const struct ptq_block *block, int64_t capacity, const uint16_t *head16,
                                  const float *head, const float *project, struct ptq_resident **out,
                                  struct ptq_error *err)
{
    struct ptq_resident *r = *out = ptq_new(arena, struct ptq_resident, 1);
    const struct ptq_model *m = r->model = forward->model;
    PTQ_TRY(ptq_offload_check_heads(m, err));
    r->device = m->device;
    r->forward = forward;
    r->capacity = capacity;
    r->block = ptq_new(arena, struct ptq_resident_block, m->config.blocks);
    r->arrives = ptq_new(arena, unsigned char, AT_BYTES + sizeof(float) * (size_t)m->config.width);
    ptq_arena_defer(arena, give_back, r);
    struct ptq_arena *scratch = ptq_arena_make("a model on its way to a device");
    size_t weights = ptq_resident_send(r, scratch, NULL, block, head16, head, project);
    r->projects = project != NULL;
    enum ptq_status status = take_room(r, weights, err);
    if (!status) {
        struct ptq_carve rows = {.base = r->room};
        rows.used = ptq_resident_send(r, scratch, r->room, block, head16, head, project);
        lay_out_rows(r, &rows);
        set_positions(r);
        clear(r, scratch, r->likeliest_scratch, r->device->decoding.likeliest_scratch);
        clear(r, scratch, r->recall_scratch, recall_bytes(r));
        status = told(r, r->device->error(), err);
    }
    ptq_arena_free(scratch);
    return status;
}

/* ---- rows through the model ---- */

/* n rows of x; begun: rows are there already, of which the device alone knows how many. */
struct pass {
    struct ptq_resident *r;
    int64_t n;
    int begun;
};

static void product(const struct pass *p, const struct ptq_resident_product *w, const float *x, float *y, int64_t ldy,
                    int accumulate, int64_t n, int fill)
{
    const struct ptq_resident *r = p->r;
    const struct ptq_device *d = r->device;
    if (w->form == PTQ_AS_PACKED && n == 1 && d->decoding.row_multiplies(&w->packed)) {
        if (fill) d->decoding.acts_row(r->scratch, &w->packed, x);
        d->decoding.multiply_row(y, &w->packed, w->b, accumulate, r->scratch);
    } else if (w->form == PTQ_AS_PACKED) {
        if (fill) d->packed_acts(&w->packed, x, w->k, n, r->scratch);
        d->packed_multiply(y, ldy, &w->packed, w->b, accumulate, n, r->scratch);
    } else if (w->form == PTQ_AS_HALF) {
        d->decoding.linear_half(y, ldy, x, w->k, w->w, w->b, accumulate, n, w->n, w->k, r->scratch);
    } else {
        d->ops.linear(y, ldy, x, w->k, w->w, w->b, accumulate, n, w->n, w->k);
    }
}

/* What an input's products read: x, or its activations, which are in scratch already. */
struct given {
    const float *x;
    int filled;
};

static void multiply(const struct pass *p, const struct ptq_resident_block *b, enum ptq_input input, struct given in,
                     float *y, int64_t ldy, int accumulate)
{
    for (int i = 0; i < b->input[input].n; i++) {
        const struct ptq_resident_product *w = &b->input[input].product[i];
        product(p, w, in.x, y, ldy, accumulate, p->n, !in.filled && (i == 0 || !b->input[input].alike));
        y += w->n;
    }
}

/* Where the only row goes that an input reads: to y, or straight to what its packed linears read. head_size: of
 * attention, else 0. */
static struct ptq_row row_for(const struct pass *p, const struct ptq_resident_block *b, enum ptq_input input, float *y,
                              int64_t head_size)
{
    const struct ptq_resident_product *first = &b->input[input].product[0];
    struct ptq_row row = {.y = y, .scratch = p->r->scratch};
    if (first->form == PTQ_AS_PACKED && b->input[input].alike &&
        p->r->device->decoding.row_serves(&first->packed, head_size))
        row.w = &first->packed;
    return row;
}

static void norm(const struct pass *p, float *y, const float *x, const float *w, const float *b, int64_t rows)
{
    const struct ptq_config *c = &p->r->model->config;
    const struct ptq_ops *ops = &p->r->device->ops;
    if (c->family->norm == PTQ_RMSNORM)
        ops->rmsnorm(y, x, w, (float)c->norm_eps, rows, c->width);
    else
        ops->layernorm(y, x, w, b, (float)c->norm_eps, rows, c->width);
}

/* What attention (which = 0) or MLP (1) reads. */
static struct given norm_before(const struct pass *p, const struct ptq_resident_block *b, int which)
{
    struct ptq_resident *r = p->r;
    const struct ptq_config *c = &r->model->config;
    float *w = b->norm[2 * which], *bias = b->norm[2 * which + 1];
    if (c->post_norm) return (struct given){.x = r->x};
    if (p->n == 1) {
        struct ptq_row row = row_for(p, b, which ? PTQ_MLP_IN : PTQ_ATTN_IN, r->normed, 0);
        r->device->decoding.norm_row(&row, r->x, w, bias, (float)c->norm_eps, c->width);
        return (struct given){r->normed, row.w != NULL};
    }
    norm(p, r->normed, r->x, w, bias, p->n);
    return (struct given){.x = r->normed};
}

static void add(const struct pass *p, const struct ptq_resident_block *b, enum ptq_input input, int which,
                struct given in)
{
    struct ptq_resident *r = p->r;
    multiply(p, b, input, in, r->x, r->model->config.width, 1);
    if (r->model->config.post_norm) norm(p, r->x, r->x, b->norm[2 * which], b->norm[2 * which + 1], p->n);
}

/* The first rows see each other alone; later ones all that is kept. */
static struct given attend(const struct pass *p, const struct ptq_resident_block *b)
{
    struct ptq_resident *r = p->r;
    const struct ptq_device *d = r->device;
    const struct ptq_config *c = &r->model->config;
    int64_t ld = qkv_width(c), width = c->heads * c->head_size;
    struct ptq_attention shape = shape_of(r, b);
    if (p->begun && p->n == 1) {
        struct ptq_row row = row_for(p, b, PTQ_ATTN_OUT, r->mixed, c->head_size);
        d->decoding.attend_row(&row, r->wide, r->cosine, r->sine, &shape, &b->cache, r->recall_scratch);
        return (struct given){r->mixed, row.w != NULL};
    }
    d->decoding.remember(r->wide, ld, r->cosine, r->sine, &shape, &b->cache, p->n);
    const float *k = r->wide + width;
    if (!p->begun)
        d->ops.attention(r->mixed, width, r->wide, k, k + c->kv_heads * c->head_size, ld, &shape, 0, p->n, r->scratch);
    for (int64_t row = 0; p->begun && row < p->n; row += PTQ_RECALL_ROWS)
        d->decoding.recall(r->mixed + row * width, width, r->wide + row * ld, ld, &shape, &b->cache, row,
                           min64(PTQ_RECALL_ROWS, p->n - row), r->recall_scratch);
    return (struct given){.x = r->mixed};
}

/* The activation [n][F]. */
static struct given activate(const struct pass *p, const struct ptq_resident_block *b)
{
    struct ptq_resident *r = p->r;
    const struct ptq_ops *ops = &r->device->ops;
    const struct ptq_config *c = &r->model->config;
    void (*const plain[PTQ_N_ACTIVATION])(float *, int64_t, int64_t, int64_t) = {
        [PTQ_RELU] = ops->relu, [PTQ_GELU_TANH] = ops->gelu_tanh, [PTQ_GELU_ERF] = ops->gelu_erf};
    if (c->activation == PTQ_SILU_GATED && p->n == 1 && !b->divisor) {
        struct ptq_row row = row_for(p, b, PTQ_MLP_OUT, r->wide, 0);
        r->device->decoding.silu_row(&row, r->mlp, r->mlp + c->ff, c->ff);
        return (struct given){r->wide, row.w != NULL};
    }
    float *out = r->mlp;
    if (c->activation == PTQ_SILU_GATED)
        ops->silu_mul(out = r->wide, c->ff, r->mlp, r->mlp + c->ff, 2 * c->ff, p->n, c->ff);
    else
        plain[c->activation](out, c->ff, p->n, c->ff);
    if (b->divisor) ops->divide(out, c->ff, b->divisor, p->n, c->ff);
    return (struct given){.x = out};
}

static void run_block(const struct pass *p, const struct ptq_resident_block *b)
{
    struct ptq_resident *r = p->r;
    const struct ptq_config *c = &r->model->config;
    multiply(p, b, PTQ_ATTN_IN, norm_before(p, b, 0), r->wide, qkv_width(c), 0);
    add(p, b, PTQ_ATTN_OUT, 0, attend(p, b));
    multiply(p, b, PTQ_MLP_IN, norm_before(p, b, 1), r->mlp, mlp_width(c), 0);
    add(p, b, PTQ_MLP_OUT, 1, activate(p, b));
}

/* Logits of the last row, and the likeliest. */
static void run_head(const struct pass *p)
{
    struct ptq_resident *r = p->r;
    const struct ptq_config *c = &r->model->config;
    float *x = r->x + (p->n - 1) * c->width;
    struct ptq_row normed = {.y = r->normed};
    if (c->final_norm)
        r->device->decoding.norm_row(&normed, x, r->final_norm_w, r->final_norm_b, (float)c->norm_eps, c->width);
    const float *last = c->final_norm ? r->normed : x;
    if (r->projects)
        r->device->ops.linear(r->projected, c->embed_width, last, c->width, r->project, NULL, 0, 1, c->embed_width,
                              c->width);
    product(p, &r->head, r->projects ? r->projected : last, r->logits, c->vocab, 0, 1, 0);
    r->device->decoding.likeliest(r->best, r->logits, c->vocab, r->likeliest_scratch);
}

static void run_rows(const struct pass *p)
{
    for (int64_t b = 0; b < p->r->model->config.blocks; b++) run_block(p, &p->r->block[b]);
    run_head(p);
}

/* ---- one row, recorded ---- */

static void one_row(void *context)
{
    struct pass p = {.r = context, .n = 1, .begun = 1};
    struct ptq_resident *r = context;
    if (r->table)
        r->device->decoding.embed_row(r->x, r->at, r->best, r->table, r->model->config.vocab, r->model->config.width);
    run_rows(&p);
}

static void step(struct ptq_resident *r)
{
    if (!r->recording && !r->no_recording) {
        r->recording = r->device->decoding.record(one_row, r);
        r->no_recording = !r->recording;
        if (r->no_recording) r->device->error(); /* told by what is slower, not wrong */
    }
    if (r->recording)
        r->device->decoding.replay(r->recording);
    else
        one_row(r);
}

/* Position and row arrive together; or the id, whose row is there, with the position before. */
static void push_one(struct ptq_resident *r, int64_t first)
{
    int32_t at[2] = {(int32_t)first - 1, r->forward->id[first]};
    size_t bytes = sizeof(float) * (size_t)r->model->config.width;
    if (r->table) {
        if (r->ahead == first && r->told == at[1]) return; /* it is computed already */
        r->device->upload(r->at, at, sizeof at);
        r->at_first = 0;
        step(r);
        return;
    }
    at[0] = (int32_t)first;
    memcpy(r->arrives, at, sizeof at);
    memcpy(r->arrives + AT_BYTES, r->forward->x + first * r->model->config.width, bytes);
    r->device->upload(r->at, r->arrives, AT_BYTES + bytes);
    step(r);
}

static void push_many(struct ptq_resident *r, int64_t first, int64_t n)
{
    struct pass p = {.r = r, .n = n, .begun = first > 0};
    int32_t at = (int32_t)first;
    int64_t width = r->model->config.width;
    r->at_first = n > 1;
    r->device->upload(r->at, &at, sizeof at);
    r->device->upload(r->x, r->forward->x + first * width, sizeof(float) * (size_t)(n * width));
    run_rows(&p);
}

/* The step of the likeliest id, before the host has heard of it: the device does not wait for the host. */
static void go_ahead(struct ptq_resident *r, int64_t position)
{
    int32_t before = (int32_t)position - 1; /* many rows leave the position of their first */
    r->ahead = 0;
    if (!r->table || !r->greedy || position >= r->capacity) return;
    if (r->at_first) r->device->upload(r->at, &before, sizeof before);
    r->at_first = 0;
    r->ahead = position;
    step(r);
}

enum ptq_status ptq_resident_push(struct ptq_resident *r, int64_t first, int64_t n, int32_t *best,
                                  struct ptq_error *err)
{
    const char *failure;
    if (r->ahead && r->forward->id[first] != r->told) r->greedy = 0; /* somebody chooses otherwise */
    for (int64_t rows; n > 0; n -= rows, first += rows) {
        rows = min64(n, r->most_rows);
        if (rows == 1 && first > 0)
            push_one(r, first);
        else
            push_many(r, first, rows);
    }
    r->device->decoding.fetch(r->best);
    go_ahead(r, first);
    *best = r->told = r->device->decoding.fetched(&failure);
    return told(r, failure, err);
}

/* A step that went ahead has left its own logits: the last row's are made again. */
enum ptq_status ptq_resident_logits(struct ptq_resident *r, float *logits, struct ptq_error *err)
{
    int64_t last = r->ahead - 1;
    r->greedy = 0;
    if (r->ahead) {
        r->ahead = 0;
        push_one(r, last);
    }
    r->device->download(logits, r->logits, sizeof *logits * (size_t)r->model->config.vocab);
    return told(r, r->device->error(), err);
}
