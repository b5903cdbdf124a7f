/* An experiment: a YAML file that names axes, and the cells that they make when crossed.
 *
 *   models: [a, b]                                       # every axis may be one value or a list
 *   methods:
 *     - fp16                                             # a method; crosses with nothing but models and texts
 *     - rtn                                              # crosses with w_bit and group_size
 *     - awq:w4,g128                                      # a SPEC; what it gives itself is not crossed
 *     - salient: {select: [weight, random], fraction: [0.01, 0.03]}   # lists of parameters, crossed
 *   w_bit: [3, 4]
 *
 *   exclude: [{methods: awq, w_bit: 4}]                  # these are dropped from the cross
 *   include: [{methods: rtn, w_bit: 8}]                  # and these stand beside it (entries.h)
 *
 * The first axis changes slowest, the methods fastest; a cell that comes twice is kept once, where it came first. The
 * keys and their defaults are the table of schema.c. */
#ifndef PTQ_EXPERIMENT_H
#define PTQ_EXPERIMENT_H

#include "arena.h"
#include "pipeline.h"
#include "status.h"

#include <stdio.h>

enum { PTQ_MAX_CELLS = 10000 };

struct ptq_experiment {
    const char *name;    /* the file's, without folder and .yaml */
    const char *title;   /* one line */
    const char *text;    /* the file as it is */
    const char *yaml;    /* the same, and a comment line for each --set */
    struct ptq_job *job; /* [n_jobs], spec canonical; its texts live as long as the arena */
    int n_jobs;          /* 1 to PTQ_MAX_CELLS */
    int by_text;         /* its layout takes texts apart, and so the protocols that belong to them */
};

/* Reads path, lays "KEY=VALUE" texts of --set over it and crosses the axes. Nothing of the models or texts is opened.
 * Fails with PTQ_EIO, with PTQ_EINPUT ("FILE:LINE: ..."), and with PTQ_EUSAGE for a --set of no known key. */
enum ptq_status ptq_experiment_read(struct ptq_arena *arena, const char *path, const char *const *sets, int n_sets,
                                    struct ptq_experiment *out, struct ptq_error *err);

/* One line for each FOLDER/NAME.yaml, by name: name, number of cells, title. A broken one has its error for a title,
 * and makes the whole fail with PTQ_EINPUT after all are listed. */
enum ptq_status ptq_experiments_list(const char *folder, FILE *out, struct ptq_error *err);

#endif
