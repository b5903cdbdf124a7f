/* Tokenizers against the ids that Hugging Face's library gives: the committed fixtures of every kind, and where they
 * are there, the golden encodings and wikitext. tokenizer.json, GGUF and vocab.json + merges.txt must say the same. */
#include "tokenizer.h"

#include "files.h"
#include "locate.h"
#include "mapped.h"
#include "progress.h"
#include "sha256.h"
#include "tokenizers.h"

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

static const char *const kinds[] = {"gpt2",   "opt",   "llama2", "llama3", "qwen2",   "smollm",   "bloom",
                                    "cl100k", "o200k", "splits", "added",  "partial", "metaspace"};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static void every_kind_encodes_as_the_library_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURE "%s.tokenizer.json", kinds[i]);
        struct opened o = open_json(path);
        check_fixture(&o, kinds[i], kinds[i]);
        close_opened(&o);
    }
}

/* ---- pieces ---- */

/* The pieces of one text, checked as they come. */
struct expected {
    const json_t *want;
    size_t n;
    const char *what;
    size_t index;
};

static enum ptq_status take_piece(void *context, const char *piece, size_t size, struct ptq_error *err)
{
    (void)err;
    struct expected *e = context;
    const json_t *want = json_array_get(e->want, e->n++);
    if (json_string_length(want) != size || (size && memcmp(json_string_value(want), piece, size) != 0))
        fail_msg("%s, text %zu: piece %zu is '%.*s'; it must be '%s'", e->what, e->index, e->n - 1, (int)size, piece,
                 want ? json_string_value(want) : "(none)");
    return PTQ_OK;
}

static void check_pieces(const struct opened *o, const char *kind)
{
    json_t *texts = load(FIXTURE "texts.json");
    json_t *ids = load(ptq_format(o->arena, FIXTURE "%s.ids.json", kind));
    const json_t *pieces = json_object_get(ids, "pieces");
    assert_int_equal(json_array_size(pieces), json_array_size(texts));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        struct ptq_error err;
        const json_t *text = json_array_get(texts, i);
        struct expected e = {.want = json_array_get(pieces, i), .what = kind, .index = i};
        struct ptq_pattern_budget budget;
        ptq_pattern_begin(&budget);
        if (ptq_pretokenize(&o->tokenizer->pretokenizer, json_string_value(text), json_string_length(text), 1, &budget,
                            o->arena, take_piece, &e, &err))
            fail_msg("%s, text %zu: %s", kind, i, err.text);
        assert_int_equal(e.n, json_array_size(e.want));
    }
    json_decref(texts);
    json_decref(ids);
}

/* Ids alone would not show a wrong cut where no merge crosses it. */
static void every_kind_cuts_as_the_library_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURE "%s.tokenizer.json", kinds[i]);
        struct opened o = open_json(path);
        check_pieces(&o, kinds[i]);
        close_opened(&o);
    }
}

static void gguf_says_the_same(void **state)
{
    static const char *const ggufs[] = {"smollm", "llama3", "spm"};
    (void)state;
    for (size_t i = 0; i < sizeof ggufs / sizeof *ggufs; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURE "%s.gguf", ggufs[i]);
        struct opened o = open_gguf(path);
        check_fixture(&o, path, ggufs[i]);
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

/* ---- what it says of itself ---- */

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
    enum { N_GOLDEN = 7 }; /* the first of kinds */
    (void)state;
    need_golden(PTQ_GOLDEN "/tokenizers/gpt2.encodings.json");
    for (size_t k = 0; k < N_GOLDEN; k++) {
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
    encode_plain(o, text, size, &id, &n);
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
        cmocka_unit_test(every_kind_cuts_as_the_library_does),
        cmocka_unit_test(gguf_says_the_same),
        cmocka_unit_test(old_files_say_the_same),
        cmocka_unit_test(without_config_gpt2s_rule_holds),
        cmocka_unit_test(a_tokenizer_describes_itself),
        cmocka_unit_test(golden_encodings),
        cmocka_unit_test(golden_opt_from_old_files),
        cmocka_unit_test(golden_smollm2_from_json),
        cmocka_unit_test(golden_smollm2_from_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
