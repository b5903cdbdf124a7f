/* Many tokens on packed weights: what both ways share (x in FP16, finishing), and the way by panels and cuBLAS. */
#include "codes.cuh"
#include "memory.cuh"
#include "packed_gemm.cuh"

namespace ptq_cuda
{
enum {
    ACT_THREADS = 1024,
    FEW_TOKENS = 16,         /* up to which packed.cu's kernels are for */
    PANEL_BYTES = 512 << 20, /* of FP16 weights that cuBLAS gets at a time: a linear of LLaMA-2-70B as a whole */
    FINISH_OUTPUTS = THREADS /* of a block */
};

/* From how many tokens panels are faster than the fused kernel, by compute capability (bench/gpu.c, "fused" and
 * "panels"). Before sm_90 there is no wgmma. */
static int64_t first_panel_tokens(int version)
{
    return version == 90 ? 513 : FEW_TOKENS + 1;
}

/* ---- x in FP16 ---- */

/* The power of two that a token is divided by: 1 where FP16 holds it as it is, with its largest values at their full
 * precision; NaN where a value is not finite. */
__device__ static float token_factor(float max)
{
    int exponent;
    if (!(max < INFINITY)) return NAN;
    if (max == 0 || (max >= 0x1p-6f && max <= 0x1p15f)) return 1;
    frexpf(max, &exponent);
    exponent = exponent - 10 < -100 ? -100 : exponent - 10; /* its inverse stays finite */
    return ldexpf(1, exponent);
}

/* Of |row| as it will be divided; infinite where a value is not finite. */
__device__ static float largest(const struct ptq_packed *w, const float *row, float *part)
{
    enum { AT_A_TIME = 8 };
    float max = 0, biggest = 1; /* a divided column may grow */
    for (int64_t first = threadIdx.x; first < w->k; first += AT_A_TIME * ACT_THREADS) {
        float value[AT_A_TIME];
        PTQ_UNROLL
        for (int i = 0; i < AT_A_TIME; i++)
            value[i] = first + i * ACT_THREADS < w->k ? fabsf(row[first + i * ACT_THREADS]) : 0;
        PTQ_UNROLL
        for (int i = 0; i < AT_A_TIME; i++) max = fmaxf(max, value[i] < INFINITY ? value[i] : INFINITY);
    }
    max = block_max(max, part);
    if (!w->n_divided) return max;
    for (int64_t j = threadIdx.x; j < w->n_divided; j += ACT_THREADS) biggest = fmaxf(biggest, 1 / w->divisor[j]);
    return max * block_max(biggest, part);
}

/* Piece p (8 values) of a token. Panels: places 8 p and on. Fused: in the order of an mma's inner index (codes.cuh):
 * places 2 (p % 4), 2 (p % 4) + 1, and those 8, 16 and 24 behind, of the step. Each kind of load is made of all eight
 * before the next begins, so that they are under way together. */
__device__ __forceinline__ uint4 piece_at(const struct ptq_packed *w, const float *row, uint32_t p, bool fused,
                                          float inverse)
{
    uint32_t position[8], k = (uint32_t)w->k, first = fused ? p / 4 * PTQ_PACK_STEP + p % 4 * 2 : p * 8;
    int32_t column[8];
    float value[8];
    PTQ_UNROLL
    for (uint32_t i = 0; i < 8; i++) position[i] = position_at(w, first + i / 2 * (fused ? 8 : 2) + i % 2);
    PTQ_UNROLL
    for (int i = 0; i < 8; i++) column[i] = (int32_t)(position[i] < k ? position[i] : k - 1);
    if (w->perm) PTQ_UNROLL
    for (int i = 0; i < 8; i++) column[i] = w->perm[column[i]];
    PTQ_UNROLL
    for (int i = 0; i < 8; i++) value[i] = row[column[i]];
    if (w->n_keep || w->n_divided)
        for (int i = 0; i < 8; i++) value[i] = changed(w, value[i], column[i]);
    uint32_t out[4] = {0, 0, 0, 0};
    PTQ_UNROLL
    for (int i = 0; i < 8; i++)
        out[i / 2] |= (uint32_t)ptq_float_to_half(position[i] < k ? value[i] * inverse : 0) << i % 2 * 16;
    return uint4{out[0], out[1], out[2], out[3]};
}

/* Blocks (token, part of its pieces). Each looks for the largest value itself. */
__global__ void __launch_bounds__(ACT_THREADS) gemm_acts_kernel(const struct gemm g, const float *x, int64_t ldx)
{
    float *part = ptq_shared<float>();
    int64_t token = blockIdx.x;
    uint32_t tokens = (uint32_t)g.tokens,
             pieces = tokens ? (uint32_t)g.halves * (HALF_SLICE / 8) : (uint32_t)g.w.places / 8;
    uint32_t p = blockIdx.y * ACT_THREADS + threadIdx.x, step = gridDim.y * ACT_THREADS;
    uint4 *to = reinterpret_cast<uint4 *>(g.x);
    const float *row = x + token * ldx;
    ptq_turn();
    float factor = token < g.m ? token_factor(largest(&g.w, row, part)) : 1, inverse = 1 / factor;
    if (blockIdx.y == 0 && token < g.m) {
        if (threadIdx.x == 0) g.factor[token] = factor;
        for (int64_t j = threadIdx.x; j < g.w.n_keep; j += ACT_THREADS)
            g.kept[token * g.w.n_keep + j] = row[g.w.keep[j]];
    }
    if (blockIdx.y == 0 && token == 0 && threadIdx.x == 0) *g.scaled = 0;
    for (; p < pieces; p += step) {
        uint4 piece = token < g.m ? piece_at(&g.w, row, p, tokens > 0, inverse) : uint4{0, 0, 0, 0};
        if (tokens) {
            uint32_t tile = (uint32_t)token / tokens, of_tile = (uint32_t)token % tokens;
            size_t at = ((size_t)tile * (size_t)g.halves + p / 8) * tokens + of_tile;
            to[at * 8 + (p % 8 ^ of_tile % 8)] = piece;
        } else
            to[(size_t)token * pieces + p] = piece;
    }
}

/* ---- a panel ---- */

/* The power of two that brings a row into FP16's range: 1 but for rows that no model has. */
__device__ static float row_factor(float scale, int w_bit)
{
    int exponent;
    if (scale == 0 || (scale >= 0x1p-12f && scale * (float)(1 << w_bit) <= 0x1p15f)) return 1;
    frexpf(scale, &exponent);
    exponent = exponent + 2 < -100 ? -100 : exponent + 2;
    return ldexpf(1, exponent);
}

/* A block a tile: the factors of its rows, from the largest scale of each. */
__global__ void row_factor_kernel(const struct gemm g)
{
    int row = (int)threadIdx.x % PTQ_PACK_ROWS;
    float max = 0, *part = ptq_shared<float>();
    ptq_turn();
    for (int64_t group = threadIdx.x / PTQ_PACK_ROWS; group < g.w.n_groups; group += THREADS / PTQ_PACK_ROWS)
        max = fmaxf(max, fabsf(packed_scale(&g.w, blockIdx.x, group, row)));
    part[threadIdx.x] = max;
    __syncthreads();
    if (threadIdx.x >= PTQ_PACK_ROWS) return;
    for (int i = 1; i < THREADS / PTQ_PACK_ROWS; i++) max = fmaxf(max, part[i * PTQ_PACK_ROWS + row]);
    float factor = row_factor(max, g.w.grid.w_bit);
    g.row_factor[blockIdx.x * PTQ_PACK_ROWS + row] = factor;
    if (factor != 1) ptq_set_flag(g.scaled, 1);
}

enum { AT_ONCE = 4, PANEL_STEPS = THREADS / WARP * AT_ONCE };

/* What a lane writes of a step: 8 places of rows r and r + 8 (codes.cuh). */
template <int W_BIT>
__device__ __forceinline__ void put_step(const struct gemm *g, const uint32_t *word, const float (&scale)[2],
                                         const uint32_t (&zero)[2], uint16_t *to, int column)
{
    PTQ_UNROLL
    for (int row = 0; row < 2; row++) {
        uint32_t out[4];
        PTQ_UNROLL
        for (int j = 0; j < 4; j++) {
            ptq_half2 zeros = {zero[row] * 0x00010001u | 0x64006400u};
            uint32_t code = ptq_half2_sub(code_1024<W_BIT>(word, row, column, j), zeros).bits;
            out[j] = (uint32_t)ptq_float_to_half(ptq_half_to_float((uint16_t)code) * scale[row]) |
                     (uint32_t)ptq_float_to_half(ptq_half_to_float((uint16_t)(code >> 16)) * scale[row]) << 16;
        }
        *reinterpret_cast<uint4 *>(to + row * 8 * g->w.places) = uint4{out[0], out[1], out[2], out[3]};
    }
}

/* Blocks (tile, 32 steps); a warp loads four steps, which follow each other, and then writes them. */
template <int W_BIT> __global__ void panel_kernel(const struct gemm g)
{
    int lane = (int)threadIdx.x % WARP, r = lane / 4, column = lane % 4;
    int64_t tile = g.first_row / PTQ_PACK_ROWS + blockIdx.x;
    uint32_t steps = (uint32_t)(g.w.places / PTQ_PACK_STEP), in_group = (uint32_t)(g.w.stride / PTQ_PACK_STEP),
             first = blockIdx.y * PANEL_STEPS + threadIdx.x / WARP * AT_ONCE;
    uint32_t word[AT_ONCE][lane_words(W_BIT)] = {}, zero[AT_ONCE][2] = {};
    float scale[AT_ONCE][2] = {};
    ptq_turn();
    PTQ_UNROLL
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        if (first + i >= steps) break;
        load_step<W_BIT>(word[i], g.w.code + ((size_t)tile * steps + first + i) * W_BIT * PTQ_PACK_ROWS, r, column);
        for (int row = 0; row < 2; row++) {
            scale[i][row] = packed_scale(&g.w, tile, (first + i) / in_group, r + 8 * row) /
                            g.row_factor[tile * PTQ_PACK_ROWS + r + 8 * row];
            zero[i][row] = (uint32_t)packed_zero(&g.w, tile, (first + i) / in_group, r + 8 * row);
        }
    }
    PTQ_UNROLL
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        if (first + i >= steps) break;
        put_step<W_BIT>(&g, word[i], scale[i], zero[i],
                        g.panel + ((size_t)blockIdx.x * PTQ_PACK_ROWS + (size_t)r) * (size_t)g.w.places +
                            (size_t)(first + i) * PTQ_PACK_STEP + (size_t)column * 8,
                        column);
    }
}

