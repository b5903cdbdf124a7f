#include "packed_codes.h"

#include <assert.h>
#include <string.h>

static uint32_t load(const void *word, int64_t i)
{
    uint32_t value;
    memcpy(&value, (const unsigned char *)word + 4 * i, 4);
    return value;
}

int64_t ptq_stream_words(int64_t n, int bits)
{
    assert(n * bits % 32 == 0);
    return n * bits / 32;
}

void ptq_stream_pack(const uint8_t *code, int64_t n, int bits, uint32_t *word, int64_t step)
{
    uint64_t held = 0;
    int n_held = 0;
    for (int64_t i = 0; i < n; i++) {
        held |= (uint64_t)code[i] << n_held;
        n_held += bits;
        if (n_held < 32) continue;
        *word = (uint32_t)held;
        word += step;
        held >>= 32;
        n_held -= 32;
    }
    assert(n_held == 0);
}

void ptq_stream_unpack(const void *word, int64_t step, int64_t n, int bits, uint8_t *code)
{
    uint64_t held = 0;
    int64_t next = 0;
    int n_held = 0;
    for (int64_t i = 0; i < n; i++) {
        if (n_held < bits) {
            held |= (uint64_t)load(word, next) << n_held;
            next += step;
            n_held += 32;
        }
        code[i] = (uint8_t)(held & ((1u << bits) - 1));
        held >>= bits;
        n_held -= bits;
    }
}

/* The nibble that holds output n of a word: the inverse of 0 2 4 6 1 3 5 7. */
static const int awq_nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

void ptq_awq_pack(const uint8_t *code, int64_t n, uint32_t *word)
{
    assert(n % 8 == 0);
    for (int64_t c = 0; c < n / 8; c++) {
        word[c] = 0;
        for (int i = 0; i < 8; i++) word[c] |= (uint32_t)code[8 * c + i] << 4 * awq_nibble[i];
    }
}

uint8_t ptq_awq_code(const void *word, int64_t n)
{
    return load(word, n / 8) >> 4 * awq_nibble[n % 8] & 15;
}

void ptq_awq_unpack(const void *word, int64_t n, uint8_t *code)
{
    assert(n % 8 == 0);
    for (int64_t i = 0; i < n; i++) code[i] = ptq_awq_code(word, i);
}
