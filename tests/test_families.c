/* Configurations of every family as they are published: both spellings of each key, what is refused and how it is said;
 * and checkpoints whose tensors are called otherwise, or are missing. */
#include "model.h"

#include "files.h"
#include "mapped.h"

#include <math.h>

#define MODELS PTQ_FIXTURES "/models/"

struct fixture {
    char folder[64];
    struct ptq_arena *arena;
    struct ptq_config config;
    struct ptq_model model;
    struct ptq_error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    make_test_folder(f->folder);
    f->arena = ptq_arena_make("test");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ptq_arena_free(f->arena);
    remove_test_folder(f->folder);
    free(f);
    return 0;
}

static enum ptq_status read_config(struct fixture *f, const char *json)
{
    write_test_text(f->folder, "config.json", json);
    return ptq_config_from_json(f->arena, ptq_join(f->arena, f->folder, "config.json"), &f->config, &f->err);
}

static const struct ptq_config *known(struct fixture *f, const char *json)
{
    if (read_config(f, json)) fail_msg("%s", f->err.text);
    return &f->config;
}

/* What most configs below have. */
#define SIZES                                                                                                          \
    "\"hidden_size\": 64, \"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"intermediate_size\": 96, "           \
    "\"vocab_size\": 100, \"max_position_embeddings\": 128"

/* ---- what is read ---- */

static void llama_3_2_1b(void **state)
{
    struct fixture *f = *state;
    const struct ptq_config *c = known(
        f, "{\"model_type\": \"llama\", \"hidden_size\": 2048, \"intermediate_size\": 8192, \"num_hidden_layers\": 16, "
           "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"head_dim\": 64, \"vocab_size\": 128256, "
           "\"max_position_embeddings\": 131072, \"rms_norm_eps\": 1e-05, \"rope_theta\": 500000.0, "
           "\"tie_word_embeddings\": true, \"hidden_act\": \"silu\", \"attention_bias\": false, \"mlp_bias\": false, "
           "\"rope_scaling\": {\"factor\": 32.0, \"high_freq_factor\": 4.0, \"low_freq_factor\": 1.0, "
           "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}}");
    assert_true(c->tied && c->kv_heads == 8 && c->head_size == 64 && c->blocks == 16 && !c->sliding && !c->biased);
    assert_string_equal(c->rope_type, "llama3");
    assert_true(c->rope_factor == 32 && c->rope_theta == 500000 && c->rope_original == 8192);
}

/* Old keys and new ones: the same model. */
static void rope_is_spelt_in_two_ways(void **state)
{
    struct fixture *f = *state;
    static const char *const text[] = {
        "{\"model_type\": \"llama\", " SIZES ", \"rope_theta\": 20000, \"rope_scaling\": {\"rope_type\": \"llama3\", "
        "\"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}}",
        "{\"model_type\": \"llama\", " SIZES
        ", \"rope_parameters\": {\"rope_theta\": 20000, \"rope_type\": \"llama3\", "
        "\"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}}"};
    for (int i = 0; i < 2; i++) {
        const struct ptq_config *c = known(f, text[i]);
        assert_string_equal(c->rope_type, "llama3");
        assert_true(c->rope_theta == 20000 && c->rope_factor == 8 && c->rope_low == 1 && c->rope_high == 4);
        assert_true(c->rope_original == 32);
    }
}

#define ORIGINAL "\"original_max_position_embeddings\": 32"
#define LLAMA3 "\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4"

/* transformers looks at the top first, so a file may say it there, too, or there alone. */
static void original_positions_at_the_top(void **state)
{
    struct fixture *f = *state;
    static const char *const inside[] = {"", ", " ORIGINAL};
    for (int i = 0; i < 2; i++) {
        const char *rest = ptq_format(f->arena, "\"rope_scaling\": {" LLAMA3 "%s}}", inside[i]);
        known(f, ptq_format(f->arena, "{" ORIGINAL ", \"model_type\": \"llama\", " SIZES ", %s", rest));
        assert_true(f->config.rope_original == 32);
    }
}

