/* y = x w^T on packed weights for one token, at the speed of memory: activations are the CPU's (ops.h, struct
 * ptq_acts), integers of 16 bits with a scale a chunk, and dp2a multiplies two of them by two codes of 8 bits. Sums in
 * a group are exact, so what the CPU computes comes out but for the order of a few float32 sums.
 *
 * A unit is 128 places of a tile: its words lie side by side, and lane l of a warp takes 16 bytes of them LOADS times:
 * the words of rows 4 q .. 4 q + 3, q = l % 4, of one vector. A mask or a shift and a mask give four codes in four
 * bytes: places p, p + B, p + 1, p + 1 + B with B = 4 (4 bits), 8 (2 and 3), 2 (8), which is how the activations are
 * ordered (one_at). They are in shared memory; weights go from memory to registers, DEPTH units ahead, the first before
 * it is the kernel's turn. The warps of a block split the units of T tiles, and their sums are added in order. */
#include "packed_row.cuh"

#include "memory.cuh"

namespace ptq_cuda
{
enum { ROWS = 4 };

/* Of a unit and tile: pieces of 16 bytes a lane takes, steps that one load of a warp covers, vectors of a step. */
template <int W_BIT> struct one_shape {
    static constexpr int loads = W_BIT == 8 ? 4 : W_BIT == 4 ? 2 : 1;
    static constexpr int vectors = W_BIT == 3 ? 2 : W_BIT; /* of the plane that is counted in loads */
    static constexpr int places = PTQ_PACK_STEP / vectors; /* of a word: 4, 8, 16 */
    static constexpr int step_bytes = 4 * PTQ_PACK_ROWS * W_BIT;
    static constexpr int steps = CHUNK_STEPS / loads; /* of a load */
};

struct one_task {
    float *y;
    const float *b;
    int accumulate;
    struct ptq_packed w;
    const int16_t *x;             /* [places], ordered */
    const struct of_chunk *chunk; /* [chunks][padded]: factor */
    const float *kept;            /* [n_keep] */
    int64_t padded;
    int units, groups_of_unit;
    uint32_t group_by_mul; /* groups_of_unit 1: ceil(2^32 / units of a group); 0: a unit is a group */
    uint32_t last_step;    /* bytes from a tile's first step to its last */
};

/* A lane's share of a unit of one tile. */
template <int W_BIT> struct one_words {
    uint4 word[one_shape<W_BIT>::loads];
    uint4 top;   /* 3 bits: the plane of 1 bit */
    uint4 scale; /* of the lane's rows: FP16 in two words, or float32; one set where the unit is a group or less */
    uint32_t zero;
};

/* What a lane is in a load: its step of the load's, its vector, its rows. */
struct one_lane {
    int lane, step, vector, q;
};
template <int W_BIT> __device__ __forceinline__ struct one_lane one_lane_of()
{
    struct one_lane l;
    l.lane = (int)threadIdx.x % WARP;
    l.q = l.lane % 4;
    l.vector = l.lane / 4 % one_shape<W_BIT>::vectors;
    l.step = l.lane / 4 / one_shape<W_BIT>::vectors;
    return l;
}

/* Where a lane reads of a tile, from unit 0 and group 0 on. */
struct one_tile {
    const unsigned char *code, *scale, *zero;
};
template <int W_BIT>
__device__ __forceinline__ struct one_tile one_tile_of(const struct one_task *t, const struct one_lane *l, int64_t tile)
{
    struct one_tile o;
    tile = tile < t->w.tiles ? tile : t->w.tiles - 1;
    int64_t groups = tile * t->w.n_groups;
    o.code = reinterpret_cast<const unsigned char *>(t->w.code) +
             tile * (t->w.places / PTQ_PACK_STEP) * one_shape<W_BIT>::step_bytes + l->q * 16;
    o.scale = t->w.scale ? reinterpret_cast<const unsigned char *>(t->w.scale + groups * PTQ_PACK_ROWS + ROWS * l->q)
                         : reinterpret_cast<const unsigned char *>(t->w.scale16 + groups * PTQ_PACK_ROWS + ROWS * l->q);
    o.zero = t->w.zero ? t->w.zero + groups * t->w.zero_bytes + ROWS * (W_BIT == 8 ? l->q : l->q % 2) : nullptr;
    return o;
}

/* The group of load i of a unit. */
template <int W_BIT, int G>
__device__ __forceinline__ uint32_t one_group(const struct one_task *t, const struct one_lane *l, int unit, int i)
{
    if (G == 1) return t->group_by_mul ? (uint32_t)((uint64_t)(uint32_t)unit * t->group_by_mul >> 32) : (uint32_t)unit;
    uint32_t group = (uint32_t)(unit * G + (i * one_shape<W_BIT>::steps + l->step) * G / CHUNK_STEPS);
    return group < (uint32_t)t->w.n_groups ? group : (uint32_t)t->w.n_groups - 1; /* activations are 0 there */
}

template <int W_BIT>
__device__ __forceinline__ void load_scales(struct one_words<W_BIT> *to, const struct one_task *t,
                                            const struct one_tile *tile, uint32_t group)
{
    if (t->w.scale) {
        to->scale = *reinterpret_cast<const uint4 *>(tile->scale + group * (4 * PTQ_PACK_ROWS));
    } else {
        uint2 two = *reinterpret_cast<const uint2 *>(tile->scale + group * (2 * PTQ_PACK_ROWS));
        to->scale.x = two.x, to->scale.y = two.y;
    }
    to->zero = 0;
    if (t->w.zero)
        to->zero =
            *reinterpret_cast<const uint32_t *>(tile->zero + group * (W_BIT == 8 ? PTQ_PACK_ROWS : PTQ_PACK_ROWS / 2));
}

/* Steps behind the end of a row read the last one again: their activations are 0. */
template <int W_BIT, int G>
__device__ __forceinline__ void load_words(struct one_words<W_BIT> *to, const struct one_task *t,
                                           const struct one_lane *l, const struct one_tile *tile, int unit)
{
    typedef one_shape<W_BIT> shape;
    uint32_t first = (uint32_t)unit * (CHUNK_STEPS * shape::step_bytes) + (uint32_t)(l->step * shape::step_bytes);
    PTQ_UNROLL
    for (int i = 0; i < shape::loads; i++) {
        uint32_t step = first + i * shape::steps * shape::step_bytes;
        step = step < t->last_step ? step : t->last_step;
        to->word[i] = ptq_stream_load(reinterpret_cast<const uint4 *>(tile->code + step + l->vector * 64));
        if (W_BIT == 3)
            to->top = ptq_stream_load(reinterpret_cast<const uint4 *>(tile->code + step + 2 * 4 * PTQ_PACK_ROWS));
    }
    if (G == 1) load_scales<W_BIT>(to, t, tile, one_group<W_BIT, G>(t, l, unit, 0));
}

/* Two activations a register, as words have their places. */
template <int W_BIT> struct one_x {
    uint32_t pair[one_shape<W_BIT>::places / 2];
};
template <int W_BIT>
__device__ __forceinline__ void load_x(struct one_x<W_BIT> *to, const int16_t *shared, const struct one_lane *l,
                                       int unit, int i)
{
    typedef one_shape<W_BIT> shape;
    const int16_t *at =
        shared + unit * CHUNK + (i * shape::steps + l->step) * PTQ_PACK_STEP + l->vector * shape::places;
    if (W_BIT == 8) {
        uint2 v = *reinterpret_cast<const uint2 *>(at);
        to->pair[0] = v.x, to->pair[1] = v.y;
    } else {
        PTQ_UNROLL
        for (int j = 0; j < shape::places / 8; j++) {
            uint4 v = reinterpret_cast<const uint4 *>(at)[j];
            to->pair[4 * j] = v.x, to->pair[4 * j + 1] = v.y, to->pair[4 * j + 2] = v.z, to->pair[4 * j + 3] = v.w;
        }
    }
}

/* sum += codes of a row's word times x */
template <int W_BIT>
__device__ __forceinline__ int32_t dot_word(uint32_t word, uint32_t top, int vector, const struct one_x<W_BIT> *x,
                                            int32_t sum)
{
    if (W_BIT == 8) {
        sum = ptq_dp2a_low(x->pair[0], word, sum);
        return ptq_dp2a_high(x->pair[1], word, sum);
    }
    /* of 3 bits fields 0, 2, 4, 6 and 1, 3, 5, 7 are merged to nibbles, whose highest bits top has at 0 and 1 */
    if (W_BIT == 3) top >>= 2 * vector;
    uint32_t even = W_BIT == 3 ? (word & 0x33333333u) | (top << 2 & 0x44444444u) : word;
    uint32_t odd = W_BIT == 3 ? (word >> 2 & 0x33333333u) | (top << 1 & 0x44444444u) : word >> 2;
    constexpr int fields = W_BIT == 4 ? 2 : 4;
    PTQ_UNROLL
    for (int f = 0; f < fields; f++) {
        uint32_t codes;
        if (W_BIT == 4)
            codes = word >> 4 * f & 0x0f0f0f0fu;
        else
            codes = (f % 2 ? odd : even) >> f / 2 * 4 & (W_BIT == 3 ? 0x0f0f0f0fu : 0x03030303u);
        sum = ptq_dp2a_low(x->pair[2 * f], codes, sum);
        sum = ptq_dp2a_high(x->pair[2 * f + 1], codes, sum);
    }
    return sum;
}

/* sum[r] += scale (part[r] - zero sum of x) */
template <int W_BIT>
__device__ __forceinline__ void add_rows(float (&sum)[ROWS], const int32_t (&part)[ROWS], int32_t of_x, float factor,
                                         const struct one_words<W_BIT> *w, const struct one_task *t, int q)
{
    const uint32_t word[ROWS] = {w->scale.x, w->scale.y, w->scale.z, w->scale.w};
    uint32_t zeros = W_BIT == 8 ? w->zero : w->zero >> q / 2 * 4 & 0x0f0f0f0fu;
    if (!t->w.zero) zeros = (1u << (W_BIT - 1)) * 0x01010101u;
    PTQ_UNROLL
    for (int r = 0; r < ROWS; r++) {
        float scale;
        if (t->w.scale)
            memcpy(&scale, &word[r], sizeof scale);
        else
            scale = ptq_half_to_float((uint16_t)(word[r / 2] >> r % 2 * 16));
        int32_t zero = (int32_t)(zeros >> 8 * r & 255);
        sum[r] += scale * factor * (float)(part[r] - zero * of_x);
    }
}

template <int W_BIT, int G, int T>
__device__ __forceinline__ void
use_unit(float (&sum)[T][ROWS], struct one_words<W_BIT> (&w)[T], const struct one_task *t, const struct one_lane *l,
         const struct one_tile (&tile)[T], const int16_t *shared, const struct of_chunk *chunks, int unit)
{
    typedef one_shape<W_BIT> shape;
    int32_t part[T][ROWS] = {}, of_x = 0;
    PTQ_UNROLL
    for (int i = 0; i < shape::loads; i++) {
        struct one_x<W_BIT> x;
        load_x<W_BIT>(&x, shared, l, unit, i);
        int step = i * shape::steps + l->step;
        if (l->vector == 0 && step % (CHUNK_STEPS / G) == 0)
            of_x += (int32_t)chunks[unit * G + step * G / CHUNK_STEPS].sum;
        PTQ_UNROLL
        for (int n = 0; n < T; n++) {
            const uint32_t word[ROWS] = {w[n].word[i].x, w[n].word[i].y, w[n].word[i].z, w[n].word[i].w},
                           top[ROWS] = {w[n].top.x, w[n].top.y, w[n].top.z, w[n].top.w};
            PTQ_UNROLL
            for (int r = 0; r < ROWS; r++) part[n][r] = dot_word<W_BIT>(word[r], top[r], l->vector, &x, part[n][r]);
        }
        if (G == 1 && i + 1 < shape::loads) continue;
        int chunk = unit * G + (G == 1 ? 0 : (i * shape::steps + l->step) * G / CHUNK_STEPS);
        PTQ_UNROLL
        for (int n = 0; n < T; n++) {
            if (G != 1) load_scales<W_BIT>(&w[n], t, &tile[n], one_group<W_BIT, G>(t, l, unit, i));
            add_rows<W_BIT>(sum[n], part[n], of_x, chunks[chunk].factor, &w[n], t, l->q);
            PTQ_UNROLL
            for (int r = 0; r < ROWS; r++) part[n][r] = 0;
        }
        of_x = 0;
    }
}

/* Salient columns: a lane's share of row lane % 16 of a tile. */
__device__ __forceinline__ float one_kept(const struct one_task *t, int64_t tile)
{
    int row = (int)threadIdx.x % PTQ_PACK_ROWS;
    float sum = 0;
    for (int64_t j = threadIdx.x / PTQ_PACK_ROWS; j < t->w.n_keep; j += blockDim.x / PTQ_PACK_ROWS)
        sum += ptq_half_to_float(t->w.kept[(tile * t->w.n_keep + j) * PTQ_PACK_ROWS + row]) * t->kept[j];
    return sum + ptq_shuffle_xor(sum, PTQ_PACK_ROWS);
}

/* The warps' sums to y. shared: [WARPS][T][16] */
template <int T>
__device__ __forceinline__ void put_one(float (&sum)[T][ROWS], const struct one_task *t, float *shared, int64_t tile)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    PTQ_UNROLL
    for (int n = 0; n < T; n++) {
        PTQ_UNROLL
        for (int r = 0; r < ROWS; r++)
            for (int mask = ROWS; mask < WARP; mask *= 2) sum[n][r] += ptq_shuffle_xor(sum[n][r], mask);
        float kept = t->w.n_keep ? one_kept(t, tile + n < t->w.tiles ? tile + n : tile) : 0;
        float *to = shared + (warp * T + n) * PTQ_PACK_ROWS;
        if (lane < 4)
            for (int r = 0; r < ROWS; r++) to[ROWS * lane + r] = sum[n][r];
        __syncwarp();
        if (t->w.n_keep && lane < PTQ_PACK_ROWS) to[lane] += kept;
    }
    __syncthreads();
    int64_t n = tile * PTQ_PACK_ROWS + threadIdx.x;
    if (threadIdx.x >= T * PTQ_PACK_ROWS || n >= t->w.n) return;
    float all = t->b ? t->b[n] : 0;
    for (int w = 0; w < (int)(blockDim.x / WARP); w++) all += shared[w * T * PTQ_PACK_ROWS + threadIdx.x];
    t->y[n] = t->accumulate ? t->y[n] + all : all;
}

