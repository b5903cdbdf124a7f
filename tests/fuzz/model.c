/* A whole checkpoint: what opens is loaded block by block and scores two windows, to numbers or to a sentence. */
#include "forward.h"
#include "fuzz.h"
#include "gguf.h"

#include <math.h>
#include <string.h>

enum { WINDOWS = 2, LENGTH = 5 };

/* GGUF, or config.json, NUL, model.safetensors. */
static const char *put_model(struct ptq_arena *arena, const uint8_t *data, size_t size)
{
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) return ptq_fuzz_file(arena, "model.gguf", data, size);
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    if (!end) return NULL;
    size_t config = (size_t)(end - data);
    ptq_fuzz_file(arena, "config.json", data, config);
    ptq_fuzz_file(arena, "model.safetensors", end + 1, size - config - 1);
    return ptq_fuzz_folder();
}

static void check_weights(const struct ptq_block *block)
{
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *l = &block->linear[role];
        for (int64_t i = 0; l->w && i < l->n * l->k; i++) ptq_fuzz_require(isfinite(l->w[i]), "weights are finite");
        for (int64_t i = 0; l->b && i < l->n; i++) ptq_fuzz_require(isfinite(l->b[i]), "biases are finite");
    }
}

static enum ptq_status score(struct ptq_arena *arena, const struct ptq_model *model, float *nll, struct ptq_error *err)
{
    struct ptq_forward f;
    int32_t id[WINDOWS * LENGTH];
    for (int i = 0; i < WINDOWS * LENGTH; i++) id[i] = (int32_t)(i * 7 % model->config.vocab);
    ptq_forward_make(arena, model, id, WINDOWS, LENGTH, &f);
    PTQ_TRY(ptq_forward_embed(&f, err));
    for (int64_t i = 0; i < model->config.blocks; i++) {
        struct ptq_block block;
        PTQ_TRY(ptq_block_load(model, i, arena, &block, err));
        check_weights(&block);
        ptq_block_room(arena, &block, 1, ptq_paths[model->path].act_bits);
        PTQ_TRY(ptq_forward_block(&f, &block, i, NULL, err));
    }
    return ptq_forward_nll(&f, arena, nll, err);
}

void ptq_fuzz_model(const uint8_t *data, size_t size)
{
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_model model;
    struct ptq_error err;
    float nll[WINDOWS * (LENGTH - 1)];
    const char *path = put_model(arena, data, size);
    if (path && !ptq_model_open(arena, path, "fuzz", &model, &err)) {
        enum ptq_path last = ptq_model_packs(&model) ? PTQ_N_PATHS - 1 : PTQ_PATH_FP32;
        for (model.path = PTQ_PATH_FP32; model.path <= last; model.path++) {
            if (model.config.positions < LENGTH || score(arena, &model, nll, &err)) continue;
            for (int i = 0; i < WINDOWS * (LENGTH - 1); i++) ptq_fuzz_require(isfinite(nll[i]), "a score is a number");
        }
        ptq_model_close(&model);
    }
    ptq_arena_free(arena);
}
