/* Checkpoints that AutoAWQ, AutoGPTQ, GPTQModel or ptq itself quantised: config.json's quantization_config, and a
 * linear's tensors read as codes.
 *
 *   awq       NAME.qweight [K][N / 8]       NAME.qzeros [groups][N / 8]        NAME.scales [groups][N]
 *   gptq      NAME.qweight [K b / 32][N]    NAME.qzeros [groups][N b / 32]     NAME.scales [groups][N]   NAME.g_idx [K]
 *
 * in the layouts of packed_codes.h. "gptq", the first version of its format, stores a zero less one; gptq_v2 as it is.
 * A weight is scale * (code - zero), rounded once to FP16: that is the FP16 checkpoint which the file stands for, and
 * what the other programs' own dequantisation gives. The method `exact` leaves the rounding out. */
#ifndef PTQ_QUANTIZED_H
#define PTQ_QUANTIZED_H

#include "checkpoint.h"
#include "qmat.h"

struct ptq_container;

/* What a checkpoint says of itself. */
struct ptq_quantization {
    const char *source; /* the file that says it */
    const struct ptq_container *container;
    int bits;
    int64_t group_size; /* or -1 */
    int sym, desc_act;
    const char *text; /* "gptq 4 bits, g32"; "g-1" is one group a row, as in a SPEC */
};

/* The tensors of one linear. */
struct ptq_quantized_linear {
    const struct ptq_tensor *codes, *zeros, *scales, *g_idx; /* zeros NULL: the middle; g_idx NULL: k / G */
    int64_t n, k;
};

/* From folder's config.json, else its quantize_config.json or quant_config.json. *out is NULL where none speaks of
 * quantisation. Anything else than what is above is PTQ_EINPUT, with what is known. */
enum ptq_status ptq_quantization_read(struct ptq_arena *arena, const char *folder, struct ptq_quantization **out,
                                      struct ptq_error *err);

/* The tensors of the linear name ("model.layers.0.mlp.up_proj"), their shapes and types checked. *found is 0, and
 * nothing else is written, where there is no NAME.qweight: some programs leave some linears as they were. */
enum ptq_status ptq_quantized_find(const struct ptq_quantization *quantization, const struct ptq_checkpoint *checkpoint,
                                   const char *name, int64_t n, int64_t k, struct ptq_quantized_linear *out, int *found,
                                   struct ptq_error *err);

/* Its codes, scales and zeros; perm where g_idx has groups in another order than the columns. Memory from arena. */
enum ptq_status ptq_quantized_codes(const struct ptq_quantization *quantization,
                                    const struct ptq_quantized_linear *linear, struct ptq_arena *arena,
                                    struct ptq_qmat *out, struct ptq_error *err);

/* w[N][K] = scale * (code - zero), rounded to FP16 unless exact; on all threads. PTQ_ENUMERIC where that is not finite,
 * by the file and the linear's name.
 */
enum ptq_status ptq_quantized_weights(const struct ptq_qmat *q, const char *file, const char *name, int exact, float *w,
                                      struct ptq_error *err);

#endif
