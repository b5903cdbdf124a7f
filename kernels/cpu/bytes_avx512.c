/* The packed linear on activations of 8 bits with AVX-512 and VNNI: 16 rows x 4 places in a register, codes unsigned,
 * activations signed, products and their sum in one instruction that does not saturate. */
#include "packed_parts.h"

#if defined(__x86_64__)

#include "packed_avx512.h"

/* ---- activations ---- */

/* order16: in each of four 16 bytes */
INLINE __m128i integers16(const float *x, float inverse, __m128i order16, __m512i *total)
{
    __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), _mm512_set1_ps(inverse)));
    *total = _mm512_add_epi32(*total, q);
    return _mm_shuffle_epi8(_mm512_cvtsepi32_epi8(q), order16);
}

AVX512 static void quantize(int8_t *out, float *scale, int32_t *sum, const float *x, int64_t n,
                            const uint8_t order[PTQ_PACK_STEP])
{
    const __m128i order16 = _mm_loadu_si128((const __m128i *)order);
    float inverse = find_scale(x, n, 127, scale);
    __m512i total = _mm512_setzero_si512();
    if (inverse == 0) memset(out, 0, (size_t)n);
    for (int64_t i = 0; inverse > 0 && i < n; i += 16)
        _mm_storeu_si128((__m128i *)(out + i), integers16(x + i, inverse, order16, &total));
    *sum = _mm512_reduce_add_epi32(total);
}

/* ---- codes ---- */

AVX512 static void zeros(int32_t *zero, const struct ptq_packed *w, int64_t tile, int64_t group)
{
    _mm512_storeu_si512(zero, zeros16(w, tile, group));
}

/* The low nibbles of a vector, and its high ones; of 8 bits the vector is codes already. */
INLINE void unpack_width(int w_bit, uint8_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c)
{
    const __m512i mask = _mm512_set1_epi8((char)((1 << w_bit) - 1));
    for (int64_t p = 0; p < c->n; p += PTQ_PACK_STEP) {
        const uint32_t *step = ptq_packed_step(w, tile, (c->place + p) / PTQ_PACK_STEP);
#pragma GCC unroll 8
        for (int i = 0; i < n_vectors(w_bit); i++) {
            __m512i v = nibbles(w_bit, step, i);
            _mm512_storeu_si512(code, w_bit == 8 ? v : _mm512_and_si512(v, mask));
            code += 64;
            if (w_bit == 8) continue;
            _mm512_storeu_si512(code, _mm512_and_si512(_mm512_srli_epi32(v, 4), mask));
            code += 64;
        }
    }
}

/* ---- products ---- */

/* sum += the 16 x 4 products, where it stands; see packed_avx512.c. */
INLINE void dot(__m512i *sum, __m512i code, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(code), "v"(x));
}

INLINE __m512i four(const int8_t *x)
{
    int32_t all;
    memcpy(&all, x, sizeof all);
    return _mm512_set1_epi32(all);
}

/* sum - zero * (sum of the activations). Both fit in 16 bits: 255, and 128 * 127. */
INLINE __m512 shifted(__m512i sum, __m512i zero, int32_t sx)
{
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_madd_epi16(zero, _mm512_set1_epi32(sx))));
}

/* ---- many tokens ---- */

INLINE void flush(float *t, const struct ptq_byte_panel *panel, int tile, int64_t token, __m512i sum)
{
    __m512 scale = _mm512_mul_ps(_mm512_load_ps(panel->scale + tile * PTQ_PACK_ROWS), _mm512_set1_ps(panel->sx[token]));
    __m512i zero = _mm512_load_si512(panel->zero + tile * PTQ_PACK_ROWS);
    t += token * PTQ_PANEL_ROWS + tile * PTQ_PACK_ROWS;
    _mm512_storeu_ps(t, _mm512_fmadd_ps(scale, shifted(sum, zero, panel->sum[token]), _mm512_loadu_ps(t)));
}

