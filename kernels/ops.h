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

#include "packed.h"
#include "qmat.h"

#include <stddef.h>
#include <stdint.h>

/* Attention of one window. Query head h reads key and value head h / (heads / kv_heads). */
struct ptq_attention {
    int64_t heads, kv_heads, head_size;
    float scale;        /* of the dot products, 1 / sqrt(D) */
    int64_t window;     /* keys that a query sees, its own among them; 0: all up to its own */
    const float *slope; /* [heads] ALiBi (arXiv:2108.12409): slope[h] (key - query) is added to a score; or NULL */
};

/* A row's running log-sum-exp over the vocabulary, begun with PTQ_LSE_EMPTY. */
struct ptq_lse {
    float max;    /* largest logit so far */
    double sum;   /* sum of exp(logit - max) */
    float target; /* the target's logit, once its tile was seen */
    int32_t top;  /* the id of max, the first of equal ones */
};
#define PTQ_LSE_EMPTY ((struct ptq_lse){.max = -3.0e38f, .top = -1})

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

/* Activations of M tokens as a packed linear reads them (its places: permuted, filled up, divided columns divided):
 * integers of 16 or of 8 bits, with one scale for each token and chunk. A chunk is a group, or 128 places of it where
 * it is longer, so that the sum of its products, at most 128 * 255 * 32767, is exact in 32 bits; of 8 bits, at most 128
 * * 255 * 127, in float32 too.
 *
 *   x ~ scale * integer, scale = max |x| of the chunk / most, integer = rint(x * (most / max |x|)), most = 32767 or 127
 *
 * A chunk below 2^-100 is 0. A value that is not finite makes its chunk's scale NaN, and with that every output of its
 * token. Salient columns are 0 here and stand in kept.
 *
 * 16 bits are finer than FP16. 8 bits are not: that is quantisation of activations, with its loss, for speed alone. */
enum { PTQ_CHUNK = 128 };
struct ptq_acts {
    int64_t m;
    int bits;     /* 16 or 8: x or x8 */
    int16_t *x;   /* [chunk][M][places of the chunk]: the chunk from place p on is at x + p M */
    int8_t *x8;   /* the same, each step of a chunk in the order of ptq_act_place */
    float *scale; /* [chunk][M] */
    int32_t *sum; /* [chunk][M], of the integers */
    float *kept;  /* [M][n_keep] */
    float *row;   /* scratch */
};

