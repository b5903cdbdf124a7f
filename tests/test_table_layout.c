/* Layouts: read with what is wrong refused, cells put where they belong, published numbers beside them; and every
 * experiment of the tree parses, with its layout and its quick form. */
#include "cells.h"
#include "documented.h"
#include "experiment.h"
#include "table_layout.h"
#include "pivot.h"
#include "report_parts.h"
#include "table.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "arena_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

static struct ptq_table_layout layout_of(const char *text)
{
    struct ptq_table_layout layout;
    int found;
    if (ptq_table_layout_of_yaml(arena, "test.yaml", ptq_format(arena, "layout: %s\n", text), &layout, &found, &err))
        fail_msg("%s", err.text);
    assert_true(found);
    return layout;
}

static struct ptq_pivot pivot_of(const struct ptq_table_layout *layout, const struct ptq_cell *cells, int n)
{
    struct ptq_report *report = ptq_new(arena, struct ptq_report, 1);
    struct ptq_pivot pivot;
    if (ptq_report_parts(arena, layout, cells, n, report, &err)) fail_msg("%s", err.text);
    ptq_pivot_make(arena, layout, report, &pivot);
    return pivot;
}

/* What stands in the row and column whose keys, joined by "|", are these. */
static const char *at(const struct ptq_pivot *p, const char *row, const char *column)
{
    for (int r = 0; r < p->n_rows; r++)
        for (int c = 0; c < p->n_columns; c++) {
            const char *row_keys = "", *column_keys = "";
            for (int k = 0; k < p->layout->n_rows; k++)
                row_keys = ptq_format(arena, "%s%s%s", row_keys, k ? "|" : "", p->row[r].key[k]);
            for (int k = 0; k < p->layout->n_columns; k++)
                column_keys = ptq_format(arena, "%s%s%s", column_keys, k ? "|" : "", p->column[c].key[k]);
            if (strcmp(row_keys, row) == 0 && strcmp(column_keys, column) == 0)
                return ptq_pivot_text(arena, &p->slot[r * p->n_columns + c]);
        }
    fail_msg("no row '%s' with column '%s'", row, column);
    return NULL;
}

static void expect_ppl(const struct ptq_pivot *p, const char *row, const char *column, double ppl)
{
    assert_string_equal(at(p, row, column), ptq_number(arena, ppl, ptq_decimals(ppl), 0));
}

/* ---- reading ---- */

static void refuse(const char *text, const char *part)
{
    struct ptq_table_layout layout;
    int found;
    const char *yaml = ptq_format(arena, "layout: %s\n", text);
    assert_int_equal(ptq_table_layout_of_yaml(arena, "test.yaml", yaml, &layout, &found, &err), PTQ_EINPUT);
    if (!strstr(err.text, part)) fail_msg("no '%s' in: %s", part, err.text);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("x", "layout is a text");
    refuse("{rows: [metod], columns: [model], values: [ppl]}", "did you mean 'method'");
    refuse("{rows: [method], columns: [model], values: [pl]}", "did you mean 'ppl'");
    refuse("{rows: [method], column: [model], values: [ppl]}", "did you mean 'columns'");
    refuse("{rows: [method], columns: [model]}", "layout needs rows, columns and values");
    refuse("{rows: [method], columns: [], values: [ppl]}", "must be a list of 1 to 4 words");
    refuse("{rows: [method, model], columns: [model], values: [ppl]}", "'model' stands twice");
    refuse("{rows: [[method]], columns: [model], values: [ppl]}", "each of its entries must be a word");
    refuse("{rows: [method, w_bit, text, path, calib], columns: [model], values: [ppl]}", "1 to 4 words");
    struct ptq_table_layout layout;
    int found = 1;
    assert_int_equal(ptq_table_layout_of_yaml(arena, "x", "title: none\n", &layout, &found, &err), PTQ_OK);
    assert_int_equal(found, 0);
}

/* ---- arranging ---- */

