/* Inside the pipeline: what a cell's results keep of the calibration statistics. */
#ifndef PTQ_INPUTS_H
#define PTQ_INPUTS_H

#include "results.h"
#include "stats.h"

/* Fills cell->input from the means of mean |x|, one report an input of a block, in the model's order. Memory from
 * arena. */
void ptq_inputs_report(struct ptq_arena *arena, const struct ptq_model_stats *stats, struct ptq_cell *cell);

#endif
