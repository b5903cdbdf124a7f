/* The Gram matrix of activations. */
#ifndef PTQ_AWQ_GRAM_H
#define PTQ_AWQ_GRAM_H

#include <stdint.h>

/* gram[K][K] = x^T x of x[rows][K] in float32, symmetric to the bit, the same for any number of threads. */
void ptq_awq_gram(const float *x, int64_t rows, int64_t k, float *gram);

/* h[K][K] gets below its diagonal what is above. */
void ptq_awq_mirror(float *h, int64_t k);

#endif
