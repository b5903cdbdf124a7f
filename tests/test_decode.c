/* Decoding with a cache against the whole forward pass: the same logits whatever the tokens came in, float32 and
 * packed; choosing tokens; text in whole characters. */
#include "decode.h"
#include "files.h"
#include "fixtures/greedy.h"
#include "pieces.h"
#include "hold.h"

#include <math.h>

enum { TOKENS = 45 };

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

/* What a window's logits are, all at once. */
static float *whole(struct ptq_arena *arena, const struct ptq_held *held, const int32_t *id)
{
    struct ptq_forward f;
    struct ptq_error err;
    const struct ptq_config *c = &held->model->config;
    float *logits = ptq_new(arena, float, TOKENS * c->vocab);
    ptq_forward_make(arena, held->model, id, 1, TOKENS, &f);
    OK(ptq_forward_embed(&f, &err));
    for (int64_t b = 0; b < c->blocks; b++) OK(ptq_forward_block(&f, &held->block[b], b, NULL, &err));
    OK(ptq_forward_logits(&f, arena, logits, &err));
    return logits;
}

/* Float32: other shapes of the same products. Packed: such a last bit may round an activation to the next of its 16-bit
 * integers, 1.5e-5 of a chunk's largest, and these models have outlier channels. */
static void compare(const char *name, const struct ptq_held *held, const float *want, const float *got, int64_t at)
{
    int64_t vocab = held->model->config.vocab;
    float bound = strcmp(held->path, "packed") ? 5e-5f : 5e-4f;
    for (int64_t i = 0; i < vocab; i++)
        if (!(fabsf(got[i] - want[at * vocab + i]) <= bound + bound * fabsf(want[at * vocab + i])))
            fail_msg("%s %s %s, token %ld: logit %ld is %g, and %g in the whole pass", name, held->spec, held->path,
                     (long)at, (long)i, (double)got[i], (double)want[at * vocab + i]);
}

/* The prompt in one piece, then tokens one by one, then some together. */
static void check(const char *folder, const char *name, const char *spec, const char *path)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_session *session = ptq_session_make();
    struct ptq_error err;
    struct ptq_held held;
    struct ptq_decoder d;
    struct ptq_job job = {.model = ptq_format(arena, "%s/%s", folder, name), .spec = spec, .path = path};
    OK(ptq_hold(session, &job, arena, &held, &err));
    int32_t *id = ptq_new(arena, int32_t, TOKENS);
    struct ptq_rng rng = ptq_rng_make(1, name);
    for (int i = 0; i < TOKENS; i++) id[i] = (int32_t)ptq_rng_below(&rng, (uint64_t)held.model->config.vocab);
    const float *want = whole(arena, &held, id);
    OK(ptq_decoder_make(arena, held.model, held.block, TOKENS, &d, &err));
    const int64_t pieces[] = {17, 1, 1, 1, 12, 1, 2, 10};
    for (int i = 0; i < 8; i++) {
        OK(ptq_decoder_push(&d, id + d.n, pieces[i], &err));
        compare(name, &held, want, d.logits, d.n - 1);
    }
    assert_int_equal(d.n, TOKENS);
    assert_int_equal(ptq_decoder_push(&d, id, 1, &err), PTQ_EINPUT);
    ptq_session_free(session);
    ptq_arena_free(arena);
}

static void test_cache_is_whole_pass(void **state)
{
    (void)state;
    const char *const models[] = {"llama", "llama3", "opt", "opt350", "llama.gguf"};
    for (int i = 0; i < 5; i++) {
        check(PTQ_FIXTURES "/models", models[i], "fp16", "packed");
        check(PTQ_FIXTURES "/models", models[i], "rtn:w4,g32", "packed");
    }
    check(PTQ_FIXTURES "/models", "llama", "rtn:w3,g32", "fp32");
}