/* Activations to shared memory, those behind the places as 0, and their chunks. */
__device__ static void share_x(const struct one_task *t, int16_t *shared, struct of_chunk *chunks, int n)
{
    int whole = t->units * CHUNK / 8, there = (int)t->w.places / 8;
    for (int i = (int)threadIdx.x; i < whole; i += (int)blockDim.x)
        ptq_copy_async16(shared + 8 * i, t->x + 8 * (i < there ? i : 0), i < there ? 16 : 0);
    ptq_copy_commit();
    int have = (int)((t->w.places + CHUNK / t->groups_of_unit - 1) / (CHUNK / t->groups_of_unit));
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        chunks[i] = i < have ? t->chunk[i * t->padded] : of_chunk{0, 0};
    ptq_copy_wait<0>();
    __syncthreads();
}

template <int W_BIT, int G, int T, int DEPTH, int WARPS>
__global__ void __launch_bounds__(WARPS *WARP, 32 / WARPS) one_kernel(struct one_task t)
{
    struct one_lane l = one_lane_of<W_BIT>();
    int warp = (int)threadIdx.x / WARP;
    int64_t tile = (int64_t)blockIdx.x * T;
    int16_t *shared = ptq_shared<int16_t>();
    struct of_chunk *chunks = reinterpret_cast<struct of_chunk *>(shared + t.units * CHUNK);
    float sum[T][ROWS] = {};
    struct one_words<W_BIT> ring[DEPTH][T] = {};
    struct one_tile at[T];
    PTQ_UNROLL
    for (int n = 0; n < T; n++) at[n] = one_tile_of<W_BIT>(&t, &l, tile + n);
    PTQ_UNROLL
    for (int i = 0; i < DEPTH; i++) PTQ_UNROLL
    for (int n = 0; n < T; n++)
        if (warp + i * WARPS < t.units) load_words<W_BIT, G>(&ring[i][n], &t, &l, &at[n], warp + i * WARPS);
    ptq_turn();
    share_x(&t, shared, chunks, t.units * G);
    for (int base = warp; base < t.units; base += DEPTH * WARPS) {
        PTQ_UNROLL
        for (int i = 0; i < DEPTH; i++) {
            int unit = base + i * WARPS, next = unit + DEPTH * WARPS;
            if (unit >= t.units) break;
            use_unit<W_BIT, G, T>(sum, ring[i], &t, &l, at, shared, chunks, unit);
            PTQ_UNROLL
            for (int n = 0; n < T; n++)
                if (next < t.units) load_words<W_BIT, G>(&ring[i][n], &t, &l, &at[n], next);
        }
    }
    put_one<T>(sum, &t, reinterpret_cast<float *>(chunks + t.units * G), tile);
}

