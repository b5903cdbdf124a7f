/* y = x w^T on packed weights by wgmma: weights are the operand in registers, tokens the one in shared memory.
 *
 * A block is four warpgroups, 256 outputs (a warp has a tile of 16), and takes N tokens; it goes through K in slices of
 * 128 places, whose codes and activations the first warp has copied to a ring of stages, several slices ahead. Nobody
 * waits for another but through the ring, so that some unpack while others multiply. Within a warpgroup the codes of
 * the next 32 places become FP16 while those before are multiplied:
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

/* A stage has a slice: its activations, 64 places after 64, and the codes of the block's tiles. Behind the last one are
 * its barriers: full[n], which its bytes complete, and empty[n], for which every warp arrives. */
template <int W_BIT, int N> struct stages {
    static constexpr int places = W_BIT == 8 && N == 128 ? SLICE / 2 : SLICE, steps = places / PTQ_PACK_STEP,
                         of_half = N * HALF_SLICE * 2, of_x = places / HALF_SLICE * of_half,
                         of_step = W_BIT * PTQ_PACK_STEP * PTQ_PACK_ROWS / 8, of_tile = steps * of_step,
                         bytes = of_x + FUSED_WARPS * of_tile, fit = (208 << 10) / bytes, n = fit < 8 ? fit : 8,
                         all = n * bytes + 2 * n * (int)sizeof(uint64_t);
    static_assert(n >= 4, "this slice, the next one, one on its way and one that may still be read");
};

/* What a lane knows of the group that its rows r and r + 8 are in, and the next one's scales and zeros as they lie. */
struct lane_group {
    const unsigned char *scales, *zeros; /* of row r in group 0 of the first tile */
    uint32_t next, last;                 /* groups, counted from there; the tile's last one */
    uint32_t left;                       /* of this group: steps, or slices where groups are whole slices */
    uint32_t raw_scale[2], raw_zero[2];
    float largest[2]; /* magnitude of the last scale that counted */
    float scale[2], quotient[2];
    ptq_half2 zero[2], minus_zero[2]; /* 1024 + zero; -64 - zero, for codes that lie 4 bits up */
};

/* The next group's; the last one stays. */
template <int W_BIT> __device__ __forceinline__ void fetch_group(struct lane_group *l, const struct ptq_packed *w)
{
    if (w->scale) {
        const uint32_t *at = reinterpret_cast<const uint32_t *>(l->scales) + (size_t)l->next * PTQ_PACK_ROWS;
        l->raw_scale[0] = at[0];
        l->raw_scale[1] = at[8];
    } else {
        const uint16_t *at = reinterpret_cast<const uint16_t *>(l->scales) + (size_t)l->next * PTQ_PACK_ROWS;
        l->raw_scale[0] = at[0];
        l->raw_scale[1] = at[8];
    }
    if (w->zero) {
        const unsigned char *at = l->zeros + (size_t)l->next * (W_BIT > 4 ? PTQ_PACK_ROWS : PTQ_PACK_ROWS / 2);
        l->raw_zero[0] = at[0];
        if (W_BIT > 4) l->raw_zero[1] = at[8];
    }
    l->next = l->next < l->last ? l->next + 1 : l->last;
}

