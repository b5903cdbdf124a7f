/* `ptq inspect` of a results file: what was run, from what, where, and how each linear fared. */
#ifndef PTQ_INSPECT_RESULTS_H
#define PTQ_INSPECT_RESULTS_H

#include "status.h"

#include <stdio.h>

/* Prints to out: for people, or as one JSON object {path, format, schema, experiment, experiment_yaml, cells: [{id,
 * each scalar by the names of PTQ_CELL_FIELDS and those of PTQ_PEAK_FIELDS that are known, linears: [{name, each of
 * PTQ_LINEAR_FIELDS}]}]}, where numbers that are not finite are null and nll is left out. A cell of `scale` has deltas,
 * too: {groups, salient_groups, delta_changed, delta_ratio, delta_over_s}, means of those columns weighted by groups.
 * The finished cells of a run that is under way are part of it. */
enum ptq_status ptq_inspect_results(const char *path, int json, FILE *out, struct ptq_error *err);

#endif
