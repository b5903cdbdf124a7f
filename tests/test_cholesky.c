/* methods/cholesky.c against its definition, at sizes around its tiles. */
#include "arena.h"
#include "cholesky.h"
#include "ops.h"
#include "pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const int64_t sizes[] = {1, 2, 127, 128, 129, 300, 513, 700};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* The lower triangle of B B^T / K + I, 0 above it. */
static double *positive(struct ptq_arena *arena, int64_t k)
{
    double *b = ptq_new(arena, double, k *k), *a = ptq_new(arena, double, k *k);
    uint64_t state = (uint64_t)k;
    for (int64_t i = 0; i < k * k; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        b[i] = (double)(int64_t)(state >> 33) / (double)(1 << 30) - 1;
    }
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j <= i; j++) {
            for (int64_t at = 0; at < k; at++) a[i * k + j] += b[i * k + at] * b[j * k + at] / (double)k;
            if (i == j) a[i * k + j] += 1;
        }
    return a;
}

static double *copy_of(struct ptq_arena *arena, const double *a, int64_t n)
{
    double *copy = ptq_new(arena, double, n);
    return memcpy(copy, a, sizeof *a * (size_t)n);
}

/* sum over j of x[row][j] y[column][j], lower triangles */
static double row_by_row(const double *x, const double *y, int64_t k, int64_t row, int64_t column)
{
    double sum = 0;
    for (int64_t j = 0; j <= column; j++) sum += x[row * k + j] * y[column * k + j];
    return sum;
}

static void product_is_the_matrix(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        int64_t k = sizes[i];
        double *a = positive(arena, k), *l = copy_of(arena, a, k * k);
        assert_int_equal(ptq_cholesky(l, k), 0);
        for (int64_t row = 0; row < k; row++)
            for (int64_t column = 0; column < k; column++) {
                if (column > row)
                    assert_true(l[row * k + column] == 0);
                else
                    assert_true(fabs(row_by_row(l, l, k, row, column) - a[row * k + column]) < 1e-12);
            }
        ptq_arena_free(arena);
    }
}

static void names_the_bad_pivot(void **state)
{
    (void)state;
    static const int64_t bad[] = {0, 5, 127, 128, 299};
    for (int i = 0; i < 5; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        double *a = positive(arena, 300);
        a[bad[i] * 300 + bad[i]] = -1;
        assert_int_equal(ptq_cholesky(a, 300), 1 + bad[i]);
        ptq_arena_free(arena);
    }
}

static void the_same_for_any_threads(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    int64_t k = 513;
    double *a = positive(arena, k), *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        double *l = copy_of(arena, a, k * k);
        ptq_pool_start(threads);
        assert_int_equal(ptq_cholesky(l, k), 0);
        ptq_pool_stop();
        if (first) assert_memory_equal(l, first, sizeof *l * (size_t)(k * k));
        first = l;
    }
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(product_is_the_matrix), cmocka_unit_test(names_the_bad_pivot),
                                       cmocka_unit_test(the_same_for_any_threads)};
    ptq_ops(); /* BLAS on one thread */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
