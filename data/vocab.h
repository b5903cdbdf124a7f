/* The two tables of a BPE model: text of a token -> id, and pair of ids -> rank. Open addressing, filled once. */
#ifndef PTQ_VOCAB_H
#define PTQ_VOCAB_H

#include "arena.h"

#include <stddef.h>
#include <stdint.h>

/* What places in a table depend on, drawn anew for each: texts that meet in one slot cannot be prepared. */
struct ptq_hash_key {
    uint64_t start, factor;
};

enum { PTQ_MAX_TOKENS = 1 << 24 }; /* ids are below this, so that no table is sized by a number in a file alone */

struct ptq_token {
    const char *text; /* NULL: an empty slot */
    uint32_t size;
    int32_t id;
};

struct ptq_vocab {
    struct ptq_hash_key hash;
    struct ptq_token *slot;
    size_t mask, n;
};

/* A table for at most capacity tokens. */
void ptq_vocab_make(struct ptq_vocab *vocab, struct ptq_arena *arena, size_t capacity);
/* text must outlive the vocabulary. 0 when the text is there already. */
int ptq_vocab_add(struct ptq_vocab *vocab, const char *text, size_t size, int32_t id);
/* -1 when it is not there. */
int32_t ptq_vocab_id(const struct ptq_vocab *vocab, const char *text, size_t size);

/* Pairs of ids to a 32-bit value. */
struct ptq_pairs {
    struct ptq_hash_key hash;
    uint64_t *key; /* 0: an empty slot; a pair's key is never 0 */
    uint32_t *value;
    size_t mask, n;
};

enum { PTQ_NO_PAIR = -1 };

void ptq_pairs_make(struct ptq_pairs *pairs, struct ptq_arena *arena, size_t capacity);
/* A pair that is there already takes the new value, as in Hugging Face's map. */
void ptq_pairs_put(struct ptq_pairs *pairs, int32_t left, int32_t right, uint32_t value);
/* The value (< 2^31), or PTQ_NO_PAIR. */
int32_t ptq_pairs_get(const struct ptq_pairs *pairs, int32_t left, int32_t right);

uint64_t ptq_hash_bytes(const struct ptq_hash_key *key, const char *text, size_t size);

#endif
