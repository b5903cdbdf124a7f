/* Tokenizer files that are wrong, each refused in one sentence that names the file and the place; texts that cannot be
 * encoded; and the limits on expressions that strangers bring. */
#include "tokenizer.h"

#include "files.h"
#include "mapped.h"
#include "pattern.h"
#include "progress.h"
#include "unicode.h"

/* ---- tokenizer.json ---- */

/* The parts of a small file that is right; a row below replaces one of them. */
enum { NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, ADDED, MODEL, VOCAB, MERGES, N_PARTS };
static const char *const right[N_PARTS] = {
    "null",
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}",
    "null",
    "[]",
    "\"type\": \"BPE\"",
    "{\"a\": 0, \"b\": 1, \"ab\": 2, \"c\": 3, \"<s>\": 4}",
    "[\"a b\"]",
};

static const struct bad_json {
    const char *name;
    int part;
    const char *text, *words;
} bad_jsons[] = {
    {"normalizer of no known type", NORMALIZER, "{\"type\": \"BertNormalizer\"}", "normalizer;BertNormalizer;NFC"},
    {"normalizer without type", NORMALIZER, "{}", "normalizer;type;missing"},
    {"normalizer that is a number", NORMALIZER, "3", "normalizer;object"},
    {"Sequence without list", NORMALIZER, "{\"type\": \"Sequence\"}", "normalizer;normalizers;array"},
    {"Sequence in Sequence", NORMALIZER,
     "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"Sequence\"}]}",
     "normalizer.normalizers[1];Sequence"},
    {"Replace by a regex", NORMALIZER, "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a\"}, \"content\": \"b\"}",
     "normalizer;regular expression"},
    {"Replace of nothing", NORMALIZER, "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"b\"}",
     "normalizer;empty"},
    {"Prepend without text", NORMALIZER, "{\"type\": \"Prepend\"}", "normalizer;prepend;missing"},
    {"pre-tokenizer of no known type", PRE_TOKENIZER, "{\"type\": \"Whitespace\"}",
     "pre_tokenizer;Whitespace;ByteLevel"},
    {"a step after ByteLevel", PRE_TOKENIZER,
     "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Digits\"}]}",
     "pre_tokenizer.pretokenizers[1];ByteLevel"},
    {"Split without behavior", PRE_TOKENIZER, "{\"type\": \"Split\", \"pattern\": {\"String\": \" \"}}",
     "pre_tokenizer;behavior;missing"},
    {"Split with a misspelt behavior", PRE_TOKENIZER,
     "{\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, \"behavior\": \"isolate\"}",
     "pre_tokenizer;isolate;did you mean Isolated"},
    {"Split by both", PRE_TOKENIZER,
     "{\"type\": \"Split\", \"pattern\": {\"String\": \" \", \"Regex\": \"a\"}, \"behavior\": \"Isolated\"}",
     "pre_tokenizer;pattern;one of"},
    {"a regex that does not compile", PRE_TOKENIZER,
     "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a\"}, \"behavior\": \"Isolated\"}",
     "pre_tokenizer.pattern;regular expression;parenthesis"},
    {"a regex with nested classes", PRE_TOKENIZER,
     "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a[bc]]\"}, \"behavior\": \"Isolated\"}",
     "pre_tokenizer.pattern;class within a class"},
    {"a regex with verbs", PRE_TOKENIZER,
     "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a(*SKIP)b\"}, \"behavior\": \"Isolated\"}",
     "pre_tokenizer.pattern;special kind"},
    {"Metaspace with a long replacement", PRE_TOKENIZER, "{\"type\": \"Metaspace\", \"replacement\": \"ab\"}",
     "pre_tokenizer;replacement;one character"},
    {"Metaspace by no known scheme", PRE_TOKENIZER,
     "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"last\"}",
     "pre_tokenizer;last;always, first or never"},
    {"Metaspace with an empty replacement", PRE_TOKENIZER, "{\"type\": \"Metaspace\", \"replacement\": \"\"}",
     "pre_tokenizer;replacement;one character"},
    {"Split with a behavior like none", PRE_TOKENIZER,
     "{\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, \"behavior\": \"xyz\"}",
     "pre_tokenizer;'xyz' is not known"},
    {"BERT's pair without ids", POST_PROCESSOR, "{\"type\": \"BertProcessing\", \"cls\": [\"<s>\", 4]}",
     "post_processor;'sep' must be [text, id]"},
    {"RoBERTa's pair with an id that is not there", POST_PROCESSOR,
     "{\"type\": \"RobertaProcessing\", \"cls\": [\"<s>\", 99]}", "post_processor;'cls' must be [text, id]"},
    {"a pair with id -1", POST_PROCESSOR, "{\"type\": \"RobertaProcessing\", \"cls\": [\"<s>\", -1]}",
     "post_processor;'cls' must be [text, id]"},
    {"a template with two texts", POST_PROCESSOR,
     "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {}}, {\"Sequence\": {}}]}",
     "post_processor.single[1];SpecialToken"},
    {"a template of an id below 0", POST_PROCESSOR,
     "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {}}],"
     " \"special_tokens\": {\"<s>\": {\"ids\": [-1]}}}",
     "post_processor.single[0];ids[0];<s>"},
    {"post-processor of no known type", POST_PROCESSOR, "{\"type\": \"Magic\"}", "post_processor;Magic"},
    {"a template without text", POST_PROCESSOR,
     "{\"type\": \"TemplateProcessing\", \"single\": [], \"special_tokens\": {}}", "post_processor;single;Sequence"},
    {"a template of an unknown token", POST_PROCESSOR,
     "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<x>\"}}, {\"Sequence\": {}}]}",
     "post_processor.single[0];<x>"},
    {"a template of an id that is not there", POST_PROCESSOR,
     "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {}}],"
     " \"special_tokens\": {\"<s>\": {\"ids\": [99]}}}",
     "post_processor.single[0];<s>"},
    {"an added token without content", ADDED, "[{\"id\": 4}]", "added_tokens[0];content;missing"},
    {"an empty added token", ADDED, "[{\"id\": 4, \"content\": \"\"}]", "added_tokens[0];no content"},
    {"an added token with id -1", ADDED, "[{\"id\": -1, \"content\": \"x\"}]", "added_tokens[0];id;-1"},
    {"an added token with id 2^32-1", ADDED, "[{\"id\": 4294967295, \"content\": \"x\"}]", "added_tokens[0];id"},
    {"an added token against the vocabulary", ADDED, "[{\"id\": 9, \"content\": \"<s>\"}]", "added_tokens[0];9;4"},
    {"an added token with another's id", ADDED, "[{\"id\": 1, \"content\": \"<x>\"}]", "added_tokens[0];<x>;1"},
    {"two added tokens with one id", ADDED, "[{\"id\": 7, \"content\": \"<x>\"}, {\"id\": 7, \"content\": \"<y>\"}]",
     "added_tokens[1];<y>;7"},
    {"added tokens in an object", ADDED, "{}", "added_tokens;array"},
    {"WordPiece", MODEL, "\"type\": \"WordPiece\"", "model;WordPiece;BPE"},
    {"Unigram", MODEL, "\"type\": \"Unigram\"", "model;Unigram;BPE"},
    {"dropout", MODEL, "\"type\": \"BPE\", \"dropout\": 0.1", "model;dropout"},
    {"a suffix for words", MODEL, "\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\"", "model;end_of_word_suffix"},
    {"an unknown token that is unknown", MODEL, "\"type\": \"BPE\", \"unk_token\": \"<unk>\"", "model;unk_token;<unk>"},
    {"ids of the wrong kind", VOCAB, "{\"a\": \"0\"}", "model.vocab;'a'"},
    {"id -1", VOCAB, "{\"a\": -1}", "model.vocab;'a'"},
    {"id 2^32-1", VOCAB, "{\"a\": 4294967295}", "model.vocab;'a';16777215"},
    {"a duplicate id", VOCAB, "{\"a\": 0, \"b\": 1, \"ab\": 1}", "model.vocab;id 1;another"},
    {"no tokens", VOCAB, "{}", "model.vocab;no tokens"},
    {"tokens in an array", VOCAB, "[]", "model.vocab;object"},
    {"a merge of an unknown token", MERGES, "[\"a b\", \"a x\"]", "model.merges[1];'a x';vocabulary"},
    {"a merge that makes an unknown token", MERGES, "[\"b a\"]", "model.merges[0];'b a';vocabulary"},
    {"a merge of three", MERGES, "[\"a b c\"]", "model.merges[0];'a b c';two tokens"},
    {"a merge of one", MERGES, "[\"ab\"]", "model.merges[0];'ab';two tokens"},
    {"a merge of nothing", MERGES, "[\" a\"]", "model.merges[0];two tokens"},
    {"a merge with one half", MERGES, "[[\"a\"]]", "model.merges[0];pair"},
    {"a pair that makes an unknown token", MERGES, "[[\"a\", \"b\"], [\"b\", \"a\"]]", "model.merges[1];'b', 'a'"},
    {"a pair with an empty half", MERGES, "[[\"\", \"a\"]]", "model.merges[0];vocabulary"},
    {"a pair with another empty half", MERGES, "[[\"a\", \"\"]]", "model.merges[0];vocabulary"},
    {"a merge longer than any token", MERGES, "[\"abab abab\"]", "model.merges[0];vocabulary"},
    {"a merge of three halves", MERGES, "[[\"a\", \"b\", \"c\"]]", "model.merges[0];pair"},
    {"a merge that is a number", MERGES, "[7]", "model.merges[0];string"},
    {"merges in an object", MERGES, "{}", "model.merges;array"},
};

