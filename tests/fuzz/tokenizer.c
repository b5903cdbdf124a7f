/* Tokenizer files of strangers, and texts of strangers for a tokenizer that is known. What opens must encode or refuse
 * a text of traps, with ids below its size; and a long piece that is cut must give the ids of the whole. */
#include "fuzz.h"
#include "mapped.h"
#include "pieces.h"
#include "tokenizer_parts.h"

#include <string.h>

static const char traps[] =
    "The  keeper's 1234 \r\n\n e\xcc\x81\xcc\xa7 \xe4\xb8\xad \xf0\x9f\x98\x80<s> a<tok> \xc5\xbf\xe2\x96\x81";

/* ids in arena, or NULL. */
static int32_t *encode(const struct ptq_tokenizer *tokenizer, const char *text, size_t size, struct ptq_arena *arena,
                       size_t *n)
{
    struct ptq_error err;
    int32_t *id;
    if (ptq_tokenizer_encode(tokenizer, text, size, 0, arena, &id, n, &err)) return NULL;
    for (size_t i = 0; i < *n; i++)
        ptq_fuzz_require(id[i] >= 0 && id[i] < ptq_tokenizer_size(tokenizer), "ids are below the vocabulary's size");
    return id;
}

/* decode(encode(x)) = x, byte for byte. */
static void check_back(const struct ptq_tokenizer *tokenizer, const char *text, size_t size, const int32_t *id,
                       size_t n, struct ptq_arena *arena)
{
    struct ptq_pieces pieces;
    size_t at = 0, length;
    ptq_pieces_make(arena, tokenizer, &pieces);
    for (size_t i = 0; i < n; i++, at += length) {
        const char *piece = ptq_piece(&pieces, id[i], arena, &length);
        ptq_fuzz_require(length <= size - at && memcmp(piece, text + at, length) == 0, "the same bytes come back");
    }
    ptq_fuzz_require(at == size, "all bytes come back");
}

static void check(struct ptq_tokenizer *tokenizer, const char *text, size_t size, int exact)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    size_t n, n_whole;
    int32_t *id = encode(tokenizer, text, size, arena, &n), *whole;
    int may_cut = tokenizer->bpe.may_cut;
    tokenizer->bpe.may_cut = 0;
    whole = encode(tokenizer, text, size, arena, &n_whole);
    tokenizer->bpe.may_cut = may_cut;
    ptq_fuzz_require(!id == !whole, "cut or whole, a text is encoded or refused");
    if (id)
        ptq_fuzz_require(n == n_whole && memcmp(id, whole, n * sizeof *id) == 0, "cut or whole, the ids are the same");
    if (id && exact) check_back(tokenizer, text, size, id, n, arena);
    ptq_fuzz_require(ptq_tokenizer_describe(tokenizer, arena) != NULL, "it can be described");
    ptq_arena_free(arena);
}

static void open_and_check(struct ptq_arena *arena, const char *path)
{
    struct ptq_tokenizer *tokenizer;
    struct ptq_error err;
    if (!ptq_tokenizer_open(arena, path, &tokenizer, &err)) {
        check(tokenizer, traps, sizeof traps - 1, 0);
        ptq_tokenizer_close(tokenizer);
    }
    ptq_arena_free(arena);
}

void ptq_fuzz_tokenizer(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    open_and_check(arena, ptq_fuzz_file(arena, "t.json", data, size));
}

/* The part up to the next NUL, into a file. */
static void next_file(struct ptq_arena *arena, const char *name, const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size ? memchr(*data, 0, *size) : NULL;
    size_t length = end ? (size_t)(end - *data) : *size;
    ptq_fuzz_file(arena, name, *data, length);
    *data += length + (end != NULL);
    *size -= length + (end != NULL);
}

void ptq_fuzz_tokenizer_files(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    next_file(arena, "vocab.json", &data, &size);
    next_file(arena, "merges.txt", &data, &size);
    next_file(arena, "tokenizer_config.json", &data, &size);
    open_and_check(arena, ptq_fuzz_folder());
}

void ptq_fuzz_tokenizer_gguf(const uint8_t *data, size_t size)
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
        check(tokenizer, traps, sizeof traps - 1, 0);
        ptq_tokenizer_close(tokenizer);
    }
    ptq_arena_free(arena);
}

/* exact: byte-level, and without a normalizer or a space put before the text, so that nothing is lost on the way. */
static const struct {
    const char *name;
    int exact;
} kinds[] = {{"gpt2", 1},  {"llama2", 0}, {"llama3", 1}, {"qwen2", 0},   {"smollm", 1},    {"bloom", 1},
             {"added", 0}, {"cl100k", 1}, {"splits", 0}, {"partial", 0}, {"metaspace", 0}, {"o200k", 1}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

void ptq_fuzz_encode(const uint8_t *data, size_t size)
{
    static struct ptq_tokenizer *opened[N_KINDS];
    static struct ptq_arena *arena;
    struct ptq_error err;
    if (size == 0) return;
    int which = data[0] % N_KINDS;
    if (!arena) arena = ptq_arena_make("fuzz");
    if (!opened[which])
        ptq_fuzz_require(!ptq_tokenizer_open(
                             arena, ptq_format(arena, PTQ_FIXTURES "/tokenizers/%s.tokenizer.json", kinds[which].name),
                             &opened[which], &err),
                         "a committed tokenizer opens");
    check(opened[which], (const char *)data + 1, size - 1, kinds[which].exact);
}
