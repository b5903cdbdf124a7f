/* Every key of a GGUF file that ptq reads, in turn missing, of every other kind, and beyond its range: refused in one
 * sentence that names the file and the key. What is not to be refused is said beside the key. */
#include "family.h"
#include "files.h"
#include "gguf_parse.h"
#include "json.h"
#include "tokenizer.h"
#include "tokenizer_export.h"

/* What is no fault: a key that may be missing, a whole number for a real one, a value that any number is fine for. */
enum { MAY_MISS = 1, REAL = 2, ANY_SIZE = 4, ANY_TEXT = 8 };

/* data as files.h has it */
struct key {
    const char *name;
    uint32_t type, element;
    uint64_t n;
    const char *data;
    int flags;
};

#define TEXT(name, text, flags)                                                                                        \
    {                                                                                                                  \
        name, PTQ_GGUF_STRING, 0, sizeof text - 1, "'" text "'", flags                                                 \
    }
#define INT(name, value, flags)                                                                                        \
    {                                                                                                                  \
        name, PTQ_GGUF_U32, 0, 1, value ":4", flags                                                                    \
    }
#define FLAG(name, value)                                                                                              \
    {                                                                                                                  \
        name, PTQ_GGUF_BOOL, 0, 1, value ":1", MAY_MISS                                                                \
    }
#define BITS(name, value, flags)                                                                                       \
    {                                                                                                                  \
        name, PTQ_GGUF_F32, 0, 1, value ":4", REAL | (flags)                                                           \
    }
#define LIST(name, element, n, items, flags)                                                                           \
    {                                                                                                                  \
        name, PTQ_GGUF_ARRAY, element, n, items, flags                                                                 \
    }

#define GGML "tokenizer.ggml."
static const struct key sizes[] = {
    TEXT("general.architecture", "llama", 0),
    INT("llama.embedding_length", "64", ANY_SIZE), /* the heads divide it, and the next divide them */
    INT("llama.block_count", "2", ANY_SIZE),
    INT("llama.attention.head_count", "4", ANY_SIZE),
    INT("llama.feed_forward_length", "96", ANY_SIZE),
    {"llama.context_length", PTQ_GGUF_U64, 0, 1, "64:8", ANY_SIZE},
    INT("llama.attention.head_count_kv", "2", MAY_MISS | ANY_SIZE),
    INT("llama.attention.key_length", "16", MAY_MISS | ANY_SIZE),
    INT("llama.rope.dimension_count", "16", MAY_MISS),
    INT("llama.attention.sliding_window", "8", MAY_MISS | ANY_SIZE),
    BITS("llama.attention.layer_norm_rms_epsilon", "0x3727c5ac", 0),
    BITS("llama.rope.freq_base", "0x461c4000", MAY_MISS | ANY_SIZE),
    TEXT("llama.rope.scaling.type", "linear", MAY_MISS),
    BITS("llama.rope.scaling.factor", "0x40000000", MAY_MISS | ANY_SIZE),
    BITS("llama.rope.scaling.attn_factor", "0x3f800000", MAY_MISS),
    FLAG("llama.attention.causal", "1"),
    INT("llama.expert_count", "0", MAY_MISS),
    INT("split.count", "1", MAY_MISS),
    {0},
};
static const struct key gpt2[] = {
    TEXT(GGML "model", "gpt2", 0),
    TEXT(GGML "pre", "default", MAY_MISS),
    LIST(GGML "tokens", PTQ_GGUF_STRING, 6, "\"a\" \"b\" \"ab\" \"<s>\" \"</s>\" \"\"", 0),
    LIST(GGML "token_type", PTQ_GGUF_I32, 6, "1:4 1:4 1:4 3:4 3:4 3:4", MAY_MISS),
    LIST(GGML "merges", PTQ_GGUF_STRING, 1, "\"a b\"", 0),
    FLAG(GGML "add_bos_token", "1"),
    FLAG(GGML "add_eos_token", "1"),
    INT(GGML "bos_token_id", "3", 0),
    INT(GGML "eos_token_id", "4", 0),
    {0},
};
static const struct key sentencepiece[] = {
    TEXT(GGML "model", "llama", 0),
    LIST(GGML "tokens", PTQ_GGUF_STRING, 6, "\"<unk>\" \"a\" \"b\" \"ab\" \"ba\" \"bb\"", 0),
    LIST(GGML "token_type", PTQ_GGUF_I32, 6, "2:4 1:4 1:4 1:4 1:4 1:4", MAY_MISS),
    LIST(GGML "scores", PTQ_GGUF_F32, 6, "0:4 0:4 0:4 0x3f800000:4 0x40400000:4 0x40000000:4", 0),
    FLAG(GGML "add_space_prefix", "0"),
    FLAG(GGML "add_bos_token", "1"),
    INT(GGML "bos_token_id", "1", 0),
    INT(GGML "unknown_token_id", "0", MAY_MISS),
    {0},
};

