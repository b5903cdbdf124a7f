/* AWQ's groups as data: which linears share a scale, into what it is folded, what a trial's error is measured on. */
#ifndef PTQ_AWQ_GROUPS_H
#define PTQ_AWQ_GROUPS_H

#include "model.h"

/* Where 1 / s goes: a norm's weight and bias, or a linear's rows and bias. */
enum ptq_awq_prev { PTQ_AWQ_NORM1, PTQ_AWQ_NORM2, PTQ_AWQ_V, PTQ_AWQ_UP };

/* What is compared: the linear's own output, the attention's (behind o), the MLP's (behind down). */
enum ptq_awq_module { PTQ_AWQ_SELF, PTQ_AWQ_ATTENTION, PTQ_AWQ_MLP };

struct ptq_awq_group {
    enum ptq_role first, last; /* the linears; their weights lie one behind the other */
    enum ptq_awq_prev prev;
    enum ptq_awq_module module;
};

/* The groups of a model's blocks, [PTQ_N_INPUT], by input. */
const struct ptq_awq_group *ptq_awq_groups(const struct ptq_config *config);

/* 1 where the group can be scaled as llm-awq does it: v -> o only where both have the same shape; with vo_average also
 * where query heads share a v. */
int ptq_awq_scalable(const struct ptq_config *config, const struct ptq_awq_group *group, int vo_average);

/* v -> o where query heads share a v: their channels of importance[H D] become the mean over the sharing heads, so that
 * one scale fits all. Leaves the rest alone. */
void ptq_awq_share(const struct ptq_config *config, const struct ptq_awq_group *group, float *importance);

/* Outputs of the group's linears together. */
int64_t ptq_awq_outputs(const struct ptq_block *block, const struct ptq_awq_group *group);

/* W s in the group's linears, 1 / s in what comes before: the block's function is unchanged. s[K]. */
void ptq_awq_apply_scale(const struct ptq_config *config, struct ptq_block *block, const struct ptq_awq_group *group,
                         const float *s);

#endif
