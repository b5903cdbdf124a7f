/* The published samplings, against the windows that Python's loops took (fixtures/make_sampling.py), and what is said
 * where a text does not give what is asked for. */
#include "sampling.h"

#include "fixtures/sampling/ids.h"
#include "tokenizers.h"

#define FOLDER PTQ_FIXTURES "/sampling/"
#define ROWS(table) (sizeof(table) / sizeof *(table))

struct check {
    struct opened o;
    struct ptq_documents documents;
    struct ptq_stream_ids stream;
    char *text;
    size_t size;
};

static void begin(struct check *c, const char *path)
{
    struct ptq_error err;
    *c = (struct check){.o = open_json(FIXTURE "opt.tokenizer.json")};
    if (ptq_read_file(c->o.arena, path, 1 << 20, &c->text, &c->size, &err)) fail_msg("%s", err.text);
    if (ptq_documents_read(c->o.arena, path, c->text, c->size, &c->documents, &err)) fail_msg("%s", err.text);
    encode_plain(&c->o, c->text, c->size, &c->stream.id, &c->stream.n);
    c->stream.bos = ptq_tokenizer_bos(c->o.tokenizer);
    assert_int_equal(c->stream.bos, 2);
}

static void expect(const struct ptq_windows *w, const int32_t *want, size_t n, size_t length)
{
    assert_int_equal(w->n, n);
    assert_int_equal(w->length, length);
    assert_memory_equal(w->id, want, n * length * sizeof *want);
    struct ptq_windows again = *w;
    ptq_windows_hash(&again);
    assert_string_equal(w->sha256, again.sha256);
}

static void test_gptq_stream(void **state)
{
    (void)state;
    struct check c;
    struct ptq_windows w;
    struct ptq_error err;
    begin(&c, FOLDER "paragraphs.txt");
    assert_int_equal(ptq_windows_cut(c.o.arena, &c.stream, "t", 12, 5, 5, PTQ_BOS_STREAM, PTQ_SAMPLE_GPTQ, 0, &w, &err),
                     PTQ_OK);
    expect(&w, *gptq_stream_0, ROWS(gptq_stream_0), 12);
    assert_int_equal(ptq_windows_cut(c.o.arena, &c.stream, "t", 12, 5, 5, PTQ_BOS_NONE, PTQ_SAMPLE_GPTQ, 0, &w, &err),
                     PTQ_OK);
    expect(&w, *gptq_stream_bare, ROWS(gptq_stream_bare), 12);
    close_opened(&c.o);
}

/* One token more than a window is the least; then every window begins at the first token. */
static void test_gptq_short_stream(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_stream_ids stream = {(int32_t[]){5, 6, 7, 8}, 4, -1};
    struct ptq_windows w;
    struct ptq_error err;
    assert_int_equal(ptq_windows_cut(arena, &stream, "t", 3, 2, 2, PTQ_BOS_STREAM, PTQ_SAMPLE_GPTQ, 0, &w, &err),
                     PTQ_OK);
    expect(&w, (const int32_t[]){5, 6, 7, 5, 6, 7}, 2, 3);
    assert_int_equal(ptq_windows_cut(arena, &stream, "t", 4, 2, 2, PTQ_BOS_STREAM, PTQ_SAMPLE_GPTQ, 0, &w, &err),
                     PTQ_EINPUT);
    assert_non_null(strstr(err.text, "t: 4 tokens hold no random window of 4"));
    ptq_arena_free(arena);
}

