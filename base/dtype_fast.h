/* The decoders of dtype.c again with F16C and AVX2, where this machine has both. The same bits come out (of
 * the quantised types, any NaN for a NaN); the plain loops are the truth. */
#ifndef PTQ_DTYPE_FAST_H
#define PTQ_DTYPE_FAST_H

#include <stddef.h>

/* Each decodes the largest part of n elements that it can, from the front, and returns its size: 0 on a machine that
 * lacks the instructions, n or somewhat less elsewhere. */
size_t ptq_fast_f16(const unsigned char *src, float *dst, size_t n);
size_t ptq_fast_bf16(const unsigned char *src, float *dst, size_t n);
size_t ptq_fast_q4_0(const unsigned char *src, float *dst, size_t n);
size_t ptq_fast_q4_1(const unsigned char *src, float *dst, size_t n);
size_t ptq_fast_q8_0(const unsigned char *src, float *dst, size_t n);

/* 1 where this machine has both instruction sets. */
int ptq_fast_has(void);

/* For tests: 1 leaves all work to the plain loops. Not while another thread decodes. */
void ptq_fast_off(int off);

#endif
