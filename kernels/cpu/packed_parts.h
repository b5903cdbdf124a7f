/* Inside the CPU backend: what an instruction set brings to the packed linear; packed.c has the loops around it.
 *
 * Many tokens: a chunk of some tiles' codes becomes a panel of int16, code - zero, in L1,
 *   panel [tile][pair of places][row][2]
 * and is multiplied by all tokens of a block. Few tokens: codes go from memory to registers and are multiplied there.
 * With activations of 8 bits the panel is codes as they are, in bytes, four places of a row (ptq_act_place) a word,
 *   panel [tile][four places][row][4]
 * and zero times the sum of the activations is taken off in the end. */
#ifndef PTQ_PACKED_PARTS_H
#define PTQ_PACKED_PARTS_H

#include "acts.h"

enum { PTQ_PANEL_TILES = 2, PTQ_PANEL_ROWS = PTQ_PANEL_TILES * PTQ_PACK_ROWS, PTQ_FEW_TOKENS = 4 };

/* One chunk of a panel and of a block of tokens. */
struct ptq_panel {
    int16_t code[PTQ_PANEL_TILES][PTQ_CHUNK * PTQ_PACK_ROWS] __attribute__((aligned(64)));
    float scale[PTQ_PANEL_ROWS] __attribute__((aligned(64)));
    int tiles;        /* of it, 1 or PTQ_PANEL_TILES */
    int64_t n;        /* places */
    const int16_t *x; /* [tokens][n] */
    const float *sx;  /* [tokens] */
};

/* The same for activations of 8 bits. */
struct ptq_byte_panel {
    uint8_t code[PTQ_PANEL_TILES][PTQ_CHUNK * PTQ_PACK_ROWS] __attribute__((aligned(64)));
    float scale[PTQ_PANEL_ROWS] __attribute__((aligned(64)));
    int32_t zero[PTQ_PANEL_ROWS] __attribute__((aligned(64)));
    int tiles, w_bit;
    int64_t n;
    const int8_t *x; /* [tokens][n] */
    const float *sx; /* [tokens] */
    const int32_t *sum;
};

/* As the members of struct ptq_packed_parts of the same names. */
struct ptq_byte_parts {
    ptq_quantize_bytes *quantize;
    void (*unpack)(uint8_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c);
    void (*multiply)(float *t, const struct ptq_byte_panel *panel, int64_t tokens);
    void (*few)(float *t, const struct ptq_acts *x, const struct ptq_packed *w, int64_t tile, int64_t first,
                int64_t tokens);
    /* zero[16] of a group of a tile */
    void (*zeros)(int32_t *zero, const struct ptq_packed *w, int64_t tile, int64_t group);
};

struct ptq_packed_parts {
    ptq_quantize_chunk *quantize;
    int panel_tiles; /* as many tiles as one call of multiply takes at best */
    /* Places [c->place, + c->n) of a tile of w_bit 2, 3, 4 or 8: code - zero, and the tile's scales. */
    void (*unpack)(int16_t *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c);
    /* t[tokens][PTQ_PANEL_ROWS] = fma(scale sx, panel x, t) */
    void (*multiply)(float *t, const struct ptq_panel *panel, int64_t tokens);
    /* t[tokens][PTQ_PANEL_ROWS] = the integer part of the whole rows of one tile, for tokens [first, first + tokens), 1
     * to PTQ_FEW_TOKENS; w_bit 2, 3, 4 or 8. */
    void (*few)(float *t, const struct ptq_acts *x, const struct ptq_packed *w, int64_t tile, int64_t first,
                int64_t tokens);
    /* t[16] = fma(kept, x, t) for the salient columns of one token */
    void (*salient)(float *t, const uint16_t *kept, const float *x, int64_t n_keep);
    /* scale[16] of a group of a tile */
    void (*scales)(float *scale, const struct ptq_packed *w, int64_t tile, int64_t group);
    const struct ptq_byte_parts *bytes; /* for activations of 8 bits */
};

extern const struct ptq_byte_parts ptq_bytes_avx2, ptq_bytes_avx512;
extern const struct ptq_packed_parts ptq_packed_avx2, ptq_packed_avx512;

/* The slot linear_f16 with AVX2 and F16C. */
void ptq_ops_f16(struct ptq_ops *ops);
/* 1 where this processor can run parts. */
int ptq_cpu_has(const struct ptq_packed_parts *parts);
/* The slots acts and packed of ops from parts. parts outlives ops; the last call decides for all ops. */
void ptq_ops_packed(struct ptq_ops *ops, const struct ptq_packed_parts *parts);

#endif
