/* The likeliest token, found where its logits are. */
#include "decode.cuh"

namespace ptq_cuda
{
enum { BLOCKS = 64 };

/* A value and where it stands; index -1: not finite, which wins. */
struct best {
    float value;
    int32_t index;
};
__device__ __forceinline__ struct best better(struct best a, struct best b)
{
    if (a.index < 0 || b.index < 0) return best{0, -1};
    if (b.value > a.value || (b.value == a.value && b.index < a.index)) return b;
    return a;
}

/* Of a block, given to thread 0. */
__device__ static struct best block_best(struct best x, struct best *part)
{
    for (int mask = WARP / 2; mask; mask /= 2) {
        struct best other = {ptq_shuffle_xor(x.value, mask), ptq_shuffle_xor(x.index, mask)};
        x = better(x, other);
    }
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    for (unsigned i = 1; threadIdx.x == 0 && i < blockDim.x / WARP; i++) x = better(x, part[i]);
    return x;
}

/* Blocks leave their best; the last one takes the best of those. */
__global__ void likeliest_kernel(int32_t *id, const float *x, int64_t n, struct best *found, unsigned *count)
{
    struct best mine = {-INFINITY, INT32_MAX};
    ptq_turn();
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        float value = x[i];
        mine = better(mine, best{value, value - value == 0 ? (int32_t)i : -1});
    }
    struct best *part = ptq_shared<struct best>();
    unsigned *done = reinterpret_cast<unsigned *>(part + THREADS / WARP);
    mine = block_best(mine, part);
    if (threadIdx.x == 0) {
        found[blockIdx.x] = mine;
        ptq_fence();
        *done = ptq_atomic_count(count, gridDim.x - 1);
    }
    __syncthreads();
    if (*done != gridDim.x - 1) return;
    ptq_fence();
    mine = block_best(threadIdx.x < gridDim.x ? found[threadIdx.x] : best{-INFINITY, INT32_MAX}, part);
    if (threadIdx.x == 0) *id = mine.index;
}

size_t likeliest_scratch()
{
    return BLOCKS * sizeof(struct best) + sizeof(unsigned);
}

void likeliest(int32_t *id, const float *x, int64_t n, void *scratch)
{
    struct best *found = static_cast<struct best *>(scratch);
    int64_t blocks = (n + THREADS - 1) / THREADS < BLOCKS ? (n + THREADS - 1) / THREADS : (int64_t)BLOCKS;
    PTQ_LAUNCH_EARLY(likeliest_kernel, dim3((unsigned)blocks), THREADS,
                     THREADS / WARP * sizeof(struct best) + sizeof(unsigned), id, x, n, found,
                     reinterpret_cast<unsigned *>(found + BLOCKS));
}
} // namespace ptq_cuda