/* tokens x tiles registers of sums. */
INLINE void multiply_block(int tokens, int tiles, float *t, const struct ptq_byte_panel *panel, int64_t first)
{
    __m512i sum[12][2];
    const int8_t *x = panel->x + first * panel->n;
    int64_t n = panel->n;
#pragma GCC unroll 12
    for (int i = 0; i < tokens; i++) sum[i][0] = sum[i][1] = _mm512_setzero_si512();
    for (int64_t p = 0; p < n; p += 4) {
        __m512i w0 = _mm512_load_si512(panel->code[0] + p * PTQ_PACK_ROWS);
        __m512i w1 = tiles > 1 ? _mm512_load_si512(panel->code[1] + p * PTQ_PACK_ROWS) : w0;
#pragma GCC unroll 12
        for (int i = 0; i < tokens; i++) {
            __m512i all = four(x + i * n + p);
            dot(&sum[i][0], w0, all);
            if (tiles > 1) dot(&sum[i][1], w1, all);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < tokens; i++)
        for (int j = 0; j < tiles; j++) flush(t, panel, j, first + i, sum[i][j]);
}

/* ---- few tokens ---- */

/* High nibbles stay where they are: their sums are 16 times theirs (64 places * 240 * 127) and are shifted back once a
 * chunk. Of 8 bits all sums are alike. */
INLINE void few_step(int w_bit, int tokens, __m512i sum[PTQ_FEW_TOKENS][4], const uint32_t *step, const int8_t *x,
                     int64_t ldx)
{
    const __m512i low = _mm512_set1_epi8((char)((1 << w_bit) - 1)), high = _mm512_slli_epi32(low, 4);
#pragma GCC unroll 8
    for (int i = 0; i < n_vectors(w_bit); i++) {
        __m512i v = nibbles(w_bit, step, i);
#pragma GCC unroll 4
        for (int j = 0; j < tokens; j++) {
            const int8_t *at = x + j * ldx + i * PTQ_PACK_STEP / n_vectors(w_bit);
            if (w_bit == 8) {
                dot(&sum[j][i % 4], v, four(at));
            } else {
                dot(&sum[j][i % 2], _mm512_and_si512(v, low), four(at));
                dot(&sum[j][2 + i % 2], _mm512_and_si512(v, high), four(at + 4));
            }
        }
    }
}

INLINE void few_width(int w_bit, int tokens, float *t, const struct ptq_acts *a, const struct ptq_packed *w,
                      int64_t tile, int64_t first)
{
    __m512 out[PTQ_FEW_TOKENS];
    for (int j = 0; j < tokens; j++) out[j] = _mm512_setzero_ps();
    for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
        const int8_t *x = a->x8 + c.place * a->m + first * c.n;
        int64_t at = c.number * a->m + first;
        __m512i sum[PTQ_FEW_TOKENS][4], zero = zeros16(w, tile, c.group);
        for (int j = 0; j < tokens; j++)
            for (int f = 0; f < 4; f++) sum[j][f] = _mm512_setzero_si512();
        for (int64_t p = 0; p < c.n; p += PTQ_PACK_STEP)
            few_step(w_bit, tokens, sum, ptq_packed_step(w, tile, (c.place + p) / PTQ_PACK_STEP), x + p, c.n);
        __m512 scale = scales16(w, tile, c.group);
        for (int j = 0; j < tokens; j++) {
            __m512i high = _mm512_add_epi32(sum[j][2], sum[j][3]);
            if (w_bit != 8) high = _mm512_srai_epi32(high, 4);
            high = _mm512_add_epi32(high, _mm512_add_epi32(sum[j][0], sum[j][1]));
            __m512 s = _mm512_mul_ps(scale, _mm512_set1_ps(a->scale[at + j]));
            out[j] = _mm512_fmadd_ps(s, shifted(high, zero, a->sum[at + j]), out[j]);
        }
    }
    for (int j = 0; j < tokens; j++) _mm512_storeu_ps(t + j * PTQ_PANEL_ROWS, out[j]);
}

#define CODE uint8_t
#define PANEL struct ptq_byte_panel
#include "packed_avx512_walks.h"

const struct ptq_byte_parts ptq_bytes_avx512 = {quantize, unpack, multiply, few, zeros};

#else

const struct ptq_byte_parts ptq_bytes_avx512 = {0};

#endif
