/* What decoding adds to a device (device.h, struct ptq_decoding), each slot against the plain operations: FP16 weights,
 * keys and values kept and recalled at every length, the likeliest index, and recorded steps. */
#include "devices.h"
#include "dtype.h"
#include "qmats.h"

/* ---- FP16 weights ---- */

/* Guard words behind y, b and accumulate in turn; K that is no multiple of 8. */
static void test_linear_half(struct setup *s)
{
    static const struct {
        int64_t m, n, k;
    } cases[] = {{1, 1, 8}, {1, 33, 64}, {1, 17, 1032}, {1, 40, 1288}, {1, 5, 77}, {3, 19, 40}, {9, 33, 129}};
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        int64_t m = cases[i].m, n = cases[i].n, k = cases[i].k;
        struct both x = make(s, m * k), w = make(s, n * k), b = make(s, n), y = make(s, m * n);
        uint16_t *half = malloc(sizeof *half * (size_t)(n * k));
        for (int64_t j = 0; j < n * k; j++) {
            half[j] = ptq_f16_encode(w.host[j]);
            w.host[j] = ptq_f16_decode(half[j]);
        }
        uint16_t *there = put(s, half, sizeof *half * (size_t)(n * k));
        size_t bytes = s->device->decoding.half_scratch(m, n, k);
        void *scratch = s->device->take(bytes);
        s->ref.linear(y.host, n, x.host, k, w.host, i % 2 ? b.host : NULL, i % 3 == 0, m, n, k);
        s->device->decoding.linear_half(y.device, n, x.device, k, there, i % 2 ? b.device : NULL, i % 3 == 0, m, n, k,
                                        scratch);
        agree(s, "linear_half", i, &y, 1e-11);
        s->device->give(scratch);
        s->device->give(there);
        free(half);
        drop(s, &x);
        drop(s, &w);
        drop(s, &b);
        drop(s, &y);
    }
}

/* ---- the cache ---- */

struct cached {
    int64_t heads, kv_heads, d, capacity, window;
    int is_half, alibi, rope;
};
static const struct cached cached[] = {
    {2, 2, 8, 40, 0, 0, 0, 1},     {4, 2, 32, 200, 0, 0, 0, 1}, {2, 1, 64, 150, 0, 1, 1, 0},
    {2, 1, 128, 100, 70, 1, 0, 1}, {1, 1, 36, 140, 0, 0, 1, 0}, {2, 2, 80, 90, 33, 0, 0, 1},
    {1, 1, 256, 80, 0, 0, 0, 1},   {3, 3, 7, 70, 0, 1, 0, 0},
};

/* A sequence on both sides: [capacity][(H + 2 H_kv) D] as it arrives, and rotated. */
struct sequence {
    const struct cached *c;
    struct ptq_attention shape;
    int64_t ld, half;
    struct both qkv, cosine, sine, slope;
    struct ptq_cache cache;
    int32_t *at;
    void *scratch;
};

static void make_sequence(struct setup *s, const struct cached *c, struct sequence *q)
{
    size_t bytes = (c->is_half ? 2 : 4) * (size_t)(c->kv_heads * c->capacity * c->d);
    *q = (struct sequence){.c = c, .ld = (c->heads + 2 * c->kv_heads) * c->d, .half = c->d / 2};
    q->shape = (struct ptq_attention){.heads = c->heads, .kv_heads = c->kv_heads, .head_size = c->d, .scale = 0.2F};
    q->shape.window = c->window;
    q->qkv = make(s, c->capacity * q->ld);
    q->cosine = make(s, c->capacity * q->half);
    q->sine = make(s, c->capacity * q->half);
    q->slope = make(s, c->heads);
    q->cache = (struct ptq_cache){s->device->take(bytes), s->device->take(bytes), c->is_half, c->capacity, NULL};
    q->cache.at = q->at = s->device->take(sizeof *q->at);
    size_t scratch = s->device->decoding.recall_scratch(&q->shape, c->capacity);
    unsigned char *zeros = calloc(scratch, 1);
    q->scratch = put(s, zeros, scratch);
    free(zeros);
}

