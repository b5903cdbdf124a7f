/* Every operation of the CUDA backend against ref, on all shapes of kernels/cases.h: on the emulated device, three
 * times with its threads in another order, and on a real one where there is one. Normalised mean squared error within a
 * bound, NaN and Inf apart, guard words behind every output, and the memory that is not padding unchanged. */
#include "cuda/cuda.h"
#include "devices.h"
#include "qmats.h"

static const double float32_bound = 1e-9; /* of sums of up to 576 terms, one after the other */

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
            agree(s, "linear", c, &y, float32_bound);
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
        agree(s, "rmsnorm", c, &y, float32_bound);
        s->ref.layernorm(x.host, x.host, g.host, b.host, 1e-5f, m.m, m.k);
        s->device->ops.layernorm(x.device, x.device, g.device, b.device, 1e-5f, m.m, m.k);
        agree(s, "layernorm in place", c, &x, float32_bound);
        drop(s, &x), drop(s, &g), drop(s, &b), drop(s, &y);
    }
}

/* As in test_kernels: rows whose squares are beyond float32. */
static void norms_overflow(struct setup *s)
{
    const int64_t columns[] = {5, 100, 1000};
    for (int c = 0; c < 3; c++) {
        int64_t k = columns[c];
        struct both x = make(s, 3 * k), g = make(s, k), b = make(s, k), y = make(s, 3 * k);
        scale_device(s, &x, 1e30f);
        s->device->ops.rmsnorm(y.device, x.device, g.device, 1e-5f, 3, k);
        all_nan(s, "rmsnorm", c, &y);
        s->device->ops.layernorm(y.device, x.device, g.device, b.device, 1e-5f, 3, k);
        all_nan(s, "layernorm", c, &y);
        drop(s, &x), drop(s, &g), drop(s, &b), drop(s, &y);
    }
}

static void activations(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++) {
        struct ptq_matrix_case m = ptq_matrix_cases[c];
        int64_t ld = 2 * m.n + 1, ldy = m.n + 2;
        struct both x = make(s, m.m * ld), y = make(s, m.m * ldy), divisor = make(s, m.n);
        s->ref.silu_mul(y.host, ldy, x.host, x.host + m.n, ld, m.m, m.n);
        s->device->ops.silu_mul(y.device, ldy, x.device, x.device + m.n, ld, m.m, m.n);
        agree(s, "silu_mul", c, &y, float32_bound);
        s->ref.gelu_tanh(x.host, ld, m.m, m.n);
        s->device->ops.gelu_tanh(x.device, ld, m.m, m.n);
        agree(s, "gelu_tanh", c, &x, float32_bound);
        s->ref.gelu_erf(x.host + m.n, ld, m.m, m.n);
        s->device->ops.gelu_erf(x.device + m.n, ld, m.m, m.n);
        agree(s, "gelu_erf", c, &x, float32_bound);
        s->ref.relu(x.host, ld, m.m, m.n);
        s->device->ops.relu(x.device, ld, m.m, m.n);
        agree(s, "relu", c, &x, float32_bound);
        s->ref.divide(x.host + 1, ld, divisor.host, m.m, m.n);
        s->device->ops.divide(x.device + 1, ld, divisor.device, m.m, m.n);
        agree(s, "divide", c, &x, float32_bound);
        drop(s, &x), drop(s, &y), drop(s, &divisor);
    }
}

static void rope_and_attention(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(ptq_attention_cases); c++) {
        struct ptq_attention_case a = ptq_attention_cases[c];
        struct both slope = make(s, a.heads);
        struct ptq_attention shape = {.heads = a.heads, .kv_heads = a.kv_heads, .head_size = a.d, .window = a.window};
        shape.scale = 1 / sqrtf((float)a.d);
        int64_t t = a.first + a.m, ld = (a.heads + 2 * a.kv_heads) * a.d, width = a.heads * a.d;
        struct both qkv = make(s, t * ld), y = make(s, a.m * width), scratch = make(s, ptq_attention_scratch(t, a.d));
        struct both cosine = make(s, t * a.d / 2), sine = make(s, t * a.d / 2);
        s->ref.rope(qkv.host, ld, cosine.host, sine.host, t, a.heads + a.kv_heads, a.d);
        s->device->ops.rope(qkv.device, ld, cosine.device, sine.device, t, a.heads + a.kv_heads, a.d);
        agree(s, "rope", c, &qkv, float32_bound);
        int64_t k = width, v = k + a.kv_heads * a.d, q = a.first * ld;
        shape.slope = a.alibi ? slope.host : NULL;
        s->ref.attention(y.host, width, qkv.host + q, qkv.host + k, qkv.host + v, ld, &shape, a.first, a.m,
                         scratch.host);
        shape.slope = a.alibi ? slope.device : NULL;
        s->device->ops.attention(y.device, width, qkv.device + q, qkv.device + k, qkv.device + v, ld, &shape, a.first,
                                 a.m, scratch.device);
        agree(s, "attention", c, &y, float32_bound);
        drop(s, &slope), drop(s, &qkv), drop(s, &y), drop(s, &scratch), drop(s, &cosine), drop(s, &sine);
    }
}