/* Both spellings in one file may agree, and null is a key that is missing. */
static void rope_is_spelt_in_both_ways(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *rest;
        double theta, factor; /* 0: not scaled */
    } rows[] = {
        {"\"rope_theta\": 5e5, \"rope_parameters\": {\"rope_theta\": null}", 5e5, 0},
        {"\"rope_theta\": null, \"rope_parameters\": {\"rope_theta\": 5e5}", 5e5, 0},
        {"\"rope_theta\": 5e5, \"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"default\"}", 5e5, 0},
        {"\"rope_scaling\": null, \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4}", 1e4, 4},
        {"\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}, \"rope_parameters\": null", 1e4, 4},
        {"\"rope_theta\": 5e5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}, "
         "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4, \"rope_theta\": 5e5}",
         5e5, 4},
        {"\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}, "
         "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4, \"rope_theta\": 1e4}",
         1e4, 4},
        {"\"rope_scaling\": {}, \"rope_parameters\": {\"rope_theta\": 5e5}", 5e5, 0},
        {"\"rope_scaling\": {\"rope_theta\": 5e5}, \"rope_parameters\": {\"rope_theta\": 5e5}", 5e5, 0},
        {"\"rope_scaling\": {\"rope_type\": \"default\", \"rope_theta\": 5e5}", 5e5, 0},
        {"\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4, \"rope_theta\": 5e5}, \"rope_theta\": 5e5", 5e5, 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct ptq_config *c =
            known(f, ptq_format(f->arena, "{\"model_type\": \"llama\", " SIZES ", %s}", rows[i].rest));
        const char *type = rows[i].factor > 0 ? "linear" : "default";
        if (c->rope_theta != rows[i].theta || c->rope_factor != rows[i].factor || strcmp(c->rope_type, type))
            fail_msg("%s: theta %g, %s, factor %g", rows[i].rest, c->rope_theta, c->rope_type, c->rope_factor);
    }
}

/* Each number of a scaling counts where two say what it is. */
static void ropes_that_differ(void **state)
{
    struct fixture *f = *state;
    static const double rows[][4] = {{8, 1, 4, 32}, {9, 1, 4, 32}, {8, 2, 4, 32}, {8, 1, 5, 32}, {8, 1, 4, 33}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *scaling[2];
        for (int k = 0; k < 2; k++)
            scaling[k] = ptq_format(f->arena,
                                    "{\"rope_type\": \"llama3\", \"factor\": %g, \"low_freq_factor\": %g, "
                                    "\"high_freq_factor\": %g, \"original_max_position_embeddings\": %g}",
                                    rows[k * i][0], rows[k * i][1], rows[k * i][2], rows[k * i][3]);
        enum ptq_status status = read_config(f, ptq_format(f->arena,
                                                           "{\"model_type\": \"llama\", " SIZES
                                                           ", \"rope_parameters\": %s, \"rope_scaling\": %s}",
                                                           scaling[0], scaling[1]));
        if (i == 0)
            assert_int_equal(status, PTQ_OK);
        else
            assert_refused(scaling[1], status, &f->err, "rope_parameters and rope_scaling;differ");
    }
}

