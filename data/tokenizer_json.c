/* tokenizer.json. Truncation and padding, which files carry from somebody's training run, are not applied, and the
 * decoder is not needed. An added token has the id that its file gives it. */
#include "tokenizer_parts.h"

#include <string.h>

/* What ptq would get wrong is refused, not ignored. */
static enum ptq_status check_model(const json_t *model, const char *where, struct ptq_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type, *affix;
    double dropout;
    if (!ptq_json_is(model, JSON_OBJECT)) return ptq_fail(err, PTQ_EINPUT, "%s must be an object", where);
    PTQ_TRY(ptq_json_text_or(model, "type", where, "BPE", &type, err));
    if (strcmp(type, "BPE") != 0)
        return ptq_fail(err, PTQ_EINPUT, "%s: type '%.60s' is not known; ptq knows BPE", where, type);
    for (int i = 0; i < 2; i++) {
        PTQ_TRY(ptq_json_text_or(model, affixes[i], where, "", &affix, err));
        if (*affix)
            return ptq_fail(err, PTQ_EINPUT, "%s: '%s' is '%.60s'; ptq knows only BPE without it", where, affixes[i],
                            affix);
    }
    PTQ_TRY(ptq_json_real_or(model, "dropout", where, 0, 1, 0, &dropout, err));
    if (dropout > 0) return ptq_fail(err, PTQ_EINPUT, "%s: 'dropout' is not 0, so the ids would be random", where);
    return PTQ_OK;
}

static enum ptq_status read_unknown(struct ptq_tokenizer *tokenizer, const json_t *model, const char *where,
                                    struct ptq_error *err)
{
    const char *unk;
    PTQ_TRY(ptq_json_text_or(model, "unk_token", where, NULL, &unk, err));
    if (!unk) return PTQ_OK;
    tokenizer->bpe.unk = ptq_vocab_id(&tokenizer->bpe.vocab, unk, strlen(unk));
    if (tokenizer->bpe.unk < 0)
        return ptq_fail(err, PTQ_EINPUT, "%s: unk_token '%.60s' is not in the vocabulary", where, unk);
    return PTQ_OK;
}

/* A merge is "left right" or ["left", "right"]. */
static enum ptq_status read_merge(struct ptq_tokenizer *tokenizer, const json_t *merge, const char *where, size_t index,
                                  struct ptq_error *err)
{
    if (ptq_json_is(merge, JSON_STRING))
        return ptq_tokenizer_add_merge(tokenizer, json_string_value(merge), json_string_length(merge), where, index,
                                       err);
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !ptq_json_is(left, JSON_STRING) || !ptq_json_is(right, JSON_STRING))
        return ptq_fail(err, PTQ_EINPUT, "%s[%zu] must be a string or a pair of strings", where, index);
    if (!ptq_bpe_add_merge(&tokenizer->bpe, json_string_value(left), json_string_length(left), json_string_value(right),
                           json_string_length(right), index))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s[%zu]: ['%.30s', '%.30s'] joins or makes a token that is not in the vocabulary", where,
                        index, json_string_value(left), json_string_value(right));
    return PTQ_OK;
}

static enum ptq_status read_merges(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *model,
                                   const char *path, struct ptq_error *err)
{
    const char *where = ptq_format(arena, "%s: model.merges", path);
    const json_t *merges = json_object_get(model, "merges");
    if (!ptq_json_is(merges, JSON_ARRAY)) return ptq_fail(err, PTQ_EINPUT, "%s must be an array", where);
    PTQ_TRY(ptq_tokenizer_expect_merges(tokenizer, arena, json_array_size(merges), where, err));
    for (size_t i = 0; i < json_array_size(merges); i++)
        PTQ_TRY(read_merge(tokenizer, json_array_get(merges, i), where, i, err));
    return PTQ_OK;
}

