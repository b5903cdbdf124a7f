/* How missing cells are shared out: how many at a time, with how many threads each, and how long they take so. */
#ifndef PTQ_SHARES_H
#define PTQ_SHARES_H

#include "run.h"

/* Whether the options give the cells to Slurm: a task of its does not, nor does what joins the results. */
int ptq_shares_in_slurm(const struct ptq_run_options *options);
/* Those of one machine share its cores; Slurm gives a task those that were asked for, and without --jobs it is taken to
 * have room for all. */
struct ptq_shares ptq_shares_of(const struct ptq_run_options *options, const struct ptq_plan *plan);
/* ", about 5 min by 3 tasks at once of 4 threads" in text[0..size), which it returns; "" where nobody knows. */
const char *ptq_time_left(const struct ptq_run_options *options, const struct ptq_plan *plan, char *text, size_t size);

#endif
