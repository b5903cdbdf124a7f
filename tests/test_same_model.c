/* Models of the same weights that differ in config.json are two: in every table, comparison, figure and estimate of
 * time, under names that tell them apart. */
#include "cells.h"
#include "claim_select.h"
#include "claims.h"
#include "diff.h"
#include "figure_kinds.h"
#include "folders.h"
#include "plan.h"
#include "printed_table.h"
#include "table_layout.h"
#include "report_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "arena_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

#define A8 "aaaaaaaa"
#define B8 "bbbbbbbb"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

static void expect_part(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in:\n%s", part, text);
}

/* As the pipeline records it: a digit 64 times; 0: no line. */
static void set_config(struct ptq_cell *c, char digit)
{
    char hex[PTQ_SHA256_HEX] = "";
    if (digit) memset(hex, digit, PTQ_SHA256_HEX - 1);
    c->config = ptq_format(arena, "schema=1\nspec=%s\nmodel=%s\nseed=%lld\n%s%s%s", c->spec, c->model,
                           (long long)c->seed, digit ? "model_config=" : "", hex, digit ? "\n" : "");
    ptq_cell_identify(c);
}

static struct ptq_cell cell_of(const char *model, char config, const char *spec, double nats)
{
    struct ptq_cell c = make_cell(arena, model, spec, nats);
    set_config(&c, config);
    return c;
}

static const char gptq[] = "gptq:w3,g64,act_order=0";

/* FP16 and GPTQ of each; the second model has another seed, as a run after config.json was edited might. */
static struct ptq_cell *two_models(const char *first, const char *second)
{
    struct ptq_cell *c = ptq_new(arena, struct ptq_cell, 4);
    for (int i = 0; i < 4; i++) {
        c[i] = make_cell(arena, i / 2 ? second : first, i % 2 ? gptq : "fp16", 0.8 * (i / 2) + 0.1 * (i % 2));
        c[i].seed = i / 2;
        set_config(&c[i], i / 2 ? 'b' : 'a');
    }
    return c;
}

static void test_recorded(void **state)
{
    (void)state;
    struct ptq_cell a = cell_of("m", 'a', "fp16", 0), b = cell_of("m", 'b', gptq, 0), none = cell_of("m", 0, gptq, 0);
    struct ptq_cell same = cell_of("other name", 'a', gptq, 0), none_too = cell_of("m", 0, "fp16", 0);
    char hex[PTQ_SHA256_HEX];
    ptq_cell_model_config(&b, hex);
    assert_int_equal(strspn(hex, "b"), 64);
    assert_true(ptq_same_model(&a, &same) && ptq_same_model(&none, &none_too));
    assert_false(ptq_same_model(&a, &b) || ptq_same_model(&a, &none) || ptq_same_model(&none, &b));
    assert_true(ptq_same_task(&a, &same));
    same.tokens_sha256 = "others";
    assert_false(ptq_same_task(&a, &same) || ptq_same_task(&a, &b));
    same.model_sha256 = "other weights";
    assert_false(ptq_same_model(&a, &same));
    /* Not what a pipeline writes: no line of that name, no SHA-256. */
    static const struct {
        const char *before;
        int digits;
    } odd[] = {{"model_config=", 64}, {"\nx_model_config=", 64}, {"\nmodel_config=", 63}, {"\nmodel_config=A", 63}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        char found[PTQ_SHA256_HEX];
        a.config = ptq_format(arena, "%s%.*s", odd[i].before, odd[i].digits, hex);
        ptq_cell_model_config(&a, found);
        assert_string_equal(found, "");
    }
}