static void fill_panel(const struct gemm &g, unsigned tiles)
{
    dim3 grid(tiles, (unsigned)((g.w.places / PTQ_PACK_STEP + PANEL_STEPS - 1) / PANEL_STEPS));
    switch (g.w.grid.w_bit) {
    case 2:
        PTQ_LAUNCH_EARLY(panel_kernel<2>, grid, THREADS, 0, g);
        break;
    case 3:
        PTQ_LAUNCH_EARLY(panel_kernel<3>, grid, THREADS, 0, g);
        break;
    case 4:
        PTQ_LAUNCH_EARLY(panel_kernel<4>, grid, THREADS, 0, g);
        break;
    case 5:
        PTQ_LAUNCH_EARLY(panel_kernel<5>, grid, THREADS, 0, g);
        break;
    case 6:
        PTQ_LAUNCH_EARLY(panel_kernel<6>, grid, THREADS, 0, g);
        break;
    case 7:
        PTQ_LAUNCH_EARLY(panel_kernel<7>, grid, THREADS, 0, g);
        break;
    default:
        PTQ_LAUNCH_EARLY(panel_kernel<8>, grid, THREADS, 0, g);
    }
}

/* ---- finishing ---- */

/* Sums of the splits in their order. Where cuBLAS wrote into y itself, most tokens are done: nothing is left for a
 * factor of 1. */
