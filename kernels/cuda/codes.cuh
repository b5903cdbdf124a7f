/* From the words of a packed step (packed.h) to FP16 codes in registers, for mma.m16n8k16.
 *
 * Lane l = 4 r + c of a warp takes places 8 c .. 8 c + 7 of rows r and r + 8 of a step: two products of 16 x 16 codes
 * whose inner index is places in an order of our own, (8c, 8c+1, 8c+2, 8c+3) for the first and (8c+4 .. 8c+7) for the
 * second, which the activations follow: they are 16 consecutive bytes of a token. A code is exact in FP16, and so is
 * every product with it in float32. */
#ifndef PTQ_CODES_CUH
#define PTQ_CODES_CUH

#include "parts.cuh"

#include "../packed.h"

namespace ptq_cuda
{
/* 32-bit words that a lane reads of a plane of b bits: two rows, and two vectors where a word holds but 4 places. */
__device__ __host__ constexpr int plane_words(int b)
{
    return b == 8 ? 4 : 2;
}
/* Planes of a code, by packed.h: 8, 4, 2, 1 where w_bit has that bit. */
__device__ __host__ constexpr int lane_words(int w_bit)
{
    return (w_bit & 8 ? plane_words(8) : 0) + (w_bit & 4 ? plane_words(4) : 0) + (w_bit & 2 ? plane_words(2) : 0) +
           (w_bit & 1 ? plane_words(1) : 0);
}

/* The lane's words of a plane that begins at `plane`: row r's in word[0] (and [1]), row r + 8's behind them. */
template <int B> __device__ __forceinline__ void load_plane(uint32_t *word, const uint32_t *plane, int r, int c)
{
    int vectors = B == 8 ? 2 : 1, first = c * B / 4; /* of the plane's B vectors, those with places 8 c .. 8 c + 7 */
    for (int row = 0; row < 2; row++)
        for (int v = 0; v < vectors; v++) word[row * vectors + v] = plane[(first + v) * PTQ_PACK_ROWS + row * 8 + r];
}

template <int W_BIT> __device__ __forceinline__ void load_step(uint32_t *word, const uint32_t *step, int r, int c)
{
    if (W_BIT & 8) load_plane<8>(word, step, r, c), word += plane_words(8), step += 8 * PTQ_PACK_ROWS;
    if (W_BIT & 4) load_plane<4>(word, step, r, c), word += plane_words(4), step += 4 * PTQ_PACK_ROWS;
    if (W_BIT & 2) load_plane<2>(word, step, r, c), word += plane_words(2), step += 2 * PTQ_PACK_ROWS;
    if (W_BIT & 1) load_plane<1>(word, step, r, c);
}

/* Pair j (places 8 c + 2 j, + 1) of a plane of B bits in the low bits of each half, for one row. */
template <int B> __device__ __forceinline__ uint32_t plane_pair(const uint32_t *word, int row, int c, int j)
{
    const uint32_t mask = ((1u << B) - 1) * 0x00010001u;
    if (B == 8) return word[row * 2 + j / 2] >> j % 2 * 8 & mask;
    if (B == 4) return word[row] >> j * 4 & mask;
    int pair = c * 4 + j; /* of the step's 16 */
    if (B == 2) return word[row] >> pair % 8 * 2 & mask;
    return word[row] >> (pair % 8 / 2 * 4 + pair / 8 * 2 + pair % 2) & mask;
}

/* 1024 + the codes of pair j of row r (row 0) or r + 8 (row 1) as two FP16 values, which have the code in their lowest
 * bits (Kim et al., arXiv:2211.10017). */
template <int W_BIT> __device__ __forceinline__ ptq_half2 code_1024(const uint32_t *word, int row, int c, int j)
{
    uint32_t code = 0;
    int shift = 0;
    if (W_BIT & 8) code |= plane_pair<8>(word, row, c, j) << shift, word += plane_words(8), shift += 8;
    if (W_BIT & 4) code |= plane_pair<4>(word, row, c, j) << shift, word += plane_words(4), shift += 4;
    if (W_BIT & 2) code |= plane_pair<2>(word, row, c, j) << shift, word += plane_words(2), shift += 2;
    if (W_BIT & 1) code |= plane_pair<1>(word, row, c, j) << shift;
    return ptq_half2{code | 0x64006400u};
}
/* The codes alone. */
template <int W_BIT> __device__ __forceinline__ uint32_t code_pair(const uint32_t *word, int row, int c, int j)
{
    return ptq_half2_sub(code_1024<W_BIT>(word, row, c, j), ptq_half2{0x64006400u}).bits;
}

/* One code of a step, looked up bit by bit: for the plain kernel. */
__device__ static inline int plain_code(const uint32_t *step, int w_bit, int row, int in_step)
{
    int code = 0, shift = 0, pair = in_step / 2, f = pair % 8;
    for (int b = 8; b; b /= 2) {
        if (!(w_bit & b)) continue;
        int fields = 16 / b, bit = b == 1 ? 4 * (f / 2) + 2 * (pair / 8) + f % 2 : pair % fields * b;
        uint32_t word = step[pair / fields * PTQ_PACK_ROWS + row] >> (in_step % 2 * 16 + bit);
        code |= (int)(word & ((1u << b) - 1)) << shift;
        step += b * PTQ_PACK_ROWS;
        shift += b;
    }
    return code;
}

/* Scale and zero of a row of a tile in a group. */
__device__ __forceinline__ float packed_scale(const struct ptq_packed *w, int64_t tile, int64_t group, int row)
{
    int64_t at = (tile * w->n_groups + group) * PTQ_PACK_ROWS + row;
    return w->scale ? w->scale[at] : ptq_half_to_float(w->scale16[at]);
}
__device__ __forceinline__ float packed_zero(const struct ptq_packed *w, int64_t tile, int64_t group, int row)
{
    if (!w->zero) return (float)(1 << (w->grid.w_bit - 1));
    const uint8_t *zero = w->zero + (tile * w->n_groups + group) * w->zero_bytes;
    if (w->zero_bytes == PTQ_PACK_ROWS) return zero[row];
    return (float)(zero[row % 8] >> (row < 8 ? 0 : 4) & 15);
}
} // namespace ptq_cuda

#endif
