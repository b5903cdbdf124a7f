/* Claims: what is wrong in their file is refused; the verdict follows from where the interval lies; what is missing is
 * said; and the tree's own claims parse. */
#include "documented.h"
#include "drawn_cells.h"
#include "judged_claims.h"

#include <jansson.h>

/* ---- reading ---- */

static void refuse(const char *text, const char *part)
{
    struct ptq_claims claims;
    assert_int_equal(read_text(text, &claims), PTQ_EINPUT);
    if (!strstr(err.text, part)) fail_msg("no '%s' in: %s", part, err.text);
}

#define CLAIM "claims:\n  - name: n\n    claim: c\n    source: s\n    tests:\n      - "

static void test_refused(void **state)
{
    (void)state;
    refuse("title: x\n", "needs a list of claims");
    refuse("claims: []\n", "needs a list of claims");
    refuse("claims:\n  - {name: n}\n", "a claim needs name, claim, source and tests");
    refuse("claims:\n  - {nam: n}\n", "did you mean 'name'");
    refuse(CLAIM "{what: w}\n", "needs the key 'measure'");
    refuse(CLAIM "{what: w, measure: rato}\n", "did you mean 'ratio'");
    refuse(CLAIM "{what: w, measure: ratio}\n", "needs the key 'experiment'");
    refuse(CLAIM "{what: w, experiment: e, measure: ratio, of: fp16}\n", "needs the key 'to'");
    refuse(CLAIM "{what: w, experiment: e, measure: ratio, of: fp16, to: fp16}\n", "one of 'above' and 'below'");
    refuse(CLAIM "{what: w, experiment: e, measure: ratio, of: fp16, to: fp16, above: 1, below: 2}\n",
           "one of 'above' and 'below'");
    refuse(CLAIM "{what: w, experiment: e, measure: ratio, of: fp16, to: fp16, above: one}\n", "must be a number");
    refuse(CLAIM "{what: w, experiment: e, measure: ratio, of: [], to: fp16, above: 1}\n", "of holds 0 entries");
    refuse(CLAIM "{what: w, measure: bench, file: f, above: 1}\n", "file, row or column");
    refuse("baseline: [rtn]\nclaims: [{}]\n", "it must be a method");
    refuse("baseline: rtm\nclaims: [{}]\n", "claims.yaml:1: method 'rtm' is not known, did you mean 'rtn'");
    refuse("claims: [{name: n, claim: c, source: s, tests: [{what: w, measure: bench, file: f, row: r, column: c, "
           "above: 1}]}, {name: n, claim: c, source: s, tests: [{what: w, measure: bench, file: f, row: r, column: c, "
           "above: 1}]}]\n",
           "is there twice");
}

static void test_claims_of_the_tree(void **state)
{
    (void)state;
    struct ptq_claims claims;
    const char *path = ptq_format(arena, "%s/../../experiments/claims/awq-gptq.yaml", PTQ_FIXTURES);
    if (ptq_claims_read(arena, path, &claims, &err)) fail_msg("%s", err.text);
    assert_true(claims.n >= 12);
    assert_true(claims.n_rows >= 10);
    for (int i = 0; i < claims.n_experiments; i++) { /* every one is there to be run */
        const char *yaml = ptq_format(arena, "%s/../../experiments/%s.yaml", PTQ_FIXTURES, claims.experiment[i]);
        if (access(yaml, R_OK)) fail_msg("%s is not there", yaml);
    }
    struct ptq_claim_cells *cells;
    assert_int_equal(ptq_claims_cells(arena, &claims, "/no/such/folder", &cells, &err), PTQ_OK);
    ptq_claims_judge(arena, &claims, cells);
    for (int i = 0; i < claims.n; i++) { /* nothing was run, so nothing is claimed, but for what benchmarks wrote */
        if (claims.claim[i].test[0].n_file) continue;
        assert_int_equal(claims.claim[i].verdict, PTQ_CLAIM_CANNOT);
        assert_non_null(claims.claim[i].test[0].why);
    }
}

