/* What calibration saw at the inputs of a model's linears. Statistics hang on the input, not on the linear: q, k and v
 * read one input and share one entry. One pass over the calibration windows in full precision serves every cell, of any
 * width or group size.
 *
 * Means are small and held for the whole model. Moments (a Gram matrix an input) are as large as the weights: they are
 * kept in one file a block and read block by block. */
#ifndef PTQ_STATS_H
#define PTQ_STATS_H

#include "family.h"
#include "forward.h"

#include <stdint.h>

/* PTQ_STATS_ROWS: llm-awq's clip search looks at every floor(rows / 512)-th calibration row. */
enum { PTQ_STATS_SAMPLE = 64, PTQ_STATS_ROWS = 512 };

/* Means, of one input of one block. */
struct ptq_stats {
    int64_t k;      /* channels */
    int64_t rows;   /* tokens seen */
    float *absmean; /* [K] mean |x_k| over all rows, summed as torch sums (stats.c) */
    float *sample;  /* [n_sample][K] rows at even distances over all windows */
    int64_t n_sample;
};

/* Moments, of one input of one block. */
struct ptq_moments {
    int64_t k;
    float *gram;  /* [K][K] X^T X over all rows; the upper triangle, zeros below. NULL: it is there */
    float *there; /* on the device of pass, [K][K], below the diagonal anything; pass has the block's weights, too */
    struct ptq_forward *pass;
    float *row; /* [n_row][K] every max(1, rows / 512)-th row */
    int64_t n_row;
};

/* Of a model. */
struct ptq_model_stats {
    int64_t blocks;
    struct ptq_stats (*input)[PTQ_N_INPUT]; /* [blocks] */
    int has_moments;
    struct ptq_moments (*moments)[PTQ_N_INPUT]; /* [blocks], or NULL where they are in files */
    const char *folder;                         /* of the block files */
    struct ptq_stats_travel *travel;            /* NULL, or the pass that measures block after block; see below */
    int from_cache;
};

/* Runs the windows through the model in full precision. with_moments: they are gathered too and held in memory. Memory
 * from arena. */
enum ptq_status ptq_stats_gather(struct ptq_arena *arena, const struct ptq_model *model,
                                 const struct ptq_windows *windows, int with_moments, struct ptq_model_stats *out,
                                 struct ptq_error *err);

/* The same, from FOLDER/KEY.h5 and FOLDER/KEY.blocks where they are there and whole, else gathered and kept there. A
 * cache that cannot be written is no error: then moments are held in memory. The key is made of the model's identity
 * (SHA-256 of weights and config), the windows' SHA-256 and of what computes. folder NULL: no cache. */
enum ptq_status ptq_stats_get(struct ptq_arena *arena, const struct ptq_model *model, const char *identity,
                              const struct ptq_windows *windows, int with_moments, const char *folder,
                              struct ptq_model_stats *out, struct ptq_error *err);

/* Means and moments measured on the model's device block by block, when they are asked for (ptq_stats_moments): Gram
 * matrices stay there and nothing is kept of them. input is filled block by block. Blocks are asked for in order; an
 * earlier one than the last begins anew. Memory from arena, that of the device is given back with it. */
void ptq_stats_travel(struct ptq_arena *arena, const struct ptq_model *model, const struct ptq_windows *windows,
                      struct ptq_model_stats *out);
/* Who has read a block's moments says so: the pass goes on with the next block while the host does other things. */
enum ptq_status ptq_stats_go_on(const struct ptq_model_stats *stats, struct ptq_error *err);

/* How many rows of a calibration of so many the moments hold. */
int64_t ptq_moments_rows(int64_t rows);

/* Rows [first, first + rows) of the calibration, x[rows][K], pass: those that belong to the sample are copied. Sample i
 * is row floor(i * s->rows / n_sample). */
void ptq_stats_sample(const struct ptq_stats *s, const float *x, int64_t first, int64_t rows);

/* 1 where all that ptq_stats_moments would read is still there. The folder may be emptied at any time, and a damaged
 * file is removed when it is met: then they are to be measured again. */
int ptq_stats_stand(const struct ptq_model_stats *stats);

/* A block's moments, read into arena where they are in a file. */
enum ptq_status ptq_stats_moments(const struct ptq_model_stats *stats, int64_t block, struct ptq_arena *arena,
                                  struct ptq_moments out[PTQ_N_INPUT], struct ptq_error *err);

/* One block by itself: f, at its input, moves through block, and means and moments of all its rows are filled. */
enum ptq_status ptq_stats_block(struct ptq_arena *arena, struct ptq_forward *f, const struct ptq_block *block,
                                int64_t index, struct ptq_stats means[PTQ_N_INPUT],
                                struct ptq_moments moments[PTQ_N_INPUT], struct ptq_error *err);

#endif
