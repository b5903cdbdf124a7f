/* y = x w^T on packed weights for up to 16 tokens, in groups of 32, 64 or whole chunks: what decoding waits for.
 *
 * It is to run at the speed of memory: a multiprocessor then has 57 cycles of each of its schedulers for the 512
 * weights of a tile's step in 4 bits, 43 in 3 bits. So weights are used as they lie in memory. Lane 4 r + c of a warp
 * takes 16 bytes at a time: one vector (packed.h) of the rows 4 q .. 4 q + 3 of a tile, r = 4 tile + q of the warp's
 * pair of tiles, the vector by c. A code stays where it is in its half word: as an FP16 number those bits are the code
 * times 2^-24, four bits further up times 2^-20, which tensor cores multiply exactly. The activations of the latter are
 * a sixteenth (half_acts.high), so that all products are 2^-24 of what they should be:
 *
 *   2^-24 y += scale (factor * sum of products - 2^-24 zero * sum of x)
 *
 * The bytes of a unit (128 places of 32 rows, their scales, zeros and activations) are copied asynchronously, STAGES
 * units deep, into a ring of the warp's own. P warps that multiply the same places of different pairs are a team and
 * share the activations; the teams of a block split the units, and their sums are added in order. */
#include "packed.cuh"

#include "memory.cuh"

