/* AWQ against what llm-awq's own run_awq gives on ../shared/golden/models: the scales of every search, the bounds of
 * every clipped group, the perplexity. Skipped, by name, where the folder is not there. */
#include "apply.h"
#include "awq.h"
#include "forward.h"
#include "golden_family.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"

#include <math.h>

/* Counted over a family. */
static int searches, same_ratio;

/* The model taken through AWQ block by block. */
struct run {
    const struct ptq_spec *spec;
    const struct ptq_model_stats *stats;
    struct ptq_forward calib, eval;
    int64_t groups, same_bound;
};

/* Largest relative difference of two scales. */
static double apart(const float *a, const float *b, int64_t k)
{
    double worst = 0;
    for (int64_t i = 0; i < k; i++) worst = fmax(worst, fabs((double)a[i] - b[i]) / fabs((double)b[i]));
    return worst;
}

/* The scale that llm-awq found in its search `number`, of k channels. */
static const float *golden_scale(struct family *f, const char *config, int number, int64_t k)
{
    float *want;
    int64_t rows, columns;
    OK(ptq_h5_floats(f->g.file, ptq_format(f->g.arena, "/awq/%s/scale", config), ptq_format(f->g.arena, "%02d", number),
                     f->g.arena, &want, &rows, &columns, &f->g.err));
    assert_int_equal(rows * columns, k);
    return want;
}

/* One search: the same scale; where not, both losses, with what the golden scale is nearest to among our ratios. */
static void check_scale(struct family *f, const char *config, const char *linear, const struct ptq_awq_choice *choice,
                        const float *want)
{
    searches++;
    double off = apart(choice->scale, want, choice->k);
    if (off <= 1e-3) {
        same_ratio++;
        return;
    }
    /* log s is r log mean|x| + c: the golden r from the channels where ours is largest and smallest. */
    int64_t low = 0, high = 0;
    for (int64_t k = 0; k < choice->k; k++) {
        if (choice->scale[k] < choice->scale[low]) low = k;
        if (choice->scale[k] > choice->scale[high]) high = k;
    }
    double theirs =
        choice->ratio * log((double)want[high] / want[low]) / log((double)choice->scale[high] / choice->scale[low]);
    int nearest = (int)rint(theirs);
    printf("%-8s %s %s: scale off by %.1e: ratio %d with loss %.8e, golden %.2f with %.8e\n", f->g.name, config, linear,
           off, choice->ratio, choice->loss[choice->ratio], theirs,
           nearest >= 0 && nearest < 20 ? choice->loss[nearest] : NAN);
}

static void count_bounds(struct family *f, const char *config, const char *linear, const struct ptq_awq_clip *clip,
                         struct run *run)
{
    float *want;
    int64_t rows, columns;
    const char *group = ptq_format(f->g.arena, "/awq/%s/clip", config);
    if (!clip->max) {
        assert_false(ptq_h5_exists(f->g.file, ptq_format(f->g.arena, "%s/%s", group, linear)));
        return;
    }
    OK(ptq_h5_floats(f->g.file, group, linear, f->g.arena, &want, &rows, &columns, &f->g.err));
    assert_int_equal(rows, clip->n);
    assert_int_equal(columns, clip->n_groups);
    for (int64_t i = 0; i < rows * columns; i++)
        run->same_bound += fabs((double)clip->max[i] - want[i]) <= 1e-3 * fabs((double)want[i]);
    run->groups += rows * columns;
}

/* One block of a run: quantised, the evaluation windows moved through what came out. */
static void run_block(struct family *f, const struct ptq_awq_options *options, const char *config, int64_t index,
                      struct run *run, struct ptq_awq_report *report)
{
    struct ptq_block block;
    struct ptq_moments moments[PTQ_N_INPUT];
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    struct ptq_linear_report linear[PTQ_N_ROLE] = {0};
    struct ptq_arena *scratch = ptq_arena_make("scratch"), *codes = ptq_arena_make("codes");
    struct ptq_block_task task = {.spec = run->spec,
                                  .model = &f->model,
                                  .index = index,
                                  .block = &block,
                                  .calib = &run->calib,
                                  .stats = run->stats->input[index],
                                  .moments = moments,
                                  .arena = codes,
                                  .scratch = scratch,
                                  .q = q,
                                  .report = linear};
    OK(ptq_block_load(&f->model, index, scratch, &block, &f->g.err));
    OK(ptq_stats_moments(run->stats, index, scratch, moments, &f->g.err));
    OK(ptq_awq_block(&task, options, f->g.arena, report, &f->g.err));
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (block.linear[role].n) count_bounds(f, config, block.linear[role].name, &report->clip[role], run);
    ptq_reapply(q, &block);
    OK(ptq_forward_block(&run->eval, &block, index, NULL, &f->g.err));
    ptq_arena_free(codes);
    ptq_arena_free(scratch);
}

static void start_run(struct family *f, const struct ptq_spec *spec, const struct ptq_model_stats *stats,
                      struct run *run)
{
    *run = (struct run){.spec = spec, .stats = stats};
    ptq_forward_make(f->g.arena, &f->model, f->calib.id, f->calib.n, WINDOW, &run->calib);
    ptq_forward_make(f->g.arena, &f->model, f->eval.id, f->eval.n, WINDOW, &run->eval);
    OK(ptq_forward_embed(&run->calib, &f->g.err));
    OK(ptq_forward_embed(&run->eval, &f->g.err));
}

