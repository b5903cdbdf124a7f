/* AWQ's groups as data: which linears share a scale, into what it is folded, what a trial's error is measured on. */
#ifndef PTQ_AWQ_GROUPS_H
#define PTQ_AWQ_GROUPS_H

#include "model.h"

/* Where 1 / s goes: a norm's weight and bias, or a linear's rows and bias; behind an activation that is not homogeneous
 * the block divides by s itself (struct ptq_block, llm-awq's ScaledActivation). NONE: the group is not scaled. */
enum ptq_awq_prev { PTQ_AWQ_NORM1, PTQ_AWQ_NORM2, PTQ_AWQ_V, PTQ_AWQ_UP, PTQ_AWQ_ACTIVATION, PTQ_AWQ_NONE };

/* What is compared: the linear's own output, the attention's (behind o), the MLP's (behind down), the block's. */
enum ptq_awq_module { PTQ_AWQ_SELF, PTQ_AWQ_ATTENTION, PTQ_AWQ_MLP, PTQ_AWQ_BLOCK };

struct ptq_awq_group {
    enum ptq_role first, last; /* the linears; their weights lie one behind the other */
    enum ptq_awq_prev prev;
    enum ptq_awq_module module;
};

/* What llm-awq does with the blocks of one family. */
struct ptq_awq_family {
    const char *model_type;
    const struct ptq_awq_group *group; /* [PTQ_N_INPUT], by input */
    unsigned clipped;                  /* 1u << role | ...: linears whose weights are clipped */
};

/* Of the model. PTQ_EINPUT, with the reason, where AWQ does not hold for it or its groups are not known. */
enum ptq_status ptq_awq_family(const struct ptq_config *config, const struct ptq_awq_family **out,
                               struct ptq_error *err);
/* The same as a method's check. */
struct ptq_spec;
enum ptq_status ptq_awq_check(const struct ptq_spec *spec, const struct ptq_config *config, struct ptq_error *err);

/* 1 where the group can be scaled as llm-awq does it: v -> o only where both have the same shape; with vo_average also
 * where query heads share a v. */
int ptq_awq_scalable(const struct ptq_config *config, const struct ptq_awq_group *group, int vo_average);

/* v -> o where query heads share a v: their channels of term[H D] become the mean over the sharing heads. Every term of
 * a scale must pass here, so that one scale fits all. Leaves other groups alone. */
void ptq_awq_share(const struct ptq_config *config, const struct ptq_awq_group *group, float *term);

/* Outputs of the group's linears together. */
int64_t ptq_awq_outputs(const struct ptq_block *block, const struct ptq_awq_group *group);

/* Where the group's 1 / s goes into the rows of this role: divisor[N] is filled and 1 returned. */
int ptq_awq_row_divisors(const struct ptq_config *config, const struct ptq_awq_group *group, int role, const float *s,
                         float *divisor);

/* W s in the group's linears, 1 / s in what comes before: the block's function is unchanged. s[K], which the block may
 * go on pointing to. */
void ptq_awq_apply_scale(const struct ptq_config *config, struct ptq_block *block, const struct ptq_awq_group *group,
                         const float *s);

#endif