static void drop_sequence(struct setup *s, struct sequence *q)
{
    drop(s, &q->qkv);
    drop(s, &q->cosine);
    drop(s, &q->sine);
    drop(s, &q->slope);
    s->device->give(q->cache.k);
    s->device->give(q->cache.v);
    s->device->give(q->at);
    s->device->give(q->scratch);
}

/* Keys and values as the cache has them: rotated, and rounded where it is FP16. */
static void expected_rows(struct setup *s, struct sequence *q)
{
    const struct cached *c = q->c;
    float *x = q->qkv.host;
    if (c->rope) s->ref.rope(x, q->ld, q->cosine.host, q->sine.host, c->capacity, c->heads + c->kv_heads, c->d);
    for (int64_t row = 0; c->is_half && row < c->capacity; row++)
        for (int64_t j = c->heads * c->d; j < q->ld; j++) x[row * q->ld + j] = ptq_f16_round(x[row * q->ld + j]);
}

/* Rows [first, first + m) there, as a step has them: at on the device, qkv from the first row on. */
static void push(struct setup *s, struct sequence *q, int64_t first, int64_t m, float *y)
{
    const struct cached *c = q->c;
    int32_t at = (int32_t)first;
    struct ptq_attention shape = q->shape;
    float *rows = q->qkv.device + first * q->ld;
    shape.slope = c->alibi ? q->slope.device : NULL;
    s->device->upload(q->at, &at, sizeof at);
    if (m == 1) {
        s->device->decoding.attend_row(&(struct ptq_row){.y = y}, rows, c->rope ? q->cosine.device : NULL,
                                       c->rope ? q->sine.device : NULL, &shape, &q->cache, q->scratch);
        return;
    }
    s->device->decoding.remember(rows, q->ld, c->rope ? q->cosine.device : NULL, c->rope ? q->sine.device : NULL,
                                 &shape, &q->cache, m);
    for (int64_t row = 0; row < m; row += PTQ_RECALL_ROWS)
        s->device->decoding.recall(y + row * c->heads * c->d, c->heads * c->d, rows + row * q->ld, q->ld, &shape,
                                   &q->cache, row, m - row < PTQ_RECALL_ROWS ? m - row : (int64_t)PTQ_RECALL_ROWS,
                                   q->scratch);
}

static void test_cache(struct setup *s)
{
    for (int i = 0; i < (int)(sizeof cached / sizeof *cached); i++) {
        const struct cached *c = &cached[i];
        struct sequence q;
        make_sequence(s, c, &q);
        int64_t width = c->heads * c->d, last = c->capacity - 2;
        struct both y = make(s, c->capacity * width);
        push(s, &q, 0, 11, y.device);
        push(s, &q, 11, 1, y.device + 11 * width);
        push(s, &q, 12, last - 12, y.device + 12 * width); /* many rows, some of them behind other splits */
        push(s, &q, last, 1, y.device + last * width);
        push(s, &q, last + 1, 1, y.device + (last + 1) * width);
        expected_rows(s, &q);
        float *k = q.qkv.host + width, *scratch = calloc(ptq_attention_scratch(c->capacity, c->d), sizeof *scratch);
        q.shape.slope = c->alibi ? q.slope.host : NULL;
        s->ref.attention(y.host, width, q.qkv.host, k, k + c->kv_heads * c->d, q.ld, &q.shape, 0, c->capacity, scratch);
        free(scratch);
        agree(s, "recall", i, &y, 1e-9);
        drop(s, &y);
        drop_sequence(s, &q);
    }
}

/* ---- small things of one row ---- */