/* Not one column of two seeds, and each GPTQ beside its own FP16. */
static void test_report(void **state)
{
    (void)state;
    struct ptq_cell *cells = two_models("s1/model", "s2/model"), mixed[] = {cells[0], cells[2], cells[1], cells[3]};
    struct ptq_report report;
    OK(ptq_report_make(arena, mixed, 4, &report, &err));
    assert_int_equal(report.n_rows, 4);
    assert_int_equal(report.n_sections, 2);
    assert_string_equal(report.section[0].model, "model (config " A8 ")");
    assert_string_equal(report.section[1].model, "model (config " B8 ")");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(report.row[i].seeds.n, 1);
        assert_true(fabs(report.row[i].estimate.difference - (mixed[i].ppl - mixed[i % 2].ppl)) < 1e-6);
    }
    const char *text = printed_table(arena, cells, 4, PTQ_TABLE_MD);
    expect_part(text, "s1/model (config " A8 ") and s2/model (config " B8 ") have the same weights and differ in "
                      "config.json.");
    expect_part(printed_table(arena, two_models("s1", "s2"), 4, PTQ_TABLE_MD),
                "s1 (config " A8 ") and s2 (config " B8 ") have");
    if (strstr(printed_table(arena, cells, 2, PTQ_TABLE_TEXT), "config")) fail_msg("one model alone is told apart");
}

/* Names by what differs, and no more of it than that. */
static void test_names(void **state)
{
    (void)state;
    struct ptq_cell c[4];
    struct ptq_report report;
    for (int i = 0; i < 4; i++) c[i] = cell_of("a/model", "aab"[i % 3], "fp16", 0);
    c[1].model_sha256 = "0123456789";
    OK(ptq_report_make(arena, c, 2, &report, &err));
    assert_string_equal(report.section[0].model, "model (b179c952)");
    assert_string_equal(report.section[1].model, "model (01234567)");
    OK(ptq_report_make(arena, c, 3, &report, &err));
    assert_string_equal(report.section[0].model, "model (b179c952, config " A8 ")");
    assert_string_equal(report.section[1].model, "model (01234567)");
    assert_string_equal(report.section[2].model, "model (b179c952, config " B8 ")");
    c[0].model = "s1", c[2].model = "s2";
    OK(ptq_report_make(arena, c, 3, &report, &err));
    assert_string_equal(report.section[0].model, "s1");
    assert_string_equal(report.section[2].model, "s2");
    c[0] = cell_of("m", 0, "fp16", 0), c[1] = cell_of("m", 'a', "fp16", 0);
    OK(ptq_report_make(arena, c, 2, &report, &err));
    assert_string_equal(report.section[0].model, "m (config not recorded)");
    expect_part(printed_table(arena, c, 2, PTQ_TABLE_MD),
                "m (config not recorded) and m (config " A8 ") have the same weights and may "
                "differ in config.json.");
}

static void test_against(void **state)
{
    (void)state;
    struct ptq_cell *cells = two_models("m", "m");
    struct ptq_report report;
    OK(ptq_report_make(arena, cells, 4, &report, &err));
    OK(ptq_report_against(arena, &report, gptq, &err));
    assert_ptr_equal(report.row[0].versus->other, &report.row[1]);
    assert_ptr_equal(report.row[2].versus->other, &report.row[3]);
    OK(ptq_report_make(arena, cells, 3, &report, &err)); /* the second model has none */
    assert_int_equal(ptq_report_against(arena, &report, gptq, &err), PTQ_EUSAGE);
    expect_part(err.text, "no cell of m (config " B8 ") is gptq");
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    OK(ptq_table_print_as(NULL, cells, 4, gptq, PTQ_TABLE_TEXT, out, &err));
    fclose(out);
    expect_part(text, "m (config " A8 "), against gptq");
    expect_part(text, "m (config " B8 "), against gptq");
    free(text);
}

