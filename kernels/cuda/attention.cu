/* Causal attention with a running softmax (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135):
 * scores are never stored.
 *
 * A block takes ROWS query rows of one head, a warp ROWS / WARPS of them. Keys and values come in tiles of 32, shared
 * by the block: lane l scores key l; for the mixed values it holds elements l, l + 32, ... of the head. */
#include "parts.cuh"

#include "../device.h"

namespace ptq_cuda
{
enum { WARPS = 8, ROWS_A_WARP = 4, ROWS = WARPS * ROWS_A_WARP, KEYS = WARP, PARTS = PTQ_DEVICE_HEAD / WARP };

struct attention_task {
    float *y;
    const float *q, *k, *v;
    int64_t ldy, ldqkv, d, heads_a_kv, first, m, window;
    float scale;
    const float *slope; /* [heads] or NULL */
};

/* What a warp knows of one query row. */
struct mixed_row {
    float max, sum, part[PARTS];
};

/* tile[j][i], rows ld apart, from key first + j; zeros behind `last`. */
__device__ void load_tile(float *tile, int64_t ld, const float *from, int64_t ldqkv, int64_t d, int64_t first,
                          int64_t last)
{
    for (int64_t i = threadIdx.x; i < KEYS * d; i += blockDim.x) {
        int64_t j = i / d, e = i % d;
        tile[j * ld + e] = first + j <= last ? from[(first + j) * ldqkv + e] : 0;
    }
}

/* Keys [from, last] count for the row. */
__device__ void mix_tile(struct mixed_row *row, const float *q, const float *keys, const float *values, int64_t ld,
                         const struct attention_task *t, int64_t first, int64_t from, int64_t last, float slope)
{
    int64_t d = t->d, key = first + threadIdx.x % WARP;
    int lane = (int)threadIdx.x % WARP;
    float score = 0;
    for (int64_t e = 0; e < d; e++) score += q[e] * keys[lane * ld + e];
    score = key >= from && key <= last ? score * t->scale + slope * (float)(key - last) : -INFINITY;
    float max = fmaxf(row->max, warp_max(score)), p = expf(score - max), shrink = expf(row->max - max);
    row->sum = row->sum * shrink + warp_sum(p);
    row->max = max;
    for (int i = 0; i < PARTS; i++) {
        if (i * WARP >= d) break;
        float mixed = row->part[i] * shrink;
        for (int j = 0; j < KEYS; j++) {
            float weight = ptq_shuffle(p, j);
            if (i * WARP + lane < d) mixed += weight * values[j * ld + i * WARP + lane];
        }
        row->part[i] = mixed;
    }
}

__global__ void __launch_bounds__(WARPS *WARP) attention_kernel(struct attention_task t)
{
    int64_t ld = t.d + 1, head = blockIdx.y, kv = head / t.heads_a_kv, base = (int64_t)blockIdx.x * ROWS;
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    float *keys = ptq_shared<float>(), *values = keys + KEYS * ld, *queries = values + KEYS * ld;
    float slope = t.slope ? t.slope[head] : 0;
    struct mixed_row row[ROWS_A_WARP];
    for (int r = 0; r < ROWS_A_WARP; r++) {
        row[r].max = -INFINITY;
        row[r].sum = 0;
        for (int i = 0; i < PARTS; i++) row[r].part[i] = 0;
    }
    for (int64_t i = threadIdx.x; i < ROWS * t.d; i += blockDim.x) {
        int64_t r = i / t.d, e = i % t.d;
        queries[r * t.d + e] = base + r < t.m ? t.q[(base + r) * t.ldqkv + head * t.d + e] : 0;
    }
    int64_t end = t.first + (base + ROWS < t.m ? base + ROWS : t.m) - 1; /* the last key that any row here sees */
    int64_t begin = t.window && t.first + base >= t.window ? t.first + base - t.window + 1 : 0;
    for (int64_t first = begin / KEYS * KEYS; first <= end; first += KEYS) {
        __syncthreads();
        load_tile(keys, ld, t.k + kv * t.d, t.ldqkv, t.d, first, end);
        load_tile(values, ld, t.v + kv * t.d, t.ldqkv, t.d, first, end);
        __syncthreads();
        for (int r = 0; r < ROWS_A_WARP; r++) {
            int64_t at = base + warp * ROWS_A_WARP + r, last = t.first + at;
            int64_t from = t.window && last >= t.window ? last - t.window + 1 : 0;
            if (at < t.m && first <= last && first + KEYS > from)
                mix_tile(&row[r], queries + (warp * ROWS_A_WARP + r) * t.d, keys, values, ld, &t, first, from, last,
                         slope);
        }
    }
    for (int r = 0; r < ROWS_A_WARP; r++) {
        int64_t at = base + warp * ROWS_A_WARP + r;
        for (int i = 0; i < PARTS; i++)
            if (at < t.m && i * WARP + lane < t.d)
                t.y[at * t.ldy + head * t.d + i * WARP + lane] = row[r].part[i] / row[r].sum;
    }
}

void attention(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
               const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch)
{
    struct attention_task t = {y,
                               q,
                               k,
                               v,
                               ldy,
                               ldqkv,
                               shape->head_size,
                               shape->heads / shape->kv_heads,
                               first,
                               m,
                               shape->window,
                               shape->scale,
                               shape->slope};
    size_t bytes = sizeof(float) * (size_t)(2 * KEYS * (t.d + 1) + ROWS * t.d);
    (void)scratch;
    PTQ_LAUNCH(attention_kernel, dim3((unsigned)((m + ROWS - 1) / ROWS), (unsigned)shape->heads), WARPS * WARP, bytes,
               t);
}
} // namespace ptq_cuda
