/* A model's weights on their way to a device, where they stay. */
#include "resident.h"

#include "dtype.h"
#include "forward_parts.h"
#include "offload.h"
#include "pool.h"

#include <stdatomic.h>
#include <string.h>

enum { PART = 1 << 16 };

struct sending {
    struct ptq_resident *r;
    struct ptq_carve carve;
    struct ptq_arena *scratch;
};

static void *send(struct sending *s, const void *from, size_t bytes)
{
    if (!from || !bytes) return NULL;
    void *to = ptq_carve(&s->carve, bytes);
    if (to) s->r->device->upload(to, from, bytes);
    return to;
}

static float *send_floats(struct sending *s, const float *from, int64_t n)
{
    return send(s, from, sizeof *from * (size_t)n);
}

/* ---- float32 that is FP16 ---- */

struct half_task {
    const float *from;
    uint16_t *to; /* NULL: only looked at */
    int64_t n;
    atomic_int other; /* 1: FP16 does not hold a value */
};

static void half_part(void *context, int64_t part, int worker)
{
    struct half_task *t = context;
    int64_t end = min64((part + 1) * PART, t->n);
    (void)worker;
    if (atomic_load(&t->other)) return;
    for (int64_t i = part * PART; i < end; i++) {
        if (t->to)
            t->to[i] = ptq_f16_encode(t->from[i]);
        else if (ptq_f16_round(t->from[i]) != t->from[i]) {
            atomic_store(&t->other, 1);
            return;
        }
    }
}

static int is_half(const float *w, int64_t n)
{
    struct half_task t = {.from = w, .n = n};
    ptq_parallel_for((n + PART - 1) / PART, half_part, &t);
    return !atomic_load(&t.other);
}

static const void *send_half(struct sending *s, const float *w, int64_t n)
{
    void *to = ptq_carve(&s->carve, sizeof(uint16_t) * (size_t)n);
    if (!to) return NULL;
    struct ptq_mark mark = ptq_arena_mark(s->scratch);
    struct half_task t = {.from = w, .to = ptq_new(s->scratch, uint16_t, n), .n = n};
    ptq_parallel_for((n + PART - 1) / PART, half_part, &t);
    s->r->device->upload(to, t.to, sizeof *t.to * (size_t)n);
    ptq_arena_rewind(s->scratch, mark);
    return to;
}

/* Forms are found where bytes are counted, and stay. */
static void send_floats_as(struct sending *s, struct ptq_resident_product *p, const float *w)
{
    if (!s->carve.base) p->form = is_half(w, p->n * p->k) ? PTQ_AS_HALF : PTQ_AS_FLOAT;
    p->w = p->form == PTQ_AS_HALF ? send_half(s, w, p->n * p->k) : send_floats(s, w, p->n * p->k);
}

/* ---- packed linears ---- */

/* Every section but the lists of columns goes by tiles, so images of whole tiles lie one behind the other. */
static int stacks(const struct ptq_packed *a, const struct ptq_packed *b)
{
    return a->n % PTQ_PACK_ROWS == 0 && a->grid.w_bit == b->grid.w_bit && a->n_groups == b->n_groups &&
           a->zero_bytes == b->zero_bytes && !a->scale == !b->scale && ptq_packed_alike(a, b);
}

/* One section of all of them: `bytes` of each tile. */
static const void *send_section(struct sending *s, const struct ptq_packed *const *p, int n,
                                const void *(*section)(const struct ptq_packed *), size_t bytes)
{
    int64_t tiles = 0;
    if (!section(p[0]) || !bytes) return NULL;
    for (int i = 0; i < n; i++) tiles += p[i]->tiles;
    unsigned char *to = ptq_carve(&s->carve, bytes * (size_t)tiles), *at = to;
    for (int i = 0; to && i < n; at += bytes * (size_t)p[i++]->tiles)
        s->r->device->upload(at, section(p[i]), bytes * (size_t)p[i]->tiles);
    return to;
}

static const void *code_of(const struct ptq_packed *p)
{
    return p->code;
}
static const void *scale_of(const struct ptq_packed *p)
{
    return p->scale;
}
static const void *scale16_of(const struct ptq_packed *p)
{
    return p->scale16;
}
static const void *zero_of(const struct ptq_packed *p)
{
    return p->zero;
}
static const void *kept_of(const struct ptq_packed *p)
{
    return p->kept;
}

static void send_packed(struct sending *s, struct ptq_packed *out, const struct ptq_packed *const *p, int n)
{
    const struct ptq_packed *f = p[0];
    size_t rows = PTQ_PACK_ROWS, groups = (size_t)f->n_groups;
    *out = *f;
    out->n = out->tiles = 0;
    for (int i = 0; i < n; i++) {
        out->n += p[i]->n;
        out->tiles += p[i]->tiles;
    }
    out->image = NULL;
    out->code =
        send_section(s, p, n, code_of, (size_t)(f->places / PTQ_PACK_STEP * f->grid.w_bit) * rows * sizeof *f->code);
    out->scale = send_section(s, p, n, scale_of, groups * rows * sizeof *f->scale);
    out->scale16 = send_section(s, p, n, scale16_of, groups * rows * sizeof *f->scale16);
    out->zero = send_section(s, p, n, zero_of, groups * (size_t)f->zero_bytes);
    out->kept = send_section(s, p, n, kept_of, (size_t)f->n_keep * rows * sizeof *f->kept);
    out->perm = f->perm ? send(s, f->perm, sizeof *f->perm * (size_t)f->k) : NULL;
    out->keep = send(s, f->keep, sizeof *f->keep * (size_t)f->n_keep);
    out->divided = send(s, f->divided, sizeof *f->divided * (size_t)f->n_divided);
    out->divisor = send_floats(s, f->divisor, f->n_divided);
}

