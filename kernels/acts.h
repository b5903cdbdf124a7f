/* Activations for the packed kernels: what all backends share. */
#ifndef PTQ_ACTS_H
#define PTQ_ACTS_H

#include "ops.h"

/* One chunk of one token: n integers, n a multiple of 32, their scale and their sum; see struct ptq_acts. */
typedef void ptq_quantize_chunk(int16_t *out, float *scale, int32_t *sum, const float *x, int64_t n);
/* The same of 8 bits: out[j] of each 32 is that of x[order[j]]. Both halves of order keep to their own 16, alike:
 * order[16 + j] = 16 + order[j], j < 16. */
typedef void ptq_quantize_bytes(int8_t *out, float *scale, int32_t *sum, const float *x, int64_t n,
                                const uint8_t order[PTQ_PACK_STEP]);

/* Chunks in a row. */
int64_t ptq_n_chunks(const struct ptq_packed *w);
/* Where a walk over a row's chunks stands; begin with all 0. ptq_next_chunk returns 0 behind the last one. */
struct ptq_chunk {
    int64_t number, group, place, n; /* n: places of it */
    int64_t end;                     /* of its group */
};
int ptq_next_chunk(const struct ptq_packed *w, struct ptq_chunk *chunk);

void ptq_acts_fill(struct ptq_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx,
                   ptq_quantize_chunk *quantize, ptq_quantize_bytes *quantize_bytes);

/* A nibble vector of a step (packed.h): in each half of a word four fields of 4 bits whose lowest w_bit are a code, or
 * two of 8 bits. Pair of the step's 16 that field f of vector i holds, for w_bit 2, 3, 4 and 8. */
static inline int ptq_pair_of(int w_bit, int i, int f)
{
    return w_bit == 8 ? 2 * i + f : w_bit == 4 ? 4 * i + f : i / 2 * 8 + 2 * f + i % 2;
}

/* Place of the step's 32 whose 8-bit activation stands at j. Four side by side meet four codes of a row that a mask
 * leaves in the bytes of a word, as the image has them: the low nibbles of vector j / 8 (fields 0 and 2 of both
 * halves), or the high ones (1 and 3); of 8 bits the bytes of vector j / 4. So no code ever moves. 5, 6 and 7 bits: j.
 */
static inline int ptq_act_place(int w_bit, int j)
{
    int byte = j % 4;
    if (w_bit == 8) return 2 * ptq_pair_of(8, j / 4, byte % 2) + byte / 2;
    return w_bit > 4 ? j : 2 * ptq_pair_of(w_bit, j / 8, byte % 2 * 2 + j / 4 % 2) + byte / 2;
}

#endif
