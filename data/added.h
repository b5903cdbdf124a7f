/* Added tokens: strings that are found in a text before anything else happens to it (and those that are found after
 * normalisation), leftmost first, the longest where several begin at one place. */
#ifndef PTQ_ADDED_H
#define PTQ_ADDED_H

#include "arena.h"

#include <stddef.h>
#include <stdint.h>

enum { PTQ_MAX_ADDED_BYTES = 1024 }; /* of one added token: a search costs at most this much at each byte */

struct ptq_added_token {
    const char *text; /* what is looked for */
    size_t size;
    int32_t id;
    int single_word;    /* only where no word character touches it */
    int lstrip, rstrip; /* takes the white space before it, after it */
};

/* A set of tokens as a trie of bytes. */
struct ptq_added {
    struct ptq_added_token *token;
    int n;
    struct ptq_added_node *node;
    size_t n_nodes;
    int32_t root[256]; /* first byte -> node, 0: none */
};

/* Builds the trie of added->token[0..n), in arena. Texts are not empty, and no two are equal. */
void ptq_added_ready(struct ptq_added *added, struct ptq_arena *arena);

/* Where a search is in its text, and what it found last. Start with {0}. */
struct ptq_added_match {
    size_t start, end; /* what the token takes, white space included; start may lie before the last end */
    size_t resume;     /* where the search goes on */
    int32_t id;
};

/* The next match in text[0..size); 1 when there is one. match holds the one before. Once a signal was seen
 * (progress.h) there is none. */
int ptq_added_next(const struct ptq_added *added, const char *text, size_t size, struct ptq_added_match *match);

#endif
