/* What calibration saw at the inputs of a model's linears. Statistics hang on the input, not on the linear: q, k and v
 * read one input and share one entry. One pass over the calibration windows in full precision serves every cell. */
#ifndef PTQ_STATS_H
#define PTQ_STATS_H

#include "family.h"

#include <stdint.h>

struct ptq_model;
struct ptq_windows;

enum { PTQ_STATS_SAMPLE = 64 };

/* Of one input of one block. */
struct ptq_stats {
    int64_t k;      /* channels */
    int64_t rows;   /* tokens seen */
    float *absmean; /* [K] mean |x_k| over all rows */
    float *sample;  /* [n_sample][K] rows at even distances over all windows */
    int64_t n_sample;
};

/* Of a model. */
struct ptq_model_stats {
    int64_t blocks;
    struct ptq_stats (*input)[PTQ_N_INPUT]; /* [blocks] */
    int from_cache;
};

/* Runs the windows through the model in full precision. Memory from arena. */
enum ptq_status ptq_stats_gather(struct ptq_arena *arena, const struct ptq_model *model,
                                 const struct ptq_windows *windows, struct ptq_model_stats *out, struct ptq_error *err);

/* The same, from FOLDER/KEY.h5 where that is there and whole, else gathered and kept there (a cache that cannot be
 * written is no error). The key is made of the model's identity
 * (SHA-256 of weights and config), the windows' SHA-256 and of what computes. folder NULL: no
 * cache. */
enum ptq_status ptq_stats_get(struct ptq_arena *arena, const struct ptq_model *model, const char *identity,
                              const struct ptq_windows *windows, const char *folder, struct ptq_model_stats *out,
                              struct ptq_error *err);

#endif
