/* AWQ's clip search, per row n and group g of a linear, on already scaled weights:
 *
 *   bound(i) = max|w| (1 - i / 20), i = 0 .. 9       q_i = Q(clamp(w, -bound(i), bound(i)))
 *   i*       = the first argmin of mean_t (x_t,g . q_i - x_t,g . w)^2 over a sample of calibration rows
 *
 * Source: llm-awq auto_clip.py (max_shrink 0.5, n_grid 20: ten candidates, 0.5 is not among them). q and k are not
 * clipped. With H_g = X_g^T X_g of the sample the sum over t is (q_i - w)^T H_g (q_i - w): where the group is smaller
 * than the sample, that is what is computed. */
#ifndef PTQ_AWQ_CLIP_H
#define PTQ_AWQ_CLIP_H

#include "awq.h"

/* Fills out (its max in arena) for linear, whose input's sample[n_sample][K] is given. scratch is rewound. */
void ptq_awq_clip_search(const struct ptq_grid *grid, const struct ptq_linear *linear, const float *sample,
                         int64_t n_sample, struct ptq_arena *arena, struct ptq_arena *scratch,
                         struct ptq_awq_clip *out);

/* to[N][K] = the linear's weights within their groups' bounds; as they are where out->max is NULL. */
void ptq_awq_clamp(const struct ptq_linear *linear, const struct ptq_awq_clip *clip, int64_t group_size, float *to);

#endif