/* The config, and in which of its three blocks a window of what length slides. */
static void windows_slide_where_the_config_says(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *family, *rest;
        int64_t want[3];
    } rows[] = {
        {"mistral", "\"sliding_window\": 50", {50, 50, 50}},
        {"mistral", "\"sliding_window\": null", {0, 0, 0}},
        {"mistral", "\"rope_theta\": 1e6", {4096, 4096, 4096}},
        {"mistral",
         "\"sliding_window\": 50, \"layer_types\": [\"full_attention\", \"sliding_attention\", \"full_attention\"]",
         {0, 50, 0}},
        {"qwen2", "\"sliding_window\": 50, \"use_sliding_window\": false, \"max_window_layers\": 1", {0, 0, 0}},
        {"qwen2", "\"sliding_window\": 50, \"use_sliding_window\": true, \"max_window_layers\": 1", {0, 50, 50}},
        {"qwen2", "\"use_sliding_window\": true, \"max_window_layers\": 2", {0, 0, 4096}},
        {"qwen2", "\"sliding_window\": 50, \"use_sliding_window\": true", {0, 0, 0}},
        /* a window of a family that has none is refused (tests/malformed/table.tsv), unless it cuts nothing off */
        {"llama", "\"sliding_window\": 128", {0, 0, 0}},
        {"llama", "\"sliding_window\": 50, \"use_sliding_window\": false", {0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct ptq_config *c =
            known(f, ptq_format(f->arena, "{\"model_type\": \"%s\", " SIZES ", %s}", rows[i].family, rows[i].rest));
        for (int b = 0; b < 3; b++) {
            int64_t window = c->sliding && (!c->slides || c->slides[b]) ? c->sliding : 0;
            if (window != rows[i].want[b])
                fail_msg("%s, %s: block %d slides over %lld, expected %lld", rows[i].family, rows[i].rest, b,
                         (long long)window, (long long)rows[i].want[b]);
        }
    }
}

static void bloom_has_two_spellings(void **state)
{
    struct fixture *f = *state;
    static const char *const text[] = {
        "{\"model_type\": \"bloom\", \"n_embed\": 1024, \"num_attention_heads\": 16, \"n_layer\": 24, \"n_inner\": "
        "null, "
        "\"vocab_size\": 250880, \"seq_length\": 2048, \"pretraining_tp\": 4, \"offset_alibi\": 100, "
        "\"layer_norm_epsilon\": 1e-05}",
        "{\"model_type\": \"bloom\", \"hidden_size\": 1024, \"n_head\": 16, \"n_layer\": 24, \"vocab_size\": 250880, "
        "\"tie_word_embeddings\": true, \"slow_but_exact\": true, \"is_causal\": true}"};
    for (int i = 0; i < 2; i++) {
        const struct ptq_config *c = known(f, text[i]);
        assert_true(c->width == 1024 && c->heads == 16 && c->blocks == 24 && c->ff == 4096 && c->tied);
        assert_true(c->positions >= 1 << 20 && c->activation == PTQ_GELU_TANH);
    }
}

static void gpt2_as_published(void **state)
{
    struct fixture *f = *state;
    const struct ptq_config *c = known(
        f, "{\"model_type\": \"gpt2\", \"activation_function\": \"gelu_new\", \"n_ctx\": 1024, \"n_embd\": 768, "
           "\"n_head\": 12, \"n_layer\": 12, \"n_positions\": 1024, \"layer_norm_epsilon\": 1e-05, \"vocab_size\": "
           "50257, \"resid_pdrop\": 0.1}");
    assert_true(c->ff == 3072 && c->tied && c->final_norm && c->positions == 1024 && c->activation == PTQ_GELU_TANH);
    c = known(f, "{\"model_type\": \"gpt2\", \"activation_function\": \"gelu\", \"n_embd\": 64, \"n_head\": 2, "
                 "\"n_inner\": 100, \"n_layer\": 1, \"n_positions\": 32, \"vocab_size\": 9}");
    assert_true(c->ff == 100 && c->activation == PTQ_GELU_ERF);
}

/* Keys that are null are as if they were not there, and what switches something off does. */
static void opt_and_llama_with_less(void **state)
{
    struct fixture *f = *state;
    const struct ptq_config *c =
        known(f, "{\"model_type\": \"opt\", \"ffn_dim\": 96, " SIZES ", \"enable_bias\": false}");
    assert_true(c->final_norm && !c->biased && !c->post_norm);
    c = known(f, "{\"model_type\": \"opt\", \"ffn_dim\": 96, " SIZES ", \"_remove_final_layer_norm\": true}");
    assert_true(!c->final_norm && c->biased && !c->post_norm);
    c = known(f, "{\"model_type\": \"opt\", \"ffn_dim\": 96, " SIZES ", \"do_layer_norm_before\": false}");
    assert_true(!c->final_norm && c->post_norm);
    c = known(f, "{\"model_type\": \"llama\", " SIZES ", \"rope_parameters\": null, \"rope_scaling\": null, "
                 "\"num_key_value_heads\": null}");
    assert_true(c->rope_theta == 10000 && c->kv_heads == 4);
    assert_string_equal(c->rope_type, "default");
    c = known(f, "{\"model_type\": \"llama\", " SIZES ", \"rope_theta\": 5, \"rope_parameters\": {\"rope_type\": "
                 "\"default\"}, \"mlp_bias\": true}");
    assert_true(c->rope_theta == 5 && c->biased == (PTQ_BIAS(PTQ_GATE) | PTQ_BIAS(PTQ_UP) | PTQ_BIAS(PTQ_DOWN)));
    c = known(f, "{\"model_type\": \"mistral\", " SIZES ", \"sliding_window\": 50, \"layer_types\": null}");
    assert_int_equal(c->sliding, 50);
}

/* ---- what is refused ---- */

#define GPT2                                                                                                           \
    "{\"model_type\": \"gpt2\", \"n_embd\": 64, \"n_head\": 4, \"n_layer\": 1, \"n_positions\": 9, \"vocab_size\": "   \
    "9, "

static void configs_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *json, *says;
    } rows[] = {
        {"{\"model_type\": \"llama\", " SIZES ", \"hidden_act\": \"gelu\"}", "hidden_act 'gelu';llama;silu"},
        {"{\"model_type\": \"qwen2\", " SIZES ", \"hidden_act\": \"relu\"}", "hidden_act 'relu';qwen2;silu"},
        {"{\"model_type\": \"mistral\", " SIZES ", \"layer_types\": [\"full_attention\"]}", "layer_types;3 texts"},
        {"{\"model_type\": \"mistral\", " SIZES ", \"sliding_window\": -1}", "sliding_window"},
        {"{\"model_type\": \"qwen2\", " SIZES
         ", \"layer_types\": [\"full_attention\", \"chunked_attention\", \"full_attention\"]}",
         "layer_types[1] 'chunked_attention';full_attention, sliding_attention"},
        {"{\"model_type\": \"qwen2\", " SIZES ", \"layer_types\": [1, 2, 3]}", "layer_types[0]"},
        {"{\"model_type\": \"bloom\", \"n_embed\": 64, \"n_head\": 4, \"n_layer\": 1, \"vocab_size\": 9, "
         "\"apply_residual_connection_post_layernorm\": true}",
         "apply_residual_connection_post_layernorm"},
        {"{\"model_type\": \"bloom\", \"n_embed\": 64, \"n_head\": 4, \"n_layer\": 1, \"vocab_size\": 9, "
         "\"slow_but_exact\": true, \"pretraining_tp\": 2}",
         "slow_but_exact with pretraining_tp 2"},
        {"{\"model_type\": \"llama\", " SIZES ", \"is_causal\": false}", "is_causal is false"},
        {"{\"model_type\": \"bloom\", \"n_head\": 4, \"n_layer\": 1, \"vocab_size\": 9}", "'hidden_size' is missing"},
        {GPT2 "\"scale_attn_weights\": false}", "scale_attn_weights false;gpt2"},
        {GPT2 "\"activation_function\": \"quick_gelu\"}", "activation_function 'quick_gelu';gelu_new"},
        {"{\"model_type\": \"gpt2\", \"n_embd\": 64, \"n_head\": 5, \"n_layer\": 1, \"n_positions\": 9, "
         "\"vocab_size\": 9}",
         "64 is not divisible by 5 heads"},
        {GPT2 "\"scale_attn_by_inverse_layer_idx\": true}", "scale_attn_by_inverse_layer_idx true;gpt2"},
        {GPT2 "\"add_cross_attention\": true}", "add_cross_attention true;gpt2"},
        {"{\"model_type\": \"opt\", \"ffn_dim\": 96, " SIZES ", \"layer_norm_elementwise_affine\": false}",
         "layer_norm_elementwise_affine false;opt"},
        {"{\"model_type\": \"gemma\", " SIZES "}", "'gemma' is not known;llama, mistral, qwen2, opt, gpt2, bloom"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_refused(rows[i].json, read_config(f, rows[i].json), &f->err, rows[i].says);
}

static void ropes_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *rest, *says;
    } rows[] = {
        {"\"head_dim\": 15", "head size 15 must be even"},
        {"\"partial_rotary_factor\": 0.5", "partial_rotary_factor 0.5;known: 1"},
        {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": "
         "4, " ORIGINAL "}",
         "high_freq_factor must be above low_freq_factor"},
        {"\"rope_theta\": 5e5, \"rope_scaling\": {\"type\": \"default\", \"rope_theta\": 1e4}",
         "rope_theta is 500000, but 10000 in rope_scaling"},
        {"\"rope_parameters\": {\"rope_theta\": 5e5}, \"rope_scaling\": {\"rope_theta\": 1e4}",
         "rope_theta is 500000 in rope_parameters, but 10000 in rope_scaling"},
        {"\"rope_parameters\": {\"rope_theta\": 5e5}, \"rope_scaling\": {\"type\": \"default\"}",
         "rope_theta is 500000 in rope_parameters alone, of which transformers reads nothing;rope_scaling"},
        {"\"original_max_position_embeddings\": 16, \"rope_scaling\": {" LLAMA3 ", " ORIGINAL "}",
         "original_max_position_embeddings is 16, but 32"},
        {"\"original_max_position_embeddings\": \"32\", \"rope_scaling\": {" LLAMA3 ", " ORIGINAL "}",
         "original_max_position_embeddings;number"},
        {"\"rope_scaling\": {" LLAMA3 "}", "'original_max_position_embeddings' is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *json = ptq_format(f->arena, "{\"model_type\": \"llama\", " SIZES ", %s}", rows[i].rest);
        assert_refused(json, read_config(f, json), &f->err, rows[i].says);
    }
}

