/* AWQ's searches on the device where the moments lie. */
#ifndef PTQ_AWQ_DEVICE_H
#define PTQ_AWQ_DEVICE_H

#include "awq.h"

/* 1 where the device does this grid: float32 scales, and rows that its shared memory holds. */
int ptq_awq_grid_there(const struct ptq_grid *grid, int64_t k);

struct ptq_awq_there;
/* Trials of the group that reads `input`, w[N][K]; its room is that of one at a time. */
enum ptq_status ptq_awq_there_make(struct ptq_block_task *task, enum ptq_input input, const float *w, int64_t n,
                                   int64_t k, struct ptq_awq_there **out, struct ptq_error *err);
/* tr(dW H dW^T) with dW = Q(W scale) / scale - W. C and dW are FP16 there: within 1e-3. */
double ptq_awq_there_loss(struct ptq_awq_there *t, const float *scale);

/* 1 where bounds and codes of this linear are the device's: groups of at most 128, each no larger than the sample. */
int ptq_awq_can_there(const struct ptq_block_task *task, int role);
/* Bounds (where with_clip and the family has them), codes and saturated groups of the scaled linear. */
enum ptq_status ptq_awq_linear_there(struct ptq_block_task *task, int role, int with_clip,
                                     const struct ptq_awq_choice choice[PTQ_N_INPUT], struct ptq_arena *arena,
                                     struct ptq_awq_clip *clip, struct ptq_error *err);

#endif
