/* The one packed form of a quantised linear (struct ptq_qmat), read by the CPU and CUDA kernels and from files: one
 * block of bytes, an image, whose sections all follow from its head.
 *
 *   +------+-------+-------+------+------+------+------+---------+---------+
 *   | head | code  | scale | zero | perm | keep | kept | divided | divisor |   each begins at a multiple of 64 bytes
 *   +------+-------+-------+------+------+------+------+---------+---------+
 *
 * Rows (outputs) go in tiles of 16, the last one filled up with zeros. Places (inputs in the order of perm, group after
 * group) go in steps of 32; a group begins at a step, so one whose length is no multiple of 32 is filled up with code
 * 0, and the kernels have activation 0 there. A step of a tile is w_bit vectors of 64 bytes, each 16 words, one a row:
 *
 *   code [tile][step][vector][row] 32-bit words
 *
 * A code of w_bit bits is cut into planes of 8, 4, 2 or 1 bits, the widest first and with the lowest bits: 3 = 2 + 1. A
 * plane of b bits takes b vectors; a word of one holds 32 / b places. Neighbouring places 2 j and 2 j + 1 lie in the
 * word's low and high half at the same height, so that a mask and a shift give a vector of int16 pairs, which is what
 * vpmaddwd and vpdpwssd multiply (16 rows x 2 places), and what CUDA's lop3 turns into a half2:
 *
 *   bit    31     28 27     24 23     20 19     16 | 15     12 11      8 7       4 3       0
 *   4 bits [place 7] [place 5] [place 3] [place 1] | [place 6] [place 4] [place 2] [place 0]
 *   2 bits [15] [13] [11] [ 9] [ 7] [ 5] [ 3] [ 1] | [14] [12] [10] [ 8] [ 6] [ 4] [ 2] [ 0]
 *   8 bits [      place 3    ] [      place 1    ] | [      place 2    ] [      place 0    ]
 *
 * The plane of 1 bit is ordered to be merged with the 2-bit plane above it four places at a time: of pair
 * j = 8 v + f (v: vector of the 2-bit plane, f: field in it) it is bit 4 (f / 2) + 2 v + f % 2 of each half:
 *
 *   bit of a half   15 14 13 12 11 10  9  8  7  6  5  4  3  2  1  0
 *   pair            15 14  7  6 13 12  5  4 11 10  3  2  9  8  1  0
 *
 *   scale [tile][group][16]   float32, or FP16 where all of them are FP16 values: nothing is rounded here
 *   zero  [tile][group]       16 bytes, one a row; up to 4 bits 8 bytes: row r low, row r + 8 high in byte r;
 *                             absent where every zero is the middle, 2^(w_bit - 1)
 *   perm  [K]                 perm[p] is the column at position p; absent where positions are columns
 *   keep  [n_keep], kept [tile][n_keep][16] FP16: salient columns (their codes are here too, and not used)
 *   divided [n_divided], divisor [n_divided]
 *
 * w[n][perm[p]] = scale (code - zero), divided, or kept: the numbers that ops->dequantize gives for the qmat, exactly.
 */
#ifndef PTQ_PACKED_H
#define PTQ_PACKED_H

#include "arena.h"
#include "qmat.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

enum { PTQ_PACK_ROWS = 16, PTQ_PACK_STEP = 32, PTQ_PACK_ALIGN = 64, PTQ_PACK_VERSION = 1 };

/* An image, looked at. Pointers are into the image; those of absent sections are NULL. */
struct ptq_packed {
    int64_t n, k, n_groups; /* N outputs, K inputs, groups a row */
    struct ptq_grid grid;   /* as the qmat's */
    int64_t group, stride;  /* positions of a whole group; the same, filled up to whole steps */
    int64_t tiles, places;  /* ceil(N / 16); places of a row, a multiple of 32 */
    const uint32_t *code;
    const float *scale;      /* or NULL, then */
    const uint16_t *scale16; /* FP16 */
    const uint8_t *zero;
    int64_t zero_bytes; /* of a group of a tile: 0, 8 or 16 */
    const int32_t *perm, *keep;
    const uint16_t *kept;
    int64_t n_keep;
    const int32_t *divided;
    const float *divisor;
    int64_t n_divided;
    const unsigned char *image;
    size_t bytes;
};

/* q packed into an image in arena, rows in parallel. A zero that is no whole number from 0 to 2^w_bit - 1, a scale that
 * is not finite or a salient weight that FP16 does not hold: PTQ_EINPUT. */
enum ptq_status ptq_pack(struct ptq_arena *arena, const struct ptq_qmat *q, struct ptq_packed *out,
                         struct ptq_error *err);
/* The qmat that was packed, bit for bit, in arena. */
void ptq_unpack(struct ptq_arena *arena, const struct ptq_packed *p, struct ptq_qmat *out);
/* Looks at an image of `bytes` bytes (64-byte aligned; not copied). What is not one of this version, or has another
 * size, or indices that point outside: PTQ_EINPUT. */
enum ptq_status ptq_packed_view(const void *image, size_t bytes, struct ptq_packed *out, struct ptq_error *err);

/* The same image where it was copied to, which may be on a device: nothing is read there. */
void ptq_packed_move(struct ptq_packed *p, const void *image);

/* Bits a weight that the image takes, head and filling included. */
double ptq_packed_bits(const struct ptq_packed *p);

/* Place of position p. */
static inline int64_t ptq_packed_place(const struct ptq_packed *p, int64_t position)
{
    return position / p->group * p->stride + position % p->group;
}

/* Words of one step of one tile: w_bit vectors. */
static inline const uint32_t *ptq_packed_step(const struct ptq_packed *p, int64_t tile, int64_t step)
{
    return p->code + (tile * (p->places / PTQ_PACK_STEP) + step) * p->grid.w_bit * PTQ_PACK_ROWS;
}

/* One code; scale and zero of row `row` of a tile. The plain way, for ref and for tests. */
int ptq_packed_code(const struct ptq_packed *p, int64_t tile, int row, int64_t place);
float ptq_packed_scale(const struct ptq_packed *p, int64_t tile, int row, int64_t group);
int ptq_packed_zero(const struct ptq_packed *p, int64_t tile, int row, int64_t group);

#endif