/* ---- checkpoints ---- */

/* A fixture's folder with every `from` in the names of its tensors turned to `to`, which is not longer; or another
 * config.json where it is given. The header keeps its size: JSON may be followed by spaces. */
static const char *altered(struct fixture *f, const char *name, const char *from, const char *to, const char *config)
{
    char *text, *at;
    size_t size;
    const char *folder = ptq_join(f->arena, MODELS, name);
    assert_false(ptq_read_file(f->arena, ptq_join(f->arena, folder, "config.json"), 1 << 20, &text, &size, &f->err));
    write_test_text(f->folder, "config.json", config ? config : text);
    assert_false(
        ptq_read_file(f->arena, ptq_join(f->arena, folder, "model.safetensors"), 1 << 20, &text, &size, &f->err));
    size_t header = 0, shorter = strlen(from) - strlen(to);
    memcpy(&header, text, 8);
    char *begin = text + 8, *end = begin + header;
    while ((at = memmem(begin, (size_t)(end - begin), from, strlen(from)))) {
        memcpy(at, to, strlen(to));
        begin = at + strlen(to);
        memmove(begin, begin + shorter, (size_t)(end - begin) - shorter);
        memset(end - shorter, ' ', shorter);
    }
    write_test_file(f->folder, "model.safetensors", text, size);
    return f->folder;
}

