/* Inside the CPU backend: the loops between the matrix products. */
#ifndef PTQ_CPU_H
#define PTQ_CPU_H

#include "ops.h"

struct ptq_cpu_parts {
    float (*max)(const float *x, int64_t n);                /* n >= 1 */
    float (*sum_exp)(const float *x, int64_t n, float max); /* sum of exp(x - max), x <= max */
    float (*exp_in_place)(float *x, int64_t n, float max);  /* the same, and x becomes exp(x - max) */
    void (*softmax)(float *x, int64_t n);                   /* in place */
};

/* In use: plain C until ptq_ops_cpu chose. */
extern struct ptq_cpu_parts ptq_cpu;

/* Overwrites what AVX2 and FMA do better. */
void ptq_ops_avx2(struct ptq_ops *ops, struct ptq_cpu_parts *parts);

#endif
