/* What is small in a step of one row, in as few kernels as its products allow: norms, and the gated activation. A warp
 * writes a chunk, as float32 or as a packed linear reads it; a norm's blocks each sum all of the row, which the caches
 * hold, so that none waits for another. */
#include "decode.cuh"
#include "packed_row.cuh"

namespace ptq_cuda
{
enum { WARPS = 8, SILU_WARPS = 4 };

/* ---- where rows go ---- */

int row_serves(const struct ptq_packed *w, int64_t head_size)
{
    bool columns = !w->perm && !w->n_keep && !w->n_divided && (w->stride == w->group || w->n_groups == 1);
    int64_t chunk = w->stride < CHUNK ? w->stride : (int64_t)CHUNK;
    bool equal = w->stride % chunk == 0 && (w->n_groups > 1 || w->k % chunk == 0);
    return columns && w->k % FOUR == 0 && (!head_size || (equal && head_size % chunk == 0));
}

struct row_out row_out_of(const struct ptq_row *row, int64_t k)
{
    struct row_out out = {};
    out.y = row->y;
    out.k = out.stride = out.places = k;
    out.chunks.a_group = out.chunks.n = (k + CHUNK - 1) / CHUNK;
    if (!row->w) return out;
    struct half_acts a = acts_for(row->w, 1, row->scratch);
    out.y = nullptr;
    out.x = a.x, out.high = a.high, out.bits = one_serves(row->w) ? row->w->grid.w_bit : 0, out.chunk = a.chunk,
    out.padded = a.padded;
    out.stride = row->w->stride, out.places = row->w->places;
    out.chunks = chunks_of(row->w);
    return out;
}

/* ---- the embedding ---- */

__global__ void embed_row_kernel(float *x, int32_t *at, const int32_t *id, const uint16_t *table, int64_t vocab,
                                 int64_t k)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    ptq_turn();
    int64_t row = *id >= 0 && *id < vocab ? *id : 0;
    if (i < k) x[i] = ptq_half_to_float(table[row * k + i]);
    if (i == 0) *at += 1;
}

void embed_row(float *x, int32_t *at, const int32_t *id, const uint16_t *table, int64_t vocab, int64_t k)
{
    PTQ_LAUNCH_EARLY(embed_row_kernel, blocks_for(k, WARPS * WARP), WARPS * WARP, 0, x, at, id, table, vocab, k);
}

/* ---- norms ---- */

struct norm_task {
    const float *x, *g, *b;
    float eps;
    int64_t k;
    struct row_out out;
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
    int64_t c = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, n = 0, first = 0;
    if (c < t.out.chunks.n) first = chunk_place(&t.out, c, &n);
    int64_t place = first + threadIdx.x % WARP * FOUR;
    bool mine = place < first + n && place < t.k;
    float *part = ptq_shared<float>(), mean = 0;
    float4 g = {}, b = {}, x = {};
    if (mine) g = four_at(t.g, place / FOUR);
    if (mine && !RMS) b = four_at(t.b, place / FOUR);
    ptq_turn_aside();
    if (mine) x = four_at(t.x, place / FOUR);
    if (!RMS) mean = sum_row<false>(&t, 0, part) / (float)t.k;
    float squares = sum_row<true>(&t, mean, part), scale = 1 / sqrtf(squares / (float)t.k + t.eps) + squares * 0;
    if (c >= t.out.chunks.n) return;
    const float v[FOUR] = {mine ? (x.x - mean) * scale * g.x + b.x : 0, mine ? (x.y - mean) * scale * g.y + b.y : 0,
                           mine ? (x.z - mean) * scale * g.z + b.z : 0, mine ? (x.w - mean) * scale * g.w + b.w : 0};
    put_chunk(&t.out, c, first, n, v);
}

void norm_row(const struct ptq_row *y, const float *x, const float *g, const float *b, float eps, int64_t k)
{
    struct norm_task t = {x, g, b, eps, k, row_out_of(y, k)};
    size_t bytes = WARPS * sizeof(float);
    if (k % FOUR) {
        b ? layernorm(y->y, x, g, b, eps, 1, k) : rmsnorm(y->y, x, g, eps, 1, k);
        return;
    }
    dim3 blocks = blocks_for(t.out.chunks.n, WARPS);
    if (b)
        PTQ_LAUNCH_EARLY(norm_row_kernel<false>, blocks, WARPS * WARP, bytes, t);
    else
        PTQ_LAUNCH_EARLY(norm_row_kernel<true>, blocks, WARPS * WARP, bytes, t);
}

/* ---- the gated activation ---- */

__global__ void silu_row_kernel(struct row_out out, const float *gate, const float *up)
{
    int64_t c = (int64_t)blockIdx.x * SILU_WARPS + threadIdx.x / WARP, n;
    ptq_turn_aside();
    if (c >= out.chunks.n) return;
    int64_t first = chunk_place(&out, c, &n), place = first + threadIdx.x % WARP * FOUR;
    float v[FOUR];
    PTQ_UNROLL
    for (int i = 0; i < FOUR; i++) {
        bool mine = place + i < first + n && place + i < out.k;
        float x = mine ? gate[place + i] : 0;
        v[i] = mine ? x / (1 + expf(-x)) * up[place + i] : 0;
    }
    put_chunk(&out, c, first, n, v);
}

void silu_row(const struct ptq_row *y, const float *gate, const float *up, int64_t n)
{
    struct row_out out = row_out_of(y, n);
    PTQ_LAUNCH_EARLY(silu_row_kernel, blocks_for(out.chunks.n, SILU_WARPS), SILU_WARPS * WARP, 0, out, gate, up);
}
} // namespace ptq_cuda
