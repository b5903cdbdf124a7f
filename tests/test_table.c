/* Printed tables: as stored in tests/fixtures/table (PTQ_BLESS=1 writes them anew: look at what changed), with hostile
 * names disarmed, and refused where cells cannot be compared. */
#include "cells.h"
#include "files.h"
#include "mapped.h"
#include "report.h"
#include "printed_table.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "arena_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

static void expect(const char *name, const char *text)
{
    char *wanted;
    size_t size;
    const char *path = ptq_format(arena, "%s/table/%s", PTQ_FIXTURES, name);
    if (getenv("PTQ_BLESS")) {
        if (ptq_write_file(path, text, strlen(text), &err)) fail_msg("%s", err.text);
        return;
    }
    if (ptq_read_file(arena, path, 1 << 20, &wanted, &size, &err)) fail_msg("%s", err.text);
    assert_string_equal(text, wanted);
}

static void expect_part(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in:\n%s", part, text);
}

static void expect_no_part(const char *text, const char *part)
{
    if (strstr(text, part)) fail_msg("'%s' is in:\n%s", part, text);
}

/* SmolLM2 from a 4-bit file, and a model of the paper's at another width. */
static struct ptq_cell *two_models(void)
{
    struct ptq_cell *cells = ptq_new(arena, struct ptq_cell, 2 * TABLE1_CELLS);
    memcpy(cells, make_table1(arena, "smollm2-135m-instruct"), TABLE1_CELLS * sizeof *cells);
    memcpy(cells + TABLE1_CELLS, make_table1(arena, "facebook/opt-1.3b"), TABLE1_CELLS * sizeof *cells);
    for (int i = 0; i < TABLE1_CELLS; i++) {
        cells[i].source_dtype = "Q4_1";
        cells[TABLE1_CELLS + i].model_sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
        cells[TABLE1_CELLS + i].family = "opt";
    }
    return cells;
}

static void test_as_stored(void **state)
{
    (void)state;
    expect("two.txt", printed_table(arena, two_models(), 2 * TABLE1_CELLS, PTQ_TABLE_TEXT));
    expect("two.md", printed_table(arena, two_models(), 2 * TABLE1_CELLS, PTQ_TABLE_MD));
    expect("two.tex", printed_table(arena, two_models(), 2 * TABLE1_CELLS, PTQ_TABLE_TEX));
}

static void test_verdicts(void **state)
{
    (void)state;
    struct ptq_cell cells[2] = {make_cell(arena, "facebook/opt-1.3b", "fp16", 0),
                                make_cell(arena, "facebook/opt-1.3b", "rtn:w3,g128", 1)};
    for (int i = 0; i < 2; i++) {
        cells[i].family = "opt";
        cells[i].windows = 140;
        cells[i].tokens = 140 * 2047;
        cells[i].protocol = "window 2048, all windows, bos stream, first token not scored, tail dropped, text 0123456";
        cells[i].nll = ptq_new(arena, float, cells[i].tokens);
        cells[i].ppl = i ? 119.3 : 14.64;
        for (int64_t t = 0; t < cells[i].tokens; t++) cells[i].nll[t] = (float)log(cells[i].ppl);
    }
    expect("verdicts.txt", printed_table(arena, cells, 2, PTQ_TABLE_TEXT));
}

static void test_several_settings(void **state)
{
    (void)state;
    static const char *const specs[] = {"fp16", "rtn:w3,g64", "rtn:w4,g64", "rtn:w4,g-1", "rtn:w4,g64,sym=1"};
    struct ptq_cell cells[6];
    for (int i = 0; i < 5; i++) cells[i] = make_cell(arena, "m", specs[i], 0.2 * i);
    cells[5] = make_cell(arena, "m", "rtn:w4,g64", 0.2);
    cells[5].seed = 7;
    cells[5].calib_protocol = "of another text"; /* RTN reads none, and no seed: cells[2] once more */
    cells[5].commit = "feedfeedfeedfeedfeedfeedfeedfeedfeedfeed+";
    expect("settings.txt", printed_table(arena, cells, 6, PTQ_TABLE_TEXT));
}

static void test_without_fp16(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    const char *text = printed_table(arena, cells + 1, 2, PTQ_TABLE_TEXT);
    expect_part(text, "no FP16 cell");
    expect_no_part(text, "above FP16");
    expect_no_part(text, "nan");
}

