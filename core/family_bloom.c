/* BLOOM: LayerNorm, also on the embedding; ALiBi instead of positions, GELU by tanh; q, k and v fused head by head. */
#include "family_parts.h"

static enum ptq_status read_bloom(struct ptq_arena *arena, const json_t *json, const char *what,
                                  struct ptq_config *config, struct ptq_error *err)
{
    int after, exact;
    int64_t parts;
    (void)arena;
    PTQ_TRY(ptq_json_bool_or(json, "apply_residual_connection_post_layernorm", what, 0, &after, err));
    if (after)
        return ptq_fail(err, PTQ_EINPUT, "%s: apply_residual_connection_post_layernorm true is not known for bloom",
                        what);
    PTQ_TRY(ptq_json_bool_or(json, "slow_but_exact", what, 0, &exact, err));
    PTQ_TRY(ptq_json_int_or(json, "pretraining_tp", what, 0, INT32_MAX, 1, &parts, err));
    if (exact && parts > 1) /* each slice of dense and dense_4h_to_h is added up there, and no bias */
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: slow_but_exact with pretraining_tp %lld is not known for bloom: transformers leaves out "
                        "two biases of each block then; take slow_but_exact out",
                        what, (long long)parts);
    PTQ_TRY(ptq_json_bool_or(json, "tie_word_embeddings", what, 1, &config->tied, err));
    config->final_norm = 1;
    config->rope_type = "none";
    return PTQ_OK;
}

extern const struct ptq_family ptq_family_bloom;
const struct ptq_family ptq_family_bloom = {
    .model_type = "bloom",
    .gguf = "bloom",
    .norm = PTQ_LAYERNORM,
    .position = PTQ_ALIBI,
    .activation = PTQ_GELU_TANH,
    .biased = PTQ_BIAS_ALL,
    .hf = {.prefix = {"transformer.", ""},
           .embed = "word_embeddings",
           .embed_norm = "word_embeddings_layernorm",
           .final_norm = "ln_f",
           .head = "lm_head",
           .norm1 = "h.%d.input_layernorm",
           .norm2 = "h.%d.post_attention_layernorm",
           .linear = {"h.%d.self_attention.query_key_value", NULL, NULL, "h.%d.self_attention.dense", NULL,
                      "h.%d.mlp.dense_h_to_4h", "h.%d.mlp.dense_4h_to_h"},
           .activation = "h.%d.mlp.gelu_impl",
           .order = PTQ_ROWS_BY_HEAD},
    .ggml = {PTQ_GGML_FUSED, .embed_norm = "token_embd_norm"},
    .keys = {.width = "hidden_size|n_embed",
             .blocks = "num_hidden_layers|n_layer",
             .heads = "num_attention_heads|n_head",
             .ff = NULL,
             .ff_times = 4,
             .eps = "layer_norm_epsilon"},
    .read_json = read_bloom,
};
