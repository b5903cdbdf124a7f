/* The packed linear with AVX-512 and VNNI: 16 rows x 2 places in a register, products and sums in one instruction.
 * Compiled for every x86-64, run only where the processor has it. */
#include "packed_parts.h"

#if defined(__x86_64__)

#include "packed_avx512.h"

#include <string.h>

/* ---- activations ---- */

AVX512 static void quantize(int16_t *out, float *scale, int32_t *sum, const float *x, int64_t n)
{
    float inverse = find_scale(x, n, 32767, scale);
    __m512i total = _mm512_setzero_si512();
    if (inverse == 0) memset(out, 0, sizeof *out * (size_t)n);
    for (int64_t i = 0; inverse > 0 && i < n; i += 16) {
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(inverse)));
        total = _mm512_add_epi32(total, q);
        _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtsepi32_epi16(q));
    }
    *sum = _mm512_reduce_add_epi32(total);
}

/* ---- codes ---- */

AVX512 static void scales(float *scale, const struct ptq_packed *w, int64_t tile, int64_t group)
{
    _mm512_storeu_ps(scale, scales16(w, tile, group));
}

INLINE void unpack_width(int w_bit, int16_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c)
{
    const __m512i zero = zeros16(w, tile, c->group), mask = _mm512_set1_epi16((int16_t)((1 << w_bit) - 1));
    const __m512i zeros = _mm512_or_si512(zero, _mm512_slli_epi32(zero, 16));
    for (int64_t p = 0; p < c->n; p += PTQ_PACK_STEP, code += PTQ_PACK_STEP * PTQ_PACK_ROWS) {
        const uint32_t *step = ptq_packed_step(w, tile, (c->place + p) / PTQ_PACK_STEP);
#pragma GCC unroll 8
        for (int i = 0; i < n_vectors(w_bit); i++) {
            __m512i v = nibbles(w_bit, step, i);
#pragma GCC unroll 4
            for (int f = 0; f < n_fields(w_bit); f++) {
                __m512i field = _mm512_and_si512(_mm512_srli_epi32(v, (unsigned)(f * (16 / n_fields(w_bit)))), mask);
                _mm512_storeu_si512(code + ptq_pair_of(w_bit, i, f) * 32, _mm512_sub_epi16(field, zeros));
            }
        }
    }
}

/* ---- many tokens ---- */

/* sum += the 16 x 2 products of a and b, where it stands: gcc 12 copies the sums of the intrinsic from register to
 * register and to memory, at half the speed. */
INLINE void dot(__m512i *sum, __m512i a, __m512i b)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

INLINE __m512i pair(const int16_t *x)
{
    int32_t both;
    memcpy(&both, x, sizeof both);
    return _mm512_set1_epi32(both);
}

INLINE void flush(float *t, __m512i sum, __m512 scale)
{
    _mm512_storeu_ps(t, _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), _mm512_loadu_ps(t)));
}

