/* Every operation of every CPU backend against ref, on all shapes of kernels/cases.h: normalised mean squared error
 * within a bound, NaN and Inf apart, guard words behind every output, codes equal byte for byte. */
#include "kernel_values.h"
#include "qmats.h"

static void test_linear(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(1, "linear");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++)
        for (int variant = 0; variant < 4; variant++) {
            struct ptq_matrix_case s = ptq_matrix_cases[c];
            int64_t ldx = s.k + 3, ldy = s.n + (variant & 1 ? 5 : 0);
            float *x = values(&rng, s.m * ldx), *w = values(&rng, s.n * s.k), *bias = values(&rng, s.n);
            float *want = values(&rng, s.m * ldy), *got = copy_of(want, s.m * ldy);
            b->ref.linear(want, ldy, x, ldx, w, variant & 2 ? bias : NULL, variant & 1, s.m, s.n, s.k);
            b->cpu.linear(got, ldy, x, ldx, w, variant & 2 ? bias : NULL, variant & 1, s.m, s.n, s.k);
            agree("linear", c, want, got, s.m * ldy);
            free(x), free(w), free(bias), free(want), free(got);
        }
}

static void test_linear_f16(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(1, "linear_f16");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++) {
        struct ptq_matrix_case s = ptq_matrix_cases[c];
        int64_t ldx = s.k + 3, ldy = s.n + c % 2;
        float *x = values(&rng, s.m * ldx), *w = values(&rng, s.n * s.k);
        float *want = values(&rng, s.m * ldy), *got = copy_of(want, s.m * ldy);
        uint16_t *half = malloc(sizeof *half * (size_t)(s.n * s.k));
        assert_non_null(half);
        for (int64_t i = 0; i < s.n * s.k; i++) half[i] = ptq_f16_encode(w[i]);
        b->ref.linear_f16(want, ldy, x, ldx, half, s.m, s.n, s.k);
        b->cpu.linear_f16(got, ldy, x, ldx, half, s.m, s.n, s.k);
        agree("linear_f16", c, want, got, s.m * ldy);
        free(x), free(w), free(half), free(want), free(got);
    }
}

static void test_norms(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(2, "norms");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++) {
        struct ptq_matrix_case s = ptq_matrix_cases[c];
        float *x = values(&rng, s.m * s.k), *g = values(&rng, s.k), *shift = values(&rng, s.k);
        float *want = values(&rng, s.m * s.k), *got = copy_of(want, s.m * s.k);
        b->ref.rmsnorm(want, x, g, 1e-5f, s.m, s.k);
        b->cpu.rmsnorm(got, x, g, 1e-5f, s.m, s.k);
        agree("rmsnorm", c, want, got, s.m * s.k);
        b->ref.layernorm(want, x, g, shift, 1e-5f, s.m, s.k);
        b->cpu.layernorm(got, x, g, shift, 1e-5f, s.m, s.k);
        agree("layernorm", c, want, got, s.m * s.k);
        free(x), free(g), free(shift), free(want), free(got);
    }
}

/* A row whose squares are beyond float32 is NaN, in ref too, and its neighbours are what they are; the largest that are
 * not keep their values. Of few columns and many, since what a vector holds and what is left over are summed apart. */
static void test_norms_overflow(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(12, "norms overflow");
    static const int64_t columns[] = {5, 8, 21, 64};
    static const float large[] = {1e18f, 1e30f};
    for (int c = 0; c < 8; c++) {
        int64_t k = columns[c / 2];
        float *x = values(&rng, 3 * k), *g = values(&rng, k), *shift = values(&rng, k), *y = values(&rng, 3 * k);
        for (int64_t j = k; j < 2 * k; j++) x[j] *= large[c % 2];
        for (int op = 0; op < 4; op++) {
            const struct ptq_ops *ops = op % 2 ? &b->ref : &b->cpu;
            if (op < 2)
                ops->rmsnorm(y, x, g, 1e-5f, 3, k);
            else
                ops->layernorm(y, x, g, shift, 1e-5f, 3, k);
            for (int64_t j = 0; j < 3 * k; j++)
                if (!isnan(y[j]) != (j / k != 1 || c % 2 == 0))
                    fail_msg("op %d, case %d: value %ld is %g", op, c, (long)j, (double)y[j]);
        }
        free(x), free(g), free(shift), free(y);
    }
}

