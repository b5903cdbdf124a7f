#include "tokenizer_export.h"

#include "tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4 }; /* tokenizer.ggml.token_type */

/* What a GGUF says, as far as it is turned into JSON. */
struct source {
    const struct ptq_gguf *gguf;
    const char *path;
    const struct ptq_splitting *splitting;
    struct ptq_span *token, *merge;
    int32_t *type; /* or NULL */
    size_t n, n_merges;
};

static int is(struct ptq_span text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static enum ptq_status find_splitting(struct source *s, struct ptq_error *err)
{
    struct ptq_span name = {"default", 7}, model;
    PTQ_TRY(ptq_gguf_text(s->gguf, "tokenizer.ggml.model", &model, err));
    if (!is(model, "gpt2"))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: a vocabulary of kind '%.*s' is not turned into tokenizer.json; take the model's Hugging "
                        "Face folder",
                        s->path, model.size > 40 ? 40 : (int)model.size, model.data);
    if (ptq_gguf_has(s->gguf, "tokenizer.ggml.pre")) PTQ_TRY(ptq_gguf_text(s->gguf, "tokenizer.ggml.pre", &name, err));
    for (int i = 0; i < ptq_n_splittings; i++)
        if (is(name, ptq_splittings[i].name) && ptq_splittings[i].scan) s->splitting = &ptq_splittings[i];
    if (s->splitting) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: tokenizer.ggml.pre '%.*s' is not turned into tokenizer.json; take the model's Hugging Face "
                    "folder",
                    s->path, name.size > 40 ? 40 : (int)name.size, name.data);
}

static enum ptq_status read_source(struct source *s, struct ptq_arena *arena, struct ptq_error *err)
{
    size_t n_types = 0;
    PTQ_TRY(find_splitting(s, err));
    PTQ_TRY(ptq_gguf_texts(s->gguf, "tokenizer.ggml.tokens", arena, &s->token, &s->n, err));
    PTQ_TRY(ptq_gguf_texts(s->gguf, "tokenizer.ggml.merges", arena, &s->merge, &s->n_merges, err));
    if (!ptq_gguf_has(s->gguf, "tokenizer.ggml.token_type")) return PTQ_OK;
    PTQ_TRY(ptq_gguf_ints(s->gguf, "tokenizer.ggml.token_type", arena, &s->type, &n_types, err));
    if (n_types == s->n) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: %zu tokens, but token_type has %zu items", s->path, s->n, n_types);
}

/* ---- the parts of tokenizer.json ---- */

static json_t *text_of(struct ptq_span text)
{
    return json_stringn(text.data, text.size);
}

static json_t *added_token(const struct source *s, size_t i)
{
    return json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content", text_of(s->token[i]),
                     "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                     s->type[i] != USER_DEFINED);
}

static json_t *added_tokens(const struct source *s)
{
    json_t *added = json_array();
    for (size_t i = 0; s->type && i < s->n; i++)
        if (s->token[i].size && s->type[i] >= UNKNOWN && s->type[i] <= USER_DEFINED)
            json_array_append_new(added, added_token(s, i));
    return added;
}

static json_t *byte_level(int use_regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     use_regex);
}

static json_t *pre_tokenizer(const struct ptq_splitting *splitting)
{
    json_t *steps = json_array();
    int gpt2 = splitting->scan == ptq_scan_gpt2;
    if (splitting->digits)
        json_array_append_new(steps, json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1));
    if (!gpt2)
        json_array_append_new(steps,
                              json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                        ptq_scanner_regex(splitting->scan), "behavior", "Isolated", "invert", 0));
    json_array_append_new(steps, byte_level(gpt2));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

