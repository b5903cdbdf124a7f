/* methods/grid.c's number grid, step by step the same arithmetic: group's ends to scale and zero. */
#ifndef PTQ_GRID_CUH
#define PTQ_GRID_CUH

#include "solver.cuh"

namespace ptq_cuda
{
struct ends {
    float scale, zero;
};

__device__ __forceinline__ float grid_clamp(float x, float lo, float hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

__device__ __forceinline__ struct ends grid_ends(const struct ptq_grid &grid, float lo, float hi)
{
    float low = lo, high = hi, maxq = (float)((1 << grid.w_bit) - 1);
    struct ends e;
    if (grid.sym) {
        high = fmaxf(fabsf(lo), fabsf(hi));
        low = -high;
    }
    if (grid.range == PTQ_RANGE_GPTQ) {
        low = fminf(low, 0);
        high = fmaxf(high, 0);
        if (low == 0 && high == 0) low = -1, high = 1;
        e.scale = (high - low) / maxq;
    } else {
        e.scale = fmaxf(high - low, 1e-5f) / maxq;
    }
    if (e.scale == 0) e.scale = 5.9604644775390625e-8f; /* 2^-24 */
    float start = rintf(low / e.scale);
    e.zero = grid.sym ? (maxq + 1) / 2 : grid.range == PTQ_RANGE_AWQ ? grid_clamp(-start, 0, maxq) : -start;
    return e;
}

__device__ __forceinline__ bool grid_saturates(struct ends e, float lo, float hi, float maxq)
{
    return lo / e.scale + e.zero < -0.5f || hi / e.scale + e.zero > maxq + 0.5f;
}

__device__ __forceinline__ float grid_code(struct ends e, float w, float maxq)
{
    return grid_clamp(rintf(w / e.scale) + e.zero, 0, maxq);
}

__device__ __forceinline__ float warp_min(float x)
{
    return -warp_max(-x);
}
} // namespace ptq_cuda

#endif