/* ---- verdicts ---- */

static struct ptq_claim judged(const char *tests)
{
    struct ptq_claims claims = claims_of(tests);
    struct ptq_claim_cells cells = some_cells();
    ptq_claims_judge(arena, &claims, &cells);
    return claims.claim[0];
}

static void test_verdicts(void **state)
{
    (void)state;
    struct ptq_claim c = judged(RTN_OVER_FP16 "above: 1.2}");
    assert_int_equal(c.verdict, PTQ_CLAIM_HOLDS);
    assert_true(fabs(c.test[0].value - exp(0.5)) < 0.02);
    assert_true(c.test[0].interval.low < c.test[0].value && c.test[0].value < c.test[0].interval.high);
    assert_int_equal(judged(RTN_OVER_FP16 "above: 2}").verdict, PTQ_CLAIM_FAILS);
    assert_int_equal(judged(RTN_OVER_FP16 "below: 2}").verdict, PTQ_CLAIM_HOLDS);
    assert_int_equal(judged(RTN_OVER_FP16 "below: 1.2}").verdict, PTQ_CLAIM_FAILS);
    /* the number itself is never outside its interval, so as a threshold it decides nothing */
    const char *itself = ptq_format(arena, RTN_OVER_FP16 "above: %.12g}", c.test[0].value);
    assert_int_equal(judged(itself).verdict, PTQ_CLAIM_UNDECIDED);
}

/* Orders of GPTQ's sums are replicates: the number is their mean, and its interval holds what they move. */
static void test_orders(void **state)
{
    (void)state;
    enum { ORDERS = 3 };
    static const double nats[ORDERS] = {0.1, 0.2, 0.45};
    struct ptq_claim_cells one = some_cells(), cells = one;
    cells.cell = ptq_new(arena, struct ptq_cell, one.n + ORDERS);
    memcpy(cells.cell, one.cell, sizeof *one.cell * (size_t)one.n);
    cells.n--; /* GPTQ is the last */
    for (int i = 0; i < ORDERS; i++) {
        const char *spec = "gptq:w3,g64,act_order=0";
        if (i) spec = ptq_format(arena, "%s,order=%d", spec, i);
        cells.cell[cells.n++] = make_cell(arena, "no-such-model", spec, nats[i]);
    }
    static const char test[] =
        "{what: w, experiment: e, measure: ratio, of: \"gptq:w3,act_order=0\", to: fp16, above: 1.1}";
    struct ptq_claims alone = claims_of(test), several = claims_of(test);
    ptq_claims_judge(arena, &alone, &one);
    ptq_claims_judge(arena, &several, &cells);
    assert_int_equal(alone.claim[0].verdict, PTQ_CLAIM_HOLDS);
    assert_int_equal(several.claim[0].verdict, PTQ_CLAIM_UNDECIDED);
    assert_true(fabs(several.claim[0].test[0].value - exp(0.25)) < 0.02);
    assert_null(strstr(ptq_claim_number(arena, &alone.claim[0].test[0]), "n ="));
    assert_non_null(strstr(ptq_claim_number(arena, &several.claim[0].test[0]), "] t, n = 3"));
    assert_non_null(strstr(print(&several, PTQ_TABLE_HTML), "] t,&#160;n&#160;=&#160;3<"));
    /* another switch is another method still */
    cells.cell[cells.n - 1] = make_cell(arena, "no-such-model", "gptq:w3,g64,act_order=1,order=2", 0.2);
    struct ptq_claims mixed = claims_of("{what: w, experiment: e, measure: ratio, of: gptq, to: fp16, above: 1.1}");
    ptq_claims_judge(arena, &mixed, &cells);
    assert_int_equal(mixed.claim[0].verdict, PTQ_CLAIM_CANNOT);
    assert_non_null(strstr(mixed.claim[0].test[0].why, "means several cells of e"));
}

