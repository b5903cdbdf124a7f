/* diff and inspect of results files. */
#include "cells.h"
#include "diff.h"
#include "diff_models.h"
#include "folders.h"
#include "inspect_results.h"
#include "progress.h"
#include "table.h"

#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

static struct ptq_arena *arena;
static struct ptq_error err;
static char folder[64];
static struct ptq_cell *cells;

static const char *at(const char *name)
{
    return ptq_format(arena, "%s/%s", folder, name);
}

static void store(const char *path, const struct ptq_cell *list, int n)
{
    char(*keep)[PTQ_SHA256_HEX] = ptq_alloc_array(arena, (size_t)n, sizeof *keep, "ids");
    for (int i = 0; i < n; i++) {
        memcpy(keep[i], list[i].id, sizeof *keep);
        if (ptq_results_put(path, &list[i], &err)) fail_msg("%s", err.text);
    }
    if (ptq_results_merge(path, "table1", "seed: 0\n", (const char(*)[PTQ_SHA256_HEX])keep, n, &err))
        fail_msg("%s", err.text);
}

static const char *diff(int *equal)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (ptq_diff_results(at("a.h5"), at("b.h5"), out, equal, &err)) fail_msg("%s", err.text);
    fclose(out);
    const char *copy = ptq_strdup(arena, text);
    free(text);
    return copy;
}

static void expect_part(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in:\n%s", part, text);
}

static void test_equal(void **state)
{
    (void)state;
    int equal = 0;
    store(at("a.h5"), cells, 3);
    store(at("b.h5"), cells, 3);
    expect_part(diff(&equal), "3 cells in both, 3 of them the same in every token; 0 only in A, 0 only in B");
    assert_true(equal);
}

static void test_different(void **state)
{
    (void)state;
    int equal = 1;
    store(at("a.h5"), cells, 3);
    cells[1].nll[100] += 0.25f;
    cells[1].nll_mean += 0.25 / (double)cells[1].tokens;
    cells[1].ppl = exp(cells[1].nll_mean);
    cells[2].device = "another processor"; /* the same question under another id */
    cells[2].config = ptq_format(arena, "%sanother=1\n", cells[2].config);
    ptq_cell_identify(&cells[2]);
    store(at("b.h5"), cells + 1, 3);
    const char *text = diff(&equal);
    assert_false(equal);
    expect_part(text, " 0.25  smollm2  rtn:w3,g64\n");
    expect_part(text, "fraction=0.001  (other device)\n");
    expect_part(text, ptq_format(arena, "only in %s: smollm2  fp16", at("a.h5")));
    expect_part(text,
                ptq_format(arena, "only in %s: smollm2  salient:w3,g64,select=activation,fraction=0.01 ", at("b.h5")));
    expect_part(text, "2 cells in both, 1 of them the same in every token; 1 only in A, 1 only in B");
}

/* Two cells of one question, and one of each method: what the difference is worth. */
static void test_worth(void **state)
{
    (void)state;
    int equal = 1;
    store(at("a.h5"), cells, 2);
    struct ptq_cell other[] = {make_cell(arena, "smollm2", "fp16", 0.3), cells[2]};
    store(at("b.h5"), other, 2);
    const char *text = diff(&equal);
    assert_false(equal);
    expect_part(text, ptq_format(arena, "B - A %+.3g, 95 %% interval [+", other[0].ppl - cells[0].ppl));
    expect_part(text, "p 0.0002: B is higher\n");
    expect_part(text, "A rtn:w3,g64 and B salient:w3,g64,select=activation,fraction=0.001:\n");
    expect_part(text, ptq_format(arena, "different cells, ppl %.6f and %.6f, largest nll", cells[1].ppl, cells[2].ppl));
    expect_part(text, "p 0.0002: B is lower\n");
}

static void set_digests(struct ptq_cell *c, int64_t first)
{
    for (int i = 0; i < c->n_linears; i++) c->linear[i].code_digest = first ? first + i : 0;
}

/* Whether the codes or their evaluation differ; nothing is said where a file is older than the digests. */
static void test_codes(void **state)
{
    (void)state;
    int equal = 1;
    struct ptq_cell a = cells[1], b = make_cell(arena, "smollm2", a.spec, 0.3);
    set_digests(&a, 7);
    set_digests(&b, 7);
    store(at("a.h5"), &a, 1);
    store(at("b.h5"), &b, 1);
    expect_part(diff(&equal), "the same codes in 3 linears: only their evaluation differs\n");
    b.linear[1].code_digest = 99;
    remove_test_results(at("b.h5"));
    store(at("b.h5"), &b, 1);
    expect_part(diff(&equal), "the codes of 1 of 3 linears differ, first of model.layers.1.mlp.up_proj\n");
    set_digests(&b, 0);
    remove_test_results(at("b.h5"));
    store(at("b.h5"), &b, 1);
    assert_null(strstr(diff(&equal), "codes"));
}

