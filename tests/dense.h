/* Small dense matrices in float64, for tests that compute a definition. */
#ifndef PTQ_TEST_DENSE_H
#define PTQ_TEST_DENSE_H

#include <stdint.h>

/* The inverse of a symmetric positive definite matrix, by Gauss and Jordan, in place. */
static inline void invert(double *a, int64_t k)
{
    for (int64_t i = 0; i < k; i++) {
        double pivot = a[i * k + i];
        a[i * k + i] = 1;
        for (int64_t j = 0; j < k; j++) a[i * k + j] /= pivot;
        for (int64_t r = 0; r < k; r++) {
            if (r == i) continue;
            double factor = a[r * k + i];
            a[r * k + i] = 0;
            for (int64_t j = 0; j < k; j++) a[r * k + j] -= factor * a[i * k + j];
        }
    }
}

#endif
