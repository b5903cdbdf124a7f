/* GPTQ against IST-DASLab's own class, on every small model and configuration of ../shared/golden: codes of the first
 * block, the loss of every linear, perplexity. Skipped, by name, where the folder is not there. */
#include "apply.h"
#include "forward.h"
#include "gptq_solve.h"
#include "grid.h"
#include "golden_family.h"
#include "ops.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = 8 };
static const double loss_bound = 0.005;

/* The first block quantised as the pipeline does it; what its codes stand for is left in block. Returns the windows at
 * the block's output. */
static float *quantize_first(struct family *f, const struct ptq_spec *spec, struct ptq_block *block,
                             struct ptq_qmat q[PTQ_N_ROLE])
{
    struct ptq_forward calib;
    struct ptq_linear_report report[PTQ_N_ROLE] = {0};
    struct ptq_arena *scratch = ptq_arena_make("scratch");
    ptq_forward_make(f->g.arena, &f->model, f->calib.id, f->calib.n, WINDOW, &calib);
    OK(ptq_forward_embed(&calib, &f->g.err));
    OK(ptq_block_load(&f->model, 0, f->g.arena, block, &f->g.err));
    struct ptq_block_task task = {.spec = spec,
                                  .model = &f->model,
                                  .block = block,
                                  .calib = &calib,
                                  .arena = f->g.arena,
                                  .scratch = scratch,
                                  .q = q,
                                  .report = report};
    OK(spec->method->block_method(&task, &f->g.err));
    ptq_reapply(q, block);
    ptq_arena_free(scratch);
    return calib.x;
}

/* The smallest share of equal codes over the block's linears. */
static double equal_codes(struct family *f, const struct ptq_spec *spec, const char *group)
{
    struct ptq_block block;
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    double worst = 1;
    quantize_first(f, spec, &block, q);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *l = &block.linear[role];
        int64_t equal = 0;
        if (!l->n) continue;
        const float *want = family_matrix(f, ptq_format(f->g.arena, "%s/%s", group, l->name), "q", role, l);
        for (int64_t i = 0; i < l->n * l->k; i++) equal += fabsf(l->w[i] - want[i]) <= 1e-4f * fabsf(want[i]) + 1e-7f;
        double share = (double)equal / (double)(l->n * l->k);
        if (share < 1) printf("           %-36s %.4f %% of the codes\n", l->name, 100 * share);
        worst = fmin(worst, share);
    }
    return worst;
}

/* The calibration windows in another order: the same Hessian but for the order of its sums. */
static struct ptq_windows shuffled(struct family *f, int order)
{
    struct ptq_windows w = f->calib;
    struct ptq_rng rng = ptq_rng_make((uint64_t)order, "order of sums");
    int32_t *place = ptq_new(f->g.arena, int32_t, w.n);
    w.id = ptq_new(f->g.arena, int32_t, w.n * WINDOW);
    ptq_rng_permutation(&rng, place, (int32_t)w.n);
    for (int64_t i = 0; i < w.n; i++) memcpy(w.id + i * WINDOW, f->calib.id + place[i] * WINDOW, sizeof *w.id * WINDOW);
    return w;
}

static double off(double got, double want)
{
    return fabs(got - want) / want;
}

/* The largest relative difference of a linear's loss, over all blocks. A code at a tie falls either way with the order
 * of sums, and what follows it in its row, and in later blocks, falls elsewhere; so a linear beyond the bound is
 * looked at in other orders of summation, and counts as it is in the nearest one. */
static double losses_off(struct family *f, const struct ptq_spec *spec, const struct ptq_cell *cell, const char *group)
{
    double worst = 0, want;
    struct ptq_cell other[ORDERS] = {0};
    for (int i = 0; i < cell->n_linears; i++) {
        const char *name = cell->linear[i].name;
        OK(ptq_h5_real(f->g.file, ptq_format(f->g.arena, "%s/%s", group, name), "loss", &want, &f->g.err));
        double best = off(cell->linear[i].loss, want);
        for (int order = 0; order < ORDERS && best > loss_bound; order++) {
            struct ptq_windows calib = shuffled(f, order);
            if (!other[order].n_linears)
                OK(ptq_evaluate(&f->model, spec, 0, NULL, &calib, &f->eval, f->g.arena, &other[order], &f->g.err));
            printf("           %-36s loss %.6g, golden %.6g; order of sums %d: %.6g\n", name, cell->linear[i].loss,
                   want, order, other[order].linear[i].loss);
            best = fmin(best, off(other[order].linear[i].loss, want));
        }
        worst = fmax(worst, best);
    }
    return worst;
}

static void check_configuration(struct family *f, int w_bit, int group_size, int act, int fixed)
{
    struct ptq_spec spec;
    struct ptq_cell cell = {0};
    double want;
    const char *text =
        ptq_format(f->g.arena, "gptq:w%d,g%d,act_order=%d,static_groups=%d", w_bit, group_size, act, fixed);
    const char *name = ptq_format(f->g.arena, "w%d_g%d_act%d_static%d", w_bit, group_size, act, fixed);
    const char *group = ptq_format(f->g.arena, "/gptq/%s", name);
    OK(ptq_spec_parse(text, &spec, &f->g.err));
    double codes = equal_codes(f, &spec, group);
    OK(ptq_evaluate(&f->model, &spec, 0, NULL, &f->calib, &f->eval, f->g.arena, &cell, &f->g.err));
    double loss = losses_off(f, &spec, &cell, group);
    OK(ptq_h5_real(f->g.file, "/", ptq_format(f->g.arena, "gptq_%s_ppl", name), &want, &f->g.err));
    printf("%-7s %-24s codes >= %.3f %%, losses within %.3f %%, ppl %.4f, golden %.4f: %.4f %%\n", f->g.name, name,
           100 * codes, 100 * loss, cell.ppl, want, 100 * off(cell.ppl, want));
    assert_true(codes >= 0.995);
    assert_true(loss <= loss_bound);
    assert_true(off(cell.ppl, want) <= 0.003);
}

