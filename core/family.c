#include "family.h"

#include "families.h"
#include "family_parts.h"
#include "words.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const enum ptq_input ptq_role_input[PTQ_N_ROLE] = {
    [PTQ_Q] = PTQ_ATTN_IN,   [PTQ_K] = PTQ_ATTN_IN, [PTQ_V] = PTQ_ATTN_IN,    [PTQ_O] = PTQ_ATTN_OUT,
    [PTQ_GATE] = PTQ_MLP_IN, [PTQ_UP] = PTQ_MLP_IN, [PTQ_DOWN] = PTQ_MLP_OUT,
};

const char *const ptq_input_name[PTQ_N_INPUT] = {"attn_in", "attn_out", "mlp_in", "mlp_out"};

const char *const ptq_position_name[PTQ_N_POSITION] = {"rotary positions", "learned positions", "ALiBi"};
const char *const ptq_activation_name[PTQ_N_ACTIVATION] = {"gated SiLU", "ReLU", "GELU (tanh)", "GELU (erf)"};

enum { MAX_BLOCKS = 1024, MAX_VOCAB = 1 << 24 };

#define X(name) extern const struct ptq_family ptq_family_##name;
PTQ_FAMILIES(X)
#undef X

const struct ptq_family *const ptq_families[] = {
#define X(name) &ptq_family_##name,
    PTQ_FAMILIES(X)
#undef X
};

const int ptq_n_families = sizeof ptq_families / sizeof *ptq_families;

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
    if (ptq_fused_qkv(c->family) && c->kv_heads != c->heads)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: %lld key/value heads for %lld heads are not known where q, k, v are fused", what,
                        (long long)c->kv_heads, (long long)c->heads);
    if (c->family->position == PTQ_ROPE && c->head_size % 2)
        return ptq_fail(err, PTQ_EINPUT, "%s: head size %lld must be even", what, (long long)c->head_size);
    return PTQ_OK;
}

/* Of "a|b" the first key that is there; where none is, the first. */
static const char *find_key(const json_t *json, const char *keys, char buffer[64])
{
    for (const char *at = keys;; at += strcspn(at, "|") + 1) {
        size_t size = strcspn(at, "|");
        assert(size < 64);
        memcpy(buffer, at, size);
        buffer[size] = 0;
        const json_t *value = json_object_get(json, buffer);
        if (ptq_json_given(value)) return buffer;
        if (!at[size]) break;
    }
    size_t size = strcspn(keys, "|");
    memcpy(buffer, keys, size);
    buffer[size] = 0;
    return buffer;
}

static enum ptq_status read_size(const json_t *json, const char *keys, const char *what, int64_t max, int64_t *out,
                                 struct ptq_error *err)
{
    char key[64];
    return ptq_json_int(json, find_key(json, keys, key), what, 1, max, out, err);
}

static enum ptq_status read_ff(const json_t *json, const char *what, struct ptq_config *c, struct ptq_error *err)
{
    const struct ptq_config_keys *keys = &c->family->keys;
    c->ff = keys->ff_times * c->width;
    if (!keys->ff) return PTQ_OK;
    if (!keys->ff_times) return read_size(json, keys->ff, what, PTQ_MAX_WIDTH, &c->ff, err);
    return ptq_json_int_or(json, keys->ff, what, 1, PTQ_MAX_WIDTH, c->ff, &c->ff, err);
}

const char *ptq_bias_key(const struct ptq_family *family, enum ptq_role role)
{
    for (int i = 0; i < PTQ_N_BIAS_KEY; i++)
        if (family->bias_keys[i].roles >> role & 1) return family->bias_keys[i].key;
    return NULL;
}

static enum ptq_status read_biased(const json_t *json, const char *what, struct ptq_config *c, struct ptq_error *err)
{
    c->biased = c->family->biased;
    for (int i = 0; i < PTQ_N_BIAS_KEY && c->family->bias_keys[i].key; i++) {
        const struct ptq_bias_key *switched = &c->family->bias_keys[i];
        int there, usually = (c->biased & switched->roles) != 0;
        PTQ_TRY(ptq_json_bool_or(json, switched->key, what, usually, &there, err));
        c->biased = there ? c->biased | switched->roles : c->biased & ~switched->roles;
    }
    return PTQ_OK;
}

