/* Tokenizers from one container to the other: what a checkpoint that is written elsewhere must carry along. */
#ifndef PTQ_TOKENIZER_EXPORT_H
#define PTQ_TOKENIZER_EXPORT_H

#include "gguf.h"
#include "gguf_write.h"
#include "json.h"

/* config.json's names of ids, and GGUF's. */
struct ptq_special_id {
    const char *name, *key;
};
enum { PTQ_N_SPECIAL_IDS = 3 };
extern const struct ptq_special_id ptq_special_ids[PTQ_N_SPECIAL_IDS];

/* A GGUF's byte-level BPE as tokenizer.json and tokenizer_config.json, new objects. What Hugging Face tokenizers reads
 * from them splits and merges as ptq_tokenizer_from_gguf does. Other kinds are PTQ_EINPUT. */
enum ptq_status ptq_tokenizer_json_from_gguf(struct ptq_arena *arena, const struct ptq_gguf *gguf, const char *path,
                                             json_t **tokenizer, json_t **config, struct ptq_error *err);

/* The tokenizer.ggml.* keys of folder's tokenizer.json, of vocab tokens (the rows of the embedding). PTQ_EINPUT where
 * its splitting has no name in GGUF, or, of SentencePiece's kind, its merges are not what scores would give. */
enum ptq_status ptq_gguf_put_tokenizer(struct ptq_gguf_keys *to, struct ptq_arena *arena, const char *folder,
                                       int64_t vocab, struct ptq_error *err);

#endif
