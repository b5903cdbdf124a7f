/* Figures: whole files, the numbers that were asked for, and names that are never read as commands. */
#include "cells.h"
#include "gnuplot.h"
#include "mapped.h"
#include "plot.h"
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>
#include <cmocka.h>

#include "folder_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

static char *read_text(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    if (ptq_read_file(arena, path, 1 << 24, &text, &size, &err)) fail_msg("%s", err.text);
    assert_true(size > 0);
    return ptq_strdup(arena, text);
}

static const char *at(const char *name)
{
    return ptq_format(arena, "%s/%s", folder, name);
}

static int plot(const struct ptq_cell *cells, int n)
{
    int figures;
    if (ptq_plot(cells, n, folder, &figures, &err)) fail_msg("%s", err.text);
    return figures;
}

/* Runs a command in the folder and gives its first number. */
static int count(const char *command)
{
    int n = -1;
    FILE *pipe = popen(ptq_format(arena, "cd '%s' && %s", folder, command), "r");
    assert_int_equal(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return n;
}

/* Of these cells: each of them, what is kept, errors, cost. */
enum { TABLE1_FIGURES = 4 };

static void test_figures(void **state)
{
    (void)state;
    struct ptq_cell *cells = ptq_new(arena, struct ptq_cell, 2 * TABLE1_CELLS);
    memcpy(cells, make_table1(arena, "smollm2-135m-instruct"), TABLE1_CELLS * sizeof *cells);
    memcpy(cells + TABLE1_CELLS, make_table1(arena, "facebook/opt-1.3b"), TABLE1_CELLS * sizeof *cells);
    for (int i = 0; i < TABLE1_CELLS; i++) cells[TABLE1_CELLS + i].model_sha256 = "other";
    int n = plot(cells, 2 * TABLE1_CELLS);
    assert_int_equal(n, 2 * TABLE1_FIGURES);
    assert_int_equal(count("ls -A | wc -l"), 3 * n); /* no script, no temporary file */
    const char *svg = read_text(at("smollm2-135m-instruct-w3-g64.svg"));
    assert_non_null(strstr(svg, "smollm2-135m-instruct, 3 bits, groups of 64"));
    assert_non_null(strstr(svg, "chosen by activation"));
    assert_non_null(strstr(svg, "FP16"));
    assert_int_equal(memcmp(read_text(at("smollm2-135m-instruct-w3-g64.png")), "\x89PNG", 4), 0);
    assert_non_null(read_text(at("opt-1.3b-w3-g64.svg")));
}

static void test_numbers(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    plot(cells, TABLE1_CELLS);
    const char *second = strchr(read_text(at("m-w3-g64.csv")), '\n');
    double kept, ppl, low, high;
    assert_non_null(second);
    assert_int_equal(count("wc -l < m-w3-g64.csv"), 4);
    assert_int_equal(sscanf(second, "\n%lf,%lf,%lf,%lf", &kept, &ppl, &low, &high), 4);
    assert_true(kept == 0.1 && fabs(ppl - cells[2].ppl) < 1e-6);
    assert_true(low < ppl && ppl < high && high - low < ppl / 4);
}

static void test_same_bytes(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    plot(cells, TABLE1_CELLS);
    const char *first = read_text(at("m-w3-g64.svg"));
    plot(cells, TABLE1_CELLS);
    assert_string_equal(first, read_text(at("m-w3-g64.svg")));
}

static struct timespec changed(const char *name)
{
    struct stat state;
    if (stat(at(name), &state)) fail_msg("%s is not there", name);
    return state.st_mtim;
}

static int same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* A picture is drawn again where its numbers changed, or where it is not whole; else it stays. */
static void test_drawn_once(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    plot(cells, TABLE1_CELLS);
    struct timespec svg = changed("m-w3-g64.svg"), png = changed("m-w3-g64.png"), error = changed("m-w3-error.svg");
    plot(cells, TABLE1_CELLS);
    assert_true(same_time(svg, changed("m-w3-g64.svg")) && same_time(png, changed("m-w3-g64.png")));
    cells[2].nll[0] += 1;
    plot(cells, TABLE1_CELLS);
    assert_false(same_time(svg, changed("m-w3-g64.svg")));
    assert_false(same_time(png, changed("m-w3-g64.png")));
    assert_true(same_time(error, changed("m-w3-error.svg"))); /* shows nothing of it */
    assert_int_equal(truncate(at("m-w3-error.svg"), 2000), 0);
    assert_int_equal(truncate(at("m-w3-g64.png"), 2000), 0);
    plot(cells, TABLE1_CELLS);
    assert_non_null(strstr(read_text(at("m-w3-error.svg")), "<!-- ptq: of "));
    assert_true(count("wc -c < m-w3-g64.png") > 2000);
}

/* Missing cells, cells without number, one fraction, no FP16: a figure all the same. */
static void test_gaps(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    assert_int_equal(plot(cells + 2, 1), 2); /* the cell, its errors */
    assert_non_null(read_text(at("m-w3-error.svg")));
    plot(cells + 1, 5);
    assert_non_null(read_text(at("m-w3-g64.svg")));
    cells[3].nll[7] = INFINITY;
    cells[3].ppl = cells[3].nll_mean = INFINITY;
    plot(cells, TABLE1_CELLS);
    const char *csv = read_text(at("m-w3-g64.csv"));
    assert_non_null(strstr(csv, "\n1,,,,"));
    assert_null(strstr(csv, "nan"));
    assert_null(strstr(csv, "inf"));
}

/* No word of bars where there are none. */
static void test_no_bars(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    plot(cells, TABLE1_CELLS);
    assert_non_null(strstr(read_text(at("m-w3-g64.svg")), "bars and band: 95 % paired-bootstrap"));
    for (int i = 0; i < TABLE1_CELLS; i++) {
        cells[i].windows = 1;
        cells[i].tokens = CELL_SCORED;
    }
    plot(cells, TABLE1_CELLS);
    assert_non_null(strstr(read_text(at("m-w3-g64.svg")), "2047 tokens of test.txt"));
    assert_null(strstr(read_text(at("m-w3-g64.svg")), "bars"));
}

static void test_large_range(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    for (int i = 1; i < TABLE1_CELLS; i++) cell_fill(&cells[i], arena, 6 - 0.4 * i);
    plot(cells, TABLE1_CELLS);
    assert_non_null(read_text(at("m-w3-g64.png")));
}

static void test_nothing_to_draw(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "m");
    assert_int_equal(ptq_plot(cells, 1, folder, NULL, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "nothing to draw"));
}