__global__ void finish_kernel(const struct gemm g)
{
    int64_t at = (int64_t)blockIdx.x * FINISH_OUTPUTS + threadIdx.x;
    bool in_place = g.sums == nullptr;
    ptq_turn();
    for (int64_t token = blockIdx.y; token < g.m; token += gridDim.y) {
        if (at >= g.width || (in_place && g.factor[token] == 1 && !*g.scaled)) continue;
        float sum = in_place ? g.y[token * g.ldy + g.first_row + at] : 0;
        for (int s = 0; s < g.splits && !in_place; s++) sum += g.sums[((int64_t)s * g.m + token) * g.width + at];
        finish_output(&g, token, g.first_row + at, sum);
    }
}

static void finish(const struct gemm &g)
{
    dim3 grid((unsigned)((g.width + FINISH_OUTPUTS - 1) / FINISH_OUTPUTS), (unsigned)(g.m < 256 ? g.m : 256));
    PTQ_LAUNCH_EARLY(finish_kernel, grid, FINISH_OUTPUTS, 0, g);
}

/* ---- the two ways ---- */

/* Outputs of a panel: whole tiles. */
static int64_t panel_rows(const struct ptq_packed *w)
{
    int64_t most = PANEL_BYTES / (2 * w->places) / PTQ_PACK_ROWS * PTQ_PACK_ROWS, all = w->tiles * PTQ_PACK_ROWS;
    if (most < PTQ_PACK_ROWS) most = PTQ_PACK_ROWS;
    return most < all ? most : all;
}

