/* config.json: what a model is, and how it was quantised. */
#include "family.h"
#include "fuzz.h"
#include "quantized.h"

#include <math.h>

static void check_sizes(const struct ptq_config *c)
{
    ptq_fuzz_require(c->width > 0 && c->blocks > 0 && c->vocab > 0 && c->ff > 0 && c->positions > 0,
                     "sizes are positive");
    ptq_fuzz_require(c->heads > 0 && c->kv_heads > 0 && c->heads % c->kv_heads == 0, "heads share keys evenly");
    ptq_fuzz_require(c->head_size > 0 && c->embed_width > 0, "heads have a size");
    ptq_fuzz_require(c->norm_eps > 0 && isfinite(c->norm_eps), "epsilon is a number");
    ptq_fuzz_require(c->family->position != PTQ_ROPE || (isfinite(c->rope_theta) && c->rope_theta > 0),
                     "theta is a number");
    for (int64_t i = 0; c->slides && i < c->blocks; i++) ptq_fuzz_require(c->slides[i] <= 1, "a block slides or not");
}

void ptq_fuzz_config(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_quantization *quantization;
    struct ptq_config config;
    struct ptq_error err;
    const char *path = ptq_fuzz_file(arena, "config.json", data, size);
    if (!ptq_config_from_json(arena, path, &config, &err)) check_sizes(&config);
    if (!ptq_quantization_read(arena, ptq_fuzz_folder(), &quantization, &err) && quantization) {
        ptq_fuzz_require(quantization->bits >= 2 && quantization->bits <= 8, "bits of a code");
        ptq_fuzz_require(quantization->group_size == -1 || quantization->group_size > 0, "a group's size");
    }
    ptq_arena_free(arena);
}