/* Nothing of a stranger's file is more than a part of a file's name. */
static void test_stems(void **state)
{
    (void)state;
    static const char *const names[][3] = {{"a-model_1.5b", "<script>", "a-model_1.5b"},
                                           {"../etc", "0123456789", "_._etc-01234567"},
                                           {"-o x", "/../../e", "_o_x-_.._.._e"},
                                           {"a<b", "<script>", "a_b-_script_"},
                                           {"", "", ""}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(ptq_figure_stem(arena, names[i][0], names[i][1]), names[i][2]);
    char *long_name = ptq_new(arena, char, 102);
    memset(long_name, 'a', 101);
    assert_string_equal(ptq_figure_stem(arena, long_name, "0123456789") + 100, "-01234567");
}

/* Two texts: each in figures of its own, with its name, and without the other's FP16. */
static void test_two_texts(void **state)
{
    (void)state;
    struct ptq_cell cells[4];
    for (int i = 0; i < 4; i++) {
        cells[i] = make_cell(arena, "m", i % 2 ? "rtn:w3,g64" : "fp16", 0.5 * (i % 2) + 0.1 * (i / 2));
        cells[i].text = i / 2 ? "texts/essay`touch RAN`" : "texts/perl-eval";
        cells[i].protocol = cells[i].tokens_sha256 = cells[i].text_sha256 = i / 2 ? "0123456789" : "another one";
    }
    plot(cells, 4);
    const char *first = read_text(at("m-cells-perl-eval.csv")),
               *second = read_text(at("m-cells-essay_touch_RAN_-01234567.csv"));
    double ppl;
    assert_int_equal(sscanf(strchr(first, '\n'), "\nRTN,0,1,1,,%lf", &ppl), 1);
    assert_true(fabs(ppl - cells[1].ppl) < 1e-6 * ppl);
    assert_int_equal(sscanf(strchr(second, '\n'), "\nRTN,0,1,1,,%lf", &ppl), 1);
    assert_true(fabs(ppl - cells[3].ppl) < 1e-6 * ppl);
    assert_non_null(strstr(read_text(at("m-cells-perl-eval.svg")), "tokens of perl-eval; bars: 95 % paired-bootstrap"));
    for (int i = 0; i < 4; i++) cells[i].text = "texts/perl-eval";
    cells[2].windows = cells[3].windows = 2;
    cells[2].tokens = cells[3].tokens = 2 * CELL_SCORED;
    plot(cells, 4); /* of other windows: nor without those in its name */
    assert_string_equal(read_text(at("m-cells-perl-eval-4x2048.csv")), first);
    assert_true(strcmp(read_text(at("m-cells-perl-eval-2x2048.csv")), first) != 0);
}

/* A line a cell, those with only= among them, each seed's own beside their mean; the words are the table's. */
static void test_rows(void **state)
{
    (void)state;
    struct ptq_cell cells[5] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64,only=down", 0.2)};
    for (int seed = 0; seed < 3; seed++) {
        cells[2 + seed] = make_cell(arena, "m", "gptq:w3,g64,act_order=0", 0.4 + 0.1 * seed);
        cells[2 + seed].seed = 7 + seed;
        cells[2 + seed].calib = "texts/perl-doc";
        cells[2 + seed].calib_protocol = "random 2 windows of 512, bos stream, text 0123";
    }
    plot(cells, 5);
    const char *csv = read_text(at("m-cells.csv"));
    double ppl, low, high;
    assert_non_null(strstr(csv, "\n\"RTN, only=down"));
    for (int seed = 0; seed < 3; seed++) {
        const char *own = strstr(csv, ptq_format(arena, ",1,2,0,%d,", 7 + seed));
        assert_true(own && sscanf(own, ",1,2,0,%*d,%lf", &ppl) == 1);
        assert_true(fabs(ppl - cells[2 + seed].ppl) < 1e-6 * ppl);
    }
    const char *mean = strstr(csv, ",1,2,3,,");
    assert_true(mean && sscanf(mean, ",1,2,3,,%lf,%lf,%lf", &ppl, &low, &high) == 3);
    assert_true(cells[2].ppl < ppl && ppl < cells[4].ppl && low < cells[2].ppl && high > cells[4].ppl);
    const char *svg = read_text(at("m-cells.svg"));
    /* too long for one line of the picture, and for two */
    assert_non_null(strstr(svg, " tokens of test.txt;<"));
    assert_non_null(strstr(svg,
                           ">bars: 95 % intervals, t of rows of seeds, else paired-bootstrap, of the difference to "
                           "FP16, set on FP16;<"));
    assert_non_null(strstr(svg, ">circles: up to 3 replicates<"));
}

/* Seeds that the table folds into one row are the band; what the lines differ in is in their names, and no more. */
static void test_calib(void **state)
{
    (void)state;
    struct ptq_cell cells[13] = {make_cell(arena, "m", "fp16", 0)};
    int n = 1;
    for (int seed = 0; seed < 3; seed++)
        for (int windows = 2; windows <= 8; windows *= 4)
            for (int method = 0; method < 2; method++) {
                struct ptq_cell *c = &cells[n++];
                *c = make_cell(arena, "m", method ? "awq:w3,g64" : "gptq:w3,g64,act_order=0",
                               0.1 * seed + 1.0 / windows + method);
                c->seed = seed;
                c->calib = "texts/perl-doc";
                c->calib_windows = windows;
                c->calib_window = 512;
                c->calib_protocol = ptq_format(arena, "random %d windows of 512, bos stream, text 0123", windows);
            }
    plot(cells, n);
    const char *csv = read_text(at("m-calib.csv"));
    double ppl, low, high;
    int tokens, seeds;
    assert_int_equal(sscanf(strchr(csv, '\n'), "\nGPTQ,1,%d,%d,%lf,%lf,%lf", &tokens, &seeds, &ppl, &low, &high), 5);
    assert_int_equal(tokens, 1024);
    assert_int_equal(seeds, 3);
    assert_true(fabs(low - cells[1].ppl) < 1e-6 && fabs(high - cells[9].ppl) < 1e-6);
    assert_true(low < ppl && ppl < high);
    assert_null(strstr(csv, "perl-doc")); /* all lines have it */
    for (int i = 0; i < n; i++)
        if (strcmp(cells[i].method, "awq") == 0) cells[i].calib = "texts/prose";
    plot(cells, n);
    assert_non_null(strstr(read_text(at("m-calib.csv")), "\n\"GPTQ, calib perl-doc\",1,1024,3,"));
}

/* Memory by stage where the cells have it; what is not known is an empty place, and nothing is drawn of it. */
static void test_cost(void **state)
{
    (void)state;
    static const char blue_boxes[] = "grep -o 'rgb(  0, 114, 178)' m-cost.svg | wc -l";
    struct ptq_cell cells[3] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 1),
                                make_cell(arena, "m", "salient:w3,g64,select=weight,fraction=0.01", 0.5)};
    plot(cells, 3);
    const char *csv = read_text(at("m-cost.csv"));
    assert_non_null(strstr(csv, ",eval_s,load_mib,calibrate_mib,quantize_mib,eval_mib,peak_mib\n"));
    assert_non_null(strstr(csv, "\nFP16,0,0.5,0,0,20,120.0,,,300.0,300.0\n"));
    assert_non_null(strstr(csv, "\nRTN,1,0.5,0,1.25,20,120.0,,280.0,300.0,300.0\n"));
    assert_non_null(strstr(csv, ",2,0.5,0,1.25,20,120.0,250.0,280.0,300.0,300.0\n"));
    assert_non_null(strstr(read_text(at("m-cost.svg")), "peak of all"));
    int of_quantising = count(blue_boxes);
    for (int i = 0; i < 3; i++) /* as in an older file */
        cells[i].peak_rss_bytes_load = cells[i].peak_rss_bytes_calibrate = cells[i].peak_rss_bytes_quantize =
            cells[i].peak_rss_bytes_eval = 0;
    plot(cells, 3);
    assert_non_null(strstr(read_text(at("m-cost.csv")), "\nRTN,1,0.5,0,1.25,20,,,,,300.0\n"));
    assert_null(strstr(read_text(at("m-cost.svg")), "peak of all"));
    assert_int_equal(of_quantising, count(blue_boxes) + 2); /* of two cells; FP16 has none */
}

