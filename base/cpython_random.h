/* The draws of Python's `random` module, which published calibration scripts call: MT19937 (Matsumoto and Nishimura,
 * 1998), seeded from an integer as CPython seeds it. The same numbers since CPython 3.2. */
#ifndef PTQ_CPYTHON_RANDOM_H
#define PTQ_CPYTHON_RANDOM_H

#include <stdint.h>

enum { PTQ_MT_WORDS = 624 };

struct ptq_cpython_random {
    uint32_t word[PTQ_MT_WORDS];
    int next;
};

/* random.seed(seed) */
void ptq_cpython_seed(struct ptq_cpython_random *random, uint64_t seed);
/* random.getrandbits(bits), 1 <= bits <= 64 */
uint64_t ptq_cpython_bits(struct ptq_cpython_random *random, int bits);
/* random.randint(0, last): uniform in 0..last, last < 2^63 */
uint64_t ptq_cpython_upto(struct ptq_cpython_random *random, uint64_t last);

#endif