namespace ptq_cuda
{
enum { STAGES = 4, MOST_WARPS = 16, PAIR = 2 * PTQ_PACK_ROWS, PIECE = 8 /* activations of 16 bytes */ };
enum { SCALE_BYTES = 64, ZERO_BYTES = 16 }; /* of a tile and group, at most */

/* How the work is cut. */
struct few_plan {
    int pairs, teams;      /* of a block: pairs of tiles, each a warp of a team */
    int units;             /* of a row */
    uint32_t group_by_mul; /* ceil(2^32 / units of a group); 0: a unit is a group or less */
    int team_bytes;        /* of a stage */
};

/* Bytes of a stage that a warp has to itself: codes, scales, zeros. */
template <int W_BIT, int G> struct own_stage {
    static constexpr int scale = PAIR * CHUNK * W_BIT / 8, zero = scale + 2 * G * SCALE_BYTES,
                         bytes = zero + 2 * G * ZERO_BYTES;
};

/* A thread's place. */
struct few_thread {
    int lane, r, c, tile, q; /* tile: of its pair, 0 or 1 */
    int pair, team;
    int64_t first, last; /* tiles of the pair; the same where there is but one */
    unsigned char *own, *acts;
};

__device__ __forceinline__ struct few_thread few_thread_of(const struct packed_task *t, const struct few_plan *plan,
                                                           int own_bytes)
{
    struct few_thread f;
    int warp = (int)threadIdx.x / WARP;
    f.lane = (int)threadIdx.x % WARP;
    f.r = f.lane / 4, f.c = f.lane % 4, f.tile = f.r / 4, f.q = f.r % 4;
    f.pair = warp % plan->pairs, f.team = warp / plan->pairs;
    f.first = ((int64_t)blockIdx.x * plan->pairs + f.pair) * 2;
    f.first = f.first < t->w.tiles ? f.first : t->w.tiles - 1;
    f.last = f.first + 1 < t->w.tiles ? f.first + 1 : f.first;
    unsigned char *ring = ptq_shared<unsigned char>();
    f.own = ring + warp * STAGES * own_bytes;
    f.acts = ring + plan->pairs * plan->teams * STAGES * own_bytes + f.team * STAGES * plan->team_bytes;
    return f;
}

__device__ __forceinline__ int64_t tile_of(const struct few_thread *f, int which)
{
    return which ? f->last : f->first;
}

/* ---- bringing a unit ---- */

/* A plane of B bits: `from` is at the unit's first step, of which there are `steps`. */
template <int B, bool WHOLE>
__device__ __forceinline__ void copy_plane(unsigned char *to, const unsigned char *from, int step_bytes, int lane,
                                           int steps)
{
    enum { VECTOR = 4 * PTQ_PACK_ROWS, LOADS = B == 8 ? 8 : B == 4 ? 4 : B == 2 ? 2 : 1 };
    int c = lane % 4;
    PTQ_UNROLL
    for (int i = 0; i < LOADS; i++) {
        int step = B == 8 ? i / 2 : B == 4 ? i : B == 2 ? 2 * i + c / 2 : c;
        int vector = B == 8 ? 2 * c + i % 2 : B == 4 ? c : B == 2 ? c % 2 : 0;
        unsigned char *slot = to + (i * WARP + lane) * 16;
        const unsigned char *at = from + step * step_bytes + vector * VECTOR;
        if (WHOLE)
            ptq_copy_async16(slot, at);
        else
            ptq_copy_async16(slot, at, step < steps ? 16 : 0);
    }
}

template <int W_BIT, bool WHOLE>
__device__ __forceinline__ void copy_codes(unsigned char *to, const unsigned char *from, int lane, int steps)
{
    enum { STEP = 4 * PTQ_PACK_ROWS * W_BIT };
    if (W_BIT == 8) copy_plane<8, WHOLE>(to, from, STEP, lane, steps);
    if (W_BIT == 4) copy_plane<4, WHOLE>(to, from, STEP, lane, steps);
    if (W_BIT == 3 || W_BIT == 2) copy_plane<2, WHOLE>(to, from, STEP, lane, steps);
    if (W_BIT == 3) copy_plane<1, WHOLE>(to + 2 * WARP * 16, from + 2 * 4 * PTQ_PACK_ROWS, STEP, lane, steps);
}

/* Where a token's piece lies, in 16 bytes: what a quarter of a warp reads at once is in different banks. */
template <int W_BIT> __device__ __forceinline__ int piece_at(int token, int piece)
{
    return token * (CHUNK / PIECE) + (piece ^ token % 2 * (W_BIT < 4 ? 1 : 4));
}

/* Pieces of 16 bytes of a unit beside its codes, one a lane: scales of 2 tiles and G groups to own, factors and sums of
 * x (of_chunk) to the team's. */
struct small_copy {
    const unsigned char *from; /* NULL: the lane has none */
    unsigned char *to;
    int step, stage; /* bytes to the next group or unit; to the next stage */
    int left;        /* groups (or units) that are there */
    bool by_group;
};

template <int W_BIT, int G, int NT>
__device__ __forceinline__ struct small_copy small_copy_of(const struct packed_task *t, const struct few_thread *f,
                                                           const struct few_plan *plan, int number)
{
    enum { OF_CHUNK = NT * COLUMNS * (int)sizeof(struct of_chunk) / 16, OWN = own_stage<W_BIT, G>::bytes };
    int pieces = t->w.scale ? 4 : 2, scales = 2 * G * pieces, groups = (int)t->w.n_groups; /* of a tile and group */
    if (number < scales) {
        const unsigned char *all = t->w.scale ? reinterpret_cast<const unsigned char *>(t->w.scale)
                                              : reinterpret_cast<const unsigned char *>(t->w.scale16);
        int slot = number / pieces, piece = number % pieces, g = slot % G;
        return small_copy{all + ((tile_of(f, slot / G) * groups + g) * pieces + piece) * 16,
                          f->own + own_stage<W_BIT, G>::scale + slot * SCALE_BYTES + piece * 16,
                          pieces * 16,
                          OWN,
                          groups - g,
                          true};
    }
    number -= scales;
    if (f->pair || number >= G * OF_CHUNK) return small_copy{nullptr, nullptr, 0, 0, 0, false};
    return small_copy{reinterpret_cast<const unsigned char *>(t->x.chunk) + number * 16,
                      f->acts + (int)t->x.m * CHUNK * 2 + number * 16,
                      OF_CHUNK * 16,
                      plan->team_bytes,
                      (int)t->chunks.n - number / OF_CHUNK,
                      false};
}

/* What a thread copies of every unit: where from in the first one. */
template <int W_BIT, int G, int NT> struct copies {
    static constexpr int rounds = G == 4 ? 2 : 1;
    const unsigned char *code, *zero;
    const uint16_t *acts;
    unsigned char *zero_to, *acts_to;
    int zero_left;
    struct small_copy small[rounds];
};

template <int W_BIT, int G, int NT>
__device__ __forceinline__ struct copies<W_BIT, G, NT>
copies_of(const struct packed_task *t, const struct few_thread *f, const struct few_plan *plan) {
    enum { WORDS = W_BIT == 8 ? 4 : 2, PIECES = CHUNK / PIECE }; /* words: of a tile's and group's zeros */
    struct copies<W_BIT, G, NT> c;
    int slot = f->lane / WORDS, token = (f->pair * WARP + f->lane) / PIECES, piece = f->lane % PIECES;
    c.code = reinterpret_cast<const unsigned char *>(t->w.code) +
             tile_of(f, f->tile) * (t->w.places * PTQ_PACK_ROWS * W_BIT / 8) + f->q * 16;
    c.zero = nullptr;
    if (t->w.zero && f->lane < 2 * G * WORDS)
        c.zero = t->w.zero + ((tile_of(f, slot / G) * t->w.n_groups + slot % G) * WORDS + f->lane % WORDS) * 4;
    c.zero_to = f->own + own_stage<W_BIT, G>::zero + slot * ZERO_BYTES + f->lane % WORDS * 4;
    c.zero_left = (int)t->w.n_groups - slot % G;
    c.acts = t->x.x + token * t->w.places + piece * PIECE;
    c.acts_to = f->acts + 16 * piece_at<W_BIT>(token, piece);
    PTQ_UNROLL
    for (int i = 0; i < copies<W_BIT, G, NT>::rounds; i++)
        c.small[i] = small_copy_of<W_BIT, G, NT>(t, f, plan, i *WARP + f->lane);
    return c;
}

enum {
    CODES = 1,
    ACTS = 2
}; /* what of a unit: what was there before this kernel's turn; what was made just before */

/* PARTS of a unit of `steps` steps, 4 where WHOLE, into its stage. */
template <int W_BIT, int G, int NT, bool GATHER, bool WHOLE, int PARTS>
__device__ __forceinline__ void copy_unit(const struct copies<W_BIT, G, NT> *c, const struct packed_task *t,
                                          const struct few_thread *f, const struct few_plan *plan, int unit, int stage,
                                          int steps)
{
    enum { OWN = own_stage<W_BIT, G>::bytes, PIECES = CHUNK / PIECE };
    if (PARTS & CODES)
        copy_codes<W_BIT, WHOLE>(f->own + stage * OWN, c->code + (int64_t)unit * (PTQ_PACK_ROWS * CHUNK * W_BIT / 8),
                                 f->lane, steps);
    int group = plan->group_by_mul ? (int)((uint64_t)unit * plan->group_by_mul >> 32) : unit * G;
    PTQ_UNROLL
    for (int i = 0; i < copies<W_BIT, G, NT>::rounds; i++) {
        const struct small_copy *s = &c->small[i];
        int at = s->by_group ? group : unit;
        if (!s->from || !(PARTS & (s->by_group ? CODES : ACTS))) continue;
        if (G == 1)
            ptq_copy_async16(s->to + stage * s->stage, s->from + (int64_t)at * s->step);
        else /* a unit has G groups, and as many chunks */
            ptq_copy_async16(s->to + stage * s->stage, s->from + (int64_t)at * (s->by_group ? s->step : G * s->step),
                             unit * G < s->left ? 16 : 0);
    }
    if (PARTS & CODES && c->zero && (G == 1 || group < c->zero_left))
        ptq_copy_async4(c->zero_to + stage * OWN, c->zero + (int64_t)group * (W_BIT == 8 ? 16 : 8));
    if (GATHER || !(PARTS & ACTS)) return;
    const uint16_t *from = c->acts + unit * CHUNK;
    unsigned char *to = c->acts_to + stage * plan->team_bytes;
    int tokens = plan->pairs * WARP / PIECES; /* that a team copies at once: even, so that banks are as before */
    for (int token = (f->pair * WARP + f->lane) / PIECES; token < (int)t->x.m; token += tokens) {
        if (WHOLE)
            ptq_copy_async16(to, from);
        else
            ptq_copy_async16(to, from, f->lane % PIECES / (PTQ_PACK_STEP / PIECE) < steps ? 16 : 0);
        from += tokens * t->w.places, to += tokens * CHUNK * 2;
    }
}

/* Of the it'th unit of the thread's team into its place in the ring. */
template <int W_BIT, int G, int NT, bool GATHER, int PARTS>
__device__ __forceinline__ void bring(const struct copies<W_BIT, G, NT> *c, const struct packed_task *t,
                                      const struct few_thread *f, const struct few_plan *plan, int it)
{
    int unit = it * plan->teams + f->team, steps = (int)t->w.places / PTQ_PACK_STEP - unit * CHUNK_STEPS;
    if (steps >= CHUNK_STEPS)
        copy_unit<W_BIT, G, NT, GATHER, true, PARTS>(c, t, f, plan, unit, it % STAGES, CHUNK_STEPS);
    else if (steps > 0)
        copy_unit<W_BIT, G, NT, GATHER, false, PARTS>(c, t, f, plan, unit, it % STAGES, steps);
}

/* The activations of a unit, each looked up by perm, for the comparison: no salient or divided columns. */
template <int W_BIT, int G, int NT>
__device__ static void gather_acts(unsigned char *stage, const struct packed_task *t, const struct few_thread *f,
                                   int unit)
{
    uint16_t *to = reinterpret_cast<uint16_t *>(stage);
    const struct of_chunk *chunk = reinterpret_cast<const struct of_chunk *>(stage + t->x.m * CHUNK * 2);
    for (int i = f->lane; i < (int)t->x.m * CHUNK; i += WARP) {
        int token = i / CHUNK, at = i % CHUNK, position = unit * CHUNK + at;
        float value = 0, factor = chunk[at / (CHUNK / G) * NT * COLUMNS + token].factor;
        if (position < t->w.k)
            value = t->original[token * t->ldx + (t->w.perm ? t->w.perm[position] : position)] / factor;
        if (at & t->x.high) value *= 0.0625f;
        to[piece_at<W_BIT>(token, at / PIECE) * PIECE + at % PIECE] = ptq_float_to_half(value);
    }
    __syncwarp();
}

/* ---- multiplying ---- */

/* Sums [h] of rows 4 q + 2 h and 4 q + 2 h + 1, as an mma has them. */
template <int NT> struct parts {
    float sum[2][NT][4];
};

/* A pair of places (a[h][0], a[h][1]: rows 2 h, 2 h + 1) and another one (a[h][2], a[h][3]) of four rows. */
template <int NT>
__device__ __forceinline__ void multiply_pairs(struct parts<NT> *p, const uint32_t (&a)[2][4], const uint4 (&x)[NT],
                                               bool second)
{
    PTQ_UNROLL
    for (int h = 0; h < 2; h++) PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) {
        const uint32_t b[2] = {second ? x[nt].z : x[nt].x, second ? x[nt].w : x[nt].y};
        ptq_mma_16816(p->sum[h][nt], a[h], b);
    }
}

