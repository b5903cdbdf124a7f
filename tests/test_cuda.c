/* Every operation of the CUDA backend against ref, on all shapes of kernels/cases.h: on the emulated device, three
 * times with its threads in another order, and on a real one where there is one. Normalised mean squared error within a
 * bound, NaN and Inf apart, guard words behind every output, and the memory that is not padding unchanged. */
#include "cases.h"
#include "device.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { GUARD_WORDS = 16, ORDERS = 3 };
static const float guard = 1234.5f;
static const double bound = 1e-9; /* NMSE of float32 sums of up to 576 terms, one after the other */

/* of cuda/emulated/emulate.cpp */
void ptq_cuda_emulated_seed(uint64_t seed);

struct setup {
    const struct ptq_device *device;
    struct ptq_ops ref;
    struct ptq_rng rng;
    int matrix_cases; /* how many of ptq_matrix_cases: the largest, a second of plain loops, is run in one order */
};

/* An array on both sides, with guard words behind. */
struct both {
    float *host, *device;
    int64_t n;
};

static struct both make(struct setup *s, int64_t n)
{
    struct both b = {.n = n};
    size_t bytes = sizeof *b.host * (size_t)(n + GUARD_WORDS);
    b.host = malloc(bytes);
    b.device = s->device->take(bytes);
    assert_non_null(b.host);
    assert_non_null(b.device);
    for (int64_t i = 0; i < n; i++)
        b.host[i] = (float)(ptq_rng_uniform(&s->rng) * 4 - 2) * (ptq_rng_below(&s->rng, 50) ? 1 : 8);
    for (int i = 0; i < GUARD_WORDS; i++) b.host[n + i] = guard;
    s->device->upload(b.device, b.host, bytes);
    return b;
}

static void drop(struct setup *s, struct both *b)
{
    free(b->host);
    s->device->give(b->device);
}

/* The device's array against the host's, which ref has filled. */
static void agree(struct setup *s, const char *op, int number, const struct both *b)
{
    size_t bytes = sizeof *b->host * (size_t)(b->n + GUARD_WORDS);
    float *got = malloc(bytes);
    assert_non_null(got);
    s->device->download(got, b->device, bytes);
    const char *failure = s->device->error();
    if (failure) fail_msg("%s, case %d: %s", op, number, failure);
    double error = 0, power = 0;
    for (int64_t i = 0; i < b->n; i++) {
        if (!isfinite(got[i])) fail_msg("%s, case %d: value %ld is %g", op, number, (long)i, (double)got[i]);
        error += ((double)got[i] - b->host[i]) * ((double)got[i] - b->host[i]);
        power += (double)b->host[i] * b->host[i];
    }
    if (error > bound * (power + 1e-30))
        fail_msg("%s on %s, case %d: normalised error %g", op, s->device->name, number, error / power);
    for (int i = 0; i < GUARD_WORDS; i++)
        if (got[b->n + i] != guard) fail_msg("%s, case %d: wrote past the end", op, number);
    free(got);
}

static void linear(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++)
        for (int variant = 0; variant < 4; variant++) {
            struct ptq_matrix_case m = ptq_matrix_cases[c];
            if (c == PTQ_N_CASES(ptq_matrix_cases) - 1 && variant < 3) continue; /* the largest once: plain loops */
            int64_t ldx = m.k + 3, ldy = m.n + (variant & 1 ? 5 : 0);
            struct both x = make(s, m.m * ldx), w = make(s, m.n * m.k), b = make(s, m.n), y = make(s, m.m * ldy);
            s->ref.linear(y.host, ldy, x.host, ldx, w.host, variant & 2 ? b.host : NULL, variant & 1, m.m, m.n, m.k);
            s->device->ops.linear(y.device, ldy, x.device, ldx, w.device, variant & 2 ? b.device : NULL, variant & 1,
                                  m.m, m.n, m.k);
            agree(s, "linear", c, &y);
            drop(s, &x), drop(s, &w), drop(s, &b), drop(s, &y);
        }
}

