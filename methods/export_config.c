/* config.json and the tokenizer of a written Hugging Face folder. */
#include "export_folder.h"
#include "locate.h"
#include "mapped.h"
#include "tokenizer_export.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Of a file that is carried over: as much as a tokenizer's reader takes. */
enum { MAX_CONFIG = 1 << 24, MAX_CARRIED = 64 << 20 };

/* Carried over byte for byte, where they are there. */
static const char *const carried[] = {"tokenizer.json",
                                      "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json",
                                      "vocab.json",
                                      "merges.txt",
                                      "tokenizer.model",
                                      "chat_template.jinja",
                                      "chat_template.json",
                                      "generation_config.json",
                                      "LICENSE"};

/* Takes json over. */
static enum ptq_status write_json(const struct ptq_export *x, const char *name, json_t *json, struct ptq_error *err)
{
    char *text = json ? ptq_json_dump(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text) return ptq_fail(err, PTQ_EINPUT, "%s cannot be written as JSON", name);
    const struct ptq_piece piece[] = {{text, strlen(text)}, {"\n", 1}};
    enum ptq_status status = ptq_write_pieces(ptq_join(x->scratch, x->folder, name), piece, 2, err);
    free(text);
    return status;
}

/* ---- config.json ---- */

/* The family's architecture: "LlamaForCausalLM". */
static const char *architecture(const struct ptq_export *x)
{
    char *name = ptq_format(x->scratch, "%sForCausalLM", x->model->config.family->model_type);
    name[0] = (char)toupper((unsigned char)name[0]);
    return name;
}

static enum ptq_status put_rope(const struct ptq_export *x, json_t *json, struct ptq_error *err)
{
    const struct ptq_config *c = &x->model->config;
    const struct ptq_names *names = x->model->names;
    char name[PTQ_NAME_SIZE];
    if (c->family->position != PTQ_ROPE) return PTQ_OK;
    snprintf(name, sizeof name, "%s.weight", names->rope_factors ? names->rope_factors : "");
    if (names->rope_factors && ptq_checkpoint_find(&x->model->checkpoint, name))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: %s has a factor for each rotary frequency, which config.json cannot say; take the "
                        "Hugging Face folder",
                        x->model->name, name);
    json_object_set_new(json, "rope_theta", json_real(c->rope_theta));
    if (strcmp(c->rope_type, "linear") == 0)
        json_object_set_new(json, "rope_scaling",
                            json_pack("{s:s, s:f}", "rope_type", "linear", "factor", c->rope_factor));
    return PTQ_OK;
}

/* A window as long as the positions is none. */
static enum ptq_status put_window(const struct ptq_export *x, json_t *json, struct ptq_error *err)
{
    const struct ptq_config *c = &x->model->config;
    if (!c->sliding || c->sliding >= c->positions) return PTQ_OK;
    if (!c->family->write_window)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: %s.attention.sliding_window is %lld, which config.json of the %s family cannot say; take "
                        "the Hugging Face folder",
                        x->model->name, c->family->gguf, (long long)c->sliding, c->family->model_type);
    c->family->write_window(json, c->sliding);
    return PTQ_OK;
}

/* The family's switches. A bias that neither they nor the family speak of has no place, if it is not all zeros. */
static enum ptq_status put_biases(const struct ptq_export *x, json_t *json, struct ptq_error *err)
{
    const struct ptq_model *m = x->model;
    const struct ptq_family *family = m->config.family;
    unsigned biased = ptq_folder_biased(m);
    for (int i = 0; i < PTQ_N_BIAS_KEY && family->bias_keys[i].key; i++)
        json_object_set_new(json, family->bias_keys[i].key, json_boolean(biased & family->bias_keys[i].roles));
    for (int64_t block = 0; block < m->config.blocks; block++)
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            const struct ptq_tensor *bias = NULL;
            if (!(biased >> role & 1))
                PTQ_TRY(ptq_model_find_bias(m, block, (enum ptq_role)role, x->scratch, &bias, err));
            if (bias)
                return ptq_fail(err, PTQ_EINPUT,
                                "%s: %s is a bias that config.json of the %s family cannot say; --format gguf holds it",
                                m->name, bias->name, family->model_type);
        }
    return PTQ_OK;
}

static void put_ids(const struct ptq_export *x, json_t *json)
{
    struct ptq_error ignored;
    int64_t id;
    for (int i = 0; i < PTQ_N_SPECIAL_IDS; i++)
        if (!ptq_gguf_int(x->model->checkpoint.gguf, ptq_special_ids[i].key, 0, INT32_MAX, &id, &ignored))
            json_object_set_new(json, ptq_special_ids[i].name, json_integer(id));
}

/* An epsilon that was stored as float32, in the decimals that somebody wrote. */
static double short_real(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    return strtod(text, NULL);
}

