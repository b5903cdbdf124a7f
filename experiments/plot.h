/* `ptq plot`: perplexity against the fraction of channels kept in FP16. */
#ifndef PTQ_PLOT_H
#define PTQ_PLOT_H

#include "results.h"
#include "status.h"

/* For each model, width and group size with salient cells: NAME.svg, NAME.png and NAME.csv (the numbers drawn) in
 * folder, which is made where it is missing; NAME is made of the model's name and settings. Every file appears whole or
 * not at all. *n_figures may be NULL. PTQ_EINPUT where there is nothing to draw, or where protocols are mixed. */
enum ptq_status ptq_plot(const struct ptq_cell *cells, int n, const char *folder, int *n_figures,
                         struct ptq_error *err);

#endif
