/* Quantised linears with random contents that a method could have written. */
#ifndef PTQ_TEST_QMATS_H
#define PTQ_TEST_QMATS_H

#include "arena.h"
#include "cases.h"
#include "dtype.h"
#include "qmat.h"
#include "rng.h"

#include <math.h>

/* sym: every zero is the middle; scale_f16: every scale is an FP16 value. Kept weights always are. */
static inline void make_qmat(struct ptq_arena *arena, struct ptq_qmat *q, const struct ptq_qmat_case *s, int sym,
                             int scale_f16, struct ptq_rng *rng)
{
    int64_t groups = ptq_n_groups(s->k, s->group_size);
    *q = (struct ptq_qmat){.n = s->n, .k = s->k, .n_groups = groups, .n_keep = s->n_keep, .n_divided = s->n_divided};
    q->grid = (struct ptq_grid){.w_bit = s->w_bit, .group_size = s->group_size, .sym = sym, .scale_f16 = scale_f16};
    q->code = ptq_new(arena, uint8_t, s->n * s->k);
    q->scale = ptq_new(arena, float, s->n *groups);
    q->zero = ptq_new(arena, float, s->n *groups);
    q->kept = ptq_new(arena, float, s->n * s->n_keep);
    q->keep = ptq_new(arena, int32_t, s->n_keep);
    q->divided = ptq_new(arena, int32_t, s->n_divided);
    q->divisor = ptq_new(arena, float, s->n_divided);
    q->perm = s->permuted ? ptq_new(arena, int32_t, s->k) : NULL;
    if (q->perm) ptq_rng_permutation(rng, q->perm, (int32_t)s->k);
    for (int64_t i = 0; i < s->n_keep; i++) q->keep[i] = (int32_t)(i * s->k / s->n_keep);
    for (int64_t i = 0; i < s->n_divided; i++) q->divided[i] = (int32_t)(i * s->k / s->n_divided + 1);
    for (int64_t i = 0; i < s->n_divided; i++) q->divisor[i] = (float)(ptq_rng_uniform(rng) * 3 + 0.1);
    for (int64_t i = 0; i < s->n * s->n_keep; i++) q->kept[i] = ptq_f16_round((float)(ptq_rng_uniform(rng) * 2 - 1));
    for (int64_t i = 0; i < s->n * s->k; i++) q->code[i] = (uint8_t)ptq_rng_below(rng, 1u << s->w_bit);
    for (int64_t i = 0; i < s->n * groups; i++) {
        float scale = (float)(ptq_rng_uniform(rng) * 0.1 + 1e-3);
        q->scale[i] = scale_f16 ? ptq_f16_round(scale) : scale;
        q->zero[i] = sym ? (float)(1 << (s->w_bit - 1)) : (float)ptq_rng_below(rng, 1u << s->w_bit);
    }
}

#endif
