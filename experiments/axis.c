#include "axis.h"

#include <math.h>

static const char *add_tick(struct ptq_arena *arena, const char *ticks, double tick)
{
    return ptq_format(arena, "%s%s%.6g", ticks, *ticks ? ", " : "", tick);
}

/* The first n_steps of 1, 2, 5, 1.5, 3, 7, times powers of ten; *n: how many are in low..high. */
static const char *log_ticks(struct ptq_arena *arena, double low, double high, int n_steps, int *n)
{
    static const double steps[] = {1, 2, 5, 1.5, 3, 7};
    const char *ticks = "";
    *n = 0;
    for (int e = -12; e < 300; e++)
        for (int s = 0; s < n_steps; s++) {
            double tick = steps[s] * pow(10, e);
            if (tick < low || tick > high) continue;
            ticks = add_tick(arena, ticks, tick);
            ++*n;
        }
    return ticks;
}

/* Multiples of the smallest 1, 2, 5 or 10 times a power of ten of which there are at most so many. */
static const char *even_ticks(struct ptq_arena *arena, double low, double high, int most)
{
    static const double factor[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10((high - low) / most))), step = power;
    for (int s = 0; s < 4 && floor(high / step) - ceil(low / step) >= most; s++) step = power * factor[s];
    const char *ticks = "";
    for (double k = ceil(low / step); k <= floor(high / step); k++) ticks = add_tick(arena, ticks, k * step);
    return ticks;
}

struct ptq_axis ptq_axis_make(struct ptq_arena *arena, double low, double high, int most_ticks)
{
    struct ptq_axis axis = {.is_log = low > 0 && high > 4 * low, .ticks = ""};
    double margin = axis.is_log ? 0 : 0.08 * (high - low + 0.01 * high);
    axis.low = axis.is_log ? low / 1.15 : fmax(0, low - margin);
    axis.high = axis.is_log ? high * 1.15 : high + margin;
    /* where all is 0: gnuplot draws nothing on an axis without length */
    if (axis.high - axis.low < 1e-30) axis.high = axis.low + 1;
    if (axis.is_log) {
        int n, n_steps = axis.high < 30 * axis.low ? 6 : axis.high < 1000 * axis.low ? 3 : 1; /* a power of ten */
        axis.ticks = log_ticks(arena, axis.low, axis.high, n_steps, &n);
        for (; most_ticks && n > most_ticks && n_steps > 1; n_steps /= 2)
            axis.ticks = log_ticks(arena, axis.low, axis.high, n_steps / 2, &n);
    } else if (most_ticks) {
        axis.ticks = even_ticks(arena, axis.low, axis.high, most_ticks);
    }
    return axis;
}
