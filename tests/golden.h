/* Reading expected values (expected.h5 of tests/fixtures/models, golden.h5 of ../shared/golden) in a test. Every call
 * fails the test with the sentence of the error, so the callers hold no error handling. */
#ifndef PTQ_TESTS_GOLDEN_H
#define PTQ_TESTS_GOLDEN_H

#include "h5.h"
#include "tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

/* An open file of expected values; what is read stays in arena. */
struct golden {
    const char *name;
    struct ptq_arena *arena;
    struct ptq_h5 *file;
    struct ptq_error err;
};

#define GOLDEN_OK(g, call)                                                                                             \
    do {                                                                                                               \
        if (call) fail_msg("%s: %s", (g)->name, (g)->err.text);                                                        \
    } while (0)

static inline void golden_open(struct golden *g, const char *name, const char *path)
{
    *g = (struct golden){.name = name, .arena = ptq_arena_make("golden")};
    GOLDEN_OK(g, ptq_h5_open_foreign(path, &g->file, &g->err));
}

static inline void golden_close(struct golden *g)
{
    ptq_h5_close(g->file);
    ptq_arena_free(g->arena);
}

static inline double golden_real(struct golden *g, const char *group, const char *name)
{
    double value;
    GOLDEN_OK(g, ptq_h5_real(g->file, group, name, &value, &g->err));
    return value;
}

/* Exactly n reals of whatever float type and rank. */
static inline double *golden_reals(struct golden *g, const char *group, const char *name, int64_t n)
{
    double *value;
    int64_t found;
    GOLDEN_OK(g, ptq_h5_reals(g->file, group, name, g->arena, &value, &found, &g->err));
    if (found != n)
        fail_msg("%s: %s/%s has %lld values, not %lld", g->name, group, name, (long long)found, (long long)n);
    return value;
}

/* Integers of whatever width and rank, as ids. */
static inline int32_t *golden_ids(struct golden *g, const char *group, const char *name, int64_t *n)
{
    int64_t *value;
    GOLDEN_OK(g, ptq_h5_ints(g->file, group, name, g->arena, &value, n, &g->err));
    int32_t *id = ptq_new(g->arena, int32_t, *n);
    for (int64_t i = 0; i < *n; i++) id[i] = (int32_t)value[i];
    return id;
}

/* The whole windows of a stream of ids, at most max (0: all). */
static inline struct ptq_windows golden_windows(struct golden *g, const char *name, int64_t length, int64_t max)
{
    int64_t n;
    struct ptq_windows out;
    int32_t *id = golden_ids(g, "/", name, &n);
    struct ptq_stream_ids stream = {.id = id, .n = (size_t)n, .bos = -1};
    GOLDEN_OK(g, ptq_windows_cut(g->arena, &stream, name, length, max, max, PTQ_BOS_NONE, PTQ_SAMPLE_FIRST, 0, &out,
                                 &g->err));
    return out;
}

#endif
