/* The golden values of ../shared/golden/models: logits, statistics, codes, perplexities of the reference
 * implementations, for every family that is known here. Skipped, by name, where the folder is not there. */
#include "apply.h"
#include "forward.h"
#include "golden_family.h"
#include "ops.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_logits(struct family *f)
{
    struct ptq_forward forward;
    float *want;
    int64_t rows, columns;
    double worst = 0;
    OK(ptq_h5_floats(f->g.file, "/", "logits", f->g.arena, &want, &rows, &columns, &f->g.err));
    assert_int_equal(rows, WINDOW);
    assert_int_equal(columns, f->model.config.vocab);
    float *got = ptq_new(f->g.arena, float, rows *columns);
    ptq_forward_make(f->g.arena, &f->model, f->eval.id, 1, WINDOW, &forward);
    OK(ptq_forward_embed(&forward, &f->g.err));
    for (int64_t b = 0; b < f->model.config.blocks; b++) {
        struct ptq_block block;
        OK(ptq_block_load(&f->model, b, f->g.arena, &block, &f->g.err));
        OK(ptq_forward_block(&forward, &block, b, NULL, &f->g.err));
    }
    OK(ptq_forward_logits(&forward, f->g.arena, got, &f->g.err));
    for (int64_t i = 0; i < rows * columns; i++)
        worst = fmax(worst, fabs((double)got[i] - want[i]) / (2e-4 + 1e-4 * fabs(want[i])));
    printf("%-8s logits: worst %.3f of the bound 2e-4 + 1e-4 |x|\n", f->g.name, worst);
    assert_true(worst <= 1);
}

static void check_ppl(struct family *f, const struct ptq_model_stats *stats, const char *spec_text,
                      const char *attribute, double bound)
{
    struct ptq_spec spec;
    struct ptq_cell cell = {0};
    double want;
    OK(ptq_h5_real(f->g.file, "/", attribute, &want, &f->g.err));
    OK(ptq_spec_parse(spec_text, &spec, &f->g.err));
    OK(ptq_evaluate(&f->model, &spec, 0, stats, NULL, &f->eval, f->g.arena, &cell, &f->g.err));
    double off = fabs(cell.ppl - want) / want;
    printf("%-8s %-50s ppl %.6f, golden %.6f, off by %.1e\n", f->g.name, spec_text, cell.ppl, want, off);
    if (!(off <= bound)) fail_msg("%s %s: off by more than %g", f->g.name, spec_text, bound);
}

static void check_cells(struct family *f, const struct ptq_model_stats *stats)
{
    check_ppl(f, stats, "fp16", "fp_ppl", 1e-4);
    for (int w = 3; w <= 4; w++)
        for (int i = 0; i < 3; i++) {
            static const int group[] = {-1, 32, 128};
            check_ppl(f, stats, ptq_format(f->g.arena, "rtn:w%d,g%d", w, group[i]),
                      ptq_format(f->g.arena, "rtn_w%d_g%d_ppl", w, group[i]), 2e-4);
        }
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 3; i++) {
            static const char *const fraction[] = {"0.01", "0.03", "0.1"}, *const select[] = {"activation", "weight"};
            check_ppl(f, stats, ptq_format(f->g.arena, "salient:w3,g32,select=%s,fraction=%s", select[s], fraction[i]),
                      ptq_format(f->g.arena, "salient_w3_g32_%s_%s_ppl", select[s], fraction[i]), 2e-4);
        }
}

static void check_mean_abs(struct family *f, const struct ptq_model_stats *stats, const struct ptq_block *block,
                           int role)
{
    float *want;
    int64_t rows, columns;
    const struct ptq_stats *s = &stats->input[0][ptq_role_input[role]];
    const char *group = ptq_format(f->g.arena, "/stats/%s", block->linear[role].name);
    OK(ptq_h5_floats(f->g.file, group, "mean_abs", f->g.arena, &want, &rows, &columns, &f->g.err));
    assert_int_equal(rows * columns, s->k);
    for (int64_t k = 0; k < s->k; k++)
        if (fabs(s->absmean[k] - want[k]) > 1e-4 * fabs(want[k]) + 1e-6)
            fail_msg("%s %s: mean |x_%ld| is %g, golden %g", f->g.name, block->linear[role].name, (long)k,
                     (double)s->absmean[k], (double)want[k]);
}