/* ---- choosing ---- */

/* Groups in a unit; 0: none of those that are done here. */
static int one_groups(const struct ptq_packed *w)
{
    if (w->n_groups == 1 || w->stride % CHUNK == 0) return 1;
    return w->stride == CHUNK / 2 ? 2 : w->stride == CHUNK / 4 ? 4 : 0;
}

static int units_of(const struct ptq_packed *w)
{
    return (int)((w->places + CHUNK - 1) / CHUNK);
}

static size_t one_bytes(const struct ptq_packed *w, int warps)
{
    int units = units_of(w);
    return 2 * (size_t)units * CHUNK + sizeof(struct of_chunk) * (size_t)(units * one_groups(w)) +
           sizeof(float) * (size_t)(warps * PTQ_PACK_ROWS);
}

int one_serves(const struct ptq_packed *w)
{
    int bits = w->grid.w_bit;
    return one_groups(w) && (bits == 2 || bits == 3 || bits == 4 || bits == 8) && one_bytes(w, 16) <= most_shared();
}

/* 32 warps a processor: in blocks of 8, or of 16 where there are few tiles or where activations leave no room for four
 * blocks. */
template <int W_BIT, int G> static void launch_one(const struct one_task &t)
{
    dim3 blocks = blocks_for(t.w.tiles, 1);
    if (t.w.tiles > 2 * (int64_t)processors() && 4 * (one_bytes(&t.w, 8) + BLOCK_BYTES) <= most_shared() + BLOCK_BYTES)
        PTQ_LAUNCH_EARLY((one_kernel < W_BIT, G, 1, W_BIT == 8 ? 1 : 2, 8 >), blocks, 8 * WARP, one_bytes(&t.w, 8), t);
    else
        PTQ_LAUNCH_EARLY((one_kernel < W_BIT, G, 1, W_BIT == 8 ? 1 : 2, 16 >), blocks, 16 * WARP, one_bytes(&t.w, 16),
                         t);
}

