/* What is said beside a verdict: under what it was measured, as the cells have it, and which of the methods compared
 * are no better than the baseline. */
#include "judged_claims.h"

#include <jansson.h>

/* ---- conditions ---- */

static void calibrate(struct ptq_cell *cell, int64_t windows)
{
    cell->calib = "folder/calib.txt";
    cell->calib_windows = windows;
    cell->calib_window = 512;
}

/* FP16, RTN, AWQ and GPTQ, all of them with a calibration text, which RTN does not read. */
static struct ptq_claim_cells calibrated_cells(void)
{
    struct ptq_claim_cells cells = some_cells();
    for (int i = 1; i < cells.n; i++) calibrate(&cells.cell[i], 8);
    return cells;
}

#define OF_AWQ_TO_GPTQ "of: \"awq:w3\", to: \"gptq:w3\""
#define AWQ_OVER_GPTQ "{what: w, experiment: e, measure: ratio, " OF_AWQ_TO_GPTQ ", below: 1.3}"

static const char *conditions(const char *tests, const struct ptq_claim_cells *cells)
{
    struct ptq_claims claims = claims_of(tests);
    ptq_claims_judge(arena, &claims, cells);
    return claims.claim[0].conditions;
}

/* What a number was measured under is said as its cells have it, as much as it depends on, each thing once. */
static void test_conditions(void **state)
{
    (void)state;
    struct ptq_claim_cells cells = calibrated_cells();
#define CALIBRATED "w3 g64; calibrated on 8 windows of 512 tokens of calib.txt"
#define EVALUATED "perplexity of 4 windows of 2048 tokens of test.txt"
#define SHARE "{what: w, experiment: e, measure: linears_share, of: \"awq:w3\", below: 25}"
#define SECONDS "{what: w, experiment: e, measure: seconds_ratio, " OF_AWQ_TO_GPTQ ", below: 2}"
    assert_string_equal(conditions(AWQ_OVER_GPTQ, &cells), CALIBRATED "; " EVALUATED);
    assert_string_equal(conditions(RTN_OVER_FP16 "above: 1}", &cells), "w3 g64; " EVALUATED);
    assert_string_equal(conditions(SHARE, &cells), "w3 g64");
    assert_string_equal(conditions(SECONDS, &cells), CALIBRATED "; on 2 threads of a processor");
    assert_string_equal(conditions(SHARE ", " SECONDS ", " AWQ_OVER_GPTQ, &cells),
                        CALIBRATED "; " EVALUATED "; on 2 threads of a processor");
    calibrate(&cells.cell[3], 1);
    for (int i = 0; i < cells.n; i++) cells.cell[i].threads = 1;
    cells.cell[3].device = "a GPU";
    assert_string_equal(conditions(SECONDS, &cells),
                        CALIBRATED " and 1 window of 512 tokens of calib.txt; on 1 thread of "
                                   "a processor and a GPU");
    cells.cell[2].group_size = -1;
    assert_string_equal(conditions(SHARE, &cells), "w3, one group a row");
    assert_string_equal(conditions("{what: w, experiment: e, measure: ppl, of: obq, below: 1}", &cells), "");
    assert_string_equal(conditions("{what: w, measure: bench, file: [a, b], row: r, column: c, below: 1}", &cells),
                        "2 benchmark reports");
    assert_string_equal(conditions("{what: w, measure: bench, file: a, row: r, column: c, below: 1}", &cells),
                        "1 benchmark report");
    struct ptq_claims claims = claims_of(AWQ_OVER_GPTQ);
    ptq_claims_judge(arena, &claims, &cells);
    assert_string_equal(claims.claim[0].test[0].specs, "awq:w3,g64; gptq:w3,g64,act_order=0");
}

/* ---- beside the baseline ---- */

/* AWQ over GPTQ with a baseline, where GPTQ loses so much. */
static struct ptq_claims beside(const char *baseline, const char *test, double gptq_nats)
{
    struct ptq_claims claims;
    struct ptq_claim_cells cells = some_cells();
    cells.cell[3] = make_cell(arena, "no-such-model", cells.cell[3].spec, gptq_nats);
    const char *text = ptq_format(arena,
                                  "%sclaims:\n  - {name: n, claim: c, source: s, tests: [%s]}\ncomparison:\n"
                                  "  of: [AWQ, GPTQ]\n  rows:\n    - {what: accuracy, sides: [{measure: ppl, "
                                  "experiment: e, of: awq}, {measure: ppl, experiment: e, of: gptq}]}\n",
                                  baseline, test);
    if (read_text(text, &claims)) fail_msg("%s", err.text);
    ptq_claims_judge(arena, &claims, &cells);
    return claims;
}

/* Where a claim compares two methods of which one is no better than the baseline, its verdict says so; and a method
 * that is worse is told from one that is not shown to be better. */
