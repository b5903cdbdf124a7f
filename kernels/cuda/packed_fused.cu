/* y = x w^T on packed weights by wgmma: weights are the operand in registers, tokens the one in shared memory.
 *
 * A block is four warpgroups, 256 outputs (a warp has a tile of 16), and takes N tokens; it goes through K in slices of
 * 128 places, whose codes and activations come to shared memory by asynchronous copies, several slices ahead. The codes
 * of the next 32 places become FP16 while those before are multiplied:
 *
 *   places     s              s + 32         s + 64
 *   registers  codes -> a[1]  codes -> a[0]  codes -> a[1] ...
 *   products   a[0] x         a[1] x         a[0] x
 *
 * sum holds (sum of (code - zero) x) in units of the scale of the group that is being added, which is exact in its
 * codes; where the next group begins, it is multiplied by the quotient of the scales. */
#include "codes.cuh"
#include "packed_gemm.cuh"

namespace ptq_cuda
{
enum { GROUPS = 4 /* warpgroups */, FUSED_WARPS = 4 * GROUPS, FUSED_THREADS = FUSED_WARPS * WARP };

/* A stage has a slice of PLACES: its activations, 64 places after 64, and the codes of the block's tiles. */
template <int W_BIT, int N> struct stages {
    static constexpr int places = W_BIT == 8 && N == 128 ? SLICE / 2 : SLICE, steps = places / PTQ_PACK_STEP,
                         of_half = N * HALF_SLICE * 2, of_x = places / HALF_SLICE * of_half,
                         of_step = W_BIT * PTQ_PACK_STEP * PTQ_PACK_ROWS / 8, of_tile = steps * of_step,
                         bytes = of_x + FUSED_WARPS * of_tile, fit = (208 << 10) / bytes, n = fit < 8 ? fit : 8;
    static_assert(n >= 4, "this slice, the next one, one on its way and one that may still be read");
};

/* What a lane knows of the group that its rows r and r + 8 are in, and the next one's scales and zeros as they lie. */
struct lane_group {
    uint32_t ahead, left; /* groups behind the next one; steps left in this one */
    const unsigned char *next_scale, *next_zero;
    uint32_t raw_scale[2], raw_zero[2];
    float largest[2]; /* magnitude of the last scale that counted */
    float scale[2], quotient[2];
    ptq_half2 zero[2], minus_zero[2]; /* 1024 + zero; -64 - zero, for codes that lie 4 bits up */
};

/* Where the group's scales and zeros are, as bytes for row r; how far it is to the next group's. */
__device__ __forceinline__ uint32_t scale_bytes(const struct ptq_packed *w)
{
    return w->scale ? sizeof(float) : sizeof(uint16_t);
}

template <int W_BIT> __device__ __forceinline__ void fetch_group(struct lane_group *l, const struct ptq_packed *w)
{
    if (w->scale) {
        l->raw_scale[0] = *reinterpret_cast<const uint32_t *>(l->next_scale);
        l->raw_scale[1] = *reinterpret_cast<const uint32_t *>(l->next_scale + 8 * sizeof(float));
    } else {
        l->raw_scale[0] = *reinterpret_cast<const uint16_t *>(l->next_scale);
        l->raw_scale[1] = *reinterpret_cast<const uint16_t *>(l->next_scale + 8 * sizeof(uint16_t));
    }
    if (w->zero) {
        l->raw_zero[0] = l->next_zero[0];
        if (W_BIT > 4) l->raw_zero[1] = l->next_zero[8];
    }
    if (l->ahead == 0) return; /* the last one stays */
    l->ahead--;
    l->next_scale += scale_bytes(w) * PTQ_PACK_ROWS;
    if (w->zero) l->next_zero += w->zero_bytes;
}

template <int W_BIT>
__device__ __forceinline__ void begin_groups(struct lane_group *l, const struct ptq_packed *w, uint32_t tile,
                                             uint32_t group, int r)
{
    size_t at = (size_t)tile * (size_t)w->n_groups + group;
    const void *scale = w->scale ? (const void *)w->scale : w->scale16;
    l->ahead = (uint32_t)w->n_groups - 1 - group;
    l->next_scale = static_cast<const unsigned char *>(scale) + (at * PTQ_PACK_ROWS + (size_t)r) * scale_bytes(w);
    l->raw_zero[0] = l->raw_zero[1] = (1u << (W_BIT - 1)) * 0x11u & 0xffu; /* the middle, in each half of a byte */
    l->next_zero = w->zero ? w->zero + at * (size_t)w->zero_bytes + r : nullptr;
    fetch_group<W_BIT>(l, w);
}

__device__ __forceinline__ float scale_of(uint32_t raw, const struct ptq_packed *w)
{
    float scale;
    if (!w->scale) return ptq_half_to_float((uint16_t)raw);
    memcpy(&scale, &raw, sizeof scale);
    return scale;
}

/* Enters the next group and fetches the one behind it. A scale under 2^-60 of the last one that counted becomes that:
 * what it adds cannot be seen either way, and quotients stay within float32. */
template <int W_BIT> __device__ __forceinline__ void enter_group(struct lane_group *l, const struct ptq_packed *w)
{
    PTQ_UNROLL
    for (int row = 0; row < 2; row++) {
        float scale = scale_of(l->raw_scale[row], w), floor = fmaxf(l->largest[row] * 0x1p-60f, 0x1p-120f);
        uint32_t zero = W_BIT > 4 ? l->raw_zero[row] : l->raw_zero[0] >> 4 * row & 15;
        bool counts = fabsf(scale) > floor;
        float taken = counts ? scale : floor;
        l->quotient[row] = l->scale[row] * ptq_reciprocal(taken);
        l->scale[row] = taken;
        l->largest[row] = counts ? fabsf(scale) : l->largest[row];
        l->zero[row].bits = zero * 0x00010001u | 0x64006400u;
        l->minus_zero[row].bits = zero * 0x00100010u | 0xd400d400u;
    }
    l->left = (uint32_t)(w->stride / PTQ_PACK_STEP);
    fetch_group<W_BIT>(l, w);
}

/* The lane's four pairs of codes of a row: two at the bottom of each half of field[0] and field[1], two 4 bits up. */
template <int W_BIT>
__device__ __forceinline__ void code_fields(uint32_t (&field)[2], const uint32_t *word, int row, int column)
{
    static_assert(W_BIT <= 4, "wider codes are not two to 8 bits");
    if (W_BIT == 4) {
        field[0] = word[row];
        field[1] = word[row] >> 8;
        return;
    }
    uint32_t low = word[row] >> column % 2 * 8; /* pair j at bit 2 j */
    field[0] = low;
    field[1] = low >> 2;
    if (W_BIT == 2) return;
    uint32_t high = word[2 + row] >> (column % 2 * 8 + column / 2 * 2); /* pairs 0 to 3 at bits 0, 1, 4, 5 */
    const uint32_t two_bits = 0x00330033u;
    field[0] = (field[0] & two_bits) | (high << 2 & ~two_bits);
    field[1] = (field[1] & two_bits) | (high << 1 & ~two_bits);
}

/* The lane's codes of a step less their zeros, for two products. */
template <int W_BIT>
__device__ __forceinline__ void unpack_step(uint32_t (&a)[2][4], const uint32_t *step, const struct lane_group *l,
                                            int r, int column)
{
    const uint32_t mask = ((1u << (W_BIT & 7)) - 1) * 0x00010001u, magic = 0x64006400u;
    const ptq_half2 sixteenth = {0x2c002c00u};
    uint32_t word[lane_words(W_BIT)], out[4];
    load_step<W_BIT>(word, step, r, column);
    PTQ_UNROLL
    for (int row = 0; row < 2; row++) {
        if constexpr (W_BIT == 8) {
            PTQ_UNROLL
            for (int j = 0; j < 4; j++)
                out[j] = ptq_half2_sub(code_1024<W_BIT>(word, row, column, j), l->zero[row]).bits;
        } else {
            uint32_t field[2];
            const int second = W_BIT == 4 ? 2 : 1; /* the pair at the bottom of field[1] */
            code_fields<W_BIT>(field, word, row, column);
            PTQ_UNROLL
            for (int i = 0; i < 2; i++) {
                int j = i * second;
                out[j] = ptq_half2_sub(ptq_half2{ptq_and_or(field[i], mask, magic)}, l->zero[row]).bits;
                out[j + 3 - second] =
                    ptq_half2_fma(ptq_half2{ptq_and_or(field[i], mask << 4, magic)}, sixteenth, l->minus_zero[row])
                        .bits;
            }
        }
        PTQ_UNROLL
        for (int j = 0; j < 4; j++) a[j / 2][j % 2 * 2 + row] = out[j];
    }
}

/* Where a thread's next copies come from. */
struct copy_source {
    const unsigned char *x, *codes, *end; /* of the tile's codes */
    int slices;                           /* that are left */
};

template <int W_BIT, int N> struct fused {
    using at = stages<W_BIT, N>;

    /* Codes of the next slice into its stage; behind the row's end are zeros. */
    static __device__ __forceinline__ void copy_codes(struct copy_source *from, unsigned char *stage)
    {
        int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
        PTQ_UNROLL
        for (int i = 0; i < at::of_tile; i += WARP * 16)
            if (at::of_tile - i >= WARP * 16 || lane * 16 < at::of_tile - i)
                ptq_copy_async16(stage + at::of_x + warp * at::of_tile + lane * 16 + i, from->codes + i,
                                 from->codes + i < from->end ? 16 : 0);
        from->codes += at::of_tile;
    }

    static __device__ __forceinline__ void copy_x(struct copy_source *from, unsigned char *stage)
    {
        PTQ_UNROLL
        for (int i = 0; i < at::of_x; i += FUSED_THREADS * 16)
            if (at::of_x - i >= FUSED_THREADS * 16 || (int)threadIdx.x * 16 < at::of_x - i)
                ptq_copy_async16(stage + threadIdx.x * 16 + i, from->x + i, 16);
        from->x += at::of_x;
        from->slices--;
    }

    /* The first slices; codes do not wait for the kernel that makes x. */
    static __device__ __forceinline__ void copy_first(struct copy_source *from, unsigned char *shared)
    {
        int slices = from->slices;
        for (int i = 0; i < at::n - 2; i++)
            if (i < slices) copy_codes(from, shared + i * at::bytes);
        ptq_turn();
        for (int i = 0; i < at::n - 2; i++) {
            if (i < slices) copy_x(from, shared + i * at::bytes);
            ptq_copy_commit();
        }
    }

    static __device__ __forceinline__ void begin_copies(struct copy_source *from, const struct gemm &g, uint32_t tile,
                                                        int first, int count)
    {
        size_t of_row = (size_t)(g.w.places / PTQ_PACK_STEP) * at::of_step;
        const unsigned char *row = reinterpret_cast<const unsigned char *>(g.w.code) + tile * of_row;
        from->x = reinterpret_cast<const unsigned char *>(g.x) + threadIdx.x * 16 +
                  (size_t)blockIdx.x * (size_t)g.halves * at::of_half + (size_t)first * at::of_x;
        from->codes = row + (size_t)first * at::of_tile + threadIdx.x % WARP * 16;
        from->end = row + of_row;
        from->slices = count;
    }

    /* Step `step` of the stage into a. */
    static __device__ __forceinline__ void unpack(uint32_t (&a)[2][4], const unsigned char *stage, int step,
                                                  struct lane_group *l, const struct gemm &g)
    {
        int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
        const unsigned char *codes = stage + at::of_x + warp * at::of_tile + step * at::of_step;
        if (l->left == 0) enter_group<W_BIT>(l, &g.w);
        l->left--;
        unpack_step<W_BIT>(a, reinterpret_cast<const uint32_t *>(codes), l, lane / 4, lane % 4);
    }

    /* sum += a x, of the step that a has. */
    static __device__ __forceinline__ void multiply(float (&sum)[N / 2], const uint32_t (&a)[2][4],
                                                    struct ptq_operand x, int step, const struct lane_group *l,
                                                    bool enters)
    {
        if (enters) {
            ptq_wgmma_finish(sum);
            PTQ_UNROLL
            for (int i = 0; i < N / 2; i++) sum[i] *= l->quotient[i / 2 % 2];
        }
        ptq_wgmma_fence();
        const int offset = step / 2 * at::of_half + step % 2 * 64;
        ptq_wgmma<N>(sum, a[0], x, offset);
        ptq_wgmma<N>(sum, a[1], x, offset + 32);
        ptq_wgmma_commit();
        ptq_wgmma_wait<1>(); /* the other a is free */
    }
};

/* Writes sum, of rows r and r + 8: finished, or to be added to that of the other splits. */
template <int N>
__device__ __forceinline__ void put_sums(const struct gemm &g, float (&sum)[N / 2], const struct lane_group *l,
                                         uint32_t tile, int r, int column)
{
    PTQ_UNROLL
    for (int i = 0; i < N / 2; i++) {
        int64_t token = (int64_t)blockIdx.x * N + i / 4 * 8 + column * 2 + i % 2;
        int64_t n = (int64_t)tile * PTQ_PACK_ROWS + r + i / 2 % 2 * 8;
        if (token >= g.m || n >= g.w.n) continue;
        float value = l->largest[i / 2 % 2] == 0 ? 0 : sum[i] * l->scale[i / 2 % 2];
        if (g.splits == 1)
            finish_output(&g, token, n, value);
        else
            g.sums[((int64_t)blockIdx.z * g.m + token) * g.width + n] = value;
    }
}

template <int W_BIT, int N> __global__ void __launch_bounds__(FUSED_THREADS, 1) fused_kernel(const struct gemm g)
{
    using at = stages<W_BIT, N>;
    using f = fused<W_BIT, N>;
    unsigned char *shared = ptq_shared<unsigned char>();
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, r = lane / 4, column = lane % 4;
    uint32_t mine = blockIdx.y * FUSED_WARPS + (uint32_t)warp,
             tile = mine < g.w.tiles ? mine : (uint32_t)g.w.tiles - 1; /* without one: another's, and nothing is put */
    bool works = blockIdx.y * FUSED_WARPS + (uint32_t)(warp & ~3) < g.w.tiles; /* the warpgroup */
    int slices = g.halves * HALF_SLICE / at::places, a_split = (slices + g.splits - 1) / g.splits,
        first = (int)blockIdx.z * a_split, count = (first + a_split < slices ? first + a_split : slices) - first;
    float sum[N / 2] = {};
    uint32_t a[2][2][4], in_group = (uint32_t)(g.w.stride / PTQ_PACK_STEP);
    struct copy_source from;
    f::begin_copies(&from, g, tile, first, count);
    f::copy_first(&from, shared);
    struct lane_group l = {};
    begin_groups<W_BIT>(&l, &g.w, tile, (uint32_t)(first * at::steps) / in_group, r);
    enter_group<W_BIT>(&l, &g.w);
    l.left -= (uint32_t)(first * at::steps) % in_group;
    ptq_copy_wait<at::n - 3>();
    __syncwarp();
    f::unpack(a[0], shared, 0, &l, g);
    bool enters = false;
    int stage = 0, fill = (at::n - 2) * at::bytes; /* offsets */
    for (int i = 0; i < count; i++) {
        const unsigned char *now = shared + stage;
        struct ptq_operand x = ptq_operand_at(now);
        ptq_copy_wait<at::n - 4>(); /* this slice and the next one are here */
        ptq_fence_async();
        __syncthreads(); /* for everybody; and nobody reads the slice before the last any more */
        if (from.slices > 0) {
            f::copy_codes(&from, shared + fill);
            f::copy_x(&from, shared + fill);
        }
        ptq_copy_commit();
        stage = stage == (at::n - 1) * at::bytes ? 0 : stage + at::bytes;
        fill = fill == (at::n - 1) * at::bytes ? 0 : fill + at::bytes;
        PTQ_UNROLL
        for (int s = 0; s < at::steps && works; s++) {
            f::multiply(sum, a[s % 2], x, s, &l, enters);
            enters = l.left == 0;
            if (s + 1 < at::steps)
                f::unpack(a[(s + 1) % 2], now, s + 1, &l, g);
            else if (i + 1 < count)
                f::unpack(a[0], shared + stage, 0, &l, g);
        }
    }
    ptq_copy_wait<0>();
    ptq_wgmma_finish(sum);
    if (mine < g.w.tiles) put_sums<N>(g, sum, &l, tile, r, column);
}

/* ---- choosing ---- */

template <int W_BIT, int N> static void launch_tokens(const struct gemm &g)
{
    dim3 grid((unsigned)((g.m + N - 1) / N), (unsigned)((g.w.tiles + FUSED_WARPS - 1) / FUSED_WARPS),
              (unsigned)g.splits);
    PTQ_LAUNCH_EARLY((fused_kernel<W_BIT, N>), grid, FUSED_THREADS,
                     (size_t)(stages<W_BIT, N>::n * stages<W_BIT, N>::bytes), g);
}

template <int W_BIT> static void launch_bits(const struct gemm &g)
{
    if (g.tokens == 32)
        launch_tokens<W_BIT, 32>(g);
    else if (g.tokens == 64)
        launch_tokens<W_BIT, 64>(g);
    else
        launch_tokens<W_BIT, 128>(g);
}

/* The count for which the rounds of blocks over 132 processors take the fewest slices, with what a block's beginning
 * and another part to be added cost; in slices. */
int fused_splits(const struct ptq_packed *w, int64_t m, int tokens)
{
    enum { PROCESSORS = 132, MOST = 16, START = 4, ADDED = 1 };
    int64_t slices = (w->places + SLICE - 1) / SLICE, /* half ones count as whole ones */
        blocks = (w->tiles + FUSED_WARPS - 1) / FUSED_WARPS * ((m + tokens - 1) / tokens);
    int64_t best = 1, best_cost = INT64_MAX;
    for (int64_t splits = 1; splits <= MOST; splits++) {
        int64_t a_split = (slices + splits - 1) / splits, rounds = (blocks * splits + PROCESSORS - 1) / PROCESSORS;
        int64_t cost = rounds * (a_split + START) + (splits > 1 ? 1 + ADDED * splits / 2 : 0);
        if (a_split * (splits - 1) >= slices) continue; /* the last would have nothing to do */
        if (cost < best_cost) best = splits, best_cost = cost;
    }
    return (int)best;
}

void fused_product(const struct gemm *g)
{
    switch (g->w.grid.w_bit) {
    case 2:
        launch_bits<2>(*g);
        break;
    case 3:
        launch_bits<3>(*g);
        break;
    case 4:
        launch_bits<4>(*g);
        break;
    default:
        launch_bits<8>(*g);
    }
}
} // namespace ptq_cuda