static char *json_with(int part, const char *text)
{
    const char *p[N_PARTS];
    memcpy(p, right, sizeof p);
    if (part >= 0) p[part] = text;
    char *out;
    int n = asprintf(&out,
                     "{\"normalizer\": %s, \"pre_tokenizer\": %s, \"post_processor\": %s, \"added_tokens\": %s, "
                     "\"model\": {%s, \"vocab\": %s, \"merges\": %s}}",
                     p[NORMALIZER], p[PRE_TOKENIZER], p[POST_PROCESSOR], p[ADDED], p[MODEL], p[VOCAB], p[MERGES]);
    assert_true(n > 0);
    return out;
}

/* Opens folder/name, and frees what it opened: the verdict is the status. */
static enum ptq_status try_open(const char *folder, const char *name, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_tokenizer *tokenizer = NULL;
    enum ptq_status status = ptq_tokenizer_open(arena, ptq_format(arena, "%s/%s", folder, name), &tokenizer, err);
    ptq_tokenizer_close(tokenizer);
    ptq_arena_free(arena);
    return status;
}

static void bad_tokenizer_json_is_refused(void **state)
{
    (void)state;
    struct ptq_error err;
    char folder[64];
    make_test_folder(folder);
    for (int i = -1; i < (int)(sizeof bad_jsons / sizeof *bad_jsons); i++) {
        const struct bad_json *row = i < 0 ? NULL : &bad_jsons[i];
        char *text = row ? json_with(row->part, row->text) : json_with(-1, NULL);
        write_test_text(folder, "tokenizer.json", text);
        free(text);
        enum ptq_status status = try_open(folder, "tokenizer.json", &err);
        if (!row && status) fail_msg("the file that is right: %s", err.text);
        if (!row) continue;
        assert_refused(row->name, status, &err, row->words);
        assert_refused(row->name, status, &err, "tokenizer.json: ");
    }
    write_test_text(folder, "tokenizer.json", "{}");
    assert_refused("no model", try_open(folder, "tokenizer.json", &err), &err, "tokenizer.json;'model' is missing");
    write_test_text(folder, "tokenizer.json", "[]");
    assert_refused("an array", try_open(folder, "tokenizer.json", &err), &err, "tokenizer.json;object");
    write_test_text(folder, "tokenizer.json", "version https");
    assert_refused("no JSON", try_open(folder, "tokenizer.json", &err), &err, "tokenizer.json;JSON");
    remove_test_folder(folder);
}

