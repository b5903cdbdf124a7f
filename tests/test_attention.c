/* Rotation and attention of every CPU backend against ref on the shapes of kernels/cases.h, by hand, cut into pieces,
 * with a NaN; and AVX-512's bytes against AVX2's. */
#include "kernel_values.h"

enum { MOST_HEADS = 16 };
struct attention_work {
    struct ptq_attention shape;
    int64_t first, m, ld, width;
    float slope[MOST_HEADS], *qkv, *scratch;
};

static void make_attention(struct attention_work *w, const struct ptq_attention_case *s, struct ptq_rng *rng)
{
    for (int h = 0; h < MOST_HEADS; h++) w->slope[h] = powf(0.7f, (float)h);
    w->shape = (struct ptq_attention){
        s->heads, s->kv_heads, s->d, 1 / sqrtf((float)s->d), s->window, s->alibi ? w->slope : NULL};
    w->first = s->first, w->m = s->m, w->ld = (s->heads + 2 * s->kv_heads) * s->d, w->width = s->heads * s->d;
    w->qkv = values(rng, (s->first + s->m) * w->ld);
    w->scratch = values(rng, (int64_t)ptq_attention_scratch(s->first + s->m, s->d));
}

/* Rows [at, at + m) of those that are asked for; the caller frees them. */
static float *attended(const struct ptq_ops *ops, const struct attention_work *w, int64_t at, int64_t m)
{
    float *y = malloc(sizeof *y * (size_t)(m * w->width + GUARD_WORDS));
    assert_non_null(y);
    for (int i = 0; i < GUARD_WORDS; i++) y[m * w->width + i] = guard;
    int64_t row = w->first + at;
    const float *k = w->qkv + w->width, *v = k + w->shape.kv_heads * w->shape.head_size;
    ops->attention(y, w->width, w->qkv + row * w->ld, k, v, w->ld, &w->shape, row, m, w->scratch);
    return y;
}

static void test_rope_and_attention(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(4, "attention");
    for (int c = 0; c < PTQ_N_CASES(ptq_attention_cases); c++) {
        struct attention_work w;
        make_attention(&w, &ptq_attention_cases[c], &rng);
        int64_t t = w.first + w.m, d = w.shape.head_size, heads = w.shape.heads + w.shape.kv_heads;
        float *turned = copy_of(w.qkv, t * w.ld);
        float *cosine = values(&rng, t * d / 2), *sine = values(&rng, t * d / 2);
        b->ref.rope(w.qkv, w.ld, cosine, sine, t, heads, d);
        b->cpu.rope(turned, w.ld, cosine, sine, t, heads, d);
        agree("rope", c, w.qkv, turned, t * w.ld);
        float *want = attended(&b->ref, &w, 0, w.m), *got = attended(&b->cpu, &w, 0, w.m);
        agree("attention", c, want, got, w.m * w.width);
        free(w.qkv), free(w.scratch), free(turned), free(cosine), free(sine), free(want), free(got);
    }
}

/* Whole, and cut where no tile of ours ends; a row alone goes another way (kernels/cpu/cpu.c). */
static void test_cut(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(5, "cut");
    if (!ptq_cpu.attention) return; /* OpenBLAS's products of other sizes may add in another order */
    for (int c = 0; c < PTQ_N_CASES(ptq_attention_cases); c++) {
        struct attention_work w;
        make_attention(&w, &ptq_attention_cases[c], &rng);
        int64_t cut = w.m / 3 > 2 ? w.m / 3 : 2;
        if (w.m - cut >= 2) {
            float *whole = attended(&b->cpu, &w, 0, w.m), *head = attended(&b->cpu, &w, 0, cut);
            float *tail = attended(&b->cpu, &w, cut, w.m - cut);
            assert_memory_equal(whole, head, sizeof *head * (size_t)(cut * w.width));
            assert_memory_equal(whole + cut * w.width, tail, sizeof *tail * (size_t)((w.m - cut) * w.width));
            free(whole), free(head), free(tail);
        }
        free(w.qkv), free(w.scratch);
    }
}

