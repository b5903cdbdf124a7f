/* Quantisation on the device: device.h's struct ptq_device_solver, and the products that it is made of. */
#ifndef PTQ_SOLVER_CUH
#define PTQ_SOLVER_CUH

#include "../device.h"
#include "parts.cuh"

namespace ptq_cuda
{
/* ---- nvidia/solver.cu by cuBLAS on tensor cores and cuSOLVER; emulated/solver.cpp by loops. FP16 in, float32 sums;
 * row-major; alpha lies on the device ---- */

/* Matrices that lie a stride apart, [batch] of them. */
struct halves {
    const uint16_t *at;
    int64_t ld, stride;
};
struct floats {
    float *at;
    int64_t ld, stride;
};
/* y[M][N] = alpha x[M][K] w[N][K]^T, added to y where accumulate */
void half_product(struct floats y, struct halves x, struct halves w, const float *alpha, int accumulate, int64_t m,
                  int64_t n, int64_t k, int64_t batch);
/* y[M][N] = alpha x[M][K] w[K][N], likewise */
void half_plain(struct floats y, struct halves x, struct halves w, const float *alpha, int accumulate, int64_t m,
                int64_t n, int64_t k, int64_t batch);
/* y[M][N] += alpha a[K][M]^T b[K][N] */
void half_columns(float *y, int64_t ldy, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                  const float *alpha, int64_t m, int64_t n, int64_t k);
/* a[K][K], row-major lower, to its Cholesky factor. Waits. 0, or 1 + the row of the bad pivot. */
int64_t cholesky(double *a, int64_t k);
void copy(void *to, const void *from, size_t bytes);
void clear(void *at, size_t bytes);

/* ---- split.cu ---- */
enum { SPLIT_MAX, SPLIT_FACTOR, SPLIT_INEXACT, SPLIT_ALPHA };
void fill_split_slots(struct ptq_device_solver *s);
/* ---- attention_split.cu, gptq.cu, awq.cu ---- */
void attention_split(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                     const struct ptq_attention *shape, int64_t length, void *scratch);
size_t attention_split_bytes(const struct ptq_attention *shape, int64_t length);
void fill_gptq_slots(struct ptq_device_solver *s);
void fill_awq_slots(struct ptq_device_solver *s);

/* hi and lo of a value that a power of two has brought into FP16's range. */
__device__ __forceinline__ void split_value(float x, uint16_t *hi, uint16_t *lo)
{
    *hi = ptq_float_to_half(x);
    *lo = ptq_float_to_half(x - ptq_half_to_float(*hi));
}

/* The exponent that brings max |x| to [2^13, 2^14). */
__device__ __forceinline__ int split_exponent(float max)
{
    int exponent = 14;
    if (max > 0) frexpf(max, &exponent);
    exponent -= 14;
    return exponent < -100 ? -100 : exponent; /* its inverse stays finite */
}
} // namespace ptq_cuda

#endif
