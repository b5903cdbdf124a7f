/* The packed linear and its activations, plainly: the truth for the SIMD versions, which give the same bytes. */
#include "acts.h"
#include "dtype.h"
#include "ref.h"

#include <math.h>
#include <string.h>

/* The scale by which the largest |x| is `most`; *inverse is 0 where all integers are 0. */
static float find_scale(const float *x, int64_t n, float most, float *inverse)
{
    float top = 0;
    int finite = 1;
    for (int64_t i = 0; i < n; i++) {
        finite &= isfinite(x[i]) != 0;
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    }
    *inverse = 0;
    if (!finite) return NAN;
    if (top < 0x1p-100f) return 0;
    *inverse = most / top;
    return top / most;
}

static void quantize_chunk(int16_t *out, float *scale, int32_t *sum, const float *x, int64_t n)
{
    float inverse;
    *scale = find_scale(x, n, 32767, &inverse);
    *sum = 0;
    for (int64_t i = 0; i < n; i++) *sum += out[i] = inverse > 0 ? (int16_t)rintf(x[i] * inverse) : 0;
}

static void quantize_bytes(int8_t *out, float *scale, int32_t *sum, const float *x, int64_t n,
                           const uint8_t order[PTQ_PACK_STEP])
{
    float inverse;
    *scale = find_scale(x, n, 127, &inverse);
    *sum = 0;
    for (int64_t step = 0; step < n; step += PTQ_PACK_STEP)
        for (int j = 0; j < PTQ_PACK_STEP; j++)
            *sum += out[step + j] = inverse > 0 ? (int8_t)rintf(x[step + order[j]] * inverse) : 0;
}

static void acts(struct ptq_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx)
{
    ptq_acts_fill(a, w, x, ldx, quantize_chunk, quantize_bytes);
}

/* Integer j of a chunk of token i, and its place in the chunk. */
static int32_t integer_at(const struct ptq_acts *a, const struct ptq_packed *w, const struct ptq_chunk *c, int64_t i,
                          int64_t j, int64_t *place)
{
    int64_t at = c->place * a->m + i * c->n + j;
    *place = j;
    if (a->bits == 16) return a->x[at];
    *place += ptq_act_place(w->grid.w_bit, (int)(j % PTQ_PACK_STEP)) - j % PTQ_PACK_STEP;
    return a->x8[at];
}

/* Output `row` of a tile for token i. */
static float product(const struct ptq_acts *a, const struct ptq_packed *w, int64_t i, int64_t tile, int row)
{
    float t = 0;
    for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
        int32_t sum = 0, zero = ptq_packed_zero(w, tile, row, c.group);
        for (int64_t j = 0, p; j < c.n; j++) {
            int32_t x = integer_at(a, w, &c, i, j, &p);
            sum += (ptq_packed_code(w, tile, row, c.place + p) - zero) * x;
        }
        t = fmaf(ptq_packed_scale(w, tile, row, c.group) * a->scale[c.number * a->m + i], (float)sum, t);
    }
    for (int64_t j = 0; j < w->n_keep; j++) {
        float kept = ptq_f16_decode(w->kept[(tile * w->n_keep + j) * PTQ_PACK_ROWS + row]);
        t = fmaf(kept, a->kept[i * w->n_keep + j], t);
    }
    return t;
}

static void packed(float *y, int64_t ldy, const struct ptq_acts *x, const struct ptq_packed *w, const float *b,
                   int accumulate, int64_t tile, int64_t tiles)
{
    for (int64_t n = tile * PTQ_PACK_ROWS; n < w->n && n < (tile + tiles) * PTQ_PACK_ROWS; n++)
        for (int64_t i = 0; i < x->m; i++) {
            float t = product(x, w, i, n / PTQ_PACK_ROWS, (int)(n % PTQ_PACK_ROWS));
            if (b) t += b[n];
            y[i * ldy + n] = accumulate ? y[i * ldy + n] + t : t;
        }
}

static void linear_f16(float *y, int64_t ldy, const float *x, int64_t ldx, const uint16_t *w, int64_t m, int64_t n,
                       int64_t k)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) sum += (double)x[i * ldx + l] * ptq_f16_decode(w[j * k + l]);
            y[i * ldy + j] = (float)sum;
        }
}

void ptq_packed_ref(struct ptq_ops *ops)
{
    ops->acts = acts;
    ops->packed = packed;
    ops->linear_f16 = linear_f16;
}