/* The first of the names that a size may have ("n_embd|hidden_size"). */
static void put_size(const struct ptq_export *x, json_t *json, const char *names, int64_t value)
{
    if (names) json_object_set_new(json, ptq_strndup(x->scratch, names, strcspn(names, "|")), json_integer(value));
}

/* From what a GGUF's metadata said; the family's own names for the sizes. */
static enum ptq_status config_from_gguf(const struct ptq_export *x, json_t **out, struct ptq_error *err)
{
    const struct ptq_config *c = &x->model->config;
    const struct ptq_config_keys *keys = &c->family->keys;
    if (c->family->norm != PTQ_RMSNORM)
        return ptq_fail(err, PTQ_EINPUT, "%s: config.json of the %s family is not made from a GGUF; take its folder",
                        x->model->name, c->family->model_type);
    json_t *json =
        json_pack("{s:[s], s:s, s:I, s:f}", "architectures", architecture(x), "model_type", c->family->model_type,
                  "vocab_size", (json_int_t)c->vocab, keys->eps ? keys->eps : "norm_eps", short_real(c->norm_eps));
    put_size(x, json, keys->width, c->width);
    put_size(x, json, keys->blocks, c->blocks);
    put_size(x, json, keys->heads, c->heads);
    put_size(x, json, keys->kv_heads, c->kv_heads);
    put_size(x, json, keys->ff, c->ff);
    put_size(x, json, keys->positions, c->positions);
    json_object_set_new(json, "head_dim", json_integer(c->head_size));
    if (c->family->activation == PTQ_SILU_GATED) json_object_set_new(json, "hidden_act", json_string("silu"));
    put_ids(x, json);
    if (put_biases(x, json, err) || put_rope(x, json, err) || put_window(x, json, err)) {
        json_decref(json);
        return err->status;
    }
    *out = json;
    return PTQ_OK;
}

static enum ptq_status read_config(const struct ptq_export *x, json_t **out, struct ptq_error *err)
{
    const struct ptq_checkpoint *file = &x->model->checkpoint;
    if (file->gguf) return config_from_gguf(x, out, err);
    return ptq_json_load(ptq_join(x->scratch, file->folder, "config.json"), MAX_CONFIG, out, err);
}

enum ptq_status ptq_export_config(const struct ptq_export *x, json_t *quantization, const char *quantization_file,
                                  struct ptq_error *err)
{
    json_t *config = NULL;
    enum ptq_status status = read_config(x, &config, err);
    if (!status && quantization_file) status = write_json(x, quantization_file, json_incref(quantization), err);
    if (status) {
        json_decref(config);
        json_decref(quantization);
        return status;
    }
    json_object_set_new(config, "tie_word_embeddings", json_boolean(x->model->head == x->model->embed));
    json_object_del(config, "quantization_config");
    if (quantization) json_object_set_new(config, "quantization_config", quantization);
    json_object_set_new(config, "torch_dtype", json_string("float16"));
    if (json_object_get(config, "dtype")) json_object_set_new(config, "dtype", json_string("float16"));
    return write_json(x, "config.json", config, err);
}

/* ---- the tokenizer ---- */

static enum ptq_status carry(const struct ptq_export *x, const char *name, struct ptq_error *err)
{
    struct ptq_mapped file;
    const char *folder = x->model->checkpoint.folder;
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(ptq_join(x->scratch, folder, name), &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_map_member(x->scratch, folder, name, &file, err));
    enum ptq_status status =
        file.size > MAX_CARRIED
            ? ptq_fail(err, PTQ_EINPUT,
                       "%s: has %zu bytes; a file beside the weights that is carried over has at most %d", file.path,
                       file.size, (int)MAX_CARRIED)
            : ptq_write_mapped(ptq_join(x->scratch, x->folder, name), &file, err);
    ptq_unmap(&file);
    return status;
}

static enum ptq_status tokenizer_from_gguf(const struct ptq_export *x, struct ptq_error *err)
{
    const struct ptq_checkpoint *file = &x->model->checkpoint;
    json_t *tokenizer, *config;
    PTQ_TRY(ptq_tokenizer_json_from_gguf(x->scratch, file->gguf, file->path, &tokenizer, &config, err));
    enum ptq_status status = write_json(x, "tokenizer.json", tokenizer, err);
    if (!status) return write_json(x, "tokenizer_config.json", config, err);
    json_decref(config);
    return status;
}

enum ptq_status ptq_export_tokenizer(const struct ptq_export *x, struct ptq_error *err)
{
    if (x->model->checkpoint.gguf) return tokenizer_from_gguf(x, err);
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++) PTQ_TRY(carry(x, carried[i], err));
    return PTQ_OK;
}
