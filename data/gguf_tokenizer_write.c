/* tokenizer.json as the keys that llama.cpp reads: tokens by id, their types, and merges with the name of the splitting
 * or scores (gguf_pieces_write.c). */
#include "tokenizer_export.h"
#include "tokenizer_parts.h"

#include "locate.h"
#include "mapped.h"

#include <string.h>

enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, MAX_CONFIG = 1 << 24 };

/* ---- the splitting's name ---- */

/* A row of the table that splits as the tokenizer does, or NULL. */
static const struct ptq_splitting *find_splitting(const struct ptq_tokenizer *t)
{
    struct ptq_splitting like = {0};
    for (int i = 0; i < t->pretokenizer.n; i++) {
        const struct ptq_pre_step *step = &t->pretokenizer.step[i];
        if (step->pattern || step->string || step->prefix || step->invert) return NULL;
        if (!step->scan) continue;
        if (like.scan || (step->scan == ptq_scan_digits && like.digits)) return NULL;
        if (step->scan == ptq_scan_digits && step->behaviour == PTQ_SPLIT_ISOLATED)
            like.digits = 1;
        else
            like.scan = step->scan;
    }
    like.nfc = t->normalizer.n == 1 && t->normalizer.step[0].kind == PTQ_NORMAL_FORM;
    if (t->normalizer.n != like.nfc || !t->pretokenizer.byte_level || !like.scan) return NULL;
    for (int i = 0; i < ptq_n_splittings; i++) {
        const struct ptq_splitting *s = &ptq_splittings[i];
        if (s->scan == like.scan && s->digits == like.digits && s->nfc == like.nfc &&
            s->ignore_merges == t->bpe.ignore_merges)
            return s;
    }
    return NULL;
}

/* ---- tokens ---- */

struct tokens {
    struct ptq_span *text; /* [n] by id */
    int32_t *type;
    int64_t n;
    const char *path;
};

static enum ptq_status set_token(struct tokens *t, const char *text, const json_t *id, int type, struct ptq_error *err)
{
    json_int_t i = json_integer_value(id);
    if (!text || !ptq_json_is(id, JSON_INTEGER) || i < 0 || i >= t->n)
        return ptq_fail(err, PTQ_EINPUT, "%s: token '%.40s' has no row in the embedding, which has %lld", t->path,
                        text ? text : "", (long long)t->n);
    t->text[i] = (struct ptq_span){.data = text, .size = strlen(text)};
    t->type[i] = type;
    return PTQ_OK;
}

static enum ptq_status list_tokens(struct ptq_arena *arena, json_t *root, struct tokens *t, struct ptq_error *err)
{
    const char *text;
    json_t *id, *added;
    size_t i;
    for (int64_t j = 0; j < t->n; j++) {
        text = ptq_format(arena, "[PAD%lld]", (long long)j); /* rows behind the vocabulary, as converters name them */
        t->text[j] = (struct ptq_span){.data = text, .size = strlen(text)};
        t->type[j] = UNUSED;
    }
    json_object_foreach(json_object_get(json_object_get(root, "model"), "vocab"), text, id)
    {
        PTQ_TRY(set_token(t, text, id, NORMAL, err));
    }
    json_array_foreach(json_object_get(root, "added_tokens"), i, added)
    {
        int type = ptq_json_is(json_object_get(added, "special"), JSON_TRUE) ? CONTROL : USER_DEFINED;
        PTQ_TRY(set_token(t, json_string_value(json_object_get(added, "content")), json_object_get(added, "id"), type,
                          err));
    }
    return PTQ_OK;
}

/* "left right" each, whichever way the file has them; the reader has checked them. */
static void put_merges(struct ptq_gguf_keys *to, struct ptq_arena *arena, const json_t *root)
{
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    size_t i, n = json_array_size(merges);
    struct ptq_span *span = ptq_new(arena, struct ptq_span, n);
    json_t *merge;
    json_array_foreach((json_t *)merges, i, merge)
    {
        const char *text = json_string_value(merge);
        if (!text)
            text = ptq_format(arena, "%s %s", json_string_value(json_array_get(merge, 0)),
                              json_string_value(json_array_get(merge, 1)));
        span[i] = (struct ptq_span){.data = text, .size = strlen(text)};
    }
    ptq_gguf_put_texts(to, "tokenizer.ggml.merges", span, n);
}

/* ---- ids and the template for chats, where the folder has them ---- */

const struct ptq_special_id ptq_special_ids[PTQ_N_SPECIAL_IDS] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                                                  {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                                                  {"pad_token_id", "tokenizer.ggml.padding_token_id"}};

/* One id each, or the first of several; below 0 there is none. */
static enum ptq_status put_ids(struct ptq_gguf_keys *to, const json_t *config, const char *path, int64_t vocab,
                               struct ptq_error *err)
{
    for (int i = 0; i < PTQ_N_SPECIAL_IDS; i++) {
        const json_t *id = json_object_get(config, ptq_special_ids[i].name);
        if (ptq_json_is(id, JSON_ARRAY)) id = json_array_get(id, 0);
        if (!ptq_json_is(id, JSON_INTEGER) || json_integer_value(id) < 0) continue;
        if (json_integer_value(id) >= vocab)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: %s, %lld, has no row in the embedding, which has %lld; mend it, or "
                            "make it null",
                            path, ptq_special_ids[i].name, (long long)json_integer_value(id), (long long)vocab);
        ptq_gguf_put_int(to, ptq_special_ids[i].key, json_integer_value(id));
    }
    return PTQ_OK;
}