/* Fields at `low` of four rows' words u and at `high` of words v: two pairs. */
__device__ __forceinline__ void fields(uint32_t (&a)[2][4], const uint32_t (&u)[4], uint32_t low,
                                       const uint32_t (&v)[4], uint32_t high)
{
    PTQ_UNROLL
    for (int i = 0; i < 4; i++) a[i / 2][i % 2] = u[i] & low, a[i / 2][2 + i % 2] = v[i] & high;
}

__device__ __forceinline__ void shift_8(uint32_t (&word)[4])
{
    PTQ_UNROLL
    for (int i = 0; i < 4; i++) word[i] >>= 8;
}

__device__ __forceinline__ void words_at(uint32_t (&word)[4], const unsigned char *at)
{
    uint4 v = *reinterpret_cast<const uint4 *>(at);
    word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
}

/* Piece `piece` of the tokens of each mma. Tokens behind the last are given its numbers: nobody reads their sums. */
template <int W_BIT, int NT>
__device__ __forceinline__ void pieces_at(uint4 (&x)[NT], const unsigned char *acts, int m, int r, int piece)
{
    PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) {
        int token = nt * COLUMNS + r < m ? nt * COLUMNS + r : m - 1;
        x[nt] = *reinterpret_cast<const uint4 *>(acts + 16 * piece_at<W_BIT>(token, piece));
    }
}

