/* AVX2 and FMA versions. Compiled for every x86-64, run only where the processor says that it has them. */
#include "cpu.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,fma")))

/* exp(x) for x <= 88; below -87.3 the result is 0. x = n ln2 + r, |r| <= ln2 / 2; exp(r) by its Taylor polynomial of
 * degree 7 (remainder below 6e-9 relative), 2^n by the exponent bits. */
AVX2 static inline __m256 exp8(__m256 x)
{
    const __m256 log2e = _mm256_set1_ps(1.44269504f), ln2_high = _mm256_set1_ps(0.693359375f);
    const __m256 ln2_low = _mm256_set1_ps(-2.12194440e-4f), floor = _mm256_set1_ps(-87.3f);
    __m256 alive = _mm256_cmp_ps(x, floor, _CMP_GE_OQ);
    x = _mm256_max_ps(x, floor);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, log2e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, ln2_low, _mm256_fnmadd_ps(n, ln2_high, x));
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(power)), alive);
}

/* Lanes [0, n) of a vector, the others from fill. Tails go the same way as whole vectors, so that a value's result does
 * not depend on where in the array it stands. */
AVX2 static inline __m256 load_tail(const float *x, int64_t n, float fill)
{
    float lane[8];
    for (int i = 0; i < 8; i++) lane[i] = i < n ? x[i] : fill;
    return _mm256_loadu_ps(lane);
}

AVX2 static inline void store_tail(float *x, int64_t n, __m256 value)
{
    float lane[8];
    _mm256_storeu_ps(lane, value);
    memcpy(x, lane, sizeof *x * (size_t)n);
}

AVX2 static inline float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

AVX2 static inline float max8(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

AVX2 static inline float min8(__m256 v)
{
    return -max8(_mm256_sub_ps(_mm256_setzero_ps(), v));
}

AVX2 static float max_avx2(const float *x, int64_t n)
{
    __m256 max = _mm256_set1_ps(x[0]);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) max = _mm256_max_ps(max, _mm256_loadu_ps(x + i));
    if (i < n) max = _mm256_max_ps(max, load_tail(x + i, n - i, x[0]));
    return max8(max);
}

AVX2 static float sum_exp_avx2(const float *x, int64_t n, float max)
{
    __m256 sum = _mm256_setzero_ps(), shift = _mm256_set1_ps(max);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) sum = _mm256_add_ps(sum, exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i), shift)));
    if (i < n) sum = _mm256_add_ps(sum, exp8(_mm256_sub_ps(load_tail(x + i, n - i, -INFINITY), shift)));
    return sum8(sum);
}

AVX2 static float exp_in_place_avx2(float *x, int64_t n, float max)
{
    __m256 sum = _mm256_setzero_ps(), shift = _mm256_set1_ps(max);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i), shift));
        _mm256_storeu_ps(x + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    if (i < n) {
        __m256 e = exp8(_mm256_sub_ps(load_tail(x + i, n - i, -INFINITY), shift));
        store_tail(x + i, n - i, e);
        sum = _mm256_add_ps(sum, e);
    }
    return sum8(sum);
}

AVX2 static void softmax_avx2(float *x, int64_t n)
{
    float inverse = 1 / exp_in_place_avx2(x, n, max_avx2(x, n));
    for (int64_t i = 0; i < n; i++) x[i] *= inverse;
}

AVX2 static void rmsnorm_avx2(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k)
{
    for (int64_t i = 0; i < m; i++, x += k, y += k) {
        __m256 sum = _mm256_setzero_ps();
        int64_t j = 0;
        for (; j + 8 <= k; j += 8) sum = _mm256_fmadd_ps(_mm256_loadu_ps(x + j), _mm256_loadu_ps(x + j), sum);
        double squares = sum8(sum);
        for (; j < k; j++) squares += (double)x[j] * x[j];
        float scale = (float)(1 / sqrt(squares / (double)k + eps));
        for (j = 0; j < k; j++) y[j] = x[j] * scale * g[j];
    }
}

