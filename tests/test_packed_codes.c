/* The layouts of other programs' checkpoints: words that are known from their own packers, and there and back. */
#include "packed_codes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void known_words(void **state)
{
    (void)state;
    static const uint8_t count[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint32_t word[3];
    ptq_stream_pack(count, 8, 4, word, 1);
    assert_int_equal(word[0], 0x76543210);
    ptq_awq_pack(count, 8, word);
    assert_int_equal(word[0], 0x75316420);
    for (int i = 0; i < 8; i++) assert_int_equal(ptq_awq_code(word, i), i);
}

/* A symmetric zero less one, in 32 columns, as AutoGPTQ's files hold it at each width. */
static void symmetric_zeros_of_v1(void **state)
{
    (void)state;
    static const struct {
        int bits;
        uint32_t word[3];
    } row[] = {{2, {0x55555555}}, {3, {0xdb6db6db, 0xb6db6db6, 0x6db6db6d}}, {4, {0x77777777}}, {8, {0x7f7f7f7f}}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint8_t code[32];
        uint32_t word[8] = {0};
        memset(code, (1 << (row[i].bits - 1)) - 1, sizeof code);
        ptq_stream_pack(code, 32, row[i].bits, word, 1);
        for (int j = 0; j < 3 && row[i].word[j]; j++) assert_int_equal(word[j], row[i].word[j]);
    }
}

/* The published description of the 3-bit layout, value by value. */
static void three_bits_across_words(void **state)
{
    (void)state;
    uint8_t code[32] = {0};
    uint32_t word[3];
    code[10] = 5; /* 101: low two bits end word 0, the high one begins word 1 */
    code[21] = 3; /* 011: the low bit ends word 1, the high two begin word 2 */
    ptq_stream_pack(code, 32, 3, word, 1);
    assert_int_equal(word[0], 1u << 30);
    assert_int_equal(word[1], 1u | 1u << 31);
    assert_int_equal(word[2], 1);
}

/* At every width, in words that lie apart and at odd addresses. */
static void there_and_back(void **state)
{
    (void)state;
    enum { N = 96, STEP = 5 };
    for (int bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4) {
        uint8_t code[N], back[N];
        int64_t words = ptq_stream_words(N, bits);
        uint32_t *word = calloc((size_t)words * STEP, 4);
        unsigned char *shifted = malloc((size_t)words * STEP * 4 + 1);
        for (int i = 0; i < N; i++) code[i] = (uint8_t)((i * 37 + i / 7) & ((1 << bits) - 1));
        ptq_stream_pack(code, N, bits, word + 2, STEP);
        memcpy(shifted + 1, word, (size_t)words * STEP * 4);
        ptq_stream_unpack(shifted + 1 + 8, STEP, N, bits, back);
        assert_memory_equal(code, back, N);
        for (int64_t i = 0; i < words * STEP; i++)
            if (i % STEP != 2) assert_int_equal(word[i], 0);
        free(word);
        free(shifted);
    }
    uint8_t code[N], back[N];
    uint32_t word[N / 8];
    for (int i = 0; i < N; i++) code[i] = (uint8_t)(i * 7 & 15);
    ptq_awq_pack(code, N, word);
    ptq_awq_unpack(word, N, back);
    assert_memory_equal(code, back, N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_words),
        cmocka_unit_test(symmetric_zeros_of_v1),
        cmocka_unit_test(three_bits_across_words),
        cmocka_unit_test(there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
