/* The one interface of all arithmetic: pointers and sizes, float32, row-major. A kernel never sees a tensor's name.
 *
 * ref/ fills every slot, plainly; a backend starts from ref and overwrites what it does better, so a missing fast
 * kernel is never an error and any kernel can be tested alone. Kernels are single-threaded: callers cut the work into
 * tiles and hand them to threads. A row's result does not depend on the rows around it.
 *
 * Shape letters: M rows, N outputs, K inputs, T tokens of a window, H heads, D head size. ld*: elements from one row to
 * the next. */
#ifndef PTQ_OPS_H
#define PTQ_OPS_H

#include "qmat.h"

#include <stddef.h>
#include <stdint.h>

/* Attention of one window. Query head h reads key and value head h / (heads / kv_heads). */
struct ptq_attention {
    int64_t heads, kv_heads, head_size;
    float scale; /* of the dot products, 1 / sqrt(D) */
};

/* A row's running log-sum-exp over the vocabulary, begun with PTQ_LSE_EMPTY. */
struct ptq_lse {
    float max;    /* largest logit so far */
    double sum;   /* sum of exp(logit - max) */
    float target; /* the target's logit, once its tile was seen */
};
#define PTQ_LSE_EMPTY ((struct ptq_lse){.max = -3.0e38f})

/* Columns of PTQ_LANES rows quantised one after the other, each column's error fed to the columns behind it. All arrays
 * are transposed: a column's PTQ_LANES values lie side by side. */
enum { PTQ_LANES = 32 };
struct ptq_feedback {
    int64_t columns;
    int maxq;
    float *w;       /* [columns][PTQ_LANES], used up */
    const float *u; /* [columns][ldu], upper triangle with a diagonal that is not 0 */
    int64_t ldu;
    const int32_t *group;      /* [columns]: the column's row in scale and zero */
    const float *scale, *zero; /* [..][PTQ_LANES] */
    uint8_t *code;             /* [columns][PTQ_LANES] */
    float *back;               /* [columns][PTQ_LANES]: the codes' values */
    float *error;              /* [columns][PTQ_LANES] */
};

struct ptq_ops {
    const char *name;
    /* y[M][N] = x[M][K] w[N][K]^T + b[N], added to y where accumulate. b may be NULL. w rows are K apart. */
    void (*linear)(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, const float *b, int accumulate,
                   int64_t m, int64_t n, int64_t k);
    /* y[M][K] = x / sqrt(mean(x^2) + eps) * g;  y may be x */
    void (*rmsnorm)(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k);
    /* y[M][K] = (x - mean) / sqrt(variance + eps) * g + b;  y may be x */
    void (*layernorm)(float *y, const float *x, const float *g, const float *b, float eps, int64_t m, int64_t k);
    /* x[M][heads * D] in place, each head's halves rotated: (a, b) -> (a cos - b sin, b cos + a sin);
     * cos, sin [M][D / 2] */
    void (*rope)(float *x, int64_t ldx, const float *cos, const float *sin, int64_t m, int64_t heads, int64_t d);
    /* Causal attention of the query rows [first, first + M) of a window: y[M][heads * D] from q [M][..] (those rows)
     * and k, v [first + M][..] (all rows up to the last). scratch: ptq_attention_scratch floats. */
    void (*attention)(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                      const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch);
    void (*relu)(float *x, int64_t ldx, int64_t m, int64_t n);
    /* y[M][N] = silu(gate[M][N]) * up[M][N], all three ld apart but y, which is ldy apart */
    void (*silu_mul)(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t m, int64_t n);
    /* Adds the logits x[M][K] w[N][K]^T of the vocabulary's [first, first + N) to the rows' log-sum-exps; target[M] are
     * ids, a negative one is never met. scratch: ptq_lse_scratch floats. The product is never held whole. */
    void (*lse)(struct ptq_lse *state, const float *x, const float *w, const int32_t *target, int64_t first, int64_t m,
                int64_t n, int64_t k, float *scratch);
    /* min and max of w[0..n), n >= 1 */
    void (*minmax)(const float *w, int64_t n, float *min, float *max);
    /* code[i] = clamp(rint(w[i] / scale) + zero, 0, maxq), rounding half to even */
    void (*code)(uint8_t *code, const float *w, int64_t n, float scale, float zero, int maxq);
    /* Rows [row, row + rows) of q as float32, w[rows][K]: scale * (code - zero), salient columns put back. */
    void (*dequantize)(float *w, const struct ptq_qmat *q, int64_t row, int64_t rows);
    /* sum[K] += |x[M][K]| by columns, rows in order, in float32 */
    void (*abssum)(float *sum, const float *x, int64_t ldx, int64_t m, int64_t k);
    /* Columns [first, first + N) of the upper triangle of X^T X: h[i][j] += sum of x[.][i] x[.][j] for those j and
     * i <= j; x [M][ldx]. What is written below the diagonal within these columns is not defined. */
    void (*gram)(float *h, int64_t ldh, const float *x, int64_t ldx, int64_t m, int64_t first, int64_t n);
    /* y[M][N] -= a[K][M]^T b[K][N] */
    void (*subtract)(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                     int64_t n, int64_t k);
    /* x[M][N] = u^T x; u [M][ldu] upper triangle */
    void (*triangle)(float *x, int64_t ldx, const float *u, int64_t ldu, int64_t m, int64_t n);
    /* For each column i in order, rounded to float32 at each step, but the last one fused:
     *   code = clamp(rint(w / scale) + zero, 0, maxq)   back = scale (code - zero)   error = (w - back) (1 / u[i][i])
     *   w[j] -= error u[i][j] for the columns j > i */
    void (*feedback)(const struct ptq_feedback *f);
};

size_t ptq_attention_scratch(int64_t tokens);
size_t ptq_lse_scratch(int64_t m);

/* Fills every slot with the plain version. */
void ptq_ops_ref(struct ptq_ops *ops);
/* ref, overwritten by OpenBLAS and by what this processor can do (AVX2 with FMA and F16C, or nothing). */
void ptq_ops_cpu(struct ptq_ops *ops);
/* The backend in use: cpu. Chosen at the first call; PTQ_KERNELS=ref|plain|avx2 in the environment narrows the choice
 * (ref: the plain versions only; plain: OpenBLAS, no AVX2), for tests and for the curious. */
const struct ptq_ops *ptq_ops(void);

/* "OpenBLAS 0.3.21 Haswell": what does the matrix products, for provenance. Static storage. */
const char *ptq_blas_name(void);
/* nll of a finished row: log(sum) + max - target. */
float ptq_lse_nll(const struct ptq_lse *state);

#endif