/* "[", n times the item, "]", with commas. */
static char *repeated(const char *before, const char *item, int n, const char *after)
{
    char *out = malloc(strlen(before) + (size_t)n * (strlen(item) + 1) + strlen(after) + 1), *at = out;
    assert_non_null(out);
    at = stpcpy(at, before);
    for (int i = 0; i < n; i++) at = stpcpy(stpcpy(at, i ? "," : ""), item);
    stpcpy(at, after);
    return out;
}

static void lists_have_a_most(void **state)
{
    (void)state;
    static const struct {
        const char *name, *before, *item, *after, *words;
        int part, most;
    } rows[] = {
        {"steps", "{\"type\": \"Sequence\", \"normalizers\": [", "{\"type\": \"NFC\"}", "]}",
         "normalizer: 17 steps;16 are the most", NORMALIZER, 16},
        {"ids before a text",
         "{\"type\": \"TemplateProcessing\", \"special_tokens\": {\"<s>\": {\"ids\": [4]}}, \"single\": [",
         "{\"SpecialToken\": {\"id\": \"<s>\"}}", ",{\"Sequence\": {}}]}", "post_processor;more than 64 tokens",
         POST_PROCESSOR, 64},
        {"bytes of a special token", "[{\"id\": 9, \"content\": \"", ">", "\"}]", "added_tokens[0];bytes;are the most",
         ADDED, 512},
    };
    char folder[64];
    struct ptq_error err;
    make_test_folder(folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int more = 0; more < 2; more++) {
            char *part = repeated(rows[i].before, rows[i].item, rows[i].most + more, rows[i].after);
            char *text = json_with(rows[i].part, part);
            write_test_text(folder, "tokenizer.json", text);
            enum ptq_status status = try_open(folder, "tokenizer.json", &err);
            if (more)
                assert_refused(rows[i].name, status, &err, rows[i].words);
            else if (status)
                fail_msg("%s: %s", rows[i].name, err.text);
            free(part);
            free(text);
        }
    remove_test_folder(folder);
}

