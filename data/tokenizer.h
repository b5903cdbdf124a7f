/* Tokenizers: text to token ids, exactly as Hugging Face tokenizers gives them.
 *
 *   text --added tokens--> gaps --normalizer--> --pre-tokenizer--> pieces --BPE--> ids --template--> ids
 *
 * Read from tokenizer.json, from a GGUF's metadata, or from vocab.json + merges.txt (+ tokenizer_config.json). */
#ifndef PTQ_TOKENIZER_H
#define PTQ_TOKENIZER_H

#include "arena.h"
#include "gguf.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

struct ptq_tokenizer;

/* path: a tokenizer.json; or a model folder (tokenizer.json, else vocab.json + merges.txt). In arena; regular
 * expressions and tables are freed by ptq_tokenizer_close. Kinds that are not known are refused by name. */
enum ptq_status ptq_tokenizer_open(struct ptq_arena *arena, const char *path, struct ptq_tokenizer **out,
                                   struct ptq_error *err);
enum ptq_status ptq_tokenizer_from_gguf(struct ptq_arena *arena, const struct ptq_gguf *gguf, const char *path,
                                        struct ptq_tokenizer **out, struct ptq_error *err);
void ptq_tokenizer_close(struct ptq_tokenizer *tokenizer); /* NULL is fine */

/* ids of text[0..size) in arena. special: apply the tokenizer's own template (BOS and the like).
 * Fails with PTQ_EINPUT where text is not UTF-8 (names the byte offset) or holds what the vocabulary cannot say. */
enum ptq_status ptq_tokenizer_encode(const struct ptq_tokenizer *tokenizer, const char *text, size_t size, int special,
                                     struct ptq_arena *arena, int32_t **ids, size_t *n, struct ptq_error *err);

/* The first id that the template puts before a text, or -1 where it puts none. */
int32_t ptq_tokenizer_bos(const struct ptq_tokenizer *tokenizer);
/* One more than the largest id. */
int32_t ptq_tokenizer_size(const struct ptq_tokenizer *tokenizer);
/* One line for people: "byte-level BPE, 49152 tokens, 48900 merges, digits one by one, BOS none". In arena. */
const char *ptq_tokenizer_describe(const struct ptq_tokenizer *tokenizer, struct ptq_arena *arena);

#endif