/* What tokenizer.json is made of, for an export. */
static const struct key exported[] = {
    TEXT(GGML "model", "gpt2", 0),
    TEXT(GGML "pre", "llama-bpe", 0),
    LIST(GGML "tokens", PTQ_GGUF_STRING, 4, "\"a\" \"<s>\" \"\" \"b\"", 0),
    LIST(GGML "token_type", PTQ_GGUF_I32, 4, "1:4 4:4 3:4 6:4", MAY_MISS),
    LIST(GGML "merges", PTQ_GGUF_STRING, 1, "\"a a\"", ANY_TEXT),
    FLAG(GGML "add_bos_token", "1"),
    INT(GGML "bos_token_id", "1", 0),
    {0},
};
static const struct key exported_plain[] = {
    TEXT(GGML "model", "gpt2", 0),
    TEXT(GGML "pre", "qwen2", 0),
    LIST(GGML "tokens", PTQ_GGUF_STRING, 1, "\"a\"", ANY_TEXT),
    LIST(GGML "merges", PTQ_GGUF_STRING, 0, "", ANY_TEXT),
    {0},
};
static const struct key exported_broken[] = {
    TEXT(GGML "model", "gpt2", 0),
    TEXT(GGML "pre", "llama-bpe", 0),
    LIST(GGML "tokens", PTQ_GGUF_STRING, 2, "\"a\" \"\xff\"", 0),
    LIST(GGML "merges", PTQ_GGUF_STRING, 1, "\"a a\"", 0),
    INT(GGML "bos_token_id", "1", 0),
    FLAG(GGML "add_bos_token", "0"),
    {0},
};

static const struct key merges_broken[] = {
    TEXT(GGML "model", "gpt2", 0),
    TEXT(GGML "pre", "qwen2", 0),
    LIST(GGML "tokens", PTQ_GGUF_STRING, 1, "\"a\"", 0),
    LIST(GGML "merges", PTQ_GGUF_STRING, 1, "\"a \xff\"", 0),
    {0},
};
static const struct key with_chat[] = {
    TEXT(GGML "model", "gpt2", 0),
    TEXT(GGML "pre", "qwen2", 0),
    LIST(GGML "tokens", PTQ_GGUF_STRING, 1, "\"a\"", 0),
    LIST(GGML "merges", PTQ_GGUF_STRING, 0, "", 0),
    TEXT("tokenizer.chat_template", "say this", 0),
    {0},
};

/* Every kind; the last ones are beyond any range that a key has. */
static const struct key kinds[] = {
    TEXT("a text", "text", 0),
    INT("the number 7", "7", 0),
    BITS("1.5", "0x3fc00000", 0),
    {"a flag", PTQ_GGUF_BOOL, 0, 1, "1:1", 0},
    LIST("an array of a text", PTQ_GGUF_STRING, 1, "\"x\"", 0),
    LIST("an array of a whole number", PTQ_GGUF_I32, 1, "1:4", 0),
    LIST("an array of a number of 64 bits", PTQ_GGUF_U64, 1, "-1:8", 0),
    LIST("an array of a real number", PTQ_GGUF_F32, 1, "0:4", 0),
    LIST("an array of a flag", PTQ_GGUF_BOOL, 1, "1:1", 0),
    {"the number -1", PTQ_GGUF_I32, 0, 1, "-1:4", 0},
    {"the number 2^64 - 1", PTQ_GGUF_U64, 0, 1, "-1:8", 0},
    BITS("infinity", "0x7f800000", 0),
};
enum { N_KINDS = sizeof kinds / sizeof *kinds, SEVEN = 1, A_TEXT_LIST = 4, N_SMALL = 9, MOST_KEYS = 20 };

typedef enum ptq_status reader(const struct ptq_gguf *gguf, struct ptq_error *err);

