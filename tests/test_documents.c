/* Texts as documents: paragraphs, JSON lines, white space, and which line is at fault. */
#include "documents.h"

#include "files.h"
#include "mapped.h"

static enum ptq_status read_all(struct ptq_arena *arena, const char *path, const char *text, struct ptq_documents *out,
                                struct ptq_error *err)
{
    return ptq_documents_read(arena, path, text, strlen(text), out, err);
}

static void expect(const struct ptq_documents *d, int32_t n, const char *const *want)
{
    assert_int_equal(d->n, n);
    for (int32_t i = 0; i < n; i++) {
        assert_int_equal(d->document[i].size, strlen(want[i]));
        assert_memory_equal(d->document[i].text, want[i], strlen(want[i]));
    }
}

static void test_paragraphs(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_documents d;
    struct ptq_error err;
    assert_int_equal(read_all(arena, "a.txt", "\n \t\none\n two\n\n\r\nthree\n\xc2\xa0\n\nfour", &d, &err), PTQ_OK);
    expect(&d, 3, (const char *const[]){"one\n two", "three", "four"});
    assert_int_equal(d.paragraphs, 1);
    assert_int_equal(read_all(arena, "a.txt", " \n\n", &d, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "a.txt: holds no paragraph"));
    ptq_arena_free(arena);
}

static void test_json_lines(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_documents d;
    struct ptq_error err;
    assert_int_equal(
        read_all(arena, "a.jsonl", "{\"text\": \"a\\n\\nb\"}\n\n{\"id\": 1, \"text\": \" \\u00e9\"}\r\n", &d, &err),
        PTQ_OK);
    expect(&d, 2, (const char *const[]){"a\n\nb", " \xc3\xa9"});
    assert_int_equal(d.paragraphs, 0);
    ptq_arena_free(arena);
}

/* Each bad file and words that the sentence must hold. */
static const char *const refused[][2] = {
    {"{\"text\": \"a\"}\n\n{\"text\": \"b\"\n", "a.jsonl: line 3 of the file"},
    {"{\"text\": \"a\"}\n[1]\n", "a.jsonl: line 2 of the file: must be an object"},
    {"{\"title\": \"a\"}\n", "'text' is missing"},
    {"{\"text\": 1}\n", "a.jsonl: line 1 of the file"},
    {"{\"text\": \"\xff\"}\n", "a.jsonl: line 1 of the file"},
    {"", "holds no line of JSON"},
};

static void test_refused(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct ptq_documents d;
        struct ptq_error err = {0};
        assert_int_equal(read_all(arena, "a.jsonl", refused[i][0], &d, &err), PTQ_EINPUT);
        if (!strstr(err.text, refused[i][1])) fail_msg("%zu says: %s", i, err.text);
    }
    ptq_arena_free(arena);
}

/* What is around the text, and whether Python takes it for white space. */
static void test_strip(void **state)
{
    (void)state;
    static const char *const space[] = {" ",        "\t\n\r\v\f",   "\x1c\x1f",     "\xc2\x85",
                                        "\xc2\xa0", "\xe1\x9a\x80", "\xe2\x80\x8a", "\xe3\x80\x80"};
    static const char *const text[] = {"x",        "x y",  "\xe2\x80\x8b", "\xef\xbb\xbf",
                                       "\xc3\xa0", "\x7f", "\x1b",         "\xc2\x84"};
    struct ptq_arena *arena = ptq_arena_make("test");
    for (size_t s = 0; s < sizeof space / sizeof *space; s++)
        for (size_t t = 0; t < sizeof text / sizeof *text; t++) {
            const char *all = ptq_format(arena, "%s%s%s", space[s], text[t], space[s]);
            struct ptq_document d = ptq_document_strip((struct ptq_document){all, strlen(all)});
            assert_int_equal(d.size, strlen(text[t]));
            assert_memory_equal(d.text, text[t], d.size);
        }
    assert_int_equal(ptq_document_strip((struct ptq_document){" \n\xc2\xa0", 4}).size, 0);
    ptq_arena_free(arena);
}

/* What is looked at before a file is read. */
static void test_files(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    char folder[64], *text;
    size_t size;
    struct ptq_error err;
    make_test_folder(folder);
    static const struct {
        const char *name, *text;
    } good[] = {{"a.txt", "x"}, {"empty.jsonl", ""}, {"a.json", "{\"text\": \"a\"}\n"}, {"a.jsonl", "{}"}};
    for (int as_documents = 0; as_documents < 2; as_documents++)
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
            write_test_text(folder, good[i].name, good[i].text);
            if (ptq_text_read(arena, ptq_join(arena, folder, good[i].name), as_documents, &text, &size, &err))
                fail_msg("%s", err.text);
            assert_string_equal(text, good[i].text);
        }
    assert_refused("none", ptq_text_read(arena, ptq_join(arena, folder, "none"), 0, &text, &size, &err), &err,
                   "none: cannot be opened");
    write_test_text(folder, "z", "\x1f\x8b");
    assert_refused("gzip", ptq_text_read(arena, ptq_join(arena, folder, "z"), 0, &text, &size, &err), &err, "z: ;gzip");
    assert_true(ptq_is_json_lines("a.json") && ptq_is_json_lines("a.jsonl") && !ptq_is_json_lines("json"));
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paragraphs), cmocka_unit_test(test_json_lines),
                                       cmocka_unit_test(test_refused), cmocka_unit_test(test_strip),
                                       cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