static void compare_states(const struct ptq_lse *want, const struct ptq_lse *got, int64_t m, int number)
{
    for (int64_t i = 0; i < m; i++) {
        double nll = ptq_lse_nll(&want[i]), difference = fabs(nll - ptq_lse_nll(&got[i]));
        assert_int_equal(got[i].top, want[i].top);
        if (!(difference <= 1e-4 + 1e-5 * fabs(nll)))
            fail_msg("lse, case %d, row %ld: off by %g", number, (long)i, difference);
    }
}

/* The vocabulary in two tiles; with_mean: and the head's mean row under the softmax. */
static void lse_case(struct setup *s, int number, struct ptq_matrix_case m, int with_mean)
{
    struct both x = make(s, m.m * m.k), w = make(s, m.n * m.k), scratch = make(s, ptq_lse_scratch(m.m));
    struct both mean = make(s, m.m * m.k);
    struct ptq_lse *want = malloc(sizeof *want * (size_t)m.m), *got = malloc(sizeof *got * (size_t)m.m);
    int32_t *target = malloc(sizeof *target * (size_t)m.m);
    assert_true(want && got && target);
    for (int64_t i = 0; i < m.m; i++) {
        want[i] = PTQ_LSE_EMPTY;
        target[i] = i ? (int32_t)ptq_rng_below(&s->rng, (uint64_t)m.n) : -1;
    }
    memset(mean.host, 0, sizeof *mean.host * (size_t)mean.n);
    s->device->upload(mean.device, mean.host, sizeof *mean.host * (size_t)mean.n);
    struct ptq_lse *state = put(s, want, sizeof *want * (size_t)m.m);
    int32_t *ids = put(s, target, sizeof *target * (size_t)m.m);
    for (int64_t first = 0, n = m.n / 2; first < m.n; first += n, n = m.n - first) {
        const float *host = w.host + first * m.k, *device = w.device + first * m.k;
        if (!n) n = m.n;
        if (with_mean) {
            s->ref.lse_mean(want, mean.host, x.host, host, target, first, m.m, n, m.k, scratch.host);
            s->device->ops.lse_mean(state, mean.device, x.device, device, ids, first, m.m, n, m.k, scratch.device);
        } else {
            s->ref.lse(want, x.host, host, target, first, m.m, n, m.k, scratch.host);
            s->device->ops.lse(state, x.device, device, ids, first, m.m, n, m.k, scratch.device);
        }
    }
    s->device->download(got, state, sizeof *got * (size_t)m.m);
    compare_states(want, got, m.m, number);
    agree(s, "lse_mean", number, &mean, 1e-8); /* logits of up to 100: their float32 error in an exponent */
    s->device->give(state);
    s->device->give(ids);
    free(want), free(got), free(target);
    drop(s, &x), drop(s, &w), drop(s, &scratch), drop(s, &mean);
}

static void lse(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++)
        for (int with_mean = 0; with_mean < 2; with_mean++) lse_case(s, c, ptq_matrix_cases[c], with_mean);
}

/* The quantised linear with its arrays on the device, and those arrays, to be given back. */
static struct ptq_qmat put_qmat(struct setup *s, const struct ptq_qmat *q, void *given[8])
{
    struct ptq_qmat d = *q;
    size_t groups = (size_t)(q->n * q->n_groups);
    given[0] = d.code = put(s, q->code, (size_t)(q->n * q->k));
    given[1] = d.scale = put(s, q->scale, sizeof *q->scale * groups);
    given[2] = d.zero = put(s, q->zero, sizeof *q->zero * groups);
    given[3] = d.keep = put(s, q->keep, sizeof *q->keep * (size_t)q->n_keep);
    given[4] = d.kept = put(s, q->kept, sizeof *q->kept * (size_t)(q->n * q->n_keep));
    given[5] = d.divided = put(s, q->divided, sizeof *q->divided * (size_t)q->n_divided);
    given[6] = d.divisor = put(s, q->divisor, sizeof *q->divisor * (size_t)q->n_divided);
    given[7] = d.perm = q->perm ? put(s, q->perm, sizeof *q->perm * (size_t)q->k) : NULL;
    return d;
}

