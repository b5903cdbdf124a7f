/* y = x w^T on packed weights by tensor cores: every width, group and number of tokens.
 *
 * A warp takes a tile of 16 outputs and every S'th chunk of its row (S splits), for 8 NT tokens; a block is 8 warps:
 * 8 / S tiles, which read the same activations at about the same time (they meet in L1), times S splits, whose sums are
 * added in order. Weights go from memory to registers once: the words of a chunk are loaded while the one before is
 * multiplied. Per chunk:  y += scale (sum of code x - zero * sum of x). */
#include "packed.cuh"
#include "packed_gemm.cuh"

#include "codes.cuh"

namespace ptq_cuda
{
enum { WARPS = 8 };

/* Where chunk c lies: its group, first place and steps. */
struct span {
    int64_t group, place;
    int steps;
};
__device__ __forceinline__ struct span span_of(const struct packed_task *t, int64_t c)
{
    struct span s;
    s.group = c / t->chunks.a_group;
    s.place = s.group * t->w.stride + c % t->chunks.a_group * CHUNK;
    int64_t end = (s.group + 1) * t->w.stride;
    if (end > t->w.places) end = t->w.places;
    if (end > s.place + CHUNK) end = s.place + CHUNK;
    s.steps = (int)(end - s.place) / PTQ_PACK_STEP;
    return s;
}

/* The words of a chunk's steps, those behind its end 0. */
template <int W_BIT>
__device__ __forceinline__ void load_chunk(uint32_t (&word)[CHUNK_STEPS * lane_words(W_BIT)],
                                           const struct packed_task *t, int64_t tile, int64_t c, int r, int column)
{
    struct span s = span_of(t, c);
    int64_t steps = t->w.places / PTQ_PACK_STEP;
    const uint32_t *step = t->w.code + (tile * steps + s.place / PTQ_PACK_STEP) * W_BIT * PTQ_PACK_ROWS;
    PTQ_UNROLL
    for (int i = 0; i < CHUNK_STEPS; i++)
        if (i < s.steps) load_step<W_BIT>(word + i * lane_words(W_BIT), step + i * W_BIT * PTQ_PACK_ROWS, r, column);
}

/* Of a token in a chunk; 0 behind the last token. */
__device__ __forceinline__ struct of_chunk of_chunk_at(const struct packed_task *t, int64_t c, int64_t token)
{
    if (token >= t->x.m) return of_chunk{0, 0};
    if (t->x.chunk) return t->x.chunk[c * t->x.padded + token];
    return of_chunk{t->x.factor[token], t->x.factor[token] * t->x.sum[c * t->x.padded + token]};
}

__device__ __forceinline__ int64_t chunk_of(const struct packed_task *t, int64_t place)
{
    return place / t->w.stride * t->chunks.a_group + place % t->w.stride / CHUNK;
}

/* Eight activations of a token from `place` on, as they were laid out. */
__device__ __forceinline__ uint4 laid_out(const struct packed_task *t, int64_t token, int64_t place)
{
    if (token >= t->x.m) return uint4{0, 0, 0, 0};
    return *reinterpret_cast<const uint4 *>(t->x.x + token * t->w.places + place);
}

/* The same, each looked up by perm, for the comparison: no salient or divided columns. */
__device__ static uint4 gathered(const struct packed_task *t, int64_t token, int64_t place)
{
    uint32_t out[4] = {0, 0, 0, 0};
    if (token >= t->x.m) return uint4{0, 0, 0, 0};
    float inverse = 1 / of_chunk_at(t, chunk_of(t, place), token).factor;
    for (int i = 0; i < 8; i++) {
        int64_t in_group = (place + i) % t->w.stride, position = (place + i) / t->w.stride * t->w.group + in_group;
        if (in_group >= t->w.group || position >= t->w.k) continue;
        int32_t from = t->w.perm ? t->w.perm[position] : (int32_t)position;
        out[i / 2] |= (uint32_t)ptq_float_to_half(t->original[token * t->ldx + from] * inverse) << i % 2 * 16;
    }
    return uint4{out[0], out[1], out[2], out[3]};
}

template <int W_BIT, int NT, bool GATHER>
__device__ __forceinline__ void
multiply_chunk(float (&sum)[NT][4], const uint32_t (&word)[CHUNK_STEPS * lane_words(W_BIT)],
               const struct packed_task *t, int64_t tile, int64_t c, int64_t token, int r, int column)
{
    struct span s = span_of(t, c);
    float part[NT][4] = {};
    PTQ_UNROLL
    for (int i = 0; i < CHUNK_STEPS; i++) {
        if (i >= s.steps) break;
        const uint32_t *words = word + i * lane_words(W_BIT);
        uint32_t a[2][4];
        PTQ_UNROLL
        for (int j = 0; j < 4; j++) {
            a[j / 2][j % 2 * 2] = code_pair<W_BIT>(words, 0, column, j);
            a[j / 2][j % 2 * 2 + 1] = code_pair<W_BIT>(words, 1, column, j);
        }
        PTQ_UNROLL
        for (int nt = 0; nt < NT; nt++) {
            int64_t place = s.place + i * PTQ_PACK_STEP + 8 * column, at = token + nt * COLUMNS + r;
            uint4 x = GATHER ? gathered(t, at, place) : laid_out(t, at, place);
            const uint32_t low[2] = {x.x, x.y}, high[2] = {x.z, x.w};
            ptq_mma_16816(part[nt], a[0], low);
            ptq_mma_16816(part[nt], a[1], high);
        }
    }
    float scale[2], zero[2];
    PTQ_UNROLL
    for (int row = 0; row < 2; row++) {
        scale[row] = packed_scale(&t->w, tile, s.group, r + 8 * row);
        zero[row] = packed_zero(&t->w, tile, s.group, r + 8 * row);
    }
    PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) PTQ_UNROLL
    for (int i = 0; i < 4; i++) {
        int64_t at = token + nt * COLUMNS + 2 * column + i % 2;
        struct of_chunk x = of_chunk_at(t, c, at);
        sum[nt][i] += scale[i / 2] * (part[nt][i] * x.factor - zero[i / 2] * x.sum);
    }
}

