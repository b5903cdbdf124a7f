/* Tokenizers against the ids that Hugging Face's library gives: the committed fixtures of every kind, and where they
 * are there, the golden encodings and wikitext. tokenizer.json, GGUF and vocab.json + merges.txt must say the same. */
#include "tokenizer.h"

#include "files.h"
#include "locate.h"
#include "mapped.h"
#include "progress.h"
#include "sha256.h"
#include "tokenizer_parts.h"

#define FIXTURE PTQ_FIXTURES "/tokenizers/"

/* A tokenizer with the memory that it lives in. */
struct opened {
    struct ptq_arena *arena;
    struct ptq_tokenizer *tokenizer;
    struct ptq_mapped file;
};

static struct opened open_json(const char *path)
{
    struct opened o = {.arena = ptq_arena_make("test")};
    struct ptq_error err;
    if (ptq_tokenizer_open(o.arena, path, &o.tokenizer, &err)) fail_msg("%s", err.text);
    return o;
}

static struct opened open_gguf(const char *path)
{
    struct opened o = {.arena = ptq_arena_make("test")};
    struct ptq_error err;
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    size_t n;
    if (ptq_map(o.arena, path, &o.file, &err)) fail_msg("%s", err.text);
    if (ptq_gguf_read(o.arena, &o.file, &gguf, &tensor, &n, &err)) fail_msg("%s", err.text);
    if (ptq_tokenizer_from_gguf(o.arena, gguf, path, &o.tokenizer, &err)) fail_msg("%s", err.text);
    return o;
}

static void close_opened(struct opened *o)
{
    ptq_tokenizer_close(o->tokenizer);
    ptq_unmap(&o->file);
    ptq_arena_free(o->arena);
}

/* The expected values, which may hold NUL characters. */
static json_t *load(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!root) fail_msg("%s: %s", path, error.text);
    return root;
}

static void check_ids(const struct opened *o, const char *what, size_t index, const json_t *text, const json_t *want,
                      int special)
{
    struct ptq_error err;
    struct ptq_mark mark = ptq_arena_mark(o->arena);
    int32_t *id;
    size_t n;
    if (ptq_tokenizer_encode(o->tokenizer, json_string_value(text), json_string_length(text), special, o->arena, &id,
                             &n, &err))
        fail_msg("%s, text %zu: %s", what, index, err.text);
    for (size_t i = 0; i < n && i < json_array_size(want); i++)
        if (id[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("%s, text %zu, special %d: id %zu is %d; it must be %lld", what, index, special, i, (int)id[i],
                     (long long)json_integer_value(json_array_get(want, i)));
    if (n != json_array_size(want))
        fail_msg("%s, text %zu, special %d: %zu ids instead of %zu", what, index, special, n, json_array_size(want));
    ptq_arena_rewind(o->arena, mark);
}

/* All texts of the fixtures against KIND.ids.json. */
static void check_fixture(const struct opened *o, const char *what, const char *kind)
{
    json_t *texts = load(FIXTURE "texts.json");
    json_t *ids = load(ptq_format(o->arena, FIXTURE "%s.ids.json", kind));
    const json_t *plain = json_object_get(ids, "plain"), *special = json_object_get(ids, "special");
    assert_true(json_array_size(texts) > 40);
    assert_int_equal(json_array_size(plain), json_array_size(texts));
    assert_int_equal(json_array_size(special), json_array_size(texts));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        check_ids(o, what, i, json_array_get(texts, i), json_array_get(plain, i), 0);
        check_ids(o, what, i, json_array_get(texts, i), json_array_get(special, i), 1);
    }
    json_decref(texts);
    json_decref(ids);
}

static void every_kind_encodes_as_the_library_does(void **state)
{
    static const char *const kinds[] = {"gpt2",  "opt",     "llama2", "llama3", "qwen2",   "smollm",
                                        "bloom", "pattern", "splits", "added",  "partial", "metaspace"};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURE "%s.tokenizer.json", kinds[i]);
        struct opened o = open_json(path);
        check_fixture(&o, kinds[i], kinds[i]);
        close_opened(&o);
    }
}

static void gguf_says_the_same(void **state)
{
    static const char *const kinds[] = {"smollm", "llama3", "spm"};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURE "%s.gguf", kinds[i]);
        struct opened o = open_gguf(path);
        check_fixture(&o, path, kinds[i]);
        close_opened(&o);
    }
}

/* ---- vocab.json + merges.txt ---- */

/* Writes the vocabulary and merges of a tokenizer.json in the older form. end: what ends a line; header: or none. */
static void write_old_form(const char *folder, const json_t *root, const char *header, const char *end)
{
    const json_t *model = json_object_get(root, "model"), *merges = json_object_get(model, "merges");
    char path[128];
    snprintf(path, sizeof path, "%s/vocab.json", folder);
    assert_int_equal(json_dump_file(json_object_get(model, "vocab"), path, 0), 0);
    snprintf(path, sizeof path, "%s/merges.txt", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(header, file);
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *merge = json_array_get(merges, i);
        if (json_is_string(merge))
            fprintf(file, "%s%s", json_string_value(merge), end);
        else
            fprintf(file, "%s %s%s", json_string_value(json_array_get(merge, 0)),
                    json_string_value(json_array_get(merge, 1)), end);
    }
    fclose(file);
}