static void too_many_values_are_refused_before_parsing(void **state)
{
    (void)state;
    enum { N = 7000000 };
    char folder[64], *text = malloc(2 * N + 2);
    struct ptq_error err;
    assert_non_null(text);
    for (int i = 0; i < N; i++) memcpy(text + 2 * i, i ? ",0" : "[0", 2);
    text[2 * N] = ']';
    make_test_folder(folder);
    write_test_file(folder, "tokenizer.json", text, 2 * N + 1);
    assert_refused("a flood", try_open(folder, "tokenizer.json", &err), &err,
                   "tokenizer.json: byte;values and keys;too much");
    free(text);
    remove_test_folder(folder);
}

/* ---- vocab.json + merges.txt ---- */

static const struct bad_folder {
    const char *name, *vocab, *merges, *config, *words;
} bad_folders[] = {
    {"neither form", NULL, NULL, NULL, "tokenizer.json;vocab.json"},
    {"no merges", "{\"a\": 0}", NULL, NULL, "merges.txt"},
    {"a vocabulary that is none", "[1]", "a b\n", NULL, "vocab.json;object"},
    {"a merge of an unknown token", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "#version: 0.2\na b\na x\n", NULL,
     "merges.txt;line;3;'a x'"},
    {"a merge of three", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "a b\r\na b a\r\n", NULL, "merges.txt;line;2;'a b a'"},
    {"merges that are not UTF-8", "{\"a\": 0}", "a \xff\n", NULL, "merges.txt;byte 2"},
    {"a BOS that is not there", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "a b\n",
     "{\"add_bos_token\": true, \"bos_token\": \"<s>\"}", "tokenizer_config.json;bos_token;vocabulary"},
    {"a flag that is no flag", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "a b\n", "{\"add_bos_token\": \"yes\"}",
     "tokenizer_config.json;add_bos_token;true"},
    {"an added token of no number", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "a b\n",
     "{\"added_tokens_decoder\": {\"x\": {\"content\": \"<s>\"}}}", "tokenizer_config.json;added_tokens_decoder;'x'"},
    {"an added token without content", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "a b\n",
     "{\"added_tokens_decoder\": {\"7\": {}}}", "tokenizer_config.json;content"},
    {"a config that is an array", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "a b\n", "[]", "tokenizer_config.json;object"},
};

static void bad_folders_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_folders / sizeof *bad_folders; i++) {
        const struct bad_folder *row = &bad_folders[i];
        struct ptq_error err;
        char folder[64];
        make_test_folder(folder);
        if (row->vocab) write_test_text(folder, "vocab.json", row->vocab);
        if (row->merges) write_test_text(folder, "merges.txt", row->merges);
        if (row->config) write_test_text(folder, "tokenizer_config.json", row->config);
        assert_refused(row->name, try_open(folder, ".", &err), &err, row->words);
        remove_test_folder(folder);
    }
}

/* Files are sized before they are read; these have holes. */
static void files_have_a_most(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        off_t most;
    } rows[] = {{"tokenizer.json", 64 << 20}, {"merges.txt", 32 << 20}};
    for (int i = 0; i < 2; i++) {
        char folder[64], path[96];
        struct ptq_error err;
        make_test_folder(folder);
        write_test_text(folder, "vocab.json", "{\"a\": 0}");
        write_test_text(folder, rows[i].name, "");
        snprintf(path, sizeof path, "%s/%s", folder, rows[i].name);
        assert_int_equal(truncate(path, rows[i].most + 1), 0);
        assert_refused(rows[i].name, try_open(folder, ".", &err), &err,
                       i ? "merges.txt;33554433;at most 33554432" : "tokenizer.json;67108865;at most 67108864");
        remove_test_folder(folder);
    }
}