AVX2 static void layernorm_avx2(float *y, const float *x, const float *g, const float *b, float eps, int64_t m,
                                int64_t k)
{
    for (int64_t i = 0; i < m; i++, x += k, y += k) {
        __m256 sum = _mm256_setzero_ps(), square = _mm256_setzero_ps();
        int64_t j = 0;
        for (; j + 8 <= k; j += 8) sum = _mm256_add_ps(sum, _mm256_loadu_ps(x + j));
        double total = sum8(sum);
        for (; j < k; j++) total += x[j];
        float mean = (float)(total / (double)k);
        for (j = 0; j + 8 <= k; j += 8) {
            __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x + j), _mm256_set1_ps(mean));
            square = _mm256_fmadd_ps(d, d, square);
        }
        double squares = sum8(square);
        for (; j < k; j++) squares += (double)(x[j] - mean) * (x[j] - mean);
        float scale = (float)(1 / sqrt(squares / (double)k + eps));
        for (j = 0; j < k; j++) y[j] = (x[j] - mean) * scale * g[j] + b[j];
    }
}

AVX2 static inline __m256 silu8(__m256 x, __m256 up)
{
    const __m256 one = _mm256_set1_ps(1), limit = _mm256_set1_ps(80);
    __m256 e = exp8(_mm256_min_ps(_mm256_sub_ps(_mm256_setzero_ps(), x), limit));
    return _mm256_mul_ps(_mm256_div_ps(x, _mm256_add_ps(one, e)), up);
}

AVX2 static void silu_mul_avx2(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t m,
                               int64_t n)
{
    for (int64_t i = 0; i < m; i++, y += ldy, gate += ld, up += ld) {
        int64_t j = 0;
        for (; j + 8 <= n; j += 8) _mm256_storeu_ps(y + j, silu8(_mm256_loadu_ps(gate + j), _mm256_loadu_ps(up + j)));
        if (j < n) store_tail(y + j, n - j, silu8(load_tail(gate + j, n - j, 0), load_tail(up + j, n - j, 0)));
    }
}

/* 1 + tanh(u) = 2 / (1 + exp(-2 u)), so gelu is x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3). */
AVX2 static inline __m256 gelu_tanh8(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1), limit = _mm256_set1_ps(80);
    const __m256 linear = _mm256_set1_ps(-1.59576912f), cubic = _mm256_set1_ps(-0.0713548163f);
    __m256 u = _mm256_mul_ps(x, _mm256_fmadd_ps(_mm256_mul_ps(x, x), cubic, linear));
    return _mm256_div_ps(x, _mm256_add_ps(one, exp8(_mm256_min_ps(u, limit))));
}

/* With z = |x| / sqrt 2 and t = 1 / (1 + 0.38 z): erfc(z) = exp(-z^2) t P(t), P of degree 8 fitted by least squares of
 * the relative error at 300 Chebyshev nodes of z in [0, 9.4] (2.4e-8; 2.1e-7 in float32). */
AVX2 static inline __m256 gelu_erf8(__m256 x)
{
    static const float p[] = {0.214415303f,  0.213843563f, 0.20445911f,   0.136449192f, 0.23527595f,
                              -0.169165037f, 0.370675212f, -0.265610343f, 0.059657073f};
    const __m256 one = _mm256_set1_ps(1), half = _mm256_set1_ps(0.5f);
    __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(size, _mm256_set1_ps(0.38f * 0.707106781f), one));
    __m256 sum = _mm256_set1_ps(p[8]);
    for (int i = 7; i >= 0; i--) sum = _mm256_fmadd_ps(sum, t, _mm256_set1_ps(p[i]));
    __m256 half_erfc = _mm256_mul_ps(
        _mm256_mul_ps(half, exp8(_mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(-0.5f)))), _mm256_mul_ps(sum, t));
    __m256 positive = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ);
    return _mm256_mul_ps(x, _mm256_blendv_ps(half_erfc, _mm256_sub_ps(one, half_erfc), positive));
}

