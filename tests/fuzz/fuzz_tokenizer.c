/* Fuzz target: tokenizer files and texts of strangers. The first byte chooses what the rest is:
 *
 *   'j' a tokenizer.json     'g' a GGUF file     else a text, for one of the committed tokenizers
 *
 * What opens must encode or refuse a text of traps, with ids below its size; and a long piece that is cut must give the
 * ids of the whole.
 *
 * tests/fuzz/run tokenizer SECONDS */
#include "tokenizer_parts.h"

#include "mapped.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char traps[] =
    "The  keeper's 1234 \r\n\n e\xcc\x81\xcc\xa7 \xe4\xb8\xad \xf0\x9f\x98\x80<s> a<tok> \xc5\xbf\xe2\x96\x81";

static void require(int holds)
{
    if (!holds) abort();
}

/* ids in arena, or NULL. */
static int32_t *encode(const struct ptq_tokenizer *tokenizer, const char *text, size_t size, struct ptq_arena *arena,
                       size_t *n)
{
    struct ptq_error err;
    int32_t *id;
    if (ptq_tokenizer_encode(tokenizer, text, size, 1, arena, &id, n, &err)) return NULL;
    for (size_t i = 0; i < *n; i++) require(id[i] >= 0 && id[i] < ptq_tokenizer_size(tokenizer));
    return id;
}

static void check(struct ptq_tokenizer *tokenizer, const char *text, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    size_t n, n_whole;
    int32_t *id = encode(tokenizer, text, size, arena, &n), *whole;
    int may_cut = tokenizer->bpe.may_cut;
    tokenizer->bpe.may_cut = 0;
    whole = encode(tokenizer, text, size, arena, &n_whole);
    tokenizer->bpe.may_cut = may_cut;
    require(!id == !whole);
    if (id) require(n == n_whole && memcmp(id, whole, n * sizeof *id) == 0);
    require(ptq_tokenizer_describe(tokenizer, arena) != NULL);
    ptq_arena_free(arena);
}

static void try_json(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_tokenizer *tokenizer;
    struct ptq_error err;
    int fd = memfd_create("fuzz", 0);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    if (!ptq_tokenizer_open(arena, ptq_format(arena, "/proc/self/fd/%d", fd), &tokenizer, &err)) {
        check(tokenizer, traps, sizeof traps - 1);
        ptq_tokenizer_close(tokenizer);
    }
    close(fd);
    ptq_arena_free(arena);
}

static void try_gguf(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_tokenizer *tokenizer;
    struct ptq_error err;
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    size_t n;
    struct ptq_mapped file = {.path = "F", .data = data, .size = size};
    if (!ptq_gguf_read(arena, &file, &gguf, &tensor, &n, &err) &&
        !ptq_tokenizer_from_gguf(arena, gguf, "F", &tokenizer, &err)) {
        check(tokenizer, traps, sizeof traps - 1);
        ptq_tokenizer_close(tokenizer);
    }
    ptq_arena_free(arena);
}

static void try_text(unsigned which, const uint8_t *data, size_t size)
{
    static const char *const kinds[] = {"gpt2",  "llama2", "llama3", "qwen2",   "smollm",   "bloom",
                                        "added", "cl100k", "splits", "partial", "metaspace"};
    enum { N = sizeof kinds / sizeof *kinds };
    static struct ptq_tokenizer *opened[N];
    static struct ptq_arena *arena;
    struct ptq_error err;
    which %= N;
    if (!arena) arena = ptq_arena_make("fuzz");
    if (!opened[which])
        require(!ptq_tokenizer_open(arena,
                                    ptq_format(arena, PTQ_FIXTURES "/tokenizers/%s.tokenizer.json", kinds[which]),
                                    &opened[which], &err));
    check(opened[which], (const char *)data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    if (data[0] == 'j')
        try_json(data + 1, size - 1);
    else if (data[0] == 'g')
        try_gguf(data + 1, size - 1);
    else
        try_text(data[0], data + 1, size - 1);
    return 0;
}
