/* GPTQ of one block, for methods that transform the block first. */
#ifndef PTQ_GPTQ_H
#define PTQ_GPTQ_H

#include "hessian.h"

/* Of every method that ends in ptq_gptq_block. */
#define PTQ_ACT_ORDER_PARAM .name = "act_order", .max = 1, .doc = "1: columns by falling diagonal of the Hessian"
#define PTQ_GPTQ_PARAMS                                                                                                \
    {.name = "static_groups", .max = 1, .doc = "1: groups' grids from the original weights, beforehand"},              \
        PTQ_HESSIAN_PARAMS,                                                                                            \
        {.name = "fresh_groups", .max = 1, .doc = "1: groups' grids see all earlier errors; 0: as published"},         \
    {                                                                                                                  \
        .name = "mse", .max = 1, .doc = "1: ranges shrunk to where sum |error|^2.4 is least"                           \
    }

/* A check: the arithmetic is fp32, as in the published code. */
enum ptq_status ptq_gptq_check(const struct ptq_spec *spec, const struct ptq_config *config, struct ptq_error *err);
/* A block_method whose SPEC has both. */
enum ptq_status ptq_gptq_block(struct ptq_block_task *task, struct ptq_error *err);

#endif
