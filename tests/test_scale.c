/* scale and the salient channels it shares with salient: by hand, and properties on random layers. */
#include "channels.h"
#include "dtype.h"
#include "grid.h"
#include "ops.h"
#include "pool.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* One layer on random inputs, whose channels have the sizes that `size` says; some weights are large. */
struct layer {
    struct ptq_arena *arena;
    struct ptq_layer layer;
    struct ptq_stats stats;
    struct ptq_linear_report report;
    struct ptq_spec spec;
    struct ptq_qmat q;
    struct ptq_error err;
    float *w, *x, *y;
};

enum { N = 40, K = 256, SAMPLES = 64, STRONG = 77 };

static float draw(struct ptq_rng *rng)
{
    return (float)(ptq_rng_uniform(rng) * 2 - 1);
}

/* Channel STRONG is 60 times the others. */
static void make(struct layer *l, int64_t n, int64_t k)
{
    struct ptq_rng rng = ptq_rng_make(3, "scale");
    *l = (struct layer){.arena = ptq_arena_make("test")};
    l->w = ptq_new(l->arena, float, n *k);
    l->x = ptq_new(l->arena, float, SAMPLES *k);
    l->stats = (struct ptq_stats){.k = k, .rows = SAMPLES, .absmean = ptq_new(l->arena, float, k)};
    for (int64_t i = 0; i < n * k; i++) l->w[i] = draw(&rng);
    for (int64_t i = 0; i < SAMPLES * k; i++) {
        l->x[i] = draw(&rng) * (i % k == STRONG ? 60 : 1);
        l->stats.absmean[i % k] += fabsf(l->x[i]) / SAMPLES;
    }
    l->layer = (struct ptq_layer){.name = "a", .w = l->w, .n = n, .k = k, .stats = &l->stats, .report = &l->report};
}

static enum ptq_status quantize(struct layer *l, const char *spec)
{
    if (ptq_spec_parse(spec, &l->spec, &l->err)) fail_msg("%s", l->err.text);
    l->report = (struct ptq_linear_report){0};
    ptq_qmat_make(l->arena, &l->spec.grid, l->layer.n, l->layer.k, &l->q);
    return l->spec.method->quantize(&l->spec, &l->layer, l->arena, &l->q, &l->err);
}

static const float *dequantized(struct layer *l)
{
    float *back = ptq_new(l->arena, float, l->q.n * l->q.k);
    ptq_ops()->dequantize(back, &l->q, 0, l->q.n);
    return back;
}

/* ||X (W' - W)^T||^2 */
static double output_error(struct layer *l, const char *spec)
{
    if (quantize(l, spec)) fail_msg("%s", l->err.text);
    const float *back = dequantized(l);
    double sum = 0;
    for (int64_t t = 0; t < SAMPLES; t++)
        for (int64_t n = 0; n < l->q.n; n++) {
            double y = 0;
            for (int64_t k = 0; k < l->q.k; k++)
                y += (double)l->x[t * l->q.k + k] * (back[n * l->q.k + k] - l->w[n * l->q.k + k]);
            sum += y * y;
        }
    return sum;
}

static void test_one_is_rtn(void **state)
{
    (void)state;
    static const char *const grids[] = {"w3,g128", "w4,g-1,range=gptq", "w2,g100", "w3,g64,scale_dtype=fp16"};
    for (int i = 0; i < 4; i++) {
        struct layer rtn, one;
        make(&rtn, N, K);
        make(&one, N, K);
        assert_int_equal(quantize(&rtn, ptq_format(rtn.arena, "rtn:%s", grids[i])), PTQ_OK);
        assert_int_equal(quantize(&one, ptq_format(one.arena, "scale:%s,s=1", grids[i])), PTQ_OK);
        assert_memory_equal(rtn.q.code, one.q.code, N * K);
        assert_memory_equal(rtn.q.scale, one.q.scale, sizeof(float) * (size_t)(N * rtn.q.n_groups));
        assert_memory_equal(rtn.q.zero, one.q.zero, sizeof(float) * (size_t)(N * rtn.q.n_groups));
        assert_memory_equal(dequantized(&rtn), dequantized(&one), sizeof(float) * N * K);
        assert_true(ptq_qmat_bits(&rtn.q) == ptq_qmat_bits(&one.q));
        assert_true(one.report.delta_changed == 0 && one.report.delta_ratio == 1 && one.report.delta_over_s == 1);
        assert_int_equal(rtn.report.saturated, one.report.saturated);
        ptq_arena_free(rtn.arena);
        ptq_arena_free(one.arena);
    }
}

