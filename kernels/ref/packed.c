/* The packed linear and its activations, plainly: the truth for the SIMD versions, which give the same bytes. */
#include "acts.h"
#include "dtype.h"
#include "ref.h"

#include <math.h>
#include <string.h>

static void quantize_chunk(int16_t *out, float *scale, int32_t *sum, const float *x, int64_t n)
{
    float top = 0;
    int finite = 1;
    for (int64_t i = 0; i < n; i++) {
        finite &= isfinite(x[i]) != 0;
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    }
    *sum = 0;
    *scale = finite ? 0 : NAN;
    memset(out, 0, sizeof *out * (size_t)n);
    if (!finite || top < 0x1p-100f) return;
    *scale = top / 32767;
    float inverse = 32767 / top;
    for (int64_t i = 0; i < n; i++) *sum += out[i] = (int16_t)rintf(x[i] * inverse);
}

static void acts(struct ptq_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx)
{
    ptq_acts_fill(a, w, x, ldx, quantize_chunk);
}

/* Output `row` of a tile for token i. */
static float product(const struct ptq_acts *a, const struct ptq_packed *w, int64_t i, int64_t tile, int row)
{
    float t = 0;
    for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
        const int16_t *x = a->x + c.place * a->m + i * c.n;
        int32_t sum = 0, zero = ptq_packed_zero(w, tile, row, c.group);
        for (int64_t p = 0; p < c.n; p++) sum += (ptq_packed_code(w, tile, row, c.place + p) - zero) * x[p];
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

void ptq_packed_ref(struct ptq_ops *ops)
{
    ops->acts = acts;
    ops->packed = packed;
}
