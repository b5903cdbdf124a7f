/* Intervals against what is known by other means: normal theory, pairing, dependence, and the time they may take. */
#include "bootstrap.h"
#include "cells.h"
#include "pool.h"
#include "quantile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>

#include "arena_test.h" /* behind the others, whose functions take an arena of that name */

static struct ptq_error err;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

static double normal(struct ptq_rng *rng)
{
    return sqrt(-2 * log(1 - ptq_rng_uniform(rng))) * cos(6.283185307179586 * ptq_rng_uniform(rng));
}

static struct ptq_cell blank(int64_t windows, int64_t scored)
{
    struct ptq_cell c = {.model = "m", .spec = "s", .tokens_sha256 = "t", .windows = windows};
    c.tokens = windows * scored;
    c.nll = ptq_new(arena, float, c.tokens);
    return c;
}

/* A reference and a cell that is the reference plus independent normal differences. */
static void make_pair(int64_t windows, int64_t scored, double mean, double sd, uint64_t seed, struct ptq_cell *pair)
{
    struct ptq_rng rng = ptq_rng_make(seed, "pair");
    for (int i = 0; i < 2; i++) pair[i] = blank(windows, scored);
    for (int64_t t = 0; t < pair[0].tokens; t++) {
        pair[0].nll[t] = (float)(2 + 0.7 * normal(&rng));
        pair[1].nll[t] = pair[0].nll[t] + (float)(mean + sd * normal(&rng));
    }
}

/* The standard error of ppl_1 - ppl_0 by the delta method: of the mean of ppl_1 x_1 - ppl_0 x_0. */
static double analytic_error(const struct ptq_cell *pair, const struct ptq_estimate *e)
{
    double sum = 0, squares = 0, n = (double)pair[0].tokens;
    for (int64_t t = 0; t < pair[0].tokens; t++) {
        double x = e[1].ppl * pair[1].nll[t] - e[0].ppl * pair[0].nll[t];
        sum += x;
        squares += x * x;
    }
    return sqrt((squares / n - sum / n * (sum / n)) / n);
}

static void run_pair(const struct ptq_cell *pair, const struct ptq_bootstrap *how, struct ptq_estimate *out)
{
    const struct ptq_cell *const cells[] = {&pair[0], &pair[1]};
    OK(ptq_bootstrap(cells, 2, 0, how, out, &err));
}

static void test_against_normal_theory(void **state)
{
    (void)state;
    struct ptq_cell pair[2];
    struct ptq_estimate e[2];
    struct ptq_bootstrap how = ptq_bootstrap_default;
    how.block = 64; /* independent tokens: any unit is right, and short ones give a steadier answer */
    make_pair(20, 1000, 0.3, 0.5, 1, pair);
    run_pair(pair, &how, e);
    double width = e[1].difference_interval.high - e[1].difference_interval.low;
    assert_true(fabs(width / (2 * 1.959964 * analytic_error(pair, e)) - 1) <
                0.1); /* 312 units: the sd itself is +-4 % */
    assert_true(e[1].difference_interval.low < e[1].difference && e[1].difference < e[1].difference_interval.high);
    double own = e[0].interval.high - e[0].interval.low;
    assert_true(fabs(own / (2 * 1.959964 * e[0].ppl * 0.7 / sqrt(20000)) - 1) < 0.1);
}

/* Between the two nearest values: the p-th of the way from the first to the last. */
static void test_quantiles(void **state)
{
    (void)state;
    const double value[] = {1, 2, 4, 8, 16};
    assert_true(ptq_quantile(value, 5, 0) == 1 && ptq_quantile(value, 5, 1) == 16);
    assert_true(ptq_quantile(value, 5, 0.25) == 2 && ptq_quantile(value, 5, 0.5) == 4);
    assert_true(ptq_quantile(value, 5, 0.625) == 6 && ptq_quantile(value, 1, 0.9) == 1);
}

/* Of two replicates everything is known: the error is their distance / sqrt(2), the interval `level` of it. */
static void test_two_replicates(void **state)
{
    (void)state;
    struct ptq_cell pair[2];
    struct ptq_estimate e[2];
    struct ptq_bootstrap how = {.block = 16, .replicates = 2, .seed = 3, .level = 0.9};
    make_pair(4, 512, 0.2, 0.5, 5, pair);
    run_pair(pair, &how, e);
    double distance = (e[1].interval.high - e[1].interval.low) / how.level;
    assert_true(distance > 0 && fabs(e[1].error / (distance / sqrt(2)) - 1) < 1e-9);
}

/* The interval of 95 % holds the truth in 95 of 100 texts. */
static void test_coverage(void **state)
{
    (void)state;
    int inside = 0, texts = 400;
    struct ptq_bootstrap how = {.block = 16, .replicates = 600, .level = 0.95};
    double truth = exp(2 + 0.2) - exp(2);
    for (int i = 0; i < texts; i++) {
        struct ptq_mark mark = ptq_arena_mark(arena);
        struct ptq_cell pair[2];
        struct ptq_estimate e[2];
        make_pair(4, 512, 0.2, 0.5, (uint64_t)i, pair);
        how.seed = (uint64_t)i;
        run_pair(pair, &how, e);
        inside += e[1].difference_interval.low <= truth && truth <= e[1].difference_interval.high;
        ptq_arena_rewind(arena, mark);
    }
    assert_in_range(inside, texts * 91 / 100, texts * 98 / 100);
}

