/* The files that GPT-2 and OPT came with: vocab.json (text -> id) and merges.txt ("left right" a line, the best first).
 * Words are split as GPT-2 does. tokenizer_config.json, special_tokens_map.json and added_tokens.json say what is
 * special, where they are there; where none does, GPT-2's <|endoftext|> is. */
#include "tokenizer_parts.h"

#include "locate.h"
#include "mapped.h"
#include "unicode.h"
#include "words.h"

#include <string.h>

enum { MAX_MERGES_BYTES = 32 << 20, MAX_SPECIAL = 4096 };

/* The folder's files, as far as they are there, and the special tokens found in them. */
struct folder {
    const char *path;
    json_t *vocab, *config, *map, *added;
    struct ptq_added_entry *entry; /* [MAX_SPECIAL] */
    size_t n;
};

static enum ptq_status load_optional(struct ptq_arena *arena, const char *folder, const char *name, json_t **out,
                                     struct ptq_error *err)
{
    const char *path = ptq_join(arena, folder, name);
    enum ptq_kind kind;
    PTQ_TRY(ptq_look_itself(path, &kind, err)); /* no test: tokenizer.json was looked at there just now */
    if (kind == PTQ_NOTHING) return PTQ_OK;
    PTQ_TRY(ptq_tokenizer_load_json(arena, path, out, err));
    if (ptq_json_is(*out, JSON_OBJECT)) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: the file must be a JSON object", path);
}

static enum ptq_status load_files(struct folder *folder, struct ptq_arena *arena, struct ptq_error *err)
{
    const char *vocab = ptq_join(arena, folder->path, "vocab.json");
    enum ptq_kind kind;
    PTQ_TRY(ptq_look_itself(vocab, &kind, err)); /* no test: as above */
    if (kind == PTQ_NOTHING)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: has neither tokenizer.json nor vocab.json; fetch the model's tokenizer files too",
                        folder->path);
    PTQ_TRY(ptq_tokenizer_load_json(arena, vocab, &folder->vocab, err));
    PTQ_TRY(load_optional(arena, folder->path, "tokenizer_config.json", &folder->config, err));
    PTQ_TRY(load_optional(arena, folder->path, "special_tokens_map.json", &folder->map, err));
    return load_optional(arena, folder->path, "added_tokens.json", &folder->added, err);
}

/* At least one more than the number of the last line, which is the rank of its merge. */
static size_t count_lines(const char *text, size_t size)
{
    size_t n = 2;
    for (size_t i = 0; i < size; i++) n += text[i] == '\n';
    return n;
}

/* The first CR that no LF follows, or size: where such end the lines, all of them would be one. */
static size_t bare_cr(const char *text, size_t size)
{
    for (const char *at = text, *stop = text + size; (at = memchr(at, '\r', (size_t)(stop - at))); at++)
        if (at + 1 == stop || at[1] != '\n') return (size_t)(at - text);
    return size;
}

static enum ptq_status check_lines(const char *path, const char *text, size_t size, struct ptq_error *err)
{
    size_t bad = ptq_utf8_check(text, size), bare = bare_cr(text, size);
    if (bad < size) return ptq_fail(err, PTQ_EINPUT, "%s: byte %zu is not UTF-8", path, bad);
    if (bare < size)
        return ptq_fail(err, PTQ_EINPUT, "%s: byte %zu is a CR without LF; lines must end in LF or CRLF", path, bare);
    return PTQ_OK;
}

static enum ptq_status take_merges(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *path,
                                   const char *text, size_t size, struct ptq_error *err)
{
    size_t line = 1, n = 0;
    PTQ_TRY(check_lines(path, text, size, err));
    PTQ_TRY(ptq_tokenizer_expect_merges(tokenizer, arena, count_lines(text, size), path, err));
    const char *where = ptq_format(arena, "%s: line", path);
    for (const char *at = text, *stop = text + size; at < stop; line++) {
        const char *end = memchr(at, '\n', (size_t)(stop - at));
        size_t length = (size_t)((end ? end : stop) - at);
        const char *next = at + length + 1;
        if (length && at[length - 1] == '\r') length--;
        int is_header = line == 1 && length >= 8 && memcmp(at, "#version", 8) == 0;
        int is_merge = length && !is_header;
        if (is_merge) PTQ_TRY(ptq_tokenizer_add_merge(tokenizer, at, length, where, line, err));
        n += (size_t)is_merge;
        at = next;
    }
    if (n) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: holds no merge, and every character would be a token; fetch it anew", path);
}

static enum ptq_status read_merges(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *folder,
                                   struct ptq_error *err)
{
    struct ptq_mapped file;
    PTQ_TRY(ptq_map_member(arena, folder, "merges.txt", &file, err));
    enum ptq_status status;
    if (file.size > MAX_MERGES_BYTES)
        status = ptq_fail(err, PTQ_EINPUT, "%s: has %zu bytes; merges have at most %d", file.path, file.size,
                          (int)MAX_MERGES_BYTES);
    else
        status = take_merges(tokenizer, arena, file.path, file.size ? (const char *)file.data : "", file.size, err);
    ptq_unmap(&file);
    return status;
}

