/* The number grid: from a group of weights to scale and zero, from weights to codes.
 *
 * With maxq = 2^w_bit - 1 and lo, hi the group's smallest and largest weight:
 *
 *   range=awq   scale = max(hi - lo, 1e-5) / maxq               zero = clamp(-rint(lo / scale), 0, maxq)
 *   range=gptq  lo = min(lo, 0), hi = max(hi, 0); both 0: lo, hi = -1, 1
 *               scale = (hi - lo) / maxq                        zero = rint(-lo / scale)
 *   sym=1       hi = max(|lo|, |hi|), lo = -hi; scale as above  zero = (maxq + 1) / 2
 *
 *   code = clamp(rint(w / scale) + zero, 0, maxq)               w' = scale * (code - zero)
 *
 * rint rounds half to even. Sources: llm-awq quantizer.py pseudo_quantize_tensor; gptq quant.py find_params. AWQ does
 * not stretch its range to hold 0, so a group that lies on one side of 0 saturates: that is kept, and counted. sym
 * follows gptq, but for its slip with groups that hold no negative weight (there lo stays 0 while zero is the middle).
 */
#ifndef PTQ_GRID_H
#define PTQ_GRID_H

#include "arena.h"
#include "qmat.h"

/* scale and zero of w[0..n), n >= 1. Returns 1 where a code is clamped by more than half a step (saturated), else 0. */
int ptq_grid_fit(const struct ptq_grid *grid, const float *w, int64_t n, float *scale, float *zero);

/* scale and zero from a group's ends alone. */
void ptq_grid_ends(const struct ptq_grid *grid, float lo, float hi, float *scale, float *zero);

/* Sizes, and zeroed code, scale and zero in arena. */
void ptq_qmat_make(struct ptq_arena *arena, const struct ptq_grid *grid, int64_t n, int64_t k, struct ptq_qmat *out);

/* Fits and codes every group of w[N][K], rows in parallel. Returns the number of saturated groups. */
int64_t ptq_grid_quantize(struct ptq_qmat *q, const float *w);

/* The same for rows [first, first + rows) of q alone, w[rows][K], on the calling thread. */
int64_t ptq_grid_quantize_rows(struct ptq_qmat *q, const float *w, int64_t first, int64_t rows);

/* Stored bits a weight: codes (not of salient columns), 16 for a scale, w_bit for a zero (none where sym; 16 where a
 * zero of q is no code, as a method's own may be), 16 for a salient weight and 32 for its column's number, 32 for a
 * column's place where permuted, 64 for a divided column's number and divisor. */
double ptq_qmat_bits(const struct ptq_qmat *q);

#endif