/* tokens x tiles registers of sums. */
INLINE void multiply_block(int tokens, int tiles, float *t, const struct ptq_panel *panel, int64_t first)
{
    __m512i sum[12][2];
    const int16_t *x = panel->x + first * panel->n;
    int64_t n = panel->n;
#pragma GCC unroll 12
    for (int i = 0; i < tokens; i++) sum[i][0] = sum[i][1] = _mm512_setzero_si512();
    for (int64_t p = 0; p < n; p += 2) {
        __m512i w0 = _mm512_loadu_si512(panel->code[0] + p * PTQ_PACK_ROWS);
        __m512i w1 = tiles > 1 ? _mm512_loadu_si512(panel->code[1] + p * PTQ_PACK_ROWS) : w0;
#pragma GCC unroll 12
        for (int i = 0; i < tokens; i++) {
            __m512i both = pair(x + i * n + p);
            dot(&sum[i][0], both, w0);
            if (tiles > 1) dot(&sum[i][1], both, w1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < tokens; i++)
        for (int j = 0; j < tiles; j++)
            flush(
                t + (first + i) * PTQ_PANEL_ROWS + j * PTQ_PACK_ROWS, sum[i][j],
                _mm512_mul_ps(_mm512_loadu_ps(panel->scale + j * PTQ_PACK_ROWS), _mm512_set1_ps(panel->sx[first + i])));
}

/* ---- few tokens ---- */

/* Fields stay where they are: those at bit 4 make a sum of 16 times theirs (below 2^31: 64 places * 240 * 32767), which
 * is shifted back once a chunk. */
INLINE void few_step(int w_bit, int tokens, __m512i sum[PTQ_FEW_TOKENS][4], const uint32_t *step, const int16_t *x,
                     int64_t ldx)
{
    const __m512i low = _mm512_set1_epi16((int16_t)((1 << w_bit) - 1)), high = _mm512_slli_epi32(low, 4);
#pragma GCC unroll 8
    for (int i = 0; i < n_vectors(w_bit); i++) {
        __m512i v = nibbles(w_bit, step, i), u = _mm512_srli_epi32(v, 8), field[4];
        field[0] = _mm512_and_si512(v, low);
        field[1] = w_bit == 8 ? _mm512_and_si512(u, low) : _mm512_and_si512(v, high);
        field[2] = _mm512_and_si512(u, low);
        field[3] = _mm512_and_si512(u, high);
#pragma GCC unroll 4
        for (int f = 0; f < n_fields(w_bit); f++)
#pragma GCC unroll 4
            for (int j = 0; j < tokens; j++)
                dot(&sum[j][f], field[f], pair(x + j * ldx + 2 * ptq_pair_of(w_bit, i, f)));
    }
}

INLINE void few_width(int w_bit, int tokens, float *t, const struct ptq_acts *a, const struct ptq_packed *w,
                      int64_t tile, int64_t first)
{
    __m512 out[PTQ_FEW_TOKENS];
    for (int j = 0; j < tokens; j++) out[j] = _mm512_setzero_ps();
    for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
        const int16_t *x = a->x + c.place * a->m + first * c.n;
        const int32_t *sx = a->sum + c.number * a->m + first;
        __m512i sum[PTQ_FEW_TOKENS][4], zero = zeros16(w, tile, c.group);
        for (int j = 0; j < tokens; j++) {
            sum[j][0] = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_mullo_epi32(zero, _mm512_set1_epi32(sx[j])));
            for (int f = 1; f < 4; f++) sum[j][f] = _mm512_setzero_si512();
        }
        for (int64_t p = 0; p < c.n; p += PTQ_PACK_STEP)
            few_step(w_bit, tokens, sum, ptq_packed_step(w, tile, (c.place + p) / PTQ_PACK_STEP), x + p, c.n);
        __m512 scale = scales16(w, tile, c.group);
        for (int j = 0; j < tokens; j++) {
            __m512i odd = _mm512_add_epi32(sum[j][1], sum[j][3]);
            if (w_bit != 8) odd = _mm512_srai_epi32(odd, 4);
            odd = _mm512_add_epi32(odd, _mm512_add_epi32(sum[j][0], sum[j][2]));
            __m512 s = _mm512_mul_ps(scale, _mm512_set1_ps(a->scale[c.number * a->m + first + j]));
            out[j] = _mm512_fmadd_ps(s, _mm512_cvtepi32_ps(odd), out[j]);
        }
    }
    for (int j = 0; j < tokens; j++) _mm512_storeu_ps(t + j * PTQ_PANEL_ROWS, out[j]);
}

#define CODE int16_t
#define PANEL struct ptq_panel
#include "packed_avx512_walks.h"

AVX512 static void salient(float *t, const uint16_t *kept, const float *x, int64_t n_keep)
{
    __m512 sum = _mm512_loadu_ps(t);
    for (int64_t i = 0; i < n_keep; i++)
        sum = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(kept + i * PTQ_PACK_ROWS))),
                              _mm512_set1_ps(x[i]), sum);
    _mm512_storeu_ps(t, sum);
}

const struct ptq_packed_parts ptq_packed_avx512 = {quantize, 2,       unpack, multiply,
                                                   few,      salient, scales, &ptq_bytes_avx512};

#else

const struct ptq_packed_parts ptq_packed_avx512 = {0};

#endif