static void dequantize(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(ptq_qmat_cases); c++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_qmat host, device;
        void *given[8];
        make_qmat(arena, &host, &ptq_qmat_cases[c], 0, 0, &s->rng);
        device = put_qmat(s, &host, given);
        int64_t row = host.n / 2, rows = host.n - row;
        struct both w = make(s, rows * host.k);
        s->ref.dequantize(w.host, &host, row, rows);
        s->device->ops.dequantize(w.device, &device, row, rows);
        agree(s, "dequantize", c, &w, float32_bound);
        drop(s, &w);
        for (int i = 0; i < 8; i++)
            if (given[i]) s->device->give(given[i]);
        ptq_arena_free(arena);
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
        agree(s, "abssum", c, &sum, float32_bound);
        s->ref.gram(h.host, m.k, 0.75f, x.host, ldx, m.m, first, n);
        s->device->ops.gram(h.device, m.k, 0.75f, x.device, ldx, m.m, first, n);
        float *got = malloc(sizeof *got * (size_t)(m.k * m.k)); /* below the diagonal of these columns: anything */
        assert_non_null(got);
        s->device->download(got, h.device, sizeof *got * (size_t)(m.k * m.k));
        for (int64_t i = 0; i < m.k; i++)
            for (int64_t j = first; j < m.k; j++)
                if (i > j) h.host[i * m.k + j] = got[i * m.k + j];
        free(got);
        agree(s, "gram", c, &h, float32_bound);
        drop(s, &x), drop(s, &sum), drop(s, &h);
    }
}

static void subtract(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++) {
        struct ptq_matrix_case m = ptq_matrix_cases[c];
        struct both a = make(s, m.k * (m.m + 2)), b = make(s, m.k * (m.n + 1)), y = make(s, m.m * (m.n + 3));
        s->ref.subtract(y.host, m.n + 3, a.host, m.m + 2, b.host, m.n + 1, m.m, m.n, m.k);
        s->device->ops.subtract(y.device, m.n + 3, a.device, m.m + 2, b.device, m.n + 1, m.m, m.n, m.k);
        agree(s, "subtract", c, &y, float32_bound);
        drop(s, &a), drop(s, &b), drop(s, &y);
    }
}

#define PTQ_DEVICE_TESTS(X)                                                                                            \
    X(linear) X(norms) X(norms_overflow) X(activations) X(rope_and_attention) X(lse) X(dequantize) X(sums) X(subtract)
#define X(name)                                                                                                        \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        on_each_device(name);                                                                                          \
    }
PTQ_DEVICE_TESTS(X)
#undef X

/* of emulation.cpp */
int emulation_reversed(int with_barrier, int orders);
int emulation_summed_twice(int with_barrier, int orders);
int emulation_arrived(int orders);
int emulation_copied(int with_wait);
int emulation_ends(int which);

/* What the emulation is for: a missing barrier, one that only a warp far behind needs, a missing wait, threads that
 * never meet, shared memory that not every device has. */
static void test_emulation(void **state)
{
    (void)state;
    assert_int_equal(emulation_reversed(1, 20), 20);
    assert_int_equal(emulation_reversed(0, 20), 0);
    assert_int_equal(emulation_summed_twice(1, 20), 20);
    assert_in_range(emulation_summed_twice(0, 20), 0, 14); /* in fair orders it is right */
    assert_int_equal(emulation_arrived(20), 20);
    assert_true(emulation_copied(1));
    assert_false(emulation_copied(0));
    for (int which = 0; which < 4; which++) assert_true(emulation_ends(which));
    assert_false(emulation_ends(4));
}

/* No device: what is wrong and what to do, in our words, for every case. */
static void test_explained(void **state)
{
    (void)state;
    static const struct {
        int driver, runtime, devices;
        const char *says;
    } cases[] = {{0, 12040, 0, "has no NVIDIA driver"},
                 {11020, 12040, 0, "made for CUDA 11.2, and this ptq for 12.4; update the driver"},
                 {12040, 12040, 0, "sees no GPU; nvidia-smi must list one"},
                 {13000, 12040, 1, "does not answer"}};
    char why[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptq_cuda_explain(cases[i].driver, cases[i].runtime, cases[i].devices, why, sizeof why);
        assert_non_null(strstr(why, cases[i].says));
        assert_null(strstr(why, ". ")); /* one sentence */
    }
}

int main(void)
{
#define X(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {PTQ_DEVICE_TESTS(X) cmocka_unit_test(test_emulation),
                                       cmocka_unit_test(test_explained)};
#undef X
    return cmocka_run_group_tests(tests, NULL, NULL);
}
