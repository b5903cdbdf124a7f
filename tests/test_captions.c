/* What figures say of what they show: no order of methods where they give none, no choice that nobody made, no place
 * that is not a cell's, no second that was not spent. */
#include "cells.h"
#include "figure.h"
#include "plot.h"
#include "folder_test.h"
#include "mapped.h"
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

/* Two blocks of q_proj, o_proj and up_proj, with alphas. */
static void set_alphas(struct ptq_cell *cell, double q, double o, double up)
{
    static const char *const role[] = {"self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"};
    const double alpha[] = {q, o, up};
    cell->n_linears = 6;
    cell->linear = ptq_new(arena, struct ptq_linear_report, 6);
    for (int i = 0; i < 6; i++)
        cell->linear[i] = (struct ptq_linear_report){
            .name = ptq_format(arena, "model.layers.%d.%s", i / 3, role[i % 3]), .alpha = alpha[i % 3]};
}

/* What no search chose has no line: -1, or in older files 0 in every block, which may have been chosen. A line is the
 * same one in each panel, whatever the panel's others are. */
static void alphas_are_chosen(void **state)
{
    (void)state;
    struct ptq_cell cells[2] = {make_cell(arena, "m", "awq:w3,g64", 0.4),
                                make_cell(arena, "m", "awq:w4,g64,vo_average=1", 0.1)};
    set_alphas(&cells[0], 0.25, -1, 0);
    set_alphas(&cells[1], 0.5, 0.75, 0.1);
    const struct ptq_figure *f = figure_of(cells, 2, "alpha");
    assert_says(f->settings, "w3 g64; not searched: o_proj'");
    assert_says(f->settings, "w4 g64'");
    assert_says(f->caption, "What was not searched has no line");
    static const char *const lines[] = {"q_proj 1", "q_proj 1", "up_proj 2", "up_proj 2", "q_proj 1",
                                        "q_proj 1", "o_proj 3", "o_proj 3",  "up_proj 2", "up_proj 2"};
    assert_int_equal(f->data.n_rows, 10);
    for (int r = 0; r < 10; r++)
        assert_string_equal(ptq_format(arena, "%s %s", f->data.row[r][3], f->data.row[r][4]), lines[r]);
    assert_int_equal(f->brief->n_rows, 6);
    assert_string_equal(f->brief->row[2][1], "o_proj");
    assert_string_equal(f->brief->row[2][2], "not searched");
    set_alphas(&cells[0], 0.25, 0, 0.1); /* an older file's, or a search's */
    f = figure_of(cells, 1, "alpha");
    assert_says(f->settings, "w3 g64; not searched, or 0 in every block: o_proj'");
    assert_int_equal(f->data.n_rows, 4);
    set_alphas(&cells[0], 0.25, 0.25, 0.1);
    assert_null(strstr(figure_of(cells, 1, "alpha")->caption, "not searched"));
}

static const char *drawn(const struct ptq_figure *f)
{
    char *text;
    size_t size;
    const char *svg = ptq_format(arena, "%s/%s.svg", folder, f->stem);
    if (ptq_figure_draw(arena, f, folder, 0, &err)) fail_msg("%s", err.text);
    if (ptq_read_file(arena, svg, 1 << 24, &text, &size, &err)) fail_msg("%s", err.text);
    return text;
}

/* A method that plots/style.gp has no name of has a colour and a mark by its place among such ones, in all figures, and
 * its variants have marks of their own in the key. */
static void own_methods_differ(void **state)
{
    (void)state;
    static const char *const specs[] = {"fp16",         "rtn:w3,g64",          "wmse:w3,g64,weigh=none",
                                        "rtn:w4,g64",   "wmse:w3,g64,weigh=x", "wmse:w3,g64,weigh=y",
                                        "shrink:w3,g64"};
    static const char *const there[] = {"rgb(170,  68, 153)", "rgb(153, 153,  51)", ">wmse, weigh=none<",
                                        ">wmse, weigh=x<", ">shrink<"};
    struct ptq_cell cells[7];
    for (int i = 0; i < 7; i++) cells[i] = make_cell(arena, "m", specs[i], 0.1 * i);
    const struct ptq_figure *bits = figure_of(cells, 7, "bits");
    assert_says(bits->settings, "line_method[4] = 'wmse'\nline_method[5] = 'shrink'\n");
    assert_says(bits->settings, "line_turn[2] = '0'\nline_turn[3] = '1'\nline_turn[4] = '2'\nline_turn[5] = '0'\n");
    const char *svg = drawn(bits), *rows = drawn(figure_of(cells, 7, "rows"));
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) assert_says(svg, there[i]);
    assert_says(rows, there[0]);
    assert_says(rows, there[1]);
    struct ptq_cell two[3] = {cells[0], cells[1], cells[6]}; /* alone it comes first */
    assert_says(drawn(figure_of(two, 3, "rows")), there[0]);
}