/* A group -1 .. 6 has step 1 at 3 bits. Twice column 1 (3) still fits; of the second row it is 8, so the step grows to
 * 9 / 7; the third group row holds no salient channel in its first group. */
static void test_by_hand(void **state)
{
    (void)state;
    enum { COLUMNS = 8 };
    static const float w[3 * COLUMNS] = {-1, 3, 6, 0, -1, 6, 1, 2, /* */
                                         -1, 4, 6, 0, -1, 6, 1, 2, /* */
                                         -1, 0, 6, 0, -1, 6, 1, 2};
    struct layer l;
    make(&l, 3, COLUMNS);
    memcpy(l.w, w, sizeof w);
    for (int64_t k = 0; k < COLUMNS; k++) l.stats.absmean[k] = k == 1 ? 9 : 1;
    assert_int_equal(quantize(&l, "scale:w3,g4,fraction=0.01,s=2"), PTQ_OK);
    const float want[] = {1, 1, 9.0f / 7, 1, 1, 1};
    for (int i = 0; i < 6; i++) assert_true(l.q.scale[i] == want[i]);
    assert_true(l.q.n_divided == 1 && l.q.divided[0] == 1 && l.q.divisor[0] == 2 && l.q.n_keep == 0);
    assert_true(l.report.salient_groups == 0.5);
    assert_true(fabs(l.report.delta_changed - 1.0 / 6) < 1e-12);
    assert_true(fabs(l.report.delta_ratio - (5 + 9.0 / 7) / 6) < 1e-7);
    assert_true(fabs(l.report.delta_over_s - l.report.delta_ratio / 2) < 1e-12);
    const float *back = dequantized(&l);
    assert_true(back[1] == 3);                                          /* 6 on a grid of step 1, halved */
    assert_true(fabsf(back[COLUMNS + 1] - 6 * (9.0f / 7) / 2) < 1e-6f); /* 8 is code 7, its zero 1 */
    assert_true(fabs(ptq_qmat_bits(&l.q) - (24 * 3 + 6 * 19 + 64) / 24.0) < 1e-12);
    ptq_arena_free(l.arena);
}

/* salient keeps the FP16 weights of the rint(fraction K) strongest channels, of one at least, and their signs. */
static void test_salient_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *fraction;
        int64_t kept;
    } rows[] = {{"0.001", 1}, {"0.009", 2}, {"0.0055", 1}, {"0.05", 13}, {"0.1", 26}};
    for (int i = 0; i < 5; i++) {
        struct layer l;
        make(&l, N, K);
        const char *spec = ptq_format(l.arena, "salient:w3,g64,select=activation,fraction=%s", rows[i].fraction);
        assert_int_equal(quantize(&l, spec), PTQ_OK);
        const float *back = dequantized(&l);
        assert_int_equal(l.q.n_keep, rows[i].kept);
        for (int64_t n = 0; n < N; n++)
            for (int64_t j = 0; j < l.q.n_keep; j++) {
                int64_t at = n * K + l.q.keep[j];
                assert_true(back[at] == ptq_f16_round(l.w[at]));
            }
        if (l.q.n_keep == 1) assert_int_equal(l.q.keep[0], STRONG);
        ptq_arena_free(l.arena);
    }
}

