/* Inside the tokenizer: what its readers (tokenizer.json, GGUF, vocab.json + merges.txt) fill in, and the checks that
 * they share. Nobody outside data/tokenizer*.c needs this. */
#ifndef PTQ_TOKENIZER_PARTS_H
#define PTQ_TOKENIZER_PARTS_H

#include "added.h"
#include "bpe.h"
#include "json.h"
#include "normalizer.h"
#include "pretokenizer.h"
#include "tokenizer.h"

struct ptq_tokenizer {
    const char *path;
    struct ptq_added raw;    /* found in the text as it is */
    struct ptq_added normal; /* found after normalisation */
    struct ptq_normalizer normalizer;
    struct ptq_pretokenizer pretokenizer;
    struct ptq_bpe bpe;
    int32_t *before, *after; /* the template: ids around the text's own */
    int n_before, n_after;
    unsigned char *taken; /* bit set of the ids in use */
    int32_t size;         /* one more than the largest id */
};

/* An added token as a file has it. */
struct ptq_added_entry {
    struct ptq_added_token token;
    int normalized;
};

/* How words are split, by tokenizer.ggml.pre: the names are what converters write for the models that split so. */
struct ptq_splitting {
    const char *name;
    ptq_scan *scan;             /* NULL: "default", four expressions in turn */
    int digits, nfc;            /* digits one by one first; Unicode normal form C first */
    int ignore_merges, add_bos; /* what goes with it where the file does not say */
};
extern const struct ptq_splitting ptq_splittings[];
extern const int ptq_n_splittings;

/* Of SentencePiece: each cut of a token is looked at, which costs the square of its bytes. */
enum { PTQ_MAX_PIECE_BYTES = 512 };

/* 1 where texts go to BPE as SentencePiece's do: whole, "▁" for each space, with bytes for characters that it has not
 * got. *prefix: one more "▁" before them. */
int ptq_tokenizer_is_pieces(const struct ptq_tokenizer *tokenizer, int *prefix);
/* What llama.cpp's SentencePiece needs of such a tokenizer, whose tokens by id are text [n]: type [n] of bytes and of
 * the unknown token, score [n] of all. PTQ_EINPUT where scores cannot say what its merges do. */
enum ptq_status ptq_tokenizer_pieces(const struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                     const struct ptq_span *text, int64_t n, int32_t *type, float *score,
                                     struct ptq_error *err);

/* A folder's tokenizer.json or a file, and the files that GPT-2 and OPT came with. */
enum ptq_status ptq_tokenizer_read_json(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *path,
                                        struct ptq_error *err);
enum ptq_status ptq_tokenizer_read_files(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const char *folder,
                                         struct ptq_error *err);
/* A JSON file that may hold a vocabulary. */
enum ptq_status ptq_tokenizer_load_json(struct ptq_arena *arena, const char *path, json_t **root,
                                        struct ptq_error *err);

/* The parts of tokenizer.json that are lists of steps; json may be NULL or null. path: the file. */
enum ptq_status ptq_tokenizer_read_normalizer(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                              const json_t *json, const char *path, struct ptq_error *err);
enum ptq_status ptq_tokenizer_read_pretokenizer(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                                const json_t *json, const char *path, struct ptq_error *err);
enum ptq_status ptq_tokenizer_read_template(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                            const json_t *json, const char *path, struct ptq_error *err);

/* Checks n tokens (ids in range, no text and no id twice) and makes the vocabulary of copies of them. where: file and
 * place, for errors. */
enum ptq_status ptq_tokenizer_set_vocabulary(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                             const struct ptq_token *token, size_t n, const char *where,
                                             struct ptq_error *err);
/* The same of a JSON object text -> id. */
enum ptq_status ptq_tokenizer_vocabulary_json(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                              const json_t *object, const char *where, struct ptq_error *err);
/* Makes room for n merges, once the vocabulary is there; refuses more than it could need. */
enum ptq_status ptq_tokenizer_expect_merges(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, size_t n,
                                            const char *where, struct ptq_error *err);
/* A merge written "left right", of rank index; errors name where[index]. */
enum ptq_status ptq_tokenizer_add_merge(struct ptq_tokenizer *tokenizer, const char *text, size_t size,
                                        const char *where, size_t index, struct ptq_error *err);
/* Takes the added tokens; the normalizer and the vocabulary are there already. Texts must outlive the tokenizer. */
enum ptq_status ptq_tokenizer_set_added(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                        const struct ptq_added_entry *entry, size_t n, const char *where,
                                        struct ptq_error *err);
/* The id of a token of the vocabulary or an added one, or -1. */
int32_t ptq_tokenizer_id(const struct ptq_tokenizer *tokenizer, const char *text, size_t size);

/* Appends an id to the end of a list of the template, or puts it before its front. */
enum ptq_status ptq_tokenizer_template_id(struct ptq_arena *arena, int32_t **list, int *n, int32_t id, int at_front,
                                          const char *where, struct ptq_error *err);

#endif