static void test_activations(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(3, "activations");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++) {
        struct ptq_matrix_case s = ptq_matrix_cases[c];
        int64_t ld = 2 * s.n;
        float *gate_up = values(&rng, s.m * ld), *want = values(&rng, s.m * s.n), *got = copy_of(want, s.m * s.n);
        gate_up[0] = -300; /* exp(300) must not turn into NaN */
        b->ref.silu_mul(want, s.n, gate_up, gate_up + s.n, ld, s.m, s.n);
        b->cpu.silu_mul(got, s.n, gate_up, gate_up + s.n, ld, s.m, s.n);
        agree("silu_mul", c, want, got, s.m * s.n);
        b->ref.relu(want, s.n, s.m, s.n);
        b->cpu.relu(got, s.n, s.m, s.n);
        agree("relu", c, want, got, s.m * s.n);
        free(gate_up), free(want), free(got);
    }
}

/* Both forms, on random values by NMSE and on a ramp by the relative error of each value: the tail counts, too. */
static void test_gelu(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(10, "gelu");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++)
        for (int form = 0; form < 2; form++) {
            struct ptq_matrix_case s = ptq_matrix_cases[c];
            int64_t ld = s.n + 3;
            float *want = values(&rng, s.m * ld), *got = copy_of(want, s.m * ld);
            (form ? b->ref.gelu_erf : b->ref.gelu_tanh)(want, ld, s.m, s.n);
            (form ? b->cpu.gelu_erf : b->cpu.gelu_tanh)(got, ld, s.m, s.n);
            agree(form ? "gelu_erf" : "gelu_tanh", c, want, got, s.m * ld);
            free(want), free(got);
        }
    for (int form = 0; form < 2; form++)
        for (int i = -3000; i <= 3000; i++) {
            float x = (float)i / 100, want = x, got = x;
            (form ? b->ref.gelu_erf : b->ref.gelu_tanh)(&want, 1, 1, 1);
            (form ? b->cpu.gelu_erf : b->cpu.gelu_tanh)(&got, 1, 1, 1);
            if (!(fabsf(got - want) <= (x > -8 ? 4e-6f * fabsf(want) : 0) + 1e-12f))
                fail_msg("gelu form %d of %g is %.9g, expected %.9g", form, (double)x, (double)got, (double)want);
        }
}

/* Both the fused log-sum-exp against ref, and ref's against the definition over the whole row. */
static void test_lse(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(5, "lse");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++) {
        struct ptq_matrix_case s = ptq_matrix_cases[c];
        float *x = values(&rng, s.m * s.k), *w = values(&rng, s.n * s.k),
              *scratch = values(&rng, (int64_t)ptq_lse_scratch(s.m));
        float *want = values(&rng, s.m), *got = copy_of(want, s.m), *logits = values(&rng, s.m * s.n);
        struct ptq_lse *two = calloc((size_t)s.m * 2, sizeof *two);
        int32_t *target = calloc((size_t)s.m, sizeof *target);
        for (int64_t i = 0; i < s.m; i++) {
            two[i] = two[s.m + i] = PTQ_LSE_EMPTY;
            target[i] = (int32_t)ptq_rng_below(&rng, (uint64_t)s.n);
        }
        b->ref.linear(logits, s.n, x, s.k, w, NULL, 0, s.m, s.n, s.k);
        int64_t half = s.n / 2; /* in two tiles */
        for (int64_t at = 0, n = half; at < s.n; at += n, n = s.n - at) {
            if (n == 0) continue;
            b->ref.lse(two, x, w + at * s.k, target, at, s.m, n, s.k, scratch);
            b->cpu.lse(two + s.m, x, w + at * s.k, target, at, s.m, n, s.k, scratch);
        }
        for (int64_t i = 0; i < s.m; i++) {
            double sum = 0, top = -INFINITY;
            for (int64_t j = 0; j < s.n; j++) top = fmax(top, logits[i * s.n + j]);
            for (int64_t j = 0; j < s.n; j++) sum += exp(logits[i * s.n + j] - top);
            want[i] = (float)(log(sum) + top - logits[i * s.n + target[i]]);
            assert_true(fabs(ptq_lse_nll(&two[i]) - want[i]) <= 1e-4 * (1 + fabs(top)));
            got[i] = ptq_lse_nll(&two[s.m + i]);
            assert_true(fabs(got[i] - ptq_lse_nll(&two[i])) <= 1e-4 * (1 + fabs(top)));
        }
        free(x), free(w), free(scratch), free(want), free(got), free(logits), free(two), free(target);
    }
}

