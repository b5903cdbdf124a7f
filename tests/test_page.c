/* The report's page from made-up cells: every kind of figure, nothing of a name read as markup, failures, provenance.
 */
#include "failures.h"
#include "mapped.h"
#include "page.h"
#include "plot.h"
#include "sweep_cells.h"
#include "version.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "folder_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

static const char *at(const char *name)
{
    return ptq_format(arena, "%s/%s", folder, name);
}

static const char *read_text(const char *name)
{
    char *text;
    size_t size;
    if (ptq_read_file(arena, at(name), 1 << 26, &text, &size, &err)) fail_msg("%s", err.text);
    return text;
}

static const char *store(const char *name, struct ptq_cell *cells, int n, const char *experiment, const char *yaml)
{
    char(*ids)[PTQ_SHA256_HEX] = (void *)ptq_new(arena, char, (size_t)n *PTQ_SHA256_HEX);
    const char *file = at(name);
    for (int i = 0; i < n; i++) {
        if (ptq_results_put(file, &cells[i], &err)) fail_msg("%s", err.text);
        memcpy(ids[i], cells[i].id, PTQ_SHA256_HEX);
    }
    if (ptq_results_merge(file, experiment, yaml, (const char(*)[PTQ_SHA256_HEX])ids, n, &err))
        fail_msg("%s", err.text);
    return file;
}

/* The page of some files; *n: its figures. */
static const char *page_of(const char *const *files, int n_files, int *n)
{
    if (ptq_page_write(files, n_files, NULL, at("out"), 0, n, &err)) fail_msg("%s", err.text);
    return read_text("out/report.html");
}

static void check_page(int n_figures)
{
    const char *command =
        ptq_format(arena, "python3 %s/../check_page.py %s/out/report.html %d", PTQ_FIXTURES, folder, n_figures);
    FILE *pipe = popen(command, "w");
    assert_int_equal(pclose(pipe), 0);
}

static void assert_says(const char *text, const char *words)
{
    if (!strstr(text, words)) fail_msg("the page does not say: %s", words);
}

static void test_all_kinds(void **state)
{
    (void)state;
    int n, n_data, figures;
    struct ptq_cell *cells = make_sweep(arena, "a-model", &n), *data = make_data_efficiency(arena, "a-model", &n_data);
    const char *files[] = {
        store("sweep.h5", cells, n, "sweep", "title: \"Bits & groups\"\nmethods: [rtn]\n# --set seed=0\n"),
        store("data.h5", data, n_data, "data", "title: How much\nmethods: [rtn]\n")};
    const char *page = page_of(files, 2, &figures);
    static const char *const titles[] = {"Perplexity against effective bits",
                                         "Perplexity against group size",
                                         "Distance from full precision",
                                         "Error of each linear",
                                         "Activation magnitude by channel",
                                         "Outlier channels over the depth",
                                         "Alpha chosen by AWQ",
                                         "Time and memory by stage",
                                         "Perplexity against the amount of calibration"};
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) assert_says(page, titles[i]);
    assert_says(page, "Bits &amp; groups");
    assert_says(page, "No cell failed");
    assert_says(page, cells[0].commit);
    assert_says(page, cells[0].tokens_sha256);
    assert_says(page, "ptq run sweep.yaml -o sweep.h5 --set seed=0");
    assert_says(page, "ptq eval a-model --text wikitext-2/test.txt");
    check_page(figures);
}

static void test_same_bytes(void **state)
{
    (void)state;
    int n;
    const char *file = store("t.h5", make_table1(arena, "m"), TABLE1_CELLS, "table1", "");
    const char *first = page_of(&file, 1, &n);
    assert_string_equal(first, page_of(&file, 1, &n));
    check_page(n);
}

/* Who makes the page need not be who measured its cells; a chapter of several commits is not run again by one. */
static void test_commits(void **state)
{
    (void)state;
    int n;
    struct ptq_cell *cells = make_table1(arena, "m");
    cells[1].calib = "books.txt"; /* RTN's */
    const char *file = store("one.h5", cells, TABLE1_CELLS, "table1", "title: One\n");
    const char *page = page_of(&file, 1, &n);
    assert_says(page, ptq_format(arena, "made by ptq %s (commit %s)", ptq_version, ptq_commit));
    assert_says(page, ptq_format(arena, "measured by commit %s.", cells[0].commit));
    assert_null(strstr(page, "# its cells"));
    assert_says(page, "<dt>Calibrated on</dt><dd>valid.txt</dd>");
    assert_says(page, "<dt>Output errors measured on</dt><dd>books.txt");
    assert_says(page, ">quantise + evaluate, s<");
    cells[3].commit = "feedfeedfeedfeedfeedfeedfeedfeedfeedfeed";
    file = store("two.h5", cells, TABLE1_CELLS, "table1", "title: Two\n");
    page = page_of(&file, 1, &n);
    assert_says(page, ptq_format(arena, "measured by commits %s; %s.", cells[0].commit, cells[3].commit));
    assert_says(page, "# its cells come from 2 commits; this is the last cell's\ngit checkout 0123456789");
    for (int i = 0; i < 4; i++) cells[i].commit = ptq_format(arena, "%040d", i);
    file = store("five.h5", cells, TABLE1_CELLS, "table1", "title: Five\n");
    page = page_of(&file, 1, &n);
    assert_says(page, "measured by 5 commits (see Provenance).");
    check_page(n);
}

