/* The published numbers: the file is sound, and comparisons are made only where they are fair. */
#include "cells.h"
#include "mapped.h"
#include "method.h"
#include "paper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

static struct ptq_arena *arena;
static struct ptq_error err;
static struct ptq_paper paper;

static double value_in(const char *experiment, const char *model, const char *spec)
{
    const struct ptq_paper_number *p = ptq_paper_find(&paper, experiment, model, spec, "ppl:wikitext2");
    return p ? p->value : -1;
}

static double value_of(const char *model, const char *spec)
{
    return value_in("eval", model, spec);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_true(paper.n > 350);
    assert_true(value_of("opt-1.3b", "fp16") == 14.62);
    assert_true(value_of("opt-1.3b", "rtn:w3,g128") == 119.00); /* table 1 before table 3 */
    assert_true(value_in("table1", "opt-1.3b", "rtn:w3,g128") == 119.00);
    assert_true(value_in("awq-table3", "opt-1.3b", "rtn:w3,g128") == 119.47);
    assert_true(value_in("gptq-table3", "opt-1.3b", "fp16") == 14.63);
    assert_true(value_in("gptq-table33", "opt-1.3b", "fp16") == 14.62);
    assert_true(value_of("opt-2.7b", "rtn:w3,g128") == 298.00);
    assert_true(value_of("opt-13b", "salient:w3,g128,select=weight,fraction=0.03") == 54.49);
    assert_true(value_of("opt-6.7b", "salient:w3,g128,select=random,fraction=0.001") == 23.54);
    assert_true(value_of("Llama-2-7b-hf", "awq:w4,g128") == 5.60);
    assert_true(value_of("llama-65b", "gptq:w3,g128,act_order=1") == 4.21);
    assert_true(value_of("opt-1.3b", "rtn:w3,g-1,range=gptq") == 1.3e4);
    assert_true(value_of("bloom-7b1", "gptq:w4,g-1,act_order=0") == 11.73);
    assert_true(value_of("opt-6.7b", "scale:w3,g128,fraction=0.01,s=2") == 11.92);
    assert_true(value_of("smollm2-135m", "fp16") == -1);
}

/* Every table of which reference/algorithms-and-numbers.md, section 3, has numbers, with how many. */
static void test_every_table(void **state)
{
    (void)state;
    static const struct {
        const char *paper, *table;
        int n;
    } wanted[] = {{"AWQ", "1", 33},        {"AWQ", "2", 20},       {"AWQ", "3", 25},        {"AWQ", "4", 63},
                  {"AWQ", "5", 6},         {"AWQ", "6", 7},        {"AWQ", "8", 20},        {"AWQ", "9", 15},
                  {"AWQ", "10", 6},        {"AWQ", "figure 1", 2}, {"AWQ", "figure 8a", 1}, {"AWQ", "figure 8b", 8},
                  {"AWQ", "figure 9", 25}, {"AWQ", "README", 12},  {"AWQ", "rerun", 5},     {"GPTQ", "2", 7},
                  {"GPTQ", "3", 45},       {"GPTQ", "4", 30},      {"GPTQ", "5", 6},        {"GPTQ", "6", 4},
                  {"GPTQ", "7", 6},        {"GPTQ", "8", 2},       {"GPTQ", "9", 36},       {"GPTQ", "11", 36},
                  {"GPTQ", "README", 27}};
    int sum = 0;
    for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++) {
        int n = 0;
        for (int i = 0; i < paper.n; i++)
            n += strcmp(paper.number[i].paper, wanted[w].paper) == 0 &&
                 strcmp(paper.number[i].table, wanted[w].table) == 0;
        if (n != wanted[w].n) fail_msg("%s, table %s: %d numbers", wanted[w].paper, wanted[w].table, n);
        sum += n;
    }
    assert_int_equal(sum, paper.n);
}

static void test_no_key_twice(void **state)
{
    (void)state;
    for (int i = 0; i < paper.n; i++)
        for (int j = 0; j < i; j++) {
            const struct ptq_paper_number *a = &paper.number[i], *b = &paper.number[j];
            if (strcmp(a->paper, b->paper) || strcmp(a->table, b->table) || strcmp(a->model, b->model) ||
                strcmp(a->spec, b->spec) || strcmp(a->metric, b->metric))
                continue;
            fail_msg("%s, table %s: %s %s %s is there twice", a->paper, a->table, a->model, a->spec, a->metric);
        }
}

