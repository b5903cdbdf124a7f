/* The part of a cell that is finished while the rest is under way, kept on disk for block methods: a run that was
 * killed goes on at the block where it was.
 *
 *   FOLDER/block-NNNN.h5   a finished block: codes, norms, biases, activation scale, reports (sealed HDF5)
 *   FOLDER/next.x          head | x [windows * length][C] float32 | 64 hex digits, the SHA-256 of all before them:
 *                          the calibration windows at the input of block number head.position. Behind the last block
 *                          nothing is left to calibrate, and x is empty
 *
 * Every file appears whole, blocks before the next.x that counts them. Each holds the stamp, which is the SHA-256 of
 * the cell's id and of what computes (kernels, BLAS, version, commit, compiler): what other arithmetic left is not gone
 * on from. A part that cannot be used, or cannot be written, costs a line on stderr and never the run. */
#ifndef PTQ_PART_H
#define PTQ_PART_H

#include "forward.h"
#include "kept.h"
#include "results.h"

struct ptq_part;
struct ptq_spec;

/* For cell, of this spec, whose part, id, spec, kernels, blas, version, commit and compiler are set; *out is NULL where
 * cell->part is. Writes nothing yet. PTQ_EUSAGE where the environment's PTQ_CHECKPOINT_SECONDS is no number from 0 on.
 */
enum ptq_status ptq_part_open(struct ptq_arena *arena, const struct ptq_cell *cell, const struct ptq_spec *spec,
                              const struct ptq_model *model, struct ptq_part **out, struct ptq_error *err);

/* How many blocks need not be computed again; 0 where nothing usable is there. Where it is more, x of travel is that of
 * the first block behind them (what it was where none is behind), and *seconds is what they took. */
int64_t ptq_part_resume(struct ptq_part *part, struct ptq_forward *travel, double *seconds);

/* A block that ptq_part_resume counted; all of its values are looked at (part_check.h). *report [*n] in the block's
 * order of roles. Memory from arena. */
enum ptq_status ptq_part_get(const struct ptq_part *part, int64_t index, struct ptq_arena *arena, struct ptq_kept *out,
                             struct ptq_linear_report **report, int *n, struct ptq_error *err);

/* Block number index is finished. */
void ptq_part_put(struct ptq_part *part, int64_t index, const struct ptq_kept *kept,
                  const struct ptq_linear_report *report, int n);
/* Blocks before position are put, and travel is at its input: written where PTQ_CHECKPOINT_SECONDS (60) have passed
 * since the last time, where it is the last position, or at once where now is set. seconds: what they took. */
void ptq_part_move(struct ptq_part *part, int64_t position, struct ptq_forward *travel, double seconds, int now);

#endif