/* Bits 0 and 1 of each nibble of low, the others of high: one instruction as it is written here. */
__device__ __forceinline__ uint32_t pick(uint32_t low, uint32_t high)
{
    return ((low ^ high) & 0x33333333u) ^ high;
}

/* Two and three bits, 16 places of steps 2 i and 2 i + 1: words of nibbles, even and odd pairs of places. */
template <int W_BIT>
__device__ __forceinline__ void make_nibbles(uint32_t (&even)[4], uint32_t (&odd)[4], const uint32_t (&word)[4],
                                             const unsigned char *bits_at, int c)
{
    uint32_t bits[4] = {};
    if (W_BIT == 3) words_at(bits, bits_at);
    PTQ_UNROLL
    for (int row = 0; row < 4; row++) {
        even[row] = word[row], odd[row] = word[row] >> 2;
        if (W_BIT == 2) continue;
        /* vector c % 2 has its third bits at 2 v (even) and 2 v + 1 (odd) of a nibble: to its bit 2; bit 3 is masked
         * later */
        even[row] = pick(even[row], ptq_rotate(bits[row], c % 2 ? 0 : 2));
        odd[row] = pick(odd[row], ptq_rotate(bits[row], c % 2 ? 31 : 1));
    }
}

/* Load i of a unit. 4 bits: step i, places 8 c ..; 8 bits: the same in two loads; 2 and 3 bits: 16 places. */
template <int W_BIT, int NT>
__device__ __forceinline__ void multiply_load(struct parts<NT> *p, const unsigned char *own, const unsigned char *acts,
                                              const struct few_thread *f, int m, int i)
{
    const uint32_t mask = ((1u << W_BIT) - 1) * 0x00010001u;
    uint32_t word[4], even[4], odd[4], a[2][4];
    uint4 x[NT];
    words_at(word, own + ((W_BIT == 8 ? 2 * i : i) * WARP + f->lane) * 16);
    pieces_at<W_BIT, NT>(x, acts, m, f->r, W_BIT < 4 ? 8 * i + 2 * f->c : 4 * i + f->c);
    if (W_BIT == 4) {
        fields(a, word, mask, word, mask << 4);
        multiply_pairs<NT>(p, a, x, false);
        shift_8(word);
        fields(a, word, mask, word, mask << 4);
        multiply_pairs<NT>(p, a, x, true);
        return;
    }
    if (W_BIT == 8) {
        words_at(odd, own + ((2 * i + 1) * WARP + f->lane) * 16);
        for (int second = 0; second < 2; second++) {
            uint32_t(&from)[4] = second ? odd : word;
            PTQ_UNROLL
            for (int row = 0; row < 4; row++) even[row] = from[row] >> 8;
            fields(a, from, mask, even, mask);
            multiply_pairs<NT>(p, a, x, second);
        }
        return;
    }
    make_nibbles<W_BIT>(even, odd, word, own + (2 * WARP + f->r * 4 + 2 * i + f->c / 2) * 16, f->c);
    PTQ_UNROLL
    for (int upper = 0; upper < 2; upper++) { /* pairs 0 to 3, 4 to 7 */
        if (upper) {
            pieces_at<W_BIT, NT>(x, acts, m, f->r, 8 * i + 2 * f->c + 1);
            shift_8(even), shift_8(odd);
        }
        fields(a, even, mask, odd, mask);
        multiply_pairs<NT>(p, a, x, false);
        fields(a, even, mask << 4, odd, mask << 4);
        multiply_pairs<NT>(p, a, x, true);
    }
}

