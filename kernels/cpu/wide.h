/* Loops over 16 floats at a time: one register of AVX-512 or two of AVX2, so that both give the same bytes. A file for
 * one instruction set defines, then includes this:
 *
 *   WIDE                      the target attribute
 *   vec                       16 floats
 *   v_load v_store v_set      from and to memory; all lanes alike
 *   v_add v_sub v_mul v_div   v_fma(a, b, c) = a b + c
 *   v_min v_max               b of (a, b) where one is NaN
 *   v_round v_pow2            to the nearest, half to even; 2^n of whole n from -126 to 127
 *   v_pick(x, a, b)           b where x < 0, else a
 *   v_sum v_top               lane 0 to 15 added, their maximum
 *   QUERY_VECTORS, STEP       what attention holds in registers (attention_wide.h)
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

#define INLINE WIDE static inline __attribute__((always_inline))

/* exp(x) for x <= 88; below -87.3 the result is 0, of NaN it is NaN. x = n ln2 + r, |r| <= ln2 / 2; exp(r) by its
 * Taylor polynomial of degree 7 (remainder below 6e-9 relative), 2^n by the exponent bits. */
INLINE vec v_exp(vec given)
{
    const vec one = v_set(1);
    vec above = v_add(given, v_set(87.3f)), x = v_max(v_set(-87.3f), given);
    vec n = v_round(v_mul(x, v_set(1.44269504f))); /* log2 e */
    vec r = v_fma(n, v_set(2.12194440e-4f), v_fma(n, v_set(-0.693359375f), x));
    vec p = v_fma(v_set(1.0f / 5040), r, v_set(1.0f / 720));
    p = v_fma(p, r, v_set(1.0f / 120));
    p = v_fma(p, r, v_set(1.0f / 24));
    p = v_fma(p, r, v_set(1.0f / 6));
    p = v_fma(p, r, v_set(0.5f));
    p = v_fma(v_fma(p, r, one), r, one);
    return v_pick(above, v_mul(p, v_pow2(n)), v_set(0));
}

/* Lanes [0, n) of a vector, the others from fill. Tails go the same way as whole vectors, so that a value's result does
 * not depend on where in the array it stands. */
INLINE vec v_load_tail(const float *x, int64_t n, float fill)
{
    float lane[LANES];
    for (int i = 0; i < LANES; i++) lane[i] = i < n ? x[i] : fill;
    return v_load(lane);
}

INLINE void v_store_tail(float *x, int64_t n, vec value)
{
    float lane[LANES];
    v_store(lane, value);
    memcpy(x, lane, sizeof *x * (size_t)n);
}

WIDE static float max_wide(const float *x, int64_t n)
{
    vec max = v_set(x[0]);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) max = v_max(max, v_load(x + i));
    if (i < n) max = v_max(max, v_load_tail(x + i, n - i, x[0]));
    return v_top(max);
}

WIDE static float sum_exp_wide(const float *x, int64_t n, float max)
{
    vec sum = v_set(0), shift = v_set(max);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) sum = v_add(sum, v_exp(v_sub(v_load(x + i), shift)));
    if (i < n) sum = v_add(sum, v_exp(v_sub(v_load_tail(x + i, n - i, -INFINITY), shift)));
    return v_sum(sum);
}

WIDE static float exp_in_place_wide(float *x, int64_t n, float max)
{
    vec sum = v_set(0), shift = v_set(max);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec e = v_exp(v_sub(v_load(x + i), shift));
        v_store(x + i, e);
        sum = v_add(sum, e);
    }
    if (i < n) {
        vec e = v_exp(v_sub(v_load_tail(x + i, n - i, -INFINITY), shift));
        v_store_tail(x + i, n - i, e);
        sum = v_add(sum, e);
    }
    return v_sum(sum);
}

WIDE static void softmax_wide(float *x, int64_t n)
{
    float inverse = 1 / exp_in_place_wide(x, n, max_wide(x, n));
    for (int64_t i = 0; i < n; i++) x[i] *= inverse;
}

INLINE vec v_silu(vec x, vec up)
{
    vec e = v_exp(v_min(v_sub(v_set(0), x), v_set(80)));
    return v_mul(v_div(x, v_add(v_set(1), e)), up);
}

WIDE static void silu_mul_wide(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t m,
                               int64_t n)
{
    for (int64_t i = 0; i < m; i++, y += ldy, gate += ld, up += ld) {
        int64_t j = 0;
        for (; j + LANES <= n; j += LANES) v_store(y + j, v_silu(v_load(gate + j), v_load(up + j)));
        if (j < n) v_store_tail(y + j, n - j, v_silu(v_load_tail(gate + j, n - j, 0), v_load_tail(up + j, n - j, 0)));
    }
}

/* 1 + tanh(u) = 2 / (1 + exp(-2 u)), so gelu is x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3). */
INLINE vec v_gelu_tanh(vec x)
{
    vec u = v_mul(x, v_fma(v_mul(x, x), v_set(-0.0713548163f), v_set(-1.59576912f)));
    return v_div(x, v_add(v_set(1), v_exp(v_min(u, v_set(80)))));
}

/* With z = |x| / sqrt 2 and t = 1 / (1 + 0.38 z): erfc(z) = exp(-z^2) t P(t), P of degree 8 fitted by least squares of
 * the relative error at 300 Chebyshev nodes of z in [0, 9.4] (2.4e-8; 2.1e-7 in float32). */
INLINE vec v_gelu_erf(vec x)
{
    static const float p[] = {0.214415303f,  0.213843563f, 0.20445911f,   0.136449192f, 0.23527595f,
                              -0.169165037f, 0.370675212f, -0.265610343f, 0.059657073f};
    const vec one = v_set(1);
    vec size = v_pick(x, x, v_sub(v_set(0), x));
    vec t = v_div(one, v_fma(size, v_set(0.38f * 0.707106781f), one));
    vec sum = v_set(p[8]);
    for (int i = 7; i >= 0; i--) sum = v_fma(sum, t, v_set(p[i]));
    vec gauss = v_exp(v_mul(v_mul(x, x), v_set(-0.5f))), half_erfc = v_mul(v_mul(v_set(0.5f), gauss), v_mul(sum, t));
    return v_mul(x, v_pick(x, v_sub(one, half_erfc), half_erfc));
}

#define IN_PLACE(name, function)                                                                                       \
    WIDE static void name(float *x, int64_t ldx, int64_t m, int64_t n)                                                 \
    {                                                                                                                  \
        for (int64_t i = 0; i < m; i++, x += ldx) {                                                                    \
            int64_t j = 0;                                                                                             \
            for (; j + LANES <= n; j += LANES) v_store(x + j, function(v_load(x + j)));                                \
            if (j < n) v_store_tail(x + j, n - j, function(v_load_tail(x + j, n - j, 0)));                             \
        }                                                                                                              \
    }
IN_PLACE(gelu_tanh_wide, v_gelu_tanh)
IN_PLACE(gelu_erf_wide, v_gelu_erf)

#include "attention_wide.h"

static void use_wide(struct ptq_ops *ops, struct ptq_cpu_parts *parts)
{
    ops->silu_mul = silu_mul_wide;
    ops->gelu_tanh = gelu_tanh_wide;
    ops->gelu_erf = gelu_erf_wide;
    *parts = (struct ptq_cpu_parts){max_wide, sum_exp_wide, exp_in_place_wide, softmax_wide, attention_wide};
}