/* The file counts where both are there, as for transformers. */
static enum ptq_status put_chat_template(struct ptq_gguf_keys *to, struct ptq_arena *arena, const char *folder,
                                         struct ptq_error *err)
{
    static const char key[] = "tokenizer.chat_template";
    const char *path = ptq_join(arena, folder, "chat_template.jinja");
    enum ptq_kind kind;
    json_t *config;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind == PTQ_FILE) {
        char *text;
        size_t size;
        PTQ_TRY(ptq_read_file(arena, path, MAX_CONFIG, &text, &size, err));
        ptq_gguf_put_text(to, key, text);
        return PTQ_OK;
    }
    path = ptq_join(arena, folder, "tokenizer_config.json");
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_json_load(path, MAX_CONFIG, &config, err));
    const char *chat = json_string_value(json_object_get(config, "chat_template"));
    if (chat) ptq_gguf_put_text(to, key, chat);
    json_decref(config);
    return PTQ_OK;
}

static enum ptq_status put_settings(struct ptq_gguf_keys *to, struct ptq_arena *arena, const char *folder,
                                    int64_t vocab, struct ptq_error *err)
{
    const char *path = ptq_join(arena, folder, "config.json");
    json_t *config;
    PTQ_TRY(ptq_json_load(path, MAX_CONFIG, &config, err));
    enum ptq_status status = put_ids(to, config, path, vocab, err);
    json_decref(config);
    return status ? status : put_chat_template(to, arena, folder, err);
}

/* Byte-level BPE: the name of its splitting, and its merges. */
static enum ptq_status put_merging(struct ptq_gguf_keys *to, struct ptq_arena *arena, const struct ptq_tokenizer *from,
                                   const json_t *root, struct ptq_error *err)
{
    const struct ptq_splitting *s = find_splitting(from);
    if (!s)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: llama.cpp has no name that ptq knows for the way in which this tokenizer splits words",
                        from->path);
    ptq_gguf_put_text(to, "tokenizer.ggml.model", "gpt2");
    ptq_gguf_put_text(to, "tokenizer.ggml.pre", s->name);
    put_merges(to, arena, root);
    return PTQ_OK;
}

/* SentencePiece: scores. */
static enum ptq_status put_pieces(struct ptq_gguf_keys *to, struct ptq_arena *arena, const struct ptq_tokenizer *from,
                                  struct tokens *t, int prefix, struct ptq_error *err)
{
    float *score = ptq_new(arena, float, t->n);
    PTQ_TRY(ptq_tokenizer_pieces(from, arena, t->text, t->n, t->type, score, err));
    ptq_gguf_put_text(to, "tokenizer.ggml.model", "llama");
    ptq_gguf_put_reals(to, "tokenizer.ggml.scores", score, (size_t)t->n);
    ptq_gguf_put_bool(to, "tokenizer.ggml.add_space_prefix", prefix);
    if (from->bpe.unk >= 0) ptq_gguf_put_int(to, "tokenizer.ggml.unknown_token_id", from->bpe.unk);
    return PTQ_OK;
}

static enum ptq_status put_vocabulary(struct ptq_gguf_keys *to, struct ptq_arena *arena,
                                      const struct ptq_tokenizer *from, json_t *root, int64_t vocab,
                                      struct ptq_error *err)
{
    struct tokens t = {.n = vocab, .path = from->path};
    int prefix, is_pieces = ptq_tokenizer_is_pieces(from, &prefix);
    t.text = ptq_new(arena, struct ptq_span, vocab);
    t.type = ptq_new(arena, int32_t, vocab);
    PTQ_TRY(list_tokens(arena, root, &t, err));
    PTQ_TRY(is_pieces ? put_pieces(to, arena, from, &t, prefix, err) : put_merging(to, arena, from, root, err));
    ptq_gguf_put_texts(to, "tokenizer.ggml.tokens", t.text, (size_t)vocab);
    ptq_gguf_put_ints(to, "tokenizer.ggml.token_type", t.type, (size_t)vocab);
    ptq_gguf_put_bool(to, "tokenizer.ggml.add_bos_token", ptq_tokenizer_bos(from) >= 0);
    return PTQ_OK;
}

static enum ptq_status put_tokenizer(struct ptq_gguf_keys *to, struct ptq_arena *arena,
                                     const struct ptq_tokenizer *from, const char *path, int64_t vocab,
                                     struct ptq_error *err)
{
    json_t *root;
    PTQ_TRY(ptq_tokenizer_load_json(arena, path, &root, err));
    enum ptq_status status = put_vocabulary(to, arena, from, root, vocab, err);
    json_decref(root);
    return status;
}

enum ptq_status ptq_gguf_put_tokenizer(struct ptq_gguf_keys *to, struct ptq_arena *arena, const char *folder,
                                       int64_t vocab, struct ptq_error *err)
{
    const char *path = ptq_join(arena, folder, "tokenizer.json");
    struct ptq_tokenizer *tokenizer;
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE)
        return ptq_fail(err, PTQ_EINPUT, "%s: is not there, and a GGUF's vocabulary is made from it", path);
    PTQ_TRY(ptq_tokenizer_open(arena, path, &tokenizer, err));
    enum ptq_status status = put_tokenizer(to, arena, tokenizer, path, vocab, err);
    ptq_tokenizer_close(tokenizer);
    return status ? status : put_settings(to, arena, folder, vocab, err);
}
