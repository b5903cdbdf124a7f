/* Tokenizers in GGUF metadata. tokenizer.ggml.model says of what kind:
 *
 *   gpt2   byte-level BPE: tokens, merges ("left right"), and tokenizer.ggml.pre, which names how words are split
 *   llama  SentencePiece BPE: tokens with scores; two neighbours that make a token may merge, the best score first
 *
 * tokenizer.ggml.token_type: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 a byte "<0x0A>". */
#include "tokenizer_parts.h"

#include "unicode.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4 };

/* Each cut of a token reads it once, so a token costs the square of its bytes: with this most a fifth of a second in
 * all, and ten times what 256,000 tokens of 10 bytes take. */
enum { MAX_CUT_BYTES = 1 << 28 };

struct source {
    const struct ptq_gguf *gguf;
    struct ptq_span *token;
    int32_t *type; /* [n], or NULL */
    size_t n;
    const char *path;
};

const struct ptq_splitting ptq_splittings[] = {
    {.name = "gpt-2", .scan = ptq_scan_gpt2},
    {.name = "phi-2", .scan = ptq_scan_gpt2},
    {.name = "smollm", .scan = ptq_scan_gpt2, .digits = 1},
    {.name = "starcoder", .scan = ptq_scan_gpt2, .digits = 1},
    {.name = "refact", .scan = ptq_scan_gpt2, .digits = 1},
    {.name = "llama-bpe", .scan = ptq_scan_llama3, .ignore_merges = 1, .add_bos = 1},
    {.name = "llama-v3", .scan = ptq_scan_llama3, .ignore_merges = 1, .add_bos = 1},
    {.name = "llama3", .scan = ptq_scan_llama3, .ignore_merges = 1, .add_bos = 1},
    {.name = "qwen2", .scan = ptq_scan_qwen2, .nfc = 1},
    {.name = "bloom", .scan = ptq_scan_bloom},
    {.name = "default"},
};
const int ptq_n_splittings = sizeof ptq_splittings / sizeof *ptq_splittings;

static enum ptq_status unknown_splitting(const struct source *source, struct ptq_span name, struct ptq_error *err)
{
    struct ptq_buffer list = {0};
    for (int i = 0; i < ptq_n_splittings; i++) ptq_buffer_add(&list, "%s%s", i ? ", " : "", ptq_splittings[i].name);
    enum ptq_status status =
        ptq_fail(err, PTQ_EINPUT, "%s: tokenizer.ggml.pre is '%.*s', which ptq does not know; it knows %s",
                 source->path, name.size > 60 ? 60 : (int)name.size, name.data, list.data);
    free(list.data);
    return status;
}

static enum ptq_status find_splitting(const struct source *source, const struct ptq_splitting **out,
                                      struct ptq_error *err)
{
    struct ptq_span name = {"default", 7};
    if (ptq_gguf_has(source->gguf, "tokenizer.ggml.pre"))
        PTQ_TRY(ptq_gguf_text(source->gguf, "tokenizer.ggml.pre", &name, err));
    for (int i = 0; i < ptq_n_splittings; i++) {
        *out = &ptq_splittings[i];
        if (strlen((*out)->name) == name.size && memcmp((*out)->name, name.data, name.size) == 0) return PTQ_OK;
    }
    return unknown_splitting(source, name, err);
}

/* "default": punctuation, then GPT-2's words, then numbers, then three digits at a time. */
static enum ptq_status set_default_splitting(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                             struct ptq_error *err)
{
    static const char *const regex[] = {"[\\p{P}$+<=>^~|]+", NULL, "\\p{N}+", "[0-9][0-9][0-9]"};
    struct ptq_pretokenizer *pre = &tokenizer->pretokenizer;
    for (int i = 0; i < 4; i++) {
        struct ptq_pre_step *step = &pre->step[pre->n++];
        if (regex[i])
            PTQ_TRY(ptq_pattern_compile(arena, regex[i], tokenizer->path, &step->pattern, err));
        else
            step->scan = ptq_scan_gpt2;
    }
    return PTQ_OK;
}