/* A checkpoint of codes as ptq eval measures it: rtn:w4,g64's tokens, and one of them off. */
static struct ptq_cell codes_of(const char *method, const char *holds, int w_bit, int group_size, float off)
{
    struct ptq_cell c = make_cell(arena, "smollm2", "rtn:w4,g64", 0.5);
    c.nll[100] += off;
    c.nll_mean += (double)off / (double)c.tokens;
    c.ppl = exp(c.nll_mean);
    c.n_linears = 0;
    c.kl = NULL;
    c.model = "out";
    c.spec = c.method = method;
    c.model_sha256 = "0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53b179c9523d";
    c.source_dtype = holds;
    c.w_bit = w_bit;
    c.group_size = group_size;
    c.config = ptq_format(arena, "schema=1\nspec=%s\nmodel=out\nof=%s\n", method, holds);
    ptq_cell_identify(&c);
    return c;
}

/* What was exported is another cell than what it was made of, and is held against that, not against what it cannot be;
 * two that are left over are told of as that. */
static void test_export(void **state)
{
    (void)state;
    static const struct {
        const char *method, *holds;
        int w_bit, group_size;
        float off;
        const char *says, *number;
    } rows[] = {
        {"fp16", "gptq_v2 4 bits, g64", 4, 64, 0,
         "A smollm2  rtn:w4,g64 (F16) and B out  fp16 (a checkpoint of codes, gptq_v2 4 bits, g64):\n",
         ", the same in every token\n"},
        {"exact", "gptq_v2 4 bits, g64", 4, 64, 0.25f, "B out  exact (a checkpoint of codes, gptq_v2 4 bits, g64):\n",
         ", largest nll apart by 0.25\n"},
        {"fp16", "gptq_v2 4 bits, g128", 4, 128, 0, NULL, NULL},
        {"fp16", "gptq_v2 3 bits, g64", 3, 64, 0, "A smollm2  rtn:w3,g64 (F16) and B out", "nll apart"},
        {"fp16", "F16", 16, 0, 0, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int equal = 1;
        struct ptq_cell left[] = {make_cell(arena, "smollm2", "rtn:w4,g64", 0.5), cells[1], cells[0]};
        struct ptq_cell right = codes_of(rows[i].method, rows[i].holds, rows[i].w_bit, rows[i].group_size, rows[i].off);
        store(at("a.h5"), left, 3);
        store(at("b.h5"), &right, 1);
        const char *text = diff(&equal);
        assert_false(equal);
        expect_part(text, "0 cells in both, 0 of them the same in every token; 3 only in A, 1 only in B");
        assert_int_equal(strstr(text, "no results file holds codes") == NULL, !rows[i].says);
        assert_int_equal(strstr(text, "different cells") == NULL, !rows[i].says);
        if (rows[i].says) expect_part(text, rows[i].says);
        if (rows[i].says) expect_part(text, rows[i].number);
        remove_test_results(at("a.h5"));
        store(at("a.h5"), left, 1); /* one a side: whatever they are */
        expect_part(diff(&equal), "A smollm2  rtn:w4,g64 (F16) and B out  ");
        for (int f = 0; f < 2; f++) remove_test_results(at(f ? "b.h5" : "a.h5"));
    }
}

static void test_not_there(void **state)
{
    (void)state;
    int equal;
    store(at("a.h5"), cells, 1);
    assert_int_equal(ptq_diff_results(at("a.h5"), at("b.h5"), stdout, &equal, &err), PTQ_EIO);
    expect_part(err.text, "b.h5: there is no such results file");
}

/* The last test, since the signal stays. None of these calls says that it has compared what it has not. */
static void test_stopped(void **state)
{
    (void)state;
    int equal = -1;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct ptq_cell other = make_cell(arena, "smollm2", "fp16", 0.3);
    store(at("a.h5"), cells, 2);
    store(at("b.h5"), &other, 1);
    ptq_catch_signals();
    raise(SIGINT);
    assert_int_equal(ptq_diff_results(at("a.h5"), at("b.h5"), out, &equal, &err), PTQ_EINTERRUPT);
    assert_int_equal(ptq_diff_models(PTQ_FIXTURES "/models/llama", PTQ_FIXTURES "/models/llama", out, &equal, &err),
                     PTQ_EINTERRUPT);
    assert_int_equal(ptq_table_print(cells, 2, PTQ_TABLE_CSV, out, &err), PTQ_EINTERRUPT);
    fclose(out);
    assert_string_equal(text, "");
    assert_int_equal(equal, -1);
    free(text);
}

static char *inspect(int json)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (ptq_inspect_results(at("a.h5"), json, out, &err)) fail_msg("%s", err.text);
    fclose(out);
    char *copy = ptq_strdup(arena, text);
    free(text);
    return copy;
}

