/* Where a row goes that a kernel has computed: float32, or what a packed linear reads of one token (packed.cuh), chunk
 * by chunk by a warp each. */
#ifndef PTQ_PACKED_ROW_CUH
#define PTQ_PACKED_ROW_CUH

#include "packed.cuh"

namespace ptq_cuda
{
enum { FOUR = CHUNK / WARP /* places of a lane */ };

/* The power of two that brings max |x| to [2^(bits - 1), 2^bits); sum: 0, or NaN where a value is not finite, and then
 * it is NaN. */
__device__ __forceinline__ float factor_of(float max, float sum, int bits)
{
    int exponent;
    if (!(sum == 0)) return NAN;
    if (max == 0) return 1;
    frexpf(max, &exponent);
    exponent = exponent - bits < -100 ? -100 : exponent - bits; /* its inverse stays finite */
    return ldexpf(1, exponent);
}

/* A warp's chunk of few tokens: a lane's values at places 4 lane and on from its first, to `to` where they are the
 * chunk's (mine); high: of half_acts. */
__device__ __forceinline__ void put_halves(uint16_t *to, struct of_chunk *chunk, int high, bool mine,
                                           const float (&v)[FOUR])
{
    float max = 0, bad = 0, sum = 0;
    int lane = (int)threadIdx.x % WARP;
    PTQ_UNROLL
    for (int i = 0; i < FOUR; i++) max = fmaxf(max, fabsf(v[i])), bad += v[i] * 0;
    float factor = factor_of(warp_max(max), warp_sum(bad), 14), inverse = 1 / factor;
    uint16_t half[FOUR];
    PTQ_UNROLL
    for (int i = 0; i < FOUR; i++) {
        bool is_high = (lane * FOUR + i) & high;
        half[i] = ptq_float_to_half(v[i] * inverse * (is_high ? 0.0625f : 1));
        sum += ptq_half_to_float(half[i]) * (is_high ? 16 : 1);
    }
    uint2 two = {half[0] | (uint32_t)half[1] << 16, half[2] | (uint32_t)half[3] << 16};
    if (mine) *reinterpret_cast<uint2 *>(to) = two;
    sum = warp_sum(sum);
    if (lane == 0) *chunk = of_chunk{factor, factor * sum};
}

/* Where place p of a row of integers stands, for codes of that width (packed_one.cu): words have p and p + B, of two
 * such runs of B places, side by side. */
__device__ __forceinline__ int64_t one_at(int64_t p, int bits)
{
    int log = bits == 4 ? 2 : bits == 8 ? 1 : 3, run = 1 << log, low = (int)p;
    return (p & ~(int64_t)(2 * run - 1)) + 2 * (low & (run - 1)) + (low >> log & 1);
}

/* The same as put_halves as integers of 16 bits (ops.h, struct ptq_acts); x: of place 0, which the lane's first place
 * counts from. */
__device__ __forceinline__ void put_ints(uint16_t *x, int64_t place, struct of_chunk *chunk, int bits, bool mine,
                                         const float (&v)[FOUR])
{
    float max = 0, bad = 0;
    PTQ_UNROLL
    for (int i = 0; i < FOUR; i++) max = fmaxf(max, fabsf(v[i])), bad += v[i] * 0;
    max = warp_max(max);
    bad = warp_sum(bad);
    bool zero = !(max >= 0x1p-100f) || !(bad == 0);
    float inverse = zero ? 0 : 32767 / max;
    float sum = 0; /* of integers, exact: at most 128 * 32767 */
    PTQ_UNROLL
    for (int i = 0; mine && i < FOUR; i++) {
        float rounded = zero ? 0 : rintf(v[i] * inverse);
        x[one_at(place + i, bits)] = (uint16_t)(int16_t)rounded;
        sum += rounded;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) *chunk = of_chunk{bad == 0 ? (zero ? 0 : max / 32767) : NAN, sum};
}

struct row_out {
    float *y;    /* or NULL, then */
    uint16_t *x; /* as in half_acts */
    int high, bits;
    struct of_chunk *chunk; /* [chunks][padded], token 0 of which is written */
    int64_t padded;
    int64_t k, stride, places; /* float32: one group of K, places are columns */
    struct chunks chunks;
};

/* Chunk c: its first place, and places from there on. Places are columns. */
__device__ __forceinline__ int64_t chunk_place(const struct row_out *out, int64_t c, int64_t *n)
{
    int64_t group = c / out->chunks.a_group, at = c % out->chunks.a_group * CHUNK, first = group * out->stride + at;
    *n = out->stride - at < CHUNK ? out->stride - at : (int64_t)CHUNK;
    if (*n > out->places - first) *n = out->places - first;
    return first;
}

/* A lane's values of chunk c, at places 4 lane from its first on, of which it has n; those behind K are 0. */
__device__ __forceinline__ void put_chunk(const struct row_out *out, int64_t c, int64_t first, int64_t n,
                                          const float (&v)[FOUR])
{
    int lane = (int)threadIdx.x % WARP;
    int64_t place = first + lane * FOUR;
    bool mine = lane * FOUR < n;
    if (out->y) {
        for (int i = 0; mine && i < FOUR && place + i < out->k; i++) out->y[place + i] = v[i];
        return;
    }
    if (out->bits) {
        put_ints(out->x, place, out->chunk + c * out->padded, out->bits, mine, v);
        return;
    }
    put_halves(out->x + place, out->chunk + c * out->padded, out->high, mine, v);
}

/* A row of K values as `row` wants it (device.h). */
struct row_out row_out_of(const struct ptq_row *row, int64_t k);
} // namespace ptq_cuda

#endif