/* The strong channel's error is what the output sees; halving its step is worth the others' coarser ones. */
static void test_better_on_a_strong_channel(void **state)
{
    (void)state;
    struct layer l;
    make(&l, N, K);
    double plain = output_error(&l, "rtn:w3,g128"), scaled[3];
    static const char *const specs[] = {"scale:w3,g128,fraction=0.001,s=2", "scale:w3,g128,fraction=0.001,s=4",
                                        "scale:w3,g128,fraction=0.001,s=0.5"};
    for (int i = 0; i < 3; i++) scaled[i] = output_error(&l, specs[i]);
    printf("output error %.4g; s=2 %.4g, s=4 %.4g, s=0.5 %.4g\n", plain, scaled[0], scaled[1], scaled[2]);
    assert_int_equal(l.q.divided[0], STRONG);
    assert_true(scaled[0] < 0.8 * plain);
    assert_true(scaled[2] > plain);
    ptq_arena_free(l.arena);
}

/* The same channels as salient keeps, whatever selects them. */
static void test_shares_the_choice(void **state)
{
    (void)state;
    static const char *const words[] = {"activation", "weight", "random"};
    for (int i = 0; i < 3; i++) {
        struct layer kept, scaled;
        make(&kept, N, K);
        make(&scaled, N, K);
        quantize(&kept, ptq_format(kept.arena, "salient:w3,g64,select=%s,fraction=0.05", words[i]));
        quantize(&scaled, ptq_format(kept.arena, "scale:w3,g64,select=%s,fraction=0.05,s=3", words[i]));
        assert_int_equal(kept.q.n_keep, 13);
        assert_int_equal(scaled.q.n_divided, 13);
        assert_memory_equal(kept.q.keep, scaled.q.divided, sizeof(int32_t) * 13);
        ptq_arena_free(kept.arena);
        ptq_arena_free(scaled.arena);
    }
}

static void test_spec(void **state)
{
    (void)state;
    struct ptq_spec spec;
    struct ptq_error err;
    struct ptq_arena *arena = ptq_arena_make("test");
    assert_int_equal(ptq_spec_parse("scale:w3,g128", &spec, &err), PTQ_OK);
    assert_true(ptq_spec_need(&spec) == PTQ_NEED_ABSMEAN);
    assert_string_equal(ptq_spec_format(&spec, arena), "scale:w3,g128,fraction=0.01,s=2");
    assert_int_equal(ptq_spec_parse("scale:s=0", &spec, &err), PTQ_EUSAGE);
    assert_int_equal(ptq_spec_parse("scale:s=1001", &spec, &err), PTQ_EUSAGE);
    ptq_arena_free(arena);
}

/* NaN and infinity are no importance, and it is said whose they are; what FP16 cannot hold is not kept. */
static void test_not_finite(void **state)
{
    (void)state;
    struct layer l;
    make(&l, 4, 8);
    l.w[10] = NAN;
    assert_int_equal(quantize(&l, "salient:w4,g-1,select=weight"), PTQ_ENUMERIC);
    assert_non_null(strstr(l.err.text, "input channel 2: the weights are not finite"));
    l.w[10] = 0.5f;
    l.stats.absmean[3] = INFINITY;
    assert_int_equal(quantize(&l, "salient:w4,g-1,select=activation"), PTQ_ENUMERIC);
    assert_non_null(strstr(l.err.text, "input channel 3: the activations of the calibration text are not finite"));
    l.w[10] = 1e6f;
    assert_int_equal(quantize(&l, "salient:w4,g-1,select=weight"), PTQ_ENUMERIC);
    assert_non_null(strstr(l.err.text, "weight [1, 2] is 1e+06, too large for FP16"));
    ptq_arena_free(l.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_is_rtn),        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_salient_by_hand),   cmocka_unit_test(test_better_on_a_strong_channel),
        cmocka_unit_test(test_shares_the_choice), cmocka_unit_test(test_spec),
        cmocka_unit_test(test_not_finite),
    };
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
