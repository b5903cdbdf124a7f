/* Byte-pair encoding of one piece of text: symbols (bytes or characters), then the pair of neighbours with the lowest
 * rank joined, the leftmost first, until no pair has a rank. O(n log n) in the length of a piece, because a piece may
 * be a whole book (Llama-2). */
#ifndef PTQ_BPE_H
#define PTQ_BPE_H

#include "arena.h"
#include "status.h"
#include "vocab.h"

#include <stddef.h>
#include <stdint.h>

struct ptq_bpe {
    struct ptq_vocab vocab;
    struct ptq_pairs ranks; /* (left id, right id) -> rank, lower is earlier */
    int32_t *merged;        /* rank -> id of the two together */
    size_t n_merges, n_ranks;
    int byte_level;    /* symbols are bytes, in GPT-2's visible alphabet; else characters */
    int byte_fallback; /* a character that is not there becomes its bytes "<0x0A>" */
    int ignore_merges; /* a piece that is a token is that token */
    int fuse_unk;      /* neighbouring unknown characters are one unknown token */
    int32_t unk;       /* id for what the vocabulary cannot say, or -1: an error then */
    /* from here on filled by ptq_bpe_ready and ptq_bpe_add_merge */
    int32_t symbol[256]; /* id of a byte (byte_level), or of an ASCII character; -1: none */
    int32_t fallback[256];
    size_t longest; /* bytes of the longest token */
    /* (last symbol of left, first symbol of right) of every merge: no merge ever crosses another pair of symbols, so a
     * long piece may be cut there without changing the result. */
    struct ptq_pairs joints;
    int may_cut;
};

/* The fields above `from here on`, and the vocabulary, are filled by then. */
void ptq_bpe_ready(struct ptq_bpe *bpe, struct ptq_arena *arena, size_t n_merges);

/* A merge of a rank below the n_merges of ptq_bpe_ready; merges that make the same token may share a rank. 1 when done,
 * 0 when left, right or both together are no tokens. */
int ptq_bpe_add_merge(struct ptq_bpe *bpe, const char *left, size_t left_size, const char *right, size_t right_size,
                      size_t rank);

/* The visible character that stands for a byte in byte-level vocabularies, as UTF-8; returns its length, 1 or 2. */
int ptq_byte_character(unsigned char byte, char out[4]);

/* The encoding of one text: ids as they come, and what is remembered of words that were seen. Not for two threads. */
struct ptq_bpe_run {
    const struct ptq_bpe *bpe;
    int32_t *id; /* the result so far; ptq_bpe_stop frees it */
    size_t n, room;
    struct ptq_bpe_symbol *symbol;
    size_t n_symbols, symbol_room;
    uint64_t *heap;
    size_t n_heap, heap_room;
    struct ptq_bpe_word *word;
    size_t word_mask;
    char *visible; /* a piece in the byte-level alphabet */
};

/* text_size: of the whole text, for the size of the memory of words. */
void ptq_bpe_start(struct ptq_bpe_run *run, const struct ptq_bpe *bpe, size_t text_size);
void ptq_bpe_stop(struct ptq_bpe_run *run);
void ptq_bpe_add_id(struct ptq_bpe_run *run, int32_t id);
/* Appends the ids of piece[0..size), well-formed UTF-8 that stays where it is until ptq_bpe_stop. Fails with PTQ_EINPUT
 * where the vocabulary has no token for a part of it. Once a signal was seen (progress.h) the ids are those of a piece
 * that was not merged to its end. */
enum ptq_status ptq_bpe_piece(struct ptq_bpe_run *run, const char *piece, size_t size, struct ptq_error *err);

#endif
