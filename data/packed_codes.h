/* Codes as the checkpoints of other programs hold them, in little-endian words of 32 bits.
 *
 *   a stream of b bits (2, 3, 4, 8): value i takes bits [i b, (i + 1) b) of the words one after the other, low bits
 *   first; at 3 bits a value may lie in two words:
 *
 *       word 0: v0 .. v9 and the low 2 bits of v10    word 1: its high bit, v11 .. v20 and the low bit of v21    word 2
 *
 *   GPTQ  qweight [K b / 32][N]: the stream of output n runs down column n     qzeros [groups][N b / 32]: along a row
 *   AWQ   qweight [K][N / 8], qzeros [groups][N / 8], 4 bits: nibble i of word c holds output 8 c + order[i], where
 *         order is 0 2 4 6 1 3 5 7
 *
 * Sources: AutoGPTQ qlinear_cuda_old.py; AutoAWQ packing_utils.py. */
#ifndef PTQ_PACKED_CODES_H
#define PTQ_PACKED_CODES_H

#include <stdint.h>

/* Words that n values of so many bits fill; n * bits is a multiple of 32. */
int64_t ptq_stream_words(int64_t n, int bits);
/* code[0..n) below 2^bits into word[0], word[step], ...; each is written whole. */
void ptq_stream_pack(const uint8_t *code, int64_t n, int bits, uint32_t *word, int64_t step);
/* The way back. word need not be aligned; step counts words. */
void ptq_stream_unpack(const void *word, int64_t step, int64_t n, int bits, uint8_t *code);

/* code[0..n), n a multiple of 8, of 4 bits into word[0 .. n / 8), and back. */
void ptq_awq_pack(const uint8_t *code, int64_t n, uint32_t *word);
void ptq_awq_unpack(const void *word, int64_t n, uint8_t *code);
/* The code of output n alone, in a row of words. */
uint8_t ptq_awq_code(const void *word, int64_t n);

#endif
