/* Tokenizers that are right and seldom met: what they make of a text, and the parts of a tokenizer one by one. */
#include "folder_test.h"
#include "pieces.h"
#include "scanner.h"
#include "tokenizers.h"
#include "words.h"

/* Quotes are ' in the texts below. */
static void write_quoted(const char *name, const char *text)
{
    char *json = ptq_strdup(arena, text);
    for (char *c = json; *c; c++)
        if (*c == '\'') *c = '"';
    write_test_text(folder, name, json);
}

static void expect_ids(const char *what, enum ptq_status status, const struct ptq_error *err, const int32_t *id,
                       size_t n, const int32_t *want, size_t n_want)
{
    if (status) fail_msg("%s: %s", what, err->text);
    if (n != n_want || memcmp(id, want, n * sizeof *id)) {
        for (size_t i = 0; i < n; i++) print_error("%d ", (int)id[i]);
        fail_msg("%s: %zu ids that are not the %zu expected ones", what, n, n_want);
    }
}

#define METASPACE(more) "'pre_tokenizer': {'type': 'Metaspace', 'replacement': '_'" more "},"
#define SPACED "'model': {'vocab': {'_': 0, 'a': 1, 'b': 2, 'a_': 3}, 'merges': ['a _']}"
#define PLAIN "'model': {'vocab': {'a': 0, 'b': 1, 'ab': 2, 'x': 5}, 'merges': ['a b']}"

/* The ids of a text, as Hugging Face's library gives them. */
static const struct {
    const char *name, *json, *text;
    size_t n;
    int32_t id[4];
} rows[] = {
    {"Metaspace", METASPACE("") SPACED, "a b", 4, {0, 1, 0, 2}},
    {"always", METASPACE(", 'prepend_scheme': 'always'") SPACED, "a b", 4, {0, 1, 0, 2}},
    {"first", METASPACE(", 'prepend_scheme': 'first'") SPACED, "a b", 4, {0, 1, 0, 2}},
    {"never", METASPACE(", 'prepend_scheme': 'never'") SPACED, "a b", 3, {1, 0, 2}},
    {"no prefix", METASPACE(", 'add_prefix_space': false") SPACED, "a b", 3, {1, 0, 2}},
    {"not split", METASPACE(", 'split': false") SPACED, "a b", 3, {0, 3, 2}},
    {"empty matches",
     "'pre_tokenizer': {'type': 'Split', 'pattern': {'Regex': 'x*'}, 'behavior': 'Isolated'}," PLAIN,
     "abxb",
     4,
     {0, 1, 5, 1}},
    {"without matches",
     "'pre_tokenizer': {'type': 'Split', 'pattern': {'Regex': 'y'}, 'behavior': 'Isolated'}," PLAIN,
     "abb",
     2,
     {2, 1}},
    /* what one token took of the white space is no longer there for the next */
    {"white space of another",
     "'added_tokens': [{'id': 7, 'content': '<', 'rstrip': true},"
     " {'id': 8, 'content': ' ', 'lstrip': true}]," PLAIN,
     "<  b",
     2,
     {7, 1}},
    /* an added token that is looked for in the normalised text, and is nothing there */
    {"normalised away",
     "'normalizer': {'type': 'Replace', 'pattern': {'String': 'q'}, 'content': ''},"
     "'added_tokens': [{'id': 7, 'content': 'q', 'normalized': true}]," PLAIN,
     "aqb",
     1,
     {2}},
    /* of two with one text and one id the last counts */
    {"twice, the last takes white space",
     "'added_tokens': [{'id': 5, 'content': 'x'}, {'id': 5, 'content': 'x', 'lstrip': true}]," PLAIN,
     "a xb",
     3,
     {0, 5, 1}},
    {"twice, the last after normalisation",
     "'normalizer': {'type': 'Replace', 'pattern': {'String': 'q'}, 'content': 'x'},"
     "'added_tokens': [{'id': 7, 'content': 'qq'}, {'id': 7, 'content': 'qq', 'normalized': true}]," PLAIN,
     "axxb",
     3,
     {0, 7, 1}},
    {"normalised",
     "'normalizer': {'type': 'Replace', 'pattern': {'String': 'q'}, 'content': 'b'},"
     "'added_tokens': [{'id': 7, 'content': 'aqx', 'normalized': true}]," PLAIN,
     "aabxaqx",
     3,
     {0, 7, 7}},
};

