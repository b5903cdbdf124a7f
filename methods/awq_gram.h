/* tr(D H D^T), the squared error of outputs from the error D of weights and the Gram matrix H = X^T X. */
#ifndef PTQ_AWQ_GRAM_H
#define PTQ_AWQ_GRAM_H

#include "arena.h"

#include <stdint.h>

enum { PTQ_AWQ_PANEL = 128 };

/* H for that purpose. Since H is symmetric,
 *
 *   d H d^T = sum over panels p of columns of d_p . (2 d_before H_before,p + d_p H_p,p)
 *
 * so panel p holds the columns [0, end of p) of its rows of H, those before p doubled: half of a full product's work.
 */
struct ptq_awq_gram {
    int64_t k, n_panels;
    float **panel; /* panel[p] is [its columns][its last column + 1] */
};

/* From h[K][K], of which the upper triangle is read. */
struct ptq_awq_gram ptq_awq_gram_make(struct ptq_arena *arena, const float *h, int64_t k);
/* The sum over rows of d H d^T of d[rows][K]. scratch: rows * PTQ_AWQ_PANEL floats. */
double ptq_awq_gram_loss(const struct ptq_awq_gram *gram, const float *d, int64_t rows, float *scratch);

/* a . b in float64, in eight lanes. */
double ptq_awq_dot(const float *a, const float *b, int64_t n);

/* h[K][K] gets below its diagonal what is above. */
void ptq_awq_mirror(float *h, int64_t k);

#endif
