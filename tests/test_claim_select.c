/* Which cells a claim speaks of: selectors, what is no replicate; and the contrast of their perplexities against plain
 * arithmetic. */
#include "bootstrap.h"
#include "claim_select.h"
#include "contrast.h"
#include "drawn_cells.h"
#include "progress.h"
#include "replicates.h"

/* Behind the others, whose functions take an arena of that name. */
#include "arena_test.h"

#include <signal.h>

static struct ptq_error err;

/* ---- selectors ---- */

static int selected(const struct ptq_claim_cells *cells, const char *selector)
{
    struct ptq_group group = {0};
    return ptq_claim_select(arena, cells, selector, &group, &err) ? -1 : group.n;
}

static void test_selectors(void **state)
{
    (void)state;
    struct ptq_claim_cells cells = drawn_cells(arena);
    assert_int_equal(selected(&cells, "gptq:w3,g64 calib_windows=least"), 2);
    assert_int_equal(selected(&cells, "gptq:g64,act_order=0 seed=3"), 1);
    assert_int_equal(selected(&cells, "gptq:g128 calib=b"), 2);
    assert_int_equal(selected(&cells, "gptq:g64 calib_windows=most text=test.txt"), 2);
    assert_int_equal(selected(&cells, "gptq:g64 calib_windows=8"), 2);
    assert_int_equal(selected(&cells, "gptq:w4"), -1);
    assert_int_equal(selected(&cells, "gpt:w3"), -1);
    assert_int_equal(selected(&cells, "gptq:g64 windows=2"), -1);
    assert_non_null(strstr(err.text, "the condition 'windows=2' is not known"));
    assert_int_equal(selected(&cells, "gptq:g64 path=fp16"), -1);
    assert_non_null(strstr(err.text, "the condition 'path=fp16' is not known"));
    assert_int_equal(selected(&cells, ""), -1);
    cells.missing = "e.h5: there is no such file";
    assert_int_equal(selected(&cells, "gptq:g64"), -1);
    assert_non_null(strstr(err.text, "make table NAME=e runs it"));
}

/* The selector means cells that are no replicates of one another: told apart by what, and by which condition. */
static void expect_several(const struct ptq_claim_cells *cells, const char *selector, const char *why)
{
    assert_int_equal(selected(cells, selector), -1);
    if (!strstr(err.text, why)) fail_msg("no '%s' in: %s", why, err.text);
}

/* Replicates differ in their seed or the order of their sums and in nothing else; none are pooled by what is not said.
 */
static void test_no_replicates(void **state)
{
    (void)state;
    struct ptq_claim_cells cells = drawn_cells(arena);
    struct ptq_cell *one = &cells.cell[4], *other = &cells.cell[5], as_it_was = *other;
    expect_several(&cells, "gptq:w3 calib_windows=8",
                   "means several cells of e, of SPEC gptq:w3,g64,act_order=0 and gptq:w3,g128,act_order=0; say more");
    expect_several(&cells, "gptq:g64",
                   "several cells of e, of calibration first 2 windows and first 8 windows; say more: calib_windows=");
    other->calib_protocol = "random 8 windows";
    expect_several(&cells, "gptq:g128", "first 8 windows and random 8 windows; each needs a results file of its own");
    *other = as_it_was, other->calib = "";
    expect_several(&cells, "gptq:g128", "of calibration text a/b and none; say more: calib=");
    assert_int_equal(selected(&cells, "gptq:g128 calib=none"), 1);
    *other = as_it_was, other->tokens_sha256 = "another", other->text = "c";
    expect_several(&cells, "gptq:g128", "of evaluation text wikitext-2/test.txt and c; say more: text=");
    assert_int_equal(selected(&cells, "gptq:g128 text=c"), 1);
    *other = as_it_was, other->protocol = "window 512";
    expect_several(&cells, "gptq:g128", "and window 512; each needs a results file of its own");
    other->tokens_sha256 = "of other windows"; /* of the same text, which is not what differs */
    expect_several(&cells, "gptq:g128", "cells of e, of protocol window 2048");
    *other = as_it_was, other->tokens_sha256 = "of another tokenizer";
    expect_several(&cells, "gptq:g128", "of evaluated stream 1111");
    *other = as_it_was, other->path = "packed";
    expect_several(&cells, "gptq:g128", "of path fp32 and packed; say more: path=");
    assert_int_equal(selected(&cells, "gptq:g128 path=packed"), 1);
    other->path = "packed-int8"; /* is meant only where it is named */
    assert_int_equal(selected(&cells, "gptq:g128"), 1);
    assert_int_equal(selected(&cells, "gptq:g128 path=packed-int8"), 1);
    *other = as_it_was, other->device = "A GPU 80GB";
    expect_several(&cells, "gptq:g128", "of device cpu and A GPU 80GB; say more: device=");
    assert_int_equal(selected(&cells, "gptq:g128 device=cuda"), 1);
    assert_int_equal(selected(&cells, "gptq:g128 device=cpu"), 1);
    one->device = "Another GPU";
    expect_several(&cells, "gptq:g128 device=cuda", "Another GPU and A GPU 80GB; each needs a results file of its own");
}