static void odd_files_encode(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        int32_t *id;
        size_t n;
        write_quoted("tokenizer.json", ptq_format(arena, "{%s}", rows[i].json));
        struct opened o = open_json(folder);
        enum ptq_status status =
            ptq_tokenizer_encode(o.tokenizer, rows[i].text, strlen(rows[i].text), 0, o.arena, &id, &n, &err);
        expect_ids(rows[i].name, status, &err, id, n, rows[i].id, rows[i].n);
        close_opened(&o);
    }
    unlink(ptq_join(arena, folder, "tokenizer.json"));
}

#define VOCAB "{'a': 0, 'b': 1, 'ab': 2, '\xc4\xa0': 3, '</s>': 4, '<|endoftext|>': 5}"

/* Folders of vocab.json and merges.txt: the ids of "ab<|endoftext|>a", or the words of the refusal. */
static const struct {
    const char *name, *vocab, *merges, *config, *map;
    size_t n;
    int32_t id[6];
    const char *refused;
} folders[] = {
    {"GPT-2's end", VOCAB, "#version: 0.2\na b\n", NULL, NULL, 3, {2, 5, 0}, NULL},
    {"a blank line", VOCAB, "a b\n\n\n", NULL, NULL, 3, {2, 5, 0}, NULL},
    {"a blank line first", VOCAB, "\na b\r\n\r\n", NULL, NULL, 3, {2, 5, 0}, NULL},
    {"no line end at the end", VOCAB, "#version: 0.2\r\na b", NULL, NULL, 3, {2, 5, 0}, NULL},
    {"no merge", VOCAB, "", NULL, NULL, 0, {0}, "merges.txt: holds no merge"},
    {"a header alone", VOCAB, "#version: 0.2\n\n", NULL, NULL, 0, {0}, "merges.txt: holds no merge"},
    {"lines that end in CR", VOCAB, "#version: 0.2\ra b\r", NULL, NULL, 0, {0}, "merges.txt: byte 13 is a CR"},
    {"one line that does", VOCAB, "#version: 0.2\r\na b\r", NULL, NULL, 0, {0}, "merges.txt: byte 18 is a CR"},
    {"a prefix", VOCAB, "a b\n", "{'add_prefix_space': true}", NULL, 5, {3, 2, 5, 3, 0}, NULL},
    {"an empty name", VOCAB, "a b\n", "{'bos_token': ''}", NULL, 3, {2, 5, 0}, NULL},
    {"one that is in no vocabulary", VOCAB, "a b\n", "{'pad_token': '<pad>'}", NULL, 3, {2, 5, 0}, NULL},
    {"a BOS of the map",
     VOCAB,
     "a b\n",
     "{'add_bos_token': true, 'pad_token': '<|endoftext|>'}",
     "{'bos_token': {'content': '</s>'}}",
     4,
     {4, 2, 5, 0},
     NULL},
    {"no BOS", VOCAB, "a b\n", "{'add_bos_token': true}", NULL, 0, {0}, "bos_token to be added;not in the vocabulary"},
    {"no content", VOCAB, "a b\n", "{'added_tokens_decoder': {'4': null}}", NULL, 0, {0}, "token 4 has no content"},
    {"empty content",
     VOCAB,
     "a b\n",
     "{'added_tokens_decoder': {'4': {'content': ''}}}",
     NULL,
     0,
     {0},
     "token 4 has no content"},
    {"a config cut short", VOCAB, "a b\n", "{'add_bos_token'", NULL, 0, {0}, "tokenizer_config.json;not valid JSON"},
    {"a map cut short", VOCAB, "a b\n", NULL, "{", 0, {0}, "special_tokens_map.json;not valid JSON"},
    {"a long first merge", VOCAB, "</s> </s>\n", NULL, NULL, 0, {0}, "merges.txt: line;'</s> </s>'"},
    {"a vocabulary cut short", "{", "a b\n", NULL, NULL, 0, {0}, "vocab.json;not valid JSON"},
};

static void odd_folders_encode(void **state)
{
    (void)state;
    static const char text[] = "ab<|endoftext|>a";
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct ptq_arena *own = ptq_arena_make("test");
        struct ptq_tokenizer *tokenizer = NULL;
        struct ptq_error err;
        int32_t *id = NULL;
        size_t n = 0;
        make_test_folder(folder);
        write_quoted("vocab.json", folders[i].vocab);
        write_test_text(folder, "merges.txt", folders[i].merges);
        if (folders[i].config) write_quoted("tokenizer_config.json", folders[i].config);
        if (folders[i].map) write_quoted("special_tokens_map.json", folders[i].map);
        enum ptq_status status = ptq_tokenizer_open(own, folder, &tokenizer, &err);
        if (folders[i].refused) {
            assert_refused(folders[i].name, status, &err, folders[i].refused);
        } else {
            if (!status) status = ptq_tokenizer_encode(tokenizer, text, sizeof text - 1, 1, own, &id, &n, &err);
            expect_ids(folders[i].name, status, &err, id, n, folders[i].id, folders[i].n);
        }
        ptq_tokenizer_close(tokenizer);
        ptq_arena_free(own);
        remove_test_folder(folder);
    }
    make_test_folder(folder);
}