/* A text of too few units has no interval, and so no verdict; nor has a loss that is none, or a ratio of two ruins. */
static void test_no_verdict(void **state)
{
    (void)state;
    struct ptq_claims claims = claims_of(RTN_OVER_FP16 "above: 1.2}");
    struct ptq_claim_cells cells = some_cells();
    for (int i = 0; i < cells.n; i++) cells.cell[i].windows = 1, cells.cell[i].tokens = cells.cell[i].window - 1;
    ptq_claims_judge(arena, &claims, &cells);
    assert_int_equal(claims.claim[0].verdict, PTQ_CLAIM_CANNOT);
    assert_true(fabs(claims.claim[0].test[0].value - exp(0.5)) < 0.2); /* which is shown all the same */
    assert_non_null(strstr(claims.claim[0].test[0].why, "no interval"));

    struct ptq_claim c = judged("{what: w, experiment: e, measure: recovered, of: \"awq:w3\", to: \"rtn:w3\", from: "
                                "\"fp16\", above: 50}");
    assert_int_equal(c.verdict, PTQ_CLAIM_CANNOT);
    assert_non_null(strstr(c.test[0].why, "loses nothing"));

    claims = claims_of(RTN_OVER_FP16 "above: 1.2}");
    for (int i = 0; i < cells.n; i++) {
        cells.cell[i] = some_cells().cell[i];
        cells.cell[i].model = PTQ_FIXTURES "/models/llama"; /* of far fewer words than that */
        cells.cell[i].ppl = 1e9;
    }
    ptq_claims_judge(arena, &claims, &cells);
    assert_int_equal(claims.claim[0].verdict, PTQ_CLAIM_CANNOT);
    assert_non_null(strstr(claims.claim[0].test[0].why, "a guess among"));
}

/* A claim is as good as its worst test: fails, cannot, undecided, holds. */
static void test_worst_of_tests(void **state)
{
    (void)state;
    static const char missing[] = "{what: w, experiment: e, measure: ratio, of: \"obq:w3\", to: fp16, above: 1}";
    struct ptq_claim c = judged(ptq_format(arena, "%s, %s", RTN_OVER_FP16 "above: 1.2}", missing));
    assert_int_equal(c.verdict, PTQ_CLAIM_CANNOT);
    assert_int_equal(c.test[0].verdict, PTQ_CLAIM_HOLDS);
    assert_true(isnan(c.test[1].value));
    assert_non_null(strstr(c.test[1].why, "e has no cell 'obq:w3'"));
    c = judged(ptq_format(arena, "%s, %s", missing, RTN_OVER_FP16 "above: 3}"));
    assert_int_equal(c.verdict, PTQ_CLAIM_FAILS);
}

/* Of several models the first is judged, and a note names those that are not. */
static void test_several_models(void **state)
{
    (void)state;
    struct ptq_claims claims = claims_of(RTN_OVER_FP16 "above: 1.2}");
    struct ptq_claim_cells one = some_cells(), three = {.experiment = "e", .n = 3 * one.n};
    static const char *const model[] = {"llama", "opt", "bloom"};
    three.cell = ptq_new(arena, struct ptq_cell, three.n);
    for (int i = 0; i < three.n; i++) {
        three.cell[i] = some_cells().cell[i % one.n];
        three.cell[i].model = three.cell[i].model_sha256 = model[i / one.n];
    }
    ptq_claims_judge(arena, &claims, &one);
    for (int i = 0; i < claims.n_notes; i++) assert_null(strstr(claims.note[i], "is judged"));
    ptq_claims_judge(arena, &claims, &three);
    assert_int_equal(claims.claim[0].verdict, PTQ_CLAIM_HOLDS);
    assert_non_null(strstr(claims.note[0], "Only llama is judged"));
    assert_non_null(strstr(claims.note[0], "the others there: opt, bloom."));
}

