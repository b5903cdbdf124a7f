/* `ptq plot`: every figure that results are good for. */
#ifndef PTQ_PLOT_H
#define PTQ_PLOT_H

#include "figure.h"
#include "results.h"
#include "status.h"

/* All figures of a report, model by model, in the order of PTQ_FIGURE_KINDS; no two have one name. */
void ptq_figures_find(struct ptq_arena *arena, const struct ptq_report *report, struct ptq_figures *out);
/* Draws them into folder, which is made where it is missing: numbers, SVG and, where asked for, PNG. */
enum ptq_status ptq_figures_draw(struct ptq_arena *arena, const struct ptq_figures *figures, const char *folder,
                                 int png, struct ptq_error *err);

/* Both: NAME.svg, NAME.png and NAME.csv (the numbers drawn) for each figure; NAME is made of the model's name and what
 * is shown, and of the text's where there are several protocols, whose cells are in figures of their own. Every file
 * appears whole or not at all. *n_figures may be NULL. PTQ_EINPUT where there is nothing to draw. */
enum ptq_status ptq_plot(const struct ptq_cell *cells, int n, const char *folder, int *n_figures,
                         struct ptq_error *err);

#endif
