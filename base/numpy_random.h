/* The permutation of numpy.random.default_rng(seed), by which Hugging Face datasets shuffles: PCG64 (O'Neill 2014,
 * XSL-RR 128/64) seeded through SeedSequence, bounded draws by mask and rejection. NumPy leaves itself free to change
 * the stream of default_rng (NEP 19); these are the numbers of NumPy 2.4. */
#ifndef PTQ_NUMPY_RANDOM_H
#define PTQ_NUMPY_RANDOM_H

#include <stdint.h>

__extension__ typedef unsigned __int128 ptq_uint128;

struct ptq_numpy_random {
    ptq_uint128 state, step;
    uint32_t kept; /* the upper half of a draw of which the lower half was given out */
    int has_kept;
};

/* default_rng(seed) */
void ptq_numpy_seed(struct ptq_numpy_random *random, uint64_t seed);
/* bit_generator.random_raw() */
uint64_t ptq_numpy_next(struct ptq_numpy_random *random);
/* order[0..n) becomes permutation(n). */
void ptq_numpy_permutation(struct ptq_numpy_random *random, int32_t *order, int32_t n);

#endif
