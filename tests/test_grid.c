/* The number grid: values worked out by hand, and properties over random groups of every width, size and switch. */
#include "grid.h"
#include "dtype.h"
#include "ops.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct ptq_grid grid(int w_bit, int64_t group, int sym, enum ptq_range range)
{
    return (struct ptq_grid){.w_bit = w_bit, .group_size = group, .sym = sym, .range = range};
}

static void test_by_hand(void **state)
{
    (void)state;
    float scale, zero;
    const float both[] = {-1, 0.5f, 6}, above[] = {2, 3, 9}, zeros[] = {0, 0, 0}, same[] = {5, 5, 5};
    struct ptq_grid awq = grid(3, -1, 0, PTQ_RANGE_AWQ), gptq = grid(3, -1, 0, PTQ_RANGE_GPTQ);
    assert_int_equal(ptq_grid_fit(&awq, both, 3, &scale, &zero), 0);
    assert_true(scale == 1 && zero == 1);
    /* AWQ's range does not hold 0: scale 1, the zero is clamped to 0, 9 saturates at 7. */
    assert_int_equal(ptq_grid_fit(&awq, above, 3, &scale, &zero), 1);
    assert_true(scale == 1 && zero == 0);
    assert_int_equal(ptq_grid_fit(&gptq, above, 3, &scale, &zero), 0);
    assert_true(scale == 9.0f / 7 && zero == 0);
    assert_int_equal(ptq_grid_fit(&awq, zeros, 3, &scale, &zero), 0);
    assert_true(scale == 1e-5f / 7 && zero == 0);
    assert_int_equal(ptq_grid_fit(&gptq, zeros, 3, &scale, &zero), 0);
    assert_true(scale == 2.0f / 7 && zero == rintf(1 / (2.0f / 7)));
    assert_int_equal(ptq_grid_fit(&awq, same, 3, &scale, &zero), 1);
    struct ptq_grid sym = grid(4, -1, 1, PTQ_RANGE_GPTQ);
    ptq_grid_fit(&sym, both, 3, &scale, &zero);
    assert_true(scale == 12.0f / 15 && zero == 8);
}

/* FP16 arithmetic gives scales that FP16 holds. */
static void test_f16(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(1, "f16");
    struct ptq_grid g = grid(3, -1, 0, PTQ_RANGE_AWQ);
    g.scale_f16 = 1;
    for (int i = 0; i < 100; i++) {
        float w[32], scale, zero;
        for (int j = 0; j < 32; j++) w[j] = ptq_f16_round((float)(ptq_rng_uniform(&rng) - 0.5));
        ptq_grid_fit(&g, w, 32, &scale, &zero);
        assert_true(scale == ptq_f16_round(scale));
    }
}

/* What FP16's steps are too coarse for has its smallest one. */
static void test_f16_underflow(void **state)
{
    (void)state;
    float scale, zero;
    const float w[] = {0, 0x1p-24f};
    struct ptq_grid g = grid(4, -1, 0, PTQ_RANGE_GPTQ);
    g.scale_f16 = 1;
    ptq_grid_fit(&g, w, 2, &scale, &zero);
    assert_true(scale == 0x1p-24f && zero == 0);
}

static void check_matrix(struct ptq_arena *arena, struct ptq_grid g, int64_t n, int64_t k, struct ptq_rng *rng)
{
    float *w = ptq_new(arena, float, n *k), *back = ptq_new(arena, float, n *k);
    for (int64_t i = 0; i < n * k; i++) w[i] = (float)(ptq_rng_uniform(rng) - 0.4);
    struct ptq_qmat q;
    ptq_qmat_make(arena, &g, n, k, &q);
    assert_int_equal(q.n_groups, ptq_n_groups(k, g.group_size));
    ptq_grid_quantize(&q, w);
    ptq_ops()->dequantize(back, &q, 0, n);
    int64_t size = g.group_size < 0 ? k : g.group_size, checked = 0;
    for (int64_t row = 0; row < n; row++)
        for (int64_t first = 0; first < k; first += size) {
            int64_t columns = k - first < size ? k - first : size, group = row * q.n_groups + first / size;
            float lo, hi, scale, zero;
            ptq_ops()->minmax(w + row * k + first, columns, &lo, &hi);
            /* Off 0, AWQ's range saturates: that is tested by hand above. */
            if (ptq_grid_fit(&g, w + row * k + first, columns, &scale, &zero)) continue;
            assert_true(scale == q.scale[group] && zero == q.zero[group]);
            for (int64_t c = row * k + first; c < row * k + first + columns; c++) {
                assert_true(q.code[c] < 1 << g.w_bit);
                /* Half a step of rounding; at the ends half a step more, which the zero's own rounding may cost. */
                int end = q.code[c] == 0 || q.code[c] == (1 << g.w_bit) - 1;
                assert_true(fabsf(back[c] - w[c]) <= scale * (end ? 1.001f : 0.501f));
                checked++;
            }
        }
    if (size != 1) assert_true(checked > n * k / 2);
}

static void test_all(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_rng rng = ptq_rng_make(2, "grid");
    const int64_t groups[] = {-1, 1, 7, 16, 32, 1000};
    for (int w_bit = 2; w_bit <= 8; w_bit++)
        for (int g = 0; g < 6; g++)
            for (int variant = 0; variant < 4; variant++)
                check_matrix(arena, grid(w_bit, groups[g], variant & 1, variant >> 1), 33, 50, &rng);
    ptq_arena_free(arena);
}

static void test_bits(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_grid g = grid(4, 128, 0, PTQ_RANGE_AWQ);
    struct ptq_qmat q;
    ptq_qmat_make(arena, &g, 256, 256, &q);
    assert_true(fabs(ptq_qmat_bits(&q) - 4.15625) < 1e-12);
    q.grid.sym = 1;
    assert_true(fabs(ptq_qmat_bits(&q) - 4.125) < 1e-12);
    for (int i = 0; i < 3; i++) { /* a zero that is no code makes all of them numbers, whatever the grid says */
        q.zero[300] = (const float[]){6.75f, -1, 16}[i];
        assert_true(fabs(ptq_qmat_bits(&q) - 4.25) < 1e-12);
    }
    q.zero[300] = 15;
    assert_true(fabs(ptq_qmat_bits(&q) - 4.125) < 1e-12);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_hand), cmocka_unit_test(test_f16),
                                       cmocka_unit_test(test_f16_underflow), cmocka_unit_test(test_all),
                                       cmocka_unit_test(test_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
