/* Claims on made-up cells, judged and printed, for the tests of claims. */
#ifndef PTQ_TESTS_JUDGED_CLAIMS_H
#define PTQ_TESTS_JUDGED_CLAIMS_H

#include "cells.h"
#include "claims.h"
#include "mapped.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

static struct ptq_arena *arena;
static struct ptq_error err;
static char folder[64];

static inline enum ptq_status read_text(const char *text, struct ptq_claims *out)
{
    const char *path = ptq_join(arena, folder, "claims.yaml");
    if (ptq_write_file(path, text, strlen(text), &err)) fail_msg("%s", err.text);
    return ptq_claims_read(arena, path, out, &err);
}

static inline struct ptq_claims claims_of(const char *tests)
{
    struct ptq_claims claims;
    const char *text =
        ptq_format(arena, "claims:\n  - {name: n, claim: a sentence, source: \"a paper\", tests: [%s]}\n", tests);
    if (read_text(text, &claims)) fail_msg("%s", err.text);
    return claims;
}

static inline char *print(const struct ptq_claims *claims, enum ptq_table_format format)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (ptq_claims_print(claims, format, out, &err)) fail_msg("%s", err.text);
    fclose(out);
    char *copy = ptq_strdup(arena, text);
    free(text);
    return copy;
}

/* FP16 at exp(2.9), RTN 0.5 nats above it, AWQ and GPTQ 0.2 with noise that differs. */
static inline struct ptq_claim_cells some_cells(void)
{
    static const struct {
        const char *spec;
        double nats;
    } made[] = {{"fp16", 0}, {"rtn:w3,g64", 0.5}, {"awq:w3,g64", 0.2}, {"gptq:w3,g64,act_order=0", 0.2}};
    enum { N = sizeof made / sizeof *made };
    struct ptq_cell *cell = ptq_new(arena, struct ptq_cell, N);
    for (int i = 0; i < N; i++) cell[i] = make_cell(arena, "no-such-model", made[i].spec, made[i].nats);
    return (struct ptq_claim_cells){.experiment = "e", .cell = cell, .n = N};
}

#define RTN_OVER_FP16 "{what: w, experiment: e, measure: ratio, of: \"rtn:w3\", to: fp16, "

static inline int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    snprintf(folder, sizeof folder, "/tmp/ptq-claims-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static inline int tear_down(void **state)
{
    (void)state;
    unlink(ptq_join(arena, folder, "claims.yaml"));
    unlink(ptq_join(arena, folder, "bench.md"));
    rmdir(folder);
    ptq_arena_free(arena);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

#endif