/* sum p (log p - log q) of two rows of logits. */
static double direct_kl(const float *p, const float *q, int64_t n)
{
    double top_p = -INFINITY, top_q = -INFINITY, sum_p = 0, sum_q = 0, kl = 0;
    for (int64_t j = 0; j < n; j++) top_p = fmax(top_p, p[j]), top_q = fmax(top_q, q[j]);
    for (int64_t j = 0; j < n; j++) sum_p += exp(p[j] - top_p), sum_q += exp(q[j] - top_q);
    for (int64_t j = 0; j < n; j++)
        kl += exp(p[j] - top_p) / sum_p * ((p[j] - top_p - log(sum_p)) - (q[j] - top_q - log(sum_q)));
    return kl;
}

/* The divergence of two rows by core/reference.h's equation: from p's mean and both log Z. */
static double kl_by_mean(const struct ptq_lse *p, const struct ptq_lse *q, const float *mean, const float *x,
                         const float *y, int64_t k)
{
    double product = 0;
    for (int64_t i = 0; i < k; i++) product += mean[i] / p->sum * ((double)x[i] - y[i]);
    return product - ptq_lse_log(p) + ptq_lse_log(q);
}

struct lse_rows {
    float *x, *y, *w, *scratch, *mean, *p, *q; /* y: x as a quantised model gives it; p, q: logits */
    struct ptq_lse *lse;                       /* [2][M], of x and y */
    int32_t *target;
};

static void make_lse_rows(struct backends *b, struct ptq_rng *rng, const struct ptq_matrix_case *s, struct lse_rows *r)
{
    r->x = values(rng, s->m * s->k), r->w = values(rng, s->n * s->k), r->mean = values(rng, s->m * s->k);
    r->p = values(rng, s->m * s->n), r->q = values(rng, s->m * s->n);
    r->scratch = values(rng, (int64_t)ptq_lse_scratch(s->m));
    for (int64_t i = 0; i < s->m * s->k; i++) r->x[i] *= 2 / sqrtf((float)s->k), r->mean[i] = 0;
    r->y = copy_of(r->x, s->m * s->k);
    for (int64_t i = 0; i < s->m * s->k; i++) r->y[i] += (float)(ptq_rng_uniform(rng) - 0.5) / sqrtf((float)s->k);
    b->ref.linear(r->p, s->n, r->x, s->k, r->w, NULL, 0, s->m, s->n, s->k);
    b->ref.linear(r->q, s->n, r->y, s->k, r->w, NULL, 0, s->m, s->n, s->k);
    r->lse = calloc((size_t)s->m * 2, sizeof *r->lse);
    r->target = calloc((size_t)s->m, sizeof *r->target);
    for (int64_t i = 0; i < 2 * s->m; i++) r->lse[i] = PTQ_LSE_EMPTY;
}

static void free_lse_rows(struct lse_rows *r)
{
    free(r->x), free(r->y), free(r->w), free(r->scratch), free(r->mean), free(r->p), free(r->q), free(r->lse),
        free(r->target);
}