/* Claims of one's own are judged by experiments of one's own; what no file of the report has is said. */
static void test_claims(void **state)
{
    (void)state;
    static const char claims[] =
        "title: Of my own\nclaims:\n  - name: mine\n    claim: RTN loses much.\n    source: nowhere\n    tests:\n"
        "      - {what: ours, experiment: mine, measure: ratio, of: 'rtn:w3', to: fp16, above: 2}\n"
        "      - {what: theirs, experiment: not-run, measure: ppl, of: fp16, below: 1}\n";
    const char *file = store("t.h5", make_table1(arena, "m"), TABLE1_CELLS, "mine", "");
    int n;
    assert_null(strstr(page_of(&file, 1, &n), "<h2>Claims</h2>")); /* the articles' are of other experiments */
    if (ptq_write_file(at("own.yaml"), claims, sizeof claims - 1, &err)) fail_msg("%s", err.text);
    if (ptq_page_write(&file, 1, at("own.yaml"), at("out"), 0, &n, &err)) fail_msg("%s", err.text);
    assert_says(read_text("out/report.html"), "<h2>Claims</h2>");
    assert_says(read_text("out/report.html"), "RTN loses much.");
    assert_says(read_text("out/report.html"), "no results of not-run are in this report");
    check_page(n);
    file = store("other.h5", make_table1(arena, "m"), TABLE1_CELLS, "another", "");
    if (ptq_page_write(&file, 1, at("own.yaml"), at("out"), 0, &n, &err)) fail_msg("%s", err.text);
    assert_says(read_text("out/report.html"), "no results of mine are in this report"); /* asked for, so answered */
    assert_int_equal(ptq_page_write(&file, 1, at("none.yaml"), at("out"), 0, &n, &err), PTQ_EIO);
}

/* Texts, protocols and paths that a table does not mix stand apart. */
static void test_two_protocols(void **state)
{
    (void)state;
    int n;
    struct ptq_cell *cells = make_table1(arena, "m");
    for (int i = 5; i < TABLE1_CELLS; i++) cells[i].protocol = "window 1024, all windows";
    const char *file = store("t.h5", cells, TABLE1_CELLS, "table1", "");
    const char *page = page_of(&file, 1, &n);
    assert_says(page, "window 1024, all windows");
    check_page(n);
    cells = make_table1(arena, "m");
    for (int i = 5; i < TABLE1_CELLS; i++) cells[i].path = "packed-int8";
    file = store("t.h5", cells, TABLE1_CELLS, "table1", "");
    page = page_of(&file, 1, &n);
    assert_says(page, "rounds activations to 8 bits, too");
    check_page(n);
    cells = make_table1(arena, "m");
    for (int i = 5; i < TABLE1_CELLS; i++) cells[i].protocol = "window 1024, all windows";
    static const char by_text[] = "layout: {rows: [method], columns: [text], values: [ppl]}\n";
    file = store("by-text.h5", cells, TABLE1_CELLS, "table1", by_text);
    page_of(&file, 1, &n); /* apart as well, since a table by text would refuse them */
    check_page(n);
}

/* The summary speaks of intervals where there are some. */
static void test_intervals(void **state)
{
    (void)state;
    int n;
    struct ptq_cell *cells = make_table1(arena, "m");
    const char *file = store("some.h5", cells, TABLE1_CELLS, "table1", "");
    assert_says(page_of(&file, 1, &n), "The intervals are paired bootstraps over");
    for (int i = 0; i < TABLE1_CELLS; i++) {
        struct ptq_cell *c = &cells[i];
        double sum = 0;
        c->windows = 2, c->tokens = 2 * CELL_SCORED;
        for (int64_t t = 0; t < c->tokens; t++) sum += c->nll[t];
        c->nll_mean = sum / (double)c->tokens;
        c->ppl = exp(c->nll_mean);
    }
    file = store("none.h5", cells, TABLE1_CELLS, "table1", "");
    const char *page = page_of(&file, 1, &n);
    assert_says(page, "There are no intervals, for want of tokens");
    assert_null(strstr(page, "paired bootstraps over"));
    check_page(n);
}