/* Group g of a unit is done: its scales and zeros, and 2^-24 of the sums. */
template <int W_BIT, int G, int NT>
__device__ __forceinline__ void add_group(float (&sum)[2][NT][4], struct parts<NT> *p, const unsigned char *own,
                                          const unsigned char *of_chunks, const struct packed_task *t,
                                          const struct few_thread *f, int g)
{
    const unsigned char *scale_at = own + own_stage<W_BIT, G>::scale + (f->tile * G + g) * SCALE_BYTES,
                        *zero_at = own + own_stage<W_BIT, G>::zero + (f->tile * G + g) * ZERO_BYTES;
    float scale[4];
    uint32_t zero = (1u << (W_BIT - 1)) * 0x01010101u;
    if (t->w.scale) {
        float4 v = *reinterpret_cast<const float4 *>(scale_at + f->q * 16);
        scale[0] = v.x, scale[1] = v.y, scale[2] = v.z, scale[3] = v.w;
    } else {
        uint2 v = *reinterpret_cast<const uint2 *>(scale_at + f->q * 8);
        scale[0] = ptq_half_to_float((uint16_t)v.x), scale[1] = ptq_half_to_float((uint16_t)(v.x >> 16));
        scale[2] = ptq_half_to_float((uint16_t)v.y), scale[3] = ptq_half_to_float((uint16_t)(v.y >> 16));
    }
    if (t->w.zero && W_BIT == 8) zero = *reinterpret_cast<const uint32_t *>(zero_at + f->q * 4);
    if (t->w.zero && W_BIT != 8)
        zero = *reinterpret_cast<const uint32_t *>(zero_at + f->q % 2 * 4) >> f->q / 2 * 4 & 0x0f0f0f0fu;
    PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) {
        float4 x = *reinterpret_cast<const float4 *>(of_chunks + ((g * NT + nt) * COLUMNS + 2 * f->c) * 8);
        PTQ_UNROLL
        for (int h = 0; h < 2; h++) PTQ_UNROLL
        for (int i = 0; i < 4; i++) {
            int row = 2 * h + i / 2;
            float z = ptq_half_to_float((uint16_t)(zero >> 8 * row & 255)); /* 2^-24 of it, as of the codes */
            sum[h][nt][i] += scale[row] * (p->sum[h][nt][i] * (i % 2 ? x.z : x.x) - z * (i % 2 ? x.w : x.y));
            p->sum[h][nt][i] = 0;
        }
    }
}

