/* Products with packed linears on the device: activations in FP16, sums in float32, the weights' codes exact.
 *
 * An element of y differs from the float64 result by what rounding x to FP16 once costs (2^-11 of each x) and by
 * float32 sums; a token is first scaled by a power of two, so that nothing overflows. */
#ifndef PTQ_PACKED_CUH
#define PTQ_PACKED_CUH

#include "../device.h"
#include "parts.cuh"

namespace ptq_cuda
{
/* A chunk is a group, or 128 places of it where it is longer: what has one sum of x. Up to FEW tokens have a power of
 * two of their own in each chunk, and a kernel of their own (packed_few.cu). */
enum { CHUNK = 128, CHUNK_STEPS = CHUNK / PTQ_PACK_STEP, COLUMNS = 8 /* of an mma: tokens */, FEW = 2 * COLUMNS };

/* The chunks of a row. */
struct chunks {
    int64_t a_group, n; /* in a whole group; in all */
};
__device__ __host__ static inline struct chunks chunks_of(const struct ptq_packed *w)
{
    int64_t a_group = (w->stride + CHUNK - 1) / CHUNK, last = w->places - (w->n_groups - 1) * w->stride;
    return chunks{a_group, (w->n_groups - 1) * a_group + (last + CHUNK - 1) / CHUNK};
}

/* What a chunk of a token is multiplied by, a power of two, and its sum of x. */
struct of_chunk {
    float factor, sum;
};

/* m tokens as a packed linear reads them. */
struct half_acts {
    int64_t m, padded; /* tokens; the same, filled up to a multiple of 8 */
    uint16_t *x;       /* [m][places] FP16 of x / factor: permuted, divided, 0 at salient columns and fillings */
    float *kept;       /* [m][n_keep] */
    /* m <= FEW: [chunks][padded], NaN where the chunk is not finite; else NULL. And places p with p & high have a
     * sixteenth of x / factor in x. */
    struct of_chunk *chunk;
    int high;
    int bits; /* not 0: x are integers instead, for packed_one.cu and codes of that width; sum is theirs */
    /* m > FEW */
    float *sum;    /* [chunks][padded], of the FP16 values */
    float *factor; /* [padded], a power of two; NaN where the token is not finite */
};

/* ---- columns of a token, for what lays activations out ---- */

/* Where value stands in list[0..n), ascending, or -1; a list of all columns is not searched. */
__device__ static inline int64_t position_in(const int32_t *list, int64_t n, int64_t k, int32_t value)
{
    if (n == k) return value;
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (list[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && list[low] == value ? low : -1;
}

/* Salient columns become 0, divided ones are divided. */
__device__ static inline float changed(const struct ptq_packed *w, float value, int32_t column)
{
    if (w->n_keep && position_in(w->keep, w->n_keep, w->k, column) >= 0) return 0;
    int64_t divided = w->n_divided ? position_in(w->divided, w->n_divided, w->k, column) : -1;
    return divided < 0 ? value : value / w->divisor[divided];
}

/* The position that stands at a place; k and more for a filling or what is behind the row. */
__device__ __forceinline__ uint32_t position_at(const struct ptq_packed *w, uint32_t place)
{
    if (w->stride == w->group) return place;
    uint32_t group = place / (uint32_t)w->stride, in_group = place % (uint32_t)w->stride;
    return in_group < (uint32_t)w->group ? group * (uint32_t)w->group + in_group : (uint32_t)w->k;
}

/* One product, as its kernels are given it. */
struct packed_task {
    float *y;
    int64_t ldy;
    const float *b;
    int accumulate;
    struct ptq_packed w;
    struct half_acts x;
    struct chunks chunks;
    const float *original; /* [m][ldx], for PTQ_PACKED_GATHER */
    int64_t ldx;
    int splits;
};

/* 1 where m tokens are the kernel's for few tokens, where it has a PTQ_PACKED_GATHER, too; half_acts.high for it; the
 * product. */
int is_few(const struct ptq_packed *w, int64_t m);
int few_gathers(const struct ptq_packed *w);
int few_high(int w_bit);
void few_linear(const struct packed_task *t, int gather);

/* packed_one.cu, which packed_acts and packed_multiply take for one token: whether w is for it, its activations, the
 * product. */
int one_serves(const struct ptq_packed *w);
void acts_row(void *scratch, const struct ptq_packed *w, const float *x);
void multiply_row(float *y, const struct ptq_packed *w, const float *b, int accumulate, void *scratch);
/* Where packed_acts leaves what packed_multiply reads, for who fills it himself. */
struct half_acts acts_for(const struct ptq_packed *w, int64_t m, void *scratch);
/* Fills a's arrays from x[m][K]. */
void fill_acts(const struct half_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx);

/* Bytes of scratch for m tokens. */
size_t packed_scratch(const struct ptq_packed *w, int64_t m);
/* device.h; w: pointers on the device. */
void packed_acts(const struct ptq_packed *w, const float *x, int64_t ldx, int64_t m, void *scratch);
void packed_multiply(float *y, int64_t ldy, const struct ptq_packed *w, const float *b, int accumulate, int64_t m,
                     void *scratch);
void packed_linear(float *y, int64_t ldy, const float *x, int64_t ldx, const struct ptq_packed *w, const float *b,
                   int accumulate, int64_t m, void *scratch, enum ptq_packed_kernel kind);
} // namespace ptq_cuda

#endif
