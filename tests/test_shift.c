/* The distance from full precision as a picture: a mark a cell, none on another one's place, each named; intervals as
 * those of perplexities are made; and axes with no more ticks than there is room for. */
#include "axis.h"
#include "bootstrap.h"
#include "cells.h"
#include "folder_test.h"
#include "mapped.h"
#include "plot.h"

static struct ptq_error err;

static const char *read_text(const char *name)
{
    char *text = NULL;
    size_t size = 0;
    if (ptq_read_file(arena, ptq_format(arena, "%s/%s", folder, name), 1 << 24, &text, &size, &err))
        fail_msg("%s", err.text);
    return ptq_strdup(arena, text);
}

static void plot(const struct ptq_cell *cells, int n)
{
    if (ptq_plot(cells, n, folder, NULL, &err)) fail_msg("%s", err.text);
}

/* ---- what is drawn ---- */

struct mark {
    double x, y;
};

/* Marks of an SVG: uses of a shape at a place. */
static int marks_of(const char *svg, struct mark *mark, int room)
{
    int n = 0;
    for (const char *at = svg; (at = strstr(at, "<use ")); at++) {
        const char *place = strstr(at, "transform='translate("), *end = strchr(at, '>');
        if (!place || place > end) continue; /* a shape made of another one */
        assert_true(n < room);
        assert_int_equal(sscanf(place, "transform='translate(%lf,%lf)", &mark[n].x, &mark[n].y), 2);
        n++;
    }
    return n;
}

static int count(const char *text, const char *words)
{
    int n = 0;
    for (; (text = strstr(text, words)); text += strlen(words)) n++;
    return n;
}

/* Cells of one method, one size, one distance: two marks each, on a line of their own. */
static void test_marks_are_distinct(void **state)
{
    (void)state;
    static const char *const specs[] = {"gptq:w3,g64,act_order=1,percdamp=0.01", "gptq:w3,g64,act_order=1,percdamp=0.1",
                                        "gptq:w3,g64,act_order=0,percdamp=0.1", "rtn:w3,g64", "rtn:w3,g64,sym=1"};
    enum { N = sizeof specs / sizeof *specs };
    struct ptq_cell cells[N + 1] = {make_cell(arena, "m", "fp16", 0)};
    struct mark mark[64];
    for (int i = 0; i < N; i++) {
        cells[1 + i] = make_cell(arena, "m", specs[i], 0.1);
        cell_compare(&cells[1 + i], arena, 0.5);
    }
    plot(cells, N + 1);
    const char *svg = read_text("m-shift.svg");
    int n = marks_of(svg, mark, 64);
    assert_int_equal(n, 2 * N);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            if (fabs(mark[i].x - mark[j].x) < 8 && fabs(mark[i].y - mark[j].y) < 8)
                fail_msg("two marks at %g, %g", mark[i].x, mark[i].y);
    static const char *const names[] = {"GPTQ, act_order=1, percdamp=0.01<", "GPTQ, act_order=1, percdamp=0.1<",
                                        "GPTQ, act_order=0, percdamp=0.1<", ">RTN<", "RTN, sym=1"};
    for (int i = 0; i < N; i++)
        if (count(svg, names[i]) != 1) fail_msg("%d times: %s", count(svg, names[i]), names[i]);
}

/* Few bits first; a name too long for its line goes on below it. */
static void test_lines(void **state)
{
    (void)state;
    struct ptq_cell cells[3] = {
        make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w4,g64", 0.1),
        make_cell(arena, "m", "gptq:w3,g64,act_order=1,static_groups=1,true_sequential=1,percdamp=0.1", 0.1)};
    for (int i = 1; i < 3; i++) cell_compare(&cells[i], arena, 0.5 / i);
    plot(cells, 3);
    const char *csv = read_text("m-shift.csv"), *svg = read_text("m-shift.svg");
    const char *first = strstr(csv, "GPTQ"), *second = strstr(csv, "\nRTN,w4 g64,1,");
    assert_true(first && second && first < second);
    assert_non_null(strstr(svg, ">GPTQ, act_order=1, static_groups=1,<"));
    assert_non_null(strstr(svg, ">true_sequential=1, percdamp=0.1, w3 g64<"));
    assert_non_null(strstr(svg, ">4.50<"));
}

/* ---- numbers ---- */

/* The interval of a row of the file that begins so. */
static struct ptq_point point_of(const char *csv, const char *row)
{
    struct ptq_point p = {0};
    const char *at = strstr(csv, row);
    if (!at || sscanf(at + strlen(row), "%*f,%lf,%lf,%lf", &p.ppl, &p.low, &p.high) != 3)
        fail_msg("no '%s' in %s", row, csv);
    return p;
}

/* One draw: the very interval that the bootstrap of perplexities has, of divergences. */
static void test_interval(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    for (int i = 1; i < 3; i++) {
        cell_compare(&cells[i], arena, 0.5);
        cells[i].delta_p_p05 = -0.6311;
    }
    plot(cells, TABLE1_CELLS);
    const char *csv = read_text("m-shift.csv"), *svg = read_text("m-shift.svg");
    struct ptq_cell copy = cells[1];
    const struct ptq_cell *of = &copy;
    struct ptq_estimate e;
    copy.nll = copy.kl;
    if (ptq_bootstrap(&of, 1, -1, &ptq_bootstrap_default, &e, &err)) fail_msg("%s", err.text);
    struct ptq_point p = point_of(csv, "\nRTN,w3 g64,0,1,1,,");
    assert_true(p.ppl == 0.5);
    assert_true(fabs(p.low - log(e.interval.low)) < 1e-6 && fabs(p.high - log(e.interval.high)) < 1e-6);
    assert_true(p.low < p.high);
    assert_non_null(strstr(csv, ",-0.6311,")); /* negative numbers are numbers to whoever reads the file */
    assert_non_null(strstr(svg, "; bars: 95 % paired-bootstrap intervals of the mean;<"));
    assert_non_null(strstr(svg, "no bars at the right: results keep the share"));
}

