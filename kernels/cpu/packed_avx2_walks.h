/* Inside the AVX2 kernels of the packed linear: the walks over chunks, tokens and widths where tokens are few, for
 * activations of 16 and of 8 bits. Included once a file, behind unpack_width and few_chunk(w_bit, tokens, .., h), which
 * takes 8 rows, the low or the high ones of a tile. Before it: CODE, the type of a panel's codes. */
#ifndef PTQ_PACKED_AVX2_WALKS_H
#define PTQ_PACKED_AVX2_WALKS_H

#include "packed_avx2.h"

INLINE void few_width(int w_bit, int tokens, float *t, const struct ptq_acts *a, const struct ptq_packed *w,
                      int64_t tile, int64_t first)
{
    __m256 low[PTQ_FEW_TOKENS], high[PTQ_FEW_TOKENS];
    for (int j = 0; j < tokens; j++) low[j] = high[j] = _mm256_setzero_ps();
    for (struct ptq_chunk c = {0}; ptq_next_chunk(w, &c);) {
        few_chunk(w_bit, tokens, low, a, w, tile, first, &c, 0);
        few_chunk(w_bit, tokens, high, a, w, tile, first, &c, 1);
    }
    for (int j = 0; j < tokens; j++) {
        _mm256_storeu_ps(t + j * PTQ_PANEL_ROWS, low[j]);
        _mm256_storeu_ps(t + j * PTQ_PANEL_ROWS + 8, high[j]);
    }
}

/* With four tokens sums leave the registers. */
#define ISA AVX2
#define FEW 2
#include "packed_widths.h"

#endif
