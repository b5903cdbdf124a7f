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
 * The bytes of a unit (128 places of 32 rows, their scales, zeros and activations) are copied asynchronously, in lines
 * as memory has them, into a ring of STAGES units. P warps that multiply the same places of different pairs are a team
 * and share the activations; the teams of a block split the units, and their sums are added in order. */
#include "packed_few.cuh"

namespace ptq_cuda
{
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

__device__ __forceinline__ void words_at(uint32_t (&word)[4], int at)
{
    uint4 v = shared_at<uint4>(at);
    word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
}

/* Where a lane reads in a stage. */
template <int NT> struct reads {
    int word, other; /* other: the third bits of 3, the second vector of 8 */
    int x[NT], exchanged[NT], scale, zero, chunk;
};

/* Piece `piece` of the tokens of each mma. */
template <int NT>
__device__ __forceinline__ void pieces_at(uint4 (&x)[NT], const struct reads<NT> *r, int stage, int piece)
{
    PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) {
        int exchanged = piece / 4 % 2 ? -r->exchanged[nt] : r->exchanged[nt];
        x[nt] = shared_at<uint4>(r->x[nt] + exchanged + stage + 16 * piece);
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
                                             int bits_at, int c)
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

template <int W_BIT, int G, int NT>
__device__ __forceinline__ struct reads<NT> reads_of(const struct packed_task *t, const struct few_thread *f) {
    enum { STEP = 4 * W_BIT }; /* 16 bytes each */
    int tile = f->own + f->tile * own_stage<W_BIT, G>::tile;
    int m = (int)t->x.m, first = W_BIT == 4 ? f->c * 4 : W_BIT == 8 ? f->c * 8 : f->c / 2 * STEP + f->c % 2 * 4;
    struct reads<NT> r;
    r.word = tile + 16 * code_at<W_BIT>(first + f->q);
    r.other = W_BIT == 3   ? tile + 16 * code_at<W_BIT>(f->c / 2 * STEP + 8 + f->q)
              : W_BIT == 8 ? tile + 16 * code_at<W_BIT>(first + 4 + f->q)
                           : 0;
    PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) { /* tokens behind the last are given its numbers: nobody reads their sums */
        int token = nt * COLUMNS + f->r < m ? nt * COLUMNS + f->r : m - 1;
        r.x[nt] = f->acts + token * token_bytes(W_BIT) + (W_BIT < 4 ? 2 : 1) * 16 * f->c;
        r.exchanged[nt] = exchanged<W_BIT>(token);
    }
    r.scale = f->own + own_stage<W_BIT, G>::scale + f->tile * G * SCALE_BYTES + f->q * (t->w.scale ? 16 : 8);
    r.zero = f->own + own_stage<W_BIT, G>::zero + f->tile * G * ZERO_BYTES + (W_BIT == 8 ? f->q : f->q % 2) * 4;
    r.chunk = f->acts + m * token_bytes(W_BIT) + f->c * 16;
    return r;
}

/* Load i of a unit. 4 bits: step i, places 8 c ..; 8 bits: the same in two; 2 and 3 bits: 16 places of two steps. */
template <int W_BIT, int NT>
__device__ __forceinline__ void multiply_load(struct parts<NT> *p, const struct reads<NT> *r,
                                              const struct few_thread *f, int stage, int i)
{
    enum { LOAD_BYTES = (W_BIT < 4 ? 2 : 1) * 4 * PTQ_PACK_ROWS * W_BIT }; /* of a tile */
    const uint32_t mask = ((1u << W_BIT) - 1) * 0x00010001u;
    uint32_t word[4], even[4], odd[4], a[2][4];
    uint4 x[NT];
    words_at(word, r->word + stage + i * LOAD_BYTES);
    pieces_at<NT>(x, r, stage, (W_BIT < 4 ? 8 : 4) * i);
    if (W_BIT == 4) {
        fields(a, word, mask, word, mask << 4);
        multiply_pairs<NT>(p, a, x, false);
        shift_8(word);
        fields(a, word, mask, word, mask << 4);
        multiply_pairs<NT>(p, a, x, true);
        return;
    }
    if (W_BIT == 8) {
        words_at(odd, r->other + stage + i * LOAD_BYTES);
        for (int second = 0; second < 2; second++) {
            uint32_t(&from)[4] = second ? odd : word;
            PTQ_UNROLL
            for (int row = 0; row < 4; row++) even[row] = from[row] >> 8;
            fields(a, from, mask, even, mask);
            multiply_pairs<NT>(p, a, x, second);
        }
        return;
    }
    make_nibbles<W_BIT>(even, odd, word, r->other + stage + i * LOAD_BYTES, f->c);
    PTQ_UNROLL
    for (int upper = 0; upper < 2; upper++) { /* pairs 0 to 3, 4 to 7 */
        if (upper) {
            pieces_at<NT>(x, r, stage, 8 * i + 1);
            shift_8(even), shift_8(odd);
        }
        fields(a, even, mask, odd, mask);
        multiply_pairs<NT>(p, a, x, false);
        fields(a, even, mask << 4, odd, mask << 4);
        multiply_pairs<NT>(p, a, x, true);
    }
}