template <int W_BIT> static void launch_groups(const struct one_task &t)
{
    if (t.groups_of_unit == 1)
        launch_one<W_BIT, 1>(t);
    else if (t.groups_of_unit == 2)
        launch_one<W_BIT, 2>(t);
    else
        launch_one<W_BIT, 4>(t);
}

void acts_row(void *scratch, const struct ptq_packed *w, const float *x)
{
    struct half_acts a = acts_for(w, 1, scratch);
    a.bits = w->grid.w_bit;
    fill_acts(&a, w, x, w->k);
}

void multiply_row(float *y, const struct ptq_packed *w, const float *b, int accumulate, void *scratch)
{
    struct half_acts a = acts_for(w, 1, scratch);
    struct one_task t = {};
    t.y = y, t.b = b, t.accumulate = accumulate, t.w = *w;
    t.x = reinterpret_cast<const int16_t *>(a.x), t.chunk = a.chunk, t.kept = a.kept, t.padded = a.padded;
    t.units = units_of(w);
    t.groups_of_unit = one_groups(w);
    t.last_step = (uint32_t)((w->places / PTQ_PACK_STEP - 1) * 4 * PTQ_PACK_ROWS * w->grid.w_bit);
    int64_t of_group = w->n_groups == 1 ? t.units : w->stride / CHUNK;
    if (t.groups_of_unit == 1 && of_group > 1)
        t.group_by_mul = (uint32_t)((((uint64_t)1 << 32) + (uint64_t)of_group - 1) / (uint64_t)of_group);
    switch (w->grid.w_bit) {
    case 2:
        return launch_groups<2>(t);
    case 3:
        return launch_groups<3>(t);
    case 4:
        return launch_groups<4>(t);
    default:
        return launch_groups<8>(t);
    }
}
} // namespace ptq_cuda
