/* Where a number was made: host, processor, compiler, libraries, commit. */
#ifndef PTQ_PROVENANCE_H
#define PTQ_PROVENANCE_H

#include "results.h"

/* Fills version, commit, compiler, host, cpu, kernels, blas, threads and started. Texts in arena. */
void ptq_provenance(struct ptq_arena *arena, struct ptq_cell *cell);

#endif