static enum ptq_status read_sizes(const json_t *json, const char *what, struct ptq_config *c, struct ptq_error *err)
{
    const struct ptq_config_keys *keys = &c->family->keys;
    char key[64];
    PTQ_TRY(read_size(json, keys->width, what, PTQ_MAX_WIDTH, &c->width, err));
    PTQ_TRY(read_size(json, keys->blocks, what, MAX_BLOCKS, &c->blocks, err));
    PTQ_TRY(read_size(json, keys->heads, what, PTQ_MAX_WIDTH, &c->heads, err));
    PTQ_TRY(read_ff(json, what, c, err));
    PTQ_TRY(ptq_json_int(json, "vocab_size", what, 1, MAX_VOCAB, &c->vocab, err));
    c->positions = INT32_MAX;
    if (keys->positions)
        PTQ_TRY(ptq_json_int(json, find_key(json, keys->positions, key), what, PTQ_MIN_POSITIONS, PTQ_MAX_POSITIONS,
                             &c->positions, err));
    c->kv_heads = c->heads;
    if (keys->kv_heads)
        PTQ_TRY(ptq_json_int_or(json, keys->kv_heads, what, 1, PTQ_MAX_WIDTH, c->heads, &c->kv_heads, err));
    c->norm_eps = c->family->norm == PTQ_RMSNORM ? 1e-6 : 1e-5;
    if (keys->eps) PTQ_TRY(ptq_json_real_or(json, keys->eps, what, 1e-12, 0.1, c->norm_eps, &c->norm_eps, err));
    PTQ_TRY(ptq_json_int_or(json, "head_dim", what, 1, PTQ_MAX_WIDTH, c->width / c->heads, &c->head_size, err));
    c->embed_width = c->width;
    c->activation = c->family->activation;
    return read_biased(json, what, c, err);
}

static enum ptq_status attends_ahead(const char *what, const char *key, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s: %s is false; a model that attends to what comes after a token predicts none",
                    what, key);
}

static enum ptq_status has_experts(const char *what, const char *key, int64_t n, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s: %s is %lld; ptq knows no mixture of experts", what, key, (long long)n);
}

/* Keys that make another model of it. A window that no family's file asked for, or one as long as the positions, is
 * none. */
static enum ptq_status refuse_other_models(const json_t *json, const char *what, const struct ptq_config *c,
                                           struct ptq_error *err)
{
    static const char *const experts[] = {"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"};
    int64_t n, window;
    int slides, causal;
    PTQ_TRY(ptq_json_bool_or(json, "is_causal", what, 1, &causal, err));
    if (!causal) return attends_ahead(what, "is_causal", err);
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++) {
        PTQ_TRY(ptq_json_int_or(json, experts[i], what, 0, INT32_MAX, 0, &n, err));
        if (n > 1) return has_experts(what, experts[i], n, err);
    }
    if (c->slides) return PTQ_OK;
    PTQ_TRY(ptq_json_bool_or(json, "use_sliding_window", what, 1, &slides, err));
    PTQ_TRY(ptq_json_int_or(json, "sliding_window", what, 0, INT32_MAX, 0, &window, err));
    if (!slides || !window || window >= c->positions) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: sliding_window is %lld; %s models have none here", what, (long long)window,
                    c->family->model_type);
}

static enum ptq_status read_json_config(struct ptq_arena *arena, const json_t *json, const char *what,
                                        struct ptq_config *out, struct ptq_error *err)
{
    const char *type;
    PTQ_TRY(ptq_json_text(json, "model_type", what, &type, err));
    *out = (struct ptq_config){0};
    for (int i = 0; i < ptq_n_families; i++)
        if (strcmp(ptq_families[i]->model_type, type) == 0) out->family = ptq_families[i];
    if (!out->family) return unknown_family(what, type, err);
    PTQ_TRY(read_sizes(json, what, out, err));
    PTQ_TRY(out->family->read_json(arena, json, what, out, err));
    PTQ_TRY(refuse_other_models(json, what, out, err));
    return check_config(out, what, err);
}