static const struct published {
    const char *file;
    struct ptq_sampling sampling;
    const int32_t *want;
    size_t n;
} published[] = {
#define WANT(table) *table, ROWS(table)
    {FOLDER "documents.jsonl", {PTQ_SAMPLE_GPTQ, PTQ_BOS_STREAM, 40, 6, 0}, WANT(gptq_documents_0)},
    {FOLDER "documents.jsonl", {PTQ_SAMPLE_GPTQ, PTQ_BOS_STREAM, 40, 6, 3}, WANT(gptq_documents_3)},
    {FOLDER "documents.jsonl", {PTQ_SAMPLE_AWQ, PTQ_BOS_STREAM, 60, 12, 0}, WANT(awq_documents_0)},
    {FOLDER "documents.jsonl", {PTQ_SAMPLE_AWQ, PTQ_BOS_STREAM, 60, 12, 1}, WANT(awq_documents_1)},
    {FOLDER "documents.jsonl", {PTQ_SAMPLE_AWQ, PTQ_BOS_NONE, 60, 12, 0}, WANT(awq_documents_bare)},
    {FOLDER "paragraphs.txt", {PTQ_SAMPLE_AWQ, PTQ_BOS_STREAM, 60, 12, 0}, WANT(awq_paragraphs_0)},
#undef WANT
};

static void test_documents(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const struct published *p = &published[i];
        struct check c;
        struct ptq_windows w;
        struct ptq_error err;
        begin(&c, p->file);
        if (ptq_sample_documents(c.o.arena, c.o.tokenizer, &c.documents, "d", &p->sampling, &w, &err))
            fail_msg("%s", err.text);
        expect(&w, p->want, p->n, (size_t)p->sampling.length);
        close_opened(&c.o);
    }
}

/* What cannot be had, and the words that the sentence must hold. */
static const struct refused {
    struct ptq_sampling sampling;
    const char *says;
} refused[] = {
    {{PTQ_SAMPLE_GPTQ, PTQ_BOS_STREAM, 4000, 6, 0}, "d: none of its 40 documents is longer than 4000 tokens"},
    {{PTQ_SAMPLE_AWQ, PTQ_BOS_STREAM, 60, 41, 0}, "d: holds 40 documents, but 41 are asked for"},
    {{PTQ_SAMPLE_AWQ, PTQ_BOS_STREAM, 60, 40, 0}, "of its 40 documents hold 1 to 60 tokens, but 40 are asked for"},
    {{PTQ_SAMPLE_AWQ, PTQ_BOS_NONE, 1, 3, 0}, "d: 0 of its 40 documents"},
    {{PTQ_SAMPLE_AWQ, PTQ_BOS_STREAM, 400, 1, 0}, "less than one window of 400"},
};

static void test_refused(void **state)
{
    (void)state;
    struct check c;
    struct ptq_windows w;
    begin(&c, FOLDER "documents.jsonl");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct ptq_error err;
        assert_int_equal(
            ptq_sample_documents(c.o.arena, c.o.tokenizer, &c.documents, "d", &refused[i].sampling, &w, &err),
            PTQ_EINPUT);
        if (!strstr(err.text, refused[i].says)) fail_msg("%zu says: %s", i, err.text);
    }
    close_opened(&c.o);
}

static void test_bos(void **state)
{
    (void)state;
    struct ptq_error err;
    assert_int_equal(ptq_sampling_check(PTQ_SAMPLE_AWQ, PTQ_BOS_NONE, &err), PTQ_OK);
    assert_int_equal(ptq_sampling_check(PTQ_SAMPLE_RANDOM, PTQ_BOS_WINDOW, &err), PTQ_OK);
    assert_int_equal(ptq_sampling_check(PTQ_SAMPLE_GPTQ, PTQ_BOS_WINDOW, &err), PTQ_EUSAGE);
    assert_int_equal(ptq_sampling_check(PTQ_SAMPLE_AWQ, PTQ_BOS_WINDOW, &err), PTQ_EUSAGE);
    assert_non_null(strstr(err.text, "take bos stream or none"));
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"auto", "first", "random", "gptq", "awq"};
    struct ptq_error err;
    enum ptq_sample sample;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ptq_sample_parse(names[i], &sample, &err), PTQ_OK);
        assert_int_equal(sample, i);
        assert_string_equal(ptq_sample_name(sample), names[i]);
    }
    assert_int_equal(ptq_sample_parse("pile", &sample, &err), PTQ_EUSAGE);
    assert_non_null(strstr(err.text, "auto, first, random, gptq, awq"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gptq_stream), cmocka_unit_test(test_gptq_short_stream),
                                       cmocka_unit_test(test_documents),   cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_bos),         cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
