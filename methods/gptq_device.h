/* GPTQ's solver on the device where the calibration's passes are computed. */
#ifndef PTQ_GPTQ_DEVICE_H
#define PTQ_GPTQ_DEVICE_H

#include "gptq_solve.h"
#include "hessian.h"

/* 1 where the device does it: not mse, and no group that reaches from one block of columns into the next. */
int ptq_gptq_can_there(const struct ptq_gptq_options *options, const struct ptq_grid *grid);
/* A solve_there of struct ptq_hessian_solver; options is a struct ptq_gptq_options. */
enum ptq_status ptq_gptq_solve_there(const void *options, struct ptq_hessian_problem *problem, struct ptq_error *err);

#endif
