#include "tokenizer_parts.h"

#include "locate.h"
#include "mapped.h"
#include "unicode.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_JSON_BYTES = 64 << 20, MAX_TEMPLATE = 64 };
/* One of Gemma 3's size counts 240 MB (docs/decisions.md); no token is longer than a book. */
static const struct ptq_json_bounds bounds = {.memory = 320 << 20, .string = 1 << 20, .size = MAX_JSON_BYTES};

/* A token comes of one merge, or of a few where pieces can be joined in several orders: 2 in Llama 3 and Gemma 3. */
enum { MERGES_A_TOKEN = 16 };

/* Bytes of all added tokens: what they are found by takes 16 times as much. */
enum { MAX_ADDED = 4 << 20 };

enum ptq_status ptq_tokenizer_load_json(struct ptq_arena *arena, const char *path, json_t **root, struct ptq_error *err)
{
    struct ptq_mapped file;
    struct ptq_mark mark = ptq_arena_mark(arena);
    *root = NULL;
    PTQ_TRY(ptq_map_inside(arena, path, &file, err));
    enum ptq_status status = ptq_json_parse_within(&bounds, (const char *)file.data, file.size, path, root, err);
    ptq_unmap(&file);
    ptq_arena_rewind(arena, mark);
    return status;
}

/* Marks an id as taken; 0 when it was. */
static int take_id(struct ptq_tokenizer *tokenizer, int32_t id)
{
    unsigned char bit = (unsigned char)(1 << id % 8);
    if (tokenizer->taken[id / 8] & bit) return 0;
    tokenizer->taken[id / 8] |= bit;
    if (id >= tokenizer->size) tokenizer->size = id + 1;
    return 1;
}

/* Ids are below PTQ_MAX_TOKENS, texts are UTF-8; none twice, because two texts with one id could not be told apart. */
static enum ptq_status check_id(struct ptq_tokenizer *tokenizer, const struct ptq_token *token, const char *where,
                                struct ptq_error *err)
{
    int shown = token->size > 60 ? 60 : (int)token->size;
    if (token->id < 0 || token->id >= PTQ_MAX_TOKENS)
        return ptq_fail(err, PTQ_EINPUT, "%s: token '%.*s' has no id from 0 to %d", where, shown, token->text,
                        PTQ_MAX_TOKENS - 1);
    if (!take_id(tokenizer, token->id))
        return ptq_fail(err, PTQ_EINPUT, "%s: token '%.*s' has id %d, which another token has already", where, shown,
                        token->text, (int)token->id);
    if (ptq_utf8_check(token->text, token->size) < token->size)
        return ptq_fail(err, PTQ_EINPUT, "%s: the text of token %d is not UTF-8", where, (int)token->id);
    return PTQ_OK;
}

enum ptq_status ptq_tokenizer_set_vocabulary(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                             const struct ptq_token *token, size_t n, const char *where,
                                             struct ptq_error *err)
{
    size_t bytes = 0;
    if (n == 0) return ptq_fail(err, PTQ_EINPUT, "%s: no tokens", where);
    if (n > PTQ_MAX_TOKENS) /* no test: JSON has at most MAX_JSON_VALUES, and GGUF's reader has looked */
        return ptq_fail(err, PTQ_EINPUT, "%s: %zu tokens are too many", where, n);
    tokenizer->taken = ptq_alloc(arena, PTQ_MAX_TOKENS / 8, "the set of token ids");
    for (size_t i = 0; i < n; i++) bytes += token[i].size;
    char *copy = ptq_alloc(arena, bytes, "the texts of tokens");
    ptq_vocab_make(&tokenizer->bpe.vocab, arena, n);
    for (size_t i = 0; i < n; i++) {
        PTQ_TRY(check_id(tokenizer, &token[i], where, err));
        if (token[i].size) memcpy(copy, token[i].text, token[i].size);
        if (!ptq_vocab_add(&tokenizer->bpe.vocab, copy, token[i].size, token[i].id))
            return ptq_fail(err, PTQ_EINPUT, "%s: token '%.*s' is there twice", where,
                            token[i].size > 60 ? 60 : (int)token[i].size, token[i].text);
        copy += token[i].size;
    }
    return PTQ_OK;
}

