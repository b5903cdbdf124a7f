/* Inside the AVX-512 kernels of the packed linear: what those for activations of 16 and of 8 bits share. */
#ifndef PTQ_PACKED_AVX512_H
#define PTQ_PACKED_AVX512_H

#include "packed_parts.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))
#define INLINE AVX512 static inline __attribute__((always_inline))

/* ---- activations ---- */

/* What makes the largest of n values `most`, and *scale, which undoes it. 0 where all integers are 0: *scale is 0, or
 * NaN where a value is not finite. */
INLINE float find_scale(const float *x, int64_t n, float most, float *scale)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i top = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += 16)
        top = _mm512_max_epu32(top, _mm512_and_si512(magnitude, _mm512_loadu_si512(x + i)));
    uint32_t bits = _mm512_reduce_max_epu32(top);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    *scale = isfinite(largest) ? 0 : NAN;
    if (!(largest >= 0x1p-100f && isfinite(largest))) return 0;
    *scale = largest / most;
    return most / largest;
}

/* ---- codes, scales and zeros of a tile's 16 rows ---- */

INLINE __m512 scales16(const struct ptq_packed *w, int64_t tile, int64_t group)
{
    int64_t at = (tile * w->n_groups + group) * PTQ_PACK_ROWS;
    if (w->scale) return _mm512_loadu_ps(w->scale + at);
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(w->scale16 + at)));
}

INLINE __m512i zeros16(const struct ptq_packed *w, int64_t tile, int64_t group)
{
    if (!w->zero) return _mm512_set1_epi32(1 << (w->grid.w_bit - 1));
    const uint8_t *zero = w->zero + (tile * w->n_groups + group) * w->zero_bytes;
    if (w->zero_bytes == PTQ_PACK_ROWS) return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)zero));
    __m128i both = _mm_loadl_epi64((const __m128i *)zero), low = _mm_set1_epi8(15);
    return _mm512_cvtepu8_epi32(
        _mm_unpacklo_epi64(_mm_and_si128(both, low), _mm_and_si128(_mm_srli_epi16(both, 4), low)));
}

/* Nibble vector i of a step: in each half four fields of 4 bits whose lowest w_bit are a code (two of 8 bits for
 * w_bit 8); above the code there may be other bits. */
INLINE __m512i nibbles(int w_bit, const uint32_t *step, int i)
{
    if (w_bit == 4 || w_bit == 8) return _mm512_loadu_si512(step + i * 16);
    __m512i v = _mm512_loadu_si512(step + i / 2 * 16);
    if (i % 2) v = _mm512_srli_epi32(v, 2);
    if (w_bit == 2) return v;
    __m512i b = _mm512_loadu_si512(step + 32);
    b = i < 2 ? _mm512_slli_epi32(b, 2 - i) : i == 3 ? _mm512_srli_epi32(b, 1) : b;
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16(0x4444), b, v, 0xca); /* b where the mask is, else v */
}

INLINE int n_vectors(int w_bit)
{
    return w_bit == 8 ? 8 : 4;
}

INLINE int n_fields(int w_bit)
{
    return w_bit == 8 ? 2 : 4;
}

#endif
