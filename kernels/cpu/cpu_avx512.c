/* AVX-512 versions of the loops of wide.h. Compiled for every x86-64, run only where the processor says that it has it.
 */
#include "cpu.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define WIDE __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define V WIDE static inline __attribute__((always_inline))

typedef __m512 vec;

#define BOTH(name, function)                                                                                           \
    V vec name(vec x, vec y)                                                                                           \
    {                                                                                                                  \
        return function(x, y);                                                                                         \
    }
BOTH(v_add, _mm512_add_ps)
BOTH(v_sub, _mm512_sub_ps)
BOTH(v_mul, _mm512_mul_ps)
BOTH(v_div, _mm512_div_ps)
BOTH(v_min, _mm512_min_ps)
BOTH(v_max, _mm512_max_ps)

V vec v_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

V void v_store(float *x, vec v)
{
    _mm512_storeu_ps(x, v);
}

V vec v_set(float x)
{
    return _mm512_set1_ps(x);
}

V vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

V vec v_round(vec x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

V vec v_pow2(vec n)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

V vec v_pick(vec x, vec a, vec b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), a, b);
}

/* The halves, then quarters, as AVX2 adds them. */
V float v_sum(vec v)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

V float v_top(vec v)
{
    return _mm512_reduce_max_ps(v);
}

enum { QUERY_VECTORS = 3, STEP = 8 };
#include "wide.h"

void ptq_ops_avx512(struct ptq_ops *ops, struct ptq_cpu_parts *parts)
{
    ops->name = "cpu-avx512";
    use_wide(ops, parts);
}

#else

void ptq_ops_avx512(struct ptq_ops *ops, struct ptq_cpu_parts *parts)
{
    (void)ops, (void)parts;
}

#endif
