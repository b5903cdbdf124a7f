/* GPTQ's solver: codes of some rows, given the Hessian's factor. */
#ifndef PTQ_GPTQ_SOLVE_H
#define PTQ_GPTQ_SOLVE_H

#include "gptq_factor.h"
#include "qmat.h"

#include <stdint.h>

struct ptq_gptq_options {
    double percdamp;
    int act_order;     /* columns by falling diagonal of H */
    int static_groups; /* groups of neighbouring columns, their grid from the original weights */
    int fresh_groups;  /* a group's grid from weights with all earlier errors fed back; 0: as the published code */
    int mse;           /* each group's range shrunk to where sum |w' - w|^2.4 is least */
};

/* scale and zero of a group as the published code finds them. Returns 1 where a code saturates. */
int ptq_gptq_fit(const struct ptq_grid *grid, int mse, const float *w, int64_t n, float *scale, float *zero);

/* Where the block of columns that begins at `from` ends; group_size: K for the whole row. */
int64_t ptq_gptq_block_end(const struct ptq_gptq_options *options, int64_t group_size, int64_t k, int64_t from);
/* group[K]: each place's row in scale and zero; column[K]: its column. */
void ptq_gptq_places(const struct ptq_gptq_options *options, const int32_t *perm, int64_t group_size, int64_t k,
                     int32_t *column, int32_t *group);
/* Where groups are consecutive in the order of perm, q keeps it. */
void ptq_gptq_keep_order(const struct ptq_gptq_options *options, const int32_t *perm, struct ptq_arena *arena,
                         struct ptq_qmat *q);

/* Fills q (made, of w's sizes) with codes, scales, zeros and, with act_order but without static_groups, perm, which is
 * kept in arena. w [N][K] is not written. loss[N]: half the sum of squared errors over d, by row; saturated[N]: groups,
 * by row. Rows are independent; the work is cut into tiles of rows. scratch is rewound. */
void ptq_gptq_solve(const struct ptq_gptq_factor *factor, const struct ptq_gptq_options *options, const float *w,
                    struct ptq_arena *arena, struct ptq_arena *scratch, struct ptq_qmat *q, double *loss,
                    int32_t *saturated);

#endif
