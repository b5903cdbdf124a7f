/* What rows are called: exactly the keys in which they differ, and seeds that are averaged are not one of them; and
 * counts of one. */
#include "cells.h"
#include "escape.h"
#include "labels.h"
#include "table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "arena_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

static struct ptq_cell calibrated(const char *spec, const char *calib, const char *sample, int windows, int length)
{
    struct ptq_cell c = make_cell(arena, "m", spec, 0.5);
    c.calib = calib;
    c.calib_protocol = ptq_format(arena, "%s %d windows of %d, bos stream, text 0123", sample, windows, length);
    c.calib_windows = windows;
    c.calib_window = length;
    return c;
}

/* The label of the last row. */
static const char *label(const struct ptq_cell *cells, int n, struct ptq_report *report)
{
    if (ptq_report_make(arena, cells, n, report, &err)) fail_msg("%s", err.text);
    return report->row[report->n_rows - 1].label;
}

static void test_only_what_differs(void **state)
{
    (void)state;
    struct ptq_report report;
    struct ptq_cell same[] = {make_cell(arena, "m", "fp16", 0), calibrated("awq:w3,g64", "perl", "first", 8, 512),
                              calibrated("gptq:w3,g64", "perl", "first", 8, 512)};
    assert_string_equal(label(same, 3, &report), "GPTQ");
    assert_string_equal(report.row[0].label, "FP16");
    const struct {
        struct ptq_cell cell;
        const char *label;
    } other[] = {
        {calibrated("gptq:w3,g64", "a/prose", "first", 8, 512), "GPTQ, calib prose"},
        {calibrated("gptq:w3,g64", "x/perl", "first", 8, 512), "GPTQ, calib x/perl"},
        {calibrated("gptq:w3,g64", "perl", "awq", 8, 512), "GPTQ, sample awq"},
        {calibrated("gptq:w3,g64", "perl", "first", 1, 512), "GPTQ, 1 window"},
        {calibrated("gptq:w3,g64", "perl", "first", 8, 256), "GPTQ, windows of 256"},
        {calibrated("gptq:w3,g64,act_order=1", "perl", "gptq", 9, 512), "GPTQ, act_order=1, sample gptq, 9 windows"},
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        struct ptq_cell cells[] = {same[0], same[1], other[i].cell};
        assert_string_equal(label(cells, 3, &report), other[i].label);
        assert_string_equal(report.row[0].label, "FP16"); /* has no calibration to tell */
    }
    same[2].path = "packed";
    assert_string_equal(label(same, 3, &report), "GPTQ, packed");
}

static void test_seeds(void **state)
{
    (void)state;
    struct ptq_report report;
    struct ptq_cell cells[7] = {make_cell(arena, "m", "fp16", 0)};
    for (int s = 0; s < 3; s++) {
        cells[1 + s] = calibrated("awq:w3,g64", "perl", "random", 8, 512);
        cells[4 + s] = calibrated("gptq:w3,g64", "perl", "random", 8, 512);
        cells[1 + s].seed = cells[4 + s].seed = s + 1;
    }
    assert_string_equal(label(cells, 7, &report), "GPTQ"); /* all rows are the mean of three */
    assert_string_equal(label(cells, 6, &report), "GPTQ, mean of 2 seeds");
    assert_string_equal(report.row[1].label, "AWQ, mean of 3 seeds");
    assert_string_equal(label(cells, 5, &report), "GPTQ, seed 1");
    assert_string_equal(ptq_label_without(arena, &report, &report.row[1], PTQ_LABEL_SEED), "AWQ");
    /* a seed that draws nothing but the windows of output errors tells nothing */
    cells[0] = calibrated("rtn:w3,g64", "perl", "random", 8, 512);
    assert_string_equal(label(cells, 7, &report), "GPTQ");
    assert_string_equal(report.row[0].label, "RTN");
    assert_string_equal(label(cells, 5, &report), "GPTQ, seed 1");
    assert_string_equal(report.row[0].label, "RTN");
    cells[0] = calibrated("salient:w3,g64,select=random,fraction=0.01", "perl", "random", 8, 512);
    assert_string_equal(label(cells, 5, &report), "GPTQ, seed 1");
    assert_string_equal(report.row[0].label, "salient at random, seed 0");
}

/* A checkpoint of codes that is evaluated as it is. */
static void test_codes(void **state)
{
    (void)state;
    struct ptq_report report;
    struct ptq_cell c = make_cell(arena, "m", "fp16", 0);
    c.w_bit = 4;
    c.group_size = 32;
    c.effective_bits = 4.625;
    c.source_dtype = "gptq 4 bits, g32";
    assert_string_equal(label(&c, 1, &report), "gptq 4 bits, g32");
    assert_string_equal(ptq_section_settings(arena, &report.section[0]), "w4 g32");
    int said = 0;
    for (int i = 0; i < report.n_notes; i++) said |= strstr(report.note[i], "m is a checkpoint of codes") != NULL;
    assert_true(said);
    assert_true(isnan(report.row[0].estimate.difference)); /* it is not what it is compared with */
}

/* ---- what is compared with another row ---- */

static const char *against(const struct ptq_cell *cells, int n)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (ptq_table_print_against(cells, n, "rtn:w3,g64", PTQ_TABLE_MD, out, &err)) fail_msg("%s", err.text);
    fclose(out);
    char *copy = ptq_strdup(arena, text);
    free(text);
    return copy;
}

static void test_notes_against(void **state)
{
    (void)state;
    struct ptq_cell cells[] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 1),
                               make_cell(arena, "m", "awq:w3,g64", 0.5)};
    const char *text = against(cells, 3);
    assert_non_null(strstr(text, "p is two-sided, of the paired bootstrap, and at least"));
    for (int i = 0; i < 3; i++) { /* 8 units: too few */
        cells[i].windows = 1;
        cells[i].tokens = CELL_SCORED;
    }
    text = against(cells, 3);
    assert_null(strstr(text, "two-sided"));
    assert_null(strstr(text, "Holm's"));
    assert_non_null(strstr(text, "no interval, no p and no verdict"));
}

/* What is stored says windows of one, too, and stays so, since ids are made of it. */
static void test_one(void **state)
{
    static const char *const row[][2] = {
        {"window 32, first 1 windows, bos none", "window 32, first 1 window, bos none"},
        {"window 1, first 11 windows, bos none", "window 1, first 11 windows, bos none"},
        {"awq 1 windows of 1 documents, bos none", "awq 1 window of 1 document, bos none"},
        {"first 1 windows", "first 1 window"},
        {"all windows; first 1 windows; last", "all windows; first 1 window; last"},
        {"a 1 b", "a 1 b"},
        {"", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) assert_string_equal(ptq_worded(arena, row[i][0]), row[i][1]);
    assert_string_equal(ptq_counted(arena, 1, "window"), "1 window");
    assert_string_equal(ptq_counted(arena, 0, "window"), "0 windows");
    assert_string_equal(ptq_counted(arena, 21, "window"), "21 windows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(only_what_differs), TEST(seeds), TEST(codes), TEST(notes_against),
                                       TEST(one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
