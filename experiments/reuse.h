/* Cells that other results files hold already: an experiment takes them over instead of running them again. */
#ifndef PTQ_REUSE_H
#define PTQ_REUSE_H

#include "plan.h"

/* In place of a number of cells: there is no file, or folder, to take any from. */
enum { PTQ_REUSE_NOT_THERE = -1 };

/* Writes (put: 1) the plan's missing cells that `from` holds to FILE.cells and marks them as done; *n: how many. from
 * is a results file, or a folder, of which every results file but FILE is looked at, by name. Cells are told by their
 * id, so they are what this run would compute, but for the machine and the commit, which stay those that they came
 * with. A from that is not there is PTQ_REUSE_NOT_THERE, and no failure; a file that is damaged is PTQ_EINPUT, in a
 * folder it is passed over, and a note says so; PTQ_EIO where the system does not give what is there. */
enum ptq_status ptq_reuse(struct ptq_plan *plan, const char *from, const char *file, int put, int *n,
                          struct ptq_error *err);

/* Before --fresh, which takes nothing of FILE and FILE.cells: PTQ_EUSAGE where from is one of them or in them, whatever
 * its name. */
enum ptq_status ptq_reuse_check(const char *from, const char *file, struct ptq_error *err);

#endif
