#include "acts.h"

#include <math.h>
#include <string.h>

static int64_t chunks_of(int64_t places)
{
    return (places + PTQ_CHUNK - 1) / PTQ_CHUNK;
}

int64_t ptq_n_chunks(const struct ptq_packed *w)
{
    int64_t last = w->places - (w->n_groups - 1) * w->stride;
    return (w->n_groups - 1) * chunks_of(w->stride) + chunks_of(last);
}

int ptq_next_chunk(const struct ptq_packed *w, struct ptq_chunk *c)
{
    int64_t place = c->place + c->n;
    if (place >= w->places) return 0;
    c->number += c->end != 0;
    if (place == c->end) {
        c->group += c->end != 0;
        c->end = place + w->stride < w->places ? place + w->stride : w->places;
    }
    c->place = place;
    c->n = c->end - place < PTQ_CHUNK ? c->end - place : PTQ_CHUNK;
    return 1;
}

/* ---- memory ---- */

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Sizes of x, scale (and sum), kept, row. */
static void sizes(const struct ptq_packed *w, int64_t m, int bits, size_t bytes[4])
{
    bytes[0] = aligned((size_t)(bits / 8 * m * w->places));
    bytes[1] = aligned(sizeof(float) * (size_t)(m * ptq_n_chunks(w)));
    bytes[2] = aligned(sizeof(float) * (size_t)(m * w->n_keep));
    bytes[3] = aligned(sizeof(float) * (size_t)(w->places + w->k));
}

size_t ptq_acts_bytes(const struct ptq_packed *w, int64_t m, int bits)
{
    size_t bytes[4];
    sizes(w, m, bits, bytes);
    return bytes[0] + 2 * bytes[1] + bytes[2] + bytes[3];
}

void ptq_acts_make(struct ptq_acts *a, const struct ptq_packed *w, int64_t m, int bits, void *memory)
{
    size_t bytes[4];
    char *at = memory;
    sizes(w, m, bits, bytes);
    a->m = m;
    a->bits = bits;
    a->x = bits == 16 ? memory : NULL;
    a->x8 = bits == 8 ? memory : NULL;
    a->scale = (float *)(at += bytes[0]);
    a->sum = (int32_t *)(at += bytes[1]);
    a->kept = (float *)(at += bytes[1]);
    a->row = (float *)(at + bytes[2]);
}

static int same(const void *a, const void *b, int64_t n, size_t size)
{
    return !a == !b && (!a || a == b || memcmp(a, b, (size_t)n * size) == 0);
}

int ptq_packed_alike(const struct ptq_packed *a, const struct ptq_packed *b)
{
    return a->k == b->k && a->group == b->group && a->n_keep == b->n_keep && a->n_divided == b->n_divided &&
           same(a->perm, b->perm, a->k, sizeof *a->perm) && same(a->keep, b->keep, a->n_keep, sizeof *a->keep) &&
           same(a->divided, b->divided, a->n_divided, sizeof *a->divided) &&
           same(a->divisor, b->divisor, a->n_divided, sizeof *a->divisor);
}

int ptq_acts_serve(int bits, const struct ptq_packed *a, const struct ptq_packed *b)
{
    return ptq_packed_alike(a, b) && (bits == 16 || a->grid.w_bit == b->grid.w_bit);
}

/* ---- one token's row in the order of places ---- */

/* The columns as the codes have them: divided, and the salient ones out of the way. */
static const float *prepare_columns(const struct ptq_packed *w, const float *x, float *column, float *kept)
{
    if (!w->n_keep && !w->n_divided) return x;
    memcpy(column, x, sizeof *x * (size_t)w->k);
    for (int64_t i = 0; i < w->n_divided; i++) column[w->divided[i]] /= w->divisor[i];
    for (int64_t i = 0; i < w->n_keep; i++) {
        kept[i] = x[w->keep[i]];
        if (isfinite(kept[i])) column[w->keep[i]] = 0;
    }
    return column;
}

static const float *arrange(const struct ptq_packed *w, const float *x, float *row, float *kept)
{
    x = prepare_columns(w, x, row + w->places, kept);
    if (!w->perm && w->places == w->k) return x;
    for (int64_t first = 0, at = 0; first < w->k; first += w->group) {
        int64_t n = w->k - first < w->group ? w->k - first : w->group;
        int64_t filled = w->places - at < w->stride ? w->places - at : w->stride;
        for (int64_t i = 0; i < n; i++) row[at + i] = x[w->perm ? w->perm[first + i] : first + i];
        memset(row + at + n, 0, sizeof *row * (size_t)(filled - n));
        at += filled;
    }
    return row;
}

void ptq_acts_fill(struct ptq_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx,
                   ptq_quantize_chunk *quantize, ptq_quantize_bytes *quantize_bytes)
{
    uint8_t order[PTQ_PACK_STEP];
    for (int j = 0; j < PTQ_PACK_STEP; j++) order[j] = (uint8_t)ptq_act_place(w->grid.w_bit, j);
    for (int64_t i = 0; i < a->m; i++) {
        const float *row = arrange(w, x + i * ldx, a->row, a->kept + i * w->n_keep);
        for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
            int64_t at = c.number * a->m + i, to = c.place * a->m + i * c.n;
            if (a->bits == 8)
                quantize_bytes(a->x8 + to, &a->scale[at], &a->sum[at], row + c.place, c.n, order);
            else
                quantize(a->x + to, &a->scale[at], &a->sum[at], row + c.place, c.n);
        }
    }
}