static void test_inspect(void **state)
{
    (void)state;
    cells[1].host = "ho\nst\033[1m";
    cells[1].peak_rss_bytes_load = cells[1].peak_rss_bytes_quantize = cells[1].peak_rss_bytes_eval = 0;
    store(at("a.h5"), cells, 3);
    const char *text = inspect(0);
    expect_part(text, "a.h5: results of ptq, schema 1, experiment table1, 3 cells\n");
    expect_part(text, "smollm2  salient:w3,g64,select=activation,fraction=0.001\n");
    expect_part(text, "worst: model.layers.2.mlp.up_proj, weight error 0.03, output error 0.06\n");
    expect_part(text, "on ho?st?[1m, a processor");
    expect_part(text, "evaluate 20.00; peak 300 MiB (load 120, evaluate 300)\n");
    expect_part(text, "evaluate 20.00; peak 300 MiB (load 120, calibrate 250, quantise 280, evaluate 300)\n");
    expect_part(text, "evaluate 20.00; peak 300 MiB\n"); /* as in an older file */
    json_t *json = json_loads(inspect(1), JSON_REJECT_DUPLICATES, NULL), *list = json_object_get(json, "cells");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_string_value(json_object_get(json, "experiment_yaml")), "seed: 0\n");
    json_t *rtn = json_array_get(list, 1);
    assert_true(fabs(json_real_value(json_object_get(rtn, "ppl")) - cells[1].ppl) < 1e-9);
    assert_int_equal(json_array_size(json_object_get(rtn, "linears")), 3);
    assert_string_equal(json_string_value(json_object_get(rtn, "id")), cells[1].id);
    assert_null(json_object_get(rtn, "peak_rss_bytes_eval"));
    json_t *fp16 = json_array_get(list, 0);
    assert_int_equal(json_integer_value(json_object_get(fp16, "peak_rss_bytes_eval")), 300 << 20);
    assert_null(json_object_get(fp16, "peak_rss_bytes_quantize"));
    json_decref(json);
}

/* Groups 64, 128 and 192 weigh the linears 1 : 2 : 3. Cells of other methods have no deltas. */
static void test_inspect_deltas(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct ptq_linear_report *l = &cells[1].linear[i];
        l->salient_groups = 0.6;
        l->delta_changed = 0.12 * i;
        l->delta_ratio = 1 + 0.06 * i;
        l->delta_over_s = l->delta_ratio / 2;
    }
    store(at("a.h5"), cells, 3);
    expect_part(inspect(0), "group scales: 16.00 % changed, mean ratio 1.0800, over s 0.5400; 60.00 % of 384 hold");
    json_t *json = json_loads(inspect(1), JSON_REJECT_DUPLICATES, NULL), *list = json_object_get(json, "cells");
    double salient, changed, ratio, over_s;
    json_int_t groups;
    assert_null(json_object_get(json_array_get(list, 2), "deltas"));
    assert_int_equal(json_unpack(json_object_get(json_array_get(list, 1), "deltas"), "{s:I, s:f, s:f, s:f, s:f}",
                                 "groups", &groups, "salient_groups", &salient, "delta_changed", &changed,
                                 "delta_ratio", &ratio, "delta_over_s", &over_s),
                     0);
    assert_true(groups == 384 && fabs(salient - 0.6) < 1e-12 && fabs(changed - 0.16) < 1e-12);
    assert_true(fabs(ratio - 1.08) < 1e-12 && fabs(over_s - 0.54) < 1e-12);
    json_decref(json);
}

static void test_inspect_under_way(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        if (ptq_results_put(at("a.h5"), &cells[i], &err)) fail_msg("%s", err.text);
    expect_part(inspect(0), "2 cells\n");
}

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    cells = make_table1(arena, "smollm2");
    snprintf(folder, sizeof folder, "/tmp/ptq-diff-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    remove_test_results(at("a.h5"));
    remove_test_results(at("b.h5"));
    int bad = rmdir(folder);
    ptq_arena_free(arena);
    return bad;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(equal),   TEST(different),      TEST(worth),
                                       TEST(codes),   TEST(export),         TEST(not_there),
                                       TEST(inspect), TEST(inspect_deltas), TEST(inspect_under_way),
                                       TEST(stopped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