template <int W_BIT, int G, int NT>
__device__ __forceinline__ void multiply_unit(float (&sum)[2][NT][4], const unsigned char *own,
                                              const unsigned char *acts, const struct packed_task *t,
                                              const struct few_thread *f)
{
    enum { LOADS = W_BIT < 4 ? 2 : 4 };
    struct parts<NT> p = {
    };
    int m = (int)t->x.m;
    PTQ_UNROLL
    for (int i = 0; i < LOADS; i++) {
        multiply_load<W_BIT, NT>(&p, own, acts, f, m, i);
        if ((i + 1) % (LOADS / G) == 0)
            add_group<W_BIT, G, NT>(sum, &p, own, acts + m * CHUNK * 2, t, f, i / (LOADS / G));
    }
}

/* ---- the end ---- */

/* The team's share of the salient columns, 2^-24 of them as the rest. */
template <int NT>
__device__ __forceinline__ void add_kept(float (&sum)[2][NT][4], const struct packed_task *t,
                                         const struct few_thread *f, int teams)
{
    for (int64_t j = f->team; j < t->w.n_keep; j += teams) {
        const uint16_t *kept = t->w.kept + (tile_of(f, f->tile) * t->w.n_keep + j) * PTQ_PACK_ROWS + 4 * f->q;
        PTQ_UNROLL
        for (int nt = 0; nt < NT; nt++) PTQ_UNROLL
        for (int i = 0; i < 4; i++) {
            int token = nt * COLUMNS + 2 * f->c + i % 2;
            float x = token < t->x.m ? t->x.kept[token * t->w.n_keep + j] * 0x1p-24f : 0;
            PTQ_UNROLL
            for (int h = 0; h < 2; h++) sum[h][nt][i] += ptq_half_to_float(kept[2 * h + i / 2]) * x;
        }
    }
}

