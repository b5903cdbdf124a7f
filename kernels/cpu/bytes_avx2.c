/* The packed linear on activations of 8 bits with AVX2: 8 rows x 4 places in a register, codes unsigned, activations
 * signed. vpmaddubsw adds two products in 16 bits, and would saturate on codes of 8 bits, so all products are of
 * nibbles: those of a step, 8 x 2 x 15 x 127 = 30480 at most, add up in 16 bits, and once a step in 32. A code above 4
 * bits is two nibbles, the high one's sum times 16. */
#include "packed_parts.h"

#if defined(__x86_64__)

#include "packed_avx2.h"

#include <string.h>

/* Registers of four places in a step. */
enum { FOURS = PTQ_PACK_STEP / 4 };

/* ---- activations ---- */

AVX2 static void quantize(int8_t *out, float *scale, int32_t *sum, const float *x, int64_t n,
                          const uint8_t order[PTQ_PACK_STEP])
{
    const __m128i order16 = _mm_loadu_si128((const __m128i *)order);
    float inverse = find_scale(x, n, 127, scale);
    __m256i total = _mm256_setzero_si256();
    if (inverse == 0) memset(out, 0, (size_t)n);
    for (int64_t i = 0; inverse > 0 && i < n; i += 16) {
        __m256i a = integers8(x + i, inverse), b = integers8(x + i + 8, inverse);
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        total = _mm256_add_epi32(total, _mm256_add_epi32(a, b));
        _mm_storeu_si128((__m128i *)(out + i), _mm_shuffle_epi8(bytes, order16));
    }
    *sum = sum8(total);
}

/* ---- codes ---- */

AVX2 static void zeros(int32_t *zero, const struct ptq_packed *w, int64_t tile, int64_t group)
{
    for (int h = 0; h < 2; h++) _mm256_storeu_si256((__m256i *)(zero + 8 * h), zeros8(w, tile, group, h));
}

INLINE __m256i high_nibbles(__m256i v, __m256i mask)
{
    return _mm256_and_si256(_mm256_srli_epi32(v, 4), mask);
}

/* The low nibbles of a vector, and its high ones; of 8 bits the vector is codes already. */
INLINE void unpack_width(int w_bit, uint8_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c)
{
    const __m256i mask = _mm256_set1_epi8((char)((1 << w_bit) - 1));
    for (int64_t p = 0; p < c->n; p += PTQ_PACK_STEP, code += PTQ_PACK_STEP * PTQ_PACK_ROWS) {
        const uint32_t *step = ptq_packed_step(w, tile, (c->place + p) / PTQ_PACK_STEP);
#pragma GCC unroll 16
        for (int i = 0; i < 2 * n_vectors(w_bit); i++) {
            int vector = i / 2, h = i % 2;
            __m256i v = nibbles(w_bit, step, vector, h), *to = (__m256i *)(code + 32 * h);
            if (w_bit == 8) {
                _mm256_store_si256(to + 2 * vector, v);
            } else {
                _mm256_store_si256(to + 4 * vector, _mm256_and_si256(v, mask));
                _mm256_store_si256(to + 4 * vector + 2, high_nibbles(v, mask));
            }
        }
    }
}

/* ---- products ---- */

INLINE __m256i four(const int8_t *x)
{
    int32_t all;
    memcpy(&all, x, sizeof all);
    return _mm256_set1_epi32(all);
}

/* Products of nibbles, in 16 bits; for a step at most. */
INLINE __m256i add_products(__m256i some, __m256i code, __m256i x)
{
    return _mm256_add_epi16(some, _mm256_maddubs_epi16(code, x));
}

/* A step's sums in 16 bits, times 1 or 16. */
INLINE __m256i add_step(__m256i sum, __m256i some, int times)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(some, _mm256_set1_epi16((int16_t)times)));
}

/* sum - zero * (sum of the activations). Both fit in 16 bits: 255, and 128 * 127. */
INLINE __m256 shifted(__m256i sum, __m256i zero, int32_t sx)
{
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_madd_epi16(zero, _mm256_set1_epi32(sx))));
}

/* ---- many tokens ---- */

/* parts: nibbles of a code; tokens * parts is 4 at most, or sums leave the registers. */
INLINE void multiply_step(int tokens, int parts, __m256i sum[4][2], const uint8_t *code, const int8_t *x, int64_t ldx)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i some[4][2][2];
#pragma GCC unroll 4
    for (int i = 0; i < tokens; i++)
        for (int h = 0; h < 2; h++) some[i][h][0] = some[i][h][1] = _mm256_setzero_si256();
    for (int q = 0; q < FOURS; q++, code += 4 * PTQ_PACK_ROWS) {
        __m256i w[2] = {_mm256_load_si256((const __m256i *)code), _mm256_load_si256((const __m256i *)code + 1)};
#pragma GCC unroll 4
        for (int i = 0; i < tokens; i++) {
            __m256i all = four(x + i * ldx + 4 * q);
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                __m256i low = parts > 1 ? _mm256_and_si256(w[h], mask) : w[h];
                some[i][h][0] = add_products(some[i][h][0], low, all);
                if (parts > 1) some[i][h][1] = add_products(some[i][h][1], high_nibbles(w[h], mask), all);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < tokens; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            sum[i][h] = add_step(sum[i][h], some[i][h][0], 1);
            if (parts > 1) sum[i][h] = add_step(sum[i][h], some[i][h][1], 16);
        }
}

