/* The packed form: back to the same codes, scales and zeros for every width, group, tail and extra; the drawn bit
 * order; what has no packed form or is no image is refused. */
#include "packed.h"
#include "qmats.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void assert_same_qmat(const struct ptq_qmat *a, const struct ptq_qmat *b)
{
    size_t groups = (size_t)(a->n * a->n_groups), k = (size_t)a->k, keep = (size_t)a->n_keep;
    assert_true(a->n == b->n && a->k == b->k && a->n_groups == b->n_groups && a->n_keep == b->n_keep);
    assert_true(a->n_divided == b->n_divided && !a->perm == !b->perm);
    assert_true(a->grid.w_bit == b->grid.w_bit && a->grid.group_size == b->grid.group_size);
    assert_true(a->grid.sym == b->grid.sym && a->grid.range == b->grid.range && a->grid.scale_f16 == b->grid.scale_f16);
    assert_memory_equal(a->code, b->code, (size_t)a->n * k);
    assert_memory_equal(a->scale, b->scale, sizeof *a->scale * groups);
    assert_memory_equal(a->zero, b->zero, sizeof *a->zero * groups);
    if (a->perm) assert_memory_equal(a->perm, b->perm, sizeof *a->perm * k);
    if (keep) assert_memory_equal(a->keep, b->keep, sizeof *a->keep * keep);
    if (keep) assert_memory_equal(a->kept, b->kept, sizeof *a->kept * keep * (size_t)a->n);
    if (a->n_divided) {
        assert_memory_equal(a->divided, b->divided, sizeof *a->divided * (size_t)a->n_divided);
        assert_memory_equal(a->divisor, b->divisor, sizeof *a->divisor * (size_t)a->n_divided);
    }
}

/* There and back, and once more from a copy of the image. */
static void round_trip(const struct ptq_qmat_case *s, int sym, int scale_f16, struct ptq_rng *rng)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    struct ptq_qmat q, back;
    struct ptq_packed p, seen;
    make_qmat(arena, &q, s, sym, scale_f16, rng);
    if (ptq_pack(arena, &q, &p, &err)) fail_msg("%s", err.text);
    assert_true(sym == (p.zero == NULL) || q.n * q.n_groups < 3); /* few zeros may all be the middle */
    assert_true(scale_f16 == (p.scale == NULL));
    ptq_unpack(arena, &p, &back);
    assert_same_qmat(&q, &back);
    void *copy = ptq_alloc(arena, p.bytes, "copy");
    memcpy(copy, p.image, p.bytes);
    if (ptq_packed_view(copy, p.bytes, &seen, &err)) fail_msg("%s", err.text);
    ptq_unpack(arena, &seen, &back);
    assert_same_qmat(&q, &back);
    ptq_arena_free(arena);
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(1, "pack");
    const int64_t groups[] = {32, 64, 128, -1, 20, 100, 7}, inputs[] = {1, 31, 128, 200, 576};
    int n = 0;
    for (int w_bit = 2; w_bit <= 8; w_bit++)
        for (int g = 0; g < 7; g++)
            for (int k = 0; k < 5; k++)
                for (int extra = 0; extra < 4; extra++, n++) {
                    struct ptq_qmat_case s = {.n = 1 + n % 35, .k = inputs[k], .w_bit = w_bit};
                    s.group_size = groups[g];
                    s.permuted = extra & 1;
                    s.n_keep = extra & 2 ? inputs[k] / 10 : 0;
                    s.n_divided = extra == 3 ? inputs[k] / 13 : 0;
                    round_trip(&s, n / 7 % 2, n / 3 % 2, &rng);
                }
    for (int c = 0; c < PTQ_N_CASES(ptq_qmat_cases); c++) round_trip(&ptq_qmat_cases[c], 0, 0, &rng);
}

/* The drawings of packed.h, bit by bit: one code that is not 0, and where it lies. */
static void test_drawn_order(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(2, "order");
    const int bits[] = {2, 3, 4, 8};
    for (int b = 0; b < 4; b++)
        for (int place = 0; place < 32; place++) {
            struct ptq_arena *arena = ptq_arena_make("test");
            struct ptq_error err;
            struct ptq_qmat q;
            struct ptq_packed p;
            make_qmat(arena, &q, &(struct ptq_qmat_case){.n = 16, .k = 32, .w_bit = bits[b], .group_size = 32}, 0, 0,
                      &rng);
            memset(q.code, 0, 16 * 32);
            q.code[5 * 32 + place] = (uint8_t)((1 << bits[b]) - 1); /* row 5 */
            assert_int_equal(ptq_pack(arena, &q, &p, &err), PTQ_OK);
            int wide = bits[b] == 3 ? 2 : bits[b], in_word = 32 / wide, pair = place / 2, f = pair % 8;
            uint32_t want = ((1u << wide) - 1) << (place % in_word / 2 * wide + place % 2 * 16);
            assert_int_equal(p.code[place / in_word * 16 + 5], want);
            int at = 4 * (f / 2) + 2 * (pair / 8) + f % 2;
            if (bits[b] == 3) assert_int_equal(p.code[2 * 16 + 5], 1u << (at + place % 2 * 16));
            ptq_arena_free(arena);
        }
}

