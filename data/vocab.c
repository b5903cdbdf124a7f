#include "vocab.h"

#include <assert.h>
#include <string.h>

/* Slots are at least twice what is stored, so that probes stay short. */
static size_t slots_for(size_t capacity)
{
    size_t n = 16;
    while (n < 2 * capacity) n *= 2;
    return n;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

uint64_t ptq_hash_bytes(const char *text, size_t size)
{
    uint64_t hash = size * 0xff51afd7ed558ccdu, word;
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        hash = mix(hash ^ word) * 0xc4ceb9fe1a85ec53u;
    }
    word = 0;
    for (size_t i = 0; i < size; i++) word |= (uint64_t)(unsigned char)text[i] << 8 * i;
    return mix((hash ^ word) * 0xc4ceb9fe1a85ec53u);
}

void ptq_vocab_make(struct ptq_vocab *vocab, struct ptq_arena *arena, size_t capacity)
{
    size_t n = slots_for(capacity);
    *vocab = (struct ptq_vocab){.slot = ptq_new(arena, struct ptq_token, n), .mask = n - 1};
}

static struct ptq_token *find_token(const struct ptq_vocab *vocab, const char *text, size_t size)
{
    for (size_t at = ptq_hash_bytes(text, size) & vocab->mask;; at = (at + 1) & vocab->mask) {
        struct ptq_token *slot = &vocab->slot[at];
        if (!slot->text || (slot->size == size && memcmp(slot->text, text, size) == 0)) return slot;
    }
}

int ptq_vocab_add(struct ptq_vocab *vocab, const char *text, size_t size, int32_t id)
{
    assert(vocab->n < vocab->mask && size <= UINT32_MAX);
    struct ptq_token *slot = find_token(vocab, text, size);
    if (slot->text) return 0;
    *slot = (struct ptq_token){.text = text, .size = (uint32_t)size, .id = id};
    vocab->n++;
    return 1;
}

int32_t ptq_vocab_id(const struct ptq_vocab *vocab, const char *text, size_t size)
{
    const struct ptq_token *slot = find_token(vocab, text, size);
    return slot->text ? slot->id : -1;
}

void ptq_pairs_make(struct ptq_pairs *pairs, struct ptq_arena *arena, size_t capacity)
{
    size_t n = slots_for(capacity);
    *pairs =
        (struct ptq_pairs){.key = ptq_new(arena, uint64_t, n), .value = ptq_new(arena, uint32_t, n), .mask = n - 1};
}

/* Both ids plus one, so that no key is 0. */
static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)((uint32_t)left + 1) << 32 | ((uint32_t)right + 1);
}

static size_t find_pair(const struct ptq_pairs *pairs, uint64_t key)
{
    size_t at = mix(key * 0xff51afd7ed558ccdu) & pairs->mask;
    while (pairs->key[at] && pairs->key[at] != key) at = (at + 1) & pairs->mask;
    return at;
}

void ptq_pairs_put(struct ptq_pairs *pairs, int32_t left, int32_t right, uint32_t value)
{
    assert(pairs->n < pairs->mask && value <= INT32_MAX);
    uint64_t key = key_of(left, right);
    size_t at = find_pair(pairs, key);
    if (!pairs->key[at]) pairs->n++;
    pairs->key[at] = key;
    pairs->value[at] = value;
}

int32_t ptq_pairs_get(const struct ptq_pairs *pairs, int32_t left, int32_t right)
{
    size_t at = find_pair(pairs, key_of(left, right));
    return pairs->key[at] ? (int32_t)pairs->value[at] : PTQ_NO_PAIR;
}
