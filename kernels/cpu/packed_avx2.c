/* The packed linear with AVX2: 8 rows x 2 places in a register, vpmaddwd and an add. packed_avx512.c is the same with
 * registers twice as wide and one instruction for both. Compiled for every x86-64, run only where the processor has it.
 */
#include "packed_parts.h"

#if defined(__x86_64__)

#include "packed_avx2.h"

#include <string.h>

/* ---- activations ---- */

AVX2 static void quantize(int16_t *out, float *scale, int32_t *sum, const float *x, int64_t n)
{
    float inverse = find_scale(x, n, 32767, scale);
    __m256i total = _mm256_setzero_si256();
    if (inverse == 0) memset(out, 0, sizeof *out * (size_t)n);
    for (int64_t i = 0; inverse > 0 && i < n; i += 16) {
        __m256i a = integers8(x + i, inverse), b = integers8(x + i + 8, inverse);
        total = _mm256_add_epi32(total, _mm256_add_epi32(a, b));
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
    }
    *sum = sum8(total);
}

/* ---- codes ---- */

AVX2 static void scales(float *scale, const struct ptq_packed *w, int64_t tile, int64_t group)
{
    for (int h = 0; h < 2; h++) _mm256_storeu_ps(scale + 8 * h, scales8(w, tile, group, h));
}

INLINE void unpack_half(int w_bit, int16_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c,
                        int h)
{
    const __m256i zero = zeros8(w, tile, c->group, h), mask = _mm256_set1_epi16((int16_t)((1 << w_bit) - 1));
    const __m256i zeros = _mm256_or_si256(zero, _mm256_slli_epi32(zero, 16));
    code += 16 * h;
    for (int64_t p = 0; p < c->n; p += PTQ_PACK_STEP, code += PTQ_PACK_STEP * PTQ_PACK_ROWS) {
        const uint32_t *step = ptq_packed_step(w, tile, (c->place + p) / PTQ_PACK_STEP);
#pragma GCC unroll 8
        for (int i = 0; i < n_vectors(w_bit); i++) {
            __m256i v = nibbles(w_bit, step, i, h);
#pragma GCC unroll 4
            for (int f = 0; f < n_fields(w_bit); f++) {
                __m256i field = _mm256_and_si256(_mm256_srli_epi32(v, f * (16 / n_fields(w_bit))), mask);
                _mm256_store_si256((__m256i *)(code + ptq_pair_of(w_bit, i, f) * 32), _mm256_sub_epi16(field, zeros));
            }
        }
    }
}

INLINE void unpack_width(int w_bit, int16_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c)
{
    unpack_half(w_bit, code, w, tile, c, 0);
    unpack_half(w_bit, code, w, tile, c, 1);
}

/* ---- many tokens ---- */

INLINE __m256i pair(const int16_t *x)
{
    int32_t both;
    memcpy(&both, x, sizeof both);
    return _mm256_set1_epi32(both);
}

/* Products of two places are below 2 * 255 * 32767, so vpmaddwd does not overflow. */
INLINE __m256i add_products(__m256i sum, __m256i a, __m256i b)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

INLINE void multiply_block(int tokens, float *t, const struct ptq_panel *panel, int64_t first)
{
    __m256i sum[6][2];
    const int16_t *x = panel->x + first * panel->n, *code = panel->code[0];
    int64_t n = panel->n;
#pragma GCC unroll 6
    for (int i = 0; i < tokens; i++) sum[i][0] = sum[i][1] = _mm256_setzero_si256();
    for (int64_t p = 0; p < n; p += 2, code += 2 * PTQ_PACK_ROWS) {
        __m256i low = _mm256_load_si256((const __m256i *)code), high = _mm256_load_si256((const __m256i *)(code + 16));
#pragma GCC unroll 6
        for (int i = 0; i < tokens; i++) {
            __m256i both = pair(x + i * n + p);
            sum[i][0] = add_products(sum[i][0], both, low);
            sum[i][1] = add_products(sum[i][1], both, high);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < tokens; i++)
        for (int h = 0; h < 2; h++) {
            float *to = t + (first + i) * PTQ_PANEL_ROWS + 8 * h;
            __m256 scale = _mm256_mul_ps(_mm256_load_ps(panel->scale + 8 * h), _mm256_set1_ps(panel->sx[first + i]));
            _mm256_storeu_ps(to, _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sum[i][h]), _mm256_loadu_ps(to)));
        }
}

AVX2 static void multiply(float *t, const struct ptq_panel *panel, int64_t tokens)
{
    int64_t i = 0;
    for (; i + 6 <= tokens; i += 6) multiply_block(6, t, panel, i);
    for (; i + 2 <= tokens; i += 2) multiply_block(2, t, panel, i);
    for (; i < tokens; i++) multiply_block(1, t, panel, i);
}

/* ---- few tokens ---- */

