/* What the kernels share: sums over a block, rows for a grid, and the host functions that ops.cu puts into the table.
 */
#ifndef PTQ_PARTS_CUH
#define PTQ_PARTS_CUH

#include "model.cuh"

#include "../ops.h"

namespace ptq_cuda
{
enum { WARP = 32, THREADS = 256 };

__device__ __forceinline__ float warp_sum(float x)
{
    for (int mask = WARP / 2; mask; mask /= 2) x += ptq_shuffle_xor(x, mask);
    return x;
}
__device__ __forceinline__ float warp_max(float x)
{
    for (int mask = WARP / 2; mask; mask /= 2) x = fmaxf(x, ptq_shuffle_xor(x, mask));
    return x;
}

/* Of all threads of a block of whole warps, given to each; part: shared, [threads / 32]. */
__device__ __forceinline__ float block_sum(float x, float *part)
{
    int warps = (int)(blockDim.x / WARP);
    x = warp_sum(x);
    __syncthreads(); /* part may still be read from the sum before */
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < warps; i++) x += part[i];
    return x;
}
__device__ __forceinline__ float block_max(float x, float *part)
{
    int warps = (int)(blockDim.x / WARP);
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    x = part[0];
    for (int i = 1; i < warps; i++) x = fmaxf(x, part[i]);
    return x;
}

/* A block of THREADS for each `a_block` of n things. */
static inline dim3 blocks_for(int64_t n, int64_t a_block)
{
    return dim3((unsigned)((n + a_block - 1) / a_block));
}

/* Whole warps, for loops over the columns of a row. */
static inline dim3 threads_for(int64_t columns)
{
    int64_t threads = (columns + WARP - 1) / WARP * WARP;
    return dim3((unsigned)(threads < THREADS ? threads : (int64_t)THREADS));
}

/* ---- blas.cu: cuBLAS in float32 (no TF32), or loops where the model is emulated; row-major ---- */

/* y[M][N] = x[M][K] w[N][K]^T, added to y where accumulate */
void product(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t ldw, int accumulate, int64_t m,
             int64_t n, int64_t k);
/* the same of FP16 values, by tensor cores with sums in float32 */
void half_product(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int accumulate,
                  int64_t m, int64_t n, int64_t k);
/* y[M][N] += a[M][K] b[K][N] */
void add_plain(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m, int64_t n,
               int64_t k);
/* y[M][N] -= a[M][K] b[K][N] */
void subtract_plain(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                    int64_t n, int64_t k);
/* y[M][N] = fade y + sign a[K][M]^T b[K][N] */
void columns_product(float *y, int64_t ldy, float fade, float sign, const float *a, int64_t lda, const float *b,
                     int64_t ldb, int64_t m, int64_t n, int64_t k);

/* ---- the ops, by file ---- */
void linear(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, const float *b, int accumulate,
            int64_t m, int64_t n, int64_t k);
/* y[m][n] = b, or += b where accumulate */
void fill_bias(float *y, int64_t ldy, const float *b, int accumulate, int64_t m, int64_t n);
void gram(float *h, int64_t ldh, float fade, const float *x, int64_t ldx, int64_t m, int64_t first, int64_t n);
void rmsnorm(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k);
void layernorm(float *y, const float *x, const float *g, const float *b, float eps, int64_t m, int64_t k);
void rope(float *x, int64_t ldx, const float *cosine, const float *sine, int64_t m, int64_t heads, int64_t d);
void attention(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
               const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch);
void relu(float *x, int64_t ldx, int64_t m, int64_t n);
void gelu_tanh(float *x, int64_t ldx, int64_t m, int64_t n);
void gelu_erf(float *x, int64_t ldx, int64_t m, int64_t n);
void divide(float *x, int64_t ldx, const float *divisor, int64_t m, int64_t n);
void silu_mul(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t m, int64_t n);
void lse(struct ptq_lse *state, const float *x, const float *w, const int32_t *target, int64_t first, int64_t m,
         int64_t n, int64_t k, float *scratch);
void lse_mean(struct ptq_lse *state, float *mean, const float *x, const float *w, const int32_t *target, int64_t first,
              int64_t m, int64_t n, int64_t k, float *scratch);
void dequantize(float *w, const struct ptq_qmat *q, int64_t row, int64_t rows);
void abssum(float *sum, const float *x, int64_t ldx, int64_t m, int64_t k);
} // namespace ptq_cuda

#endif