/* A finished element: the salient columns, the bias, what was there. */
__device__ static void put(const struct packed_task *t, int64_t tile, int row, int64_t token, float sum)
{
    int64_t n = tile * PTQ_PACK_ROWS + row;
    if (n >= t->w.n || token >= t->x.m) return;
    float value = sum, *to = t->y + token * t->ldy + n;
    for (int64_t i = 0; i < t->w.n_keep; i++)
        value += ptq_half_to_float(t->w.kept[(tile * t->w.n_keep + i) * PTQ_PACK_ROWS + row]) *
                 t->x.kept[token * t->w.n_keep + i];
    if (t->b) value += t->b[n];
    *to = t->accumulate ? *to + value : value;
}

template <int W_BIT, int NT, bool GATHER>
__global__ void __launch_bounds__(WARPS *WARP) packed_kernel(struct packed_task t)
{
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, r = lane / 4, column = lane % 4;
    int tiles = WARPS / t.splits, split = warp / tiles;
    int64_t tile = (int64_t)blockIdx.x * tiles + warp % tiles, token = (int64_t)blockIdx.y * NT * COLUMNS;
    float sum[NT][4] = {}, *shared = ptq_shared<float>();
    uint32_t now[CHUNK_STEPS * lane_words(W_BIT)] = {}, next[CHUNK_STEPS * lane_words(W_BIT)] = {};
    if (tile < t.w.tiles) {
        if (split < t.chunks.n) load_chunk<W_BIT>(next, &t, tile, split, r, column);
        for (int64_t c = split; c < t.chunks.n; c += t.splits) {
            memcpy(now, next, sizeof now);
            if (c + t.splits < t.chunks.n) load_chunk<W_BIT>(next, &t, tile, c + t.splits, r, column);
            multiply_chunk<W_BIT, NT, GATHER>(sum, now, &t, tile, c, token, r, column);
        }
    }
    /* [WARPS][NT * 4][WARP]: neighbours write side by side */
    for (int i = 0; i < NT * 4; i++) shared[(warp * NT * 4 + i) * WARP + lane] = sum[i / 4][i % 4];
    __syncthreads();
    if (split || tile >= t.w.tiles) return;
    for (int i = 0; i < NT * 4; i++) {
        float all = 0;
        for (int s = 0; s < t.splits; s++) all += shared[((warp + s * tiles) * NT * 4 + i) * WARP + lane];
        put(&t, tile, r + i % 4 / 2 * 8, token + i / 4 * COLUMNS + 2 * column + i % 2, all);
    }
}