/* The arrays in scratch; NULL: only their bytes. */
static size_t place_gemm(struct gemm *g, const struct ptq_packed *w, int64_t m, enum gemm_way way,
                         unsigned char *scratch)
{
    g->w = *w;
    g->m = m;
    g->tokens = way == GEMM_PANELS ? 0 : m <= 32 ? 32 : m <= 64 ? 64 : 128;
    g->halves = (int)((w->places + SLICE - 1) / SLICE) * 2;
    g->splits = g->tokens ? fused_splits(w, m, g->tokens) : 1;
    g->width = g->tokens ? w->n : panel_rows(w);
    size_t rows = (size_t)panel_rows(w), padded = g->tokens ? (size_t)((m + g->tokens - 1) / g->tokens * g->tokens) : 0;
    size_t bytes[7] = {sizeof(uint16_t) *
                           (g->tokens ? padded * (size_t)g->halves * HALF_SLICE : (size_t)(m * w->places)),
                       sizeof(float) * (size_t)m,
                       sizeof(float) * (size_t)(m * w->n_keep),
                       sizeof(int),
                       sizeof(float) * (size_t)(g->tokens && g->splits == 1 ? 0 : g->splits * m * g->width),
                       g->tokens ? 0 : sizeof(float) * (size_t)(w->tiles * PTQ_PACK_ROWS),
                       g->tokens ? 0 : sizeof(uint16_t) * rows * (size_t)w->places};
    void *to[7];
    size_t at = 0;
    for (int i = 0; i < 7; at += (bytes[i++] + 1023) / 1024 * 1024) to[i] = scratch ? scratch + at : nullptr;
    g->x = static_cast<uint16_t *>(to[0]);
    g->factor = static_cast<float *>(to[1]);
    g->kept = static_cast<float *>(to[2]);
    g->scaled = static_cast<int *>(to[3]);
    g->sums = static_cast<float *>(to[4]);
    g->row_factor = g->tokens ? nullptr : static_cast<float *>(to[5]);
    g->panel = static_cast<uint16_t *>(to[6]);
    return at;
}

