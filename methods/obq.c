/* obq: Optimal Brain Quantisation, exact and greedy. Each row by itself, over the set F of weights that are still free:
 *
 *   H    = gptq's: (2 / n) sum of X^T X, damped, dead inputs 1 and their weights 0
 *   p    = argmin over F of (w_p - grid(w_p))^2 / [H_F^-1]_pp                      equal ones by number
 *   w_F -= (w_p - grid(w_p)) / [H_F^-1]_pp * H_F^-1[:, p]
 *   H_F^-1 -= H_F^-1[:, p] H_F^-1[p, :] / [H_F^-1]_pp,   F loses p
 *
 *   loss = 1/2 sum of (w_p - q_p)^2 / [H_F^-1]_pp = 1/2 tr(dW H dW^T) with the damped H: gptq's, in the same unit
 *
 * outliers=1 (as OBQ has it): a weight that the others' errors have driven more than half a step off the grid is coded
 * at once, before it is driven farther; of several the one of least loss. outliers=0: by loss alone.
 *
 * Each step is the cheapest one; the sum need not be: what is put off is left with few others to make it good. Where
 * inputs have much in common gptq's fixed order can lose less (tests/test_obq.c prints both).
 *
 * The order crosses groups, so their grids are found beforehand, in the original weights. A row costs K^3 / 6 steps in
 * float64: wider linears than PTQ_OBQ_MOST_K are refused. Sources: arXiv:2208.11580, algorithm 3; arXiv:2210.17323,
 * section 3. */
#include "gptq_factor.h"
#include "hessian.h"
#include "method.h"
#include "obq_solve.h"

struct options {
    double percdamp;
    int outliers;
};

static enum ptq_status solve(const void *options, struct ptq_hessian_problem *p, struct ptq_error *err)
{
    const struct options *o = options;
    struct ptq_gptq_factor factor;
    double *inverse;
    PTQ_TRY(ptq_gptq_invert(p->scratch, p->scratch, p->h, p->q->k, o->percdamp, &inverse, &factor, err));
    p->percdamp = factor.percdamp;
    return ptq_obq_solve(inverse, factor.dead, o->outliers, p->w, p->scratch, p->q, p->loss, p->saturated, err);
}

static enum ptq_status check(const struct ptq_spec *spec, const struct ptq_config *config, struct ptq_error *err)
{
    if (spec->grid.scale_f16)
        return ptq_fail(err, PTQ_EUSAGE, "obq's arithmetic is fp32, as in the published code; leave scale_dtype away");
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        char name[PTQ_NAME_SIZE];
        int64_t n, k;
        ptq_linear_size(config, (enum ptq_role)role, &n, &k);
        if (!n || k <= PTQ_OBQ_MOST_K) continue;
        ptq_hf_name(config, config->family->hf.linear[role], 0, "", name);
        return ptq_fail(err, PTQ_EUSAGE,
                        "%s has %lld inputs, and obq takes %d at most, since its work grows with their cube for each "
                        "row; take gptq",
                        name, (long long)k, PTQ_OBQ_MOST_K);
    }
    return PTQ_OK;
}

static enum ptq_status block_method(struct ptq_block_task *task, struct ptq_error *err)
{
    const struct ptq_spec *spec = task->spec;
    struct options options = {ptq_spec_value(spec, "percdamp"), (int)ptq_spec_value(spec, "outliers")};
    struct ptq_hessian_solver solver = {
        .solve = solve, .options = &options, .true_sequential = (int)ptq_spec_value(spec, "true_sequential")};
    return ptq_hessian_block(task, &solver, err);
}

static const struct ptq_param params[] = {
    {.name = "outliers", .fallback = 1, .max = 1, .doc = "1: weights more than half a step off the grid go first"},
    PTQ_HESSIAN_PARAMS,
    PTQ_ORDER_PARAM,
    {0},
};

extern const struct ptq_method ptq_method_obq;
const struct ptq_method ptq_method_obq = {
    .name = "obq",
    .summary = "weight by weight, the cheapest first, each error made good",
    .cite = "arXiv:2208.11580; arXiv:2210.17323, section 3 and Table 8",
    .param = params,
    .grid = {.w_bit = 4, .group_size = -1, .range = PTQ_RANGE_GPTQ},
    .check = check,
    .need = ptq_hessian_need,
    .block_method = block_method,
};
