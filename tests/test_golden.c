/* The golden values of ../shared/golden/models: logits, statistics, codes, perplexities of the reference
 * implementations, for every family that is known here. Skipped, by name, where the folder is not there. */
#include "apply.h"
#include "forward.h"
#include "h5.h"
#include "ops.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { WINDOW = 128 };

struct golden {
    const char *name;
    struct ptq_arena *arena;
    struct ptq_model model;
    struct ptq_h5 *file;
    struct ptq_windows eval, calib;
    struct ptq_model_stats stats;
    struct ptq_error err;
};

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s: %s", g->name, g->err.text);                                                            \
    } while (0)

static void read_windows(struct golden *g, const char *name, int64_t max, struct ptq_windows *out)
{
    int64_t *id, n;
    OK(ptq_h5_ints(g->file, "/", name, g->arena, &id, &n, &g->err));
    out->length = WINDOW;
    out->n = n / WINDOW < max ? n / WINDOW : max;
    out->id = ptq_new(g->arena, int32_t, out->n * WINDOW);
    for (int64_t i = 0; i < out->n * WINDOW; i++) out->id[i] = (int32_t)id[i];
}

static void open_golden(struct golden *g, const char *name)
{
    double windows;
    *g = (struct golden){.name = name, .arena = ptq_arena_make("golden")};
    const char *folder = ptq_format(g->arena, "%s/models/%s", PTQ_GOLDEN, name);
    OK(ptq_model_open(g->arena, folder, name, &g->model, &g->err));
    OK(ptq_h5_open(ptq_join(g->arena, folder, "golden.h5"), &g->file, &g->err));
    OK(ptq_h5_real(g->file, "/", "windows", &windows, &g->err));
    read_windows(g, "tokens", (int64_t)windows, &g->eval);
    read_windows(g, "calib_tokens", 1 << 20, &g->calib);
    OK(ptq_stats_gather(g->arena, &g->model, &g->calib, &g->stats, &g->err));
}

static void close_golden(struct golden *g)
{
    ptq_h5_close(g->file);
    ptq_model_close(&g->model);
    ptq_arena_free(g->arena);
}

static void check_logits(struct golden *g)
{
    struct ptq_forward f;
    float *want;
    int64_t rows, columns;
    double worst = 0;
    OK(ptq_h5_floats(g->file, "/", "logits", g->arena, &want, &rows, &columns, &g->err));
    assert_int_equal(rows, WINDOW);
    assert_int_equal(columns, g->model.config.vocab);
    float *got = ptq_new(g->arena, float, rows *columns);
    ptq_forward_make(g->arena, &g->model, g->eval.id, 1, WINDOW, &f);
    OK(ptq_forward_embed(&f, &g->err));
    for (int64_t b = 0; b < g->model.config.blocks; b++) {
        struct ptq_block block;
        OK(ptq_block_load(&g->model, b, g->arena, &block, &g->err));
        OK(ptq_forward_block(&f, &block, b, NULL, &g->err));
    }
    OK(ptq_forward_logits(&f, g->arena, got, &g->err));
    for (int64_t i = 0; i < rows * columns; i++)
        worst = fmax(worst, fabs((double)got[i] - want[i]) / (2e-4 + 1e-4 * fabs(want[i])));
    printf("%-8s logits: worst %.3f of the bound 2e-4 + 1e-4 |x|\n", g->name, worst);
    assert_true(worst <= 1);
}

static void check_ppl(struct golden *g, const char *spec_text, const char *attribute, double bound)
{
    struct ptq_spec spec;
    struct ptq_cell cell = {0};
    double want;
    OK(ptq_h5_real(g->file, "/", attribute, &want, &g->err));
    OK(ptq_spec_parse(spec_text, &spec, &g->err));
    OK(ptq_evaluate(&g->model, &spec, 0, &g->stats, &g->calib, &g->eval, g->arena, &cell, &g->err));
    double off = fabs(cell.ppl - want) / want;
    printf("%-8s %-50s ppl %.6f, golden %.6f, off by %.1e\n", g->name, spec_text, cell.ppl, want, off);
    if (!(off <= bound)) fail_msg("%s %s: off by more than %g", g->name, spec_text, bound);
}