/* A folder as OPT's are: two special tokens that are also named in the map, one only in the config's list. */
static const char opt_config[] =
    "{\"add_bos_token\": true, \"bos_token\": {\"__type\": \"AddedToken\", \"content\": \"</s>\", \"lstrip\": false},"
    " \"pad_token\": \"<pad>\", \"unk_token\": \"<unk>\", \"errors\": \"replace\", \"add_prefix_space\": false,"
    " \"added_tokens_decoder\": {\"0\": {\"content\": \"<s>\", \"normalized\": false, \"special\": true}}}";

static void opt_folder(char *folder, const json_t *root, const char *header, const char *end)
{
    make_test_folder(folder);
    write_old_form(folder, root, header, end);
    write_test_text(folder, "tokenizer_config.json", opt_config);
    write_test_text(folder, "special_tokens_map.json", "{\"bos_token\": \"</s>\", \"pad_token\": \"<pad>\"}");
}

static void old_files_say_the_same(void **state)
{
    static const char *const forms[][2] = {{"#version: 0.2\n", "\n"}, {"", "\n"}, {"#version: 0.2\r\n", "\r\n"}};
    (void)state;
    json_t *root = load(FIXTURE "opt.tokenizer.json");
    for (size_t i = 0; i < 3; i++) {
        char folder[64];
        opt_folder(folder, root, forms[i][0], forms[i][1]);
        struct opened o = open_json(folder);
        check_fixture(&o, "OPT's files", "opt");
        assert_int_equal(ptq_tokenizer_bos(o.tokenizer), 2);
        close_opened(&o);
        remove_test_folder(folder);
    }
    json_decref(root);
}

static void without_config_gpt2s_rule_holds(void **state)
{
    (void)state;
    char folder[64];
    make_test_folder(folder);
    json_t *root = load(FIXTURE "gpt2.tokenizer.json");
    write_old_form(folder, root, "#version: 0.2\n", "\n");
    struct opened o = open_json(folder);
    check_fixture(&o, "GPT-2's files", "gpt2");
    assert_int_equal(ptq_tokenizer_bos(o.tokenizer), -1);
    close_opened(&o);
    json_decref(root);
    remove_test_folder(folder);
}

/* ---- properties ---- */

/* Pseudo-random text of a few letters, spaces and one foreign character: many merges, all of them ambiguous. */
static char *babble(size_t size, unsigned seed)
{
    static const char alphabet[] = "thetheaon  erins\n.";
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        text[i] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
    }
    text[size] = 0;
    return text;
}

static void encode(const struct opened *o, const char *text, size_t size, int32_t **id, size_t *n)
{
    struct ptq_error err;
    if (ptq_tokenizer_encode(o->tokenizer, text, size, 0, o->arena, id, n, &err)) fail_msg("%s", err.text);
}

static void cutting_long_pieces_changes_nothing(void **state)
{
    static const char *const kinds[] = {"llama2", "gpt2", "metaspace"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURE "%s.tokenizer.json", kinds[i]);
        struct opened o = open_json(path);
        char *text = babble(60000, (unsigned)i);
        int32_t *cut, *whole;
        size_t n_cut, n_whole;
        assert_true(o.tokenizer->bpe.may_cut);
        encode(&o, text, 60000, &cut, &n_cut);
        o.tokenizer->bpe.may_cut = 0;
        encode(&o, text, 60000, &whole, &n_whole);
        assert_int_equal(n_cut, n_whole);
        assert_memory_equal(cut, whole, n_cut * sizeof *cut);
        free(text);
        close_opened(&o);
    }
}

/* One word of 2 MB: a quadratic loop would take hours. */
static void a_text_of_one_word_takes_no_quadratic_time(void **state)
{
    (void)state;
    enum { SIZE = 2000000 };
    struct opened o = open_json(FIXTURE "llama2.tokenizer.json");
    char *text = babble(SIZE, 7);
    int32_t *id;
    size_t n;
    o.tokenizer->bpe.may_cut = 0;
    double start = ptq_seconds();
    encode(&o, text, SIZE, &id, &n);
    assert_true(ptq_seconds() - start < 30);
    assert_true(n > SIZE / 8 && n < SIZE);
    free(text);
    close_opened(&o);
}

static void a_tokenizer_describes_itself(void **state)
{
    (void)state;
    struct opened o = open_json(FIXTURE "llama2.tokenizer.json");
    assert_string_equal(
        ptq_tokenizer_describe(o.tokenizer, o.arena),
        "BPE with byte fallback, 440 tokens, 80 merges, 3 added tokens, text not split into words, BOS 1");
    assert_int_equal(ptq_tokenizer_size(o.tokenizer), 440);
    close_opened(&o);
    o = open_gguf(FIXTURE "smollm.gguf");
    assert_string_equal(ptq_tokenizer_describe(o.tokenizer, o.arena),
                        "byte-level BPE, 360 tokens, 103 merges, 1 added tokens, digits one by one, BOS none");
    close_opened(&o);
}