enum ptq_status ptq_tokenizer_vocabulary_json(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                              const json_t *object, const char *where, struct ptq_error *err)
{
    if (!ptq_json_is(object, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s must be an object that gives each token its id", where);
    size_t n = json_object_size(object), i = 0;
    struct ptq_token *token = ptq_realloc(NULL, n, sizeof *token, "a vocabulary");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        json_int_t id = ptq_json_is(value, JSON_INTEGER) ? json_integer_value(value) : -1;
        if (id < 0 || id >= PTQ_MAX_TOKENS) id = -1;
        token[i++] = (struct ptq_token){.text = key, .size = (uint32_t)strlen(key), .id = (int32_t)id};
    }
    enum ptq_status status = ptq_tokenizer_set_vocabulary(tokenizer, arena, token, n, where, err);
    free(token);
    return status;
}

enum ptq_status ptq_tokenizer_expect_merges(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, size_t n,
                                            const char *where, struct ptq_error *err)
{
    size_t tokens = tokenizer->bpe.vocab.n;
    if (n / MERGES_A_TOKEN > tokens)
        return ptq_fail(err, PTQ_EINPUT, "%s: %zu merges are too many for %zu tokens", where, n, tokens);
    ptq_bpe_ready(&tokenizer->bpe, arena, n);
    return PTQ_OK;
}

enum ptq_status ptq_tokenizer_add_merge(struct ptq_tokenizer *tokenizer, const char *text, size_t size,
                                        const char *where, size_t index, struct ptq_error *err)
{
    const char *space = memchr(text, ' ', size);
    size_t left = space ? (size_t)(space - text) : 0, right = space ? size - left - 1 : 0;
    int shown = size > 60 ? 60 : (int)size;
    if (!left || !right || memchr(space + 1, ' ', right))
        return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: '%.*s' is not two tokens with one space between them", where, index,
                        shown, text);
    if (!ptq_bpe_add_merge(&tokenizer->bpe, text, left, space + 1, right, index))
        return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: '%.*s' joins or makes a token that is not in the vocabulary", where,
                        index, shown, text);
    return PTQ_OK;
}

static enum ptq_status check_added(struct ptq_tokenizer *tokenizer, const struct ptq_added_token *token,
                                   const char *where, size_t index, struct ptq_error *err)
{
    if (token->size == 0) return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: an added token has no content", where, index);
    if (token->size > PTQ_MAX_ADDED_BYTES)
        return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: an added token of %zu bytes; %d are the most", where, index,
                        token->size, PTQ_MAX_ADDED_BYTES);
    if (token->id < 0 || token->id >= PTQ_MAX_TOKENS)
        return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: '%.60s' has no id from 0 to %d", where, index, token->text,
                        PTQ_MAX_TOKENS - 1);
    int32_t known = ptq_vocab_id(&tokenizer->bpe.vocab, token->text, token->size);
    if (known >= 0 && known != token->id)
        return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: '%.60s' has id %d here and %d in the vocabulary", where, index,
                        token->text, (int)token->id, (int)known);
    if (known < 0 && !take_id(tokenizer, token->id))
        return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: '%.60s' has id %d, which another token has already", where, index,
                        token->text, (int)token->id);
    return PTQ_OK;
}

/* Tokens that are looked for after normalisation are normalised themselves. */
static enum ptq_status normalise_added(const struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, size_t *room,
                                       struct ptq_added_token *token, const char *where, size_t index,
                                       struct ptq_error *err)
{
    struct ptq_arena *scratch = ptq_arena_make("an added token");
    const char *text;
    size_t size;
    enum ptq_status status =
        ptq_normalize(&tokenizer->normalizer, token->text, token->size, room, scratch, &text, &size, err);
    if (status)
        ptq_within(err, "%s[%zu]", where, index);
    else if (size > PTQ_MAX_ADDED_BYTES)
        status = ptq_fail(err, PTQ_EINPUT, "%s[%zu]: the normalizer makes %zu bytes of an added token; %d are the most",
                          where, index, size, PTQ_MAX_ADDED_BYTES);
    else
        token->text = ptq_strndup(arena, text, token->size = size);
    ptq_arena_free(scratch);
    return status;
}

/* Puts a token's text among those of the others, with its index. *first: the index that the text had there already, or
 * this one; fails where that one has another id. */
static enum ptq_status meet_others(struct ptq_vocab *others, const struct ptq_added_entry *entry,
                                   const struct ptq_added_token *token, const char *where, size_t index,
                                   const char *when, size_t *first, struct ptq_error *err)
{
    int is_new = ptq_vocab_add(others, token->text, token->size, (int32_t)index);
    *first = is_new ? index : (size_t)ptq_vocab_id(others, token->text, token->size);
    if (entry[*first].token.id == token->id) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s[%zu]: '%.60s' has id %d here and %d in [%zu], which is the same text%s", where,
                    index, token->text, (int)token->id, (int)entry[*first].token.id, *first, when);
}

