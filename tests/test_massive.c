/* Rows with a massive activation through a linear that is added: summed in float64, whatever stands around them, and
 * the other rows' bytes as if it were not there. */
#include "forward.h"
#include "forward_parts.h"
#include "ops.h"
#include "pool.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 40, K = 768, N = 150, MASSIVE = 17, COLUMN = 5 };

struct layer {
    float x[ROWS][K], y[ROWS][N], w[N][K], b[N], kept[ROWS][N];
};

static struct layer *layer_of(struct ptq_arena *arena, float most)
{
    struct ptq_rng rng = ptq_rng_make(3, "massive");
    struct layer *l = ptq_new(arena, struct layer, 1);
    float *const part[] = {l->x[0], l->w[0], l->b};
    const int64_t size[] = {ROWS * K, (int64_t)N * K, N};
    for (int p = 0; p < 3; p++)
        for (int64_t i = 0; i < size[p]; i++) part[p][i] = (float)(ptq_rng_uniform(&rng) * 2 - 1);
    if (most != 0) l->x[MASSIVE][COLUMN] = most;
    /* a residual that the product takes back, as the last blocks of a model do */
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < N; j++) l->y[i][j] = 1 - l->x[i][COLUMN] * l->w[j][COLUMN];
    return l;
}

static void run(struct layer *l, int split)
{
    struct ptq_forward f = {.split = split};
    struct ptq_block block = {0};
    block.linear[PTQ_DOWN] = (struct ptq_linear){.w = l->w[0], .b = l->b, .n = N, .k = K};
    struct ptq_tile tile = {
        .x = l->x[0], .y = l->y[0], .ldx = K, .ldy = N, .accumulate = 1, .rows = ROWS, .kept = l->kept[0]};
    ptq_tile_linear(&f, &block, PTQ_MLP_OUT, &tile, 0);
}

static float exact(const struct layer *l, int j)
{
    double sum = l->b[j];
    for (int k = 0; k < K; k++) sum += (double)l->x[MASSIVE][k] * l->w[j][k];
    return (float)(l->y[MASSIVE][j] + sum);
}

static void check(int split, float most)
{
    struct ptq_arena *arena = ptq_arena_make("massive");
    struct layer *l = layer_of(arena, most), *plain = layer_of(arena, 0);
    float want[N];
    for (int j = 0; j < N; j++) want[j] = exact(l, j);
    run(l, split);
    run(plain, split);
    /* within the last bit: sums of float64 in another order may round to the neighbour */
    for (int j = 0; j < N; j++)
        assert_float_equal(l->y[MASSIVE][j], want[j], 4e-7f * (1 + (want[j] < 0 ? -want[j] : want[j])));
    memcpy(l->y[MASSIVE], plain->y[MASSIVE], sizeof plain->y[MASSIVE]);
    assert_memory_equal(l->y, plain->y, sizeof l->y);
    ptq_arena_free(arena);
}

static void test_row_is_summed_in_float64(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        check(split, 3000);
        check(split, -3000);
    }
}

/* What is not finite stays so, and an empty row is not massive. */
static void test_bad_rows(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("massive");
    struct layer *l = layer_of(arena, INFINITY);
    memset(l->x[3], 0, sizeof l->x[3]);
    memset(l->y[3], 0, sizeof l->y[3]);
    run(l, 0);
    assert_false(isfinite(l->y[MASSIVE][0]));
    assert_memory_equal(l->y[3], l->b, sizeof l->b);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_row_is_summed_in_float64),
                                       cmocka_unit_test(test_bad_rows)};
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests_name("massive", tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