/* One more special token than a folder may have; one that is listed already counts once. */
static void special_tokens_have_a_most(void **state)
{
    (void)state;
    enum { MOST = 4096 };
    struct ptq_error err;
    for (int more = 0; more < 2; more++) {
        struct ptq_arena *own = ptq_arena_make("test");
        struct ptq_tokenizer *tokenizer = NULL;
        struct ptq_buffer text = {0};
        for (int i = 0; i < MOST + more; i++)
            ptq_buffer_add(&text, "%s\"%d\": {\"content\": \"<%d>\"}", i ? ", " : "", i + 10, i);
        write_test_text(folder, "tokenizer_config.json",
                        ptq_format(own, "{\"added_tokens_decoder\": {%s}, \"eos_token\": \"<7>\"}", text.data));
        write_test_text(folder, "vocab.json", "{\"a\": 0, \"aa\": 1}");
        write_test_text(folder, "merges.txt", "a a");
        free(text.data);
        enum ptq_status status = ptq_tokenizer_open(own, folder, &tokenizer, &err);
        if (more) assert_refused("one more", status, &err, "more than 4096 special tokens");
        if (!more && status) fail_msg("%s", err.text);
        ptq_tokenizer_close(tokenizer);
        ptq_arena_free(own);
    }
    unlink(ptq_join(arena, folder, "tokenizer_config.json"));
}

/* The readers look for it first; here it is asked directly. */
static void added_tokens_have_ids_in_range(void **state)
{
    (void)state;
    static const int32_t bad[] = {-1, PTQ_MAX_TOKENS, INT32_MAX};
    write_quoted("tokenizer.json", "{" PLAIN "}");
    for (int i = 0; i < 3; i++) {
        struct opened o = open_json(folder);
        struct ptq_added_entry entry = {.token = {.text = "<s>", .size = 3, .id = bad[i]}};
        struct ptq_error err;
        assert_refused("id", ptq_tokenizer_set_added(o.tokenizer, o.arena, &entry, 1, "here", &err), &err,
                       "here[0]: '<s>' has no id from 0 to");
        close_opened(&o);
    }
}

/* The user may name a link to anywhere. */
static void links_that_the_user_names_are_followed(void **state)
{
    (void)state;
    struct ptq_tokenizer *tokenizer = NULL;
    struct ptq_error err;
    const char *link = ptq_join(arena, folder, "other/link"), *broken = ptq_join(arena, folder, "other/broken");
    write_quoted("tokenizer.json", "{" PLAIN "}");
    write_test_text(folder, "other/x", "");
    assert_int_equal(symlink("../tokenizer.json", link), 0);
    assert_int_equal(symlink("nowhere", broken), 0);
    struct opened o = open_json(link);
    assert_int_equal(ptq_tokenizer_id(o.tokenizer, "ab", 2), 2);
    close_opened(&o);
    assert_refused("broken", ptq_tokenizer_open(arena, broken, &tokenizer, &err), &err,
                   "other/broken: cannot be opened");
    assert_refused("none", ptq_tokenizer_open(arena, ptq_join(arena, folder, "none"), &tokenizer, &err), &err,
                   "none: cannot be opened");
}

/* What is there under one of their names and cannot be read, as the links of a cache that lost a blob, is no reason to
 * go on with the other files: those may cut a text otherwise. */
static void files_that_cannot_be_read_are_not_passed_over(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizer.json", "vocab.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json"};
    struct ptq_tokenizer *tokenizer = NULL;
    struct ptq_error err;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *own = ptq_join(arena, folder, "files"), *path = ptq_join(arena, own, names[i]);
        write_test_text(folder, "files/vocab.json", "{\"a\": 0, \"aa\": 1}");
        write_test_text(folder, "files/merges.txt", "a a");
        if (i == 1) unlink(path);
        assert_int_equal(symlink("nowhere", path), 0);
        assert_refused(names[i], ptq_tokenizer_open(arena, own, &tokenizer, &err), &err,
                       ptq_format(arena, "files/%s: cannot be opened", names[i]));
        unlink(path);
        assert_int_equal(mkdir(path, 0777), 0);
        assert_refused(names[i], ptq_tokenizer_open(arena, own, &tokenizer, &err), &err,
                       ptq_format(arena, "files/%s: is a folder", names[i]));
        assert_int_equal(rmdir(path), 0);
    }
}