/* The sums of all teams, in order, to y. Shared: [warp][8 NT][WARP], neighbours side by side. */
template <int NT>
__device__ __forceinline__ void put_sums(const float (&sum)[2][NT][4], const struct packed_task *t,
                                         const struct few_thread *f, const struct few_plan *plan)
{
    enum { VALUES = 8 * NT };
    float *shared = ptq_shared<float>();
    int warp = (int)threadIdx.x / WARP;
    for (int i = 0; i < VALUES; i++) shared[(warp * VALUES + i) * WARP + f->lane] = sum[i / 4 % 2][i / 8][i % 4];
    __syncthreads();
    for (int i = warp; i < plan->pairs * VALUES; i += plan->pairs * plan->teams) {
        int pair = i / VALUES, value = i % VALUES, token = value / 8 * COLUMNS + 2 * f->c + value % 2;
        int64_t n = ((int64_t)blockIdx.x * plan->pairs + pair) * PAIR + f->r * 4 + value / 4 % 2 * 2 + value % 4 / 2;
        if (n >= t->w.n || token >= t->x.m) continue;
        float all = 0;
        for (int s = 0; s < plan->teams; s++)
            all += shared[((s * plan->pairs + pair) * VALUES + value) * WARP + f->lane];
        float out = all * 0x1p24f + (t->b ? t->b[n] : 0), *to = t->y + token * t->ldy + n;
        *to = t->accumulate ? *to + out : out;
    }
}

template <int W_BIT, int G, int NT, bool GATHER>
__global__ void __launch_bounds__(MOST_WARPS *WARP) few_kernel(struct packed_task t, struct few_plan plan)
{
    enum { OWN = own_stage<W_BIT, G>::bytes };
    struct few_thread f = few_thread_of(&t, &plan, OWN);
    const struct copies<W_BIT, G, NT> c = copies_of<W_BIT, G, NT>(&t, &f, &plan);
    float sum[2][NT][4] = {};
    int rounds = (plan.units + plan.teams - 1) / plan.teams;
    PTQ_NO_UNROLL
    for (int it = 0; it < STAGES - 1; it++) bring<W_BIT, G, NT, GATHER, CODES>(&c, &t, &f, &plan, it);
    ptq_turn();
    PTQ_NO_UNROLL
    for (int it = 0; it < STAGES - 1; it++) {
        bring<W_BIT, G, NT, GATHER, ACTS>(&c, &t, &f, &plan, it);
        ptq_copy_commit();
    }
    for (int it = 0; it < rounds; it++) {
        int unit = it * plan.teams + f.team;
        unsigned char *own = f.own + it % STAGES * OWN, *acts = f.acts + it % STAGES * plan.team_bytes;
        ptq_copy_wait<STAGES - 2>();
        if (plan.pairs == 1)
            __syncwarp();
        else
            __syncthreads();
        bring<W_BIT, G, NT, GATHER, CODES | ACTS>(&c, &t, &f, &plan, it + STAGES - 1);
        ptq_copy_commit();
        if (unit >= plan.units) continue;
        if (GATHER) gather_acts<W_BIT, G, NT>(acts, &t, &f, unit);
        multiply_unit<W_BIT, G, NT>(sum, own, acts, &t, &f);
    }
    add_kept<NT>(sum, &t, &f, plan.teams);
    ptq_copy_wait<0>();
    __syncthreads(); /* the ring is free */
    put_sums<NT>(sum, &t, &f, &plan);
}

/* ---- choosing ---- */

static size_t few_bytes(const struct few_plan *plan, int own)
{
    return (size_t)STAGES * (size_t)(plan->pairs * plan->teams * own + plan->teams * plan->team_bytes);
}

/* More pairs a block, so that activations are read less often, where there are blocks enough for all processors; as
 * many teams as have units and as shared memory holds. */