static void norms(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++) {
        struct ptq_matrix_case m = ptq_matrix_cases[c];
        struct both x = make(s, m.m * m.k), g = make(s, m.k), b = make(s, m.k), y = make(s, m.m * m.k);
        s->ref.rmsnorm(y.host, x.host, g.host, 1e-5f, m.m, m.k);
        s->device->ops.rmsnorm(y.device, x.device, g.device, 1e-5f, m.m, m.k);
        agree(s, "rmsnorm", c, &y);
        s->ref.layernorm(x.host, x.host, g.host, b.host, 1e-5f, m.m, m.k);
        s->device->ops.layernorm(x.device, x.device, g.device, b.device, 1e-5f, m.m, m.k);
        agree(s, "layernorm in place", c, &x);
        drop(s, &x), drop(s, &g), drop(s, &b), drop(s, &y);
    }
}

static void activations(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++) {
        struct ptq_matrix_case m = ptq_matrix_cases[c];
        int64_t ld = 2 * m.n + 1, ldy = m.n + 2;
        struct both x = make(s, m.m * ld), y = make(s, m.m * ldy);
        s->ref.silu_mul(y.host, ldy, x.host, x.host + m.n, ld, m.m, m.n);
        s->device->ops.silu_mul(y.device, ldy, x.device, x.device + m.n, ld, m.m, m.n);
        agree(s, "silu_mul", c, &y);
        s->ref.relu(x.host, ld, m.m, m.n);
        s->device->ops.relu(x.device, ld, m.m, m.n);
        agree(s, "relu", c, &x);
        drop(s, &x), drop(s, &y);
    }
}

static void rope_and_attention(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(ptq_attention_cases); c++) {
        struct ptq_attention_case a = ptq_attention_cases[c];
        struct ptq_attention shape = {a.heads, a.kv_heads, a.d, 1 / sqrtf((float)a.d)};
        int64_t t = a.first + a.m, ld = (a.heads + 2 * a.kv_heads) * a.d, width = a.heads * a.d;
        struct both qkv = make(s, t * ld), y = make(s, a.m * width), scratch = make(s, ptq_attention_scratch(t));
        struct both cosine = make(s, t * a.d / 2), sine = make(s, t * a.d / 2);
        s->ref.rope(qkv.host, ld, cosine.host, sine.host, t, a.heads + a.kv_heads, a.d);
        s->device->ops.rope(qkv.device, ld, cosine.device, sine.device, t, a.heads + a.kv_heads, a.d);
        agree(s, "rope", c, &qkv);
        int64_t k = width, v = k + a.kv_heads * a.d, q = a.first * ld;
        s->ref.attention(y.host, width, qkv.host + q, qkv.host + k, qkv.host + v, ld, &shape, a.first, a.m,
                         scratch.host);
        s->device->ops.attention(y.device, width, qkv.device + q, qkv.device + k, qkv.device + v, ld, &shape, a.first,
                                 a.m, scratch.device);
        agree(s, "attention", c, &y);
        drop(s, &qkv), drop(s, &y), drop(s, &scratch), drop(s, &cosine), drop(s, &sine);
    }
}

static void *put(struct setup *s, const void *host, size_t bytes)
{
    void *device = s->device->take(bytes);
    assert_non_null(device);
    s->device->upload(device, host, bytes);
    return device;
}

/* The vocabulary in two tiles. */
static void lse(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++) {
        struct ptq_matrix_case m = ptq_matrix_cases[c];
        struct both x = make(s, m.m * m.k), w = make(s, m.n * m.k), scratch = make(s, ptq_lse_scratch(m.m));
        struct ptq_lse *want = malloc(sizeof *want * (size_t)m.m), *got = malloc(sizeof *got * (size_t)m.m);
        int32_t *target = malloc(sizeof *target * (size_t)m.m);
        assert_true(want && got && target);
        for (int64_t i = 0; i < m.m; i++) {
            want[i] = PTQ_LSE_EMPTY;
            target[i] = i ? (int32_t)ptq_rng_below(&s->rng, (uint64_t)m.n) : -1;
        }
        struct ptq_lse *state = put(s, want, sizeof *want * (size_t)m.m);
        int32_t *ids = put(s, target, sizeof *target * (size_t)m.m);
        int64_t half = m.n / 2;
        for (int tile = 0; tile < 2; tile++) {
            int64_t first = tile ? half : 0, n = tile ? m.n - half : half;
            if (!n) continue;
            s->ref.lse(want, x.host, w.host + first * m.k, target, first, m.m, n, m.k, scratch.host);
            s->device->ops.lse(state, x.device, w.device + first * m.k, ids, first, m.m, n, m.k, scratch.device);
        }
        s->device->download(got, state, sizeof *got * (size_t)m.m);
        for (int64_t i = 0; i < m.m; i++) {
            double nll = ptq_lse_nll(&want[i]), difference = fabs(nll - ptq_lse_nll(&got[i]));
            if (!(difference <= 1e-4 + 1e-5 * fabs(nll)))
                fail_msg("lse, case %d, row %ld: off by %g", c, (long)i, difference);
        }
        s->device->give(state);
        s->device->give(ids);
        free(want), free(got), free(target);
        drop(s, &x), drop(s, &w), drop(s, &scratch);
    }
}