/* A layout's values that look for another cell, its names where two texts are joined, and what it pools. */
static void test_layouts(void **state)
{
    (void)state;
    struct ptq_cell *cells = two_models("m", "m");
    struct ptq_table_layout layout;
    struct ptq_report report;
    int found;
    OK(ptq_table_layout_of_yaml(arena, "test.yaml",
                                "layout: {rows: [method, text], columns: [model], values: [front]}\n", &layout, &found,
                                &err));
    OK(ptq_report_make(arena, cells, 4, &report, &err));
    struct ptq_interval interval;
    const struct ptq_table_layout_value *front = layout.value[0];
    for (int i = 0; i < 4; i++) assert_true(front->number(&report, &report.row[i], &interval) == 1);
    cells[1].ppl = cells[0].ppl - 1; /* smaller and better than its own FP16, and than the other's */
    OK(ptq_report_make(arena, cells, 4, &report, &err));
    assert_true(front->number(&report, &report.row[0], &interval) == 0);
    assert_true(front->number(&report, &report.row[2], &interval) == 1);
    for (int i = 2; i < 4; i++) cells[i].text = "other.txt", cells[i].protocol = "of another text";
    OK(ptq_report_parts(arena, &layout, cells, 4, &report, &err));
    assert_string_equal(report.section[0].model, "m (config " A8 ")");
    assert_string_equal(report.section[1].model, "m (config " B8 ")");
    assert_string_equal(ptq_cells_apart(&cells[1], &cells[3])->what, "model");
}

/* Linears swapped one by one. */
static void test_swaps(void **state)
{
    (void)state;
    struct ptq_cell cells[4];
    for (int i = 0; i < 4; i++) {
        cells[i] = cell_of("m", i / 2 ? 'b' : 'a', i % 2 ? "rtn:w3,g64,only=0.q" : "rtn:w3,g64,only=1.q", 0.1);
        cell_compare(&cells[i], arena, 0.001 * (i + 1));
    }
    const char *text = printed_table(arena, cells, 4, PTQ_TABLE_MD);
    expect_part(text, "m (config " A8 "), rtn:w3,g64: KL");
    expect_part(text, "m (config " B8 "), rtn:w3,g64: KL");
    expect_part(text, "|   sum | 3.00 | 3.00 |");
    expect_part(text, "|   sum | 7.00 | 7.00 |");
}

/* Pictures of each, in files of their own, also where names that are no files' come out alike. */
static void test_figures(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"m", "m"}, {"s:1", "s;1"}};
    for (int k = 0; k < 2; k++) {
        struct ptq_report report;
        struct ptq_figures figures = {0};
        int n;
        OK(ptq_report_make(arena, two_models(names[k][0], names[k][1]), 4, &report, &err));
        const struct ptq_model_rows *model = ptq_models_of(arena, &report, &n);
        assert_int_equal(n, 2);
        assert_int_equal(model[0].n, 2);
        for (int i = 0; i < 2; i++) ptq_figure_add(arena, &figures, &model[i], "rows", "cells");
        assert_string_not_equal(figures.figure[0].stem, figures.figure[1].stem);
        ptq_figure_rows.find(arena, &model[1], &figures);
        assert_int_equal(figures.n, 3);
        assert_int_equal(figures.figure[2].data.n_rows, 1);
    }
}

static void test_claims(void **state)
{
    (void)state;
    struct ptq_claim_cells cells = {.experiment = "e", .cell = two_models("m", "m"), .n = 4};
    struct ptq_group group;
    OK(ptq_claim_select(arena, &cells, "gptq:w3", &group, &err));
    assert_int_equal(group.n, 1);
    struct ptq_claims claims = {.n_experiments = 1};
    ptq_claims_judge(arena, &claims, &cells);
    expect_part(claims.note[0], "Only m (config " A8 ") is judged");
    expect_part(claims.note[0], "the others there: m (config " B8 ").");
}

static const char *diff_of(const char *const file[2], int *equal)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    OK(ptq_diff_results(file[0], file[1], out, equal, &err));
    fclose(out);
    const char *copy = ptq_strdup(arena, text);
    free(text);
    for (int f = 0; f < 2; f++) remove_test_results(file[f]);
    return copy;
}