/* Group g of a unit is done: its scales and zeros, and 2^-24 of the sums. */
template <int W_BIT, int NT>
__device__ __forceinline__ void add_group(float (&sum)[2][NT][4], struct parts<NT> *p, const struct packed_task *t,
                                          const struct reads<NT> *r, const struct few_thread *f, int stage, int g)
{
    int scale_at = r->scale + stage + g * SCALE_BYTES, zero_at = r->zero + stage + g * ZERO_BYTES;
    float scale[4], zero[4];
    uint32_t zeros = (1u << (W_BIT - 1)) * 0x01010101u;
    if (t->w.scale) {
        float4 v = shared_at<float4>(scale_at);
        scale[0] = v.x, scale[1] = v.y, scale[2] = v.z, scale[3] = v.w;
    } else {
        uint2 v = shared_at<uint2>(scale_at);
        scale[0] = ptq_half_to_float((uint16_t)v.x), scale[1] = ptq_half_to_float((uint16_t)(v.x >> 16));
        scale[2] = ptq_half_to_float((uint16_t)v.y), scale[3] = ptq_half_to_float((uint16_t)(v.y >> 16));
    }
    if (t->w.zero) zeros = shared_at<uint32_t>(zero_at);
    if (t->w.zero && W_BIT != 8) zeros >>= f->q / 2 * 4;
    PTQ_UNROLL
    for (int row = 0; row < 4; row++) { /* 2^-24 of it, as of the codes */
        uint32_t half = zeros >> row % 2 * 8 & (W_BIT == 8 ? 0x00ff00ffu : 0x000f000fu);
        zero[row] = scale[row] * ptq_half_to_float((uint16_t)(row < 2 ? half : half >> 16));
    }
    PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) {
        float4 x = shared_at<float4>(r->chunk + stage + (g * NT + nt) * COLUMNS * 8);
        PTQ_UNROLL
        for (int h = 0; h < 2; h++) PTQ_UNROLL
        for (int i = 0; i < 4; i++) {
            int row = 2 * h + i / 2;
            sum[h][nt][i] += scale[row] * (i % 2 ? x.z : x.x) * p->sum[h][nt][i];
            sum[h][nt][i] -= zero[row] * (i % 2 ? x.w : x.y);
            p->sum[h][nt][i] = 0;
        }
    }
}

