/* x in float32 to what the packed kernels read (struct half_acts). */
#include "packed_row.cuh"

namespace ptq_cuda
{
/* What stands at a place: 0 for fillings and salient columns. */
__device__ static float at_place(const struct ptq_packed *w, const float *x, int64_t place)
{
    int64_t position = position_at(w, (uint32_t)place);
    if (position >= w->k) return 0;
    int32_t column = w->perm ? w->perm[position] : (int32_t)position;
    return changed(w, x[column], column);
}

/* ---- many tokens: a block a token; a warp sums a chunk ---- */

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
    float factor = factor_of(max, block_sum(sum, part), 10), inverse = 1 / factor;
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

/* ---- few tokens: a warp a chunk, and nobody waits for another ---- */

enum { FEW_THREADS = 128 };

/* Four activations from `place` on, of which the chunk has n. */
__device__ static void take_four(float (&v)[FOUR], const struct ptq_packed *w, const float *x, int64_t place, int n,
                                 int plain)
{
    bool whole = n >= FOUR && place + FOUR <= w->k;
    if (plain && whole && (uintptr_t)(x + place) % sizeof(float4) == 0) {
        float4 four = *reinterpret_cast<const float4 *>(x + place);
        v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
        return;
    }
    PTQ_UNROLL
    for (int i = 0; i < FOUR; i++) {
        v[i] = 0;
        if (i >= n) continue;
        if (!plain)
            v[i] = at_place(w, x, place + i);
        else if (place + i < w->k)
            v[i] = x[place + i];
    }
}

/* A chunk of a token; plain: places are columns, and all of them are here. */
__device__ static void fill_chunk(const struct half_acts *a, const struct ptq_packed *w, const struct chunks *chunks,
                                  const float *x, int64_t token, int64_t c, int plain)
{
    int lane = (int)threadIdx.x % WARP;
    uint32_t a_group = (uint32_t)chunks->a_group, group = (uint32_t)c / a_group, at = (uint32_t)c % a_group * CHUNK;
    int64_t first = (int64_t)group * w->stride + at, place = first + lane * FOUR;
    int64_t n = w->stride - at < CHUNK ? w->stride - at : (int64_t)CHUNK;
    if (n > w->places - first) n = w->places - first;
    float v[FOUR];
    take_four(v, w, x, place, (int)n - lane * FOUR, plain);
    if (a->bits) {
        put_ints(a->x, place, a->chunk + c * a->padded, a->bits, lane * FOUR < n, v);
        return;
    }
    put_halves(a->x + token * w->places + place, a->chunk + c * a->padded + token, a->high, lane * FOUR < n, v);
}

/* Warps behind the chunks' ones bring the salient columns, 32 each. */
__global__ void __launch_bounds__(FEW_THREADS)
    few_acts_kernel(struct half_acts a, struct ptq_packed w, struct chunks chunks, const float *x, int64_t ldx)
{
    int64_t c = (int64_t)blockIdx.x * (FEW_THREADS / WARP) + threadIdx.x / WARP, token = blockIdx.y;
    const float *row = x + token * ldx;
    int plain = !w.perm && !w.n_keep && !w.n_divided && (w.stride == w.group || w.n_groups == 1);
    ptq_turn_aside();
    if (c < chunks.n) {
        fill_chunk(&a, &w, &chunks, row, token, c, plain);
        return;
    }
    int64_t i = (c - chunks.n) * WARP + threadIdx.x % WARP;
    if (i >= w.n_keep) return;
    float value = row[w.keep[i]];
    a.kept[token * w.n_keep + i] = value + value * 0; /* NaN where it is not finite */
}

void fill_acts(const struct half_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx)
{
    struct chunks chunks = chunks_of(w);
    if (a->m > FEW) {
        PTQ_LAUNCH(acts_kernel, dim3((unsigned)a->m), THREADS, THREADS / WARP * sizeof(float), *a, *w, chunks, x, ldx);
        return;
    }
    int64_t warps = chunks.n + (w->n_keep + WARP - 1) / WARP;
    dim3 blocks = blocks_for(warps, FEW_THREADS / WARP);
    PTQ_LAUNCH_EARLY(few_acts_kernel, dim3(blocks.x, (unsigned)a->m), FEW_THREADS, 0, *a, *w, chunks, x, ldx);
}
} // namespace ptq_cuda
