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

/* How near to a cell the line was measured, of its weights: its SPEC, but for the order; its method, width and group
 * size, by other switches; or neither. The text may be another. */
enum ptq_noise_of { PTQ_NOISE_ELSEWHERE, PTQ_NOISE_NEAR, PTQ_NOISE_OF_SPEC };
enum ptq_noise_of ptq_noise_concerns(struct ptq_arena *arena, const struct ptq_noise *line,
                                     const struct ptq_cell *cell);

#endif
