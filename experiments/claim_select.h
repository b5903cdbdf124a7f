/* Which cells a claim speaks of. */
#ifndef PTQ_CLAIM_SELECT_H
#define PTQ_CLAIM_SELECT_H

#include "claims.h"
#include "contrast.h"

/* The cells that agree with the selector (claims.h): replicates of one another. PTQ_EINPUT with a sentence that says
 * what to run where there is none, or in what they differ where they are no replicates. Memory from arena. */
enum ptq_status ptq_claim_select(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const char *selector,
                                 struct ptq_group *out, struct ptq_error *err);

#endif
