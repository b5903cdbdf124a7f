/* Activations for the packed kernels: what all backends share. */
#ifndef PTQ_ACTS_H
#define PTQ_ACTS_H

#include "ops.h"

/* One chunk of one token: n integers, n a multiple of 32, their scale and their sum; see struct ptq_acts. */
typedef void ptq_quantize_chunk(int16_t *out, float *scale, int32_t *sum, const float *x, int64_t n);

/* Chunks in a row. */
int64_t ptq_n_chunks(const struct ptq_packed *w);
/* Where a walk over a row's chunks stands; begin with all 0. ptq_next_chunk returns 0 behind the last one. */
struct ptq_chunk {
    int64_t number, group, place, n; /* n: places of it */
    int64_t end;                     /* of its group */
};
int ptq_next_chunk(const struct ptq_packed *w, struct ptq_chunk *chunk);

void ptq_acts_fill(struct ptq_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx,
                   ptq_quantize_chunk *quantize);

#endif