/* A name that would be markup, an attribute, a command, were it not escaped. */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const names[] = {"<script>alert(1)</script>", "\"onload=\"x' y=`touch RAN`",
                                        "--><!--]]>&lt;&#60;", "\\input{x}$(touch RAN)%n%s",
                                        "</style></title><svg/onload=x>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int n;
        struct ptq_cell *cells = make_sweep(arena, names[i], &n);
        for (int c = 0; c < n; c++) {
            cells[c].text = cells[c].host = cells[c].cpu = cells[c].commit = names[i];
            for (int l = 0; l < cells[c].n_linears; l++)
                cells[c].linear[l].name = ptq_format(arena, "x.%d.%s", l % 3, names[i]);
        }
        const char *file = store(ptq_format(arena, "%d.h5", (int)i), cells, 5, names[i],
                                 ptq_format(arena, "title: x\n# %s\n", names[i]));
        const char *list =
            ptq_format(arena, "{\"failed\":[{\"cell\":\"<script>\",\"model\":\"&\",\"why\":\"a<b>c\"}]}");
        if (ptq_write_file(ptq_format(arena, "%s.failed.json", file), list, strlen(list), &err))
            fail_msg("%s", err.text);
        const char *page = page_of(&file, 1, &n);
        assert_null(strstr(page, "<script"));
        assert_says(page, "a&lt;b&gt;c");
        check_page(n);
    }
    assert_int_not_equal(access(at("RAN"), F_OK), 0);
    assert_int_not_equal(access("RAN", F_OK), 0);
}

static void test_failures(void **state)
{
    (void)state;
    struct ptq_job job = {.spec = "gptq:w2,g64", .model = "a \"model\""};
    struct ptq_plan_cell cell[2] = {{.job = &job, .label = "gptq:w2,g64", .state = PTQ_PLAN_FAILED, .why = "no pivot"},
                                    {.job = &job, .state = PTQ_PLAN_DONE}};
    struct ptq_plan plan = {.cell = cell, .n = 2};
    struct ptq_failure *list;
    int n;
    assert_int_equal(ptq_failures_write(at("r.h5"), &plan, &err), PTQ_OK);
    assert_int_equal(ptq_failures_read(arena, at("r.h5"), &list, &n, &err), PTQ_OK);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].cell, "gptq:w2,g64");
    assert_string_equal(list[0].model, "a \"model\"");
    assert_string_equal(list[0].why, "no pivot");
    cell[0].state = PTQ_PLAN_DONE;
    assert_int_equal(ptq_failures_write(at("r.h5"), &plan, &err), PTQ_OK);
    assert_int_equal(ptq_failures_read(arena, at("r.h5"), &list, &n, &err), PTQ_OK);
    assert_int_equal(n, 0);
    assert_int_not_equal(access(at("r.h5.failed.json"), F_OK), 0);
    if (ptq_write_file(at("r.h5.failed.json"), "[", 1, &err)) fail_msg("%s", err.text);
    assert_int_equal(ptq_failures_read(arena, at("r.h5"), &list, &n, &err), PTQ_EINPUT);
}

/* What is kept of the inputs comes back; a cell without has none. */
static void test_inputs_come_back(void **state)
{
    (void)state;
    int n;
    struct ptq_cell *cells = make_sweep(arena, "m", &n), *back;
    const char *file = store("i.h5", cells, 2, "x", "");
    if (ptq_results_read(arena, file, &back, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(n, 2);
    assert_int_equal(back[0].n_inputs, 0);
    assert_int_equal(back[1].n_inputs, cells[1].n_inputs);
    for (int i = 0; i < back[1].n_inputs; i++) {
        const struct ptq_input_report *a = &cells[1].input[i], *b = &back[1].input[i];
        assert_string_equal(a->name, b->name);
        assert_memory_equal(a->ranked, b->ranked, sizeof a->ranked);
        assert_true(a->channels == b->channels && a->top1 == b->top1 && a->top2 == b->top2 && a->top3 == b->top3);
        assert_true(a->median == b->median);
    }
}

/* Without weasyprint there is the page, and a sentence with the command that installs it. */
static void test_without_weasyprint(void **state)
{
    (void)state;
    const char *file = store("t.h5", make_table1(arena, "m"), TABLE1_CELLS, "table1", "");
    char *path = ptq_strdup(arena, getenv("PATH"));
    assert_int_equal(mkdir(at("bin"), 0777), 0);
    FILE *pipe = popen("command -v gnuplot", "r");
    char gnuplot[512];
    assert_int_equal(fscanf(pipe, "%511s", gnuplot), 1);
    pclose(pipe);
    assert_int_equal(symlink(gnuplot, at("bin/gnuplot")), 0);
    setenv("PATH", at("bin"), 1);
    enum ptq_status status = ptq_page_write(&file, 1, NULL, at("out"), 1, NULL, &err);
    setenv("PATH", path, 1);
    assert_int_equal(status, PTQ_EIO);
    assert_says(err.text, "scripts/install-deps --for report");
    assert_says(err.text, "report.html is written");
    assert_int_equal(access(at("out/report.html"), F_OK), 0);
    assert_int_not_equal(access(at("out/report.pdf"), F_OK), 0);
}

static void test_refused(void **state)
{
    (void)state;
    const char *file = at("none.h5");
    assert_int_equal(ptq_page_write(&file, 1, NULL, at("out"), 0, NULL, &err), PTQ_EIO);
    assert_says(err.text, "none.h5");
    assert_int_not_equal(access(at("out"), F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_kinds), TEST(same_bytes), TEST(two_protocols),    TEST(intervals),
        TEST(hostile),   TEST(failures),   TEST(inputs_come_back), TEST(without_weasyprint),
        TEST(refused),   TEST(commits),    TEST(claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
