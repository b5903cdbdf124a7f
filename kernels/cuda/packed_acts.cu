/* x in float32 to what the packed kernels read (struct half_acts). */
#include "codes.cuh"
#include "packed.cuh"

namespace ptq_cuda
{
/* Where value stands in list[0..n), ascending, or -1. */
__device__ static int64_t find(const int32_t *list, int64_t n, int32_t value)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (list[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && list[low] == value ? low : -1;
}

/* What stands at a place: 0 for fillings and salient columns. */
__device__ static float at_place(const struct ptq_packed *w, const float *x, int64_t place)
{
    int64_t group = place / w->stride, in_group = place % w->stride, position = group * w->group + in_group;
    if (in_group >= w->group || position >= w->k) return 0;
    int32_t column = w->perm ? w->perm[position] : (int32_t)position;
    if (w->n_keep && find(w->keep, w->n_keep, column) >= 0) return 0;
    int64_t divided = w->n_divided ? find(w->divided, w->n_divided, column) : -1;
    return divided < 0 ? x[column] : x[column] / w->divisor[divided];
}

/* The power of two that brings max |x| to [512, 1024); NaN where a value is not finite. */
__device__ static float factor_of(float max, float sum)
{
    int exponent;
    if (!(sum == 0)) return NAN;
    if (max == 0) return 1;
    frexpf(max, &exponent);
    exponent = exponent - 10 < -100 ? -100 : exponent - 10; /* its inverse stays finite */
    return ldexpf(1, exponent);
}

/* A block a token; a warp sums a chunk. */
__global__ void acts_kernel(struct half_acts a, struct ptq_packed w, struct chunks chunks, const float *x, int64_t ldx)
{
    int64_t token = blockIdx.x, warps = blockDim.x / WARP, lane = threadIdx.x % WARP;
    const float *row = x + token * ldx;
    float *part = ptq_shared<float>(), max = 0, sum = 0;
    for (int64_t j = threadIdx.x; j < w.k; j += blockDim.x) {
        max = fmaxf(max, fabsf(row[j]));
        sum += fabsf(row[j]) * 0; /* NaN from what is not finite */
    }
    float biggest = 1; /* a divided column may grow */
    for (int64_t j = threadIdx.x; j < w.n_divided; j += blockDim.x) biggest = fmaxf(biggest, 1 / w.divisor[j]);
    max = block_max(max, part) * block_max(biggest, part);
    float factor = factor_of(max, block_sum(sum, part)), inverse = 1 / factor;
    if (threadIdx.x == 0) a.factor[token] = factor;
    for (int64_t j = threadIdx.x; j < w.n_keep; j += blockDim.x) a.kept[token * w.n_keep + j] = row[w.keep[j]];
    for (int64_t c = threadIdx.x / WARP; c < chunks.n; c += warps) {
        int64_t first = c / chunks.a_group * w.stride + c % chunks.a_group * CHUNK;
        int64_t left = c / chunks.a_group * w.stride + w.stride - first,
                end = first + (left < CHUNK ? left : (int64_t)CHUNK);
        float of_chunk = 0;
        for (int64_t p = first + lane; p < end && p < w.places; p += WARP) {
            uint16_t half = ptq_float_to_half(at_place(&w, row, p) * inverse);
            a.x[token * w.places + p] = half;
            of_chunk += ptq_half_to_float(half);
        }
        of_chunk = warp_sum(of_chunk);
        if (lane == 0) a.sum[c * a.padded + token] = of_chunk;
    }
}

void fill_acts(const struct half_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx)
{
    PTQ_LAUNCH(acts_kernel, dim3((unsigned)a->m), THREADS, THREADS / WARP * sizeof(float), *a, *w, chunks_of(w), x,
               ldx);
}
} // namespace ptq_cuda
