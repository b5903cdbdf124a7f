#include "tokenizer.h"

#include "mapped.h"
#include "progress.h"
#include "tokenizer_parts.h"
#include "unicode.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_TEXT = 1 << 30 };

/* One call of encode: what the sink of the pre-tokenizer needs. */
struct encoding {
    const struct ptq_tokenizer *tokenizer;
    struct ptq_bpe_run run;
    struct ptq_pattern_budget budget;
    size_t room; /* of the normalizer */
    struct ptq_arena *scratch;
};

/* What a link leads to: the user may name one to anywhere, a model's folder may not hold one. */
static const char *follow(struct ptq_arena *arena, const char *path)
{
    struct stat info;
    char *real = lstat(path, &info) == 0 && S_ISLNK(info.st_mode) ? realpath(path, NULL) : NULL;
    const char *followed = real ? ptq_strdup(arena, real) : path;
    free(real);
    return followed;
}

static enum ptq_status read_any(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *path,
                                struct ptq_error *err)
{
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FOLDER) return ptq_tokenizer_read_json(tokenizer, arena, follow(arena, path), err);
    const char *json = ptq_join(arena, path, "tokenizer.json");
    PTQ_TRY(ptq_look_itself(json, &kind, err)); /* a link to what a cache has lost is there: other files, other ids */
    return kind != PTQ_NOTHING ? ptq_tokenizer_read_json(tokenizer, arena, json, err)
                               : ptq_tokenizer_read_files(tokenizer, arena, path, err);
}

enum ptq_status ptq_tokenizer_open(struct ptq_arena *arena, const char *path, struct ptq_tokenizer **out,
                                   struct ptq_error *err)
{
    struct ptq_tokenizer *tokenizer = ptq_new(arena, struct ptq_tokenizer, 1);
    tokenizer->path = ptq_strdup(arena, path);
    tokenizer->bpe.unk = -1;
    enum ptq_status status = read_any(tokenizer, arena, path, err);
    if (status == PTQ_OK)
        *out = tokenizer;
    else
        ptq_tokenizer_close(tokenizer);
    return status;
}

void ptq_tokenizer_close(struct ptq_tokenizer *tokenizer)
{
    if (tokenizer) ptq_pretokenizer_free(&tokenizer->pretokenizer);
}

static enum ptq_status take_piece(void *context, const char *piece, size_t size, struct ptq_error *err)
{
    struct encoding *encoding = context;
    PTQ_TRY(ptq_bpe_piece(&encoding->run, piece, size, err));
    return ptq_interrupted(err);
}

/* What lies between added tokens, normalised already. A signal ends the search for them, so it is looked at first. */
static enum ptq_status encode_words(struct encoding *encoding, const char *text, size_t size, int at_start,
                                    struct ptq_error *err)
{
    PTQ_TRY(ptq_interrupted(err));
    return ptq_pretokenize(&encoding->tokenizer->pretokenizer, text, size, at_start, &encoding->budget,
                           encoding->scratch, take_piece, encoding, err);
}

/* What lies between added tokens that are found in the text as it is. */
static enum ptq_status encode_gap(struct encoding *encoding, const char *text, size_t size, int at_start,
                                  struct ptq_error *err)
{
    struct ptq_added_match match = {0};
    size_t done = 0;
    PTQ_TRY(ptq_interrupted(err));
    if (size == 0) return PTQ_OK;
    PTQ_TRY(ptq_normalize(&encoding->tokenizer->normalizer, text, size, &encoding->room, encoding->scratch, &text,
                          &size, err));
    while (ptq_added_next(&encoding->tokenizer->normal, text, size, &match)) {
        size_t gap = match.start > done ? match.start - done : 0;
        PTQ_TRY(encode_words(encoding, text + done, gap, at_start && done == 0, err));
        ptq_bpe_add_id(&encoding->run, match.id);
        done = match.end;
    }
    return encode_words(encoding, text + done, size - done, at_start && done == 0, err);
}

static enum ptq_status encode_text(struct encoding *encoding, const char *text, size_t size, struct ptq_error *err)
{
    struct ptq_added_match match = {0};
    size_t done = 0;
    while (ptq_added_next(&encoding->tokenizer->raw, text, size, &match)) {
        PTQ_TRY(encode_gap(encoding, text + done, match.start > done ? match.start - done : 0, done == 0, err));
        ptq_bpe_add_id(&encoding->run, match.id);
        done = match.end;
    }
    return encode_gap(encoding, text + done, size - done, done == 0, err);
}