/* ---- golden ---- */

static void need_golden(const char *what)
{
    if (ptq_is_file(what)) return;
    print_message("skipped: %s is not there\n", what);
    skip();
}

static void golden_encodings(void **state)
{
    static const char *const kinds[] = {"gpt2", "opt", "llama2", "llama3", "qwen2", "smollm", "bloom"};
    (void)state;
    need_golden(PTQ_GOLDEN "/tokenizers/gpt2.encodings.json");
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char path[512];
        snprintf(path, sizeof path, PTQ_GOLDEN "/tokenizers/%s.tokenizer.json", kinds[k]);
        struct opened o = open_json(path);
        json_t *list = load(ptq_format(o.arena, PTQ_GOLDEN "/tokenizers/%s.encodings.json", kinds[k]));
        assert_true(json_array_size(list) >= 150);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *item = json_array_get(list, i), *text = json_object_get(item, "text");
            check_ids(&o, kinds[k], i, text, json_object_get(item, "ids"), 0);
            check_ids(&o, kinds[k], i, text, json_object_get(item, "ids_special"), 1);
        }
        json_decref(list);
        close_opened(&o);
    }
}

static void golden_opt_from_old_files(void **state)
{
    (void)state;
    need_golden(PTQ_GOLDEN "/tokenizers/opt.encodings.json");
    char folder[64];
    json_t *root = load(PTQ_GOLDEN "/tokenizers/opt.tokenizer.json");
    json_t *list = load(PTQ_GOLDEN "/tokenizers/opt.encodings.json");
    opt_folder(folder, root, "#version: 0.2\n", "\n");
    struct opened o = open_json(folder);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i), *text = json_object_get(item, "text");
        check_ids(&o, "OPT's files", i, text, json_object_get(item, "ids"), 0);
        check_ids(&o, "OPT's files", i, text, json_object_get(item, "ids_special"), 1);
    }
    close_opened(&o);
    remove_test_folder(folder);
    json_decref(root);
    json_decref(list);
}

/* Number and sha256 of the ids of a whole file. */
static void check_wikitext(const struct opened *o, const char *split, const json_t *want)
{
    struct ptq_error err;
    char hex[PTQ_SHA256_HEX], *text;
    int32_t *id;
    size_t size, n;
    const char *path = ptq_format(o->arena, PTQ_DATA "/wikitext-2/%s.txt", split);
    if (ptq_read_file(o->arena, path, 1 << 24, &text, &size, &err)) fail_msg("%s", err.text);
    double start = ptq_seconds();
    encode(o, text, size, &id, &n);
    print_message("%s: %zu ids, %.1f MB/s\n", split, n, (double)size / 1e6 / (ptq_seconds() - start));
    ptq_sha256(id, n * sizeof *id, hex);
    assert_int_equal(n, json_integer_value(json_object_get(want, "tokens")));
    assert_string_equal(hex, json_string_value(json_object_get(want, "sha256_int32_le")));
}

static void check_smollm2(const struct opened *o)
{
    json_t *root = load(PTQ_GOLDEN "/smollm2/encodings.json");
    const json_t *list = json_object_get(root, "encodings"), *files = json_object_get(root, "files");
    assert_true(json_array_size(list) >= 100);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        check_ids(o, "SmolLM2", i, json_object_get(item, "text"), json_object_get(item, "ids"), 0);
    }
    check_wikitext(o, "test", json_object_get(files, "test"));
    check_wikitext(o, "valid", json_object_get(files, "valid"));
    json_decref(root);
}

static void golden_smollm2_from_json(void **state)
{
    (void)state;
    need_golden(PTQ_GOLDEN "/smollm2/encodings.json");
    need_golden(PTQ_DATA "/wikitext-2/test.txt");
    struct opened o = open_json(PTQ_GOLDEN "/smollm2/tokenizer.json");
    check_smollm2(&o);
    close_opened(&o);
}

static void golden_smollm2_from_gguf(void **state)
{
    (void)state;
    need_golden(PTQ_GOLDEN "/smollm2/encodings.json");
    need_golden(PTQ_DATA "/wikitext-2/test.txt");
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    const char *path;
    if (ptq_locate_model(arena, "smollm2-135m-instruct", &path, &err)) {
        print_message("skipped: %s\n", err.text);
        ptq_arena_free(arena);
        skip();
    }
    struct opened o = open_gguf(path);
    check_smollm2(&o);
    close_opened(&o);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_encodes_as_the_library_does),
        cmocka_unit_test(gguf_says_the_same),
        cmocka_unit_test(old_files_say_the_same),
        cmocka_unit_test(without_config_gpt2s_rule_holds),
        cmocka_unit_test(cutting_long_pieces_changes_nothing),
        cmocka_unit_test(a_text_of_one_word_takes_no_quadratic_time),
        cmocka_unit_test(a_tokenizer_describes_itself),
        cmocka_unit_test(golden_encodings),
        cmocka_unit_test(golden_opt_from_old_files),
        cmocka_unit_test(golden_smollm2_from_json),
        cmocka_unit_test(golden_smollm2_from_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
