#include "vocab.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

__extension__ typedef unsigned __int128 product;

/* Slots are at least twice what is stored, so that probes stay short. */
static size_t slots_for(size_t capacity)
{
    size_t n = 16;
    while (n < 2 * capacity) n *= 2;
    return n;
}

/* Where the kernel gives no random bytes the tables are right all the same. */
static struct ptq_hash_key draw_key(void)
{
    struct ptq_hash_key key = {0xff51afd7ed558ccdu, 0xc4ceb9fe1a85ec53u};
    int failed = getentropy(&key, sizeof key);
    (void)failed;
    key.factor |= 1;
    return key;
}

/* Both halves of the product with a factor that nobody knows: every bit of x changes the low ones. */
static uint64_t mix(const struct ptq_hash_key *key, uint64_t x)
{
    product both = (product)x * key->factor;
    return (uint64_t)(both >> 64) ^ (uint64_t)both;
}

uint64_t ptq_hash_bytes(const struct ptq_hash_key *key, const char *text, size_t size)
{
    uint64_t hash = key->start + size, word;
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        hash = mix(key, hash ^ word) + key->start;
    }
    word = 0;
    for (size_t i = 0; i < size; i++) word |= (uint64_t)(unsigned char)text[i] << 8 * i;
    return mix(key, hash ^ word);
}

void ptq_vocab_make(struct ptq_vocab *vocab, struct ptq_arena *arena, size_t capacity)
{
    size_t n = slots_for(capacity);
    *vocab = (struct ptq_vocab){.hash = draw_key(), .slot = ptq_new(arena, struct ptq_token, n), .mask = n - 1};
}

static struct ptq_token *find_token(const struct ptq_vocab *vocab, const char *text, size_t size)
{
    for (size_t at = ptq_hash_bytes(&vocab->hash, text, size) & vocab->mask;; at = (at + 1) & vocab->mask) {
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
    *pairs = (struct ptq_pairs){
        .hash = draw_key(), .key = ptq_new(arena, uint64_t, n), .value = ptq_new(arena, uint32_t, n), .mask = n - 1};
}

/* Both ids plus one, so that no key is 0. */
static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)((uint32_t)left + 1) << 32 | ((uint32_t)right + 1);
}

static size_t find_pair(const struct ptq_pairs *pairs, uint64_t key)
{
    size_t at = mix(&pairs->hash, key ^ pairs->hash.start) & pairs->mask;
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
