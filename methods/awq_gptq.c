/* awq+gptq: AWQ's scales, then GPTQ on the scaled block (AWQ's INT2 table, arXiv:2306.00978).
 *
 *   W' = W s, what comes before divided by s     the block's function is unchanged (awq.c)
 *   codes = GPTQ(W', Hessian of x / s)           (gptq.c)
 *
 * Scales are searched as awq with loss=gram does, on the moments of the full-precision model: running AWQ over the
 * whole model first and GPTQ afterwards gives the same, because the transform changes no activation but by 1 / s. The
 * windows that GPTQ calibrates on come from the quantised blocks before, as with gptq.
 *
 * clip=0 is the default: GPTQ makes good what rounding does, and a clipped weight is an error that it is not told of.
 * With clip=1 weights are clamped before GPTQ sees them, and errors are reported against the clamped ones. */
#include "awq.h"
#include "awq_clip.h"
#include "awq_groups.h"
#include "gptq.h"
#include "progress.h"

#include <string.h>

static void clamp_linear(struct ptq_block_task *task, int role, const struct ptq_awq_clip *clip)
{
    struct ptq_linear *linear = &task->block->linear[role];
    struct ptq_mark mark = ptq_arena_mark(task->scratch);
    float *w = ptq_new(task->scratch, float, linear->n * linear->k);
    ptq_awq_clamp(linear, clip, task->spec->grid.group_size, w);
    memcpy(linear->w, w, sizeof *w * (size_t)(linear->n * linear->k));
    ptq_arena_rewind(task->scratch, mark);
}

static enum ptq_status block_method(struct ptq_block_task *task, struct ptq_error *err)
{
    struct ptq_awq_options options = ptq_awq_options(task->spec);
    struct ptq_awq_report report;
    PTQ_TRY(ptq_awq_transform(task, &options, task->scratch, &report, err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_awq_choice *choice = &report.choice[ptq_role_input[role]];
        if (!task->block->linear[role].n) continue;
        PTQ_TRY(ptq_interrupted(err));
        if (options.clip) {
            ptq_awq_clip_linear(task, role, choice, task->scratch, &report.clip[role]);
            clamp_linear(task, role, &report.clip[role]);
        }
        ptq_awq_describe(&options, choice, &report.clip[role], &task->report[role]);
    }
    task->moments = NULL;
    ptq_arena_rewind(task->moments_memory, (struct ptq_mark){0}); /* 0.7 GB of LLaMA-7B's blocks */
    return ptq_gptq_block(task, err);
}

static enum ptq_status check(const struct ptq_spec *spec, const struct ptq_config *config, struct ptq_error *err)
{
    PTQ_TRY(ptq_gptq_check(spec, config, err));
    return ptq_awq_check(spec, config, err);
}

static unsigned need(const struct ptq_spec *spec)
{
    (void)spec;
    return PTQ_NEED_MOMENTS | PTQ_NEED_WINDOWS | PTQ_NEED_GRAM_ANYWHERE;
}

static const struct ptq_param params[] = {
    {PTQ_ACT_ORDER_PARAM}, PTQ_GPTQ_PARAMS,
    PTQ_AWQ_SCALE_PARAMS,  {.name = "clip", .max = 1, .doc = "1: weights are clipped to searched bounds before GPTQ"},
    PTQ_ORDER_PARAM,       {0},
};

extern const struct ptq_method ptq_method_awq_gptq;
const struct ptq_method ptq_method_awq_gptq = {
    .name = "awq+gptq",
    .summary = "AWQ's scales, then GPTQ",
    .cite = "arXiv:2306.00978, INT2 table",
    .param = params,
    .grid = {.w_bit = 2, .group_size = 64, .range = PTQ_RANGE_GPTQ},
    .check = check,
    .need = need,
    .block_method = block_method,
};