static void plain_tokens_are_their_own_text(void **state)
{
    (void)state;
    write_quoted("tokenizer.json", "{'added_tokens': [{'id': 7, 'content': '<s>'}, {'id': 8, 'content': '<t>'}],"
                                   "'model': {'vocab': {'a': 0, '\xe2\x96\x81'"
                                   ": 1, 'a\xe2\x96\x81"
                                   "b': 2, 'abcd': 3, '<0x0A>': 4}, 'merges': []}}");
    struct opened o = open_json(folder);
    struct ptq_pieces pieces;
    size_t size;
    static const char *const want[] = {"a", " ", "a b", "abcd", "<0x0A>"};
    ptq_pieces_make(o.arena, o.tokenizer, &pieces);
    for (int i = 0; i < 5; i++) {
        const char *got = ptq_piece(&pieces, i, o.arena, &size);
        if (size != strlen(want[i]) || memcmp(got, want[i], size)) fail_msg("%d is '%.*s'", i, (int)size, got);
    }
    assert_int_equal(ptq_tokenizer_id(o.tokenizer, "<t>", 3), 8);
    assert_int_equal(ptq_tokenizer_id(o.tokenizer, "<u>", 3), -1);
    assert_non_null(strstr(ptq_tokenizer_describe(o.tokenizer, o.arena), "BPE, 5 tokens"));
    assert_null(strstr(ptq_tokenizer_describe(o.tokenizer, o.arena), "byte"));
    close_opened(&o);
}

/* A byte-level token with a character that stands for no byte, below U+0100, is its own text. */
static void characters_that_stand_for_no_byte(void **state)
{
    (void)state;
    write_quoted("tokenizer.json", "{'pre_tokenizer': {'type': 'ByteLevel'},"
                                   "'model': {'vocab': {'a\xc2\xad': 0, 'a b': 1}, 'merges': []}}");
    struct opened o = open_json(folder);
    struct ptq_pieces pieces;
    size_t size;
    ptq_pieces_make(o.arena, o.tokenizer, &pieces);
    assert_memory_equal(ptq_piece(&pieces, 0, o.arena, &size), "a\xc2\xad", 3);
    assert_memory_equal(ptq_piece(&pieces, 1, o.arena, &size), "a b", 3);
    close_opened(&o);
}

static void nothing_is_no_token(void **state)
{
    (void)state;
    write_quoted("tokenizer.json", "{" PLAIN "}");
    struct opened o = open_json(folder);
    struct ptq_bpe_run run;
    struct ptq_error err;
    ptq_bpe_start(&run, &o.tokenizer->bpe, 8);
    assert_int_equal(ptq_bpe_piece(&run, "", 0, &err), PTQ_OK);
    assert_int_equal(run.n, 0);
    assert_int_equal(ptq_bpe_piece(&run, "ab", 2, &err), PTQ_OK);
    assert_true(run.n == 1 && run.id[0] == 2);
    ptq_bpe_stop(&run);
    close_opened(&o);
}

/* What almost is one of English's short forms. */
static void short_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size, want;
    } forms[] = {{"'s", 2, 2},  {"'sa", 3, 2}, {"'re", 3, 3}, {"'ve", 3, 3}, {"'ll", 3, 3}, {"'ra", 3, 1},
                 {"'va", 3, 1}, {"'la", 3, 1}, {"'al", 3, 1}, {"'\0", 2, 2}, {"'r", 2, 1}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        int matched;
        size_t n = ptq_scan_gpt2(forms[i].text, forms[i].size, &matched);
        if (n != forms[i].want) fail_msg("row %zu, %s: %zu bytes", i, forms[i].text, n);
    }
    assert_null(ptq_scanner_regex(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_files_encode),
        cmocka_unit_test(odd_folders_encode),
        cmocka_unit_test(special_tokens_have_a_most),
        cmocka_unit_test(added_tokens_have_ids_in_range),
        cmocka_unit_test(links_that_the_user_names_are_followed),
        cmocka_unit_test(files_that_cannot_be_read_are_not_passed_over),
        cmocka_unit_test(plain_tokens_are_their_own_text),
        cmocka_unit_test(characters_that_stand_for_no_byte),
        cmocka_unit_test(nothing_is_no_token),
        cmocka_unit_test(short_forms),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
