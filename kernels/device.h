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

/* How a packed linear is computed. Only the first is meant to be used; the others are what it is compared with. */
enum ptq_packed_kernel {
    PTQ_PACKED_BEST,   /* activations permuted once, before */
    PTQ_PACKED_GATHER, /* each tile of weights gathers its activations by perm, as kernels that read a g_idx do; 3 and 4
                        * bits alone, no salient and no divided columns */
    PTQ_PACKED_PLAIN   /* one thread an output, no vector loads, atomic sums: as GPTQ's first kernel works */
};

/* ---- token after token (cuda/decode*.cu) ---- */

/* Keys and values of a block's rows so far, [H_kv][capacity][D] each, float32 or FP16. */
struct ptq_cache {
    void *k, *v;
    int is_half;
    int64_t capacity;
    const int32_t *at; /* on the device: the position of the first row that is now computed */
};

/* Where one row goes: to y, or, where w is there, as what it reads (packed_acts) into scratch. */
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
    /* Whether they can leave what w reads: no permutation, no salient and no divided columns. head_size: of
     * attend_row, or 0. */
    int (*row_serves)(const struct ptq_packed *w, int64_t head_size);
    /* *id = the index of the largest of x[n], the first of equals; -1 where one is not finite. scratch:
     * likeliest_scratch bytes, zeros before its first use. */
    void (*likeliest)(int32_t *id, const float *x, int64_t n, void *scratch);
    size_t likeliest_scratch;
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
     * exact and sums float32. scratch: packed_scratch bytes. */
    void (*packed)(float *y, int64_t ldy, const float *x, int64_t ldx, const struct ptq_packed *w, const float *b,
                   int accumulate, int64_t m, void *scratch, enum ptq_packed_kernel kind);
    /* The same in two: what is made of x once, in scratch, serves w and every linear alike (ptq_packed_alike), in any
     * order, until it is made anew. */
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
};

/* The first CUDA device, or NULL with a sentence in why[0..size): there is none, or this build has no CUDA. */
const struct ptq_device *ptq_cuda_device(char *why, size_t size);
/* The same kernels on the host (cuda/emulated); only in the library that tests link. */
const struct ptq_device *ptq_cuda_emulated_device(void);

#ifdef __cplusplus
}
#endif

#endif
