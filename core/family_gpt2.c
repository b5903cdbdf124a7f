/* GPT-2: LayerNorm, learned positions, GELU by tanh; q, k and v fused, and every linear stored as [K][N] (Conv1D). */
#include "family_parts.h"

static enum ptq_status read_gpt2(struct ptq_arena *arena, const json_t *json, const char *what,
                                 struct ptq_config *config, struct ptq_error *err)
{
    int scaled, by_layer, cross;
    const unsigned known = 1u << PTQ_GELU_TANH | 1u << PTQ_GELU_ERF | 1u << PTQ_RELU;
    (void)arena;
    PTQ_TRY(ptq_read_activation(json, "activation_function", known, what, config, err));
    PTQ_TRY(ptq_json_bool_or(json, "scale_attn_weights", what, 1, &scaled, err));
    PTQ_TRY(ptq_json_bool_or(json, "scale_attn_by_inverse_layer_idx", what, 0, &by_layer, err));
    PTQ_TRY(ptq_json_bool_or(json, "add_cross_attention", what, 0, &cross, err));
    if (!scaled || by_layer || cross)
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is not known for gpt2", what,
                        !scaled    ? "scale_attn_weights false"
                        : by_layer ? "scale_attn_by_inverse_layer_idx true"
                                   : "add_cross_attention true");
    PTQ_TRY(ptq_json_bool_or(json, "tie_word_embeddings", what, 1, &config->tied, err));
    config->final_norm = 1;
    config->rope_type = "none";
    return PTQ_OK;
}

extern const struct ptq_family ptq_family_gpt2;
const struct ptq_family ptq_family_gpt2 = {
    .model_type = "gpt2",
    .gguf = "gpt2",
    .norm = PTQ_LAYERNORM,
    .position = PTQ_LEARNED,
    .activation = PTQ_GELU_TANH,
    .biased = PTQ_BIAS_ALL,
    .hf = {.prefix = {"transformer.", ""},
           .embed = "wte",
           .positions = "wpe",
           .final_norm = "ln_f",
           .head = "lm_head",
           .norm1 = "h.%d.ln_1",
           .norm2 = "h.%d.ln_2",
           .linear = {"h.%d.attn.c_attn", NULL, NULL, "h.%d.attn.c_proj", NULL, "h.%d.mlp.c_fc", "h.%d.mlp.c_proj"},
           .transposed = 1},
    .ggml = {PTQ_GGML_FUSED, .positions = "position_embd"},
    .keys = {.width = "n_embd",
             .blocks = "n_layer",
             .heads = "n_head",
             .ff = "n_inner",
             .ff_times = 4,
             .positions = "n_positions",
             .eps = "layer_norm_epsilon"},
    .read_json = read_gpt2,
};
