/* Seeds folded into one row, intervals that know of tokens and seeds, and comparisons of many methods at once, against
 * what is known by other means. */
#include "cells.h"
#include "report.h"
#include "student.h"
#include "table.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
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

/* Values of printed tables of t, and of R's pt and qt. */
static void test_student(void **state)
{
    (void)state;
    static const struct {
        double level, df, t;
    } table[] = {{0.95, 1, 12.7062047362},
                 {0.95, 4, 2.7764451052},
                 {0.99, 2, 9.9248432009},
                 {0.95, 30, 2.0422724563},
                 {0.5, 5, 0.7266868438}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_true(fabs(ptq_student_t(table[i].level, table[i].df) - table[i].t) < 1e-8);
        assert_true(fabs(ptq_student_p(table[i].t, table[i].df) - (1 - table[i].level)) < 1e-10);
        assert_true(ptq_student_p(-table[i].t, table[i].df) == ptq_student_p(table[i].t, table[i].df));
    }
    assert_true(fabs(ptq_student_t(0.95, 1e7) - 1.959964) < 1e-5);
    assert_true(ptq_student_p(0, 3) == 1 && ptq_student_p(INFINITY, 3) == 0);
}

static struct ptq_cell replicate(const char *spec, int64_t seed, double nats)
{
    struct ptq_cell c = make_cell(arena, "m", spec, nats);
    c.seed = seed;
    c.calib = "text";
    c.calib_protocol = "random 8 windows of 512";
    c.calib_sha256 = ptq_format(arena, "%lld", (long long)seed);
    return c;
}

static const struct ptq_report_row *find(const struct ptq_report *report, const char *spec)
{
    for (int i = 0; i < report->n_rows; i++)
        if (strcmp(report->row[i].cell->spec, spec) == 0) return &report->row[i];
    fail_msg("no row %s", spec);
    return NULL;
}

/* Two methods of three seeds each, one of one seed, FP16. */
static struct ptq_cell *make_seeds(int *n)
{
    static const double gptq[] = {0.50, 0.54, 0.49}, awq[] = {0.47, 0.52, 0.465};
    struct ptq_cell *cells = ptq_new(arena, struct ptq_cell, 8);
    *n = 0;
    cells[(*n)++] = make_cell(arena, "m", "fp16", 0);
    for (int s = 0; s < 3; s++) {
        cells[(*n)++] = replicate("gptq:w3,g64,act_order=0", s, gptq[s]);
        cells[(*n)++] = replicate("awq:w3,g64", s, awq[s]);
        cell_compare(&cells[*n - 1], arena, 0.1 * (s + 1));
    }
    cells[(*n)++] = make_cell(arena, "m", "rtn:w3,g64", 1);
    return cells;
}

static double mean_of(const struct ptq_replicates *r)
{
    double sum = 0;
    for (int i = 0; i < r->n; i++) sum += r->cell[i]->ppl;
    return sum / r->n;
}

static void test_folded(void **state)
{
    (void)state;
    int n;
    struct ptq_cell *cells = make_seeds(&n);
    struct ptq_report report;
    for (int s = 0; s < 3; s++) {
        cells[1 + 2 * s].seconds_quantize = 1 + s * s; /* GPTQ's: 1, 2, 5 */
        cells[1 + 2 * s].peak_rss_bytes_quantize = s == 1 ? 700 : 0;
        cells[1 + 2 * s].peak_rss_bytes_eval = 0; /* of none is it known */
        cells[1 + 2 * s].peak_rss_bytes = 800 + s;
    }
    OK(ptq_report_make(arena, cells, n, &report, &err));
    assert_int_equal(report.n_rows, 4);
    const struct ptq_report_row *gptq = find(&report, "gptq:w3,g64,act_order=0"), *awq = find(&report, "awq:w3,g64");
    assert_int_equal(gptq->seeds.n, 3);
    assert_int_equal(find(&report, "rtn:w3,g64")->seeds.n, 1);
    double log_mean = 0, mean = mean_of(&gptq->seeds), squares = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gptq->seeds.cell[i]->seed, i);
        log_mean += log(gptq->seeds.cell[i]->ppl) / 3;
        squares += pow(gptq->seeds.cell[i]->ppl - mean, 2);
    }
    assert_true(fabs(gptq->cell->ppl / exp(log_mean) - 1) < 1e-12);
    assert_true(fabs(gptq->seeds.sd - sqrt(squares / 2)) < 1e-12);
    assert_true(gptq->seeds.lowest == cells[5].ppl && gptq->seeds.highest == cells[3].ppl);
    assert_true(fabs(gptq->seeds.mean_high - mean - 4.302652729911275 * gptq->seeds.sd / sqrt(3)) < 1e-9);
    assert_true(fabs(gptq->cell->seconds_quantize - 8.0 / 3) < 1e-12);
    assert_int_equal(gptq->cell->peak_rss_bytes_quantize, 700);
    assert_int_equal(gptq->cell->peak_rss_bytes_eval, 0);
    assert_int_equal(gptq->cell->peak_rss_bytes, 802);
    assert_null(gptq->cell->kl);
    assert_true(fabs(awq->cell->kl_mean - 0.2) < 1e-12); /* of 0.1, 0.2, 0.3 */
    assert_true(fabs(awq->cell->kl[7] - (cells[2].kl[7] + cells[4].kl[7] + cells[6].kl[7]) / 3) < 1e-6);
}

