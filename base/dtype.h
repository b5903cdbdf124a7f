/* The one table of element types: what a file calls them, how many bytes a block of them takes, how they become
 * float32. Everything that asks about an element type asks here.
 *
 * Quantised GGUF types are taken as the FP16 checkpoint that they stand for: q * d + m is formed in float32 and rounded
 * once to FP16, as every converter to safetensors does, so that both files of one model give the same numbers. What a
 * program computes with that runs such a file as it is, q * d + m in float32, is the second decoder. */
#ifndef PTQ_DTYPE_H
#define PTQ_DTYPE_H

#include <stddef.h>
#include <stdint.h>

/* enum name, safetensors name (NULL: not one), GGUF id (-1: not one), elements per block, bytes per block,
 * decoder to float32 (NULL: known only by its size), decoder without rounding to FP16 (NULL: the same) */
#define PTQ_DTYPE_MAP(X)                                                                                               \
    X(F32, "F32", 0, 1, 4, f32_to_f32, NULL)                                                                           \
    X(F16, "F16", 1, 1, 2, f16_to_f32, NULL)                                                                           \
    X(BF16, "BF16", 30, 1, 2, bf16_to_f32, NULL)                                                                       \
    X(Q4_0, NULL, 2, 32, 18, q4_0_to_f32, q4_0_exact)                                                                  \
    X(Q4_1, NULL, 3, 32, 20, q4_1_to_f32, q4_1_exact)                                                                  \
    X(Q8_0, NULL, 8, 32, 34, q8_0_to_f32, q8_0_exact)                                                                  \
    X(F64, "F64", 28, 1, 8, NULL, NULL)                                                                                \
    X(I64, "I64", 27, 1, 8, NULL, NULL)                                                                                \
    X(I32, "I32", 26, 1, 4, NULL, NULL)                                                                                \
    X(I16, "I16", 25, 1, 2, NULL, NULL)                                                                                \
    X(I8, "I8", 24, 1, 1, NULL, NULL)                                                                                  \
    X(U64, "U64", -1, 1, 8, NULL, NULL)                                                                                \
    X(U32, "U32", -1, 1, 4, NULL, NULL)                                                                                \
    X(U16, "U16", -1, 1, 2, NULL, NULL)                                                                                \
    X(U8, "U8", -1, 1, 1, NULL, NULL)                                                                                  \
    X(BOOL, "BOOL", -1, 1, 1, NULL, NULL)                                                                              \
    X(F8_E4M3, "F8_E4M3", -1, 1, 1, NULL, NULL)                                                                        \
    X(F8_E5M2, "F8_E5M2", -1, 1, 1, NULL, NULL)

enum ptq_dtype {
#define X(name, st, gguf, elements, bytes, decode, exact) PTQ_##name,
    PTQ_DTYPE_MAP(X)
#undef X
        PTQ_N_DTYPE
};

struct ptq_dtype_info {
    const char *name;        /* "F32", "Q4_1" */
    const char *safetensors; /* or NULL */
    int gguf;                /* or -1 */
    int block_elements, block_bytes;
    /* n elements, n a multiple of block_elements; src need not be aligned */
    void (*to_f32)(const void *src, float *dst, size_t n);
    void (*exact)(const void *src, float *dst, size_t n); /* likewise, not rounded; or NULL */
};

extern const struct ptq_dtype_info ptq_dtypes[PTQ_N_DTYPE];

float ptq_f16_decode(uint16_t half);
uint16_t ptq_f16_encode(float value); /* round half to even; overflow gives infinity */
/* The nearest FP16 value, as float. */
float ptq_f16_round(float value);

#endif
