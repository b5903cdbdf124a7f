/* `ptq inspect` of a results file: what was run, from what, where, and how each linear fared. */
#ifndef PTQ_INSPECT_RESULTS_H
#define PTQ_INSPECT_RESULTS_H

#include "status.h"

#include <stdio.h>

/* Prints to out: for people, or as one JSON object {path, format, schema, experiment, experiment_yaml, cells: [{id,
 * each scalar by the names of PTQ_CELL_FIELDS, linears: [{name, weight_error, output_error, saturated}]}]}, where
 * numbers that are not finite are null and nll is left out. The finished cells of a run that is under way are part of
 * it. */
enum ptq_status ptq_inspect_results(const char *path, int json, FILE *out, struct ptq_error *err);

#endif