/* A quantised linear with everything on it, on the host; the device's copy has the device's pointers. */
static struct ptq_qmat random_qmat(struct setup *s, const struct ptq_qmat_case *c)
{
    struct ptq_qmat q = {.n = c->n, .k = c->k, .grid = {.w_bit = c->w_bit, .group_size = c->group_size}};
    q.n_groups = ptq_n_groups(c->k, c->group_size);
    q.n_keep = c->n_keep;
    q.n_divided = c->n_divided;
    size_t groups = (size_t)(q.n * q.n_groups);
    q.code = malloc((size_t)(q.n * q.k));
    q.scale = malloc(sizeof *q.scale * groups);
    q.zero = malloc(sizeof *q.zero * groups);
    q.keep = malloc(sizeof *q.keep * (size_t)(q.n_keep + 1));
    q.kept = malloc(sizeof *q.kept * (size_t)(q.n * q.n_keep + 1));
    q.divided = malloc(sizeof *q.divided * (size_t)(q.n_divided + 1));
    q.divisor = malloc(sizeof *q.divisor * (size_t)(q.n_divided + 1));
    q.perm = c->permuted ? malloc(sizeof *q.perm * (size_t)q.k) : NULL;
    for (int64_t i = 0; i < q.n * q.k; i++) q.code[i] = (uint8_t)ptq_rng_below(&s->rng, 1u << c->w_bit);
    for (size_t i = 0; i < groups; i++) {
        q.scale[i] = (float)ptq_rng_uniform(&s->rng) + 0.01f;
        q.zero[i] = (float)ptq_rng_below(&s->rng, 1u << c->w_bit);
    }
    for (int64_t i = 0; i < q.n_keep; i++) q.keep[i] = (int32_t)(2 * i);
    for (int64_t i = 0; i < q.n * q.n_keep; i++) q.kept[i] = (float)i + 0.5f;
    for (int64_t i = 0; i < q.n_divided; i++) {
        q.divided[i] = (int32_t)(2 * i + 1);
        q.divisor[i] = 1.5f + (float)i;
    }
    for (int64_t i = 0; q.perm && i < q.k; i++) q.perm[i] = (int32_t)((i * 7 + 3) % q.k); /* 7 divides no k here */
    return q;
}

static void drop_qmat(struct ptq_qmat *q, void (*release)(void *))
{
    release(q->code), release(q->scale), release(q->zero), release(q->keep), release(q->kept), release(q->divided);
    release(q->divisor);
    if (q->perm) release(q->perm);
}

static struct ptq_qmat put_qmat(struct setup *s, const struct ptq_qmat *q)
{
    struct ptq_qmat d = *q;
    size_t groups = (size_t)(q->n * q->n_groups);
    d.code = put(s, q->code, (size_t)(q->n * q->k));
    d.scale = put(s, q->scale, sizeof *q->scale * groups);
    d.zero = put(s, q->zero, sizeof *q->zero * groups);
    d.keep = put(s, q->keep, sizeof *q->keep * (size_t)q->n_keep);
    d.kept = put(s, q->kept, sizeof *q->kept * (size_t)(q->n * q->n_keep));
    d.divided = put(s, q->divided, sizeof *q->divided * (size_t)q->n_divided);
    d.divisor = put(s, q->divisor, sizeof *q->divisor * (size_t)q->n_divided);
    d.perm = q->perm ? put(s, q->perm, sizeof *q->perm * (size_t)q->k) : NULL;
    return d;
}