static void test_golden_models(void **state)
{
    (void)state;
    const char *const models[] = {"bloom", "gpt2", "llama", "llama3", "mistral", "opt", "opt350", "qwen2"};
    if (access(PTQ_GOLDEN "/models", R_OK)) {
        printf("skipped: %s/models is not there\n", PTQ_GOLDEN);
        skip();
    }
    for (int i = 0; i < 8; i++) check(PTQ_GOLDEN "/models", models[i], "rtn:w4,g32", "packed");
}

static void test_greedy_is_transformers(void **state)
{
    (void)state;
    const struct ptq_choice likeliest = {0, 1, 0};
    for (size_t m = 0; m < sizeof greedy / sizeof *greedy; m++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_session *session = ptq_session_make();
        struct ptq_error err;
        struct ptq_held held;
        struct ptq_decoder d;
        struct ptq_job job = {.model = ptq_format(arena, PTQ_FIXTURES "/models/%s", greedy[m].model)};
        OK(ptq_hold(session, &job, arena, &held, &err));
        OK(ptq_decoder_make(arena, held.model, held.block, GREEDY_PROMPT + GREEDY_NEW, &d, &err));
        OK(ptq_decoder_push(&d, greedy[m].prompt, GREEDY_PROMPT, &err));
        for (int i = 0; i < GREEDY_NEW; i++) {
            int32_t id;
            OK(ptq_choose(d.logits, held.model->config.vocab, &likeliest, NULL, arena, &id, &err));
            if (id != greedy[m].next[i])
                fail_msg("%s, new token %d: %d, and transformers says %d", greedy[m].model, i, id, greedy[m].next[i]);
            OK(ptq_decoder_push(&d, &id, 1, &err));
        }
        ptq_session_free(session);
        ptq_arena_free(arena);
    }
}

static void test_capacity(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_session *session = ptq_session_make();
    struct ptq_error err;
    struct ptq_held held;
    struct ptq_decoder d;
    struct ptq_job job = {.model = PTQ_FIXTURES "/models/opt"};
    OK(ptq_hold(session, &job, arena, &held, &err));
    assert_int_equal(ptq_decoder_make(arena, held.model, held.block, 1 << 20, &d, &err), PTQ_EUSAGE);
    OK(ptq_decoder_make(arena, held.model, held.block, 4, &d, &err));
    int32_t bad = (int32_t)held.model->config.vocab;
    assert_int_equal(ptq_decoder_push(&d, &bad, 1, &err), PTQ_EINPUT);
    ptq_session_free(session);
    ptq_arena_free(arena);
}

/* ---- choosing ---- */

static void count(const struct ptq_choice *choice, const float *logits, int n, int *times, int draws)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_rng rng = ptq_rng_make(3, "choose");
    struct ptq_error err;
    int32_t id;
    memset(times, 0, sizeof *times * (size_t)n);
    for (int i = 0; i < draws; i++) {
        OK(ptq_choose(logits, n, choice, &rng, arena, &id, &err));
        times[id]++;
    }
    ptq_arena_free(arena);
}