static enum ptq_status read_model(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *model,
                                  const char *path, struct ptq_error *err)
{
    const char *where = ptq_format(arena, "%s: model", path);
    struct ptq_bpe *bpe = &tokenizer->bpe;
    PTQ_TRY(check_model(model, where, err));
    PTQ_TRY(ptq_json_bool_or(model, "byte_fallback", where, 0, &bpe->byte_fallback, err));
    PTQ_TRY(ptq_json_bool_or(model, "fuse_unk", where, 0, &bpe->fuse_unk, err));
    PTQ_TRY(ptq_json_bool_or(model, "ignore_merges", where, 0, &bpe->ignore_merges, err));
    bpe->byte_level = tokenizer->pretokenizer.byte_level;
    if (bpe->byte_level) bpe->byte_fallback = 0; /* symbols are bytes already */
    PTQ_TRY(ptq_tokenizer_vocabulary_json(tokenizer, arena, json_object_get(model, "vocab"),
                                          ptq_format(arena, "%s: model.vocab", path), err));
    PTQ_TRY(read_unknown(tokenizer, model, where, err));
    return read_merges(tokenizer, arena, model, path, err);
}

static enum ptq_status read_added(const json_t *json, struct ptq_arena *arena, const char *where,
                                  struct ptq_added_entry *out, struct ptq_error *err)
{
    struct ptq_added_token *token = &out->token;
    const char *content;
    int64_t id;
    PTQ_TRY(ptq_json_text(json, "content", where, &content, err));
    PTQ_TRY(ptq_json_int(json, "id", where, 0, PTQ_MAX_TOKENS - 1, &id, err));
    PTQ_TRY(ptq_json_bool_or(json, "single_word", where, 0, &token->single_word, err));
    PTQ_TRY(ptq_json_bool_or(json, "lstrip", where, 0, &token->lstrip, err));
    PTQ_TRY(ptq_json_bool_or(json, "rstrip", where, 0, &token->rstrip, err));
    PTQ_TRY(ptq_json_bool_or(json, "normalized", where, 0, &out->normalized, err));
    token->text = ptq_strdup(arena, content);
    token->size = strlen(content);
    token->id = (int32_t)id;
    return PTQ_OK;
}

static enum ptq_status read_all_added(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *list,
                                      const char *path, struct ptq_error *err)
{
    const char *where = ptq_format(arena, "%s: added_tokens", path);
    if (ptq_json_given(list) && !ptq_json_is(list, JSON_ARRAY))
        return ptq_fail(err, PTQ_EINPUT, "%s must be an array", where);
    size_t n = json_array_size(list);
    struct ptq_added_entry *entry = ptq_new(arena, struct ptq_added_entry, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *json = json_array_get(list, i);
        const char *place = ptq_format(arena, "%s[%zu]", where, i);
        if (!ptq_json_is(json, JSON_OBJECT)) return ptq_fail(err, PTQ_EINPUT, "%s must be an object", place);
        PTQ_TRY(read_added(json, arena, place, &entry[i], err));
    }
    return ptq_tokenizer_set_added(tokenizer, arena, entry, n, where, err);
}

/* In this order, because each part is needed by the ones after it. */
static enum ptq_status read_parts(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *root,
                                  const char *path, struct ptq_error *err)
{
    if (!ptq_json_is(root, JSON_OBJECT)) return ptq_fail(err, PTQ_EINPUT, "%s: the file must be a JSON object", path);
    if (!json_object_get(root, "model"))
        return ptq_fail(err, PTQ_EINPUT, "%s: 'model' is missing, so this is no tokenizer.json", path);
    PTQ_TRY(ptq_tokenizer_read_normalizer(tokenizer, arena, json_object_get(root, "normalizer"), path, err));
    PTQ_TRY(ptq_tokenizer_read_pretokenizer(tokenizer, arena, json_object_get(root, "pre_tokenizer"), path, err));
    PTQ_TRY(read_model(tokenizer, arena, json_object_get(root, "model"), path, err));
    PTQ_TRY(read_all_added(tokenizer, arena, json_object_get(root, "added_tokens"), path, err));
    return ptq_tokenizer_read_template(tokenizer, arena, json_object_get(root, "post_processor"), path, err);
}

enum ptq_status ptq_tokenizer_read_json(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *path,
                                        struct ptq_error *err)
{
    json_t *root;
    PTQ_TRY(ptq_tokenizer_load_json(arena, path, &root, err));
    enum ptq_status status = read_parts(tokenizer, arena, root, path, err);
    json_decref(root);
    return status;
}