/* ---- GGUF ---- */

/* Keys of a GGUF file, as assemble() has them: 8 a string, 9 an array of (type, count), 4 an int of 4 bytes. */
#define KIND(name) "\"tokenizer.ggml.model\" 8:4 \"" name "\" "
#define TOKENS "\"tokenizer.ggml.tokens\" 9:4 8:4 3:8 \"a\" \"b\" \"ab\" "
#define MERGES_KEY(merge) "\"tokenizer.ggml.merges\" 9:4 8:4 1:8 \"" merge "\" "
#define PRE(name) "\"tokenizer.ggml.pre\" 8:4 \"" name "\" "

static const struct bad_gguf {
    const char *name;
    int keys;
    const char *text, *words;
} bad_ggufs[] = {
    {"right", 4, KIND("gpt2") TOKENS MERGES_KEY("a b") PRE("smollm"), NULL},
    {"right by default", 3, KIND("gpt2") TOKENS MERGES_KEY("a b"), NULL},
    {"no tokenizer", 0, "", "tokenizer.ggml.model"},
    {"an unknown model", 1, KIND("bert"), "tokenizer.ggml.model;bert;gpt2, llama"},
    {"an unknown pre", 2, KIND("gpt2") PRE("tekken"), "tokenizer.ggml.pre;tekken;smollm, starcoder"},
    {"no tokens", 2, KIND("gpt2") PRE("gpt-2"), "tokenizer.ggml.tokens"},
    {"tokens that are numbers", 2, KIND("gpt2") "\"tokenizer.ggml.tokens\" 9:4 0:4 2:8 7:1 7:1 ",
     "tokenizer.ggml.tokens"},
    {"one token twice", 2, KIND("gpt2") "\"tokenizer.ggml.tokens\" 9:4 8:4 2:8 \"a\" \"a\" ",
     "tokenizer.ggml.tokens;twice"},
    {"a token that is not UTF-8", 2, KIND("gpt2") "\"tokenizer.ggml.tokens\" 9:4 8:4 1:8 \"\xf0\" ",
     "tokenizer.ggml.tokens;UTF-8"},
    {"types of another number", 3, KIND("gpt2") TOKENS "\"tokenizer.ggml.token_type\" 9:4 5:4 1:8 1:4 ",
     "tokenizer.ggml.tokens;token_type;1"},
    {"no merges", 2, KIND("gpt2") TOKENS, "tokenizer.ggml.merges"},
    {"a merge of an unknown token", 3, KIND("gpt2") TOKENS MERGES_KEY("b a"), "tokenizer.ggml.merges[0];'b a'"},
    {"a BOS that is not there", 5,
     KIND("gpt2") TOKENS MERGES_KEY("a b") PRE("llama-bpe") "\"tokenizer.ggml.bos_token_id\" 4:4 3:4 ",
     "tokenizer.ggml.bos_token_id"},
    {"no scores", 2, KIND("llama") TOKENS, "tokenizer.ggml.scores"},
    {"scores of another number", 3, KIND("llama") TOKENS "\"tokenizer.ggml.scores\" 9:4 6:4 1:8 0:4 ", "scores;1"},
    {"a text for the model", 1, "\"tokenizer.ggml.model\" 4:4 7:4 ", "tokenizer.ggml.model"},
    {"a score that is no number", 3, KIND("llama") TOKENS "\"tokenizer.ggml.scores\" 9:4 6:4 3:8 0:4 0x7fc00000:4 0:4 ",
     "scores[1];not a number"},
};

static void bad_ggufs_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_ggufs / sizeof *bad_ggufs; i++) {
        const struct bad_gguf *row = &bad_ggufs[i];
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err;
        struct ptq_tokenizer *tokenizer = NULL;
        struct ptq_gguf *gguf;
        struct ptq_tensor *tensor;
        size_t n;
        struct bytes b = assemble(ptq_format(arena, "'GGUF' 3:4 0:8 %d:8 %s @32", row->keys, row->text));
        struct ptq_mapped file = {.path = "F", .data = b.data, .size = b.size};
        if (ptq_gguf_read(arena, &file, &gguf, &tensor, &n, &err)) fail_msg("%s: %s", row->name, err.text);
        enum ptq_status status = ptq_tokenizer_from_gguf(arena, gguf, "F", &tokenizer, &err);
        if (row->words)
            assert_refused(row->name, status, &err, row->words);
        else if (status)
            fail_msg("%s: %s", row->name, err.text);
        ptq_tokenizer_close(tokenizer);
        free(b.data);
        ptq_arena_free(arena);
    }
}

