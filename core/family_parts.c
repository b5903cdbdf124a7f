#include "family_parts.h"

#include "words.h"

#include <string.h>

/* ---- rotary positions ---- */

static enum ptq_status refuse_partial(const json_t *rope, const char *what, struct ptq_error *err)
{
    double partial;
    PTQ_TRY(ptq_json_real_or(rope, "partial_rotary_factor", what, 0, 1, 1, &partial, err));
    if (partial == 1) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: partial_rotary_factor %g is not known; known: 1", what, partial);
}

/* A part of each head turned, or settings for each type of layer, make other models. */
static enum ptq_status refuse_other_ropes(json_t *rope, const char *key, const char *what, struct ptq_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(rope, name, value)
    {
        if (ptq_json_is(value, JSON_OBJECT))
            return ptq_fail(err, PTQ_EINPUT, "%s: %s.%.40s is an object; settings for a type of layer are not known",
                            what, key, name);
    }
    return refuse_partial(rope, what, err);
}

/* With the other numbers of the scaling, or at the top, which transformers takes before that. */
static enum ptq_status read_original(const json_t *json, const json_t *scaling, const char *what, double *out,
                                     struct ptq_error *err)
{
    static const char key[] = "original_max_position_embeddings";
    double top;
    PTQ_TRY(ptq_json_real(ptq_json_given(json_object_get(scaling, key)) ? scaling : json, key, what, 1, 1e9, out, err));
    PTQ_TRY(ptq_json_real_or(json, key, what, 1, 1e9, *out, &top, err));
    if (top == *out) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: %s is %.9g, but %.9g beside the factor of the scaling; one of them must go",
                    what, key, top, *out);
}

/* The scaling that is at key, "default" where nothing is. */
static enum ptq_status read_scaling(const json_t *json, const char *key, const char *what, struct ptq_config *config,
                                    struct ptq_error *err)
{
    json_t *scaling = json_object_get(json, key);
    config->rope_type = "default";
    if (!ptq_json_given(scaling)) return PTQ_OK;
    if (!ptq_json_is(scaling, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s must be an object or null", what, key);
    PTQ_TRY(refuse_other_ropes(scaling, key, what, err));
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
    PTQ_TRY(read_original(json, scaling, what, &config->rope_original, err));
    if (config->rope_high <= config->rope_low)
        return ptq_fail(err, PTQ_EINPUT, "%s: high_freq_factor must be above low_freq_factor", what);
    return PTQ_OK;
}

static int same_scaling(const struct ptq_config *a, const struct ptq_config *b)
{
    return strcmp(a->rope_type, b->rope_type) == 0 && a->rope_factor == b->rope_factor && a->rope_low == b->rope_low &&
           a->rope_high == b->rope_high && a->rope_original == b->rope_original;
}

/* At the top, or beside the scaling in either place; null is as good as missing. Where rope_scaling is there,
 * transformers looks into it in place of rope_parameters. */
static enum ptq_status read_theta(const json_t *json, const char *what, double *out, struct ptq_error *err)
{
    static const char *const places[] = {"rope_theta", "rope_parameters", "rope_scaling"};
    const json_t *older = json_object_get(json, "rope_scaling");
    unsigned said = 0;
    *out = 10000;
    for (int i = 0; i < 3; i++) {
        const json_t *object = i ? json_object_get(json, places[i]) : json;
        double theta;
        if (!ptq_json_given(json_object_get(object, "rope_theta"))) continue;
        PTQ_TRY(ptq_json_real(object, "rope_theta", what, 1, 1e12, &theta, err));
        if (said && theta != *out)
            return ptq_fail(err, PTQ_EINPUT, "%s: rope_theta is %.9g%s, but %.9g in %s; one of them must go", what,
                            *out, said & 1 ? "" : " in rope_parameters", theta, places[i]);
        *out = theta;
        said |= 1u << i;
    }
    if (said != 2 || *out == 10000 || !json_object_size(older)) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: rope_theta is %.9g in rope_parameters alone, of which transformers reads nothing where there "
                    "is a rope_scaling; one of them must go",
                    what, *out);
}

/* Newer files put the rotary settings into rope_parameters, older ones into rope_theta and rope_scaling. */
enum ptq_status ptq_read_rope(const json_t *json, const char *what, struct ptq_config *config, struct ptq_error *err)
{
    struct ptq_config older = *config;
    int newer = ptq_json_given(json_object_get(json, "rope_parameters"));
    PTQ_TRY(refuse_partial(json, what, err));
    PTQ_TRY(read_scaling(json, "rope_parameters", what, config, err));
    PTQ_TRY(read_scaling(json, "rope_scaling", what, &older, err));
    if (!newer)
        *config = older;
    else if (ptq_json_given(json_object_get(json, "rope_scaling")) && !same_scaling(config, &older))
        return ptq_fail(err, PTQ_EINPUT, "%s: rope_parameters and rope_scaling differ; one of them must go", what);
    return read_theta(json, what, &config->rope_theta, err);
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