static void dequantize(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(ptq_qmat_cases); c++) {
        struct ptq_qmat host = random_qmat(s, &ptq_qmat_cases[c]), device = put_qmat(s, &host);
        int64_t row = host.n / 2, rows = host.n - row;
        struct both w = make(s, rows * host.k);
        s->ref.dequantize(w.host, &host, row, rows);
        s->device->ops.dequantize(w.device, &device, row, rows);
        agree(s, "dequantize", c, &w);
        drop(s, &w);
        drop_qmat(&host, free);
        drop_qmat(&device, s->device->give);
    }
}

static void sums(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++) {
        struct ptq_matrix_case m = ptq_matrix_cases[c];
        int64_t ldx = m.k + 1, first = m.k / 3, n = m.k - first;
        struct both x = make(s, m.m * ldx), sum = make(s, m.k), h = make(s, m.k * m.k);
        s->ref.abssum(sum.host, x.host, ldx, m.m, m.k);
        s->device->ops.abssum(sum.device, x.device, ldx, m.m, m.k);
        agree(s, "abssum", c, &sum);
        s->ref.gram(h.host, m.k, x.host, ldx, m.m, first, n);
        s->device->ops.gram(h.device, m.k, x.device, ldx, m.m, first, n);
        float *got = malloc(sizeof *got * (size_t)(m.k * m.k)); /* below the diagonal of these columns: anything */
        assert_non_null(got);
        s->device->download(got, h.device, sizeof *got * (size_t)(m.k * m.k));
        for (int64_t i = 0; i < m.k; i++)
            for (int64_t j = first; j < m.k; j++)
                if (i > j) h.host[i * m.k + j] = got[i * m.k + j];
        free(got);
        agree(s, "gram", c, &h);
        drop(s, &x), drop(s, &sum), drop(s, &h);
    }
}

static void subtract(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++) {
        struct ptq_matrix_case m = ptq_matrix_cases[c];
        struct both a = make(s, m.m * (m.k + 2)), b = make(s, m.k * (m.n + 1)), y = make(s, m.m * (m.n + 3));
        s->ref.subtract(y.host, m.n + 3, a.host, m.k + 2, b.host, m.n + 1, m.m, m.n, m.k);
        s->device->ops.subtract(y.device, m.n + 3, a.device, m.k + 2, b.device, m.n + 1, m.m, m.n, m.k);
        agree(s, "subtract", c, &y);
        drop(s, &a), drop(s, &b), drop(s, &y);
    }
}

/* ---- a device, an operation ---- */

static void on_each_device(void (*test)(struct setup *s))
{
    char why[256];
    const struct ptq_device *real = ptq_cuda_device(why, sizeof why);
    struct setup s = {.device = ptq_cuda_emulated_device()};
    ptq_ops_ref(&s.ref);
    for (int order = 0; order < ORDERS; order++) {
        ptq_cuda_emulated_seed((uint64_t)order + 1);
        s.rng = ptq_rng_make(7, "cuda");
        s.matrix_cases = PTQ_N_CASES(ptq_matrix_cases) - (order > 0);
        test(&s);
    }
    if (!real) {
        print_message("no real device (%s): emulated only\n", why);
        return;
    }
    print_message("on %s, too\n", real->name);
    s.device = real;
    s.matrix_cases = PTQ_N_CASES(ptq_matrix_cases);
    s.rng = ptq_rng_make(7, "cuda");
    test(&s);
}

#define PTQ_DEVICE_TESTS(X)                                                                                            \
    X(linear) X(norms) X(activations) X(rope_and_attention) X(lse) X(dequantize) X(sums) X(subtract)
#define X(name)                                                                                                        \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        on_each_device(name);                                                                                          \
    }
PTQ_DEVICE_TESTS(X)
#undef X

int main(void)
{
#define X(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {PTQ_DEVICE_TESTS(X)};
#undef X
    return cmocka_run_group_tests(tests, NULL, NULL);
}