static void test_rows(struct setup *s)
{
    const int64_t sizes[] = {1, 4, 100, 132, 1030, 2052};
    for (int i = 0; i < 6; i++) {
        int64_t k = sizes[i];
        struct both x = make(s, k), g = make(s, k), b = make(s, k), y = make(s, k);
        struct ptq_row row = {.y = y.device};
        s->ref.rmsnorm(y.host, x.host, g.host, 1e-5F, 1, k);
        s->device->decoding.norm_row(&row, x.device, g.device, NULL, 1e-5F, k);
        agree(s, "norm_row", i, &y, 1e-12);
        s->ref.layernorm(y.host, x.host, g.host, b.host, 1e-5F, 1, k);
        s->device->decoding.norm_row(&row, x.device, g.device, b.device, 1e-5F, k);
        agree(s, "norm_row", i, &y, 1e-11);
        s->ref.silu_mul(y.host, k, x.host, g.host, k, 1, k);
        s->device->decoding.silu_row(&row, x.device, g.device, k);
        agree(s, "silu_row", i, &y, 1e-12);
        scale_device(s, &x, 1e30F);
        s->device->decoding.norm_row(&row, x.device, g.device, NULL, 1e-5F, k);
        all_nan(s, "norm_row", i, &y);
        s->device->decoding.norm_row(&row, x.device, g.device, b.device, 1e-5F, k);
        if (k > 1) all_nan(s, "norm_row", i, &y); /* one column is its own mean */
        drop(s, &x);
        drop(s, &g);
        drop(s, &b);
        drop(s, &y);
    }
}

/* The same row by way of float32: bit for bit what a packed linear makes of it. */
enum { OUTPUTS = 48 };
struct packed_pair {
    struct setup *s;
    struct ptq_packed w;
    void *image, *scratch;
    struct both direct, by_float, row;
};

static void make_pair(struct setup *s, struct ptq_arena *arena, int64_t k, int64_t group, struct packed_pair *p)
{
    struct ptq_qmat_case shape = {.n = OUTPUTS, .k = k, .group_size = group, .w_bit = 4};
    struct ptq_qmat q;
    struct ptq_error err;
    make_qmat(arena, &q, &shape, 0, 1, &s->rng);
    if (ptq_pack(arena, &q, &p->w, &err)) fail_msg("%s", err.text);
    p->s = s;
    p->image = put(s, p->w.image, p->w.bytes);
    ptq_packed_move(&p->w, p->image);
    p->scratch = s->device->take(s->device->packed_scratch(&p->w, 1));
    p->direct = make(s, OUTPUTS);
    p->by_float = make(s, OUTPUTS);
    p->row = make(s, k);
}

static void drop_pair(struct packed_pair *p)
{
    drop(p->s, &p->direct);
    drop(p->s, &p->by_float);
    drop(p->s, &p->row);
    p->s->device->give(p->image);
    p->s->device->give(p->scratch);
}

static struct ptq_row direct_row(struct packed_pair *p)
{
    return (struct ptq_row){.w = &p->w, .scratch = p->scratch};
}

/* scratch was filled directly, and the row in float32 is in p->row. */
static void expect_same(struct packed_pair *p, const char *op, int number)
{
    const struct ptq_device *d = p->s->device;
    d->decoding.multiply_row(p->direct.device, &p->w, NULL, 0, p->scratch);
    d->decoding.acts_row(p->scratch, &p->w, p->row.device);
    d->decoding.multiply_row(p->by_float.device, &p->w, NULL, 0, p->scratch);
    d->download(p->direct.host, p->by_float.device, sizeof(float) * OUTPUTS);
    agree(p->s, op, number, &p->direct, 0);
}

