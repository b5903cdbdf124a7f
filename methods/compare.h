/* A cell on its way, compared with the full-precision model chunk by chunk (core/reference.h). */
#ifndef PTQ_COMPARE_H
#define PTQ_COMPARE_H

#include "forward.h"
#include "results.h"

struct ptq_comparison {
    struct ptq_reference *reference; /* NULL: nothing is compared */
    int quantizes;                   /* 0: the cell is what others are compared with */
    struct ptq_scores all;           /* of the cell's tokens; kl and the rest NULL where nothing is compared */
    double seconds;                  /* of the full-precision pass, where this cell had to make it */
};

/* Room for what is measured of cell's tokens, in arena; nll and kl become the cell's own. */
void ptq_compare_begin(struct ptq_cell *cell, int quantizes, struct ptq_arena *arena, struct ptq_comparison *out);
/* Before the windows [first, first + windows) are set out: makes what they are compared with, where it is not kept. */
enum ptq_status ptq_compare_prepare(struct ptq_comparison *c, int64_t first, int64_t windows, struct ptq_error *err);
/* ptq_forward_score of f, which holds these windows at the end of the last block. work is rewound. */
enum ptq_status ptq_compare_score(struct ptq_comparison *c, struct ptq_forward *f, int64_t first,
                                  struct ptq_arena *work, struct ptq_error *err);
/* The cell's PTQ_AGAINST_FIELDS. */
void ptq_compare_end(const struct ptq_comparison *c, struct ptq_cell *cell);

#endif
