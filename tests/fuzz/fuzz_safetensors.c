/* libFuzzer target: any bytes as a safetensors file. What is taken must lie inside them and be readable.
 * tests/fuzz/run safetensors SECONDS */
#include "safetensors.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_mapped file = {.path = "F", .data = data, .size = size};
    struct ptq_tensor *tensor;
    struct ptq_error err;
    size_t n;
    if (!ptq_safetensors_read(arena, &file, &tensor, &n, &err))
        for (size_t i = 0; i < n; i++) read_tensor(&tensor[i], data, size);
    ptq_arena_free(arena);
    return 0;
}
