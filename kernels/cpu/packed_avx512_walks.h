/* Inside the AVX-512 kernels of the packed linear: the walks over tokens and widths, for activations of 16 and of 8
 * bits. Included once a file, behind unpack_width, multiply_block(tokens, tiles, ..) and few_width, which take these as
 * constants. Before it: CODE, the type of a panel's codes; PANEL, the panel's. */
#ifndef PTQ_PACKED_AVX512_WALKS_H
#define PTQ_PACKED_AVX512_WALKS_H

#include "packed_avx512.h"

AVX512 static void multiply(float *t, const PANEL *panel, int64_t tokens)
{
    int64_t i = 0;
    if (panel->tiles == 2) {
        for (; i + 12 <= tokens; i += 12) multiply_block(12, 2, t, panel, i);
        for (; i + 4 <= tokens; i += 4) multiply_block(4, 2, t, panel, i);
        for (; i < tokens; i++) multiply_block(1, 2, t, panel, i);
        return;
    }
    for (; i + 12 <= tokens; i += 12) multiply_block(12, 1, t, panel, i);
    for (; i < tokens; i++) multiply_block(1, 1, t, panel, i);
}

#define ISA AVX512
#define FEW 4
#include "packed_widths.h"

#endif
