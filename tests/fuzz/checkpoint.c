/* Containers of tensors. */
#include "family.h"
#include "fuzz.h"
#include "gguf.h"
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_READ = 4096 };

static void check_tensor(const struct ptq_tensor *t, const uint8_t *data, size_t size)
{
    const uint8_t *first = t->data;
    struct ptq_error err;
    float out[MOST_READ];
    ptq_fuzz_require(first >= data && t->bytes <= (size_t)(data + size - first), "a tensor lies inside its file");
    if (t->count <= MOST_READ) ptq_tensor_read(t, 0, t->count, out, &err);
}

void ptq_fuzz_safetensors(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_mapped file = {.path = "F", .data = data, .size = size};
    struct ptq_tensor *tensor;
    struct ptq_error err;
    size_t n;
    if (!ptq_safetensors_read(arena, &file, &tensor, &n, &err))
        for (size_t i = 0; i < n; i++) check_tensor(&tensor[i], data, size);
    ptq_arena_free(arena);
}

/* ---- GGUF ---- */

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
    ptq_fuzz_require(ptq_gguf_has(g, key), "a key that is listed is there");
    ptq_gguf_int(g, key, INT64_MIN, INT64_MAX, &whole, &err);
    ptq_gguf_real(g, key, &real, &err);
    ptq_gguf_bool(g, key, &truth, &err);
    ptq_gguf_ints(g, key, arena, &ints, &n, &err);
    ptq_gguf_reals(g, key, arena, &reals, &n, &err);
    if (!ptq_gguf_text(g, key, &text, &err) && text.size) bytes += (unsigned char)text.data[text.size - 1];
    if (ptq_gguf_texts(g, key, arena, &texts, &n, &err)) return;
    for (size_t i = 0; i < n; i++)
        if (texts[i].size) bytes += (unsigned char)texts[i].data[texts[i].size - 1];
    ptq_fuzz_require(bytes != SIZE_MAX, "every byte of every text can be read");
}

void ptq_fuzz_gguf(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_mapped file = {.path = "F", .data = data, .size = size};
    struct ptq_config config;
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    struct ptq_error err;
    size_t n;
    char value[24];
    if (!ptq_gguf_read(arena, &file, &gguf, &tensor, &n, &err)) {
        for (size_t i = 0; i < n; i++) check_tensor(&tensor[i], data, size);
        for (size_t i = 0; i < ptq_gguf_n_keys(gguf); i++) ask(gguf, ptq_gguf_key(gguf, i, value, sizeof value), arena);
        if (!ptq_config_from_gguf(gguf, "F", &config, &err))
            ptq_fuzz_require(config.heads > 0 && config.kv_heads > 0 && config.head_size > 0, "sizes are positive");
    }
    ptq_arena_free(arena);
}

/* ---- shards ---- */

/* Two files of one tensor each, "a" in a.safetensors and "b" in b.safetensors. */
static void make_shards(void)
{
    static int made;
    struct ptq_arena *arena = ptq_arena_make("shards");
    for (char name = 'a'; !made && name <= 'b'; name++) {
        const char *header =
            ptq_format(arena, "{\"%c\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", name);
        size_t length = strlen(header);
        unsigned char *file = ptq_new(arena, unsigned char, 8 + length + 4);
        file[0] = (unsigned char)length;
        memcpy(file + 8, header, length);
        ptq_fuzz_file(arena, ptq_format(arena, "%c.safetensors", name), file, 8 + length + 4);
    }
    made = 1;
    ptq_arena_free(arena);
}

void ptq_fuzz_index(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_checkpoint checkpoint;
    struct ptq_error err;
    make_shards();
    ptq_fuzz_file(arena, "model.safetensors.index.json", data, size);
    if (!ptq_checkpoint_open(arena, ptq_fuzz_folder(), &checkpoint, &err)) {
        ptq_fuzz_require(checkpoint.n_tensors <= 2 && checkpoint.n_files <= 2, "no more tensors than the shards have");
        for (int i = 0; i < checkpoint.n_tensors; i++)
            check_tensor(&checkpoint.tensor[i], checkpoint.tensor[i].file->data, checkpoint.tensor[i].file->size);
        ptq_checkpoint_close(&checkpoint);
    }
    ptq_arena_free(arena);
}
