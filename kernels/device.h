/* An accelerator: its memory, and the arithmetic of ops.h on pointers into it.
 *
 * Work is queued; error() waits for all of it. Memory is the device's own: only the functions here touch it. In ops,
 * every array is on the device, as are the arrays that struct ptq_qmat points to; the structs themselves are the
 * host's. Slots that the device does not do are NULL. Sums are float32 here where the CPU's may be float64. */
#ifndef PTQ_DEVICE_H
#define PTQ_DEVICE_H

#include "ops.h"
#include "packed.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Elements of the largest head that ops.attention and the kernels of struct ptq_decoding hold. */
enum { PTQ_DEVICE_HEAD = 256 };

/* How a packed linear is computed. Only the first is meant to be used; the others are what it is compared with. */
enum ptq_packed_kernel {
    PTQ_PACKED_BEST,   /* activations permuted once, before */
    PTQ_PACKED_GATHER, /* each tile of weights gathers its activations by perm, as kernels that read a g_idx do; 3 and 4
                        * bits alone, no salient and no divided columns */
    PTQ_PACKED_PLAIN,  /* one thread an output, no vector loads, atomic sums: as GPTQ's first kernel works */
    /* Of more than 16 tokens, the first is one of these, by their number and the device. */
    PTQ_PACKED_FUSED, /* codes straight to the tensor cores; the next where the device lacks wgmma, and for 5-7 bits */
    PTQ_PACKED_PANELS /* weights written out in FP16 first, each rounded once, for cuBLAS */
};

/* ---- quantisation on the device (cuda/split.cu, gptq.cu, awq.cu): all arrays are there ---- */

/* Float32 in two FP16 parts, for products on tensor cores with float32 sums:
 *
 *   x = factor (hi + lo) to within 2^-22 |x| + 2^-40 max |x|       factor one power of two for the array
 *
 * Where FP16 holds x / factor, lo is 0 and x is exact: weights of an FP16 checkpoint. A value that is not finite stays
 * so and touches only its own row.
 *
 * Parts lie side by side in a row, so that two products of K are one of 2 K, whose sums are written once:
 *
 *   x [lo | hi]      w [hi | hi | lo]      x w^T = [lo | hi] [hi | hi]^T + hi lo^T */
enum { PTQ_SPLIT_STATE = 4, PTQ_SPLIT_ROWS = 2, PTQ_SPLIT_WEIGHTS = 3 /* times K: halves of a row */ };
struct ptq_split {
    int64_t m, k, ld;  /* ld: from a row to the next */
    uint16_t *hi, *lo; /* lo NULL: it is 0 */
    uint16_t *again;   /* of weights; else NULL */
    float *state;      /* [PTQ_SPLIT_STATE]: the largest |x|, factor, whether a lo is not 0, room */
};

/* In room for m * PTQ_SPLIT_ROWS * k halves there, and for m * PTQ_SPLIT_WEIGHTS * k. */
static inline struct ptq_split ptq_split_rows(uint16_t *room, float *state, int64_t m, int64_t k)
{
    struct ptq_split s = {m, k, PTQ_SPLIT_ROWS * k, room + k, room, NULL, state};
    return s;
}
static inline struct ptq_split ptq_split_weights(uint16_t *room, float *state, int64_t m, int64_t k)
{
    struct ptq_split s = {m, k, PTQ_SPLIT_WEIGHTS * k, room, room + 2 * k, room + k, state};
    return s;
}

