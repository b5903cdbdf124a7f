/* Element types: every half both ways, the block formats against their definition, plain and fast loops alike. */
#include "dtype.h"
#include "dtype_fast.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { HALVES = 65536, BLOCKS = 2048, N = 32 * BLOCKS };

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

/* A half by its definition, in double: sign, exponent, mantissa. */
static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double sign = h & 0x8000 ? -1 : 1;
    if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void every_half_decodes_to_its_value(void **state)
{
    (void)state;
    for (int h = 0; h < HALVES; h++) {
        double want = half_value((uint16_t)h);
        float is = ptq_f16_decode((uint16_t)h);
        assert_true(isnan(want) ? isnan(is) : (double)is == want);
        assert_int_equal(bits_of(is) >> 31, h >> 15);
    }
}

static void every_half_survives_a_round_trip(void **state)
{
    (void)state;
    for (int h = 0; h < HALVES; h++)
        if (!isnan(half_value((uint16_t)h))) assert_int_equal(ptq_f16_encode(ptq_f16_decode((uint16_t)h)), h);
}

/* Between two neighbouring halves: the nearer one, and the even one from the middle. */
static void encoding_rounds_half_to_even(void **state)
{
    (void)state;
    for (int h = 0; h < 0x7bff; h++) {
        double low = half_value((uint16_t)h), high = half_value((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact: one more bit than a half has */
        int even = h & 1 ? h + 1 : h;
        assert_int_equal(ptq_f16_encode(middle), even);
        assert_int_equal(ptq_f16_encode(nextafterf(middle, 0)), h);
        assert_int_equal(ptq_f16_encode(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(ptq_f16_encode(-middle), even | 0x8000);
    }
    assert_int_equal(ptq_f16_encode(65519.996f), 0x7bff);
    assert_int_equal(ptq_f16_encode(65520.0f), 0x7c00);
    assert_int_equal(ptq_f16_encode(1e30f), 0x7c00);
    assert_int_equal(ptq_f16_encode(1e-30f), 0);
    assert_true(isnan(ptq_f16_decode(ptq_f16_encode(NAN))));
}

static void fast_and_plain_halves_are_the_same_bits(void **state)
{
    (void)state;
    static unsigned char half[2 * HALVES + 1];
    static float plain[HALVES], fast[HALVES];
    for (int h = 0; h < HALVES; h++) {
        half[2 * h + 1] = (unsigned char)(h & 255); /* from an odd address */
        half[2 * h + 2] = (unsigned char)(h >> 8);
    }
    const enum ptq_dtype types[] = {PTQ_F16, PTQ_BF16};
    for (int i = 0; i < 2; i++) {
        ptq_fast_off(1);
        ptq_dtypes[types[i]].to_f32(half + 1, plain, HALVES - 3);
        ptq_fast_off(0);
        ptq_dtypes[types[i]].to_f32(half + 1, fast, HALVES - 3);
        assert_memory_equal(plain, fast, 4 * (HALVES - 3));
    }
    for (int h = 0; h < HALVES - 3; h++) assert_int_equal(bits_of(fast[h]), (uint32_t)h << 16);
}

/* ---- blocks ---- */

/* Blocks of random codes with scales and minima from very small to very large, none of them infinite or NaN. */
static void random_blocks(unsigned char *out, enum ptq_dtype type, int n_halves)
{
    struct ptq_rng rng = ptq_rng_make(7, ptq_dtypes[type].name);
    int bytes = ptq_dtypes[type].block_bytes;
    for (int b = 0; b < BLOCKS; b++) {
        unsigned char *block = out + b * bytes;
        for (int i = 0; i < bytes; i++) block[i] = (unsigned char)ptq_rng_below(&rng, 256);
        for (int i = 0; i < n_halves; i++)
            if ((block[2 * i + 1] & 0x7c) == 0x7c) block[2 * i + 1] ^= 0x40;
    }
}

static float half_at(const unsigned char *p)
{
    return ptq_f16_decode((uint16_t)(p[0] | p[1] << 8));
}

/* Element j of a block, by the format's definition: one rounding to float32 an operation. */
static float element(enum ptq_dtype type, const unsigned char *block, int j)
{
    if (type == PTQ_Q8_0) return half_at(block) * (float)(signed char)block[2 + j];
    const unsigned char *codes = block + (type == PTQ_Q4_1 ? 4 : 2);
    int code = j < 16 ? codes[j] & 15 : codes[j - 16] >> 4;
    if (type == PTQ_Q4_0) return half_at(block) * (float)(code - 8);
    float product = half_at(block) * (float)code;
    return product + half_at(block + 2);
}

/* exact: the definition's own value; else that rounded once to FP16. */
static void check_values(enum ptq_dtype type, const unsigned char *blocks, const float *out, int exact)
{
    for (int i = 0; i < N; i++) {
        float want = element(type, blocks + i / 32 * ptq_dtypes[type].block_bytes, i % 32);
        if (!exact) want = ptq_f16_round(want);
        if (bits_of(out[i]) != bits_of(want)) fail_msg("%s, element %d, exact=%d", ptq_dtypes[type].name, i, exact);
    }
}

static void check_blocks(enum ptq_dtype type, int n_halves)
{
    static unsigned char blocks[BLOCKS * 34 + 1];
    static float out[N];
    random_blocks(blocks + 1, type, n_halves);
    for (int off = 0; off < 2; off++) {
        ptq_fast_off(off);
        memset(out, 0xff, sizeof out);
        ptq_dtypes[type].to_f32(blocks + 1, out, N);
        check_values(type, blocks + 1, out, 0);
    }
    ptq_fast_off(0);
    ptq_dtypes[type].exact(blocks + 1, out, N);
    check_values(type, blocks + 1, out, 1);
}

static void q4_0_is_its_definition(void **state)
{
    (void)state;
    check_blocks(PTQ_Q4_0, 1);
}

static void q4_1_is_its_definition(void **state)
{
    (void)state;
    check_blocks(PTQ_Q4_1, 2);
}

static void q8_0_is_its_definition(void **state)
{
    (void)state;
    check_blocks(PTQ_Q8_0, 1);
}

/* A block worked out by hand, so that the definition above is not only compared with itself. */
static void q4_1_by_hand(void **state)
{
    (void)state;
    unsigned char block[20] = {0x00, 0x38, 0x00, 0xc0, 0xf0, 0x21}; /* d = 0.5, m = -2; codes 0 and 15, 1 and 2 */
    float out[32];
    ptq_dtypes[PTQ_Q4_1].to_f32(block, out, 32);
    assert_true(out[0] == -2.0f && out[16] == 5.5f && out[1] == -1.5f && out[17] == -1.0f && out[31] == -2.0f);
}

static void an_infinite_scale_is_seen(void **state)
{
    (void)state;
    unsigned char block[34] = {0x00, 0x7c, 1};
    float out[32];
    for (int off = 0; off < 2; off++) {
        ptq_fast_off(off);
        ptq_dtypes[PTQ_Q8_0].to_f32(block, out, 32);
        assert_true(isinf(out[0]) && isnan(out[1]));
    }
    ptq_fast_off(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_decodes_to_its_value), cmocka_unit_test(every_half_survives_a_round_trip),
        cmocka_unit_test(encoding_rounds_half_to_even),    cmocka_unit_test(fast_and_plain_halves_are_the_same_bits),
        cmocka_unit_test(q4_0_is_its_definition),          cmocka_unit_test(q4_1_is_its_definition),
        cmocka_unit_test(q8_0_is_its_definition),          cmocka_unit_test(q4_1_by_hand),
        cmocka_unit_test(an_infinite_scale_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