static enum ptq_status set_splitting(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                     const struct ptq_splitting *splitting, struct ptq_error *err)
{
    struct ptq_pretokenizer *pre = &tokenizer->pretokenizer;
    pre->byte_level = tokenizer->bpe.byte_level = 1;
    tokenizer->bpe.ignore_merges = splitting->ignore_merges;
    if (splitting->nfc)
        tokenizer->normalizer.step[tokenizer->normalizer.n++] =
            (struct ptq_normal_step){.kind = PTQ_NORMAL_FORM, .form = ptq_normal_form("NFC")};
    if (!splitting->scan) return set_default_splitting(tokenizer, arena, err);
    if (splitting->digits) pre->step[pre->n++].scan = ptq_scan_digits;
    pre->step[pre->n++].scan = splitting->scan;
    return PTQ_OK;
}

/* "▁" before a text, and for each space. */
static enum ptq_status set_spaces(struct ptq_tokenizer *tokenizer, const struct source *source, struct ptq_error *err)
{
    struct ptq_normalizer *normalizer = &tokenizer->normalizer;
    int prefix = 1;
    if (ptq_gguf_has(source->gguf, "tokenizer.ggml.add_space_prefix"))
        PTQ_TRY(ptq_gguf_bool(source->gguf, "tokenizer.ggml.add_space_prefix", &prefix, err));
    if (prefix)
        normalizer->step[normalizer->n++] = (struct ptq_normal_step){.kind = PTQ_NORMAL_PREPEND, .content = "\u2581"};
    normalizer->step[normalizer->n++] =
        (struct ptq_normal_step){.kind = PTQ_NORMAL_REPLACE, .pattern = " ", .content = "\u2581"};
    return PTQ_OK;
}

static enum ptq_status read_tokens(struct source *source, struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                   struct ptq_error *err)
{
    const char *where = ptq_format(arena, "%s: tokenizer.ggml.tokens", source->path);
    size_t n_types;
    PTQ_TRY(ptq_gguf_texts(source->gguf, "tokenizer.ggml.tokens", arena, &source->token, &source->n, err));
    if (ptq_gguf_has(source->gguf, "tokenizer.ggml.token_type")) {
        PTQ_TRY(ptq_gguf_ints(source->gguf, "tokenizer.ggml.token_type", arena, &source->type, &n_types, err));
        if (n_types != source->n)
            return ptq_fail(err, PTQ_EINPUT, "%s: %zu tokens, but token_type has %zu items", where, source->n, n_types);
    }
    if (source->n > PTQ_MAX_TOKENS) /* no test: 16 million tokens */
        return ptq_fail(err, PTQ_EINPUT, "%s: more than %d", where, PTQ_MAX_TOKENS);
    struct ptq_token *token = ptq_new(arena, struct ptq_token, source->n);
    for (size_t i = 0; i < source->n; i++) {
        if (source->token[i].size > UINT16_MAX)
            return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: a token of %zu bytes", where, i, source->token[i].size);
        token[i] = (struct ptq_token){
            .text = source->token[i].data, .size = (uint32_t)source->token[i].size, .id = (int32_t)i};
    }
    return ptq_tokenizer_set_vocabulary(tokenizer, arena, token, source->n, where, err);
}

static int type_of(const struct source *source, size_t i)
{
    return source->type ? source->type[i] : NORMAL;
}

/* Control, user-defined and unknown tokens are found in the text before anything else. */
static enum ptq_status read_added(const struct source *source, struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                  struct ptq_error *err)
{
    size_t n = 0;
    struct ptq_added_entry *entry = ptq_new(arena, struct ptq_added_entry, source->n);
    for (size_t i = 0; i < source->n; i++) {
        int type = type_of(source, i);
        if ((type != CONTROL && type != USER_DEFINED && type != UNKNOWN) || !source->token[i].size) continue;
        entry[n++].token =
            (struct ptq_added_token){.text = ptq_strndup(arena, source->token[i].data, source->token[i].size),
                                     .size = source->token[i].size,
                                     .id = (int32_t)i};
    }
    return ptq_tokenizer_set_added(tokenizer, arena, entry, n, ptq_format(arena, "%s: special tokens", source->path),
                                   err);
}

