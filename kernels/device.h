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
    PTQ_PACKED_PLAIN,  /* one thread an output, no vector loads, atomic sums: as GPTQ's first kernel works */
    /* Of more than 16 tokens, the first is one of these, by their number and the device. */
    PTQ_PACKED_FUSED, /* codes straight to the tensor cores; the next where the device lacks wgmma, and for 5-7 bits */
    PTQ_PACKED_PANELS /* weights written out in FP16 first, each rounded once, for cuBLAS */
};

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
