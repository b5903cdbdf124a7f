/* `ptq diff` of two results files: cell by cell. */
#ifndef PTQ_DIFF_H
#define PTQ_DIFF_H

#include "status.h"

#include <stdio.h>

/* Prints for each cell that both have: both perplexities, their difference, and the largest difference of a token's
 * nll, and, where the nll are not the same, the paired bootstrap's 95 % interval and p; then the cells that only one
 * has. Of these a checkpoint of codes, evaluated as it is, is compared with each cell of its width and groups that it
 * may be an export of; else two of the same tokens are, where each side has one. They are no pair, however near they
 * are: what was exported has its scales rounded, and the files say nothing of codes. Cells are the same where their ids
 * are, and else where SPEC, evaluated tokens and seed are (a run on another device, or from another calibration text;
 * what else differs is said), and the model is (ptq_same_model), its weights, or else its name. Of pairs whose models
 * are two, as when config.json was edited, a line says so. *equal: 1 where all cells are in both files, of the same
 * models, and every nll is the same bits. */
enum ptq_status ptq_diff_results(const char *a, const char *b, FILE *out, int *equal, struct ptq_error *err);

#endif
