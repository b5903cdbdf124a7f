#include "student.h"

#include <math.h>

enum { MOST_STEPS = 500 };

/* The continued fraction of the incomplete beta function I_x(a, b), evaluated from the front (Lentz's way), for x below
 * (a + 1) / (a + b + 2), where it converges fast. The m-th pair of coefficients is
 *   m (b - m) x / ((a + 2m - 1)(a + 2m))   and   -(a + m)(a + b + m) x / ((a + 2m)(a + 2m + 1)) */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < MOST_STEPS; m++) {
        double before = f;
        for (int odd = 0; odd < 2; odd++) {
            double coefficient = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                                     : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + coefficient * d;
            c = 1 + coefficient / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            f *= c * d;
        }
        if (fabs(f - before) <= 1e-15 * fabs(f)) break;
    }
    return f;
}

static double incomplete_beta(double a, double b, double x)
{
    if (x <= 0 || x >= 1) return x > 0;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

/* P(|T| >= t) = I_{df / (df + t^2)}(df / 2, 1 / 2). */
double ptq_student_p(double t, double df)
{
    if (isinf(t)) return 0;
    return incomplete_beta(df / 2, 0.5, df / (df + t * t));
}

double ptq_student_t(double level, double df)
{
    double low = 0, high = 1;
    while (ptq_student_p(high, df) > 1 - level && high < 1e12) high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-13 * high; i++) {
        double middle = (low + high) / 2;
        if (ptq_student_p(middle, df) > 1 - level)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}
