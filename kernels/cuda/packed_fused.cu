/* y = x w^T on packed weights by wgmma: weights are the operand in registers, tokens the one in shared memory.
 *
 * A block is four warpgroups, 256 outputs (a warp has a tile of 16), and takes N tokens; it goes through K in slices of
 * 64 places, whose codes and activations come to shared memory by asynchronous copies, several slices ahead. The codes
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

template <int W_BIT, int N> struct stages {
    static constexpr int of_x = N * SLICE * 2, of_tile = W_BIT * SLICE * PTQ_PACK_ROWS / 8,
                         bytes = of_x + FUSED_WARPS * of_tile, n = bytes * 8 <= 200 << 10 ? 8 : 6;
};

/* What a lane knows of the group that its rows r and r + 8 are in, and the next one's scale and zero as they lie. */
struct lane_group {
    uint32_t group, left; /* the next one; steps left in this one */
    uint32_t raw_scale[2], raw_zero[2];
    float scale[2], quotient[2];
    uint32_t mask[2]; /* of codes: 0 where the scale counts for nothing */
    ptq_half2 zero[2];
};

__device__ __forceinline__ void fetch_group(struct lane_group *l, const struct ptq_packed *w, uint32_t tile, int r)
{
    uint32_t group = l->group < w->n_groups ? l->group : (uint32_t)w->n_groups - 1;
    size_t at = (size_t)tile * (size_t)w->n_groups + group;
    PTQ_UNROLL
    for (int row = 0; row < 2; row++) {
        size_t scale = at * PTQ_PACK_ROWS + (size_t)(r + 8 * row);
        if (w->scale)
            memcpy(&l->raw_scale[row], w->scale + scale, sizeof(float));
        else
            l->raw_scale[row] = w->scale16[scale];
        int in_zero = w->zero_bytes == PTQ_PACK_ROWS ? r + 8 * row : r; /* or both rows' in one byte */
        if (w->zero) l->raw_zero[row] = w->zero[at * (size_t)w->zero_bytes + (size_t)in_zero];
    }
}

__device__ __forceinline__ float scale_of(uint32_t raw, const struct ptq_packed *w)
{
    float scale;
    if (!w->scale) return ptq_half_to_float((uint16_t)raw);
    memcpy(&scale, &raw, sizeof scale);
    return scale;
}

/* Enters the next group and fetches the one behind it. A scale under 2^-60 of that before it counts for nothing: its
 * quotient could leave float32, and what it adds cannot be seen. */
__device__ __forceinline__ void enter_group(struct lane_group *l, const struct ptq_packed *w, uint32_t tile, int r)
{
    PTQ_UNROLL
    for (int row = 0; row < 2; row++) {
        float scale = scale_of(l->raw_scale[row], w);
        uint32_t zero = w->zero_bytes == PTQ_PACK_ROWS ? l->raw_zero[row] : l->raw_zero[row] >> 4 * row & 15;
        if (!w->zero) zero = 1u << (w->grid.w_bit - 1);
        bool nothing = fabsf(scale) <= fabsf(l->scale[row]) * 0x1p-60f;
        l->quotient[row] = nothing ? 1 : ptq_quotient(l->scale[row], scale);
        if (!nothing) l->scale[row] = scale;
        l->mask[row] = nothing ? 0 : 0xffffffffu;
        l->zero[row].bits = ((nothing ? 0 : zero) | 0x6400u) * 0x00010001u;
    }
    l->left = (uint32_t)(w->stride / PTQ_PACK_STEP);
    l->group++;
    fetch_group(l, w, tile, r);
}

template <int B> __device__ __forceinline__ void mask_plane(uint32_t *word, const uint32_t (&mask)[2])
{
    PTQ_UNROLL
    for (int i = 0; i < plane_words(B); i++) word[i] &= mask[i / (plane_words(B) / 2)];
}

/* The lane's codes of a step less their zeros, for two products. */
template <int W_BIT>
__device__ __forceinline__ void unpack_step(uint32_t (&a)[2][4], const uint32_t *step, const struct lane_group *l,
                                            int r, int column)
{
    uint32_t words[lane_words(W_BIT)], *word = words;
    load_step<W_BIT>(words, step, r, column);
    if (W_BIT & 8) mask_plane<8>(word, l->mask), word += plane_words(8);
    if (W_BIT & 4) mask_plane<4>(word, l->mask), word += plane_words(4);
    if (W_BIT & 2) mask_plane<2>(word, l->mask), word += plane_words(2);
    if (W_BIT & 1) mask_plane<1>(word, l->mask);
    PTQ_UNROLL
    for (int j = 0; j < 4; j++) PTQ_UNROLL
    for (int row = 0; row < 2; row++)
        a[j / 2][j % 2 * 2 + row] = ptq_half2_sub(code_1024<W_BIT>(words, row, column, j), l->zero[row]).bits;
}

