/* Inside the AVX2 kernels of the packed linear: what those for activations of 16 and of 8 bits share. */
#ifndef PTQ_PACKED_AVX2_H
#define PTQ_PACKED_AVX2_H

#include "packed_parts.h"

#include <immintrin.h>
#include <math.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define INLINE AVX2 static inline __attribute__((always_inline))

/* ---- activations ---- */

INLINE int32_t sum8(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

INLINE float most8(__m256i v)
{
    __m128i s = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epu32(s, _mm_shuffle_epi32(s, 0xb1))));
}

/* What makes the largest of n values `most`, and *scale, which undoes it. 0 where all integers are 0: *scale is 0, or
 * NaN where a value is not finite. */
INLINE float find_scale(const float *x, int64_t n, float most, float *scale)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i += 8)
        top = _mm256_max_epu32(top, _mm256_and_si256(magnitude, _mm256_loadu_si256((const __m256i *)(x + i))));
    float largest = most8(top);
    *scale = isfinite(largest) ? 0 : NAN;
    if (!(largest >= 0x1p-100f && isfinite(largest))) return 0;
    *scale = largest / most;
    return most / largest;
}

INLINE __m256i integers8(const float *x, float inverse)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(inverse)));
}

/* ---- codes, scales and zeros of a tile's rows 0..7 or 8..15 (h) ---- */

INLINE __m256 scales8(const struct ptq_packed *w, int64_t tile, int64_t group, int h)
{
    int64_t at = (tile * w->n_groups + group) * PTQ_PACK_ROWS + 8 * h;
    if (w->scale) return _mm256_load_ps(w->scale + at);
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(w->scale16 + at)));
}

INLINE __m256i zeros8(const struct ptq_packed *w, int64_t tile, int64_t group, int h)
{
    if (!w->zero) return _mm256_set1_epi32(1 << (w->grid.w_bit - 1));
    const uint8_t *zero = w->zero + (tile * w->n_groups + group) * w->zero_bytes;
    if (w->zero_bytes == PTQ_PACK_ROWS) return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(zero + 8 * h)));
    __m256i both = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)zero));
    return _mm256_and_si256(h ? _mm256_srli_epi32(both, 4) : both, _mm256_set1_epi32(15));
}

INLINE __m256i words8(const uint32_t *step, int vector, int h)
{
    return _mm256_load_si256((const __m256i *)(step + vector * 16 + 8 * h));
}

/* Nibble vector i of a step: in each half four fields of 4 bits whose lowest w_bit are a code (two of 8 bits for
 * w_bit 8); above the code there may be other bits. */
INLINE __m256i nibbles(int w_bit, const uint32_t *step, int i, int h)
{
    if (w_bit == 4 || w_bit == 8) return words8(step, i, h);
    __m256i v = words8(step, i / 2, h);
    if (i % 2) v = _mm256_srli_epi32(v, 2);
    if (w_bit == 2) return v;
    __m256i b = words8(step, 2, h), low = _mm256_set1_epi16(0x3333), top = _mm256_set1_epi16(0x4444);
    b = i < 2 ? _mm256_slli_epi32(b, 2 - i) : i == 3 ? _mm256_srli_epi32(b, 1) : b;
    return _mm256_or_si256(_mm256_and_si256(v, low), _mm256_and_si256(b, top));
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
