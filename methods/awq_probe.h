/* What llm-awq compares where the module that it inspects is the whole block (BLOOM): it hands the block the input of
 * the linears that are on trial, which has passed a norm already, as if it were the block's own, and takes the mean
 * squared difference of what the block makes of it. Not what the block gives in the model, but that is the published
 * code (auto_scale.py, module2inspect=module; d6e797a), and so loss=module. */
#ifndef PTQ_AWQ_PROBE_H
#define PTQ_AWQ_PROBE_H

#include "method.h"

struct ptq_awq_probe;

/* With what the task's block, unchanged, makes of x[rows][C], the linears' input of all calibration windows. In arena.
 */
enum ptq_status ptq_awq_probe_make(struct ptq_arena *arena, const struct ptq_block_task *task, const float *x,
                                   struct ptq_awq_probe **out, struct ptq_error *err);
/* The sum of squared differences that block gives; of some windows only, where they exceed limit already. Infinite
 * where an output is. */
double ptq_awq_probe_loss(struct ptq_awq_probe *probe, const struct ptq_block *block, double limit);

#endif