static void test_weak(void **state)
{
    (void)state;
    static const char rtn[] = "baseline: rtn\n";
    struct ptq_claims claims = beside(rtn, AWQ_OVER_GPTQ, 0.7);
    const struct ptq_claim *c = &claims.claim[0];
    struct ptq_claim_cells cells = some_cells();
    cells.cell[3] = make_cell(arena, "no-such-model", cells.cell[3].spec, 0.7);
    const char *worse = ptq_format(arena, "GPTQ itself is worse than RTN here: %.2f against %.2f (%s)",
                                   cells.cell[3].ppl, cells.cell[1].ppl, cells.cell[3].spec);
    assert_int_equal(c->verdict, PTQ_CLAIM_HOLDS);
    assert_string_equal(c->but, worse);
    assert_string_equal(claims.but, worse);
    assert_non_null(strstr(c->test[0].why, "gptq:w3,g64,act_order=0 over rtn:w3,g64: 1.2"));
    const char *text = print(&claims, PTQ_TABLE_TEXT);
    const char *line = ptq_format(arena, "holds here, but %s  w3 g64; perplexity of 4", worse);
    if (!strstr(text, line)) fail_msg("no '%s' in\n%s", line, text);
    if (!strstr(text, ptq_format(arena, "n: holds here, but %s (w3 g64; ", worse))) fail_msg("%s", text);
    if (!strstr(text, ptq_format(arena, "\n  %s.\n", worse))) fail_msg("no line under the comparison:\n%s", text);
    json_t *json = json_loads(print(&claims, PTQ_TABLE_JSON), 0, NULL);
    json_t *claim = json_array_get(json_object_get(json, "claims"), 0);
    assert_string_equal(json_string_value(json_object_get(claim, "verdict")), "holds here");
    assert_string_equal(json_string_value(json_object_get(claim, "but")), worse);
    assert_string_equal(json_string_value(json_object_get(json, "comparison_but")), worse);
    json_decref(json);

    claims = beside(rtn, AWQ_OVER_GPTQ, 0.5); /* as much as RTN */
    assert_non_null(strstr(claims.claim[0].but, "GPTQ itself is not shown to be better than RTN here: "));
    claims = beside(rtn, AWQ_OVER_GPTQ, 0.3);
    assert_null(claims.claim[0].but);
    assert_null(claims.claim[0].test[0].why);
    assert_null(claims.but);
    assert_null(strstr(print(&claims, PTQ_TABLE_TEXT), "but GPTQ"));
    assert_null(beside("", AWQ_OVER_GPTQ, 0.7).claim[0].but); /* where no baseline is named */
    claims = beside(rtn, "{what: w, experiment: e, measure: ratio, " OF_AWQ_TO_GPTQ ", above: 1.1}", 0.7);
    assert_non_null(strstr(print(&claims, PTQ_TABLE_TEXT), "does not hold here; GPTQ itself is worse"));
}

/* What compares no perplexities of different methods, or the baseline itself, needs no baseline beside it. */
static void test_not_weighed(void **state)
{
    (void)state;
    static const char *const test[] = {
        "{what: w, experiment: e, measure: ratio, of: \"gptq:w3\", to: fp16, above: 1}",
        "{what: w, experiment: e, measure: ratio, of: \"gptq:w3\", to: \"rtn:w3\", below: 2}",
        "{what: w, experiment: e, measure: ratio, of: [awq, rtn], to: [gptq, fp16], below: 9}",
        "{what: w, experiment: e, measure: seconds_ratio, " OF_AWQ_TO_GPTQ ", below: 9}",
        "{what: w, experiment: e, measure: ratio, of: awq, to: obq, below: 9}",
    };
    for (size_t i = 0; i < sizeof test / sizeof *test; i++) {
        struct ptq_claims claims = beside("baseline: rtn\n", test[i], 0.7);
        if (claims.claim[0].but) fail_msg("%s: %s", test[i], claims.claim[0].but);
    }
}

/* The baseline is a cell of the same experiment that differs in its method alone: of several the best; where there is
 * none, it is said that nobody knows. */
static void test_which_baseline(void **state)
{
    (void)state;
    static const char *const unlike[] = {"rtn:w4,g64", "rtn:w3,g128"};
    struct ptq_claims claims;
    struct ptq_claim_cells cells = some_cells();
    const char *text = "baseline: rtn\nclaims:\n  - {name: n, claim: c, source: s, tests: [" AWQ_OVER_GPTQ "]}\n";
    for (int i = 0; i < 5; i++) {
        if (read_text(text, &claims)) fail_msg("%s", err.text);
        cells.cell[1] = make_cell(arena, "no-such-model", i < 2 ? unlike[i] : "rtn:w3,g64", 0.5);
        if (i == 2) cells.cell[1].tokens_sha256 = "another text's";
        if (i == 3) cells.cell[1].path = "packed";
        if (i == 4) cells.cell[1].config = ptq_format(arena, "schema=1\nmodel_config=%064d\n", 0); /* another model */
        ptq_claims_judge(arena, &claims, &cells);
        assert_string_equal(claims.claim[0].but, "whether AWQ and GPTQ are better than RTN was not measured in e");
        assert_null(claims.claim[0].test[0].why);
    }
    cells.cell[1] = make_cell(arena, "no-such-model", "rtn:w3,g64", 0.5);
    cells.cell[0] = make_cell(arena, "no-such-model", "rtn:w3,g64,range=gptq", 0.1);
    if (read_text(text, &claims)) fail_msg("%s", err.text);
    ptq_claims_judge(arena, &claims, &cells);
    assert_non_null(strstr(claims.claim[0].but, "AWQ itself is worse than RTN here: "));
    assert_non_null(strstr(claims.claim[0].but, "; GPTQ itself is worse than RTN here: "));
    cells.n = 3; /* GPTQ is not there: nothing is compared */
    if (read_text(text, &claims)) fail_msg("%s", err.text);
    ptq_claims_judge(arena, &claims, &cells);
    assert_null(claims.claim[0].but);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(conditions), TEST(weak), TEST(not_weighed), TEST(which_baseline)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
