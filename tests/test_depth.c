/* The figure over the depth, of few blocks and of more than any model has. */
#include "cells.h"
#include "figure.h"
#include "plot.h"
#include "folder_test.h"
#include "report.h"

#include <time.h>

static struct ptq_error err;

static double seconds_of_process(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const struct ptq_figure *figure(const struct ptq_figures *figures, const char *kind)
{
    for (int i = 0; i < figures->n; i++)
        if (strcmp(figures->figure[i].script, kind) == 0) return &figures->figure[i];
    fail_msg("no figure of %s", kind);
    return NULL;
}

/* The channel that leads most often, the first of those that do so alike; and what a forged file has of blocks is no
 * more than it is long. */
static void leaders_are_counted(void **state)
{
    (void)state;
    enum { BLOCKS = 60000 };
    static const int64_t leads[] = {7, 3, 9, 3, 7};
    struct ptq_cell *cells = make_table1(arena, "m");
    struct ptq_cell *cell = &cells[2];
    cell->input = ptq_new(arena, struct ptq_input_report, BLOCKS);
    for (int i = 0; i < BLOCKS; i++) {
        struct ptq_input_report *r = &cell->input[i];
        *r = (struct ptq_input_report){.channels = 64, .median = 1, .top1 = i < 5 ? leads[i] : 100 + i};
        r->name = ptq_format(arena, "%d.mlp_in", i);
        for (int k = 0; k < PTQ_INPUT_RANKS; k++) r->ranked[k] = 2;
    }
    for (int i = 0; i < 2; i++) {
        struct ptq_report report;
        struct ptq_figures figures = {0};
        cell->n_inputs = i ? BLOCKS : 5;
        if (ptq_report_make(arena, cells, TABLE1_CELLS, &report, &err)) fail_msg("%s", err.text);
        double start = seconds_of_process();
        ptq_figures_find(arena, &report, &figures);
        assert_true(seconds_of_process() - start < 3);
        const struct ptq_sheet *brief = figure(&figures, "depth")->brief;
        assert_int_equal(brief->n_rows, 1);
        assert_string_equal(brief->row[0][3], "7"); /* as often as 3, and before it */
        assert_string_equal(brief->row[0][4], i ? "2 of 60000" : "2 of 5");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(leaders_are_counted)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