static void test_infinite(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    for (int f = PTQ_TABLE_TEXT; f <= PTQ_TABLE_JSON; f++) {
        cells[1].nll[5] = INFINITY;
        cells[1].ppl = cells[1].nll_mean = INFINITY;
        const char *text = printed_table(arena, cells, 3, (enum ptq_table_format)f);
        expect_no_part(text, "nan");
        expect_part(text, f == PTQ_TABLE_JSON ? "null" : "inf");
    }
}

static void refuse(const struct ptq_cell *cells, int n, const char *part)
{
    FILE *out = fopen("/dev/null", "w");
    assert_int_equal(ptq_table_print(cells, n, PTQ_TABLE_TEXT, out, &err), PTQ_EINPUT);
    fclose(out);
    expect_part(err.text, part);
}

static void test_refused(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    refuse(cells, 0, "no finished cell");
    cells[2].protocol = "window 1024, all windows, bos none";
    refuse(cells, 3, "m fp16 (window 2048");
    refuse(cells, 3, "and m salient:w3,g64,select=activation,fraction=0.001 (window 1024");
    cells[2].protocol = cells[0].protocol;
    cells[3].path = "packed-int8";
    refuse(cells, 4, "(path fp32) and m salient");
    refuse(cells, 4, "(path packed-int8) do not stand in one table");
    enum ptq_table_format format;
    assert_int_equal(ptq_table_format_parse("html", &format, &err), PTQ_EUSAGE);
    assert_int_equal(ptq_table_format_parse("tex", &format, &err), PTQ_OK);
    assert_int_equal(format, PTQ_TABLE_TEX);
}

/* ---- hostile names ---- */

