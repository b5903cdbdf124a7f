/* Checkpoints that AutoAWQ, AutoGPTQ, GPTQModel or ptq itself quantised: config.json's quantization_config, and a
 * linear's tensors read as codes.
 *
 *   awq       NAME.qweight [K][N / 8]       NAME.qzeros [groups][N / 8]        NAME.scales [groups][N]
 *   gptq      NAME.qweight [K b / 32][N]    NAME.qzeros [groups][N b / 32]     NAME.scales [groups][N]   NAME.g_idx [K]
 *   ptq       NAME.packed [bytes], U8: an image of kernels/packed.h, rows in our order (methods/export_packed.c)
 *
 * the first two in the layouts of packed_codes.h. "gptq", the first version of its format, stores a zero less one;
 * gptq_v2 as it is. A weight is scale * (code - zero), the scale in FP16, rounded once to FP16: that is the FP16
 * checkpoint which the file stands for, and what the other programs' own dequantisation gives. The method `exact`
 * leaves the rounding out. Of an image nothing is rounded: it is what a cell was evaluated with, and gives the same
 * numbers again. */
#ifndef PTQ_QUANTIZED_H
#define PTQ_QUANTIZED_H

#include "checkpoint.h"
#include "packed.h"
#include "qmat.h"

struct ptq_container;

/* Of ptq's own container, in config.json. */
enum { PTQ_CONTAINER_VERSION = 1 };

enum ptq_said { PTQ_SAYS_SYM = 1, PTQ_SAYS_DESC_ACT = 2 };

/* An expression of GPTQModel's `dynamic` (core/quantized_dynamic.c). */
struct ptq_dynamic {
    const char *expression;
    int leaves; /* 1: linears whose names it matches are not quantised */
};

/* What a checkpoint says of itself. */
struct ptq_quantization {
    const char *source; /* the file that says it */
    const struct ptq_container *container;
    int bits;
    int64_t group_size; /* or -1 */
    int sym, desc_act;  /* sym: 0, too, where it is said of zeros that are not all the middle (ptq_model_check) */
    unsigned said;      /* which of the two the config speaks of: enum ptq_said | ... */
    int whole;          /* 1: every linear of every block is there as codes (ptq_model_check) */
    const char **plain; /* [n_plain] modules_to_not_convert */
    int n_plain;
    struct ptq_dynamic *dynamic; /* [n_dynamic], the first that matches counts */
    int n_dynamic;
    const char *text; /* "gptq 4 bits, g32"; "g-1" is one group a row, as in a SPEC */
};

/* The tensors of one linear. */
struct ptq_quantized_linear {
    const struct ptq_tensor *codes, *zeros, *scales, *g_idx; /* zeros NULL: the middle; g_idx NULL: k / G */
    const struct ptq_tensor *image;                          /* instead of all these, or NULL */
    int64_t n, k;
};

/* From folder's config.json, quantize_config.json and quant_config.json, which must agree; *out is NULL where none
 * speaks of quantisation. Anything else than what is above is PTQ_EINPUT, with what is known. */
enum ptq_status ptq_quantization_read(struct ptq_arena *arena, const char *folder, struct ptq_quantization **out,
                                      struct ptq_error *err);

/* PTQ_EINPUT where there are codes of a linear that `dynamic` leaves as it was. */
enum ptq_status ptq_dynamic_check(const struct ptq_quantization *quantization, const struct ptq_checkpoint *checkpoint,
                                  struct ptq_arena *arena, struct ptq_error *err);

/* 1 where linears are images, all of them. */
int ptq_quantization_packed(const struct ptq_quantization *quantization);

/* 1 where beside the linears an activation may have NAME.scales, by which what it gives is divided: AWQ's. */
int ptq_quantization_divides(const struct ptq_quantization *quantization);

/* The tensors of the linear name ("model.layers.0.mlp.up_proj"), their shapes and types checked. *found is 0, and
 * nothing else is written, where there is no NAME.qweight: some programs leave some linears as they were. An image that
 * is missing is an error. */
enum ptq_status ptq_quantized_find(const struct ptq_quantization *quantization, const struct ptq_checkpoint *checkpoint,
                                   const char *name, int64_t n, int64_t k, struct ptq_quantized_linear *out, int *found,
                                   struct ptq_error *err);

/* Its image, looked at and held against what the config and the model ask for: where it lies in the file, or, where
 * that is not aligned, copied into arena. */
enum ptq_status ptq_quantized_image(const struct ptq_quantization *quantization,
                                    const struct ptq_quantized_linear *linear, struct ptq_arena *arena,
                                    struct ptq_packed *out, struct ptq_error *err);

/* Its codes, scales and zeros; perm where g_idx has groups in another order than the columns. Memory from arena. */
enum ptq_status ptq_quantized_codes(const struct ptq_quantization *quantization,
                                    const struct ptq_quantized_linear *linear, struct ptq_arena *arena,
                                    struct ptq_qmat *out, struct ptq_error *err);

/* Whether all its zeros, which are there, are the middle of the grid. */
int ptq_quantized_zeros_middle(const struct ptq_quantization *quantization, const struct ptq_quantized_linear *linear,
                               struct ptq_arena *arena);

/* w[N][K] = scale * (code - zero), rounded to FP16 unless exact; on all threads. PTQ_ENUMERIC where that is not finite,
 * by the file and the linear's name.
 */
enum ptq_status ptq_quantized_weights(const struct ptq_qmat *q, const char *file, const char *name, int exact, float *w,
                                      struct ptq_error *err);

#endif