/* ---- a block ---- */

/* Linears of an input: [n] */
static int linears_of(const struct ptq_block *block, enum ptq_input input, const struct ptq_linear *l[PTQ_N_ROLE])
{
    int n = 0;
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (ptq_role_input[role] == input && block->linear[role].n) l[n++] = &block->linear[role];
    return n;
}

/* How many of l[0..n), from the first on, make one product. */
static int run_of(const struct ptq_linear *const *l, int n)
{
    int run = 1;
    while (run < n && !l[run]->packed == !l[0]->packed && (!l[0]->packed || stacks(l[run - 1]->packed, l[run]->packed)))
        run++;
    return run;
}

static void send_product(struct sending *s, struct ptq_resident_product *p, const struct ptq_linear *const *l, int n)
{
    const struct ptq_packed *packed[PTQ_N_ROLE] = {NULL};
    p->n = 0;
    p->k = l[0]->k;
    for (int i = 0; i < n; i++) {
        packed[i] = l[i]->packed;
        p->n += l[i]->n;
    }
    if (l[0]->packed) {
        p->form = PTQ_AS_PACKED;
        send_packed(s, &p->packed, packed, n);
    } else {
        send_floats_as(s, p, l[0]->w);
    }
    p->b = send_floats(s, l[0]->b, p->n);
}

static void send_input(struct sending *s, struct ptq_resident_block *to, const struct ptq_block *block,
                       enum ptq_input input)
{
    const struct ptq_linear *l[PTQ_N_ROLE];
    int n = linears_of(block, input, l);
    to->input[input].n = 0;
    to->input[input].alike = 1;
    for (int i = 0, run; i < n; i += run) {
        run = run_of(l + i, n - i);
        send_product(s, &to->input[input].product[to->input[input].n++], l + i, run);
        const struct ptq_packed *a = l[0]->packed, *b = l[i]->packed;
        if (i && (!a || !b || a->grid.w_bit != b->grid.w_bit || !ptq_packed_alike(a, b))) to->input[input].alike = 0;
    }
}

static void send_block(struct sending *s, struct ptq_resident_block *to, const struct ptq_block *block)
{
    const struct ptq_config *c = &s->r->model->config;
    const float *norm[4] = {block->norm1_w, block->norm1_b, block->norm2_w, block->norm2_b};
    size_t element = to->cache.is_half ? sizeof(uint16_t) : sizeof(float);
    size_t cache = element * (size_t)(c->kv_heads * s->r->capacity * c->head_size);
    for (int input = 0; input < PTQ_N_INPUT; input++) send_input(s, to, block, (enum ptq_input)input);
    for (int i = 0; i < 4; i++) to->norm[i] = send_floats(s, norm[i], c->width);
    to->divisor = send_floats(s, block->activation_scale, c->ff);
    to->window = block->window;
    to->cache.capacity = s->r->capacity;
    to->cache.k = ptq_carve(&s->carve, cache);
    to->cache.v = ptq_carve(&s->carve, cache);
}

/* ---- around the blocks ---- */

static void send_head(struct sending *s, const uint16_t *head16, const float *head)
{
    struct ptq_resident *r = s->r;
    r->head = (struct ptq_resident_product){
        .n = r->model->config.vocab, .k = r->model->config.embed_width, .form = head16 ? PTQ_AS_HALF : PTQ_AS_FLOAT};
    size_t values = (size_t)(r->head.n * r->head.k);
    r->head.w = head16 ? send(s, head16, sizeof *head16 * values) : send(s, head, sizeof *head * values);
}

/* The embedding, where there is nothing to it but a row of FP16; the head's memory where they are one. */
static void send_table(struct sending *s, const uint16_t *head16)
{
    struct ptq_resident *r = s->r;
    const struct ptq_model *m = r->model;
    const struct ptq_tensor *t = m->embed;
    if (t->dtype != PTQ_F16 || m->positions || m->project_in || m->embed_norm_w) return;
    if (head16 && t->data == m->head->data)
        r->table = r->head.w;
    else
        r->table = send(s, t->data, sizeof *r->table * (size_t)t->count);
}

size_t ptq_resident_send(struct ptq_resident *r, struct ptq_arena *scratch, unsigned char *room,
                         const struct ptq_block *block, const uint16_t *head16, const float *head, const float *project)
{
    const struct ptq_model *m = r->model;
    const struct ptq_config *c = &m->config;
    struct sending s = {r, {.base = room}, scratch};
    int64_t half = r->forward->cosine ? c->head_size / 2 : 0;
    for (int64_t b = 0; b < c->blocks; b++) send_block(&s, &r->block[b], &block[b]);
    send_head(&s, head16, head);
    send_table(&s, head16);
    r->final_norm_w = c->final_norm ? send_floats(&s, m->final_norm_w, c->width) : NULL;
    r->final_norm_b = c->final_norm ? send_floats(&s, m->final_norm_b, c->width) : NULL;
    r->project = send_floats(&s, project, c->embed_width * c->width);
    r->cosine = send_floats(&s, r->forward->cosine, r->capacity * half);
    r->sine = send_floats(&s, r->forward->sine, r->capacity * half);
    r->slope = send_floats(&s, m->alibi_slope, c->heads);
    return s.carve.used;
}
