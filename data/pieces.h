/* From ids back to text, token by token: what a program prints while it generates. */
#ifndef PTQ_PIECES_H
#define PTQ_PIECES_H

#include "arena.h"
#include "tokenizer.h"

#include <stddef.h>

struct ptq_pieces {
    const struct ptq_tokenizer *tokenizer;
    const char **text;    /* [size] of each id, NULL where there is none */
    uint32_t *length;     /* [size] bytes */
    unsigned char *added; /* [size] 1: an added token, whose text is meant as it is */
    int16_t byte[0x200];  /* byte-level: the byte that a visible character stands for, or -1 */
};

/* All in arena; the tokenizer must outlive it. */
void ptq_pieces_make(struct ptq_arena *arena, const struct ptq_tokenizer *tokenizer, struct ptq_pieces *out);
/* The bytes of one token in arena (perhaps a part of a UTF-8 character), *size of them; none for an unknown id. */
const char *ptq_piece(const struct ptq_pieces *pieces, int32_t id, struct ptq_arena *arena, size_t *size);

/* Cuts a stream of bytes at whole characters. */
struct ptq_utf8_stream {
    unsigned char held[4];
    int n;
};
/* How much of held and bytes together can be printed is appended to out[0..size + 3); returns it. What may still become
 * a character stays held; what cannot becomes U+FFFD (out needs 3 bytes for each byte then). */
size_t ptq_utf8_push(struct ptq_utf8_stream *stream, const char *bytes, size_t size, char *out);
/* At the end: U+FFFD where a character was left unfinished. */
size_t ptq_utf8_finish(struct ptq_utf8_stream *stream, char out[4]);

#endif