/* GPTQ's column loop for stacked rows, see methods/gptq_solve.c: places are columns in the order they are coded in. */
struct ptq_device_gptq {
    int64_t n, k, group_size, n_groups; /* group_size: K for the whole row */
    struct ptq_grid grid;
    int fits;              /* grids come from weights with errors fed back; else from w, beforehand */
    int with_dead;         /* those of beforehand look at dead columns, too */
    int64_t n_blocks;      /* of columns coded between two updates of what follows */
    const int64_t *block;  /* the host's [n_blocks + 1]: where they begin, and K */
    const int64_t *where;  /* the same there */
    const float *w;        /* [N][K] by column */
    const float *r;        /* [K][K] by place, upper triangle */
    const double *a;       /* factor's result, which r was rounded from */
    const int32_t *column; /* [K] by place */
    const int32_t *group;  /* [K] by place: its row in scale and zero */
    const uint8_t *dead;   /* [K] by column */
    uint8_t *code;         /* [N][K] by column */
    float *back;           /* [N][K] by column: what the codes stand for */
    float *scale, *zero;   /* [N][n_groups] */
    double *loss;          /* [N], half the sum of squared errors over R's diagonal's inverse */
    int32_t *saturated;    /* [N] groups */
    float *t;              /* room [N][K] */
    float *error;          /* room [N][PTQ_DEVICE_COLUMNS] */
    float *u;              /* room [n_blocks][PTQ_DEVICE_COLUMNS][PTQ_DEVICE_COLUMNS] */
};
enum { PTQ_DEVICE_COLUMNS = 128 };

/* Trials of AWQ's scales: dW = Q(W s) / s - W row by row, and its loss tr(dW H dW^T), H = D C D with ones on C's
 * diagonal. C and D dW are FP16, sums float32: their roundings are independent and a loss is a sum of N K^2 terms. */
struct ptq_device_awq {
    int64_t n, k, group_size, n_groups;
    struct ptq_grid grid;
    const float *w;     /* [N][K] */
    const uint16_t *c;  /* [K][K] FP16, symmetric */
    const float *d;     /* [K] */
    const float *scale; /* [K] of the trial */
    uint16_t *delta;    /* room [N][K] */
    float *factor;      /* room [N] */
    float *product;     /* room [N][K] */
    double *loss;       /* [N] */
};

/* AWQ's clip search, see methods/awq_clip.c. */
struct ptq_device_clip {
    int64_t n, k, group_size, n_groups, n_sample;
    struct ptq_grid grid;
    const float *w;      /* [N][K] */
    const float *sample; /* [n_sample][K] */
    float *measure;      /* room [n_groups][G][G] */
    float *max;          /* [N][n_groups]: the bound chosen */
    uint8_t *best;       /* [N][n_groups]: its number */
    /* awq_code: weights within their bounds (max NULL: as they are) to codes */
    uint8_t *code;       /* [N][K] */
    float *scale, *zero; /* [N][n_groups] */
    int32_t *saturated;  /* [N], zeroed: groups */
};

struct ptq_device_solver {
    /* Fills to, of to->m rows of to->k. */
    void (*split)(const struct ptq_split *to, const float *x, int64_t ldx);
    int (*exact)(const struct ptq_split *s);           /* waits. 1: lo is 0 throughout */
    void (*join)(float *x, const struct ptq_split *s); /* x[m][k] = factor (hi + lo) */
    /* y[m][N] = x w^T + b, added to y where accumulate; w has N rows */
    void (*product)(float *y, int64_t ldy, const struct ptq_split *x, const struct ptq_split *w, const float *b,
                    int accumulate);
    /* h[K][K] += X^T X: the upper triangle, and what of the rest lies in its block columns */
    void (*gram)(float *h, const struct ptq_split *x);
    void (*copy)(void *to, const void *from, size_t bytes); /* both there */
    void (*clear)(void *at, size_t bytes);
    /* ops.attention of a whole window of `length` rows. */
    void (*attention)(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                      const struct ptq_attention *shape, int64_t length, void *scratch);
    size_t (*attention_bytes)(const struct ptq_attention *shape, int64_t length);
    /* level[levels][K] += |x| of rows `seen`.., as core/stats.c sums: 2^power rows make a level full */
    void (*absmean)(float *level, int levels, int power, int64_t seen, const float *x, int64_t m, int64_t k);
    /* *flag = NaN where a value of x[m][k] is not finite, else it stays */
    void (*finite)(float *flag, const float *x, int64_t m, int64_t k);
    /* h[K][K] *= factor in its upper triangle; diagonal[K] is read out of it */
    void (*scale)(float *h, int64_t k, float factor, float *diagonal);
    /* a[K][K] = J (H in the order of column, diagonal[column] + damp on its diagonal) J = L L^T, row-major lower.
     * Waits. 0, or 1 + the row of the bad pivot. */
    int64_t (*factor)(double *a, const float *h, const int32_t *column, const float *diagonal, double damp, int64_t k);
    void (*turn)(float *r, const double *a, int64_t k); /* r = J L J in float32, 0 below the diagonal */
    void (*gptq)(const struct ptq_device_gptq *task);
    void (*awq_begin)(uint16_t *c, float *d, const float *h, int64_t k); /* of h's upper triangle */
    void (*awq_trial)(const struct ptq_device_awq *task);
    /* w[N][K] = w columns[K] / rows[N] */
    void (*rescale)(float *w, const float *columns, const float *rows, int64_t n, int64_t k);
    void (*awq_clip)(const struct ptq_device_clip *task);
    void (*awq_code)(const struct ptq_device_clip *task);
};