INLINE void flush(float *t, const struct ptq_byte_panel *panel, int64_t token, int h, __m256i sum)
{
    __m256 scale = _mm256_mul_ps(_mm256_load_ps(panel->scale + 8 * h), _mm256_set1_ps(panel->sx[token]));
    __m256i zero = _mm256_load_si256((const __m256i *)(panel->zero + 8 * h));
    t += token * PTQ_PANEL_ROWS + 8 * h;
    _mm256_storeu_ps(t, _mm256_fmadd_ps(scale, shifted(sum, zero, panel->sum[token]), _mm256_loadu_ps(t)));
}

INLINE void multiply_block(int tokens, int parts, float *t, const struct ptq_byte_panel *panel, int64_t first)
{
    __m256i sum[4][2];
    const int8_t *x = panel->x + first * panel->n;
#pragma GCC unroll 4
    for (int i = 0; i < tokens; i++) sum[i][0] = sum[i][1] = _mm256_setzero_si256();
    for (int64_t p = 0; p < panel->n; p += PTQ_PACK_STEP)
        multiply_step(tokens, parts, sum, panel->code[0] + p * PTQ_PACK_ROWS, x + p, panel->n);
#pragma GCC unroll 4
    for (int i = 0; i < tokens; i++)
        for (int h = 0; h < 2; h++) flush(t, panel, first + i, h, sum[i][h]);
}

AVX2 static void multiply(float *t, const struct ptq_byte_panel *panel, int64_t tokens)
{
    int64_t i = 0;
    if (panel->w_bit <= 4) {
        for (; i + 4 <= tokens; i += 4) multiply_block(4, 1, t, panel, i);
        for (; i < tokens; i++) multiply_block(1, 1, t, panel, i);
        return;
    }
    for (; i + 2 <= tokens; i += 2) multiply_block(2, 2, t, panel, i);
    for (; i < tokens; i++) multiply_block(1, 2, t, panel, i);
}

/* ---- few tokens ---- */

/* Low and high nibbles of a vector: other places where a code is one nibble, the same where it is two. */
INLINE void few_step(int w_bit, int tokens, __m256i sum[PTQ_FEW_TOKENS], const uint32_t *step, const int8_t *x,
                     int64_t ldx, int h)
{
    const __m256i mask = _mm256_set1_epi8((char)(w_bit == 8 ? 15 : (1 << w_bit) - 1));
    __m256i some[PTQ_FEW_TOKENS][2];
#pragma GCC unroll 4
    for (int j = 0; j < tokens; j++) some[j][0] = some[j][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int i = 0; i < n_vectors(w_bit); i++) {
        __m256i v = nibbles(w_bit, step, i, h), low = _mm256_and_si256(v, mask), high = high_nibbles(v, mask);
#pragma GCC unroll 4
        for (int j = 0; j < tokens; j++) {
            const int8_t *at = x + j * ldx + i * PTQ_PACK_STEP / n_vectors(w_bit);
            some[j][0] = add_products(some[j][0], low, four(at));
            some[j][1] = add_products(some[j][1], high, four(w_bit == 8 ? at : at + 4));
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < tokens; j++)
        sum[j] = add_step(add_step(sum[j], some[j][0], 1), some[j][1], w_bit == 8 ? 16 : 1);
}

/* One chunk of 8 rows; out[j] += scale sx sum. */
INLINE void few_chunk(int w_bit, int tokens, __m256 out[PTQ_FEW_TOKENS], const struct ptq_acts *a,
                      const struct ptq_packed *w, int64_t tile, int64_t first, const struct ptq_chunk *c, int h)
{
    const int8_t *x = a->x8 + c->place * a->m + first * c->n;
    int64_t at = c->number * a->m + first;
    __m256i sum[PTQ_FEW_TOKENS], zero = zeros8(w, tile, c->group, h);
    for (int j = 0; j < tokens; j++) sum[j] = _mm256_setzero_si256();
    for (int64_t p = 0; p < c->n; p += PTQ_PACK_STEP)
        few_step(w_bit, tokens, sum, ptq_packed_step(w, tile, (c->place + p) / PTQ_PACK_STEP), x + p, c->n, h);
    __m256 scale = scales8(w, tile, c->group, h);
    for (int j = 0; j < tokens; j++) {
        __m256 s = _mm256_mul_ps(scale, _mm256_set1_ps(a->scale[at + j]));
        out[j] = _mm256_fmadd_ps(s, shifted(sum[j], zero, a->sum[at + j]), out[j]);
    }
}

#define CODE uint8_t
#include "packed_avx2_walks.h"

const struct ptq_byte_parts ptq_bytes_avx2 = {quantize, unpack, multiply, few, zeros};

#else

const struct ptq_byte_parts ptq_bytes_avx2 = {0};

#endif
