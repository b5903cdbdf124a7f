#include "dtype.h"

#include "dtype_fast.h"

#include <string.h>

static uint16_t load_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

float ptq_f16_decode(uint16_t half)
{
    /* Exponent and mantissa moved into float32 places; the product by 2^112 mends the bias and normalises
     * subnormals exactly; infinities and NaNs are put right afterwards. */
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    float value;
    memcpy(&value, &bits, 4);
    value *= 0x1p112f;
    memcpy(&bits, &value, 4);
    if ((half & 0x7c00) == 0x7c00) bits |= 0x7f800000;
    if ((half & 0x7fff) > 0x7c00) bits |= 0x400000; /* a signalling NaN becomes quiet, as the processor has it */
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&value, &bits, 4);
    return value;
}

uint16_t ptq_f16_encode(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above */
    if (magnitude < 0x38800000) {                                  /* below 2^-14: a multiple of 2^-24 */
        float positive;
        memcpy(&positive, &magnitude, 4);
        positive += 0.5f; /* 0.5 has an ulp of 2^-24: this addition rounds, half to even */
        memcpy(&magnitude, &positive, 4);
        return (uint16_t)(sign | (magnitude - 0x3f000000));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude + 0xfff + odd - 0x38000000) >> 13));
}

float ptq_f16_round(float value)
{
    return ptq_f16_decode(ptq_f16_encode(value));
}

static void f32_to_f32(const void *src, float *dst, size_t n)
{
    memcpy(dst, src, 4 * n);
}

static void f16_to_f32(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = ptq_fast_f16(p, dst, n); i < n; i++) dst[i] = ptq_f16_decode(load_u16(p + 2 * i));
}

static void bf16_to_f32(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = ptq_fast_bf16(p, dst, n); i < n; i++) {
        uint32_t bits = (uint32_t)load_u16(p + 2 * i) << 16;
        memcpy(&dst[i], &bits, 4);
    }
}

/* | d: f16 | 32 x 4 bit |   byte j holds element j (low nibble) and j + 16 (high nibble); w = d * (q - 8) */
static void q4_0_to_f32(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = ptq_fast_q4_0(p, dst, n); i < n; i += 32, p += 18) {
        float d = ptq_f16_decode(load_u16(p));
        for (size_t j = 0; j < 16; j++) {
            dst[i + j] = ptq_f16_round(d * (float)((p[2 + j] & 15) - 8));
            dst[i + j + 16] = ptq_f16_round(d * (float)((p[2 + j] >> 4) - 8));
        }
    }
}

/* | d: f16 | m: f16 | 32 x 4 bit |   nibbles as in Q4_0; w = d * q + m.
 * A block has only 16 values, so each is formed and rounded once. */
static void q4_1_to_f32(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = ptq_fast_q4_1(p, dst, n); i < n; i += 32, p += 20) {
        float d = ptq_f16_decode(load_u16(p)), m = ptq_f16_decode(load_u16(p + 2));
        float value[16];
        for (int q = 0; q < 16; q++) value[q] = ptq_f16_round(d * (float)q + m);
        for (size_t j = 0; j < 16; j++) {
            dst[i + j] = value[p[4 + j] & 15];
            dst[i + j + 16] = value[p[4 + j] >> 4];
        }
    }
}

/* | d: f16 | 32 x int8 |   w = d * q */
static void q8_0_to_f32(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = ptq_fast_q8_0(p, dst, n); i < n; i += 32, p += 34) {
        float d = ptq_f16_decode(load_u16(p));
        for (size_t j = 0; j < 32; j++) dst[i + j] = ptq_f16_round(d * (float)(int8_t)p[2 + j]);
    }
}

/* ---- as the types are defined: float32 arithmetic, nothing rounded to FP16 ---- */

static void q4_0_exact(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = 0; i < n; i += 32, p += 18) {
        float d = ptq_f16_decode(load_u16(p));
        for (size_t j = 0; j < 16; j++) {
            dst[i + j] = d * (float)((p[2 + j] & 15) - 8);
            dst[i + j + 16] = d * (float)((p[2 + j] >> 4) - 8);
        }
    }
}

static void q4_1_exact(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = 0; i < n; i += 32, p += 20) {
        float d = ptq_f16_decode(load_u16(p)), m = ptq_f16_decode(load_u16(p + 2));
        for (size_t j = 0; j < 16; j++) {
            dst[i + j] = d * (float)(p[4 + j] & 15) + m;
            dst[i + j + 16] = d * (float)(p[4 + j] >> 4) + m;
        }
    }
}

static void q8_0_exact(const void *src, float *dst, size_t n)
{
    const unsigned char *p = src;
    for (size_t i = 0; i < n; i += 32, p += 34) {
        float d = ptq_f16_decode(load_u16(p));
        for (size_t j = 0; j < 32; j++) dst[i + j] = d * (float)(int8_t)p[2 + j];
    }
}

const struct ptq_dtype_info ptq_dtypes[PTQ_N_DTYPE] = {
#define X(name, st, gguf, elements, bytes, decode, exact)                                                              \
    [PTQ_##name] = {#name, st, gguf, elements, bytes, decode, exact},
    PTQ_DTYPE_MAP(X)
#undef X
};