static void test_other_measures(void **state)
{
    (void)state;
    struct ptq_claim c = judged("{what: w, experiment: e, measure: recovered, of: \"awq:w3\", to: fp16, from: "
                                "\"rtn:w3\", above: 50}");
    double wanted = 100 * (exp(0.5) - exp(0.2)) / (exp(0.5) - 1);
    assert_true(fabs(c.test[0].value - wanted) < 2);
    assert_int_equal(c.verdict, PTQ_CLAIM_HOLDS);
    c = judged("{what: w, experiment: e, measure: linears_share, of: \"awq:w3\", below: 25}");
    assert_true(fabs(c.test[0].value - 100 * 3.5 / 16) < 1e-9);
    assert_int_equal(c.verdict, PTQ_CLAIM_HOLDS);
    c = judged("{what: w, experiment: e, measure: seconds_ratio, of: \"awq:w3\", to: \"gptq:w3\", below: 2}");
    assert_true(fabs(c.test[0].value - 1) < 1e-9); /* made-up cells take 1.25 s each */
    assert_non_null(strstr(c.test[0].why, "without an interval"));
    c = judged("{what: w, experiment: e, measure: model_share, of: \"awq:w3\", below: 25}");
    assert_int_equal(c.verdict, PTQ_CLAIM_CANNOT); /* the model is not there to be counted */
    c = judged("{what: w, experiment: e, measure: spread, of: \"awq:w3\", below: 25}");
    assert_int_equal(c.verdict, PTQ_CLAIM_CANNOT); /* one cell has no spread */
}

/* Of one benchmark: a run, or the range of several. */
static void test_bench(void **state)
{
    (void)state;
    static const char report[] = "# x\n\n| what | ptq | torch | ratio |\n|---|---|---|---|\n"
                                 "| memory, MiB | 1 | 2 | 2.00 |\n| tokens/s, packed | 30 (29 .. 31) | 10 | 3.04 |\n"
                                 "| prompt | 3 | 1 | 3.00 (2.50 .. 3.50) |\n| head | 3 | 1 | 3.00 (3.5 .. 2.5) |\n";
    const char *test = "{what: w, measure: bench, file: bench.md, row: tokens/s, column: ratio, above: 2.7}";
    setenv("PTQ_HOME", folder, 1);
    struct ptq_claim c = judged(test);
    assert_int_equal(c.verdict, PTQ_CLAIM_CANNOT);
    assert_non_null(strstr(c.test[0].why, "has not been run"));
    assert_int_equal(ptq_write_file(ptq_join(arena, folder, "bench.md"), report, strlen(report), &err), PTQ_OK);
    c = judged(test);
    assert_int_equal(c.verdict, PTQ_CLAIM_HOLDS);
    assert_true(c.test[0].value == 3.04 && isnan(c.test[0].interval.low));
    assert_string_equal(c.test[0].why, "one run, without an interval");
    c = judged("{what: w, measure: bench, file: bench.md, row: prompt, column: ratio, above: 2.7}");
    assert_true(c.test[0].value == 3 && c.test[0].interval.low == 2.5 && c.test[0].interval.high == 3.5);
    assert_null(c.test[0].why);
    assert_int_equal(c.verdict, PTQ_CLAIM_UNDECIDED); /* not in every round */
    c = judged("{what: w, measure: bench, file: bench.md, row: head, column: ratio, above: 2.7}");
    assert_true(isnan(c.test[0].interval.low)); /* upside down is no range */
    c = judged("{what: w, measure: bench, file: bench.md, row: no such row, column: ratio, above: 2.7}");
    assert_int_equal(c.verdict, PTQ_CLAIM_CANNOT);
    unsetenv("PTQ_HOME");
}