/* counts[i]: whether no token behind the i-th has its text; the last one counts, as in Hugging Face's library. */
static enum ptq_status find_last(struct ptq_arena *arena, const struct ptq_added_entry *entry, size_t n,
                                 const char *where, unsigned char **counts, struct ptq_error *err)
{
    struct ptq_vocab texts;
    size_t *last = ptq_new(arena, size_t, n), first;
    *counts = ptq_new(arena, unsigned char, n);
    ptq_vocab_make(&texts, arena, n);
    for (size_t i = 0; i < n; i++) {
        PTQ_TRY(meet_others(&texts, entry, &entry[i].token, where, i, "", &first, err));
        if (first < i) (*counts)[last[first]] = 0;
        last[first] = i;
        (*counts)[i] = 1;
    }
    return PTQ_OK;
}

/* One that counts into its set. *normal: the texts that are looked for after normalisation. */
static enum ptq_status take_added(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                  const struct ptq_added_entry *entry, size_t index, struct ptq_vocab *normal,
                                  size_t *room, const char *where, struct ptq_error *err)
{
    struct ptq_added_token token = entry[index].token;
    struct ptq_added *set = entry[index].normalized ? &tokenizer->normal : &tokenizer->raw;
    size_t first;
    PTQ_TRY(check_added(tokenizer, &token, where, index, err));
    if (entry[index].normalized) PTQ_TRY(normalise_added(tokenizer, arena, room, &token, where, index, err));
    if (!token.size) return PTQ_OK;
    if (entry[index].normalized)
        PTQ_TRY(meet_others(normal, entry, &token, where, index, " once normalised", &first, err));
    set->token[set->n++] = token;
    return PTQ_OK;
}

enum ptq_status ptq_tokenizer_set_added(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                        const struct ptq_added_entry *entry, size_t n, const char *where,
                                        struct ptq_error *err)
{
    size_t bytes = 0, room;
    unsigned char *counts;
    struct ptq_vocab normal;
    tokenizer->raw.token = ptq_new(arena, struct ptq_added_token, n);
    tokenizer->normal.token = ptq_new(arena, struct ptq_added_token, n);
    for (size_t i = 0; i < n; i++) bytes += entry[i].token.size;
    if (bytes > MAX_ADDED)
        return ptq_fail(err, PTQ_EINPUT, "%s: %zu bytes of added tokens; %d are the most", where, bytes, MAX_ADDED);
    room = ptq_normal_room(bytes);
    ptq_vocab_make(&normal, arena, n);
    PTQ_TRY(find_last(arena, entry, n, where, &counts, err));
    for (size_t i = 0; i < n; i++)
        if (counts[i]) PTQ_TRY(take_added(tokenizer, arena, entry, i, &normal, &room, where, err));
    ptq_added_ready(&tokenizer->raw, arena);
    ptq_added_ready(&tokenizer->normal, arena);
    return PTQ_OK;
}

static int32_t find_added(const struct ptq_added *added, const char *text, size_t size)
{
    for (int i = 0; i < added->n; i++)
        if (added->token[i].size == size && memcmp(added->token[i].text, text, size) == 0) return added->token[i].id;
    return -1;
}

int32_t ptq_tokenizer_id(const struct ptq_tokenizer *tokenizer, const char *text, size_t size)
{
    int32_t id = ptq_vocab_id(&tokenizer->bpe.vocab, text, size);
    if (id < 0) id = find_added(&tokenizer->raw, text, size);
    return id < 0 ? find_added(&tokenizer->normal, text, size) : id;
}

enum ptq_status ptq_tokenizer_template_id(struct ptq_arena *arena, int32_t **list, int *n, int32_t id, int at_front,
                                          const char *where, struct ptq_error *err)
{
    if (*n == MAX_TEMPLATE) return ptq_fail(err, PTQ_EINPUT, "%s: a template of more than %d tokens", where, *n);
    int32_t *longer = ptq_new(arena, int32_t, *n + 1);
    if (*n) memcpy(longer + at_front, *list, (size_t)*n * sizeof **list);
    longer[at_front ? 0 : *n] = id;
    *list = longer;
    ++*n;
    return PTQ_OK;
}
