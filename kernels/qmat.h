/* A quantised linear: what a method writes, what everything else reads. Nothing evaluates or exports anything but this.
 *
 *   w[n][k] ~ scale[n][g(k)] * (code[n][k] - zero[n][g(k)])         g(k) = position(k) / G
 *
 * position(k) is k, or the place of column k in perm (act_order: groups are consecutive in permuted order). Where G
 * does not divide K the last group is shorter. Columns divided[0..n_divided) are then divided by their divisor (their
 * codes are those of weights that were multiplied by it). Salient columns keep[0..n_keep) override their codes by FP16
 * values. */
#ifndef PTQ_QMAT_H
#define PTQ_QMAT_H

#include <stdint.h>

enum ptq_range { PTQ_RANGE_AWQ, PTQ_RANGE_GPTQ }; /* min..max as they are; stretched to hold 0 */

struct ptq_grid {
    int w_bit;          /* 2..8 */
    int64_t group_size; /* > 0, or -1: the whole row */
    int sym;            /* 1: zero is the middle of the codes */
    enum ptq_range range;
    int scale_f16; /* 1: scale arithmetic rounded to FP16 at each step, as llm-awq does it */
};

struct ptq_qmat {
    int64_t n, k, n_groups; /* N outputs, K inputs, groups a row */
    struct ptq_grid grid;
    uint8_t *code;       /* [N][K] */
    float *scale, *zero; /* [N][n_groups], zero in code units */
    int32_t *perm;       /* [K]: perm[p] is the column at place p, or NULL: places are columns */
    int32_t *keep;       /* [n_keep] salient columns, ascending */
    float *kept;         /* [N][n_keep], values that FP16 holds */
    int64_t n_keep;
    int32_t *divided; /* [n_divided] columns, ascending; none of them in keep */
    float *divisor;   /* [n_divided] */
    int64_t n_divided;
};

/* Groups in a row of k inputs. */
static inline int64_t ptq_n_groups(int64_t k, int64_t group_size)
{
    return group_size < 0 || group_size >= k ? 1 : (k + group_size - 1) / group_size;
}

#endif
