/* What calibration saw at the inputs of a model's linears. Statistics hang on the input, not on the linear: q, k and v
 * read one input and share one entry. */
#ifndef PTQ_STATS_H
#define PTQ_STATS_H

#include <stdint.h>

/* Of one input of one block. */
struct ptq_stats {
    int64_t k;      /* channels */
    int64_t tokens; /* rows seen */
    float *absmean; /* [K] mean |x_k| over all rows */
    float *sample;  /* [n_sample][K] rows taken at even distances over all windows */
    int64_t n_sample;
};

#endif