template <int W_BIT>
__device__ __forceinline__ void begin_groups(struct lane_group *l, const struct ptq_packed *w, uint32_t tile,
                                             uint32_t group, int r)
{
    l->scales = w->scale ? reinterpret_cast<const unsigned char *>(w->scale + r)
                         : reinterpret_cast<const unsigned char *>(w->scale16 + r);
    l->zeros = w->zero + r;
    l->raw_zero[0] = l->raw_zero[1] = (1u << (W_BIT - 1)) * 0x11u & 0xffu; /* the middle, in each half of a byte */
    l->next = tile * (uint32_t)w->n_groups + group;
    l->last = (tile + 1) * (uint32_t)w->n_groups - 1;
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
__device__ __forceinline__ void unpack_step(uint32_t (&a)[2][4], const uint32_t (&word)[lane_words(W_BIT)],
                                            const struct lane_group *l, int column)
{
    const uint32_t mask = ((1u << (W_BIT & 7)) - 1) * 0x00010001u, magic = 0x64006400u;
    const ptq_half2 sixteenth = {0x2c002c00u};
    uint32_t out[4];
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

/* What a warp copies: the codes of its tile; the first one the activations, too. */
struct copier {
    const unsigned char *codes, *x;
    uint32_t last; /* bytes of codes in the row's last slice */
};

/* WHOLE: groups are whole slices. */
template <int W_BIT, int N, bool WHOLE> struct fused {
    using at = stages<W_BIT, N>;

    static __device__ __forceinline__ void begin_copies(struct copier *c, const struct gemm &g, uint32_t tile,
                                                        int first)
    {
        uint32_t of_row = (uint32_t)(g.w.places / PTQ_PACK_STEP) * at::of_step;
        c->last = of_row % at::of_tile ? of_row % at::of_tile : at::of_tile;
        c->codes =
            reinterpret_cast<const unsigned char *>(g.w.code) + (size_t)tile * of_row + (size_t)first * at::of_tile;
        c->x = reinterpret_cast<const unsigned char *>(g.x) + (size_t)blockIdx.x * (size_t)g.halves * at::of_half +
               (size_t)first * at::of_x;
    }

    /* The warp's part of the next slice, by one lane. */
    static __device__ __forceinline__ void copy_codes(struct copier *c, unsigned char *stage, uint64_t *full,
                                                      bool is_last, int warp, int lane)
    {
        uint32_t bytes = is_last ? c->last : (uint32_t)at::of_tile;
        if (lane == 0) {
            ptq_barrier_expect(full, bytes + (warp ? 0 : at::of_x));
            ptq_copy_bulk(stage + at::of_x + warp * at::of_tile, c->codes, bytes, full);
        }
        c->codes += at::of_tile;
    }
    static __device__ __forceinline__ void copy_x(struct copier *c, unsigned char *stage, uint64_t *full, int lane)
    {
        if (lane == 0) ptq_copy_bulk(stage, c->x, at::of_x, full);
        c->x += at::of_x;
    }

    /* A step of the tile's codes in a stage; and what becomes of it. */
    static __device__ __forceinline__ void load(uint32_t (&word)[lane_words(W_BIT)], const unsigned char *codes,
                                                int step)
    {
        int lane = (int)threadIdx.x % WARP;
        load_step<W_BIT>(word, reinterpret_cast<const uint32_t *>(codes + step * at::of_step), lane / 4, lane % 4);
    }
    static __device__ __forceinline__ void unpack(uint32_t (&a)[2][4], const uint32_t (&word)[lane_words(W_BIT)],
                                                  int step, struct lane_group *l, const struct gemm &g,
                                                  uint32_t in_group)
    {
        if (!WHOLE || step == 0) {
            if (l->left == 0) {
                enter_group<W_BIT>(l, &g.w);
                l->left = in_group;
            }
            l->left--;
        }
        unpack_step<W_BIT>(a, word, l, (int)threadIdx.x % 4);
    }

    /* sum += a x, of the step that a has. */
    static __device__ __forceinline__ void multiply(float (&sum)[N / 2], const uint32_t (&a)[2][4],
                                                    struct ptq_operand x, int step, const struct lane_group *l,
                                                    bool enters)
    {
        if ((!WHOLE || step == 0) && enters) {
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

/* Where a walk around the ring stands. */
struct turn {
    int stage;
    uint32_t phase; /* its parity */
};
template <int STAGES> __device__ __forceinline__ void step_on(struct turn *t)
{
    t->stage++;
    if (t->stage == STAGES) t->stage = 0, t->phase ^= 1;
}

/* Writes sum, of rows r and r + 8: finished, or to be added to that of the other splits. */
template <int N>
__device__ __forceinline__ void put_sums(const struct gemm &g, float (&sum)[N / 2], const struct lane_group *l,
                                         uint32_t tile, int r, int column)
{
    int token = (int)blockIdx.x * N + column * 2, n = (int)tile * PTQ_PACK_ROWS + r;
    bool plain = g.splits > 1 || (!g.accumulate && !g.b && !g.w.n_keep);
    int64_t ld = g.splits > 1 ? g.width : g.ldy;
    float *to = g.splits > 1 ? g.sums + (int64_t)blockIdx.z * g.m * g.width : g.y;
    to += token * ld + n;
    PTQ_UNROLL
    for (int i = 0; i < N / 2; i++) {
        int high = i / 2 % 2, at = token + i / 4 * 8 + i % 2;
        if (at >= (int)g.m || n + 8 * high >= (int)g.w.n) continue;
        float value = l->largest[high] == 0 ? 0 : sum[i] * l->scale[high];
        if (plain)
            to[(i / 4 * 8 + i % 2) * ld + 8 * high] = g.splits > 1 ? value : value * g.factor[at];
        else
            finish_output(&g, at, n + 8 * high, value);
    }
}

template <int W_BIT, int N, bool WHOLE>
__global__ void __launch_bounds__(FUSED_THREADS, 1) fused_kernel(const struct gemm g)
{
    using at = stages<W_BIT, N>;
    using f = fused<W_BIT, N, WHOLE>;
    unsigned char *shared = ptq_shared<unsigned char>();
    uint64_t *full = reinterpret_cast<uint64_t *>(shared + at::n * at::bytes), *empty = full + at::n;
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, r = lane / 4;
    uint32_t mine = blockIdx.y * FUSED_WARPS + (uint32_t)warp,
             tile = mine < g.w.tiles ? mine : (uint32_t)g.w.tiles - 1; /* without one: another's, and nothing is put */
    uint32_t tiles = (uint32_t)g.w.tiles - blockIdx.y * FUSED_WARPS,   /* from the block's first one on */
        warps = tiles < FUSED_WARPS ? (tiles + 3) / 4 * 4 : (uint32_t)FUSED_WARPS; /* in warpgroups with one */
    int slices = g.halves * HALF_SLICE / at::places, a_split = (slices + g.splits - 1) / g.splits,
        first = (int)blockIdx.z * a_split, count = (first + a_split < slices ? first + a_split : slices) - first;
    int row_last = (int)((g.w.places + at::places - 1) / at::places) - 1 - first; /* the row's last slice with codes */
    if (count > row_last + 1) count = row_last + 1;
    if (threadIdx.x == 0)
        for (int i = 0; i < at::n; i++) {
            ptq_barrier_init(full + i, (int)warps);
            ptq_barrier_init(empty + i, (int)warps);
        }
    ptq_barriers_ready();
    __syncthreads();
    struct copier copies;
    f::begin_copies(&copies, g, tile, first);
    if ((uint32_t)warp < warps)
        for (int i = 0; i < at::n && i < count; i++)
            f::copy_codes(&copies, shared + i * at::bytes, full + i, i == row_last, warp, lane);
    ptq_turn(); /* codes do not wait for the kernel that makes x */
    if (warp == 0)
        for (int i = 0; i < at::n && i < count; i++) f::copy_x(&copies, shared + i * at::bytes, full + i, lane);
    if ((uint32_t)warp >= warps) return;
    float sum[N / 2] = {};
    uint32_t a[2][2][4], word[lane_words(W_BIT)];
    uint32_t unit = WHOLE ? at::places : PTQ_PACK_STEP, in_group = ((uint32_t)g.w.stride + unit - 1) / unit,
             begun = (uint32_t)first * (WHOLE ? 1 : at::steps);
    struct lane_group l = {};
    begin_groups<W_BIT>(&l, &g.w, tile, begun / in_group, r);
    enter_group<W_BIT>(&l, &g.w);
    l.left = in_group - begun % in_group;
    struct turn now = {0, 0}, refill = {0, 0}; /* refill: of two slices behind */
    const unsigned char *codes = shared + at::of_x + warp * at::of_tile;
    if (count > 0) {
        ptq_barrier_wait(full, 0);
        f::load(word, codes, 0);
        f::unpack(a[0], word, 0, &l, g, in_group);
    }
    bool enters = false;
    for (int i = 0; i < count; i++) {
        unsigned char *stage = shared + now.stage * at::bytes;
        struct ptq_operand x = ptq_operand_at(stage);
        int last_stage = now.stage == 0 ? at::n - 1 : now.stage - 1, here = now.stage;
        PTQ_UNROLL
        for (int s = 0; s < at::steps; s++) {
            bool more = s + 1 < at::steps || i + 1 < count;
            if (s + 1 < at::steps)
                f::load(word, codes + here * at::bytes, s + 1);
            else if (more) {
                step_on<at::n>(&now);
                ptq_barrier_wait(full + now.stage, now.phase);
                f::load(word, codes + now.stage * at::bytes, 0);
            }
            f::multiply(sum, a[s % 2], x, s, &l, enters);
            enters = l.left == 0;
            if (s == 0) {
                if (i > 0 && lane == 0) ptq_barrier_arrive(empty + last_stage); /* all of that slice is multiplied */
                if (i >= 2 && i - 2 + at::n < count) {
                    unsigned char *old = shared + refill.stage * at::bytes;
                    f::copy_codes(&copies, old, full + refill.stage, i - 2 + at::n == row_last, warp, lane);
                    if (warp == 0) {
                        ptq_barrier_wait(empty + refill.stage, refill.phase);
                        f::copy_x(&copies, old, full + refill.stage, lane);
                    }
                    step_on<at::n>(&refill);
                }
            }
            if (more) f::unpack(a[(s + 1) % 2], word, (s + 1) % at::steps, &l, g, in_group);
        }
    }
    ptq_wgmma_finish(sum);
    if (mine < g.w.tiles) put_sums<N>(g, sum, &l, tile, r, lane % 4);
}

/* ---- choosing ---- */

template <int W_BIT, int N, bool WHOLE> static void launch_groups(const struct gemm &g)
{
    dim3 grid((unsigned)((g.m + N - 1) / N), (unsigned)((g.w.tiles + FUSED_WARPS - 1) / FUSED_WARPS),
              (unsigned)g.splits);
    PTQ_LAUNCH_EARLY((fused_kernel<W_BIT, N, WHOLE>), grid, FUSED_THREADS, ((size_t)stages<W_BIT, N>::all), g);
}

template <int W_BIT, int N> static void launch_tokens(const struct gemm &g)
{
    if (g.w.stride % SLICE == 0 || g.w.n_groups == 1)
        launch_groups<W_BIT, N, true>(g);
    else
        launch_groups<W_BIT, N, false>(g);
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
