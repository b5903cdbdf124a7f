/* What the tests of kernels have in common: values, and how two backends are compared. */
#ifndef PTQ_TESTS_KERNEL_VALUES_H
#define PTQ_TESTS_KERNEL_VALUES_H

#include "cases.h"
#include "cpu/cpu.h"
#include "ops.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { GUARD_WORDS = 16 };
static const float guard = 1234.5f;
static const double bound = 1e-10; /* NMSE; float32 sums of up to 576 terms stay below it by two orders */

struct backends {
    struct ptq_ops ref, cpu;
};

/* n values, some of them large, with guard words behind. */
static inline float *values(struct ptq_rng *rng, int64_t n)
{
    float *x = malloc(sizeof *x * (size_t)(n + GUARD_WORDS));
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(ptq_rng_uniform(rng) * 4 - 2) * (ptq_rng_below(rng, 50) ? 1 : 8);
    for (int i = 0; i < GUARD_WORDS; i++) x[n + i] = guard;
    return x;
}

static inline float *copy_of(const float *x, int64_t n)
{
    float *y = malloc(sizeof *y * (size_t)(n + GUARD_WORDS));
    assert_non_null(y);
    memcpy(y, x, sizeof *y * (size_t)(n + GUARD_WORDS));
    return y;
}

static inline void agree(const char *op, int number, const float *want, const float *got, int64_t n)
{
    double error = 0, power = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) fail_msg("%s, case %d: value %ld is %g", op, number, (long)i, (double)got[i]);
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        power += (double)want[i] * want[i];
    }
    if (error > bound * (power + 1e-30)) fail_msg("%s, case %d: normalised error %g", op, number, error / power);
    for (int i = 0; i < GUARD_WORDS; i++)
        if (got[n + i] != guard) fail_msg("%s, case %d: wrote past the end", op, number);
}

/* The CPU's kernels as PTQ_KERNELS narrows them, in ops and in ptq_cpu. */
static inline void use(struct ptq_ops *ops, const char *kernels)
{
    setenv("PTQ_KERNELS", kernels, 1);
    ptq_ops_cpu(ops);
}

static inline int set_up(void **state)
{
    static struct backends b;
    ptq_ops_ref(&b.ref);
    ptq_ops_cpu(&b.cpu);
    *state = &b;
    return 0;
}

/* For PTQ_KERNELS; the last name narrows nothing: what the processor has. */
static const char *const backend_names[] = {"plain", "avx2", "widest"};

/* The number of tests that failed, whatever the backend. */
static inline int run_with_each(const struct CMUnitTest *tests, size_t n)
{
    int failed = 0;
    for (int i = 0; i < PTQ_N_CASES(backend_names); i++) {
        struct ptq_ops ops;
        use(&ops, backend_names[i]);
        printf("backend %s: %s\n", backend_names[i], ops.name);
        failed += _cmocka_run_group_tests(backend_names[i], tests, n, set_up, NULL);
    }
    return failed;
}

#endif