template <int W_BIT, int N> struct fused {
    using at = stages<W_BIT, N>;

    /* One slice into its stage; behind the row's end are zeros. */
    static __device__ __forceinline__ void copy(const struct gemm &g, unsigned char *stage, uint32_t tile, int slice,
                                                int warp, int lane)
    {
        const unsigned char *x = reinterpret_cast<const unsigned char *>(g.x) +
                                 ((size_t)blockIdx.x * (size_t)g.slices + (size_t)slice) * at::of_x;
        PTQ_UNROLL
        for (int i = 0; i < at::of_x; i += FUSED_THREADS * 16) {
            int piece = i + (int)threadIdx.x * 16;
            if (piece < at::of_x) ptq_copy_async16(stage + piece, x + piece, 16);
        }
        uint32_t steps = (uint32_t)(g.w.places / PTQ_PACK_STEP);
        const unsigned char *codes = reinterpret_cast<const unsigned char *>(g.w.code) +
                                     ((size_t)tile * steps + (size_t)slice * 2) * (at::of_tile / 2);
        int valid = (uint32_t)slice * 2 + 1 < steps ? at::of_tile : at::of_tile / 2;
        PTQ_UNROLL
        for (int i = 0; i < at::of_tile; i += WARP * 16) {
            int piece = i + lane * 16;
            if (piece < at::of_tile)
                ptq_copy_async16(stage + at::of_x + warp * at::of_tile + piece, piece < valid ? codes + piece : codes,
                                 piece < valid ? 16 : 0);
        }
    }

    static __device__ __forceinline__ void unpack(uint32_t (&a)[2][4], const unsigned char *stage, int half,
                                                  struct lane_group *l, const struct gemm &g, uint32_t tile, int warp,
                                                  int r, int column)
    {
        const unsigned char *codes = stage + at::of_x + warp * at::of_tile + half * (at::of_tile / 2);
        l->quotient[0] = l->quotient[1] = 1;
        if (l->left == 0) enter_group(l, &g.w, tile, r);
        l->left--;
        unpack_step<W_BIT>(a, reinterpret_cast<const uint32_t *>(codes), l, r, column);
    }

    /* sum += a x, for the half of the stage's places that a has. */
    static __device__ __forceinline__ void multiply(float (&sum)[N / 2], const uint32_t (&a)[2][4],
                                                    const unsigned char *stage, int half, const struct lane_group *l,
                                                    bool enters)
    {
        if (enters) {
            ptq_wgmma_finish(sum);
            PTQ_UNROLL
            for (int i = 0; i < N / 2; i++) sum[i] *= l->quotient[i / 2 % 2];
        }
        ptq_wgmma_fence();
        ptq_wgmma<N>(sum, a[0], stage + half * 64);
        ptq_wgmma<N>(sum, a[1], stage + half * 64 + 32);
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
        float value = sum[i] * l->scale[i / 2 % 2];
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
    int a_split = (g.slices + g.splits - 1) / g.splits, first = (int)blockIdx.z * a_split,
        count = (first + a_split < g.slices ? first + a_split : g.slices) - first;
    float sum[N / 2] = {};
    uint32_t a[2][2][4];
    for (int i = 0; i < at::n - 2; i++) {
        if (i < count) f::copy(g, shared + i * at::bytes, tile, first + i, warp, lane);
        ptq_copy_commit();
    }
    struct lane_group l = {};
    uint32_t in_group = (uint32_t)(g.w.stride / PTQ_PACK_STEP);
    l.group = (uint32_t)first * 2 / in_group;
    l.raw_zero[0] = l.raw_zero[1] = 0;
    fetch_group(&l, &g.w, tile, r);
    enter_group(&l, &g.w, tile, r);
    l.left -= (uint32_t)first * 2 % in_group;
    ptq_copy_wait<at::n - 3>();
    __syncwarp();
    f::unpack(a[0], shared, 0, &l, g, tile, warp, r, column);
    bool enters = false;
    int stage = 0, fill = at::n - 2;
    for (int i = 0; i < count; i++) {
        unsigned char *now = shared + stage * at::bytes;
        ptq_copy_wait<at::n - 4>(); /* this slice and the next one are here */
        ptq_fence_async();
        __syncthreads(); /* for everybody; and nobody reads the slice before the last any more */
        if (i + at::n - 2 < count) f::copy(g, shared + fill * at::bytes, tile, first + i + at::n - 2, warp, lane);
        ptq_copy_commit();
        stage = stage + 1 == at::n ? 0 : stage + 1;
        fill = fill + 1 == at::n ? 0 : fill + 1;
        f::multiply(sum, a[0], now, 0, &l, enters);
        enters = l.left == 0;
        f::unpack(a[1], now, 1, &l, g, tile, warp, r, column);
        f::multiply(sum, a[1], now, 1, &l, enters);
        enters = l.left == 0;
        if (i + 1 < count) f::unpack(a[0], shared + stage * at::bytes, 0, &l, g, tile, warp, r, column);
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
    PTQ_LAUNCH((fused_kernel<W_BIT, N>), grid, FUSED_THREADS, (size_t)(stages<W_BIT, N>::n * stages<W_BIT, N>::bytes),
               g);
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
    enum { PROCESSORS = 132, MOST = 16, START = 8, ADDED = 1 };
    int64_t slices = (w->places + SLICE - 1) / SLICE,
            blocks = (w->tiles + FUSED_WARPS - 1) / FUSED_WARPS * ((m + tokens - 1) / tokens);
    int64_t best = 1, best_cost = INT64_MAX;
    for (int64_t splits = 1; splits <= MOST; splits++) {
        int64_t a_split = (slices + splits - 1) / splits, rounds = (blocks * splits + PROCESSORS - 1) / PROCESSORS;
        int64_t cost = rounds * (a_split + START) + (splits > 1 ? 2 + ADDED * splits : 0);
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