/* lse_mean and lse give the divergence of the plain formula, the largest logit's id, and lse_mean what lse does. */
static void test_lse_mean(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(7, "lse_mean");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++)
        for (int backend = 0; backend < 2; backend++) {
            const struct ptq_matrix_case s = ptq_matrix_cases[c];
            const struct ptq_ops *ops = backend ? &b->cpu : &b->ref;
            struct lse_rows r;
            make_lse_rows(b, &rng, &s, &r);
            for (int64_t at = 0, n = (s.n + 1) / 2; at < s.n; at += n, n = s.n - at) { /* in two tiles */
                const float *w = r.w + at * s.k;
                ops->lse_mean(r.lse, r.mean, r.x, w, r.target, at, s.m, n, s.k, r.scratch);
                ops->lse(r.lse + s.m, r.y, w, r.target, at, s.m, n, s.k, r.scratch);
            }
            for (int64_t i = 0; i < s.m; i++) {
                double want = direct_kl(r.p + i * s.n, r.q + i * s.n, s.n);
                double got =
                    kl_by_mean(&r.lse[i], &r.lse[s.m + i], r.mean + i * s.k, r.x + i * s.k, r.y + i * s.k, s.k);
                if (!(fabs(got - want) <= 2e-6 * (1 + fabs(r.lse[i].max)) + 1e-5 * want))
                    fail_msg("%s, case %d: row %ld: divergence %g, expected %g", ops->name, c, (long)i, got, want);
                int32_t top = r.lse[i].top;
                for (int64_t j = 0; j < s.n; j++) assert_true(r.p[i * s.n + top] + 1e-4 >= r.p[i * s.n + j]);
                assert_true(fabs(ptq_lse_nll(&r.lse[i]) + r.p[i * s.n] - ptq_lse_log(&r.lse[i])) <= 1e-4);
            }
            free_lse_rows(&r);
        }
}

static void test_abssum(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(6, "abssum");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++) {
        struct ptq_matrix_case s = ptq_matrix_cases[c];
        float *x = values(&rng, s.m * s.k);
        float *want = calloc((size_t)s.k * 2, sizeof *want), *got = want + s.k;
        b->ref.abssum(want, x, s.k, s.m, s.k);
        b->cpu.abssum(got, x, s.k, s.m, s.k);
        assert_memory_equal(want, got, sizeof *want * (size_t)s.k);
        free(x), free(want);
    }
}

static void test_codes(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(7, "codes");
    for (int c = 0; c < PTQ_N_CASES(ptq_qmat_cases); c++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_qmat q;
        make_qmat(arena, &q, &ptq_qmat_cases[c], 0, 0, &rng);
        float *want = values(&rng, q.n * q.k), *got = copy_of(want, q.n * q.k);
        b->ref.dequantize(want, &q, 0, q.n);
        b->cpu.dequantize(got, &q, 0, q.n);
        agree("dequantize", c, want, got, q.n * q.k);
        assert_memory_equal(want, got, sizeof *want * (size_t)(q.n * q.k));
        float low[2], high[2];
        b->ref.minmax(want, q.k, &low[0], &high[0]);
        b->cpu.minmax(want, q.k, &low[1], &high[1]);
        assert_true(low[0] == low[1] && high[0] == high[1]);
        uint8_t *codes = malloc((size_t)q.k * 2);
        float scale = (high[0] - low[0] + 1e-3f) / 7;
        want[0] = 2.5f * scale; /* a tie */
        b->ref.code(codes, want, q.k, scale, 3, 7);
        b->cpu.code(codes + q.k, want, q.k, scale, 3, 7);
        assert_memory_equal(codes, codes + q.k, (size_t)q.k);
        assert_int_equal(codes[0], 5); /* 2.5 to even, plus the zero */
        free(want), free(got), free(codes);
        ptq_arena_free(arena);
    }
}

/* X^T X in two tiles of columns, above the diagonal alone; and the plain difference of a product. */
static void test_gram(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(8, "gram");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++) {
        struct ptq_matrix_case s = ptq_matrix_cases[c];
        int64_t ld = s.k + 2, half = s.k / 2;
        float *x = values(&rng, s.m * ld), *want = values(&rng, s.k * ld), *got = copy_of(want, s.k * ld);
        b->ref.gram(want, ld, 0.75f, x, ld, s.m, 0, s.k);
        b->cpu.gram(got, ld, 0.75f, x, ld, s.m, half, s.k - half);
        if (half) b->cpu.gram(got, ld, 0.75f, x, ld, s.m, 0, half);
        for (int64_t i = 0; i < s.k; i++) memcpy(got + i * ld, want + i * ld, sizeof *got * (size_t)i);
        agree("gram", c, want, got, s.k * ld);
        free(x), free(want), free(got);
    }
}

