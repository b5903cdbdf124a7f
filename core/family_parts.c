#include "family_parts.h"

#include "words.h"

#include <string.h>

/* Newer files put the rotary settings into rope_parameters, older ones into rope_theta and rope_scaling. */
enum ptq_status ptq_read_rope(const json_t *json, const char *what, struct ptq_config *config, struct ptq_error *err)
{
    const json_t *scaling = json_object_get(json, "rope_parameters");
    const json_t *theta = scaling && json_object_get(scaling, "rope_theta") ? scaling : json;
    if (!ptq_json_given(scaling)) scaling = json_object_get(json, "rope_scaling");
    PTQ_TRY(ptq_json_real_or(theta, "rope_theta", what, 1, 1e12, 10000, &config->rope_theta, err));
    config->rope_type = "default";
    if (!ptq_json_given(scaling)) return PTQ_OK;
    if (!ptq_json_is(scaling, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: rope_scaling must be an object or null", what);
    const char *type;
    PTQ_TRY(ptq_json_text_or(scaling, "type", what, "default", &type, err));
    PTQ_TRY(ptq_json_text_or(scaling, "rope_type", what, type, &type, err));
    if (strcmp(type, "default") == 0) return PTQ_OK;
    int llama3 = strcmp(type, "llama3") == 0;
    if (!llama3 && strcmp(type, "linear"))
        return ptq_fail(err, PTQ_EINPUT, "%s: rope_type '%s' is not known; known: default, linear, llama3", what, type);
    config->rope_type = llama3 ? "llama3" : "linear";
    PTQ_TRY(ptq_json_real(scaling, "factor", what, 1e-3, 1e6, &config->rope_factor, err));
    if (!llama3) return PTQ_OK;
    PTQ_TRY(ptq_json_real(scaling, "low_freq_factor", what, 1e-6, 1e6, &config->rope_low, err));
    PTQ_TRY(ptq_json_real(scaling, "high_freq_factor", what, 1e-6, 1e6, &config->rope_high, err));
    PTQ_TRY(ptq_json_real(scaling, "original_max_position_embeddings", what, 1, 1e9, &config->rope_original, err));
    if (config->rope_high <= config->rope_low)
        return ptq_fail(err, PTQ_EINPUT, "%s: high_freq_factor must be above low_freq_factor", what);
    return PTQ_OK;
}

/* ---- activations ---- */

/* As transformers calls them (ACT2FN). */
static const struct {
    const char *name;
    enum ptq_activation activation;
} words[] = {{"silu", PTQ_SILU_GATED},
             {"swish", PTQ_SILU_GATED},
             {"relu", PTQ_RELU},
             {"gelu_new", PTQ_GELU_TANH},
             {"gelu_pytorch_tanh", PTQ_GELU_TANH},
             {"gelu_fast", PTQ_GELU_TANH},
             {"gelu", PTQ_GELU_ERF},
             {"gelu_python", PTQ_GELU_ERF}};

enum { N_WORDS = sizeof words / sizeof *words };

static enum ptq_status unknown_activation(const char *what, const char *key, const char *name, unsigned known,
                                          const char *family, struct ptq_error *err)
{
    struct ptq_buffer list = {0};
    for (int i = 0; i < N_WORDS; i++)
        if (known >> words[i].activation & 1) ptq_buffer_add(&list, "%s%s", list.size ? ", " : "", words[i].name);
    enum ptq_status status =
        ptq_fail(err, PTQ_EINPUT, "%s: %s '%.40s' is not known for %s; known: %s", what, key, name, family, list.data);
    free(list.data);
    return status;
}

enum ptq_status ptq_read_activation(const json_t *json, const char *key, unsigned known, const char *what,
                                    struct ptq_config *config, struct ptq_error *err)
{
    const char *name;
    PTQ_TRY(ptq_json_text_or(json, key, what, NULL, &name, err));
    if (!name) return PTQ_OK;
    for (int i = 0; i < N_WORDS; i++)
        if (strcmp(words[i].name, name) == 0 && known >> words[i].activation & 1) {
            config->activation = words[i].activation;
            return PTQ_OK;
        }
    return unknown_activation(what, key, name, known, config->family->model_type, err);
}

/* ---- sliding windows ---- */

static enum ptq_status read_layer_types(const json_t *list, const char *what, unsigned char *slides, int64_t blocks,
                                        struct ptq_error *err)
{
    if (!ptq_json_is(list, JSON_ARRAY) || (int64_t)json_array_size(list) != blocks)
        return ptq_fail(err, PTQ_EINPUT, "%s: layer_types must be an array of %lld texts, one a layer", what,
                        (long long)blocks);
    for (int64_t i = 0; i < blocks; i++) {
        const char *type = json_string_value(json_array_get(list, (size_t)i));
        slides[i] = type && strcmp(type, "sliding_attention") == 0;
        if (slides[i] || (type && strcmp(type, "full_attention") == 0)) continue;
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: layer_types[%lld] '%.40s' is not known; known: full_attention, sliding_attention", what,
                        (long long)i, type ? type : "(no text)");
    }
    return PTQ_OK;
}

enum ptq_status ptq_read_sliding(struct ptq_arena *arena, const json_t *json, int64_t fallback, int64_t first_sliding,
                                 const char *what, struct ptq_config *config, struct ptq_error *err)
{
    const json_t *types = json_object_get(json, "layer_types");
    unsigned char *slides = ptq_new(arena, unsigned char, config->blocks);
    int64_t missing = json_object_get(json, "sliding_window") ? 0 : fallback;
    PTQ_TRY(ptq_json_int_or(json, "sliding_window", what, 0, PTQ_MAX_POSITIONS, missing, &config->sliding, err));
    for (int64_t i = 0; i < config->blocks; i++) slides[i] = i >= first_sliding;
    if (ptq_json_given(types)) PTQ_TRY(read_layer_types(types, what, slides, config->blocks, err));
    config->slides = slides;
    return PTQ_OK;
}
