/* OBQ's solver: codes of some rows, given the inverse of the damped Hessian. */
#ifndef PTQ_OBQ_SOLVE_H
#define PTQ_OBQ_SOLVE_H

#include "arena.h"
#include "qmat.h"
#include "status.h"

#include <stdint.h>

/* Inputs of a linear, at most: K^3 / 6 steps a row, so N = 768, K = 3072 takes hours. 3072 is the widest linear of
 * OPT-125M, the one model with a published OBQ figure. */
enum { PTQ_OBQ_MOST_K = 3072 };

/* Fills q (made, of w's sizes) with codes, scales and zeros. inverse [K][K] float64, both triangles; dead[K]: columns
 * whose weights are 0. w [N][K] is not written. loss[N], added to: sum of (w - q)^2 / [H^-1]_qq over the steps, halved,
 * by row; saturated[N], added to: groups by row. outliers: see methods/obq.c. Rows are independent tasks. scratch is
 * rewound. PTQ_EINTERRUPT soon after Ctrl-C. */
enum ptq_status ptq_obq_solve(const double *inverse, const uint8_t *dead, int outliers, const float *w,
                              struct ptq_arena *scratch, struct ptq_qmat *q, double *loss, int32_t *saturated,
                              struct ptq_error *err);

#endif
