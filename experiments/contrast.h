/* One number made of several perplexities that were measured on the same tokens, with its interval.
 *
 * A group is what stands for one thing: a cell, or its replicates (other calibration draws). Its nll is the mean over
 * its cells. A replicate of the bootstrap draws units of tokens, the same for all groups, and the very ones that the
 * tables' intervals come from (bootstrap.h). Where a group is of several draws the interval is Student's, of the
 * tokens' and the draws' variances together, as the tables have it (replicates.h): so one comparison has one interval.
 */
#ifndef PTQ_CONTRAST_H
#define PTQ_CONTRAST_H

#include "bootstrap.h"

struct ptq_group {
    const struct ptq_cell *const *cell;
    int n;
};

/* The number, of each group's mean nll. */
typedef double ptq_statistic(const double *nll, const void *context);

/* *interval is NaN where there are fewer than PTQ_BOOTSTRAP_LEAST units. Groups that did not score the same tokens are
 * PTQ_EINPUT, and the sentence names two cells. */
enum ptq_status ptq_contrast(const struct ptq_group *group, int n_groups, const struct ptq_bootstrap *how,
                             ptq_statistic *statistic, const void *context, double *value,
                             struct ptq_interval *interval, struct ptq_error *err);

#endif
