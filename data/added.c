#include "added.h"

#include "progress.h"
#include "unicode.h"

/* Children of a node are a list by `sibling`; node 0 stands for none. */
struct ptq_added_node {
    int32_t child, sibling, token; /* token: index + 1 of the token that ends here, 0 for none */
    unsigned char byte;
};

static int32_t find_child(const struct ptq_added *added, int32_t node, unsigned char byte)
{
    int32_t child = added->node[node].child;
    while (child && added->node[child].byte != byte) child = added->node[child].sibling;
    return child;
}

static int32_t add_child(struct ptq_added *added, int32_t parent, unsigned char byte)
{
    int32_t at = (int32_t)added->n_nodes++;
    added->node[at].byte = byte;
    if (parent) {
        added->node[at].sibling = added->node[parent].child;
        added->node[parent].child = at;
    } else {
        added->root[byte] = at;
    }
    return at;
}

static void add_token(struct ptq_added *added, int index)
{
    const struct ptq_added_token *token = &added->token[index];
    int32_t node = 0;
    for (size_t i = 0; i < token->size; i++) {
        unsigned char byte = (unsigned char)token->text[i];
        int32_t child = i ? find_child(added, node, byte) : added->root[byte];
        node = child ? child : add_child(added, node, byte);
    }
    added->node[node].token = index + 1;
}

void ptq_added_ready(struct ptq_added *added, struct ptq_arena *arena)
{
    size_t bytes = 1;
    for (int i = 0; i < added->n; i++) bytes += added->token[i].size;
    added->node = ptq_new(arena, struct ptq_added_node, bytes);
    added->n_nodes = 1;
    for (int i = 0; i < added->n; i++) add_token(added, i);
}

/* The longest token at text[0..size), or NULL. */
static const struct ptq_added_token *longest_at(const struct ptq_added *added, const char *text, size_t size)
{
    int32_t node = added->root[(unsigned char)text[0]], found = 0;
    for (size_t i = 1; node; i++) {
        if (added->node[node].token) found = added->node[node].token;
        if (i == size) break;
        node = find_child(added, node, (unsigned char)text[i]);
    }
    return found ? &added->token[found - 1] : NULL;
}

static int word_before(const char *text, size_t at)
{
    int length;
    return at > 0 && ptq_char_flags(ptq_utf8_decode(text + ptq_utf8_last(text, at), &length)) & PTQ_WORD;
}

static int word_after(const char *text, size_t size, size_t at)
{
    int length;
    return at < size && ptq_char_flags(ptq_utf8_decode(text + at, &length)) & PTQ_WORD;
}

static size_t strip_left(const char *text, size_t at, size_t low)
{
    int length;
    while (at > low) {
        size_t last = ptq_utf8_last(text, at);
        if (!(ptq_char_flags(ptq_utf8_decode(text + last, &length)) & PTQ_SPACE)) break;
        at = last;
    }
    return at;
}

static size_t strip_right(const char *text, size_t size, size_t at)
{
    int length;
    while (at < size && ptq_char_flags(ptq_utf8_decode(text + at, &length)) & PTQ_SPACE) at += (size_t)length;
    return at;
}

/* What a found token takes; 0 where that is nothing, because the one before took its white space. Without lstrip a
 * token may begin inside what the one before stripped, and what it leaves of that is text again: as in Hugging Face's
 * search. */
static int take(const struct ptq_added_token *token, const char *text, size_t size, size_t at,
                struct ptq_added_match *match)
{
    size_t done = match->end, start = at, end = at + token->size;
    match->resume = end;
    if (token->lstrip) {
        start = strip_left(text, at, done);
        if (start < done) start = done;
    }
    if (token->rstrip) end = strip_right(text, size, end < done ? done : end);
    if (start >= end) return 0;
    match->start = start;
    match->end = end;
    match->id = token->id;
    return 1;
}

/* The next place where a token may begin, or size. */
static size_t next_begin(const struct ptq_added *added, const char *text, size_t size, size_t at)
{
    while (at < size && !added->root[(unsigned char)text[at]]) at++;
    return at;
}

/* A token that is refused because it is no single word is passed over as a whole, as in Hugging Face's search. */
int ptq_added_next(const struct ptq_added *added, const char *text, size_t size, struct ptq_added_match *match)
{
    size_t at = match->resume;
    while (added->n && (at = next_begin(added, text, size, at)) < size && !ptq_signal_seen()) {
        const struct ptq_added_token *token = longest_at(added, text + at, size - at);
        if (!token) {
            at++;
            continue;
        }
        size_t end = at + token->size;
        int touched = token->single_word && (word_before(text, at) || word_after(text, size, end));
        if (!touched && take(token, text, size, at, match)) return 1;
        at = end;
    }
    return 0;
}