static enum ptq_status read_sizes(const struct ptq_gguf *gguf, struct ptq_error *err)
{
    struct ptq_config config;
    return ptq_config_from_gguf(gguf, gguf->path, &config, err);
}

static enum ptq_status read_tokenizer(const struct ptq_gguf *gguf, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_tokenizer *tokenizer = NULL;
    enum ptq_status status = ptq_tokenizer_from_gguf(arena, gguf, gguf->path, &tokenizer, err);
    ptq_tokenizer_close(tokenizer);
    ptq_arena_free(arena);
    return status;
}

static enum ptq_status export_tokenizer(const struct ptq_gguf *gguf, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    json_t *tokenizer, *config;
    enum ptq_status status = ptq_tokenizer_json_from_gguf(arena, gguf, gguf->path, &tokenizer, &config, err);
    if (!status) {
        int wants = ptq_gguf_has(gguf, "tokenizer.chat_template");
        const char *chat = json_string_value(json_object_get(config, "chat_template"));
        if (wants ? !chat || strcmp(chat, "say this") != 0 : chat != NULL) fail_msg("chat_template is %s", chat);
        json_decref(tokenizer);
        json_decref(config);
    }
    ptq_arena_free(arena);
    return status;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct ptq_gguf_value *)a)->key, ((const struct ptq_gguf_value *)b)->key);
}

/* The file's keys, but that key `which` holds what `other` does, or is missing where other is NULL. */
static enum ptq_status read_with(const struct key *list, int which, const struct key *other, reader *read,
                                 struct ptq_error *err)
{
    struct ptq_gguf_value kv[MOST_KEYS];
    struct bytes data[MOST_KEYS];
    struct ptq_gguf gguf = {.path = "made.gguf", .version = 3, .alignment = 32, .kv = kv};
    for (int i = 0; list[i].name; i++) {
        const struct key *from = i == which ? other : &list[i];
        if (!from) continue;
        data[gguf.n_kv] = assemble(from->data);
        kv[gguf.n_kv] = (struct ptq_gguf_value){list[i].name, from->type, from->element, from->n, data[gguf.n_kv].data};
        gguf.n_kv++;
    }
    struct ptq_gguf_value sorted[MOST_KEYS];
    memcpy(sorted, kv, sizeof *kv * gguf.n_kv);
    qsort(sorted, gguf.n_kv, sizeof *sorted, by_key);
    gguf.kv = sorted;
    enum ptq_status status = read(&gguf, err);
    for (size_t i = 0; i < gguf.n_kv; i++) free(data[i].data);
    return status;
}

static int is_number(const struct key *key)
{
    return key->type == PTQ_GGUF_U32 || key->type == PTQ_GGUF_F32;
}

/* Whether the key may hold what `kind` is. */
static int is_fine(const struct key *key, int k)
{
    const struct key *kind = &kinds[k];
    if (k == SEVEN) return key->flags & ANY_SIZE;
    if (k == A_TEXT_LIST && key->flags & ANY_TEXT) return 1;
    if (k < N_SMALL && is_number(key) && key->type == kind->type) return 1;
    if (key->type == PTQ_GGUF_BOOL) return kind->type == PTQ_GGUF_BOOL;
    return 0;
}

static int try_all(const struct key *list, reader *read)
{
    struct ptq_error err;
    char what[200], words[200];
    int tried = 0, taken = 0;
    if (read_with(list, -1, NULL, read, &err)) fail_msg("the file that is right: %s", err.text);
    for (int i = 0; list[i].name; i++) {
        for (int k = -1; k < N_KINDS; k++) {
            if (k >= 0 && is_fine(&list[i], k)) continue;
            enum ptq_status status = read_with(list, i, k < 0 ? NULL : &kinds[k], read, &err);
            if (k < 0 && list[i].flags & MAY_MISS) {
                if (status) fail_msg("%s is missing: %s", list[i].name, err.text);
                continue;
            }
            /* a text of the right kind but of no known meaning may be quoted alone */
            int is_text = k >= 0 && list[i].type == PTQ_GGUF_STRING && kinds[k].type == PTQ_GGUF_STRING;
            snprintf(words, sizeof words, "made.gguf: ;%s", is_text ? "text" : strrchr(list[i].name, '.') + 1);
            snprintf(what, sizeof what, "%s is %s", list[i].name, k < 0 ? "missing" : kinds[k].name);
            tried++;
            if (status)
                assert_refused(what, status, &err, words);
            else
                print_error("%s: taken\n", what), taken++;
        }
    }
    print_message("%d keys missing, of another kind or beyond their range\n", tried);
    if (taken) fail_msg("%d of %d were taken", taken, tried);
    return tried;
}

