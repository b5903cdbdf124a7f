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

/* "peak 412 MiB (load 180, quantise 398, evaluate 412)", of the stages whose peak is known. In arena. */
const char *ptq_stages_peaks(struct ptq_arena *arena, const struct ptq_cell *cell);

#endif