/* ---- contrasts ---- */

static double first_less_second(const double *nll, const void *context)
{
    (void)context;
    return nll[0] - nll[1];
}

static void test_contrast(void **state)
{
    (void)state;
    struct ptq_claim_cells c = drawn_cells(arena);
    const struct ptq_cell *a[] = {&c.cell[2], &c.cell[3]}, *b[] = {&c.cell[0]};
    struct ptq_group group[] = {{a, 2}, {b, 1}};
    struct ptq_interval pair, alone;
    double value;
    assert_int_equal(ptq_contrast(group, 2, &ptq_bootstrap_default, first_less_second, NULL, &value, &pair, &err),
                     PTQ_OK);
    double wanted = (c.cell[2].nll_mean + c.cell[3].nll_mean) / 2 - c.cell[0].nll_mean;
    assert_true(fabs(value - wanted) < 1e-6);
    assert_true(pair.low < value && value < pair.high);
    /* the two cells are 0.1 nats apart, which makes the interval wider than that of one alone */
    group[0].n = 1;
    assert_int_equal(ptq_contrast(group, 2, &ptq_bootstrap_default, first_less_second, NULL, &value, &alone, &err),
                     PTQ_OK);
    assert_true(pair.high - pair.low > alone.high - alone.low);
    c.cell[0].tokens_sha256 = "another";
    assert_int_equal(ptq_contrast(group, 2, &ptq_bootstrap_default, first_less_second, NULL, &value, &alone, &err),
                     PTQ_EINPUT);
}

static double perplexity(const double *nll, const void *context)
{
    (void)context;
    return exp(nll[0]);
}

/* One comparison has one interval, in a claim as in a table: of one cell, and of several draws. */
static void test_contrast_is_the_tables(void **state)
{
    (void)state;
    struct ptq_claim_cells c = drawn_cells(arena);
    struct ptq_replicates r = {.cell = ptq_new(arena, const struct ptq_cell *, 2), .n = 1};
    r.cell[0] = &c.cell[2];
    r.cell[1] = &c.cell[3];
    for (; r.n <= 2; r.n++) {
        struct ptq_group group = {r.cell, r.n};
        ptq_replicates_summarise(&r);
        const struct ptq_cell *mean = ptq_replicates_mean(arena, &r);
        struct ptq_estimate e;
        struct ptq_interval here;
        double value;
        assert_int_equal(ptq_bootstrap(&mean, 1, -1, &ptq_bootstrap_default, &e, &err), PTQ_OK);
        ptq_replicates_widen(&r, NULL, ptq_bootstrap_default.level, &e);
        assert_int_equal(ptq_contrast(&group, 1, &ptq_bootstrap_default, perplexity, NULL, &value, &here, &err),
                         PTQ_OK);
        double near = 1e-5 * value; /* nll of a mean is float32 */
        assert_true(fabs(value - e.ppl) < near && here.high > here.low);
        assert_true(fabs(here.low - e.interval.low) < near && fabs(here.high - e.interval.high) < near);
    }
}

/* The last test, since the signal stays. */
static void test_stopped(void **state)
{
    (void)state;
    struct ptq_claim_cells c = drawn_cells(arena);
    const struct ptq_cell *cell[] = {&c.cell[0]};
    struct ptq_group group = {cell, 1};
    struct ptq_interval interval;
    double value;
    ptq_catch_signals();
    raise(SIGINT);
    assert_int_equal(ptq_contrast(&group, 1, &ptq_bootstrap_default, perplexity, NULL, &value, &interval, &err),
                     PTQ_EINTERRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(selectors), TEST(no_replicates), TEST(contrast),
                                       TEST(contrast_is_the_tables), TEST(stopped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