static void sizes_of_another_kind(void **state)
{
    (void)state;
    assert_true(try_all(sizes, read_sizes) > 120);
}

static const struct key fused[] = {
    TEXT("general.architecture", "gpt2", 0),
    INT("gpt2.embedding_length", "64", 0),
    INT("gpt2.block_count", "2", 0),
    INT("gpt2.attention.head_count", "4", 0),
    INT("gpt2.attention.head_count_kv", "4", 0),
    INT("gpt2.feed_forward_length", "96", 0),
    INT("gpt2.context_length", "64", 0),
    BITS("gpt2.attention.layer_norm_epsilon", "0x3727c5ac", 0),
    {0},
};

static int place_of(const struct key *list, const char *name)
{
    for (int i = 0; list[i].name; i++)
        if (strcmp(list[i].name, name) == 0) return i;
    fail_msg("no key %s", name);
    return -1;
}

static void sizes_that_do_not_fit(void **state)
{
    (void)state;
    static const struct key none = TEXT("", "none", 0), yarn = TEXT("", "yarnes", 0), two = INT("", "2", 0),
                            off = FLAG("", "0"), half = BITS("", "0x3f000000", 0);
    struct ptq_error err;
    int scaling = place_of(sizes, "llama.rope.scaling.type"), kv = place_of(fused, "gpt2.attention.head_count_kv");
    assert_int_equal(read_with(sizes, scaling, &none, read_sizes, &err), PTQ_OK);
    assert_refused("yarn", read_with(sizes, scaling, &yarn, read_sizes, &err), &err,
                   "rope.scaling.type 'yarnes';linear");
    assert_int_equal(read_with(fused, -1, NULL, read_sizes, &err), PTQ_OK);
    assert_refused("experts", read_with(sizes, place_of(sizes, "llama.expert_count"), &two, read_sizes, &err), &err,
                   "llama.expert_count is 2;experts");
    assert_refused("parts", read_with(sizes, place_of(sizes, "split.count"), &two, read_sizes, &err), &err,
                   "split.count is 2;one of the parts;--merge");
    assert_refused("ahead", read_with(sizes, place_of(sizes, "llama.attention.causal"), &off, read_sizes, &err), &err,
                   "llama.attention.causal is false");
    assert_refused("louder",
                   read_with(sizes, place_of(sizes, "llama.rope.scaling.attn_factor"), &half, read_sizes, &err), &err,
                   "attn_factor is 0.5;known: 1");
    assert_refused("groups", read_with(fused, kv, &two, read_sizes, &err), &err, "2 key/value heads for 4 heads;fused");
}

#define TWO "0x40000000:4"
#define FOUR "0x40800000:4"
static struct ptq_config seen;

static enum ptq_status read_rope(const struct ptq_gguf *gguf, struct ptq_error *err)
{
    return ptq_config_from_gguf(gguf, gguf->path, &seen, err);
}

/* sizes without rope scaling, and these three where they are given. */
static enum ptq_status read_scaling(const char *type, const char *factor, const char *old, struct ptq_error *err)
{
    struct key list[MOST_KEYS] = {{0}};
    int n = 0;
    for (int i = 0; sizes[i].name; i++)
        if (!strstr(sizes[i].name, "rope.scaling")) list[n++] = sizes[i];
    if (type) list[n++] = (struct key){"llama.rope.scaling.type", PTQ_GGUF_STRING, 0, strlen(type) - 2, type, 0};
    if (factor) list[n++] = (struct key)BITS("llama.rope.scaling.factor", "", 0), list[n - 1].data = factor;
    if (old) list[n++] = (struct key)BITS("llama.rope.scale_linear", "", 0), list[n - 1].data = old;
    return read_with(list, -1, NULL, read_rope, err);
}

