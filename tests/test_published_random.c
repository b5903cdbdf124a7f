/* The draws of Python's random and of numpy's default_rng, against what they drew themselves. */
#include "cpython_random.h"
#include "fixtures/random.h"
#include "numpy_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

static void test_cpython(void **state)
{
    (void)state;
    for (int s = 0; s < LENGTH(seeds); s++) {
        const uint64_t *want = cpython_draws[s];
        struct ptq_cpython_random r;
        ptq_cpython_seed(&r, seeds[s][0]);
        for (int i = 0; i < LENGTH(bits); i++) assert_true(ptq_cpython_bits(&r, bits[i][0]) == *want++);
        for (int i = 0; i < LENGTH(lasts); i++) assert_true(ptq_cpython_upto(&r, lasts[i][0]) == *want++);
        for (int i = 0; i < 2000; i++) ptq_cpython_bits(&r, 32);
        assert_true(ptq_cpython_bits(&r, 32) == *want);
    }
}

static void test_numpy(void **state)
{
    (void)state;
    for (int s = 0; s < LENGTH(seeds); s++) {
        struct ptq_numpy_random r;
        ptq_numpy_seed(&r, seeds[s][0]);
        for (int i = 0; i < LENGTH(*numpy_raw); i++) assert_true(ptq_numpy_next(&r) == numpy_raw[s][i]);
        const int *want = numpy_orders[s];
        ptq_numpy_seed(&r, seeds[s][0]);
        for (int i = 0; i < LENGTH(sizes); i++) {
            int32_t order[64];
            ptq_numpy_permutation(&r, order, sizes[i][0]);
            for (int k = 0; k < sizes[i][0]; k++) assert_int_equal(order[k], *want++);
        }
    }
}

/* As long as a data set: some draws are rejected on the way. */
static void test_long_permutation(void **state)
{
    (void)state;
    enum { N = 200000 };
    int32_t *order = malloc(N * sizeof *order);
    for (int s = 0; s < LENGTH(seeds); s++) {
        struct ptq_numpy_random r;
        uint64_t sum = 0;
        ptq_numpy_seed(&r, seeds[s][0]);
        ptq_numpy_permutation(&r, order, N);
        for (uint64_t i = 0; i < N; i++) sum += (i + 1) * (uint64_t)order[i];
        assert_true(sum == numpy_sums[s][0]);
    }
    free(order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpython), cmocka_unit_test(test_numpy),
                                       cmocka_unit_test(test_long_permutation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
