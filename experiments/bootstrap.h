/* Intervals for perplexities that were measured on the same tokens, by the paired bootstrap.
 *
 *   unit       = up to `block` scored tokens that follow each other in one window
 *   replicate  = as many units as there are, drawn with replacement; the same draw for every cell of a call
 *   ppl*       = exp(sum of nll over the drawn units / their number of tokens)
 *   interval   = the (1 - level) / 2 and (1 + level) / 2 quantiles of ppl*, and of ppl* - ppl*(reference)
 *
 * A token is no unit, since the nll of neighbours depend on each other (a hard sentence is hard for some tens of
 * tokens), and intervals from single tokens are too short. A window is no unit either: the paper's protocol gives some
 * 140 of them, a quick run four. 64 tokens are two or three sentences; what is left of the dependence between
 * neighbouring units is small beside what is within them. The intervals say how far the numbers would move on another
 * text of the same kind and length; not what another calibration text or another seed would change. */
#ifndef PTQ_BOOTSTRAP_H
#define PTQ_BOOTSTRAP_H

#include "results.h"
#include "status.h"

#include <stdint.h>

struct ptq_bootstrap {
    int64_t block;      /* tokens */
    int64_t replicates; /* B */
    uint64_t seed;
    double level; /* 0.95 */
};

extern const struct ptq_bootstrap ptq_bootstrap_default; /* 64 tokens, 10000, seed 0, 0.95 */

enum { PTQ_BOOTSTRAP_LEAST = 20 }; /* with fewer units there are no intervals */

struct ptq_interval {
    double low, high; /* NaN where there is none */
};

struct ptq_estimate {
    double ppl;                   /* exp(mean nll) of the tokens as they are; may be infinite */
    struct ptq_interval interval; /* of ppl */
    double difference;            /* ppl - ppl of the reference; NaN without one */
    struct ptq_interval difference_interval;
};

/* out[n], one for each cell. reference: index of the cell that differences are taken to, or -1. The cells must have
 * scored the same tokens in the same windows, else PTQ_EINPUT names the two that did not. Same result for any number
 * of threads. */
enum ptq_status ptq_bootstrap(const struct ptq_cell *const *cells, int n, int reference,
                              const struct ptq_bootstrap *how, struct ptq_estimate *out, struct ptq_error *err);

#endif
