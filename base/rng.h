/* Random numbers without global state: xoshiro256** seeded through splitmix64 (Blackman and Vigna, public domain
 * algorithms), so that a seed and a name give the same draw on every machine and in any order of work. */
#ifndef PTQ_RNG_H
#define PTQ_RNG_H

#include <stdint.h>

struct ptq_rng {
    uint64_t s[4];
};

/* name separates streams of one seed (a linear's name, "bootstrap"); NULL is the empty name. */
struct ptq_rng ptq_rng_make(uint64_t seed, const char *name);
uint64_t ptq_rng_next(struct ptq_rng *rng);
/* Uniform in [0, bound), bound > 0, without modulo bias. */
uint64_t ptq_rng_below(struct ptq_rng *rng, uint64_t bound);
/* Uniform in [0, 1). */
double ptq_rng_uniform(struct ptq_rng *rng);
/* order[0..n) becomes a uniformly drawn permutation of 0..n-1 (Fisher-Yates). */
void ptq_rng_permutation(struct ptq_rng *rng, int32_t *order, int32_t n);

#endif