static void panels_product(struct gemm g)
{
    int64_t rows = g.width;
    bool direct = !g.accumulate && !g.b && !g.w.n_keep;
    if (direct) g.sums = nullptr;
    PTQ_LAUNCH_EARLY(row_factor_kernel, blocks_for(g.w.tiles, 1), THREADS, THREADS * sizeof(float), g);
    for (g.first_row = 0; g.first_row < g.w.n; g.first_row += rows) {
        int64_t left = g.w.tiles * PTQ_PACK_ROWS - g.first_row, padded = left < rows ? left : rows;
        g.width = g.w.n - g.first_row < rows ? g.w.n - g.first_row : rows;
        fill_panel(g, (unsigned)(padded / PTQ_PACK_ROWS));
        half_product(direct ? g.y + g.first_row : g.sums, direct ? g.ldy : g.width, g.x, g.w.places, g.panel,
                     g.w.places, 0, g.m, g.width, g.w.places);
        finish(g);
    }
}

static bool has_fused(const struct ptq_packed *w)
{
    int bits = w->grid.w_bit;
    return version() == 90 && (bits == 2 || bits == 3 || bits == 4 || bits == 8);
}

enum gemm_way gemm_way_for(const struct ptq_packed *w, int64_t m)
{
    if (m <= FEW_TOKENS) return GEMM_NONE;
    return has_fused(w) && m < first_panel_tokens(version()) ? GEMM_FUSED : GEMM_PANELS;
}

enum gemm_way gemm_way_of(const struct ptq_packed *w, int64_t m, enum ptq_packed_kernel kind)
{
    if (kind == PTQ_PACKED_BEST) return gemm_way_for(w, m);
    if (m <= FEW_TOKENS || kind < PTQ_PACKED_FUSED) return GEMM_NONE;
    return kind == PTQ_PACKED_FUSED && has_fused(w) ? GEMM_FUSED : GEMM_PANELS;
}

/* For either way, since a comparison may ask for both. */
size_t gemm_scratch(const struct ptq_packed *w, int64_t m)
{
    struct gemm g;
    if (m <= FEW_TOKENS) return 0;
    size_t panels = place_gemm(&g, w, m, GEMM_PANELS, nullptr), fused = place_gemm(&g, w, m, GEMM_FUSED, nullptr);
    return panels > fused ? panels : fused;
}

void gemm_acts(const struct ptq_packed *w, const float *x, int64_t ldx, int64_t m, void *scratch, enum gemm_way way)
{
    enum { BLOCKS = 264, PIECES = ACT_THREADS };
    struct gemm g = {};
    place_gemm(&g, w, m, way, static_cast<unsigned char *>(scratch));
    int64_t tokens = g.tokens ? (m + g.tokens - 1) / g.tokens * g.tokens : m;
    int64_t parts = (w->places / 8 + PIECES - 1) / PIECES;
    if (parts > BLOCKS / tokens) parts = BLOCKS / tokens;
    PTQ_LAUNCH_EARLY(gemm_acts_kernel, dim3((unsigned)tokens, (unsigned)(parts < 1 ? 1 : parts)), ACT_THREADS,
                     ACT_THREADS / WARP * sizeof(float), g, x, ldx);
}

void gemm_multiply(float *y, int64_t ldy, const struct ptq_packed *w, const float *b, int accumulate, int64_t m,
                   void *scratch, enum gemm_way way)
{
    struct gemm g = {};
    place_gemm(&g, w, m, way, static_cast<unsigned char *>(scratch));
    g.y = y;
    g.ldy = ldy;
    g.b = b;
    g.accumulate = accumulate;
    if (way == GEMM_PANELS) {
        panels_product(g);
        return;
    }
    fused_product(&g);
    if (g.splits > 1) finish(g);
}
} // namespace ptq_cuda