/* ---- both orders: the same bytes for any number of threads, and what true_sequential means ---- */

static void check_threads(struct family *f, const char *text)
{
    struct ptq_spec spec;
    struct ptq_block block;
    struct ptq_qmat one[PTQ_N_ROLE] = {0}, two[PTQ_N_ROLE] = {0};
    OK(ptq_spec_parse(text, &spec, &f->g.err));
    ptq_pool_start(1);
    const float *x = quantize_first(f, &spec, &block, one);
    ptq_pool_start(2);
    const float *y = quantize_first(f, &spec, &block, two);
    assert_memory_equal(x, y, sizeof *x * (size_t)(f->calib.n * WINDOW * f->model.config.width));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        assert_memory_equal(one[role].code, two[role].code, (size_t)(one[role].n * one[role].k));
        assert_memory_equal(one[role].scale, two[role].scale,
                            sizeof(float) * (size_t)(one[role].n * one[role].n_groups));
    }
}

struct naive {
    struct ptq_tap tap;
    float *h;
    int64_t k;
    enum ptq_input input;
};

static void naive_seen(void *context, int64_t first_row, int64_t rows)
{
    struct naive *n = context;
    (void)first_row;
    ptq_ops()->gram(n->h, n->k, 1, n->tap.x[n->input], n->k, rows, 0, n->k);
}

/* The Hessian of one input, by a whole pass through the block as it stands. */
static void naive_hessian(struct family *f, const struct ptq_block *block, enum ptq_input input, struct naive *n)
{
    struct ptq_forward pass;
    ptq_forward_make(f->g.arena, &f->model, f->calib.id, f->calib.n, WINDOW, &pass);
    OK(ptq_forward_embed(&pass, &f->g.err));
    *n = (struct naive){.input = input, .k = ptq_input_width(&f->model.config, input)};
    n->h = ptq_new(f->g.arena, float, n->k * n->k);
    for (int i = 0; i < PTQ_N_INPUT; i++)
        n->tap.x[i] = ptq_new(f->g.arena, float,
                              pass.batch_windows *WINDOW *ptq_input_width(&f->model.config, (enum ptq_input)i));
    n->tap.seen = naive_seen;
    n->tap.context = n;
    OK(ptq_forward_block(&pass, block, 0, &n->tap, &f->g.err));
}

/* Four passes, each with the linears of the ones before quantised: the staged order must give these codes. */
static void check_staged(struct family *f)
{
    struct ptq_spec spec;
    struct ptq_block staged, block;
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    const struct ptq_gptq_options options = {.percdamp = 0.01};
    int64_t different = 0, all = 0;
    OK(ptq_spec_parse("gptq:w3,g32,true_sequential=1", &spec, &f->g.err));
    quantize_first(f, &spec, &staged, q);
    OK(ptq_block_load(&f->model, 0, f->g.arena, &block, &f->g.err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &block.linear[role];
        struct naive n;
        struct ptq_gptq_factor factor;
        struct ptq_qmat one[PTQ_N_ROLE] = {0};
        if (!l->n) continue;
        naive_hessian(f, &block, ptq_role_input[role], &n);
        double *loss = ptq_new(f->g.arena, double, l->n);
        int32_t *saturated = ptq_new(f->g.arena, int32_t, l->n);
        OK(ptq_gptq_factorize(f->g.arena, f->g.arena, n.h, n.k, 0.01, 0, &factor, &f->g.err));
        ptq_qmat_make(f->g.arena, &spec.grid, l->n, l->k, &one[role]);
        ptq_gptq_solve(&factor, &options, l->w, f->g.arena, f->g.arena, &one[role], loss, saturated);
        ptq_reapply(one, &block);
        for (int64_t i = 0; i < l->n * l->k; i++) different += q[role].code[i] != one[role].code[i];
        all += l->n * l->k;
    }
    printf("%-7s true_sequential: %ld of %ld codes differ from four whole passes\n", f->g.name, (long)different,
           (long)all);
    assert_true(different <= all / 200);
}

static void test_family(void **state)
{
    const char *name = *state;
    struct family family, *f = &family;
    family_open(f, name);
    check_threads(f, "gptq:w3,g32,act_order=1");
    check_threads(f, "gptq:w3,g32,true_sequential=1");
    check_staged(f);
    check_configuration(f, 3, -1, 0, 0);
    check_configuration(f, 3, 32, 0, 0);
    check_configuration(f, 3, 32, 1, 0);
    check_configuration(f, 3, 32, 1, 1);
    check_configuration(f, 4, 32, 0, 0);
    check_configuration(f, 4, 128, 0, 0);
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