enum ptq_status ptq_config_from_json(struct ptq_arena *arena, const char *path, struct ptq_config *out,
                                     struct ptq_error *err)
{
    json_t *json;
    PTQ_TRY(ptq_json_load(path, 1 << 24, &json, err));
    enum ptq_status status = read_json_config(arena, json, path, out, err);
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

/* By the key of today, else by that of old; where both are missing, or it is 0, llama.cpp scales nothing. */
static enum ptq_status gguf_rope_factor(const struct ptq_gguf *gguf, const char *path, struct ptq_config *c,
                                        struct ptq_error *err)
{
    char key[128];
    double factor = 0;
    if (ptq_gguf_has(gguf, gguf_key(c, "rope.scaling.factor", key)) ||
        ptq_gguf_has(gguf, gguf_key(c, "rope.scale_linear", key)))
        PTQ_TRY(ptq_gguf_real(gguf, key, &factor, err));
    if (factor == 0) return PTQ_OK;
    if (!(factor >= 1e-3 && factor <= 1e6))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is %g; it must be 0 or between 0.001 and 1e6", path, key, factor);
    c->rope_type = "linear";
    c->rope_factor = factor;
    return PTQ_OK;
}

/* A type that is missing is linear, as llama.cpp has it. */
static enum ptq_status gguf_rope(const struct ptq_gguf *gguf, const char *path, struct ptq_config *c,
                                 struct ptq_error *err)
{
    char key[128];
    struct ptq_span type = {"linear", 6};
    c->rope_theta = 10000;
    c->rope_type = "default";
    if (ptq_gguf_has(gguf, gguf_key(c, "rope.freq_base", key))) PTQ_TRY(ptq_gguf_real(gguf, key, &c->rope_theta, err));
    if (!(c->rope_theta >= 1 && c->rope_theta <= 1e12))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is %g; it must be between 1 and 1e12", path, key, c->rope_theta);
    if (ptq_gguf_has(gguf, gguf_key(c, "rope.scaling.type", key))) PTQ_TRY(ptq_gguf_text(gguf, key, &type, err));
    if (type.size == 4 && memcmp(type.data, "none", 4) == 0) return PTQ_OK;
    if (type.size == 6 && memcmp(type.data, "linear", 6) == 0) return gguf_rope_factor(gguf, path, c, err);
    return ptq_fail(err, PTQ_EINPUT, "%s: %s '%.*s' is not known; known: none, linear", path, key,
                    (int)(type.size < 40 ? type.size : 40), type.data);
}

static enum ptq_status gguf_sizes(const struct ptq_gguf *gguf, const char *path, struct ptq_config *c,
                                  struct ptq_error *err)
{
    char key[128];
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "embedding_length", key), 1, PTQ_MAX_WIDTH, &c->width, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "block_count", key), 1, MAX_BLOCKS, &c->blocks, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "attention.head_count", key), 1, PTQ_MAX_WIDTH, &c->heads, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "feed_forward_length", key), 1, PTQ_MAX_WIDTH, &c->ff, err));
    PTQ_TRY(ptq_gguf_int(gguf, gguf_key(c, "context_length", key), PTQ_MIN_POSITIONS, PTQ_MAX_POSITIONS, &c->positions,
                         err));
    c->kv_heads = c->heads;
    if (ptq_gguf_has(gguf, gguf_key(c, "attention.head_count_kv", key)))
        PTQ_TRY(ptq_gguf_int(gguf, key, 1, PTQ_MAX_WIDTH, &c->kv_heads, err));
    c->head_size = c->width / c->heads;
    if (ptq_gguf_has(gguf, gguf_key(c, "attention.key_length", key)))
        PTQ_TRY(ptq_gguf_int(gguf, key, 1, PTQ_MAX_WIDTH, &c->head_size, err));
    int64_t rotary = c->head_size;
    if (ptq_gguf_has(gguf, gguf_key(c, "rope.dimension_count", key)))
        PTQ_TRY(ptq_gguf_int(gguf, key, 1, PTQ_MAX_WIDTH, &rotary, err));
    if (rotary != c->head_size)
        return ptq_fail(err, PTQ_EINPUT, "%s: %s %lld differs from the head size %lld, which is not known", path, key,
                        (long long)rotary, (long long)c->head_size);
    const char *eps =
        c->family->norm == PTQ_RMSNORM ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    PTQ_TRY(ptq_gguf_real(gguf, gguf_key(c, eps, key), &c->norm_eps, err));
    if (!(c->norm_eps >= 1e-12 && c->norm_eps <= 0.1))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is %g; it must be between 1e-12 and 0.1", path, key, c->norm_eps);
    return PTQ_OK;
}

