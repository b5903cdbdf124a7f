#include "numpy_random.h"

enum { POOL = 4, SEED_WORDS = 8 };

/* ---- SeedSequence: a pool of four words, each mixed with all others ---- */

struct hash {
    uint32_t value, factor;
};

static uint32_t hash_word(struct hash *h, uint32_t word)
{
    word ^= h->value;
    h->value *= h->factor;
    word *= h->value;
    return word ^ word >> 16;
}

static uint32_t mix(uint32_t x, uint32_t y)
{
    uint32_t mixed = 0xca01f9ddu * x - 0x4973f715u * y;
    return mixed ^ mixed >> 16;
}

static void seed_words(uint64_t seed, uint32_t out[SEED_WORDS])
{
    uint32_t pool[POOL] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    struct hash in = {0x43b0d7e5, 0x931e8875}, from = {0x8b51f9dd, 0x58f38ded};
    for (int i = 0; i < POOL; i++) pool[i] = hash_word(&in, pool[i]);
    for (int i = 0; i < POOL; i++)
        for (int to = 0; to < POOL; to++)
            if (to != i) pool[to] = mix(pool[to], hash_word(&in, pool[i]));
    for (int i = 0; i < SEED_WORDS; i++) out[i] = hash_word(&from, pool[i % POOL]);
}

/* ---- PCG64 ---- */

static ptq_uint128 join(uint64_t high, uint64_t low)
{
    return (ptq_uint128)high << 64 | low;
}

static void advance(struct ptq_numpy_random *r)
{
    r->state = r->state * join(0x2360ed051fc65da4, 0x4385df649fccf645) + r->step;
}

/* The seed's words as four little-endian numbers: state and stream, each with its upper half first. */
void ptq_numpy_seed(struct ptq_numpy_random *r, uint64_t seed)
{
    uint32_t word[SEED_WORDS];
    uint64_t half[SEED_WORDS / 2];
    seed_words(seed, word);
    for (int i = 0; i < SEED_WORDS / 2; i++) half[i] = word[2 * i] | (uint64_t)word[2 * i + 1] << 32;
    *r = (struct ptq_numpy_random){.step = join(half[2], half[3]) << 1 | 1};
    advance(r);
    r->state += join(half[0], half[1]);
    advance(r);
}

uint64_t ptq_numpy_next(struct ptq_numpy_random *r)
{
    advance(r);
    uint64_t folded = (uint64_t)(r->state >> 64) ^ (uint64_t)r->state;
    unsigned turn = (unsigned)(r->state >> 122);
    return folded >> turn | folded << (-turn & 63);
}

static uint32_t next_half(struct ptq_numpy_random *r)
{
    r->has_kept = !r->has_kept;
    if (!r->has_kept) return r->kept;
    uint64_t draw = ptq_numpy_next(r);
    r->kept = (uint32_t)(draw >> 32);
    return (uint32_t)draw;
}

/* ---- the permutation ---- */

/* Uniform in 0..last, last >= 1: draws cut to last's bits until one is in range. */
static uint32_t upto(struct ptq_numpy_random *r, uint32_t last)
{
    uint32_t mask = UINT32_MAX >> __builtin_clz(last);
    for (;;) {
        uint32_t draw = next_half(r) & mask;
        if (draw <= last) return draw;
    }
}

void ptq_numpy_permutation(struct ptq_numpy_random *r, int32_t *order, int32_t n)
{
    for (int32_t i = 0; i < n; i++) order[i] = i;
    for (int32_t i = n - 1; i > 0; i--) {
        uint32_t j = upto(r, (uint32_t)i);
        int32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