/* Fields stay where they are: those at bit 4 make a sum of 16 times theirs, which is shifted back once a chunk. */
INLINE void few_step(int w_bit, int tokens, __m256i sum[PTQ_FEW_TOKENS][2], const uint32_t *step, const int16_t *x,
                     int64_t ldx, int h)
{
    const __m256i low = _mm256_set1_epi16((int16_t)((1 << w_bit) - 1)), high = _mm256_slli_epi32(low, 4);
#pragma GCC unroll 8
    for (int i = 0; i < n_vectors(w_bit); i++) {
        __m256i v = nibbles(w_bit, step, i, h), u = _mm256_srli_epi32(v, 8), field[4];
        field[0] = _mm256_and_si256(v, low);
        field[1] = w_bit == 8 ? _mm256_and_si256(u, low) : _mm256_and_si256(v, high);
        field[2] = _mm256_and_si256(u, low);
        field[3] = _mm256_and_si256(u, high);
#pragma GCC unroll 4
        for (int f = 0; f < n_fields(w_bit); f++)
#pragma GCC unroll 4
            for (int j = 0; j < tokens; j++)
                sum[j][f % 2] = add_products(sum[j][f % 2], field[f], pair(x + j * ldx + 2 * ptq_pair_of(w_bit, i, f)));
    }
}

/* One chunk of 8 rows; out[j] += scale sx sum. */
INLINE void few_chunk(int w_bit, int tokens, __m256 out[PTQ_FEW_TOKENS], const struct ptq_acts *a,
                      const struct ptq_packed *w, int64_t tile, int64_t first, const struct ptq_chunk *c, int h)
{
    const int16_t *x = a->x + c->place * a->m + first * c->n;
    int64_t at = c->number * a->m + first;
    __m256i sum[PTQ_FEW_TOKENS][2], zero = zeros8(w, tile, c->group, h);
    for (int j = 0; j < tokens; j++) {
        __m256i shift = _mm256_mullo_epi32(zero, _mm256_set1_epi32(a->sum[at + j]));
        sum[j][0] = _mm256_sub_epi32(_mm256_setzero_si256(), shift);
        sum[j][1] = _mm256_setzero_si256();
    }
    for (int64_t p = 0; p < c->n; p += PTQ_PACK_STEP)
        few_step(w_bit, tokens, sum, ptq_packed_step(w, tile, (c->place + p) / PTQ_PACK_STEP), x + p, c->n, h);
    __m256 scale = scales8(w, tile, c->group, h);
    for (int j = 0; j < tokens; j++) {
        __m256i odd = w_bit == 8 ? sum[j][1] : _mm256_srai_epi32(sum[j][1], 4);
        __m256 s = _mm256_mul_ps(scale, _mm256_set1_ps(a->scale[at + j]));
        out[j] = _mm256_fmadd_ps(s, _mm256_cvtepi32_ps(_mm256_add_epi32(sum[j][0], odd)), out[j]);
    }
}

#define CODE int16_t
#include "packed_avx2_walks.h"

AVX2 static void salient(float *t, const uint16_t *kept, const float *x, int64_t n_keep)
{
    __m256 low = _mm256_loadu_ps(t), high = _mm256_loadu_ps(t + 8);
    for (int64_t i = 0; i < n_keep; i++, kept += PTQ_PACK_ROWS) {
        __m256 factor = _mm256_set1_ps(x[i]);
        low = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_load_si128((const __m128i *)kept)), factor, low);
        high = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_load_si128((const __m128i *)(kept + 8))), factor, high);
    }
    _mm256_storeu_ps(t, low);
    _mm256_storeu_ps(t + 8, high);
}

/* ---- FP16 weights ---- */

INLINE __m256 half8(const uint16_t *w)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
}

AVX2 static float dot_f16(const float *x, const uint16_t *w, int64_t k)
{
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 32 <= k; i += 32)
        for (int j = 0; j < 4; j++)
            sum[j] = _mm256_fmadd_ps(half8(w + i + 8 * j), _mm256_loadu_ps(x + i + 8 * j), sum[j]);
    for (; i + 8 <= k; i += 8) sum[0] = _mm256_fmadd_ps(half8(w + i), _mm256_loadu_ps(x + i), sum[0]);
    float lane[8], total = 0;
    _mm256_storeu_ps(lane, _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
    for (int j = 0; j < 8; j++) total += lane[j];
    for (; i < k; i++) total += x[i] * _cvtsh_ss(w[i]);
    return total;
}

AVX2 static void linear_f16(float *y, int64_t ldy, const float *x, int64_t ldx, const uint16_t *w, int64_t m, int64_t n,
                            int64_t k)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) y[i * ldy + j] = dot_f16(x + i * ldx, w + j * k, k);
}

void ptq_ops_f16(struct ptq_ops *ops)
{
    ops->linear_f16 = linear_f16;
}

const struct ptq_packed_parts ptq_packed_avx2 = {quantize, 1, unpack, multiply, few, salient, scales, &ptq_bytes_avx2};

#else

void ptq_ops_f16(struct ptq_ops *ops)
{
    (void)ops;
}

const struct ptq_packed_parts ptq_packed_avx2 = {0};

#endif
