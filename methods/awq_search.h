/* AWQ's scale search for one group of linears:
 *
 *   s(r) = clamp(mean|x|^r, 1e-4) / sqrt(max s min s)                          formula=2023-11
 *   s(r) = clamp(mean|x|^r / mean_n(|w_n| / max|w_n,group|)^(1 - r), 1e-4) / sqrt(..)   formula=2023-05
 *   s(r) = clamp(mean|x|^r / (mean_n(..)^(1 - r) + 1e-4), 1e-4) / sqrt(..)     formula=autoawq, its duo_scaling
 *   r*   = the first argmin over r = i / 20, i = 0 .. 19, of the mean squared error of the module with Q(W s) / s
 *
 * Sources: llm-awq auto_scale.py, _search_module_scale and get_weight_scale (before and after commit 02c1dd6); equation
 * 4 of arXiv:2306.00978. r = 1 is never tried there, so neither here.
 *
 * The error of a linear by itself is tr(dW H dW^T) / (rows N) with dW = Q(W s) / s - W and H = X^T X: what comparing
 * outputs token by token gives, without the tokens. loss=gram takes it for every group, summed over its linears;
 * loss=module, as llm-awq, compares what the attention or the MLP gives for q, k, v and for gate, up. Errors are sums
 * of squares, so a trial whose sum so far is beyond the best is left: it cannot be chosen. */
#ifndef PTQ_AWQ_SEARCH_H
#define PTQ_AWQ_SEARCH_H

#include "awq.h"
#include "awq_groups.h"

/* Searches the group of `input` of task's block, whose weights are not changed. x[rows][K] is its input for all
 * calibration rows; middle[rows][..] what goes into o (attention) or down (MLP) with the original weights: both are
 * read only where a module judges. task->stats and task->moments are those of the block. choice->loss and ->scale are
 * there; everything else is filled. */
enum ptq_status ptq_awq_search(struct ptq_block_task *task, const struct ptq_awq_options *options, enum ptq_input input,
                               const float *x, const float *middle, struct ptq_awq_choice *choice,
                               struct ptq_error *err);

#endif