template <int W_BIT, int G, int NT>
__device__ __forceinline__ void multiply_unit(float (&sum)[2][NT][4], const struct packed_task *t,
                                              const struct reads<NT> *r, const struct few_thread *f, int stage)
{
    enum { LOADS = W_BIT < 4 ? 2 : 4 };
    struct parts<NT> p = {
    };
    PTQ_UNROLL
    for (int i = 0; i < LOADS; i++) {
        multiply_load<W_BIT, NT>(&p, r, f, stage, i);
        if ((i + 1) % (LOADS / G) == 0) add_group<W_BIT, NT>(sum, &p, t, r, f, stage, i / (LOADS / G));
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

/* What was worked out once is not to be worked out again in the loop. */
template <int W_BIT, int G, int NT>
__device__ __forceinline__ void keep_places(struct copies<W_BIT, G, NT> *c, struct reads<NT> *r)
{
    PTQ_UNROLL
    for (int i = 0; i < 2 + copies<W_BIT, G, NT>::odd; i++) ptq_keep(c->code[i]), ptq_keep(c->code_to[i]);
    PTQ_UNROLL
    for (int i = 0; i < copies<W_BIT, G, NT>::rounds; i++)
        ptq_keep(c->small[i].from), ptq_keep(c->small[i].to), ptq_keep(c->small[i].step);
    ptq_keep(c->zero), ptq_keep(c->zero_to);
    ptq_keep(r->word), ptq_keep(r->scale), ptq_keep(r->zero), ptq_keep(r->chunk);
    if (W_BIT == 3 || W_BIT == 8) ptq_keep(r->other);
    PTQ_UNROLL
    for (int nt = 0; nt < NT; nt++) ptq_keep(r->x[nt]);
}

template <int W_BIT, int G, int NT, bool GATHER>
__global__ void __launch_bounds__(few_threads(NT)) few_kernel(struct packed_task t, struct few_plan plan)
{
    struct few_thread f = few_thread_of(&t, &plan, own_stage<W_BIT, G>::bytes);
    struct copies<W_BIT, G, NT> c;
    start_copies<W_BIT, G, NT>(&c, &t, &f);
    struct reads<NT> r = reads_of<W_BIT, G, NT>(&t, &f);
    keep_places<W_BIT, G, NT>(&c, &r);
    float sum[2][NT][4] = {};
    const int ring = STAGES * plan.stage_bytes;
    PTQ_NO_UNROLL
    for (int i = 0; i < STAGES - 1; i++)
        bring<W_BIT, G, NT, GATHER, CODES>(&c, &t, &f, &plan, i * plan.teams + f.team, i * plan.stage_bytes);
    ptq_turn();
    PTQ_NO_UNROLL
    for (int i = 0; i < STAGES - 1; i++) {
        bring<W_BIT, G, NT, GATHER, ACTS>(&c, &t, &f, &plan, i * plan.teams + f.team, i * plan.stage_bytes);
        ptq_copy_commit();
    }
    int stage = 0, next = ring - plan.stage_bytes;
    PTQ_NO_UNROLL
    for (int unit = f.team; unit - f.team < plan.units; unit += plan.teams) {
        ptq_copy_wait<STAGES - 2>();
        if (plan.pairs == 1)
            __syncwarp();
        else
            __syncthreads();
        bring<W_BIT, G, NT, GATHER, CODES | ACTS>(&c, &t, &f, &plan, unit + (STAGES - 1) * plan.teams, next);
        ptq_copy_commit();
        if (unit < plan.units) {
            if (GATHER) gather_acts<W_BIT, G, NT>(ptq_shared<unsigned char>() + f.acts + stage, &t, &f, unit);
            multiply_unit<W_BIT, G, NT>(sum, &t, &r, &f, stage);
        }
        next = stage;
        stage = stage + plan.stage_bytes == ring ? 0 : stage + plan.stage_bytes;
    }
    add_kept<NT>(sum, &t, &f, plan.teams);
    ptq_copy_wait<0>();
    __syncthreads(); /* the ring is free */
    put_sums<NT>(sum, &t, &f, &plan);
}

/* ---- choosing ---- */

/* More pairs a block, so that activations are read less often, where there are blocks for nine processors of ten; as
 * many teams as have units and as shared memory holds. */
static struct few_plan plan_for(const struct packed_task *t, int g, int nt, int own, int gather)
{
    struct few_plan p = {1, 8, (int)((t->w.places + CHUNK - 1) / CHUNK), 0, 0, 0};
    int64_t all = (t->w.tiles + 1) / 2, a_group = t->w.n_groups == 1 ? p.units : t->chunks.a_group;
    if (a_group > 1) p.group_by_mul = (uint32_t)((((uint64_t)1 << 32) + (uint64_t)a_group - 1) / (uint64_t)a_group);
    p.team_bytes = (int)t->x.m * token_bytes(t->w.grid.w_bit) + g * nt * COLUMNS * (int)sizeof(struct of_chunk);
    int most = gather || t->x.m <= 4 ? 1 : t->x.m <= 8 ? 2 : 4;
    while (2 * p.pairs <= most && 10 * all >= 9 * 2 * p.pairs * (int64_t)processors()) p.pairs *= 2;
    p.teams = (all <= p.pairs * (int64_t)processors() ? 16 : 8) / p.pairs;
    for (;; p.teams /= 2) {
        p.stage_bytes = p.teams * (p.pairs * own + p.team_bytes);
        if (p.teams == 1 || (p.teams / 2 < p.units && STAGES * (size_t)p.stage_bytes <= most_shared())) return p;
    }
}

template <int W_BIT, int G, int NT, bool GATHER> static void launch_few(const struct packed_task *t)
{
    enum { OWN = own_stage<W_BIT, G>::bytes };
    struct few_plan plan = plan_for(t, G, NT, OWN, GATHER);
    int64_t blocks = ((t->w.tiles + 1) / 2 + plan.pairs - 1) / plan.pairs;
    size_t bytes = STAGES * (size_t)plan.stage_bytes;
    if (blocks <= 2 * (int64_t)processors() && bytes < most_shared() / 3 + BLOCK_BYTES)
        bytes = most_shared() / 3 + BLOCK_BYTES; /* no third block on a processor, while another has but one */
    PTQ_LAUNCH_EARLY((few_kernel<W_BIT, G, NT, GATHER>), dim3((unsigned)blocks), plan.pairs * plan.teams * WARP, bytes,
                     *t, plan);
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