/* What was measured of the linears is that of all seeds, too; what one of them has not is that of the others. */
static void test_linears_of_all_seeds(void **state)
{
    (void)state;
    struct ptq_linear_report linear[3] = {
        {.name = "a", .weight_error = 0.5, .output_error = 0.25, .groups = 8, .loss = 3, .alpha = -1},
        {.name = "a", .weight_error = 0.25, .output_error = 0.75, .groups = 8, .loss = 6, .alpha = -1},
        {.name = "a", .weight_error = 0.75, .output_error = -1, .groups = 8, .loss = 9, .alpha = -1}};
    struct ptq_cell cells[3];
    const struct ptq_cell *each[3];
    for (int i = 0; i < 3; i++) {
        cells[i] = replicate("gptq:w3,g64,act_order=0", i, 3);
        cells[i].linear = &linear[i], cells[i].n_linears = 1;
        each[i] = &cells[i];
    }
    struct ptq_replicates r = {.cell = each, .n = 3};
    const struct ptq_linear_report *mean = ptq_replicates_mean(arena, &r)->linear;
    assert_true(mean->weight_error == 0.5 && mean->output_error == 0.5 && mean->loss == 6);
    assert_true(mean->groups == 8 && mean->alpha == -1);
    assert_string_equal(mean->name, "a");
    assert_true(linear[0].output_error == 0.25); /* the cell's own */
    cells[2].n_linears = 0;                      /* as nobody else's: the first one's, whole */
    assert_true(ptq_replicates_mean(arena, &r)->linear == &linear[0]);
}

/* The equation of replicates.h, from its parts; here both methods drew the same windows for a seed. */
static void test_two_variations(void **state)
{
    (void)state;
    int n;
    struct ptq_cell *cells = make_seeds(&n);
    for (int paired = 1; paired >= 0; paired--) {
        struct ptq_report report;
        if (!paired) cells[6].calib_sha256 = "others";
        OK(ptq_report_make(arena, cells, n, &report, &err));
        OK(ptq_report_against(arena, &report, "gptq:w3,g64,act_order=0", &err));
        const struct ptq_report_row *a = find(&report, "awq:w3,g64"), *b = find(&report, "gptq:w3,g64,act_order=0");
        const struct ptq_estimate *e = &a->versus->estimate;
        double d[3], mean = 0, seeds = 0, df_seeds = 2;
        for (int i = 0; i < 3; i++) d[i] = a->seeds.cell[i]->ppl - b->seeds.cell[i]->ppl, mean += d[i] / 3;
        for (int i = 0; i < 3; i++) seeds += (d[i] - mean) * (d[i] - mean) / 2 / 3;
        double tokens = e->difference_error * e->difference_error, weighed = seeds * seeds / df_seeds;
        if (!paired) {
            double x = a->seeds.sd * a->seeds.sd / 3, y = b->seeds.sd * b->seeds.sd / 3;
            seeds = x + y, weighed = (x * x + y * y) / 2;
        }
        double all = tokens + seeds, df = all * all / (weighed + tokens * tokens / (double)(e->units - 1));
        assert_true(fabs(e->difference - (a->cell->ppl - b->cell->ppl)) < 1e-4); /* nll in float32 */
        assert_true(fabs(e->difference_interval.high - e->difference - ptq_student_t(0.95, df) * sqrt(all)) < 1e-9);
        assert_true(fabs(e->p - ptq_student_p(e->difference / sqrt(all), df)) < 1e-12);
    }
}

/* Two methods that are equal on average, whose seeds differ: told apart in no more than the 5 % that are promised,
 * where a comparison of one seed each would be wrong most of the time. */
