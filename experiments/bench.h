/* ptq bench: how fast each operation is, on the shapes of kernels/cases.h, against what this machine can. */
#ifndef PTQ_BENCH_H
#define PTQ_BENCH_H

#include "options.h"

/* Operands: names of operations; none: all. */
enum ptq_status ptq_bench(const struct ptq_options *options, struct ptq_error *err);

#endif