/* One thread an output and 256 places, which the block shares; its word again for each of the places in it. */
__global__ void plain_kernel(struct packed_task t)
{
    float *x = ptq_shared<float>();
    int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, first = (int64_t)blockIdx.y * THREADS,
            token = blockIdx.z;
    int64_t place = first + threadIdx.x;
    x[threadIdx.x] = place < t.w.places ? ptq_half_to_float(t.x.x[token * t.w.places + place]) *
                                              of_chunk_at(&t, chunk_of(&t, place), token).factor
                                        : 0;
    __syncthreads();
    if (n >= t.w.n) return;
    int64_t tile = n / PTQ_PACK_ROWS;
    int row = (int)(n % PTQ_PACK_ROWS);
    float sum = 0;
    for (int64_t p = first; p < first + THREADS && p < t.w.places; p++) {
        int64_t group = p / t.w.stride, steps = t.w.places / PTQ_PACK_STEP;
        const uint32_t *step = t.w.code + (tile * steps + p / PTQ_PACK_STEP) * t.w.grid.w_bit * PTQ_PACK_ROWS;
        float code = (float)plain_code(step, t.w.grid.w_bit, row, (int)(p % PTQ_PACK_STEP));
        sum += packed_scale(&t.w, tile, group, row) * (code - packed_zero(&t.w, tile, group, row)) * x[p - first];
    }
    ptq_atomic_add(t.y + token * t.ldy + n, sum);
}

/* What plain_kernel adds to: the salient columns, the bias and what was there. */
__global__ void begin_plain_kernel(struct packed_task t)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, token = i / t.w.n, n = i % t.w.n;
    if (token >= t.x.m) return;
    float was = t.accumulate ? t.y[token * t.ldy + n] : 0;
    t.y[token * t.ldy + n] = was;
    t.accumulate = 1;
    put(&t, n / PTQ_PACK_ROWS, (int)(n % PTQ_PACK_ROWS), token, 0);
}

/* ---- choosing ---- */

template <int W_BIT, int NT, bool GATHER> static void launch_tokens(const struct packed_task &t)
{
    int tiles = WARPS / t.splits;
    dim3 grid((unsigned)((t.w.tiles + tiles - 1) / tiles), (unsigned)((t.x.m + NT * COLUMNS - 1) / (NT * COLUMNS)));
    size_t bytes = sizeof(float) * WARPS * NT * 4 * WARP;
    PTQ_LAUNCH((packed_kernel<W_BIT, NT, GATHER>), grid, WARPS * WARP, bytes, t);
}

template <int W_BIT> static void launch_bits(const struct packed_task &t)
{
    if (t.x.m <= 8)
        launch_tokens<W_BIT, 1, false>(t);
    else if (t.x.m <= 32)
        launch_tokens<W_BIT, 4, false>(t);
    else
        launch_tokens<W_BIT, 8, false>(t);
}

/* The comparison is made for one token and for the widths that are published. */
template <int W_BIT> static void launch_gather(const struct packed_task &t)
{
    launch_tokens<W_BIT, 1, true>(t);
}

static void launch_plain(const struct packed_task &t)
{
    PTQ_LAUNCH(begin_plain_kernel, blocks_for(t.x.m * t.w.n, THREADS), THREADS, 0, t);
    dim3 grid((unsigned)((t.w.n + THREADS - 1) / THREADS), (unsigned)((t.w.places + THREADS - 1) / THREADS),
              (unsigned)t.x.m);
    PTQ_LAUNCH(plain_kernel, grid, THREADS, THREADS * sizeof(float), t);
}

