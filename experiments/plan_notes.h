/* What no table of a results file will show, and what it will show besides, said before the hours are spent. */
#ifndef PTQ_PLAN_NOTES_H
#define PTQ_PLAN_NOTES_H

#include "plan.h"

#include <stdio.h>

/* A line for each model or text of the experiment that is another one by a second name. A line for cells of the plan,
 * or of `file` beside it, that were measured by different protocols where the layout does not take texts apart; else
 * one where `file` holds cells that the experiment does not have. file: NULL where it is not looked at; one that is
 * missing holds none. Fails as ptq_results_ids does. */
enum ptq_status ptq_plan_notes(const struct ptq_plan *plan, const struct ptq_experiment *experiment, const char *file,
                               FILE *out, struct ptq_error *err);

#endif