AVX2 static void gelu_tanh_avx2(float *x, int64_t ldx, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++, x += ldx) {
        int64_t j = 0;
        for (; j + 8 <= n; j += 8) _mm256_storeu_ps(x + j, gelu_tanh8(_mm256_loadu_ps(x + j)));
        if (j < n) store_tail(x + j, n - j, gelu_tanh8(load_tail(x + j, n - j, 0)));
    }
}

AVX2 static void gelu_erf_avx2(float *x, int64_t ldx, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++, x += ldx) {
        int64_t j = 0;
        for (; j + 8 <= n; j += 8) _mm256_storeu_ps(x + j, gelu_erf8(_mm256_loadu_ps(x + j)));
        if (j < n) store_tail(x + j, n - j, gelu_erf8(load_tail(x + j, n - j, 0)));
    }
}

/* Each column's rows in order, as in ref: the sums are the same bytes. */
AVX2 static void abssum_avx2(float *sum, const float *x, int64_t ldx, int64_t m, int64_t k)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    int64_t j = 0;
    for (; j + 8 <= k; j += 8) {
        __m256 total = _mm256_loadu_ps(sum + j);
        for (int64_t i = 0; i < m; i++)
            total = _mm256_add_ps(total, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i * ldx + j)));
        _mm256_storeu_ps(sum + j, total);
    }
    for (int64_t i = 0; j < k && i < m; i++)
        for (int64_t l = j; l < k; l++) sum[l] += fabsf(x[i * ldx + l]);
}

AVX2 static void minmax_avx2(const float *w, int64_t n, float *min, float *max)
{
    __m256 low = _mm256_set1_ps(w[0]), high = low;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(w + i);
        low = _mm256_min_ps(low, v);
        high = _mm256_max_ps(high, v);
    }
    __m256 v = load_tail(w + i, n - i, w[0]);
    *min = min8(_mm256_min_ps(low, v));
    *max = max8(_mm256_max_ps(high, v));
}

/* True division and round half to even, as in ref: the codes are the same bytes. */
AVX2 static inline __m256i code8(__m256 w, __m256 scale, __m256 zero, __m256 top)
{
    __m256 q = _mm256_round_ps(_mm256_div_ps(w, scale), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    q = _mm256_add_ps(q, zero);
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(q, _mm256_setzero_ps()), top));
}

AVX2 static void code_avx2(uint8_t *code, const float *w, int64_t n, float scale, float zero, int maxq)
{
    const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero), top = _mm256_set1_ps((float)maxq);
    int32_t lane[8];
    for (int64_t i = 0; i < n; i += 8) {
        int64_t left = n - i < 8 ? n - i : 8;
        __m256 v = left == 8 ? _mm256_loadu_ps(w + i) : load_tail(w + i, left, 0);
        _mm256_storeu_si256((__m256i *)lane, code8(v, s, z, top));
        for (int64_t j = 0; j < left; j++) code[i + j] = (uint8_t)lane[j];
    }
}

AVX2 static void dequantize_group(float *w, const uint8_t *code, int64_t n, float scale, float zero)
{
    const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i q = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(code + i)));
        _mm256_storeu_ps(w + i, _mm256_mul_ps(s, _mm256_sub_ps(_mm256_cvtepi32_ps(q), z)));
    }
    for (; i < n; i++) w[i] = scale * ((float)code[i] - zero);
}

AVX2 static void dequantize_avx2(float *w, const struct ptq_qmat *q, int64_t row, int64_t rows)
{
    if (q->perm) {
        struct ptq_ops ref;
        ptq_ops_ref(&ref);
        ref.dequantize(w, q, row, rows);
        return;
    }
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size;
    for (int64_t n = row; n < row + rows; n++, w += q->k) {
        for (int64_t k = 0, group = n * q->n_groups; k < q->k; k += g, group++)
            dequantize_group(w + k, q->code + n * q->k + k, q->k - k < g ? q->k - k : g, q->scale[group],
                             q->zero[group]);
        for (int64_t i = 0; i < q->n_divided; i++) w[q->divided[i]] /= q->divisor[i];
        for (int64_t i = 0; i < q->n_keep; i++) w[q->keep[i]] = q->kept[n * q->n_keep + i];
    }
}

enum { LANE_VECTORS = PTQ_LANES / 8, RUN = 8 };