static void test_products(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(10, "products");
    for (int c = 0; c < PTQ_N_CASES(ptq_matrix_cases); c++) {
        struct ptq_matrix_case s = ptq_matrix_cases[c];
        int64_t lda = s.m + 3, ld = s.n + 2;
        float *a = values(&rng, s.k * lda), *with = values(&rng, s.k * ld), *u = values(&rng, s.m * lda);
        float *want = values(&rng, s.m * ld), *got = copy_of(want, s.m * ld);
        b->ref.subtract(want, ld, a, lda, with, ld, s.m, s.n, s.k);
        b->cpu.subtract(got, ld, a, lda, with, ld, s.m, s.n, s.k);
        agree("subtract", c, want, got, s.m * ld);
        memcpy(got, want, sizeof *got * (size_t)(s.m * ld));
        b->ref.triangle(want, ld, u, lda, s.m, s.n);
        b->cpu.triangle(got, ld, u, lda, s.m, s.n);
        agree("triangle", c, want, got, s.m * ld);
        free(a), free(with), free(want), free(got), free(u);
    }
}

/* Codes and errors byte for byte, whatever the width of the block. */
static void test_feedback(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(9, "feedback");
    for (int64_t columns = 1; columns <= 128; columns = columns * 2 + 1) {
        int64_t n = columns * PTQ_LANES, ldu = columns + 3;
        float *u = values(&rng, columns * ldu), *want = values(&rng, n), *got = copy_of(want, n);
        float *scale = values(&rng, 3 * PTQ_LANES), *zero = values(&rng, 3 * PTQ_LANES);
        float *error = values(&rng, n), *also = copy_of(error, n), *back = values(&rng, n), *same = copy_of(back, n);
        uint8_t *code = calloc((size_t)n, 2);
        int32_t *group = calloc((size_t)columns, sizeof *group);
        for (int64_t i = 0; i < columns; i++) group[i] = (int32_t)(i % 3);
        for (int64_t i = 0; i < columns * ldu; i++) u[i] *= i % (ldu + 1) ? 0.1f : 1;
        for (int i = 0; i < 3 * PTQ_LANES; i++) scale[i] = fabsf(scale[i]) + 0.1f, zero[i] = rintf(fabsf(zero[i]));
        struct ptq_feedback f = {columns, 7, want, u, ldu, group, scale, zero, code, back, error};
        b->ref.feedback(&f);
        f.w = got, f.code = code + n, f.error = also, f.back = same;
        b->cpu.feedback(&f);
        assert_memory_equal(code, code + n, (size_t)n);
        assert_memory_equal(want, got, sizeof *want * (size_t)(n + GUARD_WORDS));
        assert_memory_equal(error, also, sizeof *error * (size_t)(n + GUARD_WORDS));
        assert_memory_equal(back, same, sizeof *back * (size_t)(n + GUARD_WORDS));
        free(back), free(same);
        free(u), free(want), free(got), free(scale), free(zero), free(error), free(also), free(code), free(group);
    }
}

/* softmax and sum_exp far from their maximum, and at lengths around a vector. */
static void test_exponentials(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 40; n++) {
        float x[48];
        for (int64_t i = 0; i < 48; i++) x[i] = i < n ? -(float)(i * i) : guard;
        double want = 0;
        for (int64_t i = 0; i < n; i++) want += exp(x[i]);
        assert_true(fabs(ptq_cpu.sum_exp(x, n, 0) - want) < 2e-7 * want);
        ptq_cpu.softmax(x, n);
        for (int64_t i = 0; i < n; i++) assert_true(fabs(x[i] - exp(-(double)(i * i)) / want) < 3e-7);
        for (int64_t i = n; i < 48; i++) assert_true(x[i] == guard);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),      cmocka_unit_test(test_norms),      cmocka_unit_test(test_norms_overflow),
        cmocka_unit_test(test_activations), cmocka_unit_test(test_lse),        cmocka_unit_test(test_lse_mean),
        cmocka_unit_test(test_abssum),      cmocka_unit_test(test_codes),      cmocka_unit_test(test_exponentials),
        cmocka_unit_test(test_gram),        cmocka_unit_test(test_feedback),   cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_products),    cmocka_unit_test(test_linear_f16),
    };
    return run_with_each(tests, sizeof tests / sizeof *tests);
}