/* A special token as a string, or as an object with content and flags. *text NULL where the file has none. A token that
 * were passed over would be cut into others, so what is neither is refused. */
static enum ptq_status read_token(const json_t *json, const char *where, const char **text,
                                  struct ptq_added_token *token, struct ptq_error *err)
{
    *text = json_string_value(json);
    if (!ptq_json_given(json) || *text) return PTQ_OK;
    if (!ptq_json_is(json, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: must be a string, or an object with its content", where);
    PTQ_TRY(ptq_json_text(json, "content", where, text, err));
    PTQ_TRY(ptq_json_bool_or(json, "single_word", where, 0, &token->single_word, err));
    PTQ_TRY(ptq_json_bool_or(json, "lstrip", where, 0, &token->lstrip, err));
    return ptq_json_bool_or(json, "rstrip", where, 0, &token->rstrip, err);
}

static int is_listed(const struct folder *folder, const char *text)
{
    for (size_t i = 0; i < folder->n; i++)
        if (strcmp(folder->entry[i].token.text, text) == 0) return 1;
    return 0;
}

static void add_entry(struct folder *folder, struct ptq_arena *arena, const char *text, int32_t id,
                      struct ptq_added_token token)
{
    token.text = ptq_strdup(arena, text);
    token.size = strlen(text);
    token.id = id;
    folder->entry[folder->n++].token = token;
}

static enum ptq_status list_token(struct folder *folder, struct ptq_arena *arena, const char *text, int32_t id,
                                  struct ptq_added_token token, struct ptq_error *err)
{
    if (is_listed(folder, text)) return PTQ_OK;
    if (folder->n == MAX_SPECIAL)
        return ptq_fail(err, PTQ_EINPUT, "%s: more than %d special tokens", folder->path, MAX_SPECIAL);
    add_entry(folder, arena, text, id, token);
    return PTQ_OK;
}

/* added_tokens.json: {"<pad>": 50265}. *id stays as it is where the file does not have the text. */
static enum ptq_status find_added(const struct folder *folder, struct ptq_arena *arena, const char *text, int32_t *id,
                                  struct ptq_error *err)
{
    int64_t added;
    if (!json_object_get(folder->added, text)) return PTQ_OK;
    const char *where = ptq_join(arena, folder->path, "added_tokens.json");
    PTQ_TRY(ptq_json_int(folder->added, text, where, 0, PTQ_MAX_TOKENS - 1, &added, err));
    *id = (int32_t)added;
    return PTQ_OK;
}

/* A token that a config names: it has the id of the vocabulary, or of added_tokens.json. A name that has none there is
 * left alone: no weight belongs to it. */
static enum ptq_status take_named(struct folder *folder, const struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                  const json_t *json, const char *where, struct ptq_error *err)
{
    struct ptq_added_token token = {0};
    const char *text;
    PTQ_TRY(read_token(json, where, &text, &token, err));
    if (!text || !*text) return PTQ_OK;
    int32_t id = ptq_vocab_id(&tokenizer->bpe.vocab, text, strlen(text));
    if (id < 0) PTQ_TRY(find_added(folder, arena, text, &id, err));
    return id < 0 ? PTQ_OK : list_token(folder, arena, text, id, token, err);
}

/* added_tokens_decoder: {"2": {"content": "</s>", ...}}. */
static enum ptq_status take_decoder(struct folder *folder, struct ptq_arena *arena, const char *where,
                                    struct ptq_error *err)
{
    const char *key, *text;
    json_t *value, *decoder = json_object_get(folder->config, "added_tokens_decoder");
    if (ptq_json_given(decoder) && !ptq_json_is(decoder, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: added_tokens_decoder must be an object", where);
    json_object_foreach(decoder, key, value)
    {
        struct ptq_added_token token = {0};
        int64_t id;
        if (!ptq_parse_int(key, 0, PTQ_MAX_TOKENS - 1, &id))
            return ptq_fail(err, PTQ_EINPUT, "%s: added_tokens_decoder: '%.60s' is no token id", where, key);
        PTQ_TRY(
            read_token(value, ptq_format(arena, "%s: added_tokens_decoder: token %s", where, key), &text, &token, err));
        if (!text || !*text)
            return ptq_fail(err, PTQ_EINPUT, "%s: added_tokens_decoder: token %s has no content", where, key);
        PTQ_TRY(list_token(folder, arena, text, (int32_t)id, token, err));
    }
    return PTQ_OK;
}

static enum ptq_status take_all_named(struct folder *folder, const struct ptq_tokenizer *tokenizer,
                                      struct ptq_arena *arena, const json_t *object, const char *where,
                                      struct ptq_error *err)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        PTQ_TRY(take_named(folder, tokenizer, arena, json_object_get(object, names[i]),
                           ptq_format(arena, "%s: %s", where, names[i]), err));
    static const char list[] = "additional_special_tokens";
    const json_t *more = json_object_get(object, list);
    if (ptq_json_given(more) && !ptq_json_is(more, JSON_ARRAY))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s must be an array", where, list);
    for (size_t i = 0; i < json_array_size(more); i++)
        PTQ_TRY(take_named(folder, tokenizer, arena, json_array_get(more, i),
                           ptq_format(arena, "%s: %s[%zu]", where, list, i), err));
    return PTQ_OK;
}

static enum ptq_status read_special(struct folder *folder, struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                    struct ptq_error *err)
{
    const char *config = ptq_join(arena, folder->path, "tokenizer_config.json");
    const char *map = ptq_join(arena, folder->path, "special_tokens_map.json");
    folder->entry = ptq_new(arena, struct ptq_added_entry, MAX_SPECIAL);
    PTQ_TRY(take_decoder(folder, arena, config, err));
    PTQ_TRY(take_all_named(folder, tokenizer, arena, folder->config, config, err));
    PTQ_TRY(take_all_named(folder, tokenizer, arena, folder->map, map, err));
    static const char gpt2[] = "<|endoftext|>";
    int32_t id = ptq_vocab_id(&tokenizer->bpe.vocab, gpt2, sizeof gpt2 - 1);
    if (!folder->n && id >= 0) add_entry(folder, arena, gpt2, id, (struct ptq_added_token){0});
    return ptq_tokenizer_set_added(tokenizer, arena, folder->entry, folder->n,
                                   ptq_format(arena, "%s: special tokens", folder->path), err);
}

/* add_bos_token and bos_token, add_eos_token and eos_token. */
static enum ptq_status read_template(const struct folder *folder, struct ptq_tokenizer *tokenizer,
                                     struct ptq_arena *arena, int is_after, struct ptq_error *err)
{
    const char *where = ptq_join(arena, folder->path, "tokenizer_config.json");
    const char *name = is_after ? "eos_token" : "bos_token", *text;
    struct ptq_added_token token = {0};
    int add;
    if (!folder->config) return PTQ_OK;
    PTQ_TRY(ptq_json_bool_or(folder->config, is_after ? "add_eos_token" : "add_bos_token", where, 0, &add, err));
    if (!add) return PTQ_OK;
    const json_t *json = json_object_get(folder->config, name);
    if (!ptq_json_given(json)) json = json_object_get(folder->map, name);
    PTQ_TRY(read_token(json, where, &text, &token, err));
    int32_t id = text ? ptq_tokenizer_id(tokenizer, text, strlen(text)) : -1;
    if (id < 0)
        return ptq_fail(err, PTQ_EINPUT, "%s: the %s to be added to each text is not in the vocabulary", where, name);
    if (is_after) return ptq_tokenizer_template_id(arena, &tokenizer->after, &tokenizer->n_after, id, 0, where, err);
    return ptq_tokenizer_template_id(arena, &tokenizer->before, &tokenizer->n_before, id, 1, where, err);
}

static enum ptq_status read_splitting(const struct folder *folder, struct ptq_tokenizer *tokenizer,
                                      struct ptq_arena *arena, struct ptq_error *err)
{
    int prefix = 0;
    if (folder->config)
        PTQ_TRY(ptq_json_bool_or(folder->config, "add_prefix_space",
                                 ptq_join(arena, folder->path, "tokenizer_config.json"), 0, &prefix, err));
    tokenizer->pretokenizer = (struct ptq_pretokenizer){.n = 1, .byte_level = 1};
    tokenizer->pretokenizer.step[0] = (struct ptq_pre_step){.scan = ptq_scan_gpt2, .prefix = prefix ? " " : NULL};
    tokenizer->bpe.byte_level = 1;
    return PTQ_OK;
}

static enum ptq_status read_folder(struct folder *folder, struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                   struct ptq_error *err)
{
    PTQ_TRY(load_files(folder, arena, err));
    PTQ_TRY(read_splitting(folder, tokenizer, arena, err));
    PTQ_TRY(ptq_tokenizer_vocabulary_json(tokenizer, arena, folder->vocab, ptq_join(arena, folder->path, "vocab.json"),
                                          err));
    PTQ_TRY(read_merges(tokenizer, arena, folder->path, err));
    PTQ_TRY(read_special(folder, tokenizer, arena, err));
    PTQ_TRY(read_template(folder, tokenizer, arena, 0, err));
    return read_template(folder, tokenizer, arena, 1, err);
}

enum ptq_status ptq_tokenizer_read_files(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *path,
                                         struct ptq_error *err)
{
    struct folder folder = {.path = path};
    enum ptq_status status = read_folder(&folder, tokenizer, arena, err);
    json_decref(folder.vocab);
    json_decref(folder.config);
    json_decref(folder.map);
    json_decref(folder.added);
    return status;
}