static enum ptq_status open_model(struct fixture *f, const char *path)
{
    enum ptq_status status = ptq_model_open(f->arena, path, "test", &f->model, &f->err);
    if (!status) ptq_model_close(&f->model);
    return status;
}

/* gpt2 and bloom are published without "transformer.". */
static void names_without_their_prefix(void **state)
{
    struct fixture *f = *state;
    static const char *const name[] = {"gpt2", "bloom"};
    for (int i = 0; i < 2; i++) {
        struct ptq_model with, without;
        struct ptq_block a, b;
        assert_false(ptq_model_open(f->arena, ptq_join(f->arena, MODELS, name[i]), name[i], &with, &f->err));
        if (ptq_model_open(f->arena, altered(f, name[i], "transformer.", "", NULL), "bare", &without, &f->err))
            fail_msg("%s", f->err.text);
        assert_string_equal(without.prefix, "");
        assert_false(ptq_block_load(&with, 1, f->arena, &a, &f->err));
        assert_false(ptq_block_load(&without, 1, f->arena, &b, &f->err));
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            const struct ptq_linear *l = &a.linear[role], *m = &b.linear[role];
            assert_true(l->n == m->n && l->k == m->k);
            if (!l->n) continue;
            assert_string_equal(l->name, m->name);
            assert_memory_equal(l->w, m->w, sizeof *l->w * (size_t)(l->n * l->k));
            assert_memory_equal(l->b, m->b, sizeof *l->b * (size_t)l->n);
        }
        ptq_model_close(&with);
        ptq_model_close(&without);
    }
}

static void missing_and_misshapen_tensors_are_named(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *model, *from, *to, *says;
    } rows[] = {
        {"qwen2", "layers.1.self_attn.k_proj.bias", "layers.1.self_attn.k_proj.bia",
         "layers.1.self_attn.k_proj.bias' is missing"},
        {"gpt2", "h.1.attn.c_attn.bias", "h.1.attn.c_attn.bia", "h.1.attn.c_attn.bias' is missing"},
        {"gpt2", "wpe.weight", "wp.weight", "wpe.weight' is missing"},
        {"bloom", "word_embeddings_layernorm.bias", "word_embeddings_layernorm.bia",
         "word_embeddings_layernorm.bias' is missing"},
        {"bloom", "h.0.mlp.dense_4h_to_h.weight", "h.0.mlp.dense_4h_to_h.weigh",
         "h.0.mlp.dense_4h_to_h.weight' is missing"},
        /* Conv1D: [K, N]; h.0.mlp.c_fc is [24, 96] */
        {"gpt2", "[24,96]", "[96,24]", "c_fc.weight' is [96, 24]; the config asks for [24, 96]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_refused(rows[i].from, open_model(f, altered(f, rows[i].model, rows[i].from, rows[i].to, NULL)), &f->err,
                       rows[i].says);
}

