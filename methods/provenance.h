/* Where a number was made: host, processor, compiler, libraries, commit. */
#ifndef PTQ_PROVENANCE_H
#define PTQ_PROVENANCE_H

#include "results.h"

/* The commit, and behind the + of a changed tree what tells builds of it apart: the first digits of the SHA-256 of the
 * program that runs, where that can be read. In arena. */
const char *ptq_build_commit(struct ptq_arena *arena, const char *commit);

/* Fills version, commit, compiler, host, cpu, kernels, blas, threads and started. Texts in arena. */
void ptq_provenance(struct ptq_arena *arena, struct ptq_cell *cell);

#endif
