/* The stages of a cell, in the order in which they begin, and what each took. */
#ifndef PTQ_STAGES_H
#define PTQ_STAGES_H

#include "results.h"

enum { PTQ_N_STAGES = 4 };

struct ptq_stage {
    const char *name, *key; /* as people read it, "quantise"; in JSON, "quantize" */
    double seconds;
    int64_t peak; /* bytes; 0 where it is not known (PTQ_PEAK_FIELDS) */
};

void ptq_stages_of(const struct ptq_cell *cell, struct ptq_stage out[PTQ_N_STAGES]);

/* The most seconds that any of cells[0..n) took for the statistics that the cell's method reads; 0 where all that are
 * of its calibration text had them from the cache, so that their seconds are in no cell; -1 where it reads none. */
double ptq_stages_statistics(const struct ptq_cell *cell, const struct ptq_cell *cells, int n);

/* "peak 412 MiB (load 180, quantise 398, evaluate 412)", of the stages whose peak is known. In arena. */
const char *ptq_stages_peaks(struct ptq_arena *arena, const struct ptq_cell *cell);

#endif
