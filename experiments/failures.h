/* Why cells failed: FILE.h5.failed.json beside a results file, of the last run that wrote it. A run without failures
 * removes it, so it never speaks of what has been mended. */
#ifndef PTQ_FAILURES_H
#define PTQ_FAILURES_H

#include "plan.h"

struct ptq_failure {
    const char *cell; /* as `ptq run` calls it: SPEC, and what else tells it from its neighbours */
    const char *model;
    const char *why; /* the error's sentence */
};

/* Writes the failed cells of a plan beside FILE, or removes what an earlier run wrote; plan NULL: no cell failed. */
enum ptq_status ptq_failures_write(const char *file, const struct ptq_plan *plan, struct ptq_error *err);
/* Those beside FILE; none is no error, a file that is no such list is PTQ_EINPUT. In arena. */
enum ptq_status ptq_failures_read(struct ptq_arena *arena, const char *file, struct ptq_failure **out, int *n,
                                  struct ptq_error *err);

#endif