/* Of one question they are no pair before those of one model are. */
static void diff_pairs(const char *const file[2])
{
    int equal;
    struct ptq_cell left[] = {cell_of("m", 'a', "fp16", 0), cell_of("m", 'b', "fp16", 0.2)};
    for (int k = 0; k < 4; k++) { /* on the left both models, or one alone; on the right either, from elsewhere */
        struct ptq_cell right = cell_of("m", "ab"[k % 2], "fp16", 0.3);
        right.device = "a GPU";
        right.config = ptq_format(arena, "%sdevice=a GPU\n", right.config);
        ptq_cell_identify(&right);
        for (int i = 0; i < 2; i++)
            if (k < 2 || i != k % 2) OK(ptq_results_put(file[0], &left[i], &err));
        OK(ptq_results_put(file[1], &right, &err));
        const char *text = diff_of(file, &equal);
        expect_part(text, k < 2 ? "(other device)" : "(other config.json, device)");
        assert_int_equal(strstr(text, "two models") == NULL, k < 2);
    }
}

/* Two models are not equal, whatever they scored, and each two are named once; a copy is the same model. */
static void diff_models(const char *const file[2])
{
    static const struct {
        const char *name;
        char config;
        const char *sha256, *says;
    } rows[] = {
        {"m", 'a', NULL, NULL},
        {"copy/m", 'a', NULL, NULL},
        {"m", 'b', NULL, "two models: m (config " A8 ") and m (config " B8 ") have the same weights and differ in"},
        {"s2/m", 'b', NULL, "two models: m (config " A8 ") and s2/m (config " B8 ") have the same weights and differ"},
        {"m", 'a', "01234567f0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53a",
         "two models: m (b179c952) and m (01234567) have other weights."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static const char *const specs[] = {"fp16", "rtn:w3,g64"};
        int equal;
        for (int c = 0; c < 2; c++) {
            struct ptq_cell left = cell_of("m", 'a', specs[c], 0),
                            right = cell_of(rows[i].name, rows[i].config, specs[c], 0);
            if (rows[i].sha256) right.model_sha256 = rows[i].sha256;
            right.config = ptq_format(arena, "%sof=%s %s\n", right.config, rows[i].name, right.model_sha256);
            ptq_cell_identify(&right);
            OK(ptq_results_put(file[0], &left, &err));
            OK(ptq_results_put(file[1], &right, &err));
        }
        const char *text = diff_of(file, &equal), *said = strstr(text, "two models: ");
        assert_int_equal(equal, !rows[i].says);
        expect_part(text, rows[i].says ? "2 of them the same in every token, 2 of two models; 0 only in A, 0 only in B"
                                       : "2 of them the same in every token; 0 only in A, 0 only in B");
        if (rows[i].says) expect_part(text, rows[i].says);
        if (said && strstr(said + 1, "two models: ")) fail_msg("said twice:\n%s", text);
    }
}

static void test_diff(void **state)
{
    (void)state;
    char folder[] = "/tmp/ptq-same-model-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *const file[2] = {ptq_join(arena, folder, "a.h5"), ptq_join(arena, folder, "b.h5")};
    diff_pairs(file);
    diff_models(file);
    rmdir(folder);
}

/* A pass over the calibration text serves cells of its own model alone. */
static void test_time(void **state)
{
    (void)state;
    struct ptq_plan_cell cell[2];
    struct ptq_pace pace = {.model = "m"};
    struct ptq_plan plan = {.cell = cell, .n = 2, .pace = &pace, .n_paces = 1, .machine = 1};
    const struct ptq_shares alone = {1, 1, 0};
    for (int i = 0; i < 2; i++)
        cell[i] = (struct ptq_plan_cell){.cell = cell_of("m", 'a', gptq, 0), .cost = {.calibrate = 10, .evaluate = 1}};
    assert_true(fabs(ptq_plan_seconds_left(&plan, &alone) - 12) < 1e-9);
    set_config(&cell[1].cell, 'b');
    assert_true(fabs(ptq_plan_seconds_left(&plan, &alone) - 22) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(recorded), TEST(report),  TEST(names),  TEST(against), TEST(layouts),
                                       TEST(swaps),    TEST(figures), TEST(claims), TEST(diff),    TEST(time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