struct ptq_ops {
    const char *name;
    /* y[M][N] = x[M][K] w[N][K]^T + b[N], added to y where accumulate. b may be NULL. w rows are K apart. */
    void (*linear)(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, const float *b, int accumulate,
                   int64_t m, int64_t n, int64_t k);
    /* Norms. A row whose sum of squares is beyond float32 becomes NaN, and not the zeros that 1 / sqrt(inf) gives: they
     * would be taken for an answer. y may be x.
     * y[M][K] = x / sqrt(mean(x^2) + eps) * g */
    void (*rmsnorm)(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k);
    /* y[M][K] = (x - mean) / sqrt(variance + eps) * g + b */
    void (*layernorm)(float *y, const float *x, const float *g, const float *b, float eps, int64_t m, int64_t k);
    /* x[M][heads * D] in place, each head's halves rotated: (a, b) -> (a cos - b sin, b cos + a sin);
     * cos, sin [M][D / 2] */
    void (*rope)(float *x, int64_t ldx, const float *cos, const float *sin, int64_t m, int64_t heads, int64_t d);
    /* Causal attention of the query rows [first, first + M) of a window: y[M][heads * D] from q [M][..] (those rows)
     * and k, v [first + M][..] (all rows up to the last). scratch: ptq_attention_scratch floats. */
    void (*attention)(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                      const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch);
    void (*relu)(float *x, int64_t ldx, int64_t m, int64_t n);
    /* x[M][N] in place: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))); x / 2 (1 + erf(x / sqrt 2)) */
    void (*gelu_tanh)(float *x, int64_t ldx, int64_t m, int64_t n);
    void (*gelu_erf)(float *x, int64_t ldx, int64_t m, int64_t n);
    /* x[M][N] in place: column j divided by divisor[j] */
    void (*divide)(float *x, int64_t ldx, const float *divisor, int64_t m, int64_t n);
    /* y[M][N] = silu(gate[M][N]) * up[M][N], all three ld apart but y, which is ldy apart */
    void (*silu_mul)(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t m, int64_t n);
    /* Adds the logits x[M][K] w[N][K]^T of the vocabulary's [first, first + N) to the rows' log-sum-exps; target[M] are
     * ids, a negative one is never met. scratch: ptq_lse_scratch floats. The product is never held whole. */
    void (*lse)(struct ptq_lse *state, const float *x, const float *w, const int32_t *target, int64_t first, int64_t m,
                int64_t n, int64_t k, float *scratch);
    /* As lse, and keeps mean[M][K] = sum over the rows of w seen so far of exp(logit - max) w: divided by sum, it is
     * what w is on average under the row's softmax. Begun with zeros. */
    void (*lse_mean)(struct ptq_lse *state, float *mean, const float *x, const float *w, const int32_t *target,
                     int64_t first, int64_t m, int64_t n, int64_t k, float *scratch);
    /* min and max of w[0..n), n >= 1 */
    void (*minmax)(const float *w, int64_t n, float *min, float *max);
    /* code[i] = clamp(rint(w[i] / scale) + zero, 0, maxq), rounding half to even */
    void (*code)(uint8_t *code, const float *w, int64_t n, float scale, float zero, int maxq);
    /* Rows [row, row + rows) of q as float32, w[rows][K]: scale * (code - zero), salient columns put back. */
    void (*dequantize)(float *w, const struct ptq_qmat *q, int64_t row, int64_t rows);
    /* sum[K] += |x[M][K]| by columns, rows in order, in float32 */
    void (*abssum)(float *sum, const float *x, int64_t ldx, int64_t m, int64_t k);
    /* Columns [first, first + N) of an upper triangle: h[i][j] = fade h[i][j] + sum of x[.][i] x[.][j] for those j and
     * i <= j; x [M][ldx]. What is written below the diagonal within these columns is not defined. */
    void (*gram)(float *h, int64_t ldh, float fade, const float *x, int64_t ldx, int64_t m, int64_t first, int64_t n);
    /* y[M][N] -= a[K][M]^T b[K][N] */
    void (*subtract)(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                     int64_t n, int64_t k);
    /* x[M][N] = u^T x; u [M][ldu] upper triangle */
    void (*triangle)(float *x, int64_t ldx, const float *u, int64_t ldu, int64_t m, int64_t n);
    /* For each column i in order, rounded to float32 at each step, but the last one fused:
     *   code = clamp(rint(w / scale) + zero, 0, maxq)   back = scale (code - zero)   error = (w - back) (1 / u[i][i])
     *   w[j] -= error u[i][j] for the columns j > i */
    void (*feedback)(const struct ptq_feedback *f);
    /* y[M][N] = x[M][K] w[N][K]^T, w in FP16: the head, token by token */
    void (*linear_f16)(float *y, int64_t ldy, const float *x, int64_t ldx, const uint16_t *w, int64_t m, int64_t n,
                       int64_t k);
    /* Fills a (ptq_acts_make, a->m rows) from x[M][K] for w, or for any other linear that reads alike (ptq_acts_serve).
     */
    void (*acts)(struct ptq_acts *a, const struct ptq_packed *w, const float *x, int64_t ldx);
    /* y[M][N] = x w^T + b, added to y where accumulate, for the outputs of tiles [tile, tile + tiles). Of each output,
     * chunk after chunk, in float32: t = fma(scale of w * scale of x, sum of (code - zero) * integer, t), from t = 0;
     * then the salient columns, t = fma(kept, x, t); then b, then y. Integer sums are exact, so these are the same
     * bytes for every backend, tile and M. */
    void (*packed)(float *y, int64_t ldy, const struct ptq_acts *x, const struct ptq_packed *w, const float *b,
                   int accumulate, int64_t tile, int64_t tiles);
};

/* Bytes for the activations of m tokens, and the arrays put into memory (64-byte aligned) of that size. */
size_t ptq_acts_bytes(const struct ptq_packed *w, int64_t m, int bits);
void ptq_acts_make(struct ptq_acts *a, const struct ptq_packed *w, int64_t m, int bits, void *memory);
/* 1 where a and b have the same places, divisors and salient columns. */
int ptq_packed_alike(const struct ptq_packed *a, const struct ptq_packed *b);
/* 1 where activations of so many bits made for a serve b: those of 8 are in the order of a width's codes. */
int ptq_acts_serve(int bits, const struct ptq_packed *a, const struct ptq_packed *b);

size_t ptq_attention_scratch(int64_t tokens, int64_t head_size);
size_t ptq_lse_scratch(int64_t m);

/* Fills every slot with the plain version. */
void ptq_ops_ref(struct ptq_ops *ops);
/* ref, overwritten by OpenBLAS and by what this processor can do (AVX2 with FMA and F16C, AVX-512 with VNNI, or
 * nothing). */
void ptq_ops_cpu(struct ptq_ops *ops);
/* The backend in use: cpu. Chosen at the first call; PTQ_KERNELS=ref|plain|avx2 in the environment narrows the choice
 * (ref: the plain versions only; plain: OpenBLAS, no AVX2; avx2: no AVX-512), for tests and for the curious.
 * PTQ_PACKED=ref|avx2 narrows that of the packed kernels alone. */
const struct ptq_ops *ptq_ops(void);

/* "OpenBLAS 0.3.21 Haswell": what does the matrix products, for provenance. Static storage. */
const char *ptq_blas_name(void);
/* nll of a finished row: log(sum) + max - target. */
float ptq_lse_nll(const struct ptq_lse *state);
/* log Z of a finished row: log(sum) + max. */
double ptq_lse_log(const struct ptq_lse *state);

#endif