static void test_table1(void **state)
{
    (void)state;
    struct ptq_table_layout layout = layout_of("{rows: [model, bits], columns: [select, fraction], values: [ppl]}");
    struct ptq_cell *cells = make_table1(arena, "m");
    struct ptq_pivot p = pivot_of(&layout, cells, TABLE1_CELLS);
    assert_int_equal(p.n_rows, 1);
    assert_int_equal(p.n_columns, TABLE1_CELLS);
    expect_ppl(&p, "m|w3 g64", "FP16|", cells[0].ppl); /* FP16 has no width: it stands in the model's every row */
    expect_ppl(&p, "m|w3 g64", "RTN|", cells[1].ppl);
    expect_ppl(&p, "m|w3 g64", "weight|1 %", cells[6].ppl);
}

/* The method's side: a width that FP16 lacks is empty there. */
static void test_table4(void **state)
{
    (void)state;
    static const char *const specs[] = {"fp16",       "rtn:w3,g64",           "gptq:w3,g64,act_order=0",
                                        "rtn:w4,g64", "awq:w4,g64,loss=gram", "gptq:w3,g64,act_order=1"};
    struct ptq_table_layout layout = layout_of("{rows: [bits, method], columns: [model], values: [ppl, above]}");
    struct ptq_cell cells[6];
    for (int i = 0; i < 6; i++) cells[i] = make_cell(arena, "m", specs[i], 0.1 * i);
    struct ptq_pivot p = pivot_of(&layout, cells, 6);
    assert_int_equal(p.n_rows, 6);
    assert_int_equal(p.n_columns, 2);
    expect_ppl(&p, "|FP16", "m|perplexity", cells[0].ppl);
    expect_ppl(&p, "w4 g64|AWQ, loss=gram", "m|perplexity", cells[4].ppl);
    expect_ppl(&p, "w3 g64|GPTQ, act_order=1", "m|perplexity", cells[5].ppl);
    assert_string_equal(at(&p, "|FP16", "m|above FP16"), "");
    const char *above = at(&p, "w3 g64|RTN", "m|above FP16");
    if (above[0] != '+' || !strchr(above, '[')) fail_msg("no interval in %s", above);
}

/* Values as rows, a SPEC's parameter as columns, weighed by groups: AWQ's Table 2. */
static void test_table2(void **state)
{
    (void)state;
    struct ptq_table_layout layout =
        layout_of("{rows: [value], columns: [s], values: [changed_percent, step_ratio, ppl]}");
    struct ptq_cell cells[3] = {make_cell(arena, "m", "scale:w3,g64,fraction=0.01,s=2", 0.3),
                                make_cell(arena, "m", "scale:w3,g64,fraction=0.01,s=4", 0.4),
                                make_cell(arena, "m", "fp16", 0)};
    for (int i = 0; i < 3; i++) {
        cells[0].linear[i].delta_ratio = 1 + 0.1 * i; /* groups 64, 128, 192 */
        cells[0].linear[i].delta_changed = 0.03 * i;
    }
    struct ptq_pivot p = pivot_of(&layout, cells, 3);
    expect_ppl(&p, "perplexity", "FP16", cells[2].ppl); /* no side names the method, so the lacking key does */
    assert_string_equal(at(&p, "steps changed", "2"), "4 %");
    assert_string_equal(at(&p, "new step / old", "2"), "1.133");
    assert_string_equal(at(&p, "new step / old", "4"), "");
    expect_ppl(&p, "perplexity", "4", cells[1].ppl);
}

/* Several cells in one slot are replicates: mean, spread, least and largest. Rows rise by their number. */
static void test_seeds(void **state)
{
    (void)state;
    struct ptq_table_layout layout = layout_of("{rows: [calib_windows], columns: [method], values: [ppl]}");
    struct ptq_cell cells[4];
    for (int i = 0; i < 4; i++) {
        cells[i] = make_cell(arena, "m", "awq:w3,g64", 0.1);
        cells[i].calib = "c";
        cells[i].calib_windows = i < 3 ? 16 : 2;
        cells[i].calib_protocol = i < 3 ? "random 16 windows" : "random 2 windows";
        cells[i].seed = i;
        cells[i].ppl = 20 + i;
        for (int64_t t = 0; t < cells[i].tokens; t++) cells[i].nll[t] = (float)log(cells[i].ppl);
    }
    struct ptq_pivot p = pivot_of(&layout, cells, 4);
    assert_string_equal(p.row[0].key[0], "2");
    assert_string_equal(at(&p, "2", "AWQ"), "23.00");
    assert_string_equal(at(&p, "16", "AWQ"), "20.98 \302\2611.00 (3)");
    const struct ptq_pivot_slot *slot = &p.slot[1];
    assert_int_equal(slot->n, 3);
    assert_true(fabs(slot->low - 20) < 1e-4 && fabs(slot->high - 22) < 1e-4);
}