/* ---- texts ---- */

/* Encodes with a tokenizer.json; ids in the arena. */
static enum ptq_status encode(struct ptq_arena *arena, const char *json, const char *text, size_t size, int32_t **id,
                              size_t *n, struct ptq_error *err)
{
    char folder[64];
    struct ptq_tokenizer *tokenizer;
    make_test_folder(folder);
    write_test_text(folder, "tokenizer.json", json);
    enum ptq_status status = ptq_tokenizer_open(arena, folder, &tokenizer, err);
    remove_test_folder(folder);
    if (status) fail_msg("%s", err->text);
    status = ptq_tokenizer_encode(tokenizer, text, size, 0, arena, id, n, err);
    ptq_tokenizer_close(tokenizer);
    return status;
}

static void texts_that_cannot_be_said_are_refused(void **state)
{
    static const struct {
        const char *text;
        size_t size;
        const char *words; /* NULL: 2 ids */
    } rows[] = {
        {"abc", 3, NULL},
        {"ab\xff", 3, "not UTF-8;byte 2;0xFF"},
        {"ab\xc3", 3, "not UTF-8;byte 2"},
        {"ab\xed\xa0\x80", 5, "not UTF-8;byte 2"},
        {"ab\0c", 4, "/tmp/ptq-test-;no token;0x00"},
        {"abx", 3, "/tmp/ptq-test-;no token;0x78"},
    };
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    char *json = json_with(-1, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        int32_t *id;
        size_t n;
        enum ptq_status status = encode(arena, json, rows[i].text, rows[i].size, &id, &n, &err);
        if (rows[i].words) {
            assert_refused(rows[i].text, status, &err, rows[i].words);
            continue;
        }
        assert_int_equal(status, PTQ_OK);
        assert_int_equal(n, 2);
        assert_int_equal(id[0], 2);
        assert_int_equal(id[1], 3);
    }
    free(json);
    ptq_arena_free(arena);
}

/* The classic: without a limit this match takes 2^40 steps. */
static void an_expression_that_explodes_is_stopped(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    int32_t *id;
    size_t n;
    char *json =
        json_with(PRE_TOKENIZER, "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
                                 "{\"Regex\": \"(a+)+$\"}, \"behavior\": \"Isolated\"}]}");
    double start = ptq_seconds();
    enum ptq_status status = encode(arena, json, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 41, &id, &n, &err);
    assert_refused("(a+)+$", status, &err, "tokenizer.json;pre_tokenizer;byte 0;backtracks");
    assert_true(ptq_seconds() - start < 10);
    free(json);
    ptq_arena_free(arena);
}

static void a_flood_of_marks_is_stopped(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    int32_t *id;
    size_t n;
    char text[4001] = "a", *json = json_with(NORMALIZER, "{\"type\": \"NFC\"}");
    for (int i = 1; i < 4001; i += 2) memcpy(text + i, i % 4 == 1 ? "\xcc\x81" : "\xcc\xa7", 2);
    assert_refused("marks", encode(arena, json, text, 4001, &id, &n, &err), &err, "combining marks;byte 2049");
    free(json);
    ptq_arena_free(arena);
}

static void a_normalizer_cannot_fill_the_memory(void **state)
{
    (void)state;
    enum { SIZE = 300000 };
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    int32_t *id;
    size_t n;
    char *text = malloc(SIZE), content[401], *step, *json;
    assert_non_null(text);
    memset(text, 'a', SIZE);
    memset(content, 'a', 400);
    content[400] = 0;
    assert_true(
        asprintf(&step, "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"%s\"}", content) > 0);
    json = json_with(NORMALIZER, step);
    assert_refused("growth", encode(arena, json, text, SIZE, &id, &n, &err), &err, "normalizer;longer");
    free(text);
    free(step);
    free(json);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_tokenizer_json_is_refused),
        cmocka_unit_test(lists_have_a_most),
        cmocka_unit_test(too_many_values_are_refused_before_parsing),
        cmocka_unit_test(bad_folders_are_refused),
        cmocka_unit_test(files_have_a_most),
        cmocka_unit_test(bad_ggufs_are_refused),
        cmocka_unit_test(texts_that_cannot_be_said_are_refused),
        cmocka_unit_test(an_expression_that_explodes_is_stopped),
        cmocka_unit_test(a_flood_of_marks_is_stopped),
        cmocka_unit_test(a_normalizer_cannot_fill_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
