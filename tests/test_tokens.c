/* Windows cut from a token stream: the protocol of DESIGN section 4, on streams short enough to see. */
#include "tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static int32_t ids[11] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

static void cut(struct ptq_arena *arena, int32_t bos_id, enum ptq_bos bos, int64_t length, int64_t max,
                struct ptq_windows *out)
{
    struct ptq_stream_ids stream = {ids, 11, bos_id};
    struct ptq_error err;
    assert_int_equal(ptq_windows_cut(arena, &stream, "text", length, max, 0, bos, PTQ_SAMPLE_FIRST, 0, out, &err),
                     PTQ_OK);
}

static void expect(const struct ptq_windows *w, int64_t n, const int32_t *want)
{
    assert_int_equal(w->n, n);
    assert_memory_equal(w->id, want, sizeof *want * (size_t)(n * w->length));
}

static void test_bos(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_windows w;
    cut(arena, 1, PTQ_BOS_NONE, 4, 0, &w); /* the tail of 3 is dropped */
    expect(&w, 2, (const int32_t[]){10, 11, 12, 13, 14, 15, 16, 17});
    cut(arena, 1, PTQ_BOS_STREAM, 4, 0, &w); /* BOS makes a third window */
    expect(&w, 3, (const int32_t[]){1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20});
    cut(arena, -1, PTQ_BOS_STREAM, 4, 0, &w); /* a tokenizer without one */
    expect(&w, 2, (const int32_t[]){10, 11, 12, 13, 14, 15, 16, 17});
    cut(arena, 1, PTQ_BOS_WINDOW, 4, 0, &w);
    expect(&w, 3, (const int32_t[]){1, 10, 11, 12, 1, 13, 14, 15, 1, 16, 17, 18});
    cut(arena, 1, PTQ_BOS_NONE, 4, 1, &w);
    expect(&w, 1, (const int32_t[]){10, 11, 12, 13});
    /* sha256 of 0a000000 0b000000 0c000000 0d000000 */
    assert_string_equal(w.sha256, "4b55f2919bb18010fb912098dd4f0a113102404c60e446d3a3966b2eaffd0a24");
    ptq_arena_free(arena);
}

static void test_short(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_stream_ids stream = {ids, 11, -1};
    struct ptq_windows w;
    struct ptq_error err;
    assert_int_equal(ptq_windows_cut(arena, &stream, "a.txt", 12, 0, 0, PTQ_BOS_NONE, PTQ_SAMPLE_FIRST, 0, &w, &err),
                     PTQ_EINPUT);
    assert_non_null(strstr(err.text, "a.txt: 11 tokens give 0 windows of 12"));
    assert_int_equal(ptq_windows_cut(arena, &stream, "a.txt", 4, 3, 3, PTQ_BOS_NONE, PTQ_SAMPLE_FIRST, 0, &w, &err),
                     PTQ_EINPUT);
    assert_non_null(strstr(err.text, "but 3 are asked for"));
    ptq_arena_free(arena);
}

/* Random windows: whole, inside the stream, the same for one seed, others for another. */
static void test_random(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_stream_ids stream = {ids, 11, -1};
    struct ptq_windows w[3];
    struct ptq_error err;
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            ptq_windows_cut(arena, &stream, "t", 3, 3, 3, PTQ_BOS_NONE, PTQ_SAMPLE_RANDOM, i == 2 ? 6 : 5, &w[i], &err),
            PTQ_OK);
    for (int64_t i = 0; i < 3; i++)
        for (int t = 1; t < 3; t++) assert_int_equal(w[0].id[3 * i + t], w[0].id[3 * i] + t);
    assert_string_equal(w[0].sha256, w[1].sha256);
    assert_string_not_equal(w[0].sha256, w[2].sha256);
    ptq_arena_free(arena);
}

/* Every start is drawn, the last that the stream holds among them; gptq's published bound leaves that one out. */
static void test_starts(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_stream_ids stream = {ids, 11, -1};
    struct ptq_windows w;
    struct ptq_error err;
    for (int gptq = 0; gptq < 2; gptq++) {
        int drawn[12] = {0}, last = gptq ? 7 : 8;
        for (uint64_t seed = 0; seed < 60; seed++) {
            assert_int_equal(ptq_windows_cut(arena, &stream, "t", 3, 3, 3, PTQ_BOS_NONE,
                                             gptq ? PTQ_SAMPLE_GPTQ : PTQ_SAMPLE_RANDOM, seed, &w, &err),
                             PTQ_OK);
            for (int64_t i = 0; i < w.n; i++) drawn[w.id[3 * i] - ids[0]]++;
        }
        for (int start = 0; start < 12; start++) assert_int_equal(drawn[start] > 0, start <= last);
    }
    ptq_arena_free(arena);
}

/* SHA-256 of the ids as 4 bytes each, the lowest first: of 0x01020304, 70000, 255 and -1. */
static void test_hash(void **state)
{
    (void)state;
    int32_t id[] = {0x01020304, 70000, 255, -1};
    struct ptq_windows w = {.id = id, .n = 2, .length = 2};
    ptq_windows_hash(&w);
    assert_string_equal(w.sha256, "9e48577c70ee45151a3028bb6594d52bb32b8b581fe7ee0d4a446d3f3d4c3bf8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bos), cmocka_unit_test(test_short),
                                       cmocka_unit_test(test_random), cmocka_unit_test(test_starts),
                                       cmocka_unit_test(test_hash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
