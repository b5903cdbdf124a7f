/* Sorted numbers and their quantiles. */
#ifndef PTQ_QUANTILE_H
#define PTQ_QUANTILE_H

#include <stdint.h>

/* Rising, in place. A value that is no number (infinite minus infinite) counts as infinite, so that there is an order.
 */
void ptq_sort(double *value, int64_t n);
/* The p-th part (0..1) of n >= 1 sorted values, between the two nearest: numpy's default. */
double ptq_quantile(const double *sorted, int64_t n, double p);

#endif