static enum ptq_status check_text(const char *text, size_t size, struct ptq_error *err)
{
    if (size > MAX_TEXT) /* no test: a text of 1 GB */
        return ptq_fail(err, PTQ_EINPUT, "the text has %zu bytes, more than %d; cut it into files", size, MAX_TEXT);
    size_t bad = ptq_utf8_check(text, size);
    if (bad < size)
        return ptq_fail(err, PTQ_EINPUT,
                        "the text is not UTF-8 at byte %zu (0x%02X); convert it, with iconv for example", bad,
                        (unsigned)(unsigned char)text[bad]);
    return PTQ_OK;
}

static void copy_ids(const struct encoding *encoding, int special, struct ptq_arena *arena, int32_t **ids, size_t *n)
{
    const struct ptq_tokenizer *t = encoding->tokenizer;
    size_t before = special ? (size_t)t->n_before : 0, after = special ? (size_t)t->n_after : 0;
    size_t middle = encoding->run.n;
    *n = before + middle + after;
    *ids = ptq_new(arena, int32_t, *n);
    if (before) memcpy(*ids, t->before, before * sizeof **ids);
    if (middle) memcpy(*ids + before, encoding->run.id, middle * sizeof **ids);
    if (after) memcpy(*ids + before + middle, t->after, after * sizeof **ids);
}

enum ptq_status ptq_tokenizer_encode(const struct ptq_tokenizer *tokenizer, const char *text, size_t size, int special,
                                     struct ptq_arena *arena, int32_t **ids, size_t *n, struct ptq_error *err)
{
    PTQ_TRY(check_text(text, size, err));
    struct encoding encoding = {
        .tokenizer = tokenizer, .room = ptq_normal_room(size), .scratch = ptq_arena_make("tokenizer")};
    ptq_bpe_start(&encoding.run, &tokenizer->bpe, size);
    ptq_pattern_begin(&encoding.budget);
    enum ptq_status status = encode_text(&encoding, text, size, err);
    if (status == PTQ_OK)
        copy_ids(&encoding, special, arena, ids, n);
    else if (!strstr(err->text, tokenizer->path)) /* an expression is named with its file */
        ptq_within(err, "%s", tokenizer->path);
    ptq_bpe_stop(&encoding.run);
    ptq_arena_free(encoding.scratch);
    return status;
}

int32_t ptq_tokenizer_bos(const struct ptq_tokenizer *tokenizer)
{
    return tokenizer->n_before ? tokenizer->before[0] : -1;
}

int32_t ptq_tokenizer_size(const struct ptq_tokenizer *tokenizer)
{
    return tokenizer->size;
}

/* What the pre-tokenizer does with numbers, or with the whole text where it does nothing. */
static const char *describe_steps(const struct ptq_tokenizer *tokenizer)
{
    const struct ptq_pretokenizer *pre = &tokenizer->pretokenizer;
    for (int i = 0; i < pre->n; i++) {
        ptq_scan *scan = pre->step[i].scan;
        if (scan == ptq_scan_digits || scan == ptq_scan_qwen2) return ", digits one by one";
        if (scan == ptq_scan_llama3) return ", digits in threes";
        if (pre->step[i].pattern) return ", own regular expression";
    }
    return pre->n ? "" : ", text not split into words";
}

const char *ptq_tokenizer_describe(const struct ptq_tokenizer *tokenizer, struct ptq_arena *arena)
{
    const struct ptq_bpe *bpe = &tokenizer->bpe;
    const char *kind = bpe->byte_level ? "byte-level BPE" : bpe->byte_fallback ? "BPE with byte fallback" : "BPE";
    const char *text = ptq_format(arena, "%s, %zu tokens, %zu merges, %d added tokens%s", kind, bpe->vocab.n,
                                  bpe->n_merges, tokenizer->raw.n + tokenizer->normal.n, describe_steps(tokenizer));
    int32_t bos = ptq_tokenizer_bos(tokenizer);
    return bos < 0 ? ptq_format(arena, "%s, BOS none", text) : ptq_format(arena, "%s, BOS %d", text, (int)bos);
}
