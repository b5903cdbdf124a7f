/* ptq run --fresh: all cells anew, into a file that stays what it is until they are done (core/results_fresh.c). */
#ifndef PTQ_FRESH_H
#define PTQ_FRESH_H

#include "launch.h"

/* --fresh, before anything is looked for: nothing counts as finished. What stays until the end keeps its list of
 * failures until then; the tasks' folder is of no one any more. */
enum ptq_status ptq_fresh_begin(struct ptq_launch *l, struct ptq_error *err);

/* Without --fresh: what it began on the file and did not end is gone on with, and a line says so. PTQ_EINPUT where the
 * plan lacks a cell that is awaited, since the file would never be replaced. */
enum ptq_status ptq_fresh_go_on(struct ptq_launch *l, struct ptq_error *err);

#endif