/* Too many variants for the key are shown by their methods. */
static void many_variants_are_one(void **state)
{
    (void)state;
    struct ptq_cell cells[12] = {make_cell(arena, "m", "rtn:w4,g64", 0.1)};
    for (int i = 1; i < 12; i++)
        cells[i] = make_cell(arena, "m", ptq_format(arena, "wmse:w3,g64,steps=%d", i), 0.1 * i);
    const struct ptq_figure *bits = figure_of(cells, 12, "bits");
    assert_says(bits->settings, "array lines[2]\nlines[1] = 'RTN'\nlines[2] = 'wmse'\n");
    assert_says(bits->caption, "Cells of one method share its mark");
    bits = figure_of(cells, 9, "bits");
    assert_says(bits->settings, "lines[9] = 'wmse, steps=8'\n");
    assert_null(strstr(bits->caption, "share its mark"));
}

/* A mark that is not at its cell's bits says so in the picture; a front of one cell is no line. */
static void places_are_said(void **state)
{
    (void)state;
    static const char aside[] = "a mark set aside, not to cover another, has a line to its bits";
    static const char *const specs[] = {"rtn:w4,g64", "awq:w3,g64", "gptq:w3,g64,act_order=0", "rtn:w3,g64"};
    struct ptq_cell cells[4];
    for (int i = 0; i < 4; i++) cells[i] = make_cell(arena, "m", specs[i], i ? 0.4 : 0.1);
    const struct ptq_figure *f = figure_of(cells, 4, "bits");
    assert_says(f->note, aside);
    assert_says(f->caption, "The stepped line is the Pareto front");
    assert_says(drawn(f), aside);
    cell_fill(&cells[0], arena, 0.9); /* more bits, and worse */
    cell_fill(&cells[2], arena, 1.5);
    cell_fill(&cells[3], arena, 3);
    f = figure_of(cells, 4, "bits");
    assert_null(strstr(f->note, aside));
    assert_null(strstr(f->caption, "a little apart"));
    assert_says(f->caption, "The ringed cell is the whole Pareto front");
    assert_says(f->settings, "n_front = 1\n");
}

/* A note that is longer than a line goes on in as many as it takes. */
static void notes_fit(void **state)
{
    (void)state;
    struct ptq_cell cells[3] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 0.1),
                                make_cell(arena, "m", "rtn:w4,g64", 0.1)};
    struct ptq_figure f = *figure_of(cells, 3, "rows");
    char part[109] = {0};
    memset(part, 'x', 108);
    f.note = ptq_format(arena, "first; second; %s; %s; last", part, part);
    const char *svg = drawn(&f);
    assert_says(svg, ">first; second;<");
    assert_says(svg, ptq_format(arena, ">%s;<", part));
    assert_says(svg, ptq_format(arena, ">%s; last<", part));
}

/* What statistics took that came from the cache is in no bar: the cell is marked, and the picture says why. */
static void cached_seconds_are_said(void **state)
{
    (void)state;
    static const char cached[] = "* statistics from the cache, whose seconds are in no bar";
    struct ptq_cell cells[3] = {make_cell(arena, "m", "gptq:w3,g64", 0.3), make_cell(arena, "m", "awq:w3,g64", 0.2),
                                make_cell(arena, "m", "awq:w4,g64", 0.1)};
    for (int i = 0; i < 3; i++) cells[i].calib = "texts/perl-doc", cells[i].calib_sha256 = cells[0].text_sha256;
    const struct ptq_figure *f = figure_of(cells, 3, "cost");
    assert_says(f->note, cached);
    assert_says(f->caption, "Of a cell with a * the statistics were in the cache");
    assert_string_equal(f->brief->row[0][0], "GPTQ, w3 g64"); /* its windows travel: nothing of it was cached */
    assert_string_equal(f->brief->row[1][0], "AWQ, w3 g64 *");
    assert_says(drawn(f), cached);
    cells[2].seconds_calibrate = 7; /* the one that asked first; the other had them of it */
    f = figure_of(cells, 3, "cost");
    assert_null(strstr(f->note, cached));
    assert_null(strstr(f->caption, "*"));
    assert_string_equal(f->brief->row[1][0], "AWQ, w3 g64");
    cells[2].calib_sha256 = cells[0].tokens_sha256; /* of another text */
    assert_string_equal(figure_of(cells, 3, "cost")->brief->row[1][0], "AWQ, w3 g64 *");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_no_order),     cmocka_unit_test(alphas_are_chosen),
        cmocka_unit_test(own_methods_differ),      cmocka_unit_test(many_variants_are_one),
        cmocka_unit_test(places_are_said),         cmocka_unit_test(notes_fit),
        cmocka_unit_test(cached_seconds_are_said),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
