/* What touches each element once: rotation, activations, bias, dequantising, sums of |x|. */
#include "parts.cuh"

namespace ptq_cuda
{
/* The i'th thread of the whole grid. */
__device__ __forceinline__ int64_t grid_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* A thread a pair (j, j + D / 2) of a row's head. */
__global__ void rope_kernel(float *x, int64_t ldx, const float *cosine, const float *sine, int64_t m, int64_t heads,
                            int64_t half)
{
    int64_t i = grid_index(), row = i / (heads * half), h = i / half % heads, j = i % half;
    if (row >= m) return;
    float *a = x + row * ldx + h * 2 * half + j, *b = a + half;
    float c = cosine[row * half + j], s = sine[row * half + j], kept = *a, other = *b;
    *a = kept * c - other * s;
    *b = other * c + kept * s;
}

void rope(float *x, int64_t ldx, const float *cosine, const float *sine, int64_t m, int64_t heads, int64_t d)
{
    PTQ_LAUNCH(rope_kernel, blocks_for(m * heads * (d / 2), THREADS), THREADS, 0, x, ldx, cosine, sine, m, heads,
               d / 2);
}

__global__ void relu_kernel(float *x, int64_t ldx, int64_t m, int64_t n)
{
    int64_t i = grid_index(), row = i / n;
    if (row >= m) return;
    float *at = x + row * ldx + i % n;
    if (*at < 0) *at = 0; /* a NaN stays one */
}

void relu(float *x, int64_t ldx, int64_t m, int64_t n)
{
    PTQ_LAUNCH(relu_kernel, blocks_for(m * n, THREADS), THREADS, 0, x, ldx, m, n);
}

template <bool TANH> __global__ void gelu_kernel(float *x, int64_t ldx, int64_t m, int64_t n)
{
    int64_t i = grid_index(), row = i / n;
    if (row >= m) return;
    float *at = x + row * ldx + i % n, v = *at;
    const float root = 0.70710678f, slope = 0.79788456f; /* sqrt(1 / 2), sqrt(2 / pi) */
    *at = TANH ? 0.5f * v * (1 + tanhf(slope * (v + 0.044715f * v * v * v))) : 0.5f * v * erfcf(-v * root);
}

void gelu_tanh(float *x, int64_t ldx, int64_t m, int64_t n)
{
    PTQ_LAUNCH(gelu_kernel<true>, blocks_for(m * n, THREADS), THREADS, 0, x, ldx, m, n);
}

void gelu_erf(float *x, int64_t ldx, int64_t m, int64_t n)
{
    PTQ_LAUNCH(gelu_kernel<false>, blocks_for(m * n, THREADS), THREADS, 0, x, ldx, m, n);
}

/* A block a row: no division finds the place. */
__global__ void silu_mul_kernel(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t n)
{
    int64_t row = blockIdx.x;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
        float x = gate[row * ld + j];
        y[row * ldy + j] = x / (1 + expf(-x)) * up[row * ld + j];
    }
}

void silu_mul(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t m, int64_t n)
{
    PTQ_LAUNCH(silu_mul_kernel, dim3((unsigned)m), threads_for(n), 0, y, ldy, gate, up, ld, n);
}

__global__ void divide_kernel(float *x, int64_t ldx, const float *divisor, int64_t m, int64_t n)
{
    int64_t i = grid_index(), row = i / n, j = i % n;
    if (row < m) x[row * ldx + j] /= divisor[j];
}

void divide(float *x, int64_t ldx, const float *divisor, int64_t m, int64_t n)
{
    PTQ_LAUNCH(divide_kernel, blocks_for(m * n, THREADS), THREADS, 0, x, ldx, divisor, m, n);
}

__global__ void bias_kernel(float *y, int64_t ldy, const float *b, int accumulate, int64_t m, int64_t n)
{
    int64_t i = grid_index(), row = i / n, j = i % n;
    if (row >= m) return;
    y[row * ldy + j] = accumulate ? y[row * ldy + j] + b[j] : b[j];
}

void fill_bias(float *y, int64_t ldy, const float *b, int accumulate, int64_t m, int64_t n)
{
    PTQ_LAUNCH(bias_kernel, blocks_for(m * n, THREADS), THREADS, 0, y, ldy, b, accumulate, m, n);
}

void linear(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, const float *b, int accumulate,
            int64_t m, int64_t n, int64_t k)
{
    if (b) fill_bias(y, ldy, b, accumulate, m, n);
    product(y, ldy, x, ldx, w, k, accumulate || b, m, n, k);
}

/* A thread a column: the rows in order, so that the sums are those of the CPU. */
__global__ void abssum_kernel(float *sum, const float *x, int64_t ldx, int64_t m, int64_t k)
{
    int64_t j = grid_index();
    if (j >= k) return;
    float s = sum[j];
    for (int64_t row = 0; row < m; row++) s += fabsf(x[row * ldx + j]);
    sum[j] = s;
}

void abssum(float *sum, const float *x, int64_t ldx, int64_t m, int64_t k)
{
    PTQ_LAUNCH(abssum_kernel, blocks_for(k, THREADS), THREADS, 0, sum, x, ldx, m, k);
}

/* A thread a place of a row; what is divided or kept is put right by the second kernel. */
__global__ void dequantize_kernel(float *w, struct ptq_qmat q, int64_t group_size, int64_t row, int64_t rows)
{
    int64_t i = grid_index(), n = row + i / q.k, p = i % q.k;
    if (i >= rows * q.k) return;
    int64_t column = q.perm ? q.perm[p] : p, group = n * q.n_groups + p / group_size;
    w[i / q.k * q.k + column] = q.scale[group] * ((float)q.code[n * q.k + column] - q.zero[group]);
}

__global__ void restore_kernel(float *w, struct ptq_qmat q, int64_t row, int64_t rows)
{
    int64_t special = q.n_divided + q.n_keep, i = grid_index(), r = i / special, j = i % special;
    if (i >= rows * special) return;
    if (j < q.n_divided)
        w[r * q.k + q.divided[j]] /= q.divisor[j];
    else
        w[r * q.k + q.keep[j - q.n_divided]] = q.kept[(row + r) * q.n_keep + j - q.n_divided];
}

void dequantize(float *w, const struct ptq_qmat *q, int64_t row, int64_t rows)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size, special = q->n_divided + q->n_keep;
    PTQ_LAUNCH(dequantize_kernel, blocks_for(rows * q->k, THREADS), THREADS, 0, w, *q, g, row, rows);
    if (special) PTQ_LAUNCH(restore_kernel, blocks_for(rows * special, THREADS), THREADS, 0, w, *q, row, rows);
}
} // namespace ptq_cuda