static const char *escaped(enum ptq_table_format format, const char *text)
{
    return ptq_escape(arena, format, text);
}

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        enum ptq_table_format format;
        const char *text, *escaped;
    } rows[] = {
        {PTQ_TABLE_TEX, "a_b^c~d\\e{f}$g#h%i&j",
         "a\\_b\\textasciicircum{}c\\textasciitilde{}d\\textbackslash{}e\\{f\\}\\$g\\#h\\%i\\&j"},
        {PTQ_TABLE_TEX, "[x]", "{[}x]"},
        {PTQ_TABLE_MD, "a|b`c*d_e<f>&", "a\\|b\\`c\\*d\\_e&lt;f&gt;&amp;"},
        {PTQ_TABLE_MD, "[x](http://y) [1, 2]", "[x\\](http://y) [1, 2]"},
        {PTQ_TABLE_CSV, "plain", "plain"},
        {PTQ_TABLE_CSV, "a,\"b\"", "\"a,\"\"b\"\"\""},
        {PTQ_TABLE_CSV, "=cmd()", "\"'=cmd()\""},
        {PTQ_TABLE_CSV, "@x", "\"'@x\""},
        {PTQ_TABLE_CSV, "-x", "\"'-x\""},
        {PTQ_TABLE_CSV, "\t=x", "?=x"},
        {PTQ_TABLE_CSV, "-0.6311", "-0.6311"},
        {PTQ_TABLE_CSV, "+1.5", "+1.5"},
        {PTQ_TABLE_CSV, "-3.718387234e-05", "-3.718387234e-05"},
        {PTQ_TABLE_CSV, "-1+2", "\"'-1+2\""},
        {PTQ_TABLE_CSV, "-1e999", "\"'-1e999\""},
        {PTQ_TABLE_CSV, "-inf", "\"'-inf\""},
        {PTQ_TABLE_CSV, "-0x1", "\"'-0x1\""},
        {PTQ_TABLE_CSV, "-1 ", "\"'-1 \""},
        {PTQ_TABLE_CSV, "-", "\"'-\""},
        {PTQ_TABLE_CSV, "x;=cmd", "\"x;=cmd\""}, /* where ; parts fields */
        {PTQ_TABLE_CSV, "\uff1dx", "\"'\uff1dx\""},
        {PTQ_TABLE_CSV, "\uff0bx", "\"'\uff0bx\""},
        {PTQ_TABLE_CSV, "\uff0dx", "\"'\uff0dx\""},
        {PTQ_TABLE_CSV, "\uff20x", "\"'\uff20x\""},
        {PTQ_TABLE_CSV, "\uff21x", "\uff21x"},
        {PTQ_TABLE_TEXT, "a\x9b\u200e\u200f\u061c\u00a0", "a?????????\u00a0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(escaped(rows[i].format, rows[i].text), rows[i].escaped);
    /* Lines can be had back where they are asked for, and nothing else of what is no text. */
    assert_string_equal(ptq_escape_lines(arena, "a=1\nb=\"2\"\n"), "\"a=1\\nb=\"\"2\"\"\\n\"");
    assert_string_equal(ptq_escape_lines(arena, "a\\n\\"), "a\\\\n\\\\");
    assert_string_equal(ptq_escape_lines(arena, "one"), "one");
    assert_string_equal(ptq_escape_lines(arena, "a\r\n\033\xc3x"), "a?\\n??x");
    assert_string_equal(ptq_escape_lines(arena, "=a\nb"), "\"'=a\\nb\"");
    for (int f = PTQ_TABLE_TEXT; f <= PTQ_TABLE_JSON; f++) {
        enum ptq_table_format format = (enum ptq_table_format)f;
        assert_string_equal(escaped(format, ""), "");
        assert_string_equal(escaped(format, "a\nb\033b\x7f"), "a?b?b?");
        assert_string_equal(escaped(format, "gr\xc3\xb6\xc3\x9f"), "gr\xc3\xb6\xc3\x9f");
        assert_string_equal(escaped(format, "\xc3("), "?(");         /* cut short */
        assert_string_equal(escaped(format, "\xc0\xaf"), "??");      /* too long a form */
        assert_string_equal(escaped(format, "\xed\xa0\x80"), "???"); /* half a pair */
        assert_string_equal(escaped(format, "\xe2\x80\xae"
                                            "x"),
                            "???x");                                 /* right to left */
        assert_string_equal(escaped(format, "\xf0\x9f\x98"), "???"); /* cut by the end */
    }
}

static void test_hostile_model(void **state)
{
    (void)state;
    struct ptq_cell cells[2] = {make_cell(arena, "a|b\\end{table}\n=c`d`", "fp16", 0),
                                make_cell(arena, "a|b\\end{table}\n=c`d`", "rtn:w3,g64", 1)};
    expect_no_part(printed_table(arena, cells, 2, PTQ_TABLE_MD), "a|b");
    expect_no_part(printed_table(arena, cells, 2, PTQ_TABLE_TEX), "b\\end{table}");
    expect_no_part(printed_table(arena, cells, 2, PTQ_TABLE_TEXT), "\n=c");
    expect_no_part(printed_table(arena, cells, 2, PTQ_TABLE_CSV), "\n=c");
    json_t *json = json_loads(printed_table(arena, cells, 2, PTQ_TABLE_JSON), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    json_t *first = json_array_get(json_object_get(json, "cells"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "model")), "a|b\\end{table}\n=c`d`");
    json_decref(json);
}

/* ---- records ---- */

static int count(const char *text, char c)
{
    int n = 0;
    for (; *text; text++) n += *text == c;
    return n;
}

static void test_records(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    const char *csv = printed_table(arena, cells, TABLE1_CELLS, PTQ_TABLE_CSV);
    assert_int_equal(count(csv, '\n'), 1 + TABLE1_CELLS);
    expect_part(csv, ptq_escape_lines(arena, cells[1].config));
    expect_part(csv, "id,experiment,spec,method,model,");
    expect_part(csv, ",ppl,nll_mean,");
    expect_part(csv, ",difference_low,");
    json_t *json = json_loads(printed_table(arena, cells, TABLE1_CELLS, PTQ_TABLE_JSON), JSON_REJECT_DUPLICATES, NULL);
    json_t *list = json_object_get(json, "cells"), *last = json_array_get(list, TABLE1_CELLS - 1);
    assert_int_equal(json_array_size(list), TABLE1_CELLS);
    assert_true(fabs(json_real_value(json_object_get(last, "ppl")) - cells[TABLE1_CELLS - 1].ppl) < 1e-9);
    assert_true(json_is_null(json_object_get(last, "paper_value")));
    assert_int_equal(json_integer_value(json_object_get(last, "bootstrap_block")), 256);
    json_decref(json);
}

/* A window of fewer tokens than a unit has is a unit of its own, and said to be. */
/* A calibration is named as what the numbers come from where some method reads it, and by another word where it gave
 * output errors alone. */
static void test_calibrations(void **state)
{
    (void)state;
    static const char errors[] = "Output errors alone were measured on ";
    struct ptq_cell cells[] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 1),
                               make_cell(arena, "m", "salient:w3,g64,select=weight,fraction=0.01", 0.9),
                               make_cell(arena, "m", "salient:w3,g64,select=activation,fraction=0.01", 0.5),
                               make_cell(arena, "m", "later:w3,g64", 1)};
    cells[1].calib = "books.txt";
    cells[1].calib_protocol = cells[2].calib_protocol = "first 8 windows of 512";
    cells[2].calib = cells[1].text = cells[2].text = "books.txt";
    char *text = printed_table(arena, cells, 3, PTQ_TABLE_MD);
    expect_part(text, "- Output errors alone were measured on books.txt (first 8 windows of 512); no perplexity here "
                      "depends on it.\n");
    expect_no_part(text, "Calibration");
    cells[3].calib = "books.txt"; /* the same text, other windows */
    text = printed_table(arena, cells, 4, PTQ_TABLE_MD);
    expect_part(text, errors);
    expect_part(text, "- Calibration on books.txt: first 64 windows");
    cells[3].calib_protocol = "first 8 windows of 512";
    text = printed_table(arena, cells, 4, PTQ_TABLE_MD);
    expect_no_part(text, errors);
    expect_part(text, "- Calibration on books.txt: first 8 windows");
    cells[4].calib = "later.txt"; /* of a method that this build does not know */
    expect_part(printed_table(arena, cells, 5, PTQ_TABLE_MD), "- Calibration on later.txt: ");
}