static void nan_of_a_key(const struct ptq_ops *ops, struct ptq_rng *rng)
{
    struct ptq_attention_case s = {2, 1, 8, 0, 70, 0, 0};
    struct attention_work w;
    make_attention(&w, &s, rng);
    w.qkv[51 * w.ld + w.width] = NAN;
    float *y = attended(ops, &w, 0, w.m);
    for (int64_t i = 0; i < w.m * w.width; i++)
        if (isnan(y[i]) != (i / w.width >= 51))
            fail_msg("%s: row %ld is %g", ops->name, (long)(i / w.width), (double)y[i]);
    free(y), free(w.qkv), free(w.scratch);
}

static void test_nan(void **state)
{
    struct backends *b = *state;
    struct ptq_rng rng = ptq_rng_make(6, "nan");
    nan_of_a_key(&b->ref, &rng);
    nan_of_a_key(&b->cpu, &rng);
}

static void expect_four(const char *what, const float *want, const float *got)
{
    for (int j = 0; j < 4; j++)
        if (!(fabsf(got[j] - want[j]) <= 2e-6f * fabsf(want[j])))
            fail_msg("%s: element %d is %.9g, expected %.9g", what, j, (double)got[j], (double)want[j]);
}

/* Small enough to do by hand, since a backend may share a function with the plain one. */
static void rope_and_attention_by_hand(const struct ptq_ops *ops)
{
    float x[] = {1, 10, 2, 20}, cosine[] = {0.5f, 1}, sine[] = {0.25f, 0}, y[4] = {0};
    ops->rope(x, 4, cosine, sine, 1, 1, 4); /* (1, 2) is turned, (10, 20) is not */
    const float turned[] = {1 * 0.5f - 2 * 0.25f, 10, 2 * 0.5f + 1 * 0.25f, 20};
    expect_four("rope", turned, x);
    /* one head of width 4; two keys of equal score, the earlier one token away; the values are 1 and 3 */
    float qkv[2 * 12] = {0}, *scratch = calloc(ptq_attention_scratch(2, 4), sizeof *scratch);
    const float slope = 2;
    for (int j = 0; j < 4; j++) qkv[8 + j] = 1, qkv[20 + j] = 3;
    struct ptq_attention shape = {1, 1, 4, 0.5f, 0, &slope};
    ops->attention(y, 4, qkv + 12, qkv + 4, qkv + 8, 12, &shape, 1, 1, scratch);
    float far = expf(-2), want = (far * 1 + 3) / (far + 1);
    expect_four("slopes", (const float[]){want, want, want, want}, y);
    free(scratch);
}

static void test_by_hand(void **state)
{
    struct backends *b = *state;
    rope_and_attention_by_hand(&b->ref);
    rope_and_attention_by_hand(&b->cpu);
}

/* ---- AVX-512 gives the bytes of AVX2 ---- */

static void test_same_bytes(void **state)
{
    const char *name[] = {"avx2", "widest"};
    struct ptq_rng rng = ptq_rng_make(8, "same");
    (void)state;
    for (int c = 0; c < PTQ_N_CASES(ptq_attention_cases); c++) {
        struct attention_work w;
        float *y[2], *silu[2], sum[2], top[2];
        make_attention(&w, &ptq_attention_cases[c], &rng);
        int64_t n = w.m * w.width;
        for (int i = 0; i < 2; i++) {
            struct ptq_ops ops;
            use(&ops, name[i]);
            y[i] = attended(&ops, &w, 0, w.m);
            silu[i] = copy_of(w.qkv, n);
            ops.silu_mul(silu[i], w.width, w.qkv, w.qkv, w.width, w.m, w.width);
            ops.gelu_erf(silu[i], w.width, w.m, w.width);
            ops.gelu_tanh(silu[i], w.width, w.m, w.width);
            top[i] = ptq_cpu.max(w.qkv, n);
            sum[i] = ptq_cpu.sum_exp(w.qkv, n, top[i]);
        }
        assert_memory_equal(y[0], y[1], sizeof **y * (size_t)n);
        assert_memory_equal(silu[0], silu[1], sizeof **silu * (size_t)n);
        assert_true(top[0] == top[1] && sum[0] == sum[1]);
        for (int i = 0; i < 2; i++) free(y[i]), free(silu[i]);
        free(w.qkv), free(w.scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope_and_attention),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_nan),
    };
    const struct CMUnitTest both[] = {cmocka_unit_test(test_same_bytes)};
    return run_with_each(tests, sizeof tests / sizeof *tests) + cmocka_run_group_tests(both, NULL, NULL);
}