/* Entries of X^T X against the size that Cauchy and Schwarz allow them. */
static void check_gram(struct family *f, const struct ptq_model_stats *stats, const struct ptq_block *block, int role)
{
    float *want;
    int64_t rows, columns;
    const struct ptq_moments *m = &stats->moments[0][ptq_role_input[role]];
    OK(ptq_h5_floats(f->g.file, ptq_format(f->g.arena, "/stats/%s", block->linear[role].name), "gram", f->g.arena,
                     &want, &rows, &columns, &f->g.err));
    assert_int_equal(rows, m->k);
    assert_int_equal(columns, m->k);
    for (int64_t i = 0; i < m->k; i++)
        for (int64_t j = i; j < m->k; j++) {
            double size = sqrt((double)want[i * m->k + i] * want[j * m->k + j]);
            if (fabs((double)m->gram[i * m->k + j] - want[i * m->k + j]) > 1e-4 * size + 1e-6)
                fail_msg("%s %s: Gram matrix [%ld, %ld] is %g, golden %g", f->g.name, block->linear[role].name, (long)i,
                         (long)j, (double)m->gram[i * m->k + j], (double)want[i * m->k + j]);
        }
}

/* How far w / scale is from a tie of rounding. */
static double from_tie(double w, double scale)
{
    double steps = w / scale;
    return fabs(steps - floor(steps) - 0.5);
}

static int64_t compare_codes(struct family *f, const struct ptq_linear *l, const struct ptq_qmat *q, const float *got,
                             const float *want)
{
    int64_t ties = 0, size = q->grid.group_size;
    for (int64_t i = 0; i < l->n * l->k; i++) {
        double scale = q->scale[i / l->k * q->n_groups + i % l->k / size];
        if (fabs(got[i] - want[i]) < 0.01 * scale) continue;
        if (from_tie(l->w[i], scale) > 1e-5)
            fail_msg("%s %s[%ld]: %g, golden %g", f->g.name, l->name, (long)i, (double)got[i], (double)want[i]);
        ties++;
    }
    return ties;
}

static void check_codes(struct family *f, const struct ptq_model_stats *stats, int w_bit)
{
    struct ptq_block original, block;
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    struct ptq_linear_report report[PTQ_N_ROLE];
    struct ptq_spec spec;
    int n = 0;
    int64_t ties = 0;
    OK(ptq_spec_parse(ptq_format(f->g.arena, "rtn:w%d,g32", w_bit), &spec, &f->g.err));
    OK(ptq_block_load(&f->model, 0, f->g.arena, &original, &f->g.err));
    OK(ptq_block_load(&f->model, 0, f->g.arena, &block, &f->g.err));
    OK(ptq_apply(&spec, 0, NULL, &block, f->g.arena, f->g.arena, q, report, &n, &f->g.err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        if (!block.linear[role].n) continue;
        const char *group = ptq_format(f->g.arena, "/rtn/w%d_g32/%s", w_bit, block.linear[role].name);
        const float *want = family_matrix(f, group, "q", role, &block.linear[role]);
        ties += compare_codes(f, &original.linear[role], &q[role], block.linear[role].w, want);
        check_mean_abs(f, stats, &block, role);
        check_gram(f, stats, &block, role);
    }
    printf("%-8s w%d g32 codes: equal but for %ld ties\n", f->g.name, w_bit, (long)ties);
}

static void test_family(void **state)
{
    const char *name = *state;
    struct family family, *f = &family;
    struct ptq_model_stats stats;
    family_open(f, name);
    OK(ptq_stats_gather(f->g.arena, &f->model, &f->calib, 1, &stats, &f->g.err));
    check_logits(f);
    check_codes(f, &stats, 3);
    check_codes(f, &stats, 4);
    check_cells(f, &stats);
    family_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {FAMILY_TEST(llama), FAMILY_TEST(llama3),  FAMILY_TEST(opt),  FAMILY_TEST(opt350),
                                       FAMILY_TEST(qwen2), FAMILY_TEST(mistral), FAMILY_TEST(gpt2), FAMILY_TEST(bloom)};
    ptq_progress_quiet(1);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
