/* packed_few.cu's units: how the work is cut, and how the bytes of a unit come to shared memory. */
#ifndef PTQ_PACKED_FEW_CUH
#define PTQ_PACKED_FEW_CUH

#include "packed.cuh"

#include "memory.cuh"

namespace ptq_cuda
{
enum { STAGES = 3, PAIR = 2 * PTQ_PACK_ROWS, PIECE = 8 /* activations of 16 bytes */, PIECES = CHUNK / PIECE };
enum { SCALE_BYTES = 64, ZERO_BYTES = 16 }; /* of a tile and group, at most */

/* Threads that registers are cut for: 24 warps a multiprocessor, 16 where there are twice as many sums. */
__host__ __device__ constexpr int few_threads(int nt)
{
    return nt == 1 ? 768 : 512;
}

/* How the work is cut. */
struct few_plan {
    int pairs, teams;      /* of a block: pairs of tiles, each a warp of a team */
    int units;             /* of a row */
    uint32_t group_by_mul; /* ceil(2^32 / units of a group); 0: a unit is a group or less */
    int team_bytes;        /* of a stage */
    int stage_bytes;       /* of all warps and teams of a block */
};

/* Bytes of a stage that a warp has to itself: codes, scales, zeros. */
template <int W_BIT, int G> struct own_stage {
    static constexpr int tile = PTQ_PACK_ROWS * CHUNK * W_BIT / 8, scale = 2 * tile, zero = scale + 2 * G * SCALE_BYTES,
                         bytes = zero + 2 * G * ZERO_BYTES;
};

/* Bytes of a token's activations in a stage. What a quarter of a warp reads at once is in different banks: 64 bytes of
 * two tokens where codes are 4 bits and wider, of which every other token has its halves of 128 bytes exchanged. */
__host__ __device__ constexpr int token_bytes(int w_bit)
{
    return 2 * CHUNK + (w_bit < 4 ? 16 : 0);
}
template <int W_BIT> __device__ __forceinline__ int exchanged(int token)
{
    return W_BIT < 4 ? 0 : token % 2 * 64;
}

/* Where 16 bytes of a tile's unit lie in a stage, both in 16 bytes: as in memory but for one or two bits, for the
 * banks' sake. */
template <int W_BIT> __device__ __forceinline__ int code_at(int piece)
{
    if (W_BIT == 3) return piece ^ piece / (4 * W_BIT) % 2 * 2;
    return piece ^ piece / 8 % (W_BIT == 8 ? 4 : 2) * 2;
}

/* A thread's place. */
struct few_thread {
    int lane, r, c, tile, q; /* tile: of its pair, 0 or 1 */
    int pair, team;
    int64_t first, last; /* tiles of the pair; the same where there is but one */
    int own, acts; /* what is the warp's and the team's in the first stage; these and more are bytes of shared memory */
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
    f.own = warp * own_bytes;
    f.acts = plan->pairs * plan->teams * own_bytes + f.team * plan->team_bytes;
    return f;
}

__device__ __forceinline__ int64_t tile_of(const struct few_thread *f, int which)
{
    return which ? f->last : f->first;
}

template <class T> __device__ __forceinline__ T shared_at(int at)
{
    return *reinterpret_cast<const T *>(ptq_shared<unsigned char>() + at);
}

/* ---- bringing a unit ---- */

/* What of a unit: what was there before this kernel's turn, what was made just before. */
enum { CODES = 1, ACTS = 2 };

/* 16 bytes, or nothing, of every unit, a lane each: scales of 2 tiles and G groups, factors and sums of x; of a single
 * token the activations, too. */
struct small_copy {
    const unsigned char *from; /* of the next unit; NULL: the lane has none */
    int to;
    int step; /* bytes to the next group or unit */
    int left; /* groups or chunks that are there, of those whose first is the unit's; of activations: their step */
    bool by_group, is_acts;
};

template <int G> __device__ __forceinline__ bool single_token(const struct packed_task *t)
{
    return G == 1 && t->x.m == 1;
}

template <int W_BIT, int G, int NT>
__device__ __forceinline__ struct small_copy small_copy_of(const struct packed_task *t, const struct few_thread *f,
                                                           int number)
{
    enum { OF_CHUNK = NT * COLUMNS * (int)sizeof(struct of_chunk) / 16 };
    int pieces = t->w.scale ? 4 : 2, scales = 2 * G * pieces, groups = (int)t->w.n_groups; /* of a tile and group */
    if (number < scales) {
        const unsigned char *all = t->w.scale ? reinterpret_cast<const unsigned char *>(t->w.scale)
                                              : reinterpret_cast<const unsigned char *>(t->w.scale16);
        int slot = number / pieces, piece = number % pieces, g = slot % G;
        return small_copy{all + ((tile_of(f, slot / G) * groups + g) * pieces + piece) * 16,
                          f->own + own_stage<W_BIT, G>::scale + slot * SCALE_BYTES + piece * 16,
                          pieces * 16,
                          groups - g,
                          true,
                          false};
    }
    number -= scales;
    if (number < G * OF_CHUNK && !f->pair)
        return small_copy{reinterpret_cast<const unsigned char *>(t->x.chunk) + number * 16,
                          f->acts + (int)t->x.m * token_bytes(W_BIT) + number * 16,
                          OF_CHUNK * 16,
                          (int)t->chunks.n - number / OF_CHUNK,
                          false,
                          false};
    number -= G * OF_CHUNK;
    if (!single_token<G>(t) || number >= PIECES) return small_copy{nullptr, 0, 0, 0, false, false};
    return small_copy{reinterpret_cast<const unsigned char *>(t->x.x + number * PIECE),
                      f->acts + number * 16,
                      2 * CHUNK,
                      number / (PTQ_PACK_STEP / PIECE),
                      false,
                      true};
}

/* What a thread copies of every unit; `from` moves on. A tile's unit is 16 W_BIT pieces of 16 bytes, one a lane at a
 * time: those of both tiles one after the other, so that with 3 bits the second time is half and half. */
template <int W_BIT, int G, int NT> struct copies {
    static constexpr int rounds = G == 4 ? 2 : 1, odd = W_BIT == 3;
    const unsigned char *code[2 + odd], *zero;
    const unsigned char *acts;
    int code_to[2 + odd], zero_to, acts_to;
    int zero_left;
    struct small_copy small[rounds];
    int step[1 + 2 * odd]; /* of a unit's, that the pieces are in */
};

/* The pieces number % (16 W_BIT) of a tile. */
template <int W_BIT, int G, int NT>
__device__ __forceinline__ void start_code(struct copies<W_BIT, G, NT> *c, int which, const struct packed_task *t,
                                           const struct few_thread *f, int number)
{
    enum { OF_TILE = 16 * W_BIT };
    int tile = number / OF_TILE, piece = number % OF_TILE;
    c->code[which] = reinterpret_cast<const unsigned char *>(t->w.code) +
                     tile_of(f, tile) * (t->w.places * PTQ_PACK_ROWS * W_BIT / 8) + piece * 16;
    c->code_to[which] = f->own + tile * own_stage<W_BIT, G>::tile + code_at<W_BIT>(piece) * 16;
    if (W_BIT == 3) c->step[which] = piece / (4 * W_BIT);
}

template <int W_BIT, int G, int NT>
__device__ __forceinline__ void start_copies(struct copies<W_BIT, G, NT> *c, const struct packed_task *t,
                                             const struct few_thread *f)
{
    enum { WORDS = W_BIT == 8 ? 4 : 2 }; /* of a tile's and group's zeros */
    int slot = f->lane / WORDS, token = (f->pair * WARP + f->lane) / PIECES, piece = f->lane % PIECES;
    start_code<W_BIT, G, NT>(c, 0, t, f, f->lane);
    start_code<W_BIT, G, NT>(c, 1, t, f, W_BIT == 3 ? WARP + f->lane : 16 * W_BIT + f->lane);
    if (W_BIT == 3) start_code<W_BIT, G, NT>(c, W_BIT == 3 ? 2 : 0, t, f, 2 * WARP + f->lane);
    c->zero = nullptr;
    if (t->w.zero && f->lane < 2 * G * WORDS)
        c->zero = t->w.zero + ((tile_of(f, slot / G) * t->w.n_groups + slot % G) * WORDS + f->lane % WORDS) * 4;
    c->zero_to = f->own + own_stage<W_BIT, G>::zero + slot * ZERO_BYTES + f->lane % WORDS * 4;
    c->zero_left = (int)t->w.n_groups - slot % G;
    c->acts = reinterpret_cast<const unsigned char *>(t->x.x + token * t->w.places + piece * PIECE);
    c->acts_to = f->acts + token * token_bytes(W_BIT) + (piece * 16 ^ exchanged<W_BIT>(token));
    PTQ_UNROLL
    for (int i = 0; i < copies<W_BIT, G, NT>::rounds; i++)
        c->small[i] = small_copy_of<W_BIT, G, NT>(t, f, i * WARP + f->lane);
}

template <bool WHOLE> __device__ __forceinline__ void copy_piece(int at, const unsigned char *from, bool there)
{
    unsigned char *to = ptq_shared<unsigned char>() + at;
    if (WHOLE)
        ptq_copy_async16(to, from);
    else
        ptq_copy_async16(to, from, there ? 16 : 0);
}

template <int W_BIT, int G, int NT, bool WHOLE>
__device__ __forceinline__ void copy_codes(const struct copies<W_BIT, G, NT> *c, int lane, int64_t at, int stage,
                                           int steps)
{
    enum { TURNS = W_BIT == 3 ? 1 : W_BIT / 2, ODD = copies<W_BIT, G, NT>::odd };
    PTQ_UNROLL
    for (int i = 0; i < 2 + ODD; i++) PTQ_UNROLL
    for (int turn = 0; turn < TURNS; turn++)
        copy_piece<WHOLE>(c->code_to[i] + stage + turn * WARP * 16, c->code[i] + at + turn * WARP * 16,
                          (ODD ? c->step[ODD ? i : 0] : (turn * WARP + lane) / (4 * W_BIT)) < steps);
}

/* PARTS of a unit of `steps` steps, 4 where WHOLE, to `stage` bytes behind the first one. */
template <int W_BIT, int G, int NT, bool GATHER, bool WHOLE, int PARTS>
__device__ __forceinline__ void copy_unit(const struct copies<W_BIT, G, NT> *c, const struct packed_task *t,
                                          const struct few_thread *f, const struct few_plan *plan, int unit, int stage,
                                          int steps)
{
    int group = plan->group_by_mul ? (int)((uint64_t)unit * plan->group_by_mul >> 32) : unit * G;
    if (PARTS & CODES)
        copy_codes<W_BIT, G, NT, WHOLE>(c, f->lane, (int64_t)unit * own_stage<W_BIT, G>::tile, stage, steps);
    PTQ_UNROLL
    for (int i = 0; i < copies<W_BIT, G, NT>::rounds; i++) {
        const struct small_copy *s = &c->small[i];
        if (!s->from || !(PARTS & (s->by_group ? CODES : ACTS)) || (GATHER && s->is_acts)) continue;
        int at = s->by_group ? group : unit * G;
        copy_piece<G == 1 && WHOLE>(s->to + stage, s->from + at * s->step, s->is_acts ? s->left < steps : at < s->left);
    }
    if (PARTS & CODES && c->zero && (G == 1 || group < c->zero_left))
        ptq_copy_async4(ptq_shared<unsigned char>() + c->zero_to + stage, c->zero + group * (W_BIT == 8 ? 16 : 8));
    if (GATHER || !(PARTS & ACTS) || single_token<G>(t)) return;
    const unsigned char *from = c->acts + unit * (2 * CHUNK);
    int to = c->acts_to + stage;
    int tokens = plan->pairs * WARP / PIECES; /* that a team copies at once: an even number */
    for (int token = (f->pair * WARP + f->lane) / PIECES; token < (int)t->x.m; token += tokens) {
        copy_piece<WHOLE>(to, from, f->lane % PIECES / (PTQ_PACK_STEP / PIECE) < steps);
        from += tokens * (2 * t->w.places), to += tokens * token_bytes(W_BIT);
    }
}

template <int W_BIT, int G, int NT, bool GATHER, int PARTS>
__device__ __forceinline__ void bring(const struct copies<W_BIT, G, NT> *c, const struct packed_task *t,
                                      const struct few_thread *f, const struct few_plan *plan, int unit, int stage)
{
    int steps = (int)t->w.places / PTQ_PACK_STEP - unit * CHUNK_STEPS;
    if (steps >= CHUNK_STEPS)
        copy_unit<W_BIT, G, NT, GATHER, true, PARTS>(c, t, f, plan, unit, stage, CHUNK_STEPS);
    else if (steps > 0)
        copy_unit<W_BIT, G, NT, GATHER, false, PARTS>(c, t, f, plan, unit, stage, steps);
}

/* The activations of a unit, each looked up by perm, for the comparison: no salient or divided columns. */
template <int W_BIT, int G, int NT>
__device__ static void gather_acts(unsigned char *stage, const struct packed_task *t, const struct few_thread *f,
                                   int unit)
{
    uint16_t *to = reinterpret_cast<uint16_t *>(stage);
    const struct of_chunk *chunk = reinterpret_cast<const struct of_chunk *>(stage + t->x.m * token_bytes(W_BIT));
    for (int i = f->lane; i < (int)t->x.m * CHUNK; i += WARP) {
        int token = i / CHUNK, at = i % CHUNK, position = unit * CHUNK + at;
        float value = 0, factor = chunk[at / (CHUNK / G) * NT * COLUMNS + token].factor;
        if (position < t->w.k)
            value = t->original[token * t->ldx + (t->w.perm ? t->w.perm[position] : position)] / factor;
        if (at & t->x.high) value *= 0.0625f;
        to[token * (token_bytes(W_BIT) / 2) + (at ^ exchanged<W_BIT>(token) / 2)] = ptq_float_to_half(value);
    }
    __syncwarp();
}
} // namespace ptq_cuda

#endif