static double finish_run(struct family *f, struct run *run)
{
    int64_t n = f->eval.n * (WINDOW - 1);
    float *nll = ptq_new(f->g.arena, float, n);
    double sum = 0;
    OK(ptq_forward_nll(&run->eval, f->g.arena, nll, &f->g.err));
    for (int64_t i = 0; i < n; i++) sum += nll[i];
    return exp(sum / (double)n);
}

/* Two runs: one with the scales found here, one with llm-awq's. The scales agree to 1e-6, but a clipped group is often
 * bounded on both sides, and then its ends lie on a tie of rounding (maxabs / scale is (2^w_bit - 1) / 2 up to the last
 * bit): which way that falls depends on the last bits of the scales. So bounds and perplexity are compared closely
 * where the scales are the same, and loosely where they are our own. */
static void check_config(struct family *f, const struct ptq_model_stats *stats, int w_bit, int group_size)
{
    struct ptq_spec spec;
    struct run own, same;
    struct ptq_awq_report report;
    const char *config = ptq_format(f->g.arena, "w%d_g%d", w_bit, group_size);
    double want;
    int number = 0;
    OK(ptq_spec_parse(ptq_format(f->g.arena, "awq:w%d,g%d", w_bit, group_size), &spec, &f->g.err));
    OK(ptq_h5_real(f->g.file, "/", ptq_format(f->g.arena, "awq_%s_ppl", config), &want, &f->g.err));
    struct ptq_awq_options options = ptq_awq_options(&spec), given = options;
    start_run(f, &spec, stats, &own);
    start_run(f, &spec, stats, &same);
    options.every_loss = 1;
    given.n_ratio = 1;
    for (int64_t b = 0; b < f->model.config.blocks; b++) {
        const float *scale[PTQ_N_INPUT] = {0};
        const char *linear[] = {"attn_in", "attn_out", "mlp_in", "mlp_out"};
        run_block(f, &options, config, b, &own, &report);
        for (int input = 0; input < PTQ_N_INPUT; input++) {
            if (!report.choice[input].searched) continue;
            scale[input] = golden_scale(f, config, number++, report.choice[input].k);
            check_scale(f, config, ptq_format(f->g.arena, "block %d %s", (int)b, linear[input]), &report.choice[input],
                        scale[input]);
        }
        given.given = scale;
        run_block(f, &given, config, b, &same, &report);
    }
    double own_ppl = finish_run(f, &own) / want - 1, same_ppl = finish_run(f, &same) / want - 1;
    printf(
        "%-8s %s: bounds %.3f %%, with llm-awq's scales %.3f %% of %ld; ppl %.5f off by %+.1e, with its scales %+.1e\n",
        f->g.name, config, 100 * (double)own.same_bound / (double)own.groups,
        100 * (double)same.same_bound / (double)same.groups, (long)own.groups, want, own_ppl, same_ppl);
    if ((double)same.same_bound < 0.995 * (double)same.groups) fail_msg("%s %s: bounds differ", f->g.name, config);
    if ((double)own.same_bound < 0.95 * (double)own.groups) fail_msg("%s %s: own bounds differ", f->g.name, config);
    if (!(fabs(same_ppl) <= 1e-4)) fail_msg("%s %s: perplexity off by more than 0.01 %%", f->g.name, config);
    if (!(fabs(own_ppl) <= 2e-3)) fail_msg("%s %s: own perplexity off by more than 0.2 %%", f->g.name, config);
    struct ptq_cell cell = {0};
    if (group_size != 128) return;
    OK(ptq_evaluate(&f->model, &spec, 0, stats, &f->calib, &f->eval, f->g.arena, &cell, &f->g.err));
    if (!(fabs(cell.ppl / want - 1 - own_ppl) <= 1e-6))
        fail_msg("%s %s: the pipeline gives %.8f", f->g.name, config, cell.ppl);
}

static void test_family(void **state)
{
    const char *name = *state;
    static const int bits[] = {3, 3, 4}, size[] = {32, 128, 32};
    struct family family, *f = &family;
    struct ptq_model_stats stats;
    searches = same_ratio = 0;
    family_open(f, name);
    OK(ptq_stats_gather(f->g.arena, &f->model, &f->calib, 1, &stats, &f->g.err));
    for (int i = 0; i < 3; i++) check_config(f, &stats, bits[i], size[i]);
    printf("%-8s scales of %d of %d searches\n", name, same_ratio, searches);
    if (same_ratio < 0.99 * searches) fail_msg("%s: %d searches end elsewhere", name, searches - same_ratio);
    family_close(f);
}

static void test_post_norm(void **state)
{
    struct family family, *f = &family;
    struct ptq_spec spec;
    struct ptq_cell cell = {0};
    struct ptq_model_stats stats;
    (void)state;
    family_open(f, "opt350");
    OK(ptq_spec_parse("awq:w3,g32", &spec, &f->g.err));
    OK(ptq_stats_gather(f->g.arena, &f->model, &f->calib, 1, &stats, &f->g.err));
    assert_int_equal(ptq_evaluate(&f->model, &spec, 0, &stats, &f->calib, &f->eval, f->g.arena, &cell, &f->g.err),
                     PTQ_EINPUT);
    printf("opt350: %s\n", f->g.err.text);
    family_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {FAMILY_TEST(llama), FAMILY_TEST(llama3), FAMILY_TEST(opt), FAMILY_TEST(qwen2),
                                       cmocka_unit_test(test_post_norm)};
    ptq_progress_quiet(1);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