/* llama.cpp: a type that is missing is linear; the factor has an older name; 0 is none. */
static void rope_is_scaled_as_llama_cpp_does(void **state)
{
    (void)state;
    static const struct {
        const char *type, *factor, *old;
        double want; /* 0: not scaled */
    } rows[] = {
        {NULL, NULL, NULL, 0},      {NULL, FOUR, NULL, 4},       {NULL, NULL, TWO, 2},     {NULL, FOUR, TWO, 4},
        {NULL, "0:4", TWO, 0},      {NULL, NULL, "0:4", 0},      {"'none'", FOUR, TWO, 0}, {"'linear'", FOUR, NULL, 4},
        {"'linear'", NULL, TWO, 2}, {"'linear'", NULL, NULL, 0},
    };
    struct ptq_error err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (read_scaling(rows[i].type, rows[i].factor, rows[i].old, &err)) fail_msg("row %zu: %s", i, err.text);
        if (strcmp(seen.rope_type, rows[i].want > 0 ? "linear" : "default") || seen.rope_factor != rows[i].want)
            fail_msg("row %zu: %s, factor %g", i, seen.rope_type, seen.rope_factor);
    }
    assert_refused("1e7", read_scaling(NULL, "0x4b189680:4", NULL, &err), &err,
                   "made.gguf: llama.rope.scaling.factor is 1e+07");
    assert_refused("-2", read_scaling(NULL, NULL, "0xc0000000:4", &err), &err,
                   "made.gguf: llama.rope.scale_linear is -2");
}

/* Tokens have at most 65535 bytes, and those that scores join at most 512. */
static void tokens_that_are_too_long(void **state)
{
    (void)state;
    static const size_t most[] = {UINT16_MAX, 512};
    const struct key *const list[] = {exported_plain, sentencepiece};
    struct ptq_error err;
    for (int kind = 0; kind < 2; kind++)
        for (size_t more = 0; more < 2; more++) {
            struct ptq_arena *arena = ptq_arena_make("test");
            char *token = ptq_alloc(arena, most[kind] + 2, "a token");
            memset(token, 'q', most[kind] + more);
            struct key tokens = LIST("", PTQ_GGUF_STRING, kind ? 6 : 1, NULL, 0);
            tokens.data = ptq_format(arena, kind ? "\"<unk>\" \"a\" \"b\" \"%s\" \"ba\" \"bb\"" : "\"%s\"", token);
            enum ptq_status status =
                read_with(list[kind], place_of(list[kind], GGML "tokens"), &tokens, read_tokenizer, &err);
            if (more)
                assert_refused("one more", status, &err, kind ? "tokens[3];513 bytes" : "tokens[0];65536 bytes");
            else if (status)
                fail_msg("%s", err.text);
            ptq_arena_free(arena);
        }
}

static void tokenizers_of_another_kind(void **state)
{
    (void)state;
    static const struct key other = TEXT("", "other", 0);
    struct ptq_error err;
    assert_refused("as long as llama", read_with(gpt2, 0, &other, read_tokenizer, &err), &err,
                   "tokenizer.ggml.model is 'other'");
    assert_true(try_all(gpt2, read_tokenizer) > 70);
    assert_true(try_all(sentencepiece, read_tokenizer) > 60);
}

static void exported_tokenizers_of_another_kind(void **state)
{
    (void)state;
    struct ptq_error err;
    assert_true(try_all(exported, export_tokenizer) > 50);
    assert_true(try_all(exported_plain, export_tokenizer) > 30);
    assert_refused("a token", read_with(exported_broken, -1, NULL, export_tokenizer, &err), &err,
                   "made.gguf;not UTF-8");
    /* the same with the token before each text */
    assert_refused("BOS", read_with(exported_broken, 5, NULL, export_tokenizer, &err), &err, "made.gguf;not UTF-8");
    assert_refused("a merge", read_with(merges_broken, -1, NULL, export_tokenizer, &err), &err, "made.gguf;not UTF-8");
    assert_int_equal(read_with(with_chat, -1, NULL, export_tokenizer, &err), PTQ_OK);
    assert_refused("SentencePiece", read_with(sentencepiece, -1, NULL, export_tokenizer, &err), &err,
                   "made.gguf;'llama';Hugging Face");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_another_kind),
        cmocka_unit_test(sizes_that_do_not_fit),
        cmocka_unit_test(rope_is_scaled_as_llama_cpp_does),
        cmocka_unit_test(tokens_that_are_too_long),
        cmocka_unit_test(tokenizers_of_another_kind),
        cmocka_unit_test(exported_tokenizers_of_another_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