static json_t *model(const struct source *s)
{
    json_t *vocab = json_object(), *merges = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_object_setn_new(vocab, s->token[i].data, s->token[i].size, json_integer((json_int_t)i));
    for (size_t i = 0; i < s->n_merges; i++) json_array_append_new(merges, text_of(s->merge[i]));
    if (json_object_size(vocab) != s->n || json_array_size(merges) != s->n_merges) { /* some text was not UTF-8 */
        json_decref(vocab);
        json_decref(merges);
        return NULL;
    }
    return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", s->splitting->ignore_merges, "vocab", vocab, "merges", merges);
}

/* The text of the token whose id is at key, or null. */
static json_t *special(const struct source *s, const char *key)
{
    struct ptq_error ignored;
    int64_t id;
    if (ptq_gguf_int(s->gguf, key, 0, (int64_t)s->n - 1, &id, &ignored)) return json_null();
    return text_of(s->token[id]);
}

static enum ptq_status adds_bos(const struct source *s, int *add, struct ptq_error *err)
{
    *add = s->splitting->add_bos;
    if (!ptq_gguf_has(s->gguf, "tokenizer.ggml.add_bos_token")) return PTQ_OK;
    return ptq_gguf_bool(s->gguf, "tokenizer.ggml.add_bos_token", add, err);
}

/* BOS before a text, by a template. */
static enum ptq_status post_processor(const struct source *s, json_t **out, struct ptq_error *err)
{
    int add;
    int64_t id;
    PTQ_TRY(adds_bos(s, &add, err));
    *out = json_null();
    if (!add) return PTQ_OK;
    PTQ_TRY(ptq_gguf_int(s->gguf, "tokenizer.ggml.bos_token_id", 0, (int64_t)s->n - 1, &id, err));
    json_t *bos = text_of(s->token[id]);
    const char *text = json_string_value(bos);
    *out = json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], "
                     "s:{s:{s:s, s:[I], s:[s]}}}",
                     "type", "TemplateProcessing", "single", "SpecialToken", "id", text, "type_id", 0, "Sequence", "id",
                     "A", "type_id", 0, "pair", "SpecialToken", "id", text, "type_id", 0, "Sequence", "id", "A",
                     "type_id", 0, "Sequence", "id", "B", "type_id", 1, "special_tokens", text, "id", text, "ids",
                     (json_int_t)id, "tokens", text);
    json_decref(bos);
    return PTQ_OK;
}

static json_t *make_config(const struct source *s)
{
    struct ptq_error ignored;
    struct ptq_span chat;
    json_t *config =
        json_pack("{s:s, s:o, s:o, s:o, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                  special(s, "tokenizer.ggml.bos_token_id"), "eos_token", special(s, "tokenizer.ggml.eos_token_id"),
                  "unk_token", special(s, "tokenizer.ggml.unknown_token_id"), "clean_up_tokenization_spaces", 0);
    json_object_set_new(config, "pad_token", special(s, "tokenizer.ggml.padding_token_id"));
    if (!ptq_gguf_text(s->gguf, "tokenizer.chat_template", &chat, &ignored))
        json_object_set_new(config, "chat_template", text_of(chat));
    return config;
}

enum ptq_status ptq_tokenizer_json_from_gguf(struct ptq_arena *arena, const struct ptq_gguf *gguf, const char *path,
                                             json_t **tokenizer, json_t **config, struct ptq_error *err)
{
    struct source s = {.gguf = gguf, .path = path};
    json_t *post;
    PTQ_TRY(read_source(&s, arena, err));
    PTQ_TRY(post_processor(&s, &post, err));
    json_t *normalizer = s.splitting->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    *tokenizer =
        json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                  "added_tokens", added_tokens(&s), "normalizer", normalizer, "pre_tokenizer",
                  pre_tokenizer(s.splitting), "post_processor", post, "decoder", byte_level(1), "model", model(&s));
    *config = make_config(&s);
    if (*tokenizer) return PTQ_OK; /* all tokens are UTF-8, and with them the config's */
    json_decref(*config);
    return ptq_fail(err, PTQ_EINPUT, "%s: a token is not UTF-8, which tokenizer.json cannot hold", path);
}
