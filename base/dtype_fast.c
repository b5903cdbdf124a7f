#include "dtype_fast.h"

static int off;

void ptq_fast_off(int value)
{
    off = value;
}

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define FAST __attribute__((target("avx2,f16c")))

enum { CPUID_F16C = 1 << 29, TO_NEAREST = 0 };

/* Asked once: cpuid is slow under a hypervisor. __builtin_cpu_supports knows no "f16c" in clang 14; that the system
 * saves the registers is part of its "avx2". */
int ptq_fast_has(void)
{
    static _Atomic int answer; /* 0: not asked yet, 1: yes, 2: no */
    int known = atomic_load_explicit(&answer, memory_order_relaxed);
    if (!known) {
        unsigned a, b, c = 0, d;
        int f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & CPUID_F16C);
        known = f16c && __builtin_cpu_supports("avx2") ? 1 : 2;
        atomic_store_explicit(&answer, known, memory_order_relaxed);
    }
    return known == 1;
}

static int usable(void)
{
    return ptq_fast_has() && !off;
}

FAST static __m256 load_half(const unsigned char *p)
{
    uint16_t bits;
    memcpy(&bits, p, 2);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)bits));
}

/* Rounded once to FP16. */
FAST static __m256 to_half_and_back(__m256 x)
{
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, TO_NEAREST));
}

/* 16 bytes of two nibbles each: the low ones, the high ones. */
FAST static void nibbles(const unsigned char *p, __m128i half[2])
{
    __m128i q = _mm_loadu_si128((const __m128i *)p), mask = _mm_set1_epi8(15);
    half[0] = _mm_and_si128(q, mask);
    half[1] = _mm_and_si128(_mm_srli_epi16(q, 4), mask);
}

FAST size_t ptq_fast_f16(const unsigned char *src, float *dst, size_t n)
{
    size_t i = 0;
    if (!usable()) return 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + 2 * i))));
    return i;
}

FAST size_t ptq_fast_bf16(const unsigned char *src, float *dst, size_t n)
{
    size_t i = 0;
    if (!usable()) return 0;
    for (; i + 8 <= n; i += 8) {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(src + 2 * i)));
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    return i;
}

FAST size_t ptq_fast_q4_0(const unsigned char *src, float *dst, size_t n)
{
    if (!usable()) return 0;
    for (size_t i = 0; i < n; i += 32, src += 18) {
        __m256 d = load_half(src);
        __m128i half[2];
        nibbles(src + 2, half);
        for (int j = 0; j < 32; j += 8) {
            __m128i q = j & 8 ? _mm_srli_si128(half[j / 16], 8) : half[j / 16];
            __m256i centred = _mm256_sub_epi32(_mm256_cvtepu8_epi32(q), _mm256_set1_epi32(8));
            _mm256_storeu_ps(dst + i + j, to_half_and_back(_mm256_mul_ps(d, _mm256_cvtepi32_ps(centred))));
        }
    }
    return n;
}

FAST size_t ptq_fast_q4_1(const unsigned char *src, float *dst, size_t n)
{
    if (!usable()) return 0;
    for (size_t i = 0; i < n; i += 32, src += 20) {
        __m256 d = load_half(src), m = load_half(src + 2);
        __m128i half[2];
        nibbles(src + 4, half);
        for (int j = 0; j < 32; j += 8) {
            __m128i q = j & 8 ? _mm_srli_si128(half[j / 16], 8) : half[j / 16];
            __m256 product = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q)));
            _mm256_storeu_ps(dst + i + j, to_half_and_back(_mm256_add_ps(product, m)));
        }
    }
    return n;
}

FAST size_t ptq_fast_q8_0(const unsigned char *src, float *dst, size_t n)
{
    if (!usable()) return 0;
    for (size_t i = 0; i < n; i += 32, src += 34) {
        __m256 d = load_half(src);
        for (int j = 0; j < 32; j += 8) {
            __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(src + 2 + j)));
            _mm256_storeu_ps(dst + i + j, to_half_and_back(_mm256_mul_ps(d, _mm256_cvtepi32_ps(q))));
        }
    }
    return n;
}

#else

int ptq_fast_has(void)
{
    return 0;
}

size_t ptq_fast_f16(const unsigned char *src, float *dst, size_t n)
{
    (void)src, (void)dst, (void)n;
    return 0;
}

size_t ptq_fast_bf16(const unsigned char *src, float *dst, size_t n)
{
    return ptq_fast_f16(src, dst, n);
}

size_t ptq_fast_q4_0(const unsigned char *src, float *dst, size_t n)
{
    return ptq_fast_f16(src, dst, n);
}

size_t ptq_fast_q4_1(const unsigned char *src, float *dst, size_t n)
{
    return ptq_fast_f16(src, dst, n);
}

size_t ptq_fast_q8_0(const unsigned char *src, float *dst, size_t n)
{
    return ptq_fast_f16(src, dst, n);
}

#endif
