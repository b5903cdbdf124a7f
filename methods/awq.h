/* What AWQ is asked for and what it chose, by block; and AWQ of one block for callers who want to see that. */
#ifndef PTQ_AWQ_H
#define PTQ_AWQ_H

#include "method.h"

enum { PTQ_AWQ_CLIPS = 10 };

enum ptq_awq_loss { PTQ_AWQ_MODULE, PTQ_AWQ_GRAM };
enum ptq_awq_formula { PTQ_AWQ_2023_11, PTQ_AWQ_2023_05, PTQ_AWQ_AUTOAWQ };

/* The SPEC's switches. */
struct ptq_awq_options {
    enum ptq_awq_loss loss;
    enum ptq_awq_formula formula;
    int clip, vo_average;
    int n_ratio;    /* ratios i / n_ratio, i = 0 .. n_ratio - 1 */
    int every_loss; /* 1: no search stops early, so that every loss is whole. The choice is the same */
    /* [PTQ_N_INPUT]: scales to apply instead of those that the search found, NULL for none; or NULL */
    const float *const *given;
};

/* The scale search of one group. */
struct ptq_awq_choice {
    int searched; /* 0: the group is left as it is (v -> o where the shapes differ) */
    int64_t k;    /* input channels */
    int ratio;    /* the best i */
    double *loss; /* [n_ratio] mean squared error at each i; of a search that stopped early, a bound from below */
    float *scale; /* [K] the scale chosen */
};

/* The clip search of one linear. */
struct ptq_awq_clip {
    int64_t n, n_groups;
    float *max;                /* [N][n_groups] the bound chosen; NULL: not clipped */
    int64_t at[PTQ_AWQ_CLIPS]; /* groups whose bound is maxabs (1 - i / 20) */
};

struct ptq_awq_report {
    struct ptq_awq_choice choice[PTQ_N_INPUT];
    struct ptq_awq_clip clip[PTQ_N_ROLE];
};

/* Parameters of the scales, for every method that has them. */
#define PTQ_AWQ_SCALE_PARAMS                                                                                           \
    {.name = "formula",                                                                                                \
     .words = "2023-11|2023-05|autoawq",                                                                               \
     .max = 2,                                                                                                         \
     .doc = "the scale without, with, or with AutoAWQ's weight term"},                                                 \
        {.name = "vo_average", .max = 1, .doc = "1: v -> o is scaled also where heads share a v"},                     \
    {                                                                                                                  \
        .name = "grid", .fallback = 20, .min = 1, .max = 1000, .doc = "ratios tried: i / grid; 1: no scales"           \
    }

/* loss is gram where the method has no such parameter. */
struct ptq_awq_options ptq_awq_options(const struct ptq_spec *spec);

/* The scales of a block: all groups searched on task->moments, then applied to block, whose function is unchanged;
 * task->stats rescaled. With loss=module task->calib is moved to the unscaled block's output; with loss=gram it is not
 * looked at. report is filled in arena. */
enum ptq_status ptq_awq_transform(struct ptq_block_task *task, const struct ptq_awq_options *options,
                                  struct ptq_arena *arena, struct ptq_awq_report *report, struct ptq_error *err);

/* The bounds of a linear, none for those that the family does not clip, found on the calibration rows as the scaled
 * block has them. */
void ptq_awq_clip_linear(struct ptq_block_task *task, int role, const struct ptq_awq_choice *choice,
                         struct ptq_arena *arena, struct ptq_awq_clip *clip);

/* x[rows][K] with column k divided by s[k], in arena. */
float *ptq_awq_divided_copy(struct ptq_arena *arena, const float *x, int64_t rows, int64_t k, const float *s);

/* alpha and clip of a linear's report. */
void ptq_awq_describe(const struct ptq_awq_options *options, const struct ptq_awq_choice *choice,
                      const struct ptq_awq_clip *clip, struct ptq_linear_report *report);

/* The whole method. */
enum ptq_status ptq_awq_block(struct ptq_block_task *task, const struct ptq_awq_options *options,
                              struct ptq_arena *arena, struct ptq_awq_report *report, struct ptq_error *err);

#endif