/* Reports of several runs: the number is their mean, its interval all that they hold. */
static void test_several_reports(void **state)
{
    (void)state;
    static const char *const row[] = {"| tokens/s | 3.0 |", "| tokens/s | 2.6 |", "| tokens/s | 2.8 (2.5 .. 2.9) |"};
    setenv("PTQ_HOME", folder, 1);
    for (int i = 0; i < 3; i++) {
        const char *text = ptq_format(arena, "| what | ratio |\n|---|---|\n%s\n", row[i]);
        const char *path = ptq_join(arena, folder, ptq_format(arena, "%d.md", i));
        assert_int_equal(ptq_write_file(path, text, strlen(text), &err), PTQ_OK);
    }
#define REPORTS(files) "{what: w, measure: bench, file: [" files "], row: tokens/s, column: ratio, above: 2.7}"
    struct ptq_claims claims = claims_of(REPORTS("0.md, 1.md"));
    struct ptq_claim_test *t = &claims.claim[0].test[0];
    ptq_claims_judge(arena, &claims, NULL);
    assert_true(fabs(t->value - 2.8) < 1e-9 && t->interval.low == 2.6 && t->interval.high == 3);
    assert_int_equal(t->verdict, PTQ_CLAIM_UNDECIDED); /* which either of them alone would decide */
    assert_non_null(strstr(t->why, "mean of 2 runs"));
    assert_non_null(strstr(print(&claims, PTQ_TABLE_TEXT), "w (0.md, 1.md)"));
    struct ptq_claim c = judged(REPORTS("0.md, 1.md, 2.md"));
    assert_true(fabs(c.test[0].value - 2.8) < 1e-9 && c.test[0].interval.low == 2.5 && c.test[0].interval.high == 3);
    c = judged(REPORTS("0.md, none.md"));
    assert_int_equal(c.verdict, PTQ_CLAIM_CANNOT);
    assert_non_null(strstr(c.test[0].why, "none.md is not there"));
    refuse(CLAIM REPORTS("{a: b}") "\n", "it must be a file");
#undef REPORTS
    for (int i = 0; i < 3; i++) unlink(ptq_join(arena, folder, ptq_format(arena, "%d.md", i)));
    unsetenv("PTQ_HOME");
}

/* The mean of several runs' seconds, their range for an interval. */
static void test_seconds_of_runs(void **state)
{
    (void)state;
    struct ptq_claims claims =
        claims_of("{what: w, experiment: e, measure: seconds_ratio, of: \"gptq:g64 calib_windows=8\", to: "
                  "\"gptq:g128\", below: 3}");
    struct ptq_claim_cells cells = drawn_cells(arena);
    for (int i = 0; i < cells.n; i++) cells.cell[i].seconds_quantize = i < 4 ? 2 * i : 1 + i % 2;
    ptq_claims_judge(arena, &claims, &cells);
    const struct ptq_claim_test *t = &claims.claim[0].test[0];
    assert_true(fabs(t->value - 5 / 1.5) < 1e-9);
    assert_true(fabs(t->interval.low - 4. / 2) < 1e-9 && fabs(t->interval.high - 6. / 1) < 1e-9);
    assert_int_equal(t->verdict, PTQ_CLAIM_UNDECIDED);
    assert_string_equal(ptq_claim_number(arena, t), "3.333 times (2.000 .. 6.000)"); /* no 95 % of anything */
    assert_non_null(strstr(print(&claims, PTQ_TABLE_HTML), "(2.000&#160;..&#160;6.000)"));
}

/* Seconds of which those of the statistics are missing, which were in the cache, are a bound: it decides on one side.
 */
