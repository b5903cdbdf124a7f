/* The one list of figures: a kind is `const struct ptq_figure_kind ptq_figure_WORD` in figure_WORD.c, and its word
 * here, in the order in which a report shows them. */
#ifndef PTQ_FIGURE_KINDS_H
#define PTQ_FIGURE_KINDS_H

#include "figure.h"

#define PTQ_FIGURE_KINDS(X)                                                                                            \
    X(rows) X(kept) X(bits) X(shift) X(groups) X(calib) X(error) X(channels) X(depth) X(alpha) X(cost)

#define X(word) extern const struct ptq_figure_kind ptq_figure_##word;
PTQ_FIGURE_KINDS(X)
#undef X

#endif