/* 3 bits are 3 bits; what a group costs beyond its codes is its scale and zero. */
static void test_sizes(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(3, "sizes");
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    const int bits[] = {2, 3, 4, 8};
    for (int b = 0; b < 4; b++)
        for (int f16 = 0; f16 < 2; f16++) {
            struct ptq_qmat q;
            struct ptq_packed p;
            make_qmat(arena, &q, &(struct ptq_qmat_case){.n = 512, .k = 512, .w_bit = bits[b], .group_size = 128}, 0,
                      f16, &rng);
            assert_int_equal(ptq_pack(arena, &q, &p, &err), PTQ_OK);
            double want = bits[b] + ((f16 ? 16 : 32) + (bits[b] > 4 ? 8 : 4)) / 128.0 + 8 * 128 / (512.0 * 512);
            assert_true(fabs(ptq_packed_bits(&p) - want) < 1e-12);
        }
    ptq_arena_free(arena);
}

static void test_what_has_no_packed_form(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(4, "no form");
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    struct ptq_packed p;
    for (int what = 0; what < 5; what++) {
        struct ptq_qmat q;
        make_qmat(arena, &q, &(struct ptq_qmat_case){.n = 5, .k = 64, .w_bit = 4, .group_size = 32, .n_keep = 2}, 0, 0,
                  &rng);
        if (what == 0) q.zero[7] = 2.5f;
        if (what == 1) q.zero[7] = 16;
        if (what == 2) q.zero[7] = NAN;
        if (what == 3) q.scale[7] = INFINITY;
        if (what == 4) q.kept[7] = 1 + 1e-6f;
        assert_int_equal(ptq_pack(arena, &q, &p, &err), PTQ_EINPUT);
        assert_non_null(strstr(err.text, "row 3, number 1"));
        assert_non_null(strstr(err.text, "--path fp32"));
    }
    ptq_arena_free(arena);
}

static void view_fails(const unsigned char *image, size_t bytes, const char *words)
{
    struct ptq_error err;
    struct ptq_packed p;
    assert_int_equal(ptq_packed_view(image, bytes, &p, &err), PTQ_EINPUT);
    if (!strstr(err.text, words)) fail_msg("'%s' does not say '%s'", err.text, words);
}

static void test_bad_images(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(5, "bad images");
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    struct ptq_qmat q;
    struct ptq_packed p, seen;
    make_qmat(arena, &q, &(struct ptq_qmat_case){5, 64, 3, 32, 2, 1, 1}, 0, 0, &rng);
    assert_int_equal(ptq_pack(arena, &q, &p, &err), PTQ_OK);
    unsigned char *image = ptq_alloc(arena, p.bytes + 64, "copy");
    memcpy(image, p.image, p.bytes);
    for (size_t cut = 0; cut < p.bytes; cut += 61) view_fails(image, cut, cut < 128 ? "no packed linear" : "bytes");
    view_fails(image, p.bytes + 64, "bytes");
    image[8] = 2;
    view_fails(image, p.bytes, "version 2");
    image[8] = PTQ_PACK_VERSION;
    const size_t perm = (size_t)((const unsigned char *)p.perm - p.image);
    memcpy(image + perm, image + perm + 4, 4); /* a column twice */
    view_fails(image, p.bytes, "its order names a column twice, or one that is not there");
    memcpy(image, p.image, p.bytes);
    *(image + ((const unsigned char *)p.zero - p.image)) = 0x88; /* of 3 bits */
    view_fails(image, p.bytes, "a zero is no code");
    memcpy(image, p.image, p.bytes);
    *(image + ((const unsigned char *)p.keep - p.image)) = 64;
    view_fails(image, p.bytes, "its salient columns do not ascend, or one is not there");
    memcpy(image, p.image, p.bytes);
    *(image + ((const unsigned char *)p.divided - p.image)) = 64;
    view_fails(image, p.bytes, "its divided columns do not ascend, or one is not there");
    /* Any byte changed: refused, or an image whose numbers can be used without reading outside. */
    for (size_t i = 8; i < p.bytes; i++) {
        memcpy(image, p.image, p.bytes);
        image[i] ^= (unsigned char)(1 + ptq_rng_below(&rng, 255));
        if (ptq_packed_view(image, p.bytes, &seen, &err) == PTQ_OK) ptq_unpack(arena, &seen, &q);
    }
    ptq_arena_free(arena);
}