/* Two kinds of seconds, each by its name. */
static void test_seconds(void **state)
{
    (void)state;
    struct ptq_cell cells[] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 1)};
    static const char yaml[] = "layout: {rows: [method], columns: [model], values: [ppl, seconds]}";
    struct ptq_table_layout layout;
    int found;
    cells[1].seconds_calibrate = 40;
    if (ptq_table_layout_of_yaml(arena, "t", yaml, &layout, &found, &err)) fail_msg("%s", err.text);
    for (int format = PTQ_TABLE_TEXT; format <= PTQ_TABLE_HTML; format++) {
        char *text = NULL;
        size_t size;
        if (format == PTQ_TABLE_CSV || format == PTQ_TABLE_JSON) continue;
        FILE *out = open_memstream(&text, &size);
        if (ptq_table_print_as(&layout, cells, 2, NULL, (enum ptq_table_format)format, out, &err))
            fail_msg("%s", err.text);
        fclose(out);
        expect_part(text, "calibrate + quantise, s");
        expect_part(text, "41.25");
        expect_part(text, "quantise + evaluate, s");
        expect_part(text, "21.2");
        expect_no_part(text, "seconds");
        free(text);
    }
    expect_no_part(printed_table(arena, cells, 2, PTQ_TABLE_CSV), ",seconds,"); /* by stage: seconds_load and so on */
}

/* A stage's peak that is not known, in an older file or since the cell had no such stage, is an empty place. */
static void test_peaks(void **state)
{
    (void)state;
    struct ptq_cell cells[] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 1),
                               make_cell(arena, "m", "rtn:w4,g64", 0.1)};
    static const char yaml[] = "layout: {rows: [bits], columns: [model], values: [peak_mib, quantize_peak_mib]}";
    struct ptq_table_layout layout;
    int found;
    char *text = NULL;
    size_t size;
    cells[2].peak_rss_bytes_load = cells[2].peak_rss_bytes_quantize = cells[2].peak_rss_bytes_eval = 0;
    const char *csv = printed_table(arena, cells, 3, PTQ_TABLE_CSV);
    expect_part(csv, ",peak_rss_bytes_load,peak_rss_bytes_calibrate,peak_rss_bytes_quantize,peak_rss_bytes_eval,");
    expect_part(csv, ",125829120,,,314572800,");
    expect_part(csv, ",125829120,,293601280,314572800,");
    expect_part(csv, ",409.6,,,,,");
    json_t *json = json_loads(printed_table(arena, cells, 3, PTQ_TABLE_JSON), JSON_REJECT_DUPLICATES, NULL);
    json_t *list = json_object_get(json, "cells"), *rtn = json_array_get(list, 1), *old = json_array_get(list, 2);
    assert_int_equal(json_integer_value(json_object_get(rtn, "peak_rss_bytes_quantize")), 280 << 20);
    assert_true(json_is_null(json_object_get(rtn, "peak_rss_bytes_calibrate")));
    assert_true(json_is_null(json_object_get(old, "peak_rss_bytes_quantize")));
    json_decref(json);
    if (ptq_table_layout_of_yaml(arena, "t", yaml, &layout, &found, &err)) fail_msg("%s", err.text);
    FILE *out = open_memstream(&text, &size);
    if (ptq_table_print_as(&layout, cells, 3, NULL, PTQ_TABLE_MD, out, &err)) fail_msg("%s", err.text);
    fclose(out);
    expect_part(text, "| m peak MiB | m peak of quantising, MiB |");
    expect_part(text, "| w3 g64    |      300.0 |                     280.0 |");
    expect_part(text, "| w4 g64    |      300.0 |                           |");
    free(text);
}