/* Several seeds: each one's own beside their mean, whose interval holds what the draws do as well. */
static void test_seeds(void **state)
{
    (void)state;
    struct ptq_cell cells[4] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 0.1)};
    cell_compare(&cells[1], arena, 0.5);
    for (int s = 0; s < 2; s++) {
        cells[2 + s] = make_cell(arena, "m", "awq:w3,g64", 0.1);
        cells[2 + s].seed = 7 + s;
        cells[2 + s].calib = "c";
        cell_compare(&cells[2 + s], arena, 0.4 + 0.1 * s);
        cells[2 + s].same_top = 0.7 + 0.1 * s;
    }
    plot(cells, 4);
    const char *csv = read_text("m-shift.csv"), *svg = read_text("m-shift.svg");
    struct ptq_point p = point_of(csv, "\nAWQ,w3 g64,1,2,2,,");
    assert_true(fabs(p.ppl - 0.45) < 1e-9 && p.low < 0.4 && p.high > 0.5);
    assert_non_null(strstr(csv, "\nAWQ,w3 g64,1,2,0,7,3.5,0.4,,,30,"));
    assert_non_null(strstr(csv, "\nAWQ,w3 g64,1,2,0,8,3.5,0.5,,,20,"));
    struct mark mark[16];
    assert_int_equal(marks_of(svg, mark, 16), 2 * 4);
    assert_non_null(strstr(svg, "circles: up to 2 replicates; "));
}

/* Too few tokens for intervals: no word of bars. */
static void test_no_bars(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    for (int i = 0; i < TABLE1_CELLS; i++) {
        cells[i].windows = 1;
        cells[i].tokens = CELL_SCORED;
        if (i) cell_compare(&cells[i], arena, 0.5);
    }
    plot(cells, TABLE1_CELLS);
    assert_null(strstr(read_text("m-shift.svg"), "bars"));
}

/* Denormal numbers are numbers, and an axis of them has no length to gnuplot. */
static void test_no_distance(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    for (int c = 1; c < 3; c++) {
        cell_compare(&cells[c], arena, 0);
#define X(kind, name, ...) cells[c].name = 5e-324;
        PTQ_AGAINST_FIELDS(X)
#undef X
    }
    plot(cells, 3);
    assert_non_null(strstr(read_text("m-shift.svg"), "distance from full precision"));
}

/* More cells than lines: the first of them, and the caption says so. */
static void test_many(void **state)
{
    (void)state;
    enum { N = 43 };
    struct ptq_cell cells[N] = {make_cell(arena, "m", "fp16", 0)};
    struct ptq_report report;
    struct ptq_figures figures = {0};
    for (int i = 1; i < N; i++) {
        cells[i] = make_cell(arena, "m", ptq_format(arena, "gptq:w3,g64,act_order=0,percdamp=%d", i), 0.1);
        cell_compare(&cells[i], arena, 0.5);
    }
    if (ptq_report_make(arena, cells, N, &report, &err)) fail_msg("%s", err.text);
    ptq_figures_find(arena, &report, &figures);
    for (int f = 0; f < figures.n; f++)
        if (strcmp(figures.figure[f].script, "shift") == 0) {
            assert_int_equal(figures.figure[f].data.n_rows, 40);
            assert_non_null(strstr(figures.figure[f].caption, " 40 of 42 cells are shown"));
            return;
        }
    fail_msg("no figure");
}

/* ---- axes ---- */

static void test_ticks(void **state)
{
    (void)state;
    static const struct {
        double low, high;
        int most;
        const char *ticks;
    } rows[] = {{0, 60, 5, "0, 20, 40, 60"},
                {1, 1.4, 5, "1, 1.1, 1.2, 1.3, 1.4"},
                {0, 1, 2, "0, 1"},
                {0.5, 3, 0, "0.5, 0.7, 1, 2, 1.5, 3"},
                {0.5, 3, 5, "0.5, 1, 2"},
                {0.1, 3, 5, "0.1, 0.2, 0.5, 1, 2"},
                {0.01, 3, 5, "0.01, 0.1, 1"},
                {0, 0, 3, "0, 0.5, 1"},
                {1, 1.4, 0, ""},
                {0, 5e-324, 3, "0, 0.5, 1"},
                {0, 97, 5, "0, 50, 100"}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct ptq_axis axis = ptq_axis_make(arena, rows[r].low, rows[r].high, rows[r].most);
        if (strcmp(axis.ticks, rows[r].ticks))
            fail_msg("%g to %g, %d ticks: %s, not %s", rows[r].low, rows[r].high, rows[r].most, axis.ticks,
                     rows[r].ticks);
        assert_true(axis.low <= rows[r].low && axis.high >= rows[r].high && axis.high > axis.low);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_marks_are_distinct),
                                       cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_interval),
                                       cmocka_unit_test(test_seeds),
                                       cmocka_unit_test(test_no_bars),
                                       cmocka_unit_test(test_no_distance),
                                       cmocka_unit_test(test_many),
                                       cmocka_unit_test(test_ticks)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