/* Keys with which llama.cpp computes another model than this one, and a file that is no whole model. */
static enum ptq_status gguf_refuse_others(const struct ptq_gguf *gguf, const char *path, const struct ptq_config *c,
                                          struct ptq_error *err)
{
    char key[128];
    int causal = 1;
    int64_t n = 0;
    double factor = 1;
    if (ptq_gguf_has(gguf, "split.count")) PTQ_TRY(ptq_gguf_int(gguf, "split.count", 0, UINT16_MAX, &n, err));
    if (n > 1)
        return ptq_fail(
            err, PTQ_EINPUT,
            "%s: split.count is %lld, and this is one of the parts; ptq reads whole files, so put them together "
            "first: llama-gguf-split --merge",
            path, (long long)n);
    if (ptq_gguf_has(gguf, gguf_key(c, "attention.causal", key))) PTQ_TRY(ptq_gguf_bool(gguf, key, &causal, err));
    if (!causal) return attends_ahead(path, key, err);
    n = 0;
    if (ptq_gguf_has(gguf, gguf_key(c, "expert_count", key))) PTQ_TRY(ptq_gguf_int(gguf, key, 0, INT32_MAX, &n, err));
    if (n > 1) return has_experts(path, key, n, err);
    if (ptq_gguf_has(gguf, gguf_key(c, "rope.scaling.attn_factor", key)))
        PTQ_TRY(ptq_gguf_real(gguf, key, &factor, err));
    if (factor == 1) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: %s is %g; known: 1", path, key, factor);
}

/* Some converters write a window, which then holds for every layer. */
static enum ptq_status gguf_sliding(const struct ptq_gguf *gguf, struct ptq_config *c, struct ptq_error *err)
{
    char key[128];
    if (!ptq_gguf_has(gguf, gguf_key(c, "attention.sliding_window", key))) return PTQ_OK;
    return ptq_gguf_int(gguf, key, 0, PTQ_MAX_POSITIONS, &c->sliding, err);
}

enum ptq_status ptq_config_from_gguf(const struct ptq_gguf *gguf, const char *path, struct ptq_config *out,
                                     struct ptq_error *err)
{
    struct ptq_span name;
    PTQ_TRY(ptq_gguf_text(gguf, "general.architecture", &name, err));
    *out = (struct ptq_config){0};
    for (int i = 0; i < ptq_n_families; i++) {
        const char *known = ptq_families[i]->gguf;
        if (!out->family && known && strlen(known) == name.size && memcmp(known, name.data, name.size) == 0)
            out->family = ptq_families[i];
    }
    char text[61] = "";
    memcpy(text, name.data, name.size < 60 ? name.size : 60);
    if (!out->family) return unknown_family(path, text, err);
    PTQ_TRY(gguf_refuse_others(gguf, path, out, err));
    PTQ_TRY(gguf_sizes(gguf, path, out, err));
    out->rope_type = "none";
    if (out->family->position == PTQ_ROPE) PTQ_TRY(gguf_rope(gguf, path, out, err));
    PTQ_TRY(gguf_sliding(gguf, out, err));
    out->activation = out->family->activation;
    out->biased = out->family->biased;
    out->embed_width = out->width;
    out->final_norm = 1;
    return check_config(out, path, err);
}
