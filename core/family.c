#include "family.h"

#include "words.h"

#include <math.h>
#include <string.h>

const enum ptq_input ptq_role_input[PTQ_N_ROLE] = {
    [PTQ_Q] = PTQ_ATTN_IN,   [PTQ_K] = PTQ_ATTN_IN, [PTQ_V] = PTQ_ATTN_IN,    [PTQ_O] = PTQ_ATTN_OUT,
    [PTQ_GATE] = PTQ_MLP_IN, [PTQ_UP] = PTQ_MLP_IN, [PTQ_DOWN] = PTQ_MLP_OUT,
};

const char *const ptq_input_name[PTQ_N_INPUT] = {"attn_in", "attn_out", "mlp_in", "mlp_out"};

enum { KEY_WIDTH, KEY_BLOCKS, KEY_HEADS, KEY_KV_HEADS, KEY_FF, KEY_EPS, N_KEYS };
enum { MAX_BLOCKS = 1024, MAX_VOCAB = 1 << 24, MAX_POSITIONS = 1 << 24, MAX_SIZE = 1 << 20 };

/* ---- LLaMA ---- */

/* Newer files put the rotary settings into rope_parameters, older ones into rope_theta and rope_scaling. */
static enum ptq_status read_rope(const json_t *json, const char *what, struct ptq_config *config, struct ptq_error *err)
{
    const json_t *scaling = json_object_get(json, "rope_parameters");
    const json_t *theta = scaling && json_object_get(scaling, "rope_theta") ? scaling : json;
    if (!scaling || json_is_null(scaling)) scaling = json_object_get(json, "rope_scaling");
    PTQ_TRY(ptq_json_real_or(theta, "rope_theta", what, 1, 1e12, 10000, &config->rope_theta, err));
    config->rope_type = "default";
    if (!scaling || json_is_null(scaling)) return PTQ_OK;
    if (!json_is_object(scaling)) return ptq_fail(err, PTQ_EINPUT, "%s: rope_scaling must be an object or null", what);
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

static enum ptq_status read_llama(const json_t *json, const char *what, struct ptq_config *config,
                                  struct ptq_error *err)
{
    const char *act;
    double partial;
    PTQ_TRY(ptq_json_text_or(json, "hidden_act", what, "silu", &act, err));
    if (strcmp(act, "silu"))
        return ptq_fail(err, PTQ_EINPUT, "%s: hidden_act '%s' is not known for llama; known: silu", what, act);
    PTQ_TRY(ptq_json_real_or(json, "partial_rotary_factor", what, 0, 1, 1, &partial, err));
    if (partial != 1)
        return ptq_fail(err, PTQ_EINPUT, "%s: partial_rotary_factor %g is not known; known: 1", what, partial);
    PTQ_TRY(ptq_json_bool_or(json, "tie_word_embeddings", what, 0, &config->tied, err));
    config->final_norm = 1;
    return read_rope(json, what, config, err);
}

static const struct ptq_family llama = {
    .model_type = "llama",
    .gguf = "llama",
    .norm = PTQ_RMSNORM,
    .position = PTQ_ROPE,
    .activation = PTQ_SILU_GATED,
    .gguf_rotary_pairs = 1,
    .hf = {.prefix = {"model.", ""},
           .embed = "embed_tokens",
           .final_norm = "norm",
           .head = "lm_head",
           .norm1 = "layers.%d.input_layernorm",
           .norm2 = "layers.%d.post_attention_layernorm",
           .linear = {"layers.%d.self_attn.q_proj", "layers.%d.self_attn.k_proj", "layers.%d.self_attn.v_proj",
                      "layers.%d.self_attn.o_proj", "layers.%d.mlp.gate_proj", "layers.%d.mlp.up_proj",
                      "layers.%d.mlp.down_proj"}},
    .ggml = {.prefix = {""},
             .embed = "token_embd",
             .final_norm = "output_norm",
             .head = "output",
             .rope_factors = "rope_freqs",
             .norm1 = "blk.%d.attn_norm",
             .norm2 = "blk.%d.ffn_norm",
             .linear = {"blk.%d.attn_q", "blk.%d.attn_k", "blk.%d.attn_v", "blk.%d.attn_output", "blk.%d.ffn_gate",
                        "blk.%d.ffn_up", "blk.%d.ffn_down"}},
    .read_json = read_llama,
    .json_keys = (const char *const[]){"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                                       "intermediate_size", "rms_norm_eps"},
};

/* ---- OPT ---- */

static enum ptq_status read_opt(const json_t *json, const char *what, struct ptq_config *config, struct ptq_error *err)
{
    const char *act;
    int before, removed, affine;
    PTQ_TRY(ptq_json_text_or(json, "activation_function", what, "relu", &act, err));
    if (strcmp(act, "relu"))
        return ptq_fail(err, PTQ_EINPUT, "%s: activation_function '%s' is not known for opt; known: relu", what, act);
    PTQ_TRY(ptq_json_bool_or(json, "layer_norm_elementwise_affine", what, 1, &affine, err));
    if (!affine) return ptq_fail(err, PTQ_EINPUT, "%s: layer_norm_elementwise_affine false is not known for opt", what);
    PTQ_TRY(ptq_json_bool_or(json, "do_layer_norm_before", what, 1, &before, err));
    PTQ_TRY(ptq_json_bool_or(json, "_remove_final_layer_norm", what, 0, &removed, err));
    PTQ_TRY(ptq_json_bool_or(json, "tie_word_embeddings", what, 1, &config->tied, err));
    PTQ_TRY(ptq_json_int_or(json, "word_embed_proj_dim", what, 1, MAX_SIZE, config->width, &config->embed_width, err));
    config->post_norm = !before;
    config->final_norm = before && !removed;
    config->rope_type = "none";
    return PTQ_OK;
}

static const struct ptq_family opt = {
    .model_type = "opt",
    .norm = PTQ_LAYERNORM,
    .position = PTQ_LEARNED,
    .position_offset = 2,
    .activation = PTQ_RELU,
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
    .read_json = read_opt,
    .json_keys =
        (const char *const[]){"hidden_size", "num_hidden_layers", "num_attention_heads", NULL, "ffn_dim", NULL},
};

const struct ptq_family *const ptq_families[] = {&llama, &opt};
const int ptq_n_families = sizeof ptq_families / sizeof *ptq_families;

/* ---- what all families share ---- */

static enum ptq_status unknown_family(const char *what, const char *type, struct ptq_error *err)
{
    struct ptq_buffer known = {0};
    for (int i = 0; i < ptq_n_families; i++) ptq_buffer_add(&known, "%s%s", i ? ", " : "", ptq_families[i]->model_type);
    enum ptq_status status =
        ptq_fail(err, PTQ_EINPUT, "%s: model family '%.60s' is not known; known: %s", what, type, known.data);
    free(known.data);
    return status;
}

static enum ptq_status check_config(struct ptq_config *c, const char *what, struct ptq_error *err)
{
    if (c->width != c->heads * c->head_size && c->width % c->heads)
        return ptq_fail(err, PTQ_EINPUT, "%s: width %lld is not divisible by %lld heads", what, (long long)c->width,
                        (long long)c->heads);
    if (c->heads % c->kv_heads)
        return ptq_fail(err, PTQ_EINPUT, "%s: %lld heads are not divisible by %lld key/value heads", what,
                        (long long)c->heads, (long long)c->kv_heads);
    if (c->family->position == PTQ_ROPE && c->head_size % 2)
        return ptq_fail(err, PTQ_EINPUT, "%s: head size %lld must be even", what, (long long)c->head_size);
    return PTQ_OK;
}

static enum ptq_status read_sizes(const json_t *json, const char *what, struct ptq_config *c, struct ptq_error *err)
{
    const char *const *key = c->family->json_keys;
    PTQ_TRY(ptq_json_int(json, key[KEY_WIDTH], what, 1, MAX_SIZE, &c->width, err));
    PTQ_TRY(ptq_json_int(json, key[KEY_BLOCKS], what, 1, MAX_BLOCKS, &c->blocks, err));
    PTQ_TRY(ptq_json_int(json, key[KEY_HEADS], what, 1, MAX_SIZE, &c->heads, err));
    PTQ_TRY(ptq_json_int(json, key[KEY_FF], what, 1, MAX_SIZE, &c->ff, err));
    PTQ_TRY(ptq_json_int(json, "vocab_size", what, 1, MAX_VOCAB, &c->vocab, err));
    PTQ_TRY(ptq_json_int(json, "max_position_embeddings", what, 1, MAX_POSITIONS, &c->positions, err));
    c->kv_heads = c->heads;
    if (key[KEY_KV_HEADS])
        PTQ_TRY(ptq_json_int_or(json, key[KEY_KV_HEADS], what, 1, MAX_SIZE, c->heads, &c->kv_heads, err));
    c->norm_eps = 1e-5;
    if (key[KEY_EPS]) PTQ_TRY(ptq_json_real_or(json, key[KEY_EPS], what, 1e-12, 0.1, 1e-6, &c->norm_eps, err));
    PTQ_TRY(ptq_json_int_or(json, "head_dim", what, 1, MAX_SIZE, c->width / c->heads, &c->head_size, err));
    c->embed_width = c->width;
    return PTQ_OK;
}

static enum ptq_status read_json_config(const json_t *json, const char *what, struct ptq_config *out,
                                        struct ptq_error *err)
{
    const char *type;
    PTQ_TRY(ptq_json_text(json, "model_type", what, &type, err));
    *out = (struct ptq_config){0};
    for (int i = 0; i < ptq_n_families; i++)
        if (strcmp(ptq_families[i]->model_type, type) == 0) out->family = ptq_families[i];
    if (!out->family) return unknown_family(what, type, err);
    PTQ_TRY(read_sizes(json, what, out, err));
    PTQ_TRY(out->family->read_json(json, what, out, err));
    return check_config(out, what, err);
}

enum ptq_status ptq_config_from_json(struct ptq_arena *arena, const char *path, struct ptq_config *out,
                                     struct ptq_error *err)
{
    (void)arena;
    json_t *json;
    PTQ_TRY(ptq_json_load(path, 1 << 24, &json, err));
    enum ptq_status status = read_json_config(json, path, out, err);
    json_decref(json);
    return status;
}

/* "llama.block_count" and its kin. */
static const char *gguf_key(const struct ptq_config *c, const char *name, char buffer[128])
{
    struct ptq_buffer text = {0};
    ptq_buffer_add(&text, "%s.%s", c->family->gguf, name);
    memcpy(buffer, text.data, text.size + 1 < 128 ? text.size + 1 : 128);
    buffer[127] = 0;
    free(text.data);
    return buffer;
}

static enum ptq_status gguf_rope(const struct ptq_gguf *gguf, const char *path, struct ptq_config *c,
                                 struct ptq_error *err)
{
    char key[128];
    c->rope_theta = 10000;
    c->rope_type = "default";
    if (ptq_gguf_has(gguf, gguf_key(c, "rope.freq_base", key))) PTQ_TRY(ptq_gguf_real(gguf, key, &c->rope_theta, err));
    if (!(c->rope_theta >= 1 && c->rope_theta <= 1e12))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is %g; it must be between 1 and 1e12", path, key, c->rope_theta);
    if (!ptq_gguf_has(gguf, gguf_key(c, "rope.scaling.type", key))) return PTQ_OK;
    struct ptq_span type;
    PTQ_TRY(ptq_gguf_text(gguf, key, &type, err));
    if (type.size == 4 && memcmp(type.data, "none", 4) == 0) return PTQ_OK;
    if (type.size != 6 || memcmp(type.data, "linear", 6))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s '%.*s' is not known; known: none, linear", path, key,
                        (int)(type.size < 40 ? type.size : 40), type.data);
    c->rope_type = "linear";
    PTQ_TRY(ptq_gguf_real(gguf, gguf_key(c, "rope.scaling.factor", key), &c->rope_factor, err));
    if (!(c->rope_factor >= 1e-3 && c->rope_factor <= 1e6))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is %g; it must be between 0.001 and 1e6", path, key, c->rope_factor);
    return PTQ_OK;
}

static enum ptq_status gguf_sizes(const struct ptq_gguf *gguf, const char *path, struct ptq_config *c,
                                  struct ptq_error *err)
{
    char key[128];
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "embedding_length", key), 1, MAX_SIZE, &c->width, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "block_count", key), 1, MAX_BLOCKS, &c->blocks, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "attention.head_count", key), 1, MAX_SIZE, &c->heads, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "feed_forward_length", key), 1, MAX_SIZE, &c->ff, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "context_length", key), 1, MAX_POSITIONS, &c->positions, err));
    c->kv_heads = c->heads;
    if (ptq_gguf_has(gguf, gguf_key(c, "attention.head_count_kv", key)))
        PTQ_TRY(ptq_gguf_int(gguf, key, 1, MAX_SIZE, &c->kv_heads, err));
    c->head_size = c->width / c->heads;
    if (ptq_gguf_has(gguf, gguf_key(c, "attention.key_length", key)))
        PTQ_TRY(ptq_gguf_int(gguf, key, 1, MAX_SIZE, &c->head_size, err));
    int64_t rotary = c->head_size;
    if (ptq_gguf_has(gguf, gguf_key(c, "rope.dimension_count", key)))
        PTQ_TRY(ptq_gguf_int(gguf, key, 1, MAX_SIZE, &rotary, err));
    if (rotary != c->head_size)
        return ptq_fail(err, PTQ_EINPUT, "%s: %s %lld differs from the head size %lld, which is not known", path, key,
                        (long long)rotary, (long long)c->head_size);
    PTQ_TRY(ptq_gguf_real(gguf, gguf_key(c, "attention.layer_norm_rms_epsilon", key), &c->norm_eps, err));
    if (!(c->norm_eps >= 1e-12 && c->norm_eps <= 0.1))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is %g; it must be between 1e-12 and 0.1", path, key, c->norm_eps);
    return PTQ_OK;
}

enum ptq_status ptq_config_from_gguf(const struct ptq_gguf *gguf, const char *path, struct ptq_config *out,
                                     struct ptq_error *err)
{
    struct ptq_span name;
    PTQ_TRY(ptq_gguf_text(gguf, "general.architecture", &name, err));
    *out = (struct ptq_config){0};
    for (int i = 0; i < ptq_n_families; i++) {
        const char *known = ptq_families[i]->gguf;
        if (known && strlen(known) == name.size && memcmp(known, name.data, name.size) == 0)
            out->family = ptq_families[i];
    }
    char text[61] = "";
    memcpy(text, name.data, name.size < 60 ? name.size : 60);
    if (!out->family) return unknown_family(path, text, err);
    PTQ_TRY(gguf_sizes(gguf, path, out, err));
    PTQ_TRY(gguf_rope(gguf, path, out, err));
    out->embed_width = out->width;
    out->final_norm = 1;
    return check_config(out, path, err);
}
