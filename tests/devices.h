/* Arrays on a device and on the host, and a test on each device: the emulated one, ORDERS times with its threads in
 * another order, and the real one where there is one. */
#ifndef PTQ_TEST_DEVICES_H
#define PTQ_TEST_DEVICES_H

#include "cases.h"
#include "device_wish.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A sanitizer makes the emulation ten times slower: one order there, three elsewhere. */
#if defined(__SANITIZE_ADDRESS__)
#define PTQ_ORDERS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PTQ_ORDERS 1
#endif
#endif
#ifndef PTQ_ORDERS
#define PTQ_ORDERS 3
#endif
enum { GUARD_WORDS = 16, ORDERS = PTQ_ORDERS };
static const float guard = 1234.5f;

/* of cuda/emulated/emulate.cpp */
void ptq_cuda_emulated_seed(uint64_t seed);
/* Shared memory of a block there; 0: as always. */
void ptq_cuda_emulated_shared(size_t bytes);

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

static inline struct both make(struct setup *s, int64_t n)
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

static inline void drop(struct setup *s, struct both *b)
{
    free(b->host);
    s->device->give(b->device);
}

/* Sum of squares of the device's array less the host's, which ref has filled; guard words are looked at, too. */
static inline double squared_error(struct setup *s, const char *op, int number, const struct both *b)
{
    size_t bytes = sizeof *b->host * (size_t)(b->n + GUARD_WORDS);
    float *got = malloc(bytes);
    assert_non_null(got);
    s->device->download(got, b->device, bytes);
    const char *failure = s->device->error();
    if (failure) fail_msg("%s, case %d: %s", op, number, failure);
    double error = 0;
    for (int64_t i = 0; i < b->n; i++) {
        if (!isfinite(got[i])) fail_msg("%s, case %d: value %ld is %g", op, number, (long)i, (double)got[i]);
        error += ((double)got[i] - b->host[i]) * ((double)got[i] - b->host[i]);
    }
    for (int i = 0; i < GUARD_WORDS; i++)
        if (got[b->n + i] != guard) fail_msg("%s, case %d: wrote past the end", op, number);
    free(got);
    return error;
}

/* The device's array times factor. */
static inline void scale_device(struct setup *s, struct both *b, float factor)
{
    for (int64_t i = 0; i < b->n; i++) b->host[i] *= factor;
    s->device->upload(b->device, b->host, sizeof *b->host * (size_t)b->n);
}

static inline void all_nan(struct setup *s, const char *op, int number, const struct both *b)
{
    s->device->download(b->host, b->device, sizeof *b->host * (size_t)b->n);
    for (int64_t i = 0; i < b->n; i++)
        if (!isnan(b->host[i])) fail_msg("%s, case %d: value %ld is %g", op, number, (long)i, (double)b->host[i]);
}

/* Normalised by the host's squares, the error is within bound. */
static inline void agree(struct setup *s, const char *op, int number, const struct both *b, double bound)
{
    double error = squared_error(s, op, number, b), power = 0;
    for (int64_t i = 0; i < b->n; i++) power += (double)b->host[i] * b->host[i];
    if (error > bound * (power + 1e-30))
        fail_msg("%s on %s, case %d: normalised error %g", op, s->device->name, number, error / power);
}

static inline void *put(struct setup *s, const void *host, size_t bytes)
{
    void *device = s->device->take(bytes);
    assert_non_null(device);
    s->device->upload(device, host, bytes);
    return device;
}

/* PTQ_TEST_CASES=N in the environment takes the first N shapes of matrices on a real device: for tools that make each
 * kernel a hundred times slower (bench/gpu.sh). */
static inline int real_cases(void)
{
    const char *wish = getenv("PTQ_TEST_CASES");
    int n = wish ? (int)strtol(wish, NULL, 10) : PTQ_N_CASES(ptq_matrix_cases);
    return n < 1 || n > PTQ_N_CASES(ptq_matrix_cases) ? PTQ_N_CASES(ptq_matrix_cases) : n;
}

static inline void on_each_device(void (*test)(struct setup *s))
{
    char why[256];
    const struct ptq_device *real = ptq_cuda_device(why, sizeof why);
    struct setup s = {.device = ptq_cuda_emulated_device()};
    ptq_ops_ref(&s.ref);
    if (real_only() && !real) fail_msg("%s", why);
    for (int order = 0; order < ORDERS && !real_only(); order++) {
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
    s.matrix_cases = real_cases();
    s.rng = ptq_rng_make(7, "cuda");
    test(&s);
}

#endif