/* Every width is a panel, every method a line there, in its own colour. */
static void test_groups(void **state)
{
    (void)state;
    static const char *const methods[] = {"rtn", "gptq", "awq"};
    struct ptq_cell cells[19] = {make_cell(arena, "m", "fp16", 0)};
    int n = 1;
    for (int m = 0; m < 3; m++)
        for (int w = 2; w <= 4; w++)
            for (int g = 64; g <= 128; g *= 2)
                cells[n++] =
                    make_cell(arena, "m", ptq_format(arena, "%s:w%d,g%d", methods[m], w, g), 0.4 / w + 0.1 * m);
    plot(cells, n);
    assert_int_equal(count("wc -l < m-groups.csv"), 1 + 18);
    const char *svg = read_text(at("m-groups.svg"));
    static const char *const there[] = {"2 bits",
                                        "3 bits",
                                        "4 bits",
                                        ">RTN<",
                                        ">GPTQ<",
                                        ">AWQ<",
                                        "FP16",
                                        "rgb(119, 119, 119)",
                                        "rgb(  0, 114, 178)",
                                        "rgb(213,  94,   0)"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        if (!strcasestr(svg, there[i])) fail_msg("m-groups.svg has no %s", there[i]);
    const char *bits = read_text(at("m-bits.svg"));
    for (size_t i = 7; i < 10; i++)
        if (!strcasestr(bits, there[i])) fail_msg("m-bits.svg has no %s", there[i]);
}

/* Cells of one size and nearly one perplexity stand beside each other, the better one at its bits. */
static void test_apart(void **state)
{
    (void)state;
    static const char *const specs[] = {"fp16", "rtn:w4,g64", "awq:w3,g64", "gptq:w3,g64,act_order=0", "rtn:w3,g64"};
    static const double lost[] = {0, 0.1, 0.4, 0.4, 0.6};
    struct ptq_cell cells[5];
    for (int i = 0; i < 5; i++) cells[i] = make_cell(arena, "m", specs[i], lost[i]);
    plot(cells, 5);
    const char *csv = read_text(at("m-bits.csv"));
    double bits[5], x[5];
    static const char *const rows[] = {"", "\nRTN,1,RTN,w4", "\nAWQ,2,", "\nGPTQ,3,", "\nRTN,1,RTN,w3"};
    for (int i = 1; i < 5; i++) {
        const char *row = strstr(csv, rows[i]), *end = row ? strchr(row + 1, '\n') : NULL;
        const char *number = row ? strstr(row, " g64,") : NULL;
        assert_true(row && end && number && sscanf(number, " g64,%lf", &bits[i]) == 1);
        while (end[-1] != ',') end--;
        x[i] = strtod(end, NULL);
    }
    int better = cells[2].ppl < cells[3].ppl ? 2 : 3, other = 5 - better;
    assert_true(x[1] == bits[1] && x[4] == bits[4] && x[better] == bits[better]);
    assert_true(fabs(x[other] - bits[other]) > 0.01 && fabs(x[other] - bits[other]) < 0.03);
}

/* A name that would run something, wherever it were read as a script, a shell's line or a path. */
static void test_hostile_names(void **state)
{
    (void)state;
    static const char *const names[] = {"x'`touch RAN`\"$(touch RAN)\"",
                                        "x\n!touch RAN\n",
                                        "'; system('touch RAN'); '",
                                        "../../x`touch RAN`",
                                        "|touch RAN",
                                        "<touch RAN",
                                        "{/*x}^@`touch RAN`",
                                        "''`touch RAN`''",
                                        "'.`touch RAN`.'",
                                        "\".system('touch RAN').\"",
                                        "\\' system('touch RAN') \\",
                                        "\xff\xfe'\\",
                                        ".hidden",
                                        "-e",
                                        ""};
    char *home = getcwd(NULL, 0);
    assert_int_equal(chdir(folder), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct ptq_cell *cells = make_table1(arena, names[i]);
        int figures = 0;
        if (ptq_plot(cells, TABLE1_CELLS, i % 2 ? "|touch RAN" : "<touch 'RAN'", &figures, &err))
            fail_msg("%s: %s", names[i], err.text);
        assert_int_equal(figures, TABLE1_FIGURES);
    }
    assert_int_equal(chdir(home), 0);
    free(home);
    assert_int_equal(count("find . -name RAN | wc -l"), 0);
    assert_int_equal(count("find . -name '.tmp*' | wc -l"), 0);
    assert_int_equal(count("find . -name '*.png' | wc -l"), TABLE1_FIGURES * sizeof names / sizeof *names);
    assert_int_equal(ptq_plot(make_table1(arena, "m"), TABLE1_CELLS, at("a\nb"), NULL, &err), PTQ_EINPUT);
}

static void test_quote(void **state)
{
    (void)state;
    assert_string_equal(ptq_gnuplot_quote(arena, "it's `x` \\ \"y\"\n"), "'it'.\"'\".'s `x` \\ \"y\"?'");
    assert_string_equal(ptq_gnuplot_quote(arena, ""), "''");
    assert_string_equal(ptq_gnuplot_quote(arena, "a]]>b]>"), "'a]] >b]>'");
}

static void test_gnuplot_fails(void **state)
{
    (void)state;
    if (ptq_write_file(at("bad.gp"), "a = 1\nplot nonsense(1\n", 22, &err)) fail_msg("%s", err.text);
    assert_int_equal(ptq_gnuplot_run(at("bad.gp"), &err), PTQ_EIO);
    assert_non_null(strstr(err.text, "line 2"));
    char *path = ptq_strdup(arena, getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(ptq_gnuplot_run(at("bad.gp"), &err), PTQ_EIO);
    setenv("PATH", path, 1);
    assert_non_null(strstr(err.text, "gnuplot-nox"));
    setenv("PTQ_HOME", "/nowhere", 1);
    assert_int_equal(ptq_plot(make_table1(arena, "m"), TABLE1_CELLS, folder, NULL, &err), PTQ_EIO);
    unsetenv("PTQ_HOME");
    assert_int_equal(count("find . -name '*.svg' -o -name '.tmp*' | wc -l"), 0);
}

/* Room for the CSV but not for a picture: no half of one. */
static void test_full_disk(void **state)
{
    (void)state;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {6000, 6000};
        struct ptq_cell *cells = make_table1(arena, "m");
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(ptq_plot(cells, TABLE1_CELLS, folder, NULL, &err) == PTQ_EIO && strstr(err.text, "m-cells.svg") ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(count("find . -name '*.svg' -o -name '*.png' -o -name '.tmp*' | wc -l"), 0);
}

/* The last test, since the signal stays. */
static void test_stopped(void **state)
{
    (void)state;
    struct ptq_report report;
    struct ptq_figures figures = {0};
    if (ptq_report_make(arena, make_table1(arena, "m"), TABLE1_CELLS, &report, &err)) fail_msg("%s", err.text);
    ptq_figures_find(arena, &report, &figures);
    assert_true(figures.n > 0);
    ptq_catch_signals();
    raise(SIGTERM);
    assert_int_equal(ptq_figures_draw(arena, &figures, folder, 0, &err), PTQ_EINTERRUPT);
    assert_int_equal(count("ls -A | wc -l"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(figures),   TEST(no_bars),    TEST(calib),         TEST(groups),      TEST(drawn_once),
        TEST(numbers),   TEST(same_bytes), TEST(gaps),          TEST(large_range), TEST(nothing_to_draw),
        TEST(two_texts), TEST(rows),       TEST(hostile_names), TEST(quote),       TEST(gnuplot_fails),
        TEST(full_disk), TEST(stems),      TEST(apart),         TEST(cost),        TEST(stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
