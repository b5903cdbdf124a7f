/* The range of an axis and its ticks. */
#ifndef PTQ_AXIS_H
#define PTQ_AXIS_H

#include "arena.h"

struct ptq_axis {
    double low, high;
    int is_log;        /* where the values span more than a factor of 4 */
    const char *ticks; /* "1, 2, 5" for `set xtics (...)`; "" leaves them to gnuplot */
};

/* For values of low..high. most_ticks: as many as there is room for; 0: an axis that is long enough for all, whose even
 * ticks gnuplot chooses. In arena. */
struct ptq_axis ptq_axis_make(struct ptq_arena *arena, double low, double high, int most_ticks);

#endif
