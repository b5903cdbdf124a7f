#include "rng.h"

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct ptq_rng ptq_rng_make(uint64_t seed, const char *name)
{
    uint64_t state = seed;
    for (const char *c = name ? name : ""; *c; c++) state = splitmix64(&state) ^ (unsigned char)*c;
    struct ptq_rng rng;
    for (int i = 0; i < 4; i++) rng.s[i] = splitmix64(&state);
    return rng;
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t ptq_rng_next(struct ptq_rng *rng)
{
    uint64_t *s = rng->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t ptq_rng_below(struct ptq_rng *rng, uint64_t bound)
{
    uint64_t unfair = -bound % bound; /* 2^64 mod bound: draws below it would be one too many of their residue */
    for (;;) {
        uint64_t draw = ptq_rng_next(rng);
        if (draw >= unfair) return draw % bound;
    }
}

double ptq_rng_uniform(struct ptq_rng *rng)
{
    return (double)(ptq_rng_next(rng) >> 11) * 0x1p-53;
}

void ptq_rng_permutation(struct ptq_rng *rng, int32_t *order, int32_t n)
{
    for (int32_t i = 0; i < n; i++) order[i] = i;
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = (int32_t)ptq_rng_below(rng, (uint64_t)i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
