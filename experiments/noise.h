/* The noise floor that was measured beforehand (noise.tsv): how far a method's perplexity moves with the order in which
 * the same calibration windows are summed. */
#ifndef PTQ_NOISE_H
#define PTQ_NOISE_H

#include "method.h"
#include "results.h"
#include "status.h"

/* One line of noise.tsv: the smallest and largest perplexity over the orders. */
struct ptq_noise {
    const char *model_sha256, *spec, *text; /* spec without order=; text: the end of its path */
    const struct ptq_method *method;
    int64_t w_bit, group_size;
    int64_t orders;
    double lowest, highest;
};

struct ptq_noise_floor {
    const struct ptq_noise *line;
    int n;
};

/* Reads path, or noise.tsv at home (home.h) where path is NULL. Memory from arena. A line that is not right is
 * PTQ_EINPUT with its number. */
enum ptq_status ptq_noise_read(struct ptq_arena *arena, const char *path, struct ptq_noise_floor *out,
                               struct ptq_error *err);

/* Whether the line was measured of these weights by the same method, width and group size; its other switches and its
 * text may be others. */
int ptq_noise_concerns(const struct ptq_noise *line, const struct ptq_cell *cell);

#endif
