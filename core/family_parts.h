/* What the families' files share: readers of what several config.json have, and names that several containers use. */
#ifndef PTQ_FAMILY_PARTS_H
#define PTQ_FAMILY_PARTS_H

#include "family.h"

/* One position scores no token. */
enum { PTQ_MAX_WIDTH = 1 << 20, PTQ_MIN_POSITIONS = 2, PTQ_MAX_POSITIONS = 1 << 24 };

/* The activation that key names: one of those that `known` allows (1u << PTQ_RELU | ...), by any of the names that
 * transformers has for it. Where key is missing or null config keeps the family's. */
enum ptq_status ptq_read_activation(const json_t *json, const char *key, unsigned known, const char *what,
                                    struct ptq_config *config, struct ptq_error *err);

/* rope_parameters of newer files; rope_theta and rope_scaling of older ones, which may not say otherwise. */
enum ptq_status ptq_read_rope(const json_t *json, const char *what, struct ptq_config *config, struct ptq_error *err);

/* sliding_window and layer_types into config. sliding_window: fallback where it is missing, no window where it is null
 * or 0. layer_types: per block "full_attention" or "sliding_attention"; where it is missing, blocks from first_sliding
 * on slide. */
enum ptq_status ptq_read_sliding(struct ptq_arena *arena, const json_t *json, int64_t fallback, int64_t first_sliding,
                                 const char *what, struct ptq_config *config, struct ptq_error *err);

/* Names that LLaMA gave, and many have taken over. */
#define PTQ_LLAMA_HF_OUTER                                                                                             \
    .prefix = {"model.", ""}, .embed = "embed_tokens", .final_norm = "norm", .head = "lm_head",                        \
    .norm1 = "layers.%d.input_layernorm", .norm2 = "layers.%d.post_attention_layernorm"
#define PTQ_LLAMA_HF                                                                                                   \
    {                                                                                                                  \
        PTQ_LLAMA_HF_OUTER, .linear = {                                                                                \
            "layers.%d.self_attn.q_proj",                                                                              \
            "layers.%d.self_attn.k_proj",                                                                              \
            "layers.%d.self_attn.v_proj",                                                                              \
            "layers.%d.self_attn.o_proj",                                                                              \
            "layers.%d.mlp.gate_proj",                                                                                 \
            "layers.%d.mlp.up_proj",                                                                                   \
            "layers.%d.mlp.down_proj"                                                                                  \
        }                                                                                                              \
    }
#define PTQ_LLAMA_KEYS                                                                                                 \
    {                                                                                                                  \
        .width = "hidden_size", .blocks = "num_hidden_layers", .heads = "num_attention_heads",                         \
        .kv_heads = "num_key_value_heads", .ff = "intermediate_size", .positions = "max_position_embeddings",          \
        .eps = "rms_norm_eps"                                                                                          \
    }

/* llama.cpp has one set of names for all architectures. */
#define PTQ_GGML_OUTER                                                                                                 \
    .prefix = {""}, .embed = "token_embd", .final_norm = "output_norm", .head = "output", .norm1 = "blk.%d.attn_norm", \
    .norm2 = "blk.%d.ffn_norm"
#define PTQ_GGML_GATED                                                                                                 \
    PTQ_GGML_OUTER, .rope_factors = "rope_freqs",                                                                      \
                    .linear = {"blk.%d.attn_q",   "blk.%d.attn_k", "blk.%d.attn_v",  "blk.%d.attn_output",             \
                               "blk.%d.ffn_gate", "blk.%d.ffn_up", "blk.%d.ffn_down"}
#define PTQ_GGML_FUSED                                                                                                 \
    PTQ_GGML_OUTER,                                                                                                    \
        .linear = {"blk.%d.attn_qkv", NULL, NULL, "blk.%d.attn_output", NULL, "blk.%d.ffn_up", "blk.%d.ffn_down"}

#endif
