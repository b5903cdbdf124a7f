/* The head's log-sum-exp: a tile of logits by a product into scratch, then a block a row folds it into the row's state.
 * The sum is float64 as on the CPU; a thread's own part is float32 (at most PTQ_VOCAB_ROWS / 256 terms). */
#include "parts.cuh"

namespace ptq_cuda
{
__global__ void lse_kernel(struct ptq_lse *state, const float *logit, const int32_t *target, int64_t first, int64_t n)
{
    float *part = ptq_shared<float>(), max = -INFINITY, sum = 0;
    const float *row = logit + blockIdx.x * n;
    struct ptq_lse *s = state + blockIdx.x;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) max = fmaxf(max, row[j]);
    max = fmaxf(block_max(max, part), s->max);
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) sum += expf(row[j] - max);
    sum = block_sum(sum, part);
    if (threadIdx.x) return;
    int64_t at = target[blockIdx.x] - first;
    s->sum = s->sum * exp((double)s->max - max) + sum;
    s->max = max;
    if (at >= 0 && at < n) s->target = row[at];
}

void lse(struct ptq_lse *state, const float *x, const float *w, const int32_t *target, int64_t first, int64_t m,
         int64_t n, int64_t k, float *scratch)
{
    product(scratch, n, x, k, w, k, 0, m, n, k);
    PTQ_LAUNCH(lse_kernel, dim3((unsigned)m), THREADS, THREADS / WARP * sizeof(float), state, scratch, target, first,
               n);
}
} // namespace ptq_cuda
