/* tokenizer.json as llama.cpp's SentencePiece ("llama"): tokens with scores. It joins any two neighbours whose texts
 * together are a token, the best score first, where tokenizer.json has a list of pairs. So the two are one where every
 * pair that makes a token is in the list, and the pairs that make one token stand together: the order of tokens is then
 * that of their scores. Transformers' own tokenizer.json of a SentencePiece model is made so, and one that was trained
 * as a list of pairs is not, and would give other ids. */
#include "tokenizer_parts.h"
#include "unicode.h"

#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, BYTE = 6, NO_PLACE = -1 };

#define SPACE "\u2581"

static int replaces_spaces(const struct ptq_normal_step *s)
{
    return s->kind == PTQ_NORMAL_REPLACE && strcmp(s->pattern, " ") == 0 && strcmp(s->content, SPACE) == 0;
}

static int prepends_space(const struct ptq_normal_step *s)
{
    return s->kind == PTQ_NORMAL_PREPEND && strcmp(s->content, SPACE) == 0;
}

int ptq_tokenizer_is_pieces(const struct ptq_tokenizer *t, int *prefix)
{
    const struct ptq_normal_step *step = t->normalizer.step;
    if (t->pretokenizer.n || !t->bpe.byte_fallback || t->bpe.ignore_merges) return 0;
    *prefix = t->normalizer.n == 2 && prepends_space(step);
    return t->normalizer.n == 1 + *prefix && replaces_spaces(step + *prefix);
}

/* Place of each token in the order in which tokens are made. */
static enum ptq_status order_tokens(const struct ptq_tokenizer *t, const struct ptq_span *text, int32_t *place,
                                    struct ptq_error *err)
{
    int32_t n = 0, last = -1;
    for (size_t rank = 0; rank < t->bpe.n_ranks; rank++) {
        int32_t id = t->bpe.merged[rank];
        if (id == last) continue;
        if (place[id] != NO_PLACE)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: model.merges[%zu] makes '%.40s', and merges of other tokens stand between those that "
                            "make it; llama.cpp's SentencePiece has one score a token, so take another format",
                            t->path, rank, text[id].data);
        place[id] = n++;
        last = id;
    }
    return PTQ_OK;
}

/* Every cut of the token into two others is one of its merges. */
static enum ptq_status check_cuts(const struct ptq_tokenizer *t, struct ptq_span token, struct ptq_error *err)
{
    int length;
    if (token.size > PTQ_MAX_PIECE_BYTES)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: token '%.40s' has %zu bytes; of a SentencePiece vocabulary %d are the most", t->path,
                        token.data, token.size, PTQ_MAX_PIECE_BYTES);
    for (size_t cut = 0; cut < token.size; cut += (size_t)length) {
        ptq_utf8_decode(token.data + cut, &length);
        int32_t left = ptq_vocab_id(&t->bpe.vocab, token.data, cut),
                right = ptq_vocab_id(&t->bpe.vocab, token.data + cut, token.size - cut);
        if (left < 0 || right < 0 || ptq_pairs_get(&t->bpe.ranks, left, right) != PTQ_NO_PAIR) continue;
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: llama.cpp's SentencePiece would join '%.*s' and '%.40s', which model.merges does not, and "
                        "so give other ids; take another format",
                        t->path, cut > 40 ? 40 : (int)cut, token.data, token.data + cut);
    }
    return PTQ_OK;
}

static enum ptq_status check_bytes(const struct ptq_tokenizer *t, struct ptq_error *err)
{
    for (int byte = 0; byte < 256; byte++)
        if (t->bpe.fallback[byte] < 0)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: model.vocab has no <0x%02X>, and llama.cpp's SentencePiece needs a token for every "
                            "byte; take another format",
                            t->path, (unsigned)byte);
    return PTQ_OK;
}

enum ptq_status ptq_tokenizer_pieces(const struct ptq_tokenizer *t, struct ptq_arena *arena,
                                     const struct ptq_span *text, int64_t n, int32_t *type, float *score,
                                     struct ptq_error *err)
{
    int32_t *place = ptq_new(arena, int32_t, n);
    for (int64_t i = 0; i < n; i++) place[i] = NO_PLACE;
    PTQ_TRY(check_bytes(t, err));
    PTQ_TRY(order_tokens(t, text, place, err));
    for (int64_t i = 0; i < n; i++)
        if (ptq_vocab_id(&t->bpe.vocab, text[i].data, text[i].size) == i) PTQ_TRY(check_cuts(t, text[i], err));
    for (int byte = 0; byte < 256; byte++) type[t->bpe.fallback[byte]] = BYTE;
    if (t->bpe.unk >= 0) type[t->bpe.unk] = UNKNOWN;
    /* single characters behind all others, as SentencePiece has them */
    for (int64_t i = 0; i < n; i++)
        score[i] = type[i] != NORMAL ? 0 : place[i] == NO_PLACE ? -(float)n : -(float)place[i];
    return PTQ_OK;
}
