#include "quantile.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void ptq_sort(double *value, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isnan(value[i])) value[i] = INFINITY;
    qsort(value, (size_t)n, sizeof *value, by_value);
}

double ptq_quantile(const double *sorted, int64_t n, double p)
{
    double at = p * (double)(n - 1);
    int64_t below = (int64_t)at;
    double low = sorted[below], high = sorted[below + 1 < n ? below + 1 : below];
    return low == high ? low : low + (at - (double)below) * (high - low);
}
