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

/* Eight rows of a column: codes and errors as ref has them, no step fused. */
AVX2 static inline void feedback_lanes(const struct ptq_feedback *f, int64_t i, int lane)
{
    int64_t at = f->group[i] * PTQ_LANES + lane, place = i * PTQ_LANES + lane;
    __m256 w = _mm256_loadu_ps(f->w + place), scale = _mm256_loadu_ps(f->scale + at);
    __m256 zero = _mm256_loadu_ps(f->zero + at);
    __m256i code = code8(w, scale, zero, _mm256_set1_ps((float)f->maxq));
    __m256 back = _mm256_mul_ps(scale, _mm256_sub_ps(_mm256_cvtepi32_ps(code), zero));
    __m256 error = _mm256_div_ps(_mm256_sub_ps(w, back), _mm256_set1_ps(f->u[i * f->ldu + i]));
    __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
    _mm_storel_epi64((__m128i *)(f->code + place), _mm_packus_epi16(halves, halves));
    _mm256_storeu_ps(f->error + place, error);
}

/* w of a column, two halves of lanes, less what the errors of columns [first, first + n) bring: one after the other, so
 * that the bytes are those of ref. */
AVX2 static inline void feed_column(const struct ptq_feedback *f, int64_t first, int64_t n, int64_t column)
{
    float *w = f->w + column * PTQ_LANES;
    const float *error = f->error + first * PTQ_LANES;
    __m256 low = _mm256_loadu_ps(w), high = _mm256_loadu_ps(w + 8);
    for (int64_t i = 0; i < n; i++, error += PTQ_LANES) {
        __m256 factor = _mm256_set1_ps(f->u[(first + i) * f->ldu + column]);
        low = _mm256_sub_ps(low, _mm256_mul_ps(_mm256_loadu_ps(error), factor));
        high = _mm256_sub_ps(high, _mm256_mul_ps(_mm256_loadu_ps(error + 8), factor));
    }
    _mm256_storeu_ps(w, low);
    _mm256_storeu_ps(w + 8, high);
}

/* Columns in runs: a column behind the run is loaded and stored once for all of it. */
AVX2 static void feedback_avx2(const struct ptq_feedback *f)
{
    enum { RUN = 8 };
    for (int64_t first = 0; first < f->columns; first += RUN) {
        int64_t end = first + RUN < f->columns ? first + RUN : f->columns;
        for (int64_t i = first; i < end; i++) {
            feedback_lanes(f, i, 0);
            feedback_lanes(f, i, 8);
            for (int64_t j = i + 1; j < end; j++) feed_column(f, i, 1, j);
        }
        if (end - first < RUN) return;
        for (int64_t j = end; j < f->columns; j++) feed_column(f, first, RUN, j);
    }
}

void ptq_ops_avx2(struct ptq_ops *ops, struct ptq_cpu_parts *parts)
{
    ops->name = "cpu-avx2";
    ops->rmsnorm = rmsnorm_avx2;
    ops->layernorm = layernorm_avx2;
    ops->silu_mul = silu_mul_avx2;
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
