/* What is small in a step of one row, in as few kernels as its products allow: norms, and the gated activation. Blocks
 * share the row: each sums all of it, which its caches hold, and writes a part, so that nobody waits for one block. */
#include "decode.cuh"

namespace ptq_cuda
{
enum { WARPS = 8, FOUR = 4, PIECE = WARP * FOUR /* columns of a warp */ };

/* ---- norms ---- */

struct norm_task {
    const float *x, *g, *b;
    float eps;
    int64_t k;
    float *y;
};

__device__ __forceinline__ float4 four_at(const float *x, int64_t i)
{
    return reinterpret_cast<const float4 *>(x)[i];
}

/* Over the block, of each x less mean: (x - mean), or its square. */
template <bool SQUARE> __device__ __forceinline__ float sum_row(const struct norm_task *t, float mean, float *part)
{
    float sum = 0;
    for (int64_t i = threadIdx.x; i < t->k / FOUR; i += blockDim.x) {
        float4 v = four_at(t->x, i);
        float a = v.x - mean, b = v.y - mean, c = v.z - mean, d = v.w - mean;
        sum += SQUARE ? a * a + b * b + c * c + d * d : a + b + c + d;
    }
    return block_sum(sum, part);
}

template <bool RMS> __global__ void __launch_bounds__(WARPS *WARP) norm_row_kernel(struct norm_task t)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; /* of the row's fours */
    bool mine = i < t.k / FOUR;
    float *part = ptq_shared<float>(), mean = 0;
    float4 g = {}, b = {};
    if (mine) g = four_at(t.g, i);
    if (mine && !RMS) b = four_at(t.b, i);
    ptq_turn();
    if (!RMS) mean = sum_row<false>(&t, 0, part) / (float)t.k;
    float scale = 1 / sqrtf(sum_row<true>(&t, mean, part) / (float)t.k + t.eps);
    if (!mine) return;
    float4 x = four_at(t.x, i);
    x.x = (x.x - mean) * scale * g.x + b.x, x.y = (x.y - mean) * scale * g.y + b.y;
    x.z = (x.z - mean) * scale * g.z + b.z, x.w = (x.w - mean) * scale * g.w + b.w;
    reinterpret_cast<float4 *>(t.y)[i] = x;
}

void norm_row(float *y, const float *x, const float *g, const float *b, float eps, int64_t k)
{
    struct norm_task t = {x, g, b, eps, k, y};
    size_t bytes = WARPS * sizeof(float);
    if (k % FOUR) {
        b ? layernorm(y, x, g, b, eps, 1, k) : rmsnorm(y, x, g, eps, 1, k);
        return;
    }
    dim3 blocks = blocks_for(k / FOUR, WARPS * WARP);
    if (b)
        PTQ_LAUNCH_EARLY(norm_row_kernel<false>, blocks, WARPS * WARP, bytes, t);
    else
        PTQ_LAUNCH_EARLY(norm_row_kernel<true>, blocks, WARPS * WARP, bytes, t);
}

/* ---- the gated activation ---- */

__global__ void silu_row_kernel(float *y, const float *gate, const float *up, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    ptq_turn();
    if (i >= n) return;
    float x = gate[i];
    y[i] = x / (1 + expf(-x)) * up[i];
}

void silu_row(float *y, const float *gate, const float *up, int64_t n)
{
    PTQ_LAUNCH_EARLY(silu_row_kernel, blocks_for(n, WARPS * WARP), WARPS * WARP, 0, y, gate, up, n);
}
} // namespace ptq_cuda
