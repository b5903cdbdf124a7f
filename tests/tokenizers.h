/* For tests of tokenizers: open one, encode with it, or fail the test with the error's sentence. */
#ifndef PTQ_TEST_TOKENIZERS_H
#define PTQ_TEST_TOKENIZERS_H

#include "files.h"
#include "mapped.h"
#include "tokenizer_parts.h"

#define FIXTURE PTQ_FIXTURES "/tokenizers/"

/* A tokenizer with the memory that it lives in. */
struct opened {
    struct ptq_arena *arena;
    struct ptq_tokenizer *tokenizer;
    struct ptq_mapped file;
};

static inline struct opened open_json(const char *path)
{
    struct opened o = {.arena = ptq_arena_make("test")};
    struct ptq_error err;
    if (ptq_tokenizer_open(o.arena, path, &o.tokenizer, &err)) fail_msg("%s", err.text);
    return o;
}

static inline struct opened open_gguf(const char *path)
{
    struct opened o = {.arena = ptq_arena_make("test")};
    struct ptq_error err;
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    size_t n;
    if (ptq_map(o.arena, path, &o.file, &err)) fail_msg("%s", err.text);
    if (ptq_gguf_read(o.arena, &o.file, &gguf, &tensor, &n, &err)) fail_msg("%s", err.text);
    if (ptq_tokenizer_from_gguf(o.arena, gguf, path, &o.tokenizer, &err)) fail_msg("%s", err.text);
    return o;
}

static inline void close_opened(struct opened *o)
{
    ptq_tokenizer_close(o->tokenizer);
    ptq_unmap(&o->file);
    ptq_arena_free(o->arena);
}

static inline void encode_plain(const struct opened *o, const char *text, size_t size, int32_t **id, size_t *n)
{
    struct ptq_error err;
    if (ptq_tokenizer_encode(o->tokenizer, text, size, 0, o->arena, id, n, &err)) fail_msg("%s", err.text);
}

#endif
