/* What GPTQ and OBQ share: calibration windows that travel through the block, the Hessian of every linear's input, and
 * a solver that turns it and the weights into codes. */
#ifndef PTQ_HESSIAN_H
#define PTQ_HESSIAN_H

#include "method.h"

#include <stdint.h>

/* The linears of a block that read one input, their rows stacked. */
struct ptq_hessian_problem {
    float *h;           /* [K][K], upper triangle: the mean over windows of 2 X^T X; the solver may write over it */
    const float *w;     /* [N][K], not written */
    struct ptq_qmat *q; /* made, of w's sizes; the solver fills codes, scales, zeros, and perm where it has one */
    double *loss;       /* [N], zeroed: tr(dW H dW^T) / 2 by row, H damped */
    int32_t *saturated; /* [N], zeroed: groups by row */
    double percdamp;    /* the solver's, that was used in the end */
    struct ptq_arena *arena, *scratch; /* keeps what q points to; rewound by the solver or its caller */
};

/* Parameters of every method that solves such problems. */
#define PTQ_HESSIAN_PARAMS                                                                                             \
    {.name = "true_sequential", .max = 1, .doc = "1: q, k, v; o; gate, up; down, each after the ones before it"},      \
    {                                                                                                                  \
        .name = "percdamp", .fallback = 0.01, .max = 10, .doc = "damping, in means of the Hessian's diagonal"          \
    }

struct ptq_hessian_solver {
    enum ptq_status (*solve)(const void *options, struct ptq_hessian_problem *problem, struct ptq_error *err);
    const void *options;
    int true_sequential;
};

/* The windows travel; statistics of the full-precision model are not read. */
unsigned ptq_hessian_need(const struct ptq_spec *spec);

/* A block_method: fills task->q and task->report (damp, loss, saturated), and leaves task->calib at what the quantised
 * block gives (but for the last block, which nobody follows), task->stats at a sample of what the linears read: the
 * reported output errors are on that. */
enum ptq_status ptq_hessian_block(struct ptq_block_task *task, const struct ptq_hessian_solver *solver,
                                  struct ptq_error *err);

#endif
