/* libFuzzer target: any bytes as a GGUF file. What is taken must lie inside them and be readable, every key by every
 * getter. tests/fuzz/run gguf SECONDS */
#include "gguf.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tensor(const struct ptq_tensor *t, const uint8_t *data, size_t size)
{
    const uint8_t *first = t->data;
    struct ptq_error err;
    if (first < data || t->bytes > (size_t)(data + size - first)) abort();
    if (t->count > 4096) return;
    float out[4096];
    ptq_tensor_read(t, 0, t->count, out, &err);
}

static void ask(const struct ptq_gguf *g, const char *key, struct ptq_arena *arena)
{
    struct ptq_error err;
    struct ptq_span text, *texts;
    int64_t whole;
    double real;
    int truth;
    int32_t *ints;
    float *reals;
    size_t n, bytes = 0;
    if (!ptq_gguf_has(g, key)) abort();
    ptq_gguf_int(g, key, INT64_MIN, INT64_MAX, &whole, &err);
    ptq_gguf_real(g, key, &real, &err);
    ptq_gguf_bool(g, key, &truth, &err);
    ptq_gguf_ints(g, key, arena, &ints, &n, &err);
    ptq_gguf_reals(g, key, arena, &reals, &n, &err);
    if (!ptq_gguf_text(g, key, &text, &err) && text.size) bytes += (size_t)text.data[text.size - 1];
    if (ptq_gguf_texts(g, key, arena, &texts, &n, &err)) return;
    for (size_t i = 0; i < n; i++)
        if (texts[i].size) bytes += (size_t)texts[i].data[texts[i].size - 1];
    if (bytes == SIZE_MAX) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_mapped file = {.path = "F", .data = data, .size = size};
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    struct ptq_error err;
    size_t n;
    char value[24];
    if (!ptq_gguf_read(arena, &file, &gguf, &tensor, &n, &err)) {
        for (size_t i = 0; i < n; i++) read_tensor(&tensor[i], data, size);
        for (size_t i = 0; i < ptq_gguf_n_keys(gguf); i++) ask(gguf, ptq_gguf_key(gguf, i, value, sizeof value), arena);
    }
    ptq_arena_free(arena);
    return 0;
}
