/* From a Hessian to the factor that GPTQ's column loop reads: dead columns, order, damping, Cholesky. */
#ifndef PTQ_GPTQ_FACTOR_H
#define PTQ_GPTQ_FACTOR_H

#include "arena.h"
#include "status.h"

#include <stdint.h>

enum { PTQ_GPTQ_RAISES = 3 };
enum { PTQ_GPTQ_BLOCK = 128 }; /* columns between two updates of what follows; the stale groups depend on it */

struct ptq_gptq_factor {
    int64_t k;
    uint8_t *dead;   /* [K] by column: 1 where the input is always 0 */
    int32_t *perm;   /* [K]: perm[p] is the column at place p; NULL: places are columns */
    float *r;        /* [K][K] by place, upper triangle: H + damp = R R^T; 0 below */
    double *band;    /* [K][PTQ_GPTQ_BLOCK]: R's entries from the diagonal on, before they were rounded */
    double percdamp; /* that was used in the end */
};

/* h [K][K] float32, the upper triangle by column; it is only read. The damping is percdamp times the mean of the
 * diagonal (dead columns count as 1, as in the published code). Where H + damp is not positive definite, percdamp is
 * raised tenfold (0 to 1e-4), at most PTQ_GPTQ_RAISES times; then PTQ_ENUMERIC with the column of the first bad pivot.
 * A value that is not finite is PTQ_ENUMERIC, too. Results in arena; scratch is rewound. */
enum ptq_status ptq_gptq_factorize(struct ptq_arena *arena, struct ptq_arena *scratch, const float *h, int64_t k,
                                   double percdamp, int act_order, struct ptq_gptq_factor *out, struct ptq_error *err);

/* The same, but R takes h's place: one K^2 less, which for the down_proj of LLaMA-7B is 0.45 GiB. Where it fails h is
 * as it was. */
enum ptq_status ptq_gptq_factorize_over(struct ptq_arena *arena, struct ptq_arena *scratch, float *h, int64_t k,
                                        double percdamp, int act_order, struct ptq_gptq_factor *out,
                                        struct ptq_error *err);

/* The same, but *inverse [K][K] is (H + damp)^-1 in float64, columns as they are; out has dead and percdamp alone. */
enum ptq_status ptq_gptq_invert(struct ptq_arena *arena, struct ptq_arena *scratch, const float *h, int64_t k,
                                double percdamp, double **inverse, struct ptq_gptq_factor *out, struct ptq_error *err);

/* ---- its steps, for who factors on a device (gptq_device.c) ---- */

/* The diagonal of h, whose elements lie stride apart: dead columns marked and set to 1; and its mean. */
enum ptq_status ptq_gptq_diagonal(const float *h, int64_t stride, int64_t k, double *diagonal, uint8_t *dead,
                                  double *mean, struct ptq_error *err);
/* perm[K]: columns by falling diagonal. */
void ptq_gptq_order(const double *diagonal, int64_t k, struct ptq_arena *scratch, int32_t *perm);
/* Tries percdamp, and tenfold ones after it: attempt(context, what is added to the diagonal) gives 0, or 1 + the row of
 * the bad pivot, place K - 1 - row. Fills out->percdamp; out->k and perm are set. */
enum ptq_status ptq_gptq_climb(int64_t (*attempt)(void *context, double damp), void *context, double mean,
                               double percdamp, struct ptq_gptq_factor *out, struct ptq_error *err);

#endif