/* One column: codes and errors as ref has them. The vectors are independent, so that their divisions overlap. */
AVX2 static inline void code_column(const struct ptq_feedback *f, int64_t i)
{
    const float *scale = f->scale + f->group[i] * PTQ_LANES, *zero = f->zero + f->group[i] * PTQ_LANES;
    const __m256 inverse = _mm256_set1_ps(1 / f->u[i * f->ldu + i]), top = _mm256_set1_ps((float)f->maxq);
    for (int v = 0; v < LANE_VECTORS; v++) {
        int64_t place = i * PTQ_LANES + v * 8;
        __m256 w = _mm256_loadu_ps(f->w + place), s = _mm256_loadu_ps(scale + v * 8), z = _mm256_loadu_ps(zero + v * 8);
        __m256i code = code8(w, s, z, top);
        __m256 back = _mm256_mul_ps(s, _mm256_sub_ps(_mm256_cvtepi32_ps(code), z));
        __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
        _mm_storel_epi64((__m128i *)(f->code + place), _mm_packus_epi16(halves, halves));
        _mm256_storeu_ps(f->back + place, back);
        _mm256_storeu_ps(f->error + place, _mm256_mul_ps(_mm256_sub_ps(w, back), inverse));
    }
}

/* w of `count` columns (a constant) less what the errors of columns [first, first + n) bring, one after the other, so
 * that the bytes are those of ref. */
AVX2 static inline __attribute__((always_inline)) void feed(const struct ptq_feedback *f, int64_t first, int64_t n,
                                                            int64_t column, int count)
{
    float *w = f->w + column * PTQ_LANES;
    const float *error = f->error + first * PTQ_LANES, *u = f->u + first * f->ldu + column;
    __m256 sum[2 * LANE_VECTORS];
    for (int v = 0; v < count * LANE_VECTORS; v++) sum[v] = _mm256_loadu_ps(w + v * 8);
    for (int64_t i = 0; i < n; i++, error += PTQ_LANES, u += f->ldu)
        for (int v = 0; v < LANE_VECTORS; v++) {
            __m256 e = _mm256_loadu_ps(error + v * 8);
            for (int c = 0; c < count; c++)
                sum[c * LANE_VECTORS + v] = _mm256_fnmadd_ps(e, _mm256_set1_ps(u[c]), sum[c * LANE_VECTORS + v]);
        }
    for (int v = 0; v < count * LANE_VECTORS; v++) _mm256_storeu_ps(w + v * 8, sum[v]);
}

/* Columns in runs: those behind the run are loaded and stored once for all of it. */
AVX2 static void feedback_avx2(const struct ptq_feedback *f)
{
    for (int64_t first = 0; first < f->columns; first += RUN) {
        int64_t n = first + RUN < f->columns ? RUN : f->columns - first, j = first + n;
        for (int64_t i = 0; i < n; i++) {
            if (i) feed(f, first, i, first + i, 1);
            code_column(f, first + i);
        }
        for (; j + 2 <= f->columns; j += 2) feed(f, first, RUN, j, 2);
        if (j < f->columns) feed(f, first, RUN, j, 1);
    }
}

void ptq_ops_avx2(struct ptq_ops *ops, struct ptq_cpu_parts *parts)
{
    ops->name = "cpu-avx2";
    ops->rmsnorm = rmsnorm_avx2;
    ops->layernorm = layernorm_avx2;
    ops->silu_mul = silu_mul_avx2;
    ops->gelu_tanh = gelu_tanh_avx2;
    ops->gelu_erf = gelu_erf_avx2;
    ops->abssum = abssum_avx2;
    ops->minmax = minmax_avx2;
    ops->code = code_avx2;
    ops->dequantize = dequantize_avx2;
    ops->feedback = feedback_avx2;
    *parts = (struct ptq_cpu_parts){max_avx2, sum_exp_avx2, exp_in_place_avx2, softmax_avx2};
}

#else

void ptq_ops_avx2(struct ptq_ops *ops, struct ptq_cpu_parts *parts)
{
    (void)ops, (void)parts;
}

#endif