/* Enough blocks to fill a large device (about two for each of 132 processors) from as few splits as that takes. */
static int splits_for(const struct ptq_packed *w, int64_t m)
{
    int64_t columns = m <= 64 ? 1 : (m + 63) / 64;
    for (int splits = 1; splits < WARPS; splits *= 2)
        if (w->tiles * splits / WARPS * columns >= 264) return splits;
    return WARPS;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* The arrays in scratch; NULL: only their bytes. */
static size_t place_acts(struct half_acts *a, const struct ptq_packed *w, int64_t m, unsigned char *scratch)
{
    a->m = m;
    a->bits = 0;
    a->padded = (m + COLUMNS - 1) / COLUMNS * COLUMNS;
    size_t at = 0, sums = (size_t)(chunks_of(w).n * a->padded),
           bytes[4] = {sizeof(uint16_t) * (size_t)(m * w->places), sizeof(float) * (size_t)(m * w->n_keep),
                       (m <= FEW ? sizeof(struct of_chunk) : sizeof(float)) * sums,
                       m <= FEW ? 0 : sizeof(float) * (size_t)a->padded};
    void *to[4];
    for (int i = 0; i < 4; at += aligned(bytes[i++])) to[i] = scratch ? scratch + at : nullptr;
    a->x = static_cast<uint16_t *>(to[0]);
    a->kept = static_cast<float *>(to[1]);
    a->chunk = m <= FEW ? static_cast<struct of_chunk *>(to[2]) : nullptr;
    a->sum = m <= FEW ? nullptr : static_cast<float *>(to[2]);
    a->factor = m <= FEW ? nullptr : static_cast<float *>(to[3]);
    return at;
}

size_t packed_scratch(const struct ptq_packed *w, int64_t m)
{
    struct half_acts a;
    size_t few = place_acts(&a, w, m, nullptr), many = gemm_scratch(w, m);
    return few > many ? few : many;
}

static void make_acts(const struct ptq_packed *w, const float *x, int64_t ldx, int64_t m, void *scratch, bool few)
{
    struct half_acts a;
    place_acts(&a, w, m, static_cast<unsigned char *>(scratch));
    a.high = few ? few_high(w->grid.w_bit) : 0;
    fill_acts(&a, w, x, ldx);
}

struct half_acts acts_for(const struct ptq_packed *w, int64_t m, void *scratch)
{
    struct half_acts a = {};
    place_acts(&a, w, m, static_cast<unsigned char *>(scratch));
    a.high = is_few(w, m) ? few_high(w->grid.w_bit) : 0;
    return a;
}

static void multiply(struct packed_task *t, void *scratch, enum ptq_packed_kernel kind, int64_t m)
{
    bool gather = kind == PTQ_PACKED_GATHER;
    place_acts(&t->x, &t->w, m, static_cast<unsigned char *>(scratch));
    if (kind != PTQ_PACKED_PLAIN && is_few(&t->w, m) && (!gather || few_gathers(&t->w))) {
        t->x.high = few_high(t->w.grid.w_bit);
        few_linear(t, gather);
        return;
    }
    switch (kind == PTQ_PACKED_PLAIN ? 0 : t->w.grid.w_bit) {
    case 2:
        launch_bits<2>(*t);
        break;
    case 3:
        gather ? launch_gather<3>(*t) : launch_bits<3>(*t);
        break;
    case 4:
        gather ? launch_gather<4>(*t) : launch_bits<4>(*t);
        break;
    case 8:
        launch_bits<8>(*t);
        break;
    default:
        launch_plain(*t); /* no format that anybody loads has 5, 6 or 7 bits */
    }
}

void packed_acts(const struct ptq_packed *w, const float *x, int64_t ldx, int64_t m, void *scratch)
{
    if (m == 1 && one_serves(w)) return acts_row(scratch, w, x);
    enum gemm_way way = gemm_way_for(w, m);
    way == GEMM_NONE ? make_acts(w, x, ldx, m, scratch, is_few(w, m)) : gemm_acts(w, x, ldx, m, scratch, way);
}

void packed_multiply(float *y, int64_t ldy, const struct ptq_packed *w, const float *b, int accumulate, int64_t m,
                     void *scratch)
{
    if (m == 1 && one_serves(w)) return multiply_row(y, w, b, accumulate, scratch);
    struct packed_task t = {y, ldy, b, accumulate, *w, half_acts(), chunks_of(w), nullptr, 0, splits_for(w, m)};
    enum gemm_way way = gemm_way_for(w, m);
    way == GEMM_NONE ? multiply(&t, scratch, PTQ_PACKED_BEST, m)
                     : gemm_multiply(y, ldy, w, b, accumulate, m, scratch, way);
}

void packed_linear(float *y, int64_t ldy, const float *x, int64_t ldx, const struct ptq_packed *w, const float *b,
                   int accumulate, int64_t m, void *scratch, enum ptq_packed_kernel kind)
{
    if (m == 1 && kind == PTQ_PACKED_BEST && one_serves(w)) {
        acts_row(scratch, w, x);
        return multiply_row(y, w, b, accumulate, scratch);
    }
    struct packed_task t = {y, ldy, b, accumulate, *w, half_acts(), chunks_of(w), x, ldx, splits_for(w, m)};
    enum gemm_way way = gemm_way_of(w, m, kind);
    if (way != GEMM_NONE) {
        gemm_acts(w, x, ldx, m, scratch, way);
        gemm_multiply(y, ldy, w, b, accumulate, m, scratch, way);
        return;
    }
    make_acts(w, x, ldx, m, scratch, kind != PTQ_PACKED_PLAIN && is_few(w, m));
    multiply(&t, scratch, kind, m);
}
} // namespace ptq_cuda