static void test_rows_packed(struct setup *s)
{
    static const struct {
        int64_t k, group, d, capacity;
    } cases[] = {{256, 128, 128, 100}, {384, 64, 64, 20}, {256, 32, 64, 70}, {1156, -1, 0, 0}, {1280, 256, 256, 10}};
    struct ptq_arena *arena = ptq_arena_make("test");
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        int64_t k = cases[i].k, d = cases[i].d;
        struct packed_pair p;
        struct both x = make(s, k), g = make(s, k), b = make(s, k);
        make_pair(s, arena, k, cases[i].group, &p);
        struct ptq_row direct = direct_row(&p), row = {.y = p.row.device};
        assert_true(s->device->decoding.row_serves(&p.w, d));
        s->device->decoding.norm_row(&row, x.device, g.device, NULL, 1e-5F, k);
        s->device->decoding.norm_row(&direct, x.device, g.device, NULL, 1e-5F, k);
        expect_same(&p, "norm_row, packed", i);
        s->device->decoding.norm_row(&row, x.device, g.device, b.device, 1e-5F, k);
        s->device->decoding.norm_row(&direct, x.device, g.device, b.device, 1e-5F, k);
        expect_same(&p, "norm_row, packed", i);
        s->device->decoding.silu_row(&row, x.device, g.device, k);
        s->device->decoding.silu_row(&direct, x.device, g.device, k);
        expect_same(&p, "silu_row, packed", i);
        if (d) {
            struct cached c = {k / d, k / d, d, cases[i].capacity, 0, 0, 0, 1};
            struct sequence q;
            int32_t at = (int32_t)c.capacity - 1;
            make_sequence(s, &c, &q);
            struct both y = make(s, c.capacity * k);
            push(s, &q, 0, at, y.device);
            s->device->upload(q.at, &at, sizeof at);
            s->device->decoding.attend_row(&row, q.qkv.device + at * q.ld, q.cosine.device, q.sine.device, &q.shape,
                                           &q.cache, q.scratch);
            s->device->decoding.attend_row(&direct, q.qkv.device + at * q.ld, q.cosine.device, q.sine.device, &q.shape,
                                           &q.cache, q.scratch);
            expect_same(&p, "attend_row, packed", i);
            drop(s, &y);
            drop_sequence(s, &q);
        }
        drop(s, &x);
        drop(s, &g);
        drop(s, &b);
        drop_pair(&p);
    }
    ptq_arena_free(arena);
}

/* multiply_row: what the CPU's packed product is, but for the order of float32 sums. */
static void test_multiply_row(struct setup *s)
{
    const int64_t groups[] = {128, 32, 64, -1, 256}, sizes[] = {256, 416, 1040, 300, 2304};
    const int widths[] = {4, 3, 2, 8};
    struct ptq_arena *arena = ptq_arena_make("test");
    for (int i = 0; i < 40; i++) {
        struct ptq_qmat_case c = {.n = 40 - i % 3 * 9, .k = sizes[i % 5], .w_bit = widths[i / 5 % 4]};
        struct ptq_qmat q;
        struct ptq_packed host, there;
        struct ptq_acts acts;
        struct ptq_error err;
        c.group_size = groups[(i + i / 20) % 5];
        c.permuted = i % 7 == 3;
        c.n_keep = i % 4 == 1 ? 5 : 0;
        c.n_divided = i % 6 == 5 ? 3 : 0;
        make_qmat(arena, &q, &c, i % 3 == 2, i % 2, &s->rng);
        if (ptq_pack(arena, &q, &host, &err)) fail_msg("%s", err.text);
        there = host;
        void *image = put(s, host.image, host.bytes), *scratch = s->device->take(s->device->packed_scratch(&host, 1));
        ptq_packed_move(&there, image);
        assert_true(s->device->decoding.row_multiplies(&there));
        struct both x = make(s, c.k), b = make(s, c.n), y = make(s, c.n);
        ptq_acts_make(&acts, &host, 1, 16, ptq_alloc(arena, ptq_acts_bytes(&host, 1, 16), "activations"));
        s->ref.acts(&acts, &host, x.host, c.k);
        s->ref.packed(y.host, c.n, &acts, &host, i % 2 ? b.host : NULL, i % 3 == 0, 0, host.tiles);
        s->device->decoding.acts_row(scratch, &there, x.device);
        s->device->decoding.multiply_row(y.device, &there, i % 2 ? b.device : NULL, i % 3 == 0, scratch);
        agree(s, "multiply_row", i, &y, 1e-12);
        s->device->give(image);
        s->device->give(scratch);
        drop(s, &x);
        drop(s, &b);
        drop(s, &y);
    }
    ptq_arena_free(arena);
}

