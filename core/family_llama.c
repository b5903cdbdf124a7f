/* LLaMA 1 to 3.2 and its nearest kin: RMSNorm, rotary positions, gated SiLU, grouped queries. */
#include "family_parts.h"

static enum ptq_status read_common(const json_t *json, const char *what, struct ptq_config *config,
                                   struct ptq_error *err)
{
    PTQ_TRY(ptq_read_activation(json, "hidden_act", 1u << PTQ_SILU_GATED, what, config, err));
    PTQ_TRY(ptq_json_bool_or(json, "tie_word_embeddings", what, 0, &config->tied, err));
    config->final_norm = 1;
    return ptq_read_rope(json, what, config, err);
}

/* ---- LLaMA ---- */

static enum ptq_status read_llama(struct ptq_arena *arena, const json_t *json, const char *what,
                                  struct ptq_config *config, struct ptq_error *err)
{
    (void)arena;
    return read_common(json, what, config, err);
}

extern const struct ptq_family ptq_family_llama;
const struct ptq_family ptq_family_llama = {
    .model_type = "llama",
    .gguf = "llama",
    .norm = PTQ_RMSNORM,
    .position = PTQ_ROPE,
    .activation = PTQ_SILU_GATED,
    .bias_keys = {{"attention_bias", PTQ_BIAS_ATTENTION}, {"mlp_bias", PTQ_BIAS_MLP}},
    .hf = PTQ_LLAMA_HF,
    .ggml = {PTQ_GGML_GATED, .order = PTQ_ROWS_PAIRS},
    .keys = PTQ_LLAMA_KEYS,
    .read_json = read_llama,
};

/* ---- Mistral: a window that slides in every layer; null since v0.2. llama.cpp has it as a llama ---- */

static enum ptq_status read_mistral(struct ptq_arena *arena, const json_t *json, const char *what,
                                    struct ptq_config *config, struct ptq_error *err)
{
    PTQ_TRY(ptq_read_sliding(arena, json, 4096, 0, what, config, err)); /* 4096: transformers' default */
    return read_common(json, what, config, err);
}

extern const struct ptq_family ptq_family_mistral;
const struct ptq_family ptq_family_mistral = {
    .model_type = "mistral",
    .gguf = "llama",
    .norm = PTQ_RMSNORM,
    .position = PTQ_ROPE,
    .activation = PTQ_SILU_GATED,
    .hf = PTQ_LLAMA_HF,
    .ggml = {PTQ_GGML_GATED, .order = PTQ_ROWS_PAIRS},
    .keys = PTQ_LLAMA_KEYS,
    .read_json = read_mistral,
};

/* ---- Qwen2 and 2.5: biases on q, k, v; a window that slides from some layer on, where it is switched on ---- */

static enum ptq_status read_qwen2(struct ptq_arena *arena, const json_t *json, const char *what,
                                  struct ptq_config *config, struct ptq_error *err)
{
    int used;
    int64_t first;
    PTQ_TRY(ptq_json_bool_or(json, "use_sliding_window", what, 0, &used, err));
    PTQ_TRY(ptq_json_int_or(json, "max_window_layers", what, 0, 1 << 20, 28, &first, err));
    PTQ_TRY(ptq_read_sliding(arena, json, 4096, first, what, config, err));
    if (!used) config->sliding = 0;
    return read_common(json, what, config, err);
}

static void write_qwen2_window(json_t *json, int64_t window)
{
    json_object_set_new(json, "use_sliding_window", json_true());
    json_object_set_new(json, "sliding_window", json_integer(window));
    json_object_set_new(json, "max_window_layers", json_integer(0));
}

extern const struct ptq_family ptq_family_qwen2;
const struct ptq_family ptq_family_qwen2 = {
    .model_type = "qwen2",
    .gguf = "qwen2",
    .norm = PTQ_RMSNORM,
    .position = PTQ_ROPE,
    .activation = PTQ_SILU_GATED,
    .biased = PTQ_BIAS(PTQ_Q) | PTQ_BIAS(PTQ_K) | PTQ_BIAS(PTQ_V),
    .hf = PTQ_LLAMA_HF,
    .ggml = {PTQ_GGML_GATED},
    .keys = PTQ_LLAMA_KEYS,
    .read_json = read_qwen2,
    .write_window = write_qwen2_window,
};