/* What the papers say of one thing in two ways is in the notes. */
static void test_contradictions_are_noted(void **state)
{
    (void)state;
    static const char *const noted[][3] = {{"opt-1.3b", "rtn:w3,g128", "119.47"},
                                           {"opt-6.7b", "rtn:w3,g128", "43.2"},
                                           {"opt-6.7b", "awq:w3,g128", "11.39"},
                                           {"opt-1.3b", "fp16", "14.63"}};
    for (size_t k = 0; k < sizeof noted / sizeof *noted; k++) {
        int found = 0;
        for (int i = 0; i < paper.n; i++)
            found |= strcmp(paper.number[i].model, noted[k][0]) == 0 &&
                     strcmp(paper.number[i].spec, noted[k][1]) == 0 && strstr(paper.number[i].note, noted[k][2]);
        if (!found) fail_msg("%s %s: nothing notes %s", noted[k][0], noted[k][1], noted[k][2]);
    }
}

static void test_names(void **state)
{
    (void)state;
    const char *const names[] = {"facebook/opt-1.3b", "/models/OPT-1.3B/", "opt-1.3b.gguf", "./x/opt-1.3b-hf",
                                 "/root/.cache/hub/models--facebook--opt-1.3b/snapshots/0123/"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (value_of(names[i], "fp16") != 14.62) fail_msg("%s is not known", names[i]);
    assert_true(value_of("opt-1.3b-chat", "fp16") == -1);
    assert_true(value_of("my-opt-1.3b", "fp16") == -1);
    assert_true(value_of("", "fp16") == -1);
    assert_true(value_of("/", "fp16") == -1);
}

/* What we can run is published under the SPEC that we would print. */
static void test_specs_are_canonical(void **state)
{
    (void)state;
    int known = 0;
    for (int i = 0; i < paper.n; i++) {
        struct ptq_spec spec;
        if (ptq_spec_parse(paper.number[i].spec, &spec, &err)) continue;
        assert_string_equal(ptq_spec_format(&spec, arena), paper.number[i].spec);
        known++;
    }
    assert_true(known > 250);
}

static struct ptq_cell opt_cell(const char *spec, double ppl)
{
    struct ptq_cell c = make_cell(arena, "facebook/opt-1.3b", spec, 0);
    c.family = "opt";
    c.windows = 140;
    c.text = "wikitext-2-raw-v1/wiki.test.raw";
    c.protocol = "window 2048, all windows, bos stream, first token not scored, tail dropped, text 0123456789ab";
    c.ppl = ppl;
    return c;
}

static enum ptq_verdict judge(const struct ptq_cell *cell)
{
    const struct ptq_paper_number *number;
    return ptq_paper_verdict(&paper, cell, &number);
}

static void test_verdicts(void **state)
{
    (void)state;
    struct ptq_cell c = opt_cell("fp16", 14.63);
    assert_int_equal(judge(&c), PTQ_MATCHES);
    c.ppl = 14.645;
    assert_int_equal(judge(&c), PTQ_WITHIN_BAND);
    c.ppl = 14.8;
    assert_int_equal(judge(&c), PTQ_OFF);
    c.ppl = INFINITY;
    assert_int_equal(judge(&c), PTQ_OFF);
    c = opt_cell("rtn:w3,g128", 121);
    assert_int_equal(judge(&c), PTQ_MATCHES);
    c = opt_cell("rtn:w3,g128,sym=1", 121);
    assert_int_equal(judge(&c), PTQ_NO_PAPER);
    assert_string_equal(ptq_verdict_name(PTQ_NO_PAPER), "");
    assert_string_equal(ptq_verdict_name(PTQ_OFF), "off");
}

static void test_only_fair_comparisons(void **state)
{
    (void)state;
    const struct ptq_paper_number *number;
    struct ptq_cell c = opt_cell("rtn:w3,g64", 100);
    assert_int_equal(ptq_paper_verdict(&paper, &c, &number), PTQ_NO_PAPER); /* that of g128 is another row's */
    assert_null(number);
    c = opt_cell("salient:w4,g128,select=weight,fraction=0.01", 20); /* nor that of w3 */
    assert_int_equal(ptq_paper_verdict(&paper, &c, &number), PTQ_NO_PAPER);
    assert_null(number);
    c = opt_cell("rtn:w3,g128", 100);
    c.text = "anarchism";
    assert_int_equal(ptq_paper_verdict(&paper, &c, &number), PTQ_OTHER_SETTINGS);
    assert_string_equal(number->printed, "119.00"); /* shown, but not judged by */
    assert_int_equal(ptq_paper_judge(&paper, &c, "step_ratio", 1, &number), PTQ_NO_PAPER);
    c = opt_cell("fp16", 14.62);
    c.windows = 139; /* another text of that name */
    assert_int_equal(judge(&c), PTQ_OTHER_SETTINGS);
    c = opt_cell("fp16", 14.62);
    c.text = "anarchism";
    assert_int_equal(judge(&c), PTQ_OTHER_SETTINGS);
    c = opt_cell("fp16", 14.62);
    c.protocol = "window 2048, first 40 windows, bos stream, first token not scored";
    assert_int_equal(judge(&c), PTQ_OTHER_SETTINGS);
    c = opt_cell("fp16", 14.62);
    c.source_dtype = "Q4_1";
    assert_int_equal(judge(&c), PTQ_OTHER_SETTINGS);
    c = opt_cell("rtn:w3,g128", 119);
    c.path = "packed";
    assert_int_equal(judge(&c), PTQ_MATCHES);
    c.path = "packed-int8"; /* activations of 8 bits are no weight-only quantisation */
    assert_int_equal(judge(&c), PTQ_OTHER_SETTINGS);
    c.model = "another";
    assert_int_equal(judge(&c), PTQ_NO_PAPER);
}

static void refuse(const char *text, const char *part)
{
    char path[] = "/tmp/ptq-paper-XXXXXX";
    struct ptq_paper read;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    assert_int_equal(ptq_paper_read(arena, path, &read, &err), PTQ_EINPUT);
    unlink(path);
    if (!strstr(err.text, part)) fail_msg("no '%s' in: %s", part, err.text);
}

#define HEADER "# a comment\npaper\ttable\tmodel\tspec\tmetric\tvalue\ttolerance\tsource\tnote\n"

static void test_bad_lines(void **state)
{
    (void)state;
    refuse("paper\ttable\n", ":1: the names of the columns");
    refuse(HEADER "AWQ\t1\n", ":3: a line needs 9 columns");
    refuse(HEADER "A\t1\tm\ts\tp\tx\t1\ts\tn\n", ":3: the value 'x'");
    refuse(HEADER "A\t1\tm\ts\tp\tnan\t1\ts\tn\n", ":3: the value 'nan'");
    refuse(HEADER "A\t1\tm\ts\tp\t2\t0%\ts\tn\n", ":3: the tolerance");
    refuse(HEADER "A\t1\tm\ts\tp\t2\t1\ts\tn\tmore\n", ":3: a line needs 9 columns");
    assert_int_equal(ptq_paper_read(arena, "/no/such/file.tsv", &paper, &err), PTQ_EIO);
}

static void test_home(void **state)
{
    (void)state;
    setenv("PTQ_HOME", "/no/such/home", 1);
    assert_int_equal(ptq_paper_read(arena, NULL, &paper, &err), PTQ_EIO);
    assert_non_null(strstr(err.text, "/no/such/home/experiments/paper.tsv"));
    unsetenv("PTQ_HOME");
}

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    return ptq_paper_read(arena, NULL, &paper, &err) != PTQ_OK;
}

static int tear_down(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(numbers),      TEST(every_table),
                                       TEST(no_key_twice), TEST(contradictions_are_noted),
                                       TEST(names),        TEST(specs_are_canonical),
                                       TEST(verdicts),     TEST(only_fair_comparisons),
                                       TEST(bad_lines),    TEST(home)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