/* ---- token after token (cuda/decode*.cu) ---- */

/* Keys and values of a block's rows so far, [H_kv][capacity][D] each, float32 or FP16. */
struct ptq_cache {
    void *k, *v;
    int is_half;
    int64_t capacity;
    const int32_t *at; /* on the device: the position of the first row that is now computed */
};

/* Where one row goes: to y, or, where w is there, into scratch as what its product of one row reads: multiply_row where
 * row_multiplies, else packed_multiply. */
struct ptq_row {
    float *y;
    const struct ptq_packed *w;
    void *scratch;
};

/* A recalled row's scratch is shared by at most so many rows. */
enum { PTQ_RECALL_ROWS = 8 };

/* What decoding needs beside ops. Rows are few, and one row is the case that must be fast. No slot here reads a number
 * of the host that changes from token to token, so that a step can be recorded. */
struct ptq_decoding {
    /* y[m][N] = x[m][K] w[N][K]^T + b, added to y where accumulate; w FP16, 16-byte aligned. One row: x as it is; more:
     * x as a sum of two FP16 values (22 bits). Sums are float32. scratch: half_scratch bytes. */
    void (*linear_half)(float *y, int64_t ldy, const float *x, int64_t ldx, const uint16_t *w, const float *b,
                        int accumulate, int64_t m, int64_t n, int64_t k, void *scratch);
    size_t (*half_scratch)(int64_t m, int64_t n, int64_t k);
    /* m rows of q, k, v [m][ld], side by side: q and k are rotated in place by cosine, sine [capacity][D / 2] (NULL:
     * not), k and v kept. */
    void (*remember)(float *qkv, int64_t ld, const float *cosine, const float *sine, const struct ptq_attention *shape,
                     const struct ptq_cache *cache, int64_t m);
    /* y[m][H D] = attention of the rows q [m][ldq] over the cache, which holds their own k and v; first: rows between
     * cache->at and the first of these; m <= PTQ_RECALL_ROWS. scratch: recall_scratch bytes, zeros before its first
     * use; left as it may be used again. */
    void (*recall)(float *y, int64_t ldy, const float *q, int64_t ldq, const struct ptq_attention *shape,
                   const struct ptq_cache *cache, int64_t first, int64_t m, void *scratch);
    size_t (*recall_scratch)(const struct ptq_attention *shape, int64_t capacity);
    /* One row, with nothing between kernels but their data: remember and recall of its q, k, v, which stay as they are;
     * rmsnorm where b is NULL, else layernorm, y not x; silu_mul. */
    void (*attend_row)(const struct ptq_row *y, const float *qkv, const float *cosine, const float *sine,
                       const struct ptq_attention *shape, const struct ptq_cache *cache, void *scratch);
    void (*norm_row)(const struct ptq_row *y, const float *x, const float *g, const float *b, float eps, int64_t k);
    void (*silu_row)(const struct ptq_row *y, const float *gate, const float *up, int64_t n);
    /* Packed products of one row with the CPU's activations, integers of 16 bits (ops.h): whether there is a kernel for
     * w; its activations into scratch, which serve what is alike; y = x w^T + b, added to y where accumulate. */
    int (*row_multiplies)(const struct ptq_packed *w);
    void (*acts_row)(void *scratch, const struct ptq_packed *w, const float *x);
    void (*multiply_row)(float *y, const struct ptq_packed *w, const float *b, int accumulate, void *scratch);
    /* Whether the three above can leave what w reads: no permutation, no salient and no divided columns. head_size: of
     * attend_row, or 0. */
    int (*row_serves)(const struct ptq_packed *w, int64_t head_size);
    /* *id = the index of the largest of x[n], the first of equals; -1 where one is not finite. scratch:
     * likeliest_scratch bytes, zeros before its first use. */
    void (*likeliest)(int32_t *id, const float *x, int64_t n, void *scratch);
    size_t likeliest_scratch;
    /* x[K] = row *id of table [vocab][K] in FP16 (of an id that is none: the first), and *at is one more. */
    void (*embed_row)(float *x, int32_t *at, const int32_t *id, const uint16_t *table, int64_t vocab, int64_t k);
    /* Queues the way of an id to the host; fetched waits for it, not for what was queued behind. *failure: as error()
     * tells it, as far as it is known; or NULL. One at a time. */
    void (*fetch)(const int32_t *id);
    int32_t (*fetched)(const char **failure);
    /* What step queues, kept to be done again by replay, without the host's work: a CUDA graph. It is not done now.
     * step may call what queues arithmetic, nothing that moves memory or waits. NULL where the device refuses. */
    void *(*record)(void (*step)(void *context), void *context);
    void (*replay)(void *recording);
    void (*forget)(void *recording);
};

