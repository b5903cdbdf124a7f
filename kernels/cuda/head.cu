/* The head's log-sum-exp: a tile of logits by a product into scratch, then a block a row folds it into the row's state.
 * The sum is float64 as on the CPU; a thread's own part is float32 (at most PTQ_VOCAB_ROWS / 256 terms). */
#include "parts.cuh"

namespace ptq_cuda
{
/* The first of the largest values. */
struct largest {
    float value;
    int index;
};
__device__ static struct largest better(struct largest a, float value, int index)
{
    if (value > a.value || (value == a.value && index < a.index)) a = largest{value, index};
    return a;
}
/* Of a block, given to each thread; part: shared, [2 * threads / 32]. */
__device__ static struct largest block_largest(struct largest x, float *part)
{
    int warps = (int)(blockDim.x / WARP), *index = reinterpret_cast<int *>(part + warps);
    for (int mask = WARP / 2; mask; mask /= 2) {
        float value = ptq_shuffle_xor(x.value, mask);
        x = better(x, value, ptq_shuffle_xor(x.index, mask));
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x.value, index[threadIdx.x / WARP] = x.index;
    __syncthreads();
    for (int i = 0; i < warps; i++) x = better(x, part[i], index[i]);
    return x;
}

/* mean NULL: the sums alone; else logits become exp(logit - max), and the row of mean so far shrinks with its sum. */
__global__ void lse_kernel(struct ptq_lse *state, float *logit, const int32_t *target, int64_t first, int64_t n,
                           float *mean, int64_t k)
{
    float *part = ptq_shared<float>(), sum = 0, *row = logit + blockIdx.x * n;
    struct ptq_lse was = state[blockIdx.x];
    struct largest here = {-INFINITY, 0};
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) here = better(here, row[j], (int)j);
    here = block_largest(here, part);
    float max = fmaxf(here.value, was.max), shrink = expf(was.max - max);
    int64_t at = target[blockIdx.x] - first;
    float of_target = at >= 0 && at < n ? row[at] : was.target;
    __syncthreads(); /* the logits were read, the state too */
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
        float p = expf(row[j] - max);
        if (mean) row[j] = p;
        sum += p;
    }
    for (int64_t j = threadIdx.x; mean && j < k; j += blockDim.x) mean[blockIdx.x * k + j] *= shrink;
    sum = block_sum(sum, part);
    if (threadIdx.x == 0)
        state[blockIdx.x] = ptq_lse{max, was.sum * exp((double)was.max - max) + sum, of_target,
                                    here.value > was.max ? (int32_t)(first + here.index) : was.top};
}

void lse_mean(struct ptq_lse *state, float *mean, const float *x, const float *w, const int32_t *target, int64_t first,
              int64_t m, int64_t n, int64_t k, float *scratch)
{
    product(scratch, n, x, k, w, k, 0, m, n, k);
    PTQ_LAUNCH(lse_kernel, dim3((unsigned)m), THREADS, 2 * THREADS / WARP * sizeof(float), state, scratch, target,
               first, n, mean, k);
    if (mean) add_plain(mean, k, scratch, n, w, k, m, k, n);
}

void lse(struct ptq_lse *state, const float *x, const float *w, const int32_t *target, int64_t first, int64_t m,
         int64_t n, int64_t k, float *scratch)
{
    lse_mean(state, nullptr, x, w, target, first, m, n, k, scratch);
}
} // namespace ptq_cuda