static void test_coverage(void **state)
{
    (void)state;
    enum { TEXTS = 150, SEEDS = 4, WINDOWS = 4, SCORED = 256 };
    int wrong = 0, wrong_alone = 0;
    struct ptq_bootstrap how = {.block = 16, .replicates = 200, .level = 0.95};
    struct ptq_rng rng = ptq_rng_make(1, "coverage");
    for (int text = 0; text < TEXTS; text++) {
        struct ptq_mark mark = ptq_arena_mark(arena);
        struct ptq_replicates r[2] = {{.n = SEEDS}, {.n = SEEDS}};
        const struct ptq_cell *mean[2];
        for (int m = 0; m < 2; m++) {
            r[m].cell = ptq_new(arena, const struct ptq_cell *, SEEDS);
            for (int s = 0; s < SEEDS; s++) {
                struct ptq_cell *c = ptq_new(arena, struct ptq_cell, 1);
                *c = (struct ptq_cell){.model = "m", .spec = "s", .tokens_sha256 = "t", .windows = WINDOWS};
                c->calib_sha256 = m ? "a" : "b";
                c->tokens = WINDOWS * SCORED;
                c->nll = ptq_new(arena, float, c->tokens);
                double effect = 0.05 * normal(&rng), sum = 0;
                for (int64_t t = 0; t < c->tokens; t++) sum += c->nll[t] = (float)(2 + effect + 0.3 * normal(&rng));
                c->nll_mean = sum / (double)c->tokens;
                c->ppl = exp(c->nll_mean);
                r[m].cell[s] = c;
            }
            ptq_replicates_summarise(&r[m]);
            mean[m] = ptq_replicates_mean(arena, &r[m]);
        }
        struct ptq_estimate e[2], alone[2];
        const struct ptq_cell *const first[] = {r[0].cell[0], r[1].cell[0]};
        how.seed = (uint64_t)text;
        OK(ptq_bootstrap(mean, 2, 0, &how, e, &err));
        OK(ptq_bootstrap(first, 2, 0, &how, alone, &err));
        ptq_replicates_widen(&r[1], &r[0], 0.95, &e[1]);
        wrong += e[1].p < 0.05;
        assert_true((e[1].p < 0.05) == (e[1].difference_interval.low > 0 || e[1].difference_interval.high < 0));
        wrong_alone += alone[1].p < 0.05;
        ptq_arena_rewind(arena, mark);
    }
    assert_in_range(wrong, 1, TEXTS / 10);
    assert_in_range(wrong_alone, TEXTS / 2, TEXTS);
}

static const char *print(const struct ptq_cell *cells, int n, const char *against, enum ptq_table_format format)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    OK(ptq_table_print_against(cells, n, against, format, out, &err));
    fclose(out);
    const char *copy = ptq_strdup(arena, text);
    free(text);
    return copy;
}

static void expect_part(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in:\n%s", part, text);
}

/* Holm's adjustment against its definition; the verdicts; the row that all are compared with has none. */
static void test_against(void **state)
{
    (void)state;
    struct ptq_report report;
    struct ptq_cell *cells = make_table1(arena, "m");
    OK(ptq_report_make(arena, cells, TABLE1_CELLS, &report, &err));
    OK(ptq_report_against(arena, &report, "rtn:w3,g64,range=awq", &err)); /* not canonical, and the same */
    for (int i = 0; i < report.n_rows; i++) {
        const struct ptq_versus *v = report.row[i].versus;
        if (i == 1) {
            assert_true(isnan(v->holm) && isnan(v->estimate.p));
            continue;
        }
        double most = 0;
        for (int j = 0; j < report.n_rows; j++) {
            double p = report.row[j].versus->estimate.p;
            if (j == 1 || p > v->estimate.p) continue;
            int as_large = 0; /* comparisons that are not smaller than j's: m - k + 1 of them */
            for (int l = 0; l < report.n_rows; l++) as_large += l != 1 && report.row[l].versus->estimate.p >= p;
            most = fmax(most, fmin(1, as_large * p));
        }
        assert_true(fabs(v->holm - most) < 1e-12);
    }
    const char *text = print(cells, TABLE1_CELLS, "rtn:w3,g64", PTQ_TABLE_TEXT);
    expect_part(text, "m, against rtn:w3,g64\n");
    expect_part(text, "not told apart by these tokens");
    expect_part(text, "lower");
    expect_part(print(cells, TABLE1_CELLS, "rtn:w3,g64", PTQ_TABLE_MD), "Not told apart is no proof of equality.");
    expect_part(print(cells, TABLE1_CELLS, "rtn:w3,g64", PTQ_TABLE_CSV), ",against_p_holm,against_verdict,");
    FILE *out = fopen("/dev/null", "w");
    assert_int_equal(ptq_table_print_against(cells, 3, "gptq:w4", PTQ_TABLE_MD, out, &err), PTQ_EUSAGE);
    expect_part(err.text, "no cell of m is gptq:w4,g128");
    assert_int_equal(ptq_table_print_against(cells, 3, "nosuch", PTQ_TABLE_MD, out, &err), PTQ_EUSAGE);
    fclose(out);
}

