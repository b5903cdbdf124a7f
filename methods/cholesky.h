/* Cholesky factor of a large matrix on all threads. BLAS runs on one thread at a time here (kernels/cpu/cpu.c), so the
 * work is cut into fixed tiles: the same bytes for any number of threads. */
#ifndef PTQ_CHOLESKY_H
#define PTQ_CHOLESKY_H

#include <stdint.h>

/* a [K][K] float64, row-major, the lower triangle of a symmetric matrix: overwritten by L, a = L L^T. What is above the
 * diagonal is not touched. Returns 0, or 1 + the row of the first pivot that is not positive. */
int64_t ptq_cholesky(double *a, int64_t k);

#endif
