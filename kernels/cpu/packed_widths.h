/* Inside the kernels of the packed linear: the widths that have a fast way, each compiled alone. Included once a file,
 * behind unpack_width(w_bit, code, ..) and few_width(w_bit, tokens, ..), which take these two as constants. Before it:
 * ISA, the attribute of the instruction set; CODE, the type of a panel's codes; FEW, as many tokens as few_width takes
 * before sums leave the registers, 2 or 4. */
#ifndef PTQ_PACKED_WIDTHS_H
#define PTQ_PACKED_WIDTHS_H

#include "packed_parts.h"

ISA static void unpack(CODE *code, const struct ptq_packed *w, int64_t tile, const struct ptq_chunk *c)
{
    if (w->grid.w_bit == 2) unpack_width(2, code, w, tile, c);
    if (w->grid.w_bit == 3) unpack_width(3, code, w, tile, c);
    if (w->grid.w_bit == 4) unpack_width(4, code, w, tile, c);
    if (w->grid.w_bit == 8) unpack_width(8, code, w, tile, c);
}

INLINE void few_tokens(int w_bit, float *t, const struct ptq_acts *a, const struct ptq_packed *w, int64_t tile,
                       int64_t first, int64_t tokens)
{
    for (; tokens >= FEW; tokens -= FEW, first += FEW, t += FEW * PTQ_PANEL_ROWS)
        few_width(w_bit, FEW, t, a, w, tile, first);
    if (FEW == 4 && tokens == 3) few_width(w_bit, 3, t, a, w, tile, first);
    if (FEW == 4 && tokens == 2) few_width(w_bit, 2, t, a, w, tile, first);
    if (tokens == 1) few_width(w_bit, 1, t, a, w, tile, first);
}

ISA static void few(float *t, const struct ptq_acts *a, const struct ptq_packed *w, int64_t tile, int64_t first,
                    int64_t tokens)
{
    if (w->grid.w_bit == 2) few_tokens(2, t, a, w, tile, first, tokens);
    if (w->grid.w_bit == 3) few_tokens(3, t, a, w, tile, first, tokens);
    if (w->grid.w_bit == 4) few_tokens(4, t, a, w, tile, first, tokens);
    if (w->grid.w_bit == 8) few_tokens(8, t, a, w, tile, first, tokens);
}

#endif
