/* gptq: round column by column, each column's error made good by the columns that are still free.
 *
 *   H   = (2 / n) sum over n windows of X^T X               methods/hessian.c, with true_sequential's two orders
 *   H  += percdamp mean(diag H) I                           dead inputs (H_kk = 0): H_kk = 1 and their weights 0
 *   U   = upper Cholesky factor of H^-1
 *   q_i = grid(w_i),   e = (w_i - q_i) / U_ii,   w_j -= e U_ij  for j > i      loss = sum e^2 / 2
 *
 * With dW = W - Q row by row, dW = E U, so sum e^2 = tr(dW H dW^T) with the damped H: OBQ's loss is in the same unit.
 *
 * Columns go in blocks of 128; a group's scale and zero come from the weights as they stand before the group's block,
 * so with G < 128 the later groups of a block do not see that block's own errors: the published code does that, and
 * fresh_groups=1 mends it. Its other habits are kept, too: the grid of a whole row (g-1) is found before dead weights
 * are zeroed; a symmetric grid of a group without negative weights keeps 0 as its lower end and saturates (see grid.h).
 *
 *   act_order=1        columns by falling H_kk, equal ones by number; groups are consecutive in that order
 *   static_groups=1    groups are of neighbouring columns, their grids found beforehand in the original weights
 *
 * Sources: arXiv:2210.17323; IST-DASLab/gptq gptq.py, quant.py (2d65066). */
#include "gptq.h"

#include "gptq_device.h"
#include "gptq_factor.h"
#include "gptq_solve.h"

static enum ptq_status solve(const void *options, struct ptq_hessian_problem *p, struct ptq_error *err)
{
    const struct ptq_gptq_options *o = options;
    struct ptq_gptq_factor factor;
    PTQ_TRY(ptq_gptq_factorize_over(p->scratch, p->scratch, p->h, p->q->k, o->percdamp, o->act_order, &factor, err));
    p->percdamp = factor.percdamp;
    ptq_gptq_solve(&factor, o, p->w, p->arena, p->scratch, p->q, p->loss, p->saturated);
    return PTQ_OK;
}

enum ptq_status ptq_gptq_check(const struct ptq_spec *spec, const struct ptq_config *config, struct ptq_error *err)
{
    (void)config;
    if (!spec->grid.scale_f16) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE, "%s's arithmetic is fp32, as in the published code; leave scale_dtype away",
                    spec->method->name);
}

enum ptq_status ptq_gptq_block(struct ptq_block_task *task, struct ptq_error *err)
{
    const struct ptq_spec *spec = task->spec;
    PTQ_TRY(ptq_gptq_check(spec, &task->model->config, err));
    struct ptq_gptq_options options = {.percdamp = ptq_spec_value(spec, "percdamp"),
                                       .act_order = (int)ptq_spec_value(spec, "act_order"),
                                       .static_groups = (int)ptq_spec_value(spec, "static_groups"),
                                       .fresh_groups = (int)ptq_spec_value(spec, "fresh_groups"),
                                       .mse = (int)ptq_spec_value(spec, "mse")};
    struct ptq_hessian_solver solver = {
        .solve = solve, .options = &options, .true_sequential = (int)ptq_spec_value(spec, "true_sequential")};
    if (ptq_gptq_can_there(&options, &spec->grid)) solver.solve_there = ptq_gptq_solve_there;
    return ptq_hessian_block(task, &solver, err);
}

static const struct ptq_param params[] = {
    {PTQ_ACT_ORDER_PARAM, .always = 1},
    PTQ_GPTQ_PARAMS,
    PTQ_ORDER_PARAM,
    {0},
};

extern const struct ptq_method ptq_method_gptq;
const struct ptq_method ptq_method_gptq = {
    .name = "gptq",
    .summary = "column by column, each error made good by the columns behind it",
    .cite = "arXiv:2210.17323; IST-DASLab/gptq 2d65066",
    .param = params,
    .grid = {.w_bit = 4, .group_size = 128, .range = PTQ_RANGE_GPTQ},
    .check = ptq_gptq_check,
    .need = ptq_hessian_need,
    .block_method = ptq_gptq_block,
};
