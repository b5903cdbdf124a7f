/* RMSNorm and LayerNorm: a block a row, two passes over it (mean, then variance), so that no difference of large sums
 * is taken. */
#include "parts.cuh"

namespace ptq_cuda
{
__global__ void rmsnorm_kernel(float *y, const float *x, const float *g, float eps, int64_t k)
{
    const float *row = x + blockIdx.x * k;
    float sum = 0;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) sum += row[j] * row[j];
    sum = block_sum(sum, ptq_shared<float>());
    float scale = 1 / sqrtf(sum / (float)k + eps) + sum * 0; /* see ops.h */
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) y[blockIdx.x * k + j] = row[j] * scale * g[j];
}

__global__ void layernorm_kernel(float *y, const float *x, const float *g, const float *b, float eps, int64_t k)
{
    const float *row = x + blockIdx.x * k;
    float *part = ptq_shared<float>(), sum = 0, squares = 0;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) sum += row[j];
    float mean = block_sum(sum, part) / (float)k;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) squares += (row[j] - mean) * (row[j] - mean);
    squares = block_sum(squares, part);
    float scale = 1 / sqrtf(squares / (float)k + eps) + squares * 0;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) y[blockIdx.x * k + j] = (row[j] - mean) * scale * g[j] + b[j];
}

static const size_t parts_bytes = THREADS / WARP * sizeof(float);

void rmsnorm(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k)
{
    PTQ_LAUNCH(rmsnorm_kernel, dim3((unsigned)m), THREADS, parts_bytes, y, x, g, eps, k);
}

void layernorm(float *y, const float *x, const float *g, const float *b, float eps, int64_t m, int64_t k)
{
    PTQ_LAUNCH(layernorm_kernel, dim3((unsigned)m), THREADS, parts_bytes, y, x, g, b, eps, k);
}
} // namespace ptq_cuda