/* ---- all ---- */

struct ptq_device {
    const char *name; /* "NVIDIA H100 80GB HBM3"; "emulated CUDA" */
    struct ptq_ops ops;
    /* y[m][N] = x[m][K] w^T + b, added to y where accumulate. w: pointers on the device (its image, uploaded and
     * looked at there). x is rounded to FP16 once, after a power of two that brings its token into range; codes are
     * exact (weights rounded to FP16 once by PTQ_PACKED_PANELS) and sums float32. scratch: packed_scratch bytes. */
    void (*packed)(float *y, int64_t ldy, const float *x, int64_t ldx, const struct ptq_packed *w, const float *b,
                   int accumulate, int64_t m, void *scratch, enum ptq_packed_kernel kind);
    /* The same in two: what is made of x once, in scratch, serves w and every linear alike (ptq_packed_alike) of as
     * many bits, in any order, until it is made anew. */
    void (*packed_acts)(const struct ptq_packed *w, const float *x, int64_t ldx, int64_t m, void *scratch);
    void (*packed_multiply)(float *y, int64_t ldy, const struct ptq_packed *w, const float *b, int accumulate,
                            int64_t m, void *scratch);
    size_t (*packed_scratch)(const struct ptq_packed *w, int64_t m); /* the same for linears that are alike */
    struct ptq_decoding decoding;
    /* bytes of device memory, or NULL where there is no room; not cleared. */
    void *(*take)(size_t bytes);
    void (*give)(void *memory);
    void (*upload)(void *device, const void *host, size_t bytes);
    void (*download)(void *host, const void *device, size_t bytes); /* waits for what was queued before */
    size_t (*room)(void);                                           /* bytes that take could still give */
    /* Waits. The first failure since the last call, static storage; NULL where all went well. */
    const char *(*error)(void);
    struct ptq_device_solver solver;
};

/* The first CUDA device, or NULL with a sentence in why[0..size): there is none, or this build has no CUDA. */
const struct ptq_device *ptq_cuda_device(char *why, size_t size);
/* The same kernels on the host (cuda/emulated); only in the library that tests link. */
const struct ptq_device *ptq_cuda_emulated_device(void);

#ifdef __cplusplus
}
#endif

#endif