static void test_choosing(void **state)
{
    (void)state;
    const float logits[] = {0, 2, 1, 2, -1}; /* p = .0530 .3917 .1441 .3917 .0195 at temperature 1 */
    int times[5];
    count(&(struct ptq_choice){0, 1, 0}, logits, 5, times, 10);
    assert_int_equal(times[1], 10); /* the first of equals */
    count(&(struct ptq_choice){1, 1, 0}, logits, 5, times, 20000);
    const double p[] = {0.0530, 0.3917, 0.1441, 0.3917, 0.0195};
    for (int i = 0; i < 5; i++) assert_true(fabs(times[i] / 20000.0 - p[i]) < 4 * sqrt(p[i] / 20000));
    count(&(struct ptq_choice){1, 1, 3}, logits, 5, times, 5000);
    assert_true(times[0] == 0 && times[4] == 0 && times[2] > 0);
    count(&(struct ptq_choice){1, 0.7, 0}, logits, 5, times, 5000); /* .3917 + .3917 reach it */
    assert_true(times[0] == 0 && times[2] == 0 && times[4] == 0 && times[1] > 2000 && times[3] > 2000);
    count(&(struct ptq_choice){1, 0.1, 0}, logits, 5, times, 500);
    assert_int_equal(times[1], 500);
    count(&(struct ptq_choice){0.01, 1, 0}, logits, 3, times, 500);
    assert_int_equal(times[1], 500);
    struct ptq_error err;
    struct ptq_rng rng = ptq_rng_make(0, "");
    int32_t id;
    assert_int_equal(ptq_choose(logits, 5, &(struct ptq_choice){-1, 1, 0}, &rng, NULL, &id, &err), PTQ_EUSAGE);
    assert_int_equal(ptq_choose(logits, 5, &(struct ptq_choice){1, 0, 0}, &rng, NULL, &id, &err), PTQ_EUSAGE);
}

/* ---- text ---- */

/* Bytes given one at a time and all together come out the same, whole characters only. */
static void expect_text(const char *bytes, const char *want)
{
    for (int together = 0; together < 2; together++) {
        struct ptq_utf8_stream s = {0};
        char out[256];
        size_t n = 0, size = strlen(bytes);
        for (size_t i = 0; !together && i < size; i++) n += ptq_utf8_push(&s, bytes + i, 1, out + n);
        if (together) n = ptq_utf8_push(&s, bytes, size, out);
        n += ptq_utf8_finish(&s, out + n);
        out[n] = 0;
        assert_string_equal(out, want);
    }
}

static void test_whole_characters(void **state)
{
    (void)state;
    expect_text("plain", "plain");
    expect_text("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    expect_text("a\xff z", "a\xef\xbf\xbd z");
    expect_text("\xe2\x82", "\xef\xbf\xbd");
    expect_text("\xe2\x82z", "\xef\xbf\xbdz");
    expect_text("\xc3\xc3\xa9", "\xef\xbf\xbd\xc3\xa9");
    expect_text("\xe0\x80x", "\xef\xbf\xbd\xef\xbf\xbdx");               /* too long a form: neither byte is anything */
    expect_text("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* half a surrogate pair */
}

/* Every text that the tokenizer can say comes back from its ids. */
static void test_pieces(void **state)
{
    (void)state;
    const char *const models[] = {"llama", "llama3", "opt", "opt350"};
    const char *const text = "The caf\xc3\xa9 has  two spaces, \xe2\x82\xac 5 and 12 lines";
    for (int i = 0; i < 4; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_tokenizer *tokenizer;
        struct ptq_pieces pieces;
        struct ptq_error err;
        int32_t *id;
        size_t n, used = 0, size;
        char back[256];
        OK(ptq_tokenizer_open(arena, ptq_format(arena, PTQ_FIXTURES "/models/%s", models[i]), &tokenizer, &err));
        OK(ptq_tokenizer_encode(tokenizer, text, strlen(text), 0, arena, &id, &n, &err));
        ptq_pieces_make(arena, tokenizer, &pieces);
        for (size_t t = 0; t < n; t++) {
            const char *piece = ptq_piece(&pieces, id[t], arena, &size);
            assert_true(used + size < sizeof back);
            memcpy(back + used, piece, size);
            used += size;
        }
        back[used] = 0;
        assert_string_equal(back + (back[0] == ' '), text); /* Llama-2 puts a space before */
        ptq_piece(&pieces, -1, arena, &size);
        assert_int_equal(size, 0);
        ptq_tokenizer_close(tokenizer);
        ptq_arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache_is_whole_pass),
        cmocka_unit_test(test_golden_models),
        cmocka_unit_test(test_greedy_is_transformers),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_choosing),
        cmocka_unit_test(test_whole_characters),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