/* Neighbours that depend on each other: single tokens promise too much, blocks of 64 come near the truth. */
static void test_dependence(void **state)
{
    (void)state;
    struct ptq_cell pair[2] = {blank(20, 2048), blank(20, 2048)};
    struct ptq_rng rng = ptq_rng_make(5, "dependent");
    double x = 0, rho = 0.9;
    for (int64_t t = 0; t < pair[0].tokens; t++) {
        x = rho * x + sqrt(1 - rho * rho) * normal(&rng);
        pair[0].nll[t] = 2;
        pair[1].nll[t] = (float)(2.1 + 0.3 * x);
    }
    struct ptq_bootstrap tokens = ptq_bootstrap_default, blocks = ptq_bootstrap_default;
    struct ptq_estimate e[2];
    tokens.block = 1;
    blocks.block = 64;
    tokens.replicates = blocks.replicates = 1000;
    run_pair(pair, &tokens, e);
    double by_tokens = e[1].difference_interval.high - e[1].difference_interval.low;
    run_pair(pair, &blocks, e);
    double by_blocks = e[1].difference_interval.high - e[1].difference_interval.low;
    double truth = 2 * 1.96 * e[1].ppl * 0.3 * sqrt((1 + rho) / (1 - rho) / (double)pair[0].tokens);
    assert_true(by_tokens < 0.35 * truth);
    assert_true(by_blocks > 0.8 * truth && by_blocks < 1.15 * truth);
}

static void test_pairing(void **state)
{
    (void)state;
    struct ptq_cell *cell = make_table1(arena, "m");
    const struct ptq_cell *const cells[] = {&cell[0], &cell[0], &cell[1]};
    struct ptq_estimate e[3];
    OK(ptq_bootstrap(cells, 3, 0, &ptq_bootstrap_default, e, &err));
    for (int i = 0; i < 2; i++) { /* the same numbers on the same draw: nothing is left */
        assert_true(e[i].difference == 0 && e[i].difference_interval.low == 0 && e[i].difference_interval.high == 0);
    }
    assert_true(e[0].interval.low < e[0].ppl && e[0].ppl < e[0].interval.high);
    OK(ptq_bootstrap(cells, 3, -1, &ptq_bootstrap_default, e, &err));
    assert_true(isnan(e[2].difference) && isnan(e[2].difference_interval.low));
    assert_true(e[2].interval.low < e[2].ppl);
}

/* Whatever number of threads, whichever other cells are in the call: the same numbers. */
static void test_same_numbers(void **state)
{
    (void)state;
    struct ptq_cell *cell = make_table1(arena, "m");
    const struct ptq_cell *cells[25];
    struct ptq_estimate one[25], two[25];
    for (int i = 0; i < 25; i++) cells[i] = &cell[i % TABLE1_CELLS];
    ptq_pool_start(1);
    OK(ptq_bootstrap(cells, 25, 0, &ptq_bootstrap_default, one, &err));
    ptq_pool_start(3);
    OK(ptq_bootstrap(cells, 25, 0, &ptq_bootstrap_default, two, &err));
    ptq_pool_stop();
    assert_memory_equal(one, two, sizeof one);
    assert_memory_equal(&one[1], &one[12], sizeof *one); /* the same cell in another batch */
    OK(ptq_bootstrap(cells, 2, 0, &ptq_bootstrap_default, two, &err));
    assert_memory_equal(one, two, 2 * sizeof *one);
    struct ptq_bootstrap other = ptq_bootstrap_default;
    other.seed = 1;
    OK(ptq_bootstrap(cells, 2, 0, &other, two, &err));
    assert_true(one[1].interval.low != two[1].interval.low);
}

static void test_odd_cells(void **state)
{
    (void)state;
    struct ptq_cell pair[2];
    struct ptq_estimate e[2];
    make_pair(1, 100, 0.1, 0.1, 1, pair); /* one unit: no interval */
    run_pair(pair, &ptq_bootstrap_default, e);
    assert_true(isfinite(e[1].difference) && isnan(e[1].difference_interval.low) && isnan(e[1].interval.high));
    make_pair(8, 1000, 0.1, 0.1, 1, pair);
    pair[1].nll[77] = INFINITY; /* a model that gave a token no chance at all */
    run_pair(pair, &ptq_bootstrap_default, e);
    assert_true(isinf(e[1].ppl) && isinf(e[1].difference) && isinf(e[1].interval.high));
    assert_false(isnan(e[1].difference_interval.low));
    const struct ptq_cell *const cells[] = {&pair[0], &pair[1]};
    pair[1].tokens_sha256 = "u";
    assert_int_equal(ptq_bootstrap(cells, 2, 0, &ptq_bootstrap_default, e, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "did not score the same tokens"));
}

/* Eleven cells of the paper's length: processor time of a table must not be noticed. */
static void test_time(void **state)
{
    (void)state;
    struct ptq_cell cell = blank(147, 2047);
    const struct ptq_cell *cells[11];
    struct ptq_estimate e[11];
    struct ptq_rng rng = ptq_rng_make(1, "time");
    for (int64_t t = 0; t < cell.tokens; t++) cell.nll[t] = (float)(3 * ptq_rng_uniform(&rng));
    for (int i = 0; i < 11; i++) cells[i] = &cell;
    clock_t begin = clock();
    OK(ptq_bootstrap(cells, 11, 0, &ptq_bootstrap_default, e, &err));
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("11 cells of 300 909 tokens: %.2f s\n", seconds);
    assert_true(seconds < 10); /* 0.3 s in a Release build; sanitizers and busy machines are slower */
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(against_normal_theory),
                                       TEST(quantiles),
                                       TEST(two_replicates),
                                       TEST(coverage),
                                       TEST(dependence),
                                       TEST(pairing),
                                       TEST(same_numbers),
                                       TEST(odd_cells),
                                       TEST(time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