static void test_seconds_from_the_cache(void **state)
{
    (void)state;
    static const struct {
        const char *of, *to, *threshold;
        enum ptq_claim_verdict verdict;
    } cases[] = {
        {"awq", "rtn", "below: 2", PTQ_CLAIM_CANNOT}, /* 1 time at least */
        {"awq", "rtn", "below: 0.5", PTQ_CLAIM_FAILS},  {"awq", "rtn", "above: 0.5", PTQ_CLAIM_HOLDS},
        {"awq", "rtn", "above: 2", PTQ_CLAIM_CANNOT},   {"rtn", "awq", "below: 2", PTQ_CLAIM_HOLDS}, /* at most */
        {"rtn", "awq", "below: 0.5", PTQ_CLAIM_CANNOT}, {"rtn", "rtn", "below: 2", PTQ_CLAIM_HOLDS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *test = ptq_format(arena, "{what: w, experiment: e, measure: seconds_ratio, of: %s, to: %s, %s}",
                                      cases[i].of, cases[i].to, cases[i].threshold);
        struct ptq_claim c = judged(test);
        if (c.verdict != cases[i].verdict) fail_msg("%s: %s", test, ptq_claim_verdict_name(c.verdict));
    }
}

/* One cell each: the same number as the bootstrap of differences, and nearly the same interval. */
static void test_contrast_agrees_with_bootstrap(void **state)
{
    (void)state;
    struct ptq_claim c = judged(RTN_OVER_FP16 "above: 1}");
    struct ptq_claim_cells cells = some_cells();
    const struct ptq_cell *pair[] = {&cells.cell[0], &cells.cell[1]};
    struct ptq_estimate e[2];
    assert_int_equal(ptq_bootstrap(pair, 2, 0, &ptq_bootstrap_default, e, &err), PTQ_OK);
    assert_true(fabs(c.test[0].value - e[1].ppl / e[0].ppl) < 1e-9);
    double width = c.test[0].interval.high - c.test[0].interval.low;
    /* made-up noise is paired, so a ratio's interval is far narrower than the perplexities' own */
    assert_true(width * e[0].ppl < 0.5 * (e[1].interval.high - e[1].interval.low));
}

/* ---- printing ---- */

static void test_printed(void **state)
{
    (void)state;
    struct ptq_claims claims;
    struct ptq_claim_cells cells = some_cells();
    const char *text =
        "claims:\n  - {name: n, claim: a | sentence, source: s, tests: [" RTN_OVER_FP16
        "above: 1.2}]}\ncomparison:\n  of: [AWQ, GPTQ]\n  rows:\n    - {what: accuracy, sides: [{measure: "
        "ppl, experiment: e, of: awq}, {measure: ppl, experiment: e, of: obq}]}\n";
    if (read_text(text, &claims)) fail_msg("%s", err.text);
    ptq_claims_judge(arena, &claims, &cells);
    const char *md = print(&claims, PTQ_TABLE_MD);
    assert_non_null(strstr(md, "a \\| sentence"));
    assert_non_null(strstr(md, "holds here"));
    assert_non_null(strstr(md, "not measured"));
    assert_non_null(strstr(md, "not measured: e has no cell 'obq'"));
    json_t *json = json_loads(print(&claims, PTQ_TABLE_JSON), 0, NULL);
    assert_non_null(json);
    json_t *claim = json_array_get(json_object_get(json, "claims"), 0);
    assert_string_equal(json_string_value(json_object_get(claim, "verdict")), "holds here");
    assert_true(json_is_null(
        json_object_get(json_object_get(json_array_get(json_object_get(json, "comparison"), 0), "GPTQ"), "value")));
    json_decref(json);
    assert_int_equal(ptq_claims_print(&claims, PTQ_TABLE_TEX, stdout, &err), PTQ_EUSAGE);
}

/* The page shows the measures as they are. */
static void test_documentation(void **state)
{
    (void)state;
    expect_documented("experiments.md", ptq_claim_measures_print);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(refused),
                                       TEST(claims_of_the_tree),
                                       TEST(verdicts),
                                       TEST(orders),
                                       TEST(no_verdict),
                                       TEST(worst_of_tests),
                                       TEST(several_models),
                                       TEST(other_measures),
                                       TEST(bench),
                                       TEST(several_reports),
                                       TEST(seconds_of_runs),
                                       TEST(seconds_from_the_cache),
                                       TEST(contrast_agrees_with_bootstrap),
                                       TEST(printed),
                                       TEST(documentation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