/* attention_bias and mlp_bias promise tensors. */
static void llamas_biases_are_asked_for(void **state)
{
    struct fixture *f = *state;
    char *text, *at;
    size_t size;
    assert_false(ptq_read_file(f->arena, MODELS "llama/config.json", 1 << 20, &text, &size, &f->err));
    assert_non_null(at = strstr(text, "\"attention_bias\": false"));
    memcpy(at, "\"attention_bias\": true ", strlen("\"attention_bias\": false"));
    assert_refused("attention_bias", open_model(f, altered(f, "llama", "model.norm", "model.norm", text)), &f->err,
                   "layers.0.self_attn.q_proj.bias' is missing");
}

/* Every bias of the folder's checkpoint becomes zeros. */
static void zero_biases(struct fixture *f)
{
    struct ptq_checkpoint c;
    char *data;
    size_t size;
    assert_false(
        ptq_read_file(f->arena, ptq_join(f->arena, f->folder, "model.safetensors"), 1 << 20, &data, &size, &f->err));
    assert_false(ptq_checkpoint_open(f->arena, f->folder, &c, &f->err));
    for (int i = 0; i < c.n_tensors; i++) {
        const struct ptq_tensor *t = &c.tensor[i];
        const unsigned char *at = t->data;
        if (strstr(t->name, ".bias")) memset(data + (at - t->file->data), 0, t->bytes);
    }
    ptq_checkpoint_close(&c);
    write_test_file(f->folder, "model.safetensors", data, size);
}

/* A qwen2 that its config calls a llama: its biases are not silently used; were they zeros, there would be none. */
static void biases_that_the_config_denies(void **state)
{
    struct fixture *f = *state;
    struct ptq_block block;
    const char *config =
        "{\"model_type\": \"llama\", \"hidden_size\": 24, \"intermediate_size\": 40, \"num_hidden_layers\": 2, "
        "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 64, \"vocab_size\": 287, "
        "\"tie_word_embeddings\": true}";
    const char *folder = altered(f, "qwen2", "model.norm", "model.norm", config);
    assert_refused("q, k, v", open_model(f, folder), &f->err,
                   "layers.0.self_attn.q_proj.bias' is not zero;'attention_bias' in config.json");
    zero_biases(f);
    if (ptq_model_open(f->arena, folder, "zeros", &f->model, &f->err)) fail_msg("%s", f->err.text);
    assert_false(ptq_block_load(&f->model, 1, f->arena, &block, &f->err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        assert_null(block.linear[role].b);
        assert_false(ptq_model_has_bias(&f->model, 1, (enum ptq_role)role));
    }
    ptq_model_close(&f->model);
}

/* ---- row orders ---- */

/* Every order is a permutation, and by head it is the one that is drawn in family.h. */
static void orders_are_permutations(void **state)
{
    (void)state;
    for (int order = PTQ_ROWS_PLAIN; order <= PTQ_ROWS_BY_HEAD; order++) {
        struct ptq_row_layout l = {.order = (enum ptq_row_order)order, .n = 36, .k = 5, .head_size = 4};
        char seen[36] = {0};
        for (int64_t row = 0; row < 36; row++) {
            int64_t at = ptq_file_row(&l, row);
            assert_true(at >= 0 && at < 36 && !seen[at]);
            seen[at] = 1;
        }
    }
    struct ptq_row_layout fused = {.order = PTQ_ROWS_BY_HEAD, .n = 36, .k = 5, .head_size = 4};
    assert_int_equal(ptq_file_row(&fused, 0), 0);   /* q of head 0 */
    assert_int_equal(ptq_file_row(&fused, 5), 13);  /* q of head 1 */
    assert_int_equal(ptq_file_row(&fused, 12), 4);  /* k of head 0 */
    assert_int_equal(ptq_file_row(&fused, 35), 35); /* v of head 2 */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(llama_3_2_1b),
        TEST(rope_is_spelt_in_two_ways),
        TEST(original_positions_at_the_top),
        TEST(rope_is_spelt_in_both_ways),
        TEST(ropes_that_differ),
        TEST(windows_slide_where_the_config_says),
        TEST(bloom_has_two_spellings),
        TEST(gpt2_as_published),
        TEST(opt_and_llama_with_less),
        TEST(configs_are_refused),
        TEST(ropes_are_refused),
        TEST(names_without_their_prefix),
        TEST(missing_and_misshapen_tensors_are_named),
        TEST(llamas_biases_are_asked_for),
        TEST(biases_that_the_config_denies),
        TEST(orders_are_permutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