static struct few_plan plan_for(const struct packed_task *t, int g, int nt, int own, int gather)
{
    struct few_plan p = {1, 8, (int)((t->w.places + CHUNK - 1) / CHUNK), 0, 0};
    int64_t all = (t->w.tiles + 1) / 2, a_group = t->w.n_groups == 1 ? p.units : t->chunks.a_group;
    if (a_group > 1) p.group_by_mul = (uint32_t)((((uint64_t)1 << 32) + (uint64_t)a_group - 1) / (uint64_t)a_group);
    p.team_bytes = (int)t->x.m * CHUNK * 2 + g * nt * COLUMNS * (int)sizeof(struct of_chunk);
    int most = gather || t->x.m <= 4 ? 1 : t->x.m <= 8 ? 2 : 4;
    while (2 * p.pairs <= most && all >= 2 * p.pairs * (int64_t)processors()) p.pairs *= 2;
    p.teams = (all <= p.pairs * (int64_t)processors() ? MOST_WARPS : MOST_WARPS / 2) / p.pairs;
    while (p.teams > 1 && p.teams / 2 >= p.units) p.teams /= 2;
    while (p.teams > 1 && few_bytes(&p, own) > most_shared()) p.teams /= 2;
    return p;
}

template <int W_BIT, int G, int NT, bool GATHER> static void launch_few(const struct packed_task *t)
{
    enum { OWN = own_stage<W_BIT, G>::bytes };
    struct few_plan plan = plan_for(t, G, NT, OWN, GATHER);
    int64_t blocks = ((t->w.tiles + 1) / 2 + plan.pairs - 1) / plan.pairs;
    PTQ_LAUNCH_EARLY((few_kernel<W_BIT, G, NT, GATHER>), dim3((unsigned)blocks), plan.pairs * plan.teams * WARP,
                     few_bytes(&plan, OWN), *t, plan);
}

template <int W_BIT, int G> static void few_tokens(const struct packed_task *t, bool gather)
{
    constexpr bool gathers = G == 1 && (W_BIT == 3 || W_BIT == 4);
    if (t->x.m <= COLUMNS)
        gather ? launch_few<W_BIT, G, 1, gathers>(t) : launch_few<W_BIT, G, 1, false>(t);
    else
        gather ? launch_few<W_BIT, G, 2, gathers>(t) : launch_few<W_BIT, G, 2, false>(t);
}

/* Groups in a unit; 0: none of those that are done here. */
static int groups_of_unit(const struct ptq_packed *w)
{
    if (w->n_groups == 1 || w->stride % CHUNK == 0) return 1;
    return w->stride == CHUNK / 2 ? 2 : w->stride == CHUNK / 4 ? 4 : 0;
}

template <int W_BIT> static void few_groups(const struct packed_task *t, bool gather)
{
    int g = groups_of_unit(&t->w);
    if (g == 1)
        few_tokens<W_BIT, 1>(t, gather);
    else if (g == 2)
        few_tokens<W_BIT, 2>(t, false);
    else
        few_tokens < W_BIT, W_BIT<4 ? 2 : 4>(t, false);
}

/* Two and three bits are taken two steps at a time, so groups of one step are not for here. */
int is_few(const struct ptq_packed *w, int64_t m)
{
    int bits = w->grid.w_bit, g = groups_of_unit(w);
    return m <= FEW && g && (bits == 4 || bits == 8 || ((bits == 2 || bits == 3) && g < 4)) && w->places <= 1 << 22;
}

/* Positions are to be places, and no column is left out (device.h). */
int few_gathers(const struct ptq_packed *w)
{
    return groups_of_unit(w) == 1 && (w->stride == w->group || w->n_groups == 1);
}

/* Fields four bits up in their half word are sixteen times their code. */
int few_high(int w_bit)
{
    return w_bit == 4 ? 2 : w_bit == 8 ? 0 : 4;
}

void few_linear(const struct packed_task *t, int gather)
{
    switch (t->w.grid.w_bit) {
    case 2:
        few_groups<2>(t, false);
        break;
    case 3:
        few_groups<3>(t, gather);
        break;
    case 4:
        few_groups<4>(t, gather);
        break;
    default:
        few_groups<8>(t, false);
    }
}
} // namespace ptq_cuda