static void check_cells(struct golden *g)
{
    check_ppl(g, "fp16", "fp_ppl", 1e-4);
    for (int w = 3; w <= 4; w++)
        for (int i = 0; i < 3; i++) {
            static const int group[] = {-1, 32, 128};
            check_ppl(g, ptq_format(g->arena, "rtn:w%d,g%d", w, group[i]),
                      ptq_format(g->arena, "rtn_w%d_g%d_ppl", w, group[i]), 2e-4);
        }
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 3; i++) {
            static const char *const fraction[] = {"0.01", "0.03", "0.1"}, *const select[] = {"activation", "weight"};
            check_ppl(g, ptq_format(g->arena, "salient:w3,g32,select=%s,fraction=%s", select[s], fraction[i]),
                      ptq_format(g->arena, "salient_w3_g32_%s_%s_ppl", select[s], fraction[i]), 2e-4);
        }
}

static void check_mean_abs(struct golden *g, const struct ptq_block *block, int role)
{
    float *want;
    int64_t rows, columns;
    const struct ptq_stats *s = &g->stats.input[0][ptq_role_input[role]];
    const char *group = ptq_format(g->arena, "/stats/%s", block->linear[role].name);
    OK(ptq_h5_floats(g->file, group, "mean_abs", g->arena, &want, &rows, &columns, &g->err));
    assert_int_equal(rows * columns, s->k);
    for (int64_t k = 0; k < s->k; k++)
        if (fabs(s->absmean[k] - want[k]) > 1e-4 * fabs(want[k]) + 1e-6)
            fail_msg("%s %s: mean |x_%ld| is %g, golden %g", g->name, block->linear[role].name, (long)k,
                     (double)s->absmean[k], (double)want[k]);
}

/* How far w / scale is from a tie of rounding. */
static double from_tie(double w, double scale)
{
    double steps = w / scale;
    return fabs(steps - floor(steps) - 0.5);
}

static int64_t compare_codes(struct golden *g, const struct ptq_linear *l, const struct ptq_qmat *q, const float *got,
                             const float *want)
{
    int64_t ties = 0, size = q->grid.group_size;
    for (int64_t i = 0; i < l->n * l->k; i++) {
        double scale = q->scale[i / l->k * q->n_groups + i % l->k / size];
        if (fabs(got[i] - want[i]) < 0.01 * scale) continue;
        if (from_tie(l->w[i], scale) > 1e-5)
            fail_msg("%s %s[%ld]: %g, golden %g", g->name, l->name, (long)i, (double)got[i], (double)want[i]);
        ties++;
    }
    return ties;
}

static void check_codes(struct golden *g, int w_bit)
{
    struct ptq_block original, block;
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    struct ptq_linear_report report[PTQ_N_ROLE];
    struct ptq_spec spec;
    int n = 0;
    int64_t ties = 0;
    OK(ptq_spec_parse(ptq_format(g->arena, "rtn:w%d,g32", w_bit), &spec, &g->err));
    OK(ptq_block_load(&g->model, 0, g->arena, &original, &g->err));
    OK(ptq_block_load(&g->model, 0, g->arena, &block, &g->err));
    OK(ptq_apply(&spec, 0, NULL, &block, g->arena, g->arena, q, report, &n, &g->err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        float *want;
        int64_t rows, columns;
        if (!block.linear[role].n) continue;
        OK(ptq_h5_floats(g->file, ptq_format(g->arena, "/rtn/w%d_g32/%s", w_bit, block.linear[role].name), "q",
                         g->arena, &want, &rows, &columns, &g->err));
        assert_int_equal(rows, block.linear[role].n);
        assert_int_equal(columns, block.linear[role].k);
        ties += compare_codes(g, &original.linear[role], &q[role], block.linear[role].w, want);
        check_mean_abs(g, &block, role);
    }
    printf("%-8s w%d g32 codes: equal but for %ld ties\n", g->name, w_bit, (long)ties);
}

static void check_family(const char *name)
{
    struct golden g;
    open_golden(&g, name);
    check_logits(&g);
    check_codes(&g, 3);
    check_codes(&g, 4);
    check_cells(&g);
    close_golden(&g);
}

static void skip_without_golden(void)
{
    if (access(PTQ_GOLDEN "/models", R_OK) == 0) return;
    printf("skipped: %s/models is not there\n", PTQ_GOLDEN);
    skip();
}

static void test_llama(void **state)
{
    (void)state;
    skip_without_golden();
    check_family("llama");
}

static void test_llama3(void **state)
{
    (void)state;
    skip_without_golden();
    check_family("llama3");
}

static void test_opt(void **state)
{
    (void)state;
    skip_without_golden();
    check_family("opt");
}

static void test_opt350(void **state)
{
    (void)state;
    skip_without_golden();
    check_family("opt350");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_llama), cmocka_unit_test(test_llama3),
                                       cmocka_unit_test(test_opt), cmocka_unit_test(test_opt350)};
    ptq_progress_quiet(1);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
