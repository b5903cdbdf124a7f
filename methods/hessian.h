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
    /* On a device (hessian_device.c): h is there and still a sum, to be multiplied by 2 / n windows; w lies there, too
     * (ptq_offload_weights), and what the codes stand for takes its place (ptq_offload_replace). */
    struct ptq_forward *there;
    enum ptq_input input;
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
    /* The same on the device of the calibration's passes; NULL where only the CPU does it. */
    enum ptq_status (*solve_there)(const void *options, struct ptq_hessian_problem *problem, struct ptq_error *err);
};

/* Floats of a block's activations that true_sequential=1 keeps: rows calibration tokens, outputs of widest at most. */
int64_t ptq_hessian_held(int64_t rows, int64_t width, int64_t widest);

/* The windows travel; statistics of the full-precision model are not read. */
unsigned ptq_hessian_need(const struct ptq_spec *spec);

/* A block_method: fills task->q and task->report (damp, loss, saturated), and leaves task->calib at what the quantised
 * block gives (but for the last block, which nobody follows), task->stats at a sample of what the linears read: the
 * reported output errors are on that. */
enum ptq_status ptq_hessian_block(struct ptq_block_task *task, const struct ptq_hessian_solver *solver,
                                  struct ptq_error *err);

/* ---- inside: what the two places where it runs share ---- */

/* The linears that read this input, as one problem: w, q (made), loss and saturated; its name's linear is returned. */
const struct ptq_linear *ptq_hessian_stack(const struct ptq_block_task *task, enum ptq_input input,
                                           struct ptq_hessian_problem *out);
/* Solved: each linear's codes are views of the stack's, in task->q; and its report. */
void ptq_hessian_share(const struct ptq_block_task *task, enum ptq_input input, const struct ptq_hessian_problem *p);
/* 0 where only= leaves alone what reads this input, and nothing that is kept depends on it. */
int ptq_hessian_wants(const struct ptq_block_task *task, enum ptq_input input);
/* Room in scratch for the rows that output errors are reported on; task->stats. */
struct ptq_stats *ptq_hessian_samples(struct ptq_block_task *task);
enum ptq_status ptq_hessian_block_there(struct ptq_block_task *task, const struct ptq_hessian_solver *solver,
                                        struct ptq_error *err);

#endif
