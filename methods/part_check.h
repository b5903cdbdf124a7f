/* What a block that comes back from a file must be before it is used: HDF5's own care and the seal say nothing of its
 * values, since who forges a file can renew the seal. */
#ifndef PTQ_PART_CHECK_H
#define PTQ_PART_CHECK_H

#include "part.h"

/* The linear's values are such as a method writes: what indexes lies within the row, no column stands twice, codes fit
 * their width, all that is computed with is finite. q's sizes and grid are the cell's already. PTQ_EINPUT. */
enum ptq_status ptq_part_check_linear(const char *at, const struct ptq_qmat *q, const float *bias,
                                      struct ptq_arena *scratch, struct ptq_error *err);
/* Norms [width] and the activation scale [ff], where they are there. PTQ_EINPUT. */
enum ptq_status ptq_part_check_rest(const struct ptq_kept *kept, int64_t width, int64_t ff, struct ptq_error *err);
/* The reports are those of the block's linears, in their order. PTQ_EINPUT. */
enum ptq_status ptq_part_check_reports(const struct ptq_model *model, int64_t index,
                                       const struct ptq_linear_report *report, int n, struct ptq_error *err);

#endif
