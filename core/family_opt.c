/* OPT: LayerNorm, learned positions from the third row on, ReLU; pre-norm, and 350m's post-norm with its projections.
 */
#include "family_parts.h"

static enum ptq_status read_opt(struct ptq_arena *arena, const json_t *json, const char *what,
                                struct ptq_config *config, struct ptq_error *err)
{
    int before, removed, affine;
    (void)arena;
    PTQ_TRY(ptq_read_activation(json, "activation_function", 1u << PTQ_RELU, what, config, err));
    PTQ_TRY(ptq_json_bool_or(json, "layer_norm_elementwise_affine", what, 1, &affine, err));
    if (!affine) return ptq_fail(err, PTQ_EINPUT, "%s: layer_norm_elementwise_affine false is not known for opt", what);
    PTQ_TRY(ptq_json_bool_or(json, "do_layer_norm_before", what, 1, &before, err));
    PTQ_TRY(ptq_json_bool_or(json, "_remove_final_layer_norm", what, 0, &removed, err));
    PTQ_TRY(ptq_json_bool_or(json, "tie_word_embeddings", what, 1, &config->tied, err));
    PTQ_TRY(
        ptq_json_int_or(json, "word_embed_proj_dim", what, 1, PTQ_MAX_WIDTH, config->width, &config->embed_width, err));
    config->post_norm = !before;
    config->final_norm = before && !removed;
    config->rope_type = "none";
    return PTQ_OK;
}

extern const struct ptq_family ptq_family_opt;
const struct ptq_family ptq_family_opt = {
    .model_type = "opt",
    .norm = PTQ_LAYERNORM,
    .position = PTQ_LEARNED,
    .position_offset = 2,
    .activation = PTQ_RELU,
    .biased = PTQ_BIAS_ALL,
    .bias_keys = {{"enable_bias", PTQ_BIAS_ALL}},
    .hf = {.prefix = {"model.decoder.", "decoder."},
           .embed = "embed_tokens",
           .positions = "embed_positions",
           .final_norm = "final_layer_norm",
           .head = "lm_head",
           .project_in = "project_in",
           .project_out = "project_out",
           .norm1 = "layers.%d.self_attn_layer_norm",
           .norm2 = "layers.%d.final_layer_norm",
           .linear = {"layers.%d.self_attn.q_proj", "layers.%d.self_attn.k_proj", "layers.%d.self_attn.v_proj",
                      "layers.%d.self_attn.out_proj", NULL, "layers.%d.fc1", "layers.%d.fc2"}},
    .keys = {.width = "hidden_size",
             .blocks = "num_hidden_layers",
             .heads = "num_attention_heads",
             .ff = "ffn_dim",
             .positions = "max_position_embeddings"},
    .read_json = read_opt,
};
