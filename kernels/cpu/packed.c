/* The packed linear of the CPU backend: blocks of tokens, panels of rows, and one code path for few tokens. */
#include "cpu.h"
#include "packed_parts.h"

#include <string.h>

/* t of a block, 24 KiB, and a chunk of its tokens, 48 KiB, stay near while a panel of 8 KiB passes. */
enum { TOKENS = 192 };

static const struct ptq_packed_parts *parts;

static void acts(struct ptq_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx)
{
    ptq_acts_fill(a, w, x, ldx, parts->quantize, parts->bytes->quantize);
}

/* Widths without a fast way. */
static void unpack_plainly(int16_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c)
{
    for (int row = 0; row < PTQ_PACK_ROWS; row++) {
        int zero = ptq_packed_zero(w, tile, row, c->group);
        for (int64_t p = 0; p < c->n; p++)
            code[p / 2 * 2 * PTQ_PACK_ROWS + row * 2 + p % 2] =
                (int16_t)(ptq_packed_code(w, tile, row, c->place + p) - zero);
    }
}

/* Theirs are 5, 6 and 7 bits, whose activations are in the order of places. */
static void unpack_bytes_plainly(uint8_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c)
{
    for (int row = 0; row < PTQ_PACK_ROWS; row++)
        for (int64_t p = 0; p < c->n; p++)
            code[p / 4 * 4 * PTQ_PACK_ROWS + row * 4 + p % 4] = (uint8_t)ptq_packed_code(w, tile, row, c->place + p);
}

static int is_fast(const struct ptq_packed *w)
{
    return w->grid.w_bit <= 4 || w->grid.w_bit == 8;
}

/* Tiles [tile, tile + tiles) and tokens [first, first + n); y: where the first token's outputs go. */
struct block {
    const struct ptq_acts *a;
    const struct ptq_packed *w;
    int64_t tile, first, n;
    int tiles;
    const float *y;
    int64_t ldy;
};

/* Some rows of y at each chunk, while it multiplies: they lie far apart, and a store that waits is an eighth of the
 * time. */
static void fetch_outputs(const struct block *b, int64_t *fetched)
{
    int64_t chunks = (b->w->places + PTQ_CHUNK - 1) / PTQ_CHUNK, end = *fetched + (b->n + chunks - 1) / chunks;
    for (; *fetched < end && *fetched < b->n; ++*fetched)
        for (int i = 0; i < b->tiles; i++) __builtin_prefetch(b->y + *fetched * b->ldy + i * PTQ_PACK_ROWS, 1);
}

/* The integer part of a block: t[n][PTQ_PANEL_ROWS]. */
static void multiply_panels(float *t, const struct block *b)
{
    const struct ptq_packed *w = b->w;
    const struct ptq_acts *a = b->a;
    struct ptq_panel panel;
    int64_t fetched = 0;
    panel.tiles = b->tiles;
    for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
        fetch_outputs(b, &fetched);
        for (int i = 0; i < b->tiles; i++) {
            (is_fast(w) ? parts->unpack : unpack_plainly)(panel.code[i], w, b->tile + i, &c);
            parts->scales(panel.scale + i * PTQ_PACK_ROWS, w, b->tile + i, c.group);
        }
        panel.n = c.n;
        panel.x = a->x + c.place * a->m + b->first * c.n;
        panel.sx = a->scale + c.number * a->m + b->first;
        parts->multiply(t, &panel, b->n);
    }
}

/* The same of activations of 8 bits. */
static void multiply_byte_panels(float *t, const struct block *b)
{
    const struct ptq_packed *w = b->w;
    const struct ptq_acts *a = b->a;
    struct ptq_byte_panel panel;
    int64_t fetched = 0;
    panel.tiles = b->tiles;
    panel.w_bit = w->grid.w_bit;
    for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
        fetch_outputs(b, &fetched);
        for (int i = 0; i < b->tiles; i++) {
            (is_fast(w) ? parts->bytes->unpack : unpack_bytes_plainly)(panel.code[i], w, b->tile + i, &c);
            parts->bytes->zeros(panel.zero + i * PTQ_PACK_ROWS, w, b->tile + i, c.group);
            parts->scales(panel.scale + i * PTQ_PACK_ROWS, w, b->tile + i, c.group);
        }
        panel.n = c.n;
        panel.x = a->x8 + c.place * a->m + b->first * c.n;
        panel.sx = a->scale + c.number * a->m + b->first;
        panel.sum = a->sum + c.number * a->m + b->first;
        parts->bytes->multiply(t, &panel, b->n);
    }
}

static void finish_row(float *y, float *t, const float *b, int accumulate, int64_t n)
{
    if (b)
        for (int64_t i = 0; i < n; i++) t[i] += b[i];
    if (accumulate)
        for (int64_t i = 0; i < n; i++) t[i] += y[i];
    memcpy(y, t, sizeof *y * (size_t)n);
}

/* From t to y: salient columns, bias, sum. y is at the first token of the block. */
static void finish(float *y, int64_t ldy, float *t, const struct ptq_acts *a, const struct ptq_packed *w,
                   const float *b, int accumulate, int64_t tile, int64_t first, int64_t tokens)
{
    int64_t row = tile * PTQ_PACK_ROWS, n = w->n - row < PTQ_PACK_ROWS ? w->n - row : PTQ_PACK_ROWS;
    for (int64_t i = 0; i < tokens; i++, t += PTQ_PANEL_ROWS) {
        if (w->n_keep)
            parts->salient(t, w->kept + tile * w->n_keep * PTQ_PACK_ROWS, a->kept + (first + i) * w->n_keep, w->n_keep);
        finish_row(y + i * ldy + row, t, b ? b + row : NULL, accumulate, n);
    }
}

static void packed(float *y, int64_t ldy, const struct ptq_acts *a, const struct ptq_packed *w, const float *b,
                   int accumulate, int64_t tile, int64_t tiles)
{
    float t[TOKENS * PTQ_PANEL_ROWS] __attribute__((aligned(64)));
    int few = a->m <= PTQ_FEW_TOKENS && is_fast(w), step = few ? 1 : parts->panel_tiles;
    for (int64_t first = 0, n; first < a->m; first += n) {
        n = a->m - first < TOKENS ? a->m - first : TOKENS;
        for (int64_t at = tile; at < tile + tiles; at += step) {
            int now = tile + tiles - at < step ? (int)(tile + tiles - at) : step;
            const struct block block = {a, w, at, first, n, now, y + first * ldy + at * PTQ_PACK_ROWS, ldy};
            memset(t, 0, sizeof *t * (size_t)(n * PTQ_PANEL_ROWS));
            if (few)
                (a->bits == 8 ? parts->bytes->few : parts->few)(t, a, w, at, first, n);
            else
                (a->bits == 8 ? multiply_byte_panels : multiply_panels)(t, &block);
            for (int i = 0; i < now; i++)
                finish(y + first * ldy, ldy, t + i * PTQ_PACK_ROWS, a, w, b, accumulate, at + i, first, n);
        }
    }
}

void ptq_ops_packed(struct ptq_ops *ops, const struct ptq_packed_parts *with)
{
    parts = with;
    ops->acts = acts;
    ops->packed = packed;
}