static enum ptq_status read_merges(const struct source *source, struct ptq_tokenizer *tokenizer,
                                   struct ptq_arena *arena, struct ptq_error *err)
{
    const char *where = ptq_format(arena, "%s: tokenizer.ggml.merges", source->path);
    struct ptq_span *merge;
    size_t n;
    PTQ_TRY(ptq_gguf_texts(source->gguf, "tokenizer.ggml.merges", arena, &merge, &n, err));
    PTQ_TRY(ptq_tokenizer_expect_merges(tokenizer, arena, n, where, err));
    for (size_t i = 0; i < n; i++)
        PTQ_TRY(ptq_tokenizer_add_merge(tokenizer, merge[i].data, merge[i].size, where, i, err));
    return PTQ_OK;
}

/* A token and its score, for sorting. */
struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *left, const void *right)
{
    const struct scored *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* All ways to make a token out of two have the token's place in the order. */
static void add_ways(const struct source *source, struct ptq_tokenizer *tokenizer, int32_t id, size_t rank)
{
    struct ptq_span token = source->token[id];
    int length;
    for (size_t cut = 0; cut < token.size; cut += (size_t)length) {
        ptq_utf8_decode(token.data + cut, &length);
        if (cut) ptq_bpe_add_merge(&tokenizer->bpe, token.data, cut, token.data + cut, token.size - cut, rank);
    }
}

/* Scores as ranks of merges. Where two tokens have one score the smaller id goes first. */
static enum ptq_status read_scores(const struct source *source, struct ptq_tokenizer *tokenizer,
                                   struct ptq_arena *arena, struct ptq_error *err)
{
    float *score;
    size_t n, n_ways = 0, n_sorted = 0, cut_bytes = 0;
    PTQ_TRY(ptq_gguf_reals(source->gguf, "tokenizer.ggml.scores", arena, &score, &n, err));
    if (n != source->n)
        return ptq_fail(err, PTQ_EINPUT, "%s: %zu tokens, but tokenizer.ggml.scores has %zu items", source->path,
                        source->n, n);
    struct scored *sorted = ptq_new(arena, struct scored, n);
    for (size_t i = 0; i < n; i++) {
        if (isnan(score[i]))
            return ptq_fail(err, PTQ_EINPUT, "%s: tokenizer.ggml.scores[%zu] is not a number", source->path, i);
        if (type_of(source, i) != NORMAL || source->token[i].size < 2) continue;
        if (source->token[i].size > PTQ_MAX_PIECE_BYTES)
            return ptq_fail(err, PTQ_EINPUT, "%s: tokenizer.ggml.tokens[%zu] has %zu bytes; %d are the most",
                            source->path, i, source->token[i].size, PTQ_MAX_PIECE_BYTES);
        cut_bytes += source->token[i].size * source->token[i].size;
        if (cut_bytes > MAX_CUT_BYTES)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: tokenizer.ggml.tokens[%zu]: the tokens up to here are too long for so many; "
                            "SentencePiece's own have at most 16 characters",
                            source->path, i);
        sorted[n_sorted++] = (struct scored){.score = score[i], .id = (int32_t)i};
        n_ways += source->token[i].size;
    }
    qsort(sorted, n_sorted, sizeof *sorted, by_score);
    ptq_bpe_ready(&tokenizer->bpe, arena, n_ways);
    for (size_t i = 0; i < n_sorted; i++) add_ways(source, tokenizer, sorted[i].id, i);
    return PTQ_OK;
}

/* The token whose id is at "tokenizer.ggml.NAME_token_id" into the list, where add_NAME_token, or what it stands for,
 * says so. */