static void test_short_windows(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    for (int i = 0; i < 2; i++) {
        cells[i].windows = 40;
        cells[i].tokens = 40 * 63;
    }
    expect_part(printed_table(arena, cells, 2, PTQ_TABLE_MD),
                "paired bootstrap over units of 63 tokens (a window each), 10000");
    json_t *json = json_loads(printed_table(arena, cells, 2, PTQ_TABLE_JSON), JSON_REJECT_DUPLICATES, NULL);
    json_t *first = json_array_get(json_object_get(json, "cells"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "bootstrap_block")), 63);
    json_decref(json);
    for (int i = 0; i < 2; i++) cells[i].tokens = 63 * (cells[i].windows = 4);
    expect_part(printed_table(arena, cells, 2, PTQ_TABLE_MD),
                "fewer than 20 units of 63 tokens (a window each) were scored");
}

/* What is measured against FP16 has its columns where some cell has it, and is empty where another has not. */
static void test_against(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    expect_no_part(printed_table(arena, cells, TABLE1_CELLS, PTQ_TABLE_MD), "KL to FP16");
    cell_compare(&cells[1], arena, 0.75);
    const char *text = printed_table(arena, cells, TABLE1_CELLS, PTQ_TABLE_MD);
    expect_part(text, "KL to FP16 | same top-1 % |");
    expect_part(text, "0.7500 |        87.50 |");
    expect_part(text, "9 cells are without a comparison to FP16");
    json_t *json = json_loads(printed_table(arena, cells, TABLE1_CELLS, PTQ_TABLE_JSON), JSON_REJECT_DUPLICATES, NULL);
    json_t *list = json_object_get(json, "cells");
    assert_true(json_real_value(json_object_get(json_array_get(list, 1), "kl_p99")) == cells[1].kl_p99);
    assert_true(json_is_null(json_object_get(json_array_get(list, 2), "kl_p99")));
    json_decref(json);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{5.6, "5.600"},        {21.726, "21.73"}, {119, "119.0"}, {1234.5, "1234"}, {10476, "10476"},
                 {193210, "1.932e+05"}, {INFINITY, "inf"}, {NAN, ""},      {0, "0.000"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(ptq_number(arena, cases[i].value, ptq_decimals(cases[i].value), 0), cases[i].text);
    assert_string_equal(ptq_number(arena, 0.25, 2, 1), "+0.25");
    assert_string_equal(ptq_interval_text(arena, -0.5, 1, 1, 1), "[-0.5, +1.0]");
    assert_string_equal(ptq_interval_text(arena, NAN, 1, 1, 1), "");
}

/* Other orders of the calibration's sums stand in one row with the first, as its replicates; other calibrations do not.
 */
static void test_orders(void **state)
{
    (void)state;
    struct ptq_cell cells[] = {
        make_cell(arena, "m", "fp16", 0),
        make_cell(arena, "m", "gptq:w3,g64,act_order=0", 0.50),
        make_cell(arena, "m", "gptq:w3,g64,act_order=0,order=1", 0.55),
        make_cell(arena, "m", "gptq:w3,g64,act_order=0,order=2", 0.52),
        make_cell(arena, "m", "gptq:w3,g64,act_order=0,order=3", 0.40),
        make_cell(arena, "m", "gptq:w3,g64,act_order=1", 0.45),
    };
    struct ptq_report report;
    cells[4].calib = "another text";
    if (ptq_report_make(arena, cells, 6, &report, &err)) fail_msg("%s", err.text);
    assert_int_equal(report.n_rows, 4);
    const struct ptq_report_row *row = &report.row[1];
    assert_string_equal(row->cell->spec, cells[1].spec);
    assert_int_equal(row->seeds.n, 3);
    assert_true(row->seeds.lowest == cells[1].ppl && row->seeds.highest == cells[2].ppl);
    assert_true(fabs(row->cell->ppl / cbrt(cells[1].ppl * cells[2].ppl * cells[3].ppl) - 1) < 1e-12);
    assert_ptr_equal(report.row[2].cell, &cells[4]);
    assert_int_equal(report.row[2].seeds.n, 1);
    const char *text = printed_table(arena, cells, 6, PTQ_TABLE_MD);
    expect_part(text, ptq_format(arena, "%.2f..%.2f (3)", cells[1].ppl, cells[2].ppl));
    expect_part(text, "Replicates: a row of several seeds, or orders");
    expect_no_part(text, "seeds |");
    expect_no_part(text, ", seed 0 |");
    cells[2].commit = "another"; /* of a cell that has no row of its own */
    expect_part(printed_table(arena, cells, 6, PTQ_TABLE_MD), "; another (cells come from different commits)");
    expect_no_part(printed_table(arena, cells + 4, 2, PTQ_TABLE_MD), "Replicates:");
}

/* A row without other orders beside it has the stored floor of its weights, method, width and group size as a footnote.
 */
static void test_stored_noise(void **state)
{
    (void)state;
    struct ptq_cell cells[] = {
        make_cell(arena, "m", "gptq:w3,g64,act_order=0", 0.50),
        make_cell(arena, "m", "gptq:w3,g64,act_order=0,order=1", 0.55),
        make_cell(arena, "m", "gptq:w4,g64,act_order=1", 0.45),
        make_cell(arena, "m", "rtn:w3,g64", 0.60),
    };
    static const char name[] = "model_sha256\tmodel\tspec\ttext\torders\tlowest\thighest\tcommit\n",
                      hash[] = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    char folder[64];
    make_test_folder(folder);
    assert_int_equal(mkdir(ptq_format(arena, "%s/experiments", folder), 0700), 0);
    write_test_text(
        folder, "experiments/noise.tsv",
        ptq_format(arena,
                   "# a comment\n%s%s\tm\tgptq:w3,g64,act_order=0\tw/t\t5\t40\t44\tc\n"
                   "%s\tm\tgptq:w4,g64,act_order=0\tw/t\t5\t20\t21\tc\nx%s\tm\tgptq:w4,g64\tw/t\t5\t7\t8\tc\n",
                   name, hash, hash, hash + 1));
    setenv("PTQ_HOME", folder, 1);
    const char *text = printed_table(arena, cells, 4, PTQ_TABLE_MD);
    expect_part(text, "noise.tsv: 5 orders in which the same calibration windows were summed gave "
                      "gptq:w4,g64,act\\_order=0 from 20.00 to 21.00, 5.0 %, on w/t; rows of other switches, as here");
    expect_no_part(text, "from 40.00"); /* its row has orders of its own */
    expect_no_part(text, "from 7.000"); /* other weights */
    expect_part(printed_table(arena, cells, 1, PTQ_TABLE_MD),
                "act\\_order=0 from 40.00 to 44.00, 10.0 %, on w/t; a smaller difference of two such rows");
    cells[2].spec = "gptq:w4,g64,act_order=0"; /* the row's own SPEC: of no other one then */
    expect_part(printed_table(arena, cells + 2, 1, PTQ_TABLE_MD), "on w/t; a smaller difference of two such rows");
    expect_no_part(printed_table(arena, cells + 3, 1, PTQ_TABLE_MD), "Noise floor");
    write_test_text(folder, "experiments/noise.tsv",
                    ptq_format(arena, "%s%s\tm\trtn\tw/t\t5\t40\t30\tc\n", name, hash));
    expect_part(printed_table(arena, cells, 1, PTQ_TABLE_MD), "No noise floor: ");
    expect_part(printed_table(arena, cells, 1, PTQ_TABLE_MD), "noise.tsv:2: 40 to 30 is no range of perplexities");
    unsetenv("PTQ_HOME");
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(as_stored), TEST(verdicts),     TEST(several_settings), TEST(without_fp16),  TEST(infinite),
        TEST(refused),   TEST(escapes),      TEST(hostile_model),    TEST(records),       TEST(numbers),
        TEST(orders),    TEST(stored_noise), TEST(against),          TEST(short_windows), TEST(calibrations),
        TEST(seconds),   TEST(peaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