/* What a SPEC does not say may be anything, as in claims, where one cell of each model is meant. */
static void test_against_a_part(void **state)
{
    (void)state;
    struct ptq_report report;
    struct ptq_cell cells[] = {make_cell(arena, "m", "fp16", 0), make_cell(arena, "m", "rtn:w3,g64", 1),
                               make_cell(arena, "m", "rtn:w4,g64", 0.5), make_cell(arena, "n", "rtn:w3,g32", 1)};
    cells[3].model_sha256 = "of n";
    OK(ptq_report_make(arena, cells, 3, &report, &err));
    OK(ptq_report_against(arena, &report, "rtn:w3", &err));
    assert_ptr_equal(report.row[2].versus->other->cell, &cells[1]);
    assert_string_equal(report.against, "rtn:w3,g64");
    expect_part(print(cells, 3, "rtn:w3", PTQ_TABLE_CSV), ",\"rtn:w3,g64\",");
    /* Another model has another one. */
    OK(ptq_report_make(arena, cells, 4, &report, &err));
    OK(ptq_report_against(arena, &report, "rtn:w3", &err));
    assert_string_equal(report.against, "rtn:w3");
    const char *text = print(cells, 4, "rtn:w3", PTQ_TABLE_TEXT);
    expect_part(text, "m, against rtn:w3,g64\n");
    expect_part(text, "n, against rtn:w3,g32\n");
    /* Several, none, and the one that the defaults make. */
    cells[2] = make_cell(arena, "m", "rtn:w3,g32", 0.5);
    OK(ptq_report_make(arena, cells, 3, &report, &err));
    assert_int_equal(ptq_report_against(arena, &report, "rtn:w3", &err), PTQ_EUSAGE);
    expect_part(err.text, "several cells of m agree with rtn:w3; there are: rtn:w3,g64 ; rtn:w3,g32");
    assert_int_equal(ptq_report_against(arena, &report, "rtn:w2", &err), PTQ_EUSAGE);
    expect_part(err.text, "no cell of m is rtn:w2,g128; there are: fp16 ; rtn:w3,g64 ; rtn:w3,g32");
    cells[2] = make_cell(arena, "m", "rtn:w3,g128", 0.5);
    OK(ptq_report_against(arena, &report, "rtn:w3", &err));
    assert_ptr_equal(report.row[1].versus->other->cell, &cells[2]);
    /* The same SPEC twice is one, as where all of it is said. */
    cells[2] = make_cell(arena, "m", "rtn:w3,g64", 0.5);
    OK(ptq_report_against(arena, &report, "rtn:w3", &err));
    assert_ptr_equal(report.row[2].versus->other->cell, &cells[1]);
}

static void test_printed(void **state)
{
    (void)state;
    int n;
    struct ptq_cell *cells = make_seeds(&n);
    const char *text = print(cells, n, NULL, PTQ_TABLE_MD);
    expect_part(text, "replicates: sd, range (n) |");
    expect_part(text, "] t, n = 3 |"); /* of few seeds: Student's, and how few */
    expect_part(text, "| perplexity, 95 % interval | above FP16 | above FP16, 95 % interval |");
    expect_part(text, ptq_format(arena, "%.2f..%.2f (3)", cells[5].ppl, cells[3].ppl));
    expect_part(text, "seed 0, 1, 2;");
    expect_part(text, "intervals that hold both variations, of tokens and of replicates: of Student's t");
}

/* Each seed is in what is exported, with its number and its perplexity. */
static void test_each_seed(void **state)
{
    (void)state;
    int n, found = 0;
    struct ptq_cell *cells = make_seeds(&n);
    const char *csv = print(cells, n, NULL, PTQ_TABLE_CSV);
    json_t *json = json_loads(print(cells, n, NULL, PTQ_TABLE_JSON), JSON_REJECT_DUPLICATES, NULL);
    json_t *rows = json_object_get(json, "cells");
    expect_part(csv, ",each_seed,each_ppl,each_id\n");
    expect_part(csv, ",0 1 2,");
    for (size_t r = 0; r < json_array_size(rows); r++) {
        json_t *each = json_object_get(json_array_get(rows, r), "each");
        for (size_t i = 0; i < json_array_size(each); i++, found++) {
            json_t *one = json_array_get(each, i);
            const char *spec = json_string_value(json_object_get(one, "spec"));
            int at = 0;
            while (at < n &&
                   (strcmp(cells[at].spec, spec) || cells[at].seed != json_integer_value(json_object_get(one, "seed"))))
                at++;
            assert_true(at < n);
            assert_true(fabs(json_real_value(json_object_get(one, "ppl")) - cells[at].ppl) < 1e-9);
            expect_part(csv, ptq_format(arena, "%.12g", cells[at].ppl));
        }
    }
    assert_int_equal(found, n);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(student),  TEST(folded),    TEST(two_variations),
                                       TEST(coverage), TEST(against),   TEST(against_a_part),
                                       TEST(printed),  TEST(each_seed), TEST(linears_of_all_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