/* Two texts in one table, each compared within itself; the change against calibration on the text's own domain. */
static void test_two_texts(void **state)
{
    (void)state;
    struct ptq_table_layout layout = layout_of("{rows: [calib], columns: [text], values: [ppl, own_domain]}");
    struct ptq_cell cells[4];
    for (int i = 0; i < 4; i++) {
        cells[i] = make_cell(arena, "m", "gptq:w3,g64,act_order=0", i == 0 || i == 3 ? 0.2 : 0.5);
        cells[i].calib = i % 2 ? "perl-calib" : "essay-calib";
        cells[i].calib_windows = 8;
        cells[i].text = i / 2 ? "perl-eval" : "essay-eval";
        cells[i].protocol = i / 2 ? "of perl" : "of essays";
        cells[i].tokens_sha256 = i / 2 ? "22" : "11";
    }
    struct ptq_pivot p = pivot_of(&layout, cells, 4);
    expect_ppl(&p, "perl-calib", "essay-eval|perplexity", cells[1].ppl);
    assert_string_equal(at(&p, "essay-calib", "essay-eval|above own domain"), "");
    assert_true(at(&p, "perl-calib", "essay-eval|above own domain")[0] == '+');
    struct ptq_report report;
    struct ptq_table_layout without = layout_of("{rows: [calib], columns: [method], values: [ppl]}");
    assert_int_equal(ptq_report_parts(arena, &without, cells, 4, &report, &err), PTQ_EINPUT); /* no mixing unasked */
    assert_non_null(strstr(err.text, "different protocols"));
}

/* The key text is no leave to pool protocols: of one text, other windows are refused, and so is what it was before it
 * was edited; texts of one name in two folders are two. */
static void test_two_protocols_of_a_text(void **state)
{
    (void)state;
    struct ptq_table_layout layout = layout_of("{rows: [method, calib], columns: [text], values: [ppl]}");
    struct ptq_report report;
    struct ptq_cell cells[4];
    for (int i = 0; i < 4; i++) {
        cells[i] = make_cell(arena, "m", "gptq:w3,g64,act_order=0", 0.1 * i);
        cells[i].calib = i % 2 ? "a/calib.txt" : "b/calib.txt";
        cells[i].text = i / 2 ? "b/text.txt" : "a/text.txt";
        cells[i].protocol = i / 2 ? "first 10 windows" : "first 22 windows";
        cells[i].tokens_sha256 = i / 2 ? "22" : "11";
    }
    struct ptq_pivot p = pivot_of(&layout, cells, 4);
    for (int i = 0; i < 4; i++)
        expect_ppl(&p, ptq_format(arena, "GPTQ, act_order=0|%s", cells[i].calib), cells[i].text, cells[i].ppl);
    cells[2].text = cells[3].text = "a/text.txt";
    assert_int_equal(ptq_report_parts(arena, &layout, cells, 4, &report, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text,
                           "(first 22 windows) and m gptq:w3,g64,act_order=0 (first 10 windows) were measured "
                           "by different protocols, and a table does not mix them"));
}

/* The footnotes of these cells in that layout, joined by newlines. */
static const char *notes_of(const char *text, const struct ptq_cell *cells, int n)
{
    struct ptq_table_layout layout = layout_of(text);
    struct ptq_pivot p = pivot_of(&layout, cells, n);
    const char *all = "";
    int n_notes;
    const char **note = ptq_pivot_notes(arena, &p, &n_notes);
    for (int i = 0; i < n_notes; i++) all = ptq_format(arena, "%s%s%s", all, i ? "\n" : "", note[i]);
    return all;
}

/* Cells in one slot that are no replicates: the table says what they differ in, once for all slots of the same, and
 * says nothing where the layout tells them apart or the seed is all that they differ in. */
