/* Intervals for perplexities that were measured on the same tokens, by the paired bootstrap.
 *
 *   unit       = up to `block` scored tokens that follow each other in one window
 *   replicate  = as many units as there are, drawn with replacement; the same draw for every cell of a call
 *   ppl*       = exp(sum of nll over the drawn units / their number of tokens)
 *   interval   = the (1 - level) / 2 and (1 + level) / 2 quantiles of ppl*, and of ppl* - ppl*(reference)
 *
 * A token is no unit, since the nll of neighbours depend on each other: of words in a sentence at once, of an article's
 * subject over hundreds of tokens. A window is no unit either: the paper's protocol gives some 140 of them, a quick run
 * eight. Measured on SmolLM2-135M at 3 bits, 4 windows of wikitext-2: against units of single tokens the interval of
 * RTN's difference is 1.4 times as wide with 64 tokens, 2.0 with 256, 2.4 with 512 (16 units, hardly a sample). So 256:
 * most of the dependence is inside a unit, and eight windows still make 64 of them. What goes on beyond (four articles
 * are not all articles) is not in the intervals: they say how far the numbers would move on another text of the same
 * kind and length, and are rather too short than too long; not what another calibration text or another seed would
 * change.
 */
#ifndef PTQ_BOOTSTRAP_H
#define PTQ_BOOTSTRAP_H

#include "results.h"
#include "rng.h"
#include "status.h"

#include <stdint.h>

struct ptq_bootstrap {
    int64_t block;      /* tokens */
    int64_t replicates; /* B */
    uint64_t seed;
    double level; /* 0.95 */
};

extern const struct ptq_bootstrap ptq_bootstrap_default; /* 256 tokens, 10000, seed 0, 0.95 */

enum { PTQ_BOOTSTRAP_LEAST = 20 }; /* with fewer units there are no intervals */

struct ptq_interval {
    double low, high; /* NaN where there is none */
};

struct ptq_estimate {
    double ppl;                   /* exp(mean nll) of the tokens as they are; may be infinite */
    struct ptq_interval interval; /* of ppl */
    double difference;            /* ppl - ppl of the reference; NaN without one */
    struct ptq_interval difference_interval;
    double error, difference_error; /* standard deviations of ppl* and of ppl* - ppl*(reference) */
    /* Two-sided: twice the share of replicates on the other side of no difference (or on it), one replicate added to
     * both counts, so that none is 0; 1 where the cells are the same. NaN without a reference or intervals. */
    double p;
    int64_t units; /* that were drawn from; 0 where there are no intervals */
};

/* The replicates' draws, the same wherever they are used (this bootstrap, contrast.h), so that one comparison has one
 * interval: chunks of PTQ_BOOTSTRAP_CHUNK replicates have a stream each. Units are indices 0..n_units. */
enum { PTQ_BOOTSTRAP_CHUNK = 100 };
struct ptq_rng ptq_bootstrap_stream(uint64_t seed, int64_t chunk);
/* Where the i-th unit of a replicate comes from; word is kept from one i to the next. */
int64_t ptq_bootstrap_unit(struct ptq_rng *rng, uint64_t *word, int64_t i, int64_t n_units);
/* Standard deviation of replicates. */
double ptq_bootstrap_deviation(const double *value, int64_t n);

/* Tokens of a cell's units: block, or all that a window scores where those are fewer. */
int64_t ptq_bootstrap_unit_tokens(const struct ptq_bootstrap *how, const struct ptq_cell *cell);

/* Units of a cell: below PTQ_BOOTSTRAP_LEAST there are no intervals. */
int64_t ptq_bootstrap_units(const struct ptq_bootstrap *how, const struct ptq_cell *cell);

/* out[n], one for each cell. reference: index of the cell that differences are taken to, or -1. The cells must have
 * scored the same tokens in the same windows, else PTQ_EINPUT names the two that did not. Same result for any number
 * of threads. */
enum ptq_status ptq_bootstrap(const struct ptq_cell *const *cells, int n, int reference,
                              const struct ptq_bootstrap *how, struct ptq_estimate *out, struct ptq_error *err);

#endif
