/* What swapping some linears alone costs (cells with only=): by block and role, the worst of them, and how far the
 * costs of single linears add up to those of several at once.
 *
 *   cost of nll  = mean nll of the cell - mean nll of FP16, on the same tokens
 *   cost of KL   = mean D(p_FP16 || p_cell)
 *   additivity   = cost of several swapped at once / sum of the costs of each of them alone */
#ifndef PTQ_ATTRIBUTION_H
#define PTQ_ATTRIBUTION_H

#include "report.h"
#include "sheet.h"

/* 1 where the cell swaps some linears alone. */
int ptq_is_swap(const struct ptq_cell *cell);

/* Prints sheets for each method and model that has such cells; nothing where there are none. */
void ptq_attribution_print(struct ptq_arena *arena, const struct ptq_report *report, enum ptq_table_format format,
                           FILE *out);

#endif