static enum ptq_status add_to_texts(const struct source *source, const struct ptq_tokenizer *tokenizer,
                                    struct ptq_arena *arena, const char *name, int add, int32_t **list, int *n,
                                    struct ptq_error *err)
{
    const char *flag = ptq_format(arena, "tokenizer.ggml.add_%s_token", name);
    int64_t id;
    if (ptq_gguf_has(source->gguf, flag)) PTQ_TRY(ptq_gguf_bool(source->gguf, flag, &add, err));
    if (!add) return PTQ_OK;
    PTQ_TRY(ptq_gguf_int(source->gguf, ptq_format(arena, "tokenizer.ggml.%s_token_id", name), 0, tokenizer->size - 1,
                         &id, err));
    return ptq_tokenizer_template_id(arena, list, n, (int32_t)id, 0, source->path, err);
}

static enum ptq_status read_template(const struct source *source, struct ptq_tokenizer *tokenizer,
                                     struct ptq_arena *arena, int add_bos, struct ptq_error *err)
{
    PTQ_TRY(add_to_texts(source, tokenizer, arena, "bos", add_bos, &tokenizer->before, &tokenizer->n_before, err));
    return add_to_texts(source, tokenizer, arena, "eos", 0, &tokenizer->after, &tokenizer->n_after, err);
}

static enum ptq_status read_gpt2(struct source *source, struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                 struct ptq_error *err)
{
    const struct ptq_splitting *splitting;
    PTQ_TRY(find_splitting(source, &splitting, err));
    PTQ_TRY(set_splitting(tokenizer, arena, splitting, err));
    PTQ_TRY(read_tokens(source, tokenizer, arena, err));
    PTQ_TRY(read_merges(source, tokenizer, arena, err));
    PTQ_TRY(read_added(source, tokenizer, arena, err));
    return read_template(source, tokenizer, arena, splitting->add_bos, err);
}

static enum ptq_status read_llama(struct source *source, struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                  struct ptq_error *err)
{
    int64_t unk = -1;
    PTQ_TRY(set_spaces(tokenizer, source, err));
    PTQ_TRY(read_tokens(source, tokenizer, arena, err));
    if (ptq_gguf_has(source->gguf, "tokenizer.ggml.unknown_token_id"))
        PTQ_TRY(ptq_gguf_int(source->gguf, "tokenizer.ggml.unknown_token_id", 0, tokenizer->size - 1, &unk, err));
    tokenizer->bpe.unk = (int32_t)unk;
    tokenizer->bpe.byte_fallback = tokenizer->bpe.fuse_unk = 1;
    PTQ_TRY(read_scores(source, tokenizer, arena, err));
    PTQ_TRY(read_added(source, tokenizer, arena, err));
    return read_template(source, tokenizer, arena, 1, err);
}

static enum ptq_status read_kind(struct source *source, struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                 struct ptq_error *err)
{
    struct ptq_span kind;
    PTQ_TRY(ptq_gguf_text(source->gguf, "tokenizer.ggml.model", &kind, err));
    if (kind.size == 4 && memcmp(kind.data, "gpt2", 4) == 0) return read_gpt2(source, tokenizer, arena, err);
    if (kind.size == 5 && memcmp(kind.data, "llama", 5) == 0) return read_llama(source, tokenizer, arena, err);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: tokenizer.ggml.model is '%.*s', which ptq does not know; it knows gpt2, llama", source->path,
                    kind.size > 60 ? 60 : (int)kind.size, kind.data);
}

enum ptq_status ptq_tokenizer_from_gguf(struct ptq_arena *arena, const struct ptq_gguf *gguf, const char *path,
                                        struct ptq_tokenizer **out, struct ptq_error *err)
{
    struct ptq_tokenizer *tokenizer = ptq_new(arena, struct ptq_tokenizer, 1);
    tokenizer->path = ptq_strdup(arena, path);
    tokenizer->bpe.unk = -1;
    struct source source = {.gguf = gguf, .path = tokenizer->path};
    enum ptq_status status = read_kind(&source, tokenizer, arena, err);
    if (status == PTQ_OK)
        *out = tokenizer;
    else
        ptq_tokenizer_close(tokenizer);
    return status;
}
