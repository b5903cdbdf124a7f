/* AVX2 and FMA versions. Compiled for every x86-64, run only where the processor says that it has them. */
#include "cpu.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,fma")))

/* ---- sixteen floats, for the loops of wide.h ---- */

#define WIDE AVX2
#define V AVX2 static inline __attribute__((always_inline))

typedef struct {
    __m256 a, b;
} vec;

#define BOTH(name, function)                                                                                           \
    V vec name(vec x, vec y)                                                                                           \
    {                                                                                                                  \
        return (vec){function(x.a, y.a), function(x.b, y.b)};                                                          \
    }
BOTH(v_add, _mm256_add_ps)
BOTH(v_sub, _mm256_sub_ps)
BOTH(v_mul, _mm256_mul_ps)
BOTH(v_div, _mm256_div_ps)
BOTH(v_min, _mm256_min_ps)
BOTH(v_max, _mm256_max_ps)

V vec v_load(const float *x)
{
    return (vec){_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
}

V void v_store(float *x, vec v)
{
    _mm256_storeu_ps(x, v.a);
    _mm256_storeu_ps(x + 8, v.b);
}

V vec v_set(float x)
{
    return (vec){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

V vec v_fma(vec a, vec b, vec c)
{
    return (vec){_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}

V __m256 round8(__m256 x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

V vec v_round(vec x)
{
    return (vec){round8(x.a), round8(x.b)};
}

V __m256 pow8(__m256 n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

V vec v_pow2(vec n)
{
    return (vec){pow8(n.a), pow8(n.b)};
}

V __m256 pick8(__m256 x, __m256 a, __m256 b)
{
    return _mm256_blendv_ps(a, b, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}

V vec v_pick(vec x, vec a, vec b)
{
    return (vec){pick8(x.a, a.a, b.a), pick8(x.b, a.b, b.b)};
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

V float v_sum(vec v)
{
    return sum8(_mm256_add_ps(v.a, v.b));
}

V float v_top(vec v)
{
    return max8(_mm256_max_ps(v.a, v.b));
}

enum { QUERY_VECTORS = 1, STEP = 6 };
#include "wide.h"

/* ---- eight ---- */

/* As v_load_tail, of eight. */
AVX2 static inline __m256 load_tail(const float *x, int64_t n, float fill)
{
    float lane[8];
    for (int i = 0; i < 8; i++) lane[i] = i < n ? x[i] : fill;
    return _mm256_loadu_ps(lane);
}

AVX2 static inline float min8(__m256 v)
{
    return -max8(_mm256_sub_ps(_mm256_setzero_ps(), v));
}

AVX2 static void rmsnorm_avx2(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k)
{
    for (int64_t i = 0; i < m; i++, x += k, y += k) {
        __m256 sum = _mm256_setzero_ps();
        int64_t j = 0;
        for (; j + 8 <= k; j += 8) sum = _mm256_fmadd_ps(_mm256_loadu_ps(x + j), _mm256_loadu_ps(x + j), sum);
        double squares = sum8(sum);
        for (; j < k; j++) squares += (double)x[j] * x[j];
        float scale = (float)(1 / sqrt(squares / (double)k + eps)) + (float)squares * 0; /* see ops.h */
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
        float scale = (float)(1 / sqrt(squares / (double)k + eps)) + (float)squares * 0; /* see ops.h */
        for (j = 0; j < k; j++) y[j] = (x[j] - mean) * scale * g[j] + b[j];
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
    ops->abssum = abssum_avx2;
    ops->minmax = minmax_avx2;
    ops->code = code_avx2;
    ops->dequantize = dequantize_avx2;
    ops->feedback = feedback_avx2;
    use_wide(ops, parts);
}

#else

void ptq_ops_avx2(struct ptq_ops *ops, struct ptq_cpu_parts *parts)
{
    (void)ops, (void)parts;
}

#endif
