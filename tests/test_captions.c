/* What figures say of what they show: no order of methods where they give none, no choice that nobody made, no place
 * that is not a cell's, no second that was not spent. */
#include "cells.h"
#include "figure.h"
#include "plot.h"
#include "folder_test.h"
#include "report.h"

static struct ptq_error err;

/* The figure of a kind that these cells make. */
static const struct ptq_figure *figure_of(const struct ptq_cell *cells, int n, const char *kind)
{
    struct ptq_report *report = ptq_new(arena, struct ptq_report, 1);
    struct ptq_figures figures = {0};
    if (ptq_report_make(arena, cells, n, report, &err)) fail_msg("%s", err.text);
    ptq_figures_find(arena, report, &figures);
    for (int f = 0; f < figures.n; f++)
        if (strcmp(figures.figure[f].script, kind) == 0) return &figures.figure[f];
    fail_msg("no figure of %s", kind);
    return NULL;
}

static void assert_says(const char *text, const char *words)
{
    if (!strstr(text, words)) fail_msg("'%s' does not say: %s", text, words);
}

/* GPTQ makes the outputs' error small on its calibration text, and moves the weights further than RTN: neither error
 * says which method is better. */
static void errors_are_no_order(void **state)
{
    (void)state;
    struct ptq_cell cells[2] = {make_cell(arena, "m", "rtn:w3,g64", 0.2), make_cell(arena, "m", "gptq:w3,g64", 0.4)};
    assert_says(figure_of(cells, 2, "error")->caption, "each linear's weights, ");
    assert_says(figure_of(cells, 2, "error")->caption, "no order of methods: codes that keep the outputs may move");
    for (int i = 0; i < 2; i++) cells[i].calib = "texts/perl-doc", cell_linears(&cells[i], arena);
    assert_says(figure_of(cells, 2, "error")->caption, "each linear's output, ");
    assert_says(figure_of(cells, 2, "error")->caption, "no order of methods: the tokens are of the calibration text");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_no_order),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