/* ---- the likeliest ---- */

static int32_t find(struct setup *s, const float *x, int64_t n)
{
    unsigned char zeros[4096] = {0};
    int32_t id;
    assert_true(s->device->decoding.likeliest_scratch <= sizeof zeros);
    void *scratch = put(s, zeros, s->device->decoding.likeliest_scratch);
    float *there = put(s, x, sizeof *x * (size_t)n);
    int32_t *out = s->device->take(sizeof id);
    for (int again = 0; again < 2; again++) { /* the scratch is as it was */
        s->device->decoding.likeliest(out, there, n, scratch);
        s->device->download(&id, out, sizeof id);
    }
    s->device->give(scratch);
    s->device->give(there);
    s->device->give(out);
    return id;
}

static void test_likeliest(struct setup *s)
{
    enum { MOST = 20000 };
    float *x = malloc(sizeof *x * MOST);
    const int64_t sizes[] = {1, 255, 257, MOST};
    for (int i = 0; i < 4; i++) {
        int64_t n = sizes[i], a = (int64_t)ptq_rng_below(&s->rng, (uint64_t)n), b = n - 1;
        for (int64_t j = 0; j < n; j++) x[j] = -(float)ptq_rng_uniform(&s->rng) - 1;
        x[a] = x[b] = -0.5F;
        assert_int_equal(find(s, x, n), a < b ? a : b);
        x[a] = INFINITY;
        assert_int_equal(find(s, x, n), -1);
        x[a] = NAN;
        assert_int_equal(find(s, x, n), -1);
    }
    free(x);
}

/* ---- recorded steps ---- */

struct counted {
    struct setup *s;
    float *y, *x, *w;
    int64_t n;
};

/* y += w x */
static void once(void *context)
{
    struct counted *c = context;
    c->s->device->ops.linear(c->y, c->n, c->x, c->n, c->w, NULL, 1, 1, c->n, c->n);
    c->s->device->ops.relu(c->y, c->n, 1, c->n);
}

/* Recording does nothing yet; each replay does all of it once, with what the memory holds then. */
static void test_recorded(struct setup *s)
{
    enum { N = 40 };
    struct both x = make(s, N), w = make(s, N * N), y = make(s, N);
    struct counted c = {s, y.device, x.device, w.device, N};
    once(&c); /* what a library makes at its first call is not for a recording */
    s->device->upload(y.device, y.host, sizeof(float) * N);
    void *recording = s->device->decoding.record(once, &c);
    assert_non_null(recording);
    agree(s, "record", 0, &y, 0);
    for (int i = 0; i < 3; i++) {
        x.host[i] += 1;
        s->device->upload(x.device, x.host, sizeof(float) * N);
        s->device->decoding.replay(recording);
        s->ref.linear(y.host, N, x.host, N, w.host, NULL, 1, 1, N, N);
        s->ref.relu(y.host, N, 1, N);
        agree(s, "replay", i, &y, 1e-10);
    }
    s->device->decoding.forget(recording);
    drop(s, &x);
    drop(s, &w);
    drop(s, &y);
}

#define ON_EACH_DEVICE(name)                                                                                           \
    static void name##_everywhere(void **state)                                                                        \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        on_each_device(name);                                                                                          \
    }
ON_EACH_DEVICE(test_linear_half)
ON_EACH_DEVICE(test_cache)
ON_EACH_DEVICE(test_rows)
ON_EACH_DEVICE(test_rows_packed)
ON_EACH_DEVICE(test_multiply_row)
ON_EACH_DEVICE(test_likeliest)
ON_EACH_DEVICE(test_recorded)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_half_everywhere),  cmocka_unit_test(test_cache_everywhere),
        cmocka_unit_test(test_rows_everywhere),         cmocka_unit_test(test_rows_packed_everywhere),
        cmocka_unit_test(test_multiply_row_everywhere), cmocka_unit_test(test_likeliest_everywhere),
        cmocka_unit_test(test_recorded_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