static void test_pooled(void **state)
{
    (void)state;
    static const char *const specs[] = {"awq:w3,g64", "gptq:w3,g64,act_order=0"};
    static const char by_method[] = "{rows: [method], columns: [model], values: [ppl, above]}";
    struct ptq_cell cells[7] = {make_cell(arena, "m", "fp16", 0)};
    for (int i = 0; i < 6; i++) {
        struct ptq_cell *c = &cells[1 + i];
        *c = make_cell(arena, "m", specs[i % 2], 0.1 * i);
        c->calib = i < 4 ? "texts/one" : "texts/two";
        c->calib_protocol = i < 4 ? "random 8 windows, text 01" : "random 8 windows, text 02";
        c->seed = i / 2;
    }
    assert_string_equal(notes_of(by_method, cells, 5), ""); /* two seeds of a method each */
    assert_string_equal(notes_of(by_method, cells, 7),
                        "Slots of AWQ, GPTQ are means over 2 calibration texts: texts/one; texts/two.");
    assert_string_equal(notes_of(by_method, cells, 6),
                        "Slots of AWQ are means over 2 calibration texts: texts/one; texts/two.");
    assert_string_equal(notes_of("{rows: [method, calib], columns: [model], values: [ppl]}", cells, 7), "");
    assert_string_equal(notes_of("{rows: [calib], columns: [bits], values: [ppl]}", cells, 7),
                        "Some slots are means over 2 methods: awq:w3,g64; gptq:w3,g64,act_order=0.");
    cells[1].device = "a GPU";
    assert_string_equal(notes_of("{rows: [calib, method], columns: [bits], values: [ppl]}", cells, 7),
                        "Slots of AWQ are means over 2 devices: a GPU; cpu.");
}

/* The line stands right under the table that it is of, and only there. */
static void test_pooled_is_printed(void **state)
{
    (void)state;
    static const struct {
        enum ptq_table_format format;
        const char *line;
    } forms[] = {{PTQ_TABLE_TEXT, "\n  Slots of AWQ are means over 2 calibration texts: one; two.\n\n"},
                 {PTQ_TABLE_MD, "|\n\n- Slots of AWQ are means over 2 calibration texts: one; two.\n\n"},
                 {PTQ_TABLE_TEX, "\\item Slots of AWQ are means over 2 calibration texts: one; two.\n\\end{itemize}\n"},
                 {PTQ_TABLE_HTML, "</table></div>\n<ul class=\"notes\">\n<li>Slots of AWQ are means over 2 "
                                  "calibration texts: one; two.</li>\n</ul>\n"}};
    struct ptq_table_layout layout = layout_of("{rows: [method], columns: [model], values: [ppl]}");
    struct ptq_cell cells[3] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "awq:w3,g64", 0.1),
                                make_cell(arena, "m", "awq:w3,g64", 0.2)};
    cells[1].calib = "one";
    cells[2].calib = "two";
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (int n = 2; n <= 3; n++) {
            char *text = NULL;
            size_t size;
            FILE *out = open_memstream(&text, &size);
            if (ptq_table_print_as(&layout, cells, n, NULL, forms[f].format, out, &err)) fail_msg("%s", err.text);
            fclose(out);
            if (!strstr(text, n > 2 ? forms[f].line : "perplexity")) fail_msg("not there: %s", forms[f].line);
            if (n == 2 && strstr(text, "means over")) fail_msg("of nothing: %s", text);
            free(text);
        }
}

static void test_front(void **state)
{
    (void)state;
    static const char *const specs[] = {"rtn:w3,g64", "awq:w3,g64", "rtn:w4,g64", "gptq:w4,g64,act_order=0"};
    struct ptq_table_layout layout = layout_of("{rows: [effective_bits, method], columns: [model], values: [front]}");
    struct ptq_cell cells[4];
    for (int i = 0; i < 4; i++) cells[i] = make_cell(arena, "m", specs[i], 0.5);
    cells[0].ppl = 50, cells[1].ppl = 40, cells[2].ppl = 30, cells[3].ppl = 41;
    cells[3].effective_bits = 4.6;
    struct ptq_pivot p = pivot_of(&layout, cells, 4);
    assert_string_equal(at(&p, "3.50|RTN", "m"), "");
    assert_string_equal(at(&p, "3.50|AWQ", "m"), "on the front");
    assert_string_equal(at(&p, "4.50|RTN", "m"), "on the front");
    assert_string_equal(at(&p, "4.60|GPTQ, act_order=0", "m"), "");
}

