/* A calibration text that a method does not read (RTN: it gives output errors) tells no two numbers apart: one row, one
 * line of a layout, one cell of a claim, whatever ids the cells have. */
#include "cells.h"
#include "claim_select.h"
#include "labels.h"
#include "page_parts.h"
#include "pivot.h"
#include "table_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "arena_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

/* calib: "" for none. */
static struct ptq_cell beside(const char *spec, double nats, const char *calib, int64_t seed)
{
    struct ptq_cell c = make_cell(arena, "m", spec, nats);
    c.calib = calib;
    c.calib_sha256 = ptq_format(arena, "%s%lld", calib, (long long)seed);
    c.calib_windows = *calib ? 8 : 0;
    c.calib_protocol = *calib ? ptq_format(arena, "random 8 windows, text %s", calib) : "";
    c.seed = seed;
    return c;
}

enum { N = 8 };

/* FP16; RTN beside two texts, of two seeds, and beside none; AWQ on the two texts. */
static void make(struct ptq_cell *cells)
{
    cells[0] = make_cell(arena, "m", "fp16", 0);
    for (int i = 0; i < 4; i++) cells[1 + i] = beside("rtn:w3,g64", 0.5, i % 2 ? "manual" : "essays", i / 2);
    cells[5] = beside("rtn:w3,g64", 0.5, "", 0);
    for (int i = 0; i < 2; i++) cells[6 + i] = beside("awq:w3,g64", 0.2 + 0.1 * i, i ? "manual" : "essays", 0);
}

static void test_rows(void **state)
{
    (void)state;
    static const char *const labels[] = {"FP16", "RTN", "AWQ, calib essays", "AWQ, calib manual"};
    struct ptq_cell cells[N];
    struct ptq_report report;
    make(cells);
    if (ptq_report_make(arena, cells, N, &report, &err)) fail_msg("%s", err.text);
    assert_int_equal(report.n_rows, 4);
    for (int i = 0; i < 4; i++) assert_string_equal(report.row[i].label, labels[i]);
    assert_int_equal(report.row[1].seeds.n, 1);
    if (ptq_report_against(arena, &report, "rtn:w3,g64", &err)) fail_msg("%s", err.text);
    assert_true(isnan(report.row[1].versus->holm)); /* itself, and no other one of it */
    assert_false(isnan(report.row[2].versus->holm));
}

/* What draws its channels is of as many draws as seeds, beside one text or two. */
static void test_seeds(void **state)
{
    (void)state;
    static const char spec[] = "salient:w3,g64,select=random,fraction=0.01";
    struct ptq_cell cells[6];
    struct ptq_report report;
    for (int i = 0; i < 6; i++) cells[i] = beside(spec, 0.3 + 0.1 * (i / 2), i % 2 ? "manual" : "essays", i / 2);
    if (ptq_report_make(arena, cells, 6, &report, &err)) fail_msg("%s", err.text);
    assert_int_equal(report.n_rows, 1);
    assert_int_equal(report.row[0].seeds.n, 3);
    for (int i = 0; i < 3; i++) assert_ptr_equal(report.row[0].seeds.cell[i], &cells[2 * i]);
}

/* As FP16: a line of its own beside the methods, a place in every line where the calibration alone is named. */
static void test_layout(void **state)
{
    (void)state;
    static const struct {
        const char *layout;
        int rows, filled;
    } wanted[] = {{"{rows: [method, calib], columns: [model], values: [ppl]}", 4, 4},
                  {"{rows: [calib], columns: [method], values: [ppl]}", 2, 6},
                  {"{rows: [calib_windows], columns: [method], values: [ppl]}", 1, 3}};
    struct ptq_cell cells[N];
    make(cells);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct ptq_report report;
        struct ptq_table_layout layout;
        struct ptq_pivot p;
        int found, filled = 0;
        const char *yaml = ptq_format(arena, "layout: %s\n", wanted[i].layout);
        if (ptq_table_layout_of_yaml(arena, "x", yaml, &layout, &found, &err) ||
            ptq_report_make(arena, cells, N, &report, &err))
            fail_msg("%s", err.text);
        ptq_pivot_make(arena, &layout, &report, &p);
        assert_int_equal(p.n_rows, wanted[i].rows);
        for (int s = 0; s < p.n_rows * p.n_columns; s++) filled += p.slot[s].n > 0;
        assert_int_equal(filled, wanted[i].filled);
    }
}

static int selected(const struct ptq_claim_cells *cells, const char *selector)
{
    struct ptq_group group;
    return ptq_claim_select(arena, cells, selector, &group, &err) ? -1 : group.n;
}

static void test_claims(void **state)
{
    (void)state;
    struct ptq_claim_cells cells = {.experiment = "e", .cell = ptq_new(arena, struct ptq_cell, N), .n = N};
    make(cells.cell);
    assert_int_equal(selected(&cells, "rtn:w3"), 1);
    assert_int_equal(selected(&cells, "rtn:w3 calib=manual"), 1);
    assert_int_equal(selected(&cells, "rtn:w3 calib=none"), 1);
    cells.n = 5; /* without the cell that has none */
    assert_int_equal(selected(&cells, "rtn:w3 calib=none"), 1);
    cells.n = N;
    assert_int_equal(selected(&cells, "awq:w3"), -1);
    assert_non_null(strstr(err.text, "of calibration text essays and manual; say more: calib="));
    assert_int_equal(selected(&cells, "awq:w3 calib=none"), -1);
    assert_int_equal(selected(&cells, "awq:w3 calib=manual"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(rows), TEST(seeds), TEST(layout), TEST(claims)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
