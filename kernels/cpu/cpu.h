/* Inside the CPU backend: the loops between the matrix products. */
#ifndef PTQ_CPU_H
#define PTQ_CPU_H

#include "ops.h"

struct ptq_cpu_parts {
    float (*max)(const float *x, int64_t n);                /* n >= 1 */
    float (*sum_exp)(const float *x, int64_t n, float max); /* sum of exp(x - max), x <= max */
    float (*exp_in_place)(float *x, int64_t n, float max);  /* the same, and x becomes exp(x - max) */
    void (*softmax)(float *x, int64_t n);                   /* in place */
    /* as ops->attention, for many query rows; or NULL */
    void (*attention)(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                      const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch);
};

/* What attention_wide.h holds at a time: keys of a block, and at most so many queries of so many heads. */
enum { PTQ_KEYS = 48, PTQ_MOST_QUERIES = 48, PTQ_MOST_HEADS = 4 };

/* In use: plain C until ptq_ops_cpu chose. */
extern struct ptq_cpu_parts ptq_cpu;

/* Overwrites what AVX2 and FMA do better, and then what AVX-512 does better still, with the same bytes. */
void ptq_ops_avx2(struct ptq_ops *ops, struct ptq_cpu_parts *parts);
void ptq_ops_avx512(struct ptq_ops *ops, struct ptq_cpu_parts *parts);

#endif