static void test_paper_beside(void **state)
{
    (void)state;
    struct ptq_table_layout layout = layout_of("{rows: [method], columns: [model], values: [ppl]}");
    struct ptq_cell cell = make_cell(arena, "facebook/opt-6.7b", "awq:w3,g128", 0.1);
    struct ptq_sheet sheet;
    struct ptq_pivot p = pivot_of(&layout, &cell, 1);
    if (ptq_pivot_sheet(arena, &p, "t", &sheet, &err)) fail_msg("%s", err.text);
    assert_int_equal(sheet.n_rows, 2);
    assert_string_equal(sheet.row[1][0], "  paper");
    assert_string_equal(sheet.row[1][1], "(11.39)"); /* another protocol than the paper's */
    cell = make_cell(arena, "m", "awq:w3,g128", 0.1);
    p = pivot_of(&layout, &cell, 1);
    assert_int_equal(ptq_pivot_sheet(arena, &p, "t", &sheet, &err), PTQ_OK);
    assert_int_equal(sheet.n_rows, 1);
}

static void test_too_wide(void **state)
{
    (void)state;
    struct ptq_table_layout layout = layout_of("{rows: [method], columns: [calib_windows], values: [ppl]}");
    struct ptq_cell *cells = ptq_new(arena, struct ptq_cell, PTQ_SHEET_COLUMNS);
    struct ptq_sheet sheet;
    for (int i = 0; i < PTQ_SHEET_COLUMNS; i++) {
        cells[i] = make_cell(arena, "m", "awq:w3,g64", 0.1);
        cells[i].calib = "c";
        cells[i].calib_windows = i + 1;
        cells[i].calib_protocol = ptq_format(arena, "first %d windows", i + 1);
    }
    struct ptq_pivot p = pivot_of(&layout, cells, PTQ_SHEET_COLUMNS);
    assert_int_equal(ptq_pivot_sheet(arena, &p, "t", &sheet, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "33 columns"));
}

/* ---- the tree's own experiments ---- */

static void check_experiment(const char *path)
{
    struct ptq_experiment full, quick;
    const char *set = "quick=1";
    struct ptq_table_layout layout;
    int found;
    if (ptq_experiment_read(arena, path, NULL, 0, &full, &err)) fail_msg("%s", err.text);
    if (ptq_table_layout_of_yaml(arena, path, full.yaml, &layout, &found, &err)) fail_msg("%s", err.text);
    if (!found) return; /* no table of a paper's */
    if (ptq_experiment_read(arena, path, &set, 1, &quick, &err)) fail_msg("%s", err.text);
    assert_true(quick.n_jobs <= full.n_jobs);
    for (int i = 0; i < quick.n_jobs; i++) {
        assert_true(quick.job[i].max_windows < full.job[0].max_windows);
        assert_true(quick.job[i].calib_windows <= 8);
    }
}

static void test_experiments_of_the_tree(void **state)
{
    (void)state;
    const char *folder = ptq_format(arena, "%s/../../experiments", PTQ_FIXTURES);
    DIR *dir = opendir(folder);
    int n = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name);
        if (length < 6 || strcmp(entry->d_name + length - 5, ".yaml")) continue;
        check_experiment(ptq_join(arena, folder, entry->d_name));
        n++;
    }
    closedir(dir);
    assert_true(n >= 13);
}

/* The page shows the keys and values as they are. */
static void test_documentation(void **state)
{
    (void)state;
    expect_documented("experiments.md", ptq_table_layout_print);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(refused),
                                       TEST(table1),
                                       TEST(table4),
                                       TEST(table2),
                                       TEST(seeds),
                                       TEST(two_texts),
                                       TEST(two_protocols_of_a_text),
                                       TEST(front),
                                       TEST(paper_beside),
                                       TEST(too_wide),
                                       TEST(experiments_of_the_tree),
                                       TEST(documentation),
                                       TEST(pooled),
                                       TEST(pooled_is_printed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
