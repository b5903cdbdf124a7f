#include "cpython_random.h"

enum { N = PTQ_MT_WORDS, MIDDLE = 397 };

/* The generator's own seeding from one word; the key is then mixed into what it leaves. */
static void seed_word(struct ptq_cpython_random *r, uint32_t seed)
{
    r->word[0] = seed;
    for (uint32_t i = 1; i < N; i++) r->word[i] = 1812433253u * (r->word[i - 1] ^ r->word[i - 1] >> 30) + i;
}

/* Place i takes in its neighbour; the next place. The last place is copied to the first on the way round. */
static uint32_t mix(struct ptq_cpython_random *r, uint32_t i, uint32_t factor, uint32_t add)
{
    uint32_t before = r->word[i - 1];
    r->word[i] = (r->word[i] ^ (before ^ before >> 30) * factor) + add;
    if (++i < N) return i;
    r->word[0] = r->word[N - 1];
    return 1;
}

void ptq_cpython_seed(struct ptq_cpython_random *r, uint64_t seed)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, words = key[1] ? 2 : 1, i = 1;
    seed_word(r, 19650218);
    for (uint32_t step = 0; step < N; step++) i = mix(r, i, 1664525, key[step % words] + step % words);
    for (uint32_t step = 1; step < N; step++) i = mix(r, i, 1566083941, -i);
    r->word[0] = 0x80000000;
    r->next = N;
}

static void refill(struct ptq_cpython_random *r)
{
    for (int i = 0; i < N; i++) {
        uint32_t joined = (r->word[i] & 0x80000000) | (r->word[(i + 1) % N] & 0x7fffffff);
        r->word[i] = r->word[(i + MIDDLE) % N] ^ joined >> 1 ^ (joined & 1 ? 0x9908b0df : 0);
    }
    r->next = 0;
}

static uint32_t next_word(struct ptq_cpython_random *r)
{
    if (r->next == N) refill(r);
    uint32_t y = r->word[r->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680;
    y ^= y << 15 & 0xefc60000;
    return y ^ y >> 18;
}

uint64_t ptq_cpython_bits(struct ptq_cpython_random *r, int bits)
{
    uint64_t low = bits < 32 ? next_word(r) >> (32 - bits) : next_word(r);
    if (bits <= 32) return low;
    return low | (uint64_t)(next_word(r) >> (64 - bits)) << 32;
}

uint64_t ptq_cpython_upto(struct ptq_cpython_random *r, uint64_t last)
{
    int bits = 64 - __builtin_clzll(last + 1); /* of the bound itself: a power of two costs CPython a bit more */
    for (;;) {
        uint64_t draw = ptq_cpython_bits(r, bits);
        if (draw <= last) return draw;
    }
}