/* Each number of the head in turn beyond what it may be; places as struct head of kernels/packed.c has them. */
static void test_bad_heads(void **state)
{
    (void)state;
    static const struct {
        size_t at, bytes;
        int64_t value;
    } rows[] = {
        {16, 8, 0},
        {16, 8, (int64_t)1 << 40},
        {24, 8, 0},
        {24, 8, (int64_t)1 << 40}, /* n, k */
        {32, 8, -2},
        {32, 8, 0},
        {32, 8, (int64_t)1 << 40}, /* group size */
        {40, 8, -1},
        {40, 8, 65},
        {48, 8, -1},
        {48, 8, 65}, /* kept, divided */
        {56, 4, 1},
        {56, 4, 9}, /* bits */
        {60, 4, 2},
        {64, 4, -1},
        {64, 4, 2},
        {68, 4, 2},
        {72, 4, 2},
        {76, 4, 2},
        {80, 4, -1},
        {12, 4, 64}, /* the head's own size */
    };
    struct ptq_rng rng = ptq_rng_make(5, "bad heads");
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    struct ptq_qmat q;
    struct ptq_packed p;
    make_qmat(arena, &q, &(struct ptq_qmat_case){5, 64, 3, 32, 2, 1, 1}, 0, 0, &rng);
    assert_int_equal(ptq_pack(arena, &q, &p, &err), PTQ_OK);
    unsigned char *image = ptq_alloc(arena, p.bytes, "copy");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memcpy(image, p.image, p.bytes);
        memcpy(image + rows[i].at, &rows[i].value, rows[i].bytes);
        view_fails(image, p.bytes, "head is damaged");
    }
    ptq_arena_free(arena);
}

/* Numbers that no linear has: a scale, in either form, or a divisor that is not finite, a divisor of 0. */
static void test_bad_numbers(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(5, "bad numbers");
    struct ptq_arena *arena = ptq_arena_make("test");
    for (int f16 = 0; f16 < 2; f16++) {
        static const float divisors[] = {NAN, INFINITY, 0};
        struct ptq_error err;
        struct ptq_qmat q;
        struct ptq_packed p, seen;
        make_qmat(arena, &q, &(struct ptq_qmat_case){5, 64, 3, 32, 2, 1, 1}, 0, 0, &rng);
        q.grid.scale_f16 = f16;
        for (int64_t i = 0; f16 && i < q.n * q.n_groups; i++) q.scale[i] = 0.5f;
        assert_int_equal(ptq_pack(arena, &q, &p, &err), PTQ_OK);
        unsigned char *image = ptq_alloc(arena, p.bytes, "copy");
        const size_t scale = (size_t)((const unsigned char *)(p.scale ? (const void *)p.scale : p.scale16) - p.image);
        memcpy(image, p.image, p.bytes);
        memcpy(image + scale, p.scale ? "\0\0\xc0\x7f" : "\0\x7e", p.scale ? 4 : 2);
        view_fails(image, p.bytes, "numbers are damaged: a scale is not finite");
        memcpy(image, p.image, p.bytes);
        assert_true(p.n_keep > 0);
        memcpy(image + ((const unsigned char *)p.kept - p.image), "\0\x7c", 2);
        view_fails(image, p.bytes, "numbers are damaged: a salient weight is not finite");
        assert_true(p.n_divided > 0);
        for (int i = 0; i < 3; i++) {
            memcpy(image, p.image, p.bytes);
            memcpy(image + ((const unsigned char *)p.divisor - p.image), &divisors[i], 4);
            view_fails(image, p.bytes, "numbers are damaged: a divisor is 0 or not finite");
        }
        assert_int_equal(ptq_packed_view(p.image, p.bytes, &seen, &err), PTQ_OK);
    }
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_drawn_order),
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_what_has_no_packed_form),
        cmocka_unit_test(test_bad_images),     cmocka_unit_test(test_bad_heads),
        cmocka_unit_test(test_bad_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
