/* What formats look at before they write, with linears and models that no method and no family of ours gives: what has
 * no place is refused, and what a family may leave out is left out. */
#include "export_fixture.h"
#include "export_folder.h"
#include "mapped.h"
#include "model.h"
#include "tokenizer_export.h"

static char cache[64], tiny[64], gguf[64], gguf_path[96];

/* ---- codes ---- */

static void codes_that_have_no_place(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words; /* NULL: they have one */
        float scale, zero;
        int least;
        int64_t keep, divided;
        uint8_t code[4];
    } rows[] = {
        {"right", NULL, 0.5f, 8, 0, 0, 0, {0, 15, 8, 1}},
        {"a zero of 0", NULL, 0.5f, 0, 0, 0, 0, {0}},
        {"a zero of 0, less one", "output 0, group 0: a zero of 0;less one", 0.5f, 0, 1, 0, 0, {0}},
        {"a zero below", "a zero of -1", 0.5f, -1, 0, 0, 0, {0}},
        {"a zero above", "a zero of 16", 0.5f, 16, 0, 0, 0, {0}},
        {"a zero between", "a zero of 2.5", 0.5f, 2.5f, 0, 0, 0, {0}},
        {"no zero at all", "a zero of", 0.5f, NAN, 0, 0, 0, {0}},
        {"a scale too fine", "a scale of 1e-07 becomes", 1e-7f, 0, 0, 0, 0, {0, 0, 0, 15}},
        {"which moves nothing", NULL, 1e-7f, 1, 0, 0, 0, {1, 1, 1, 1}},
        {"a scale too large", "a scale of 70000 becomes inf in FP16", 7e4f, 8, 0, 0, 0, {8, 8, 8, 8}},
        {"kept columns", "up: rtn has columns that are not codes alone", 0.5f, 8, 0, 1, 0, {0}},
        {"divided columns", "up: rtn has columns that are not codes alone", 0.5f, 8, 0, 0, 1, {0}},
    };
    struct ptq_spec spec;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_spec_parse("rtn:w4,g-1", &spec, &err));
    struct ptq_export x = {.spec = &spec};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int permuted = 0; permuted < 2; permuted++) {
            static int32_t order[] = {3, 1, 0, 2};
            uint8_t code[4];
            float scale = rows[i].scale, zero = rows[i].zero;
            memcpy(code, rows[i].code, 4);
            struct ptq_qmat q = {.n = 1, .k = 4, .n_groups = 1, .code = code, .scale = &scale, .zero = &zero};
            q.grid = spec.grid;
            q.n_keep = rows[i].keep;
            q.n_divided = rows[i].divided;
            if (permuted) q.perm = order;
            enum ptq_status status = ptq_export_check_codes(&x, "up", &q, rows[i].least, &err);
            if (rows[i].words) assert_refused(rows[i].name, status, &err, rows[i].words);
            if (!rows[i].words && status) fail_msg("%s: %s", rows[i].name, err.text);
        }
}

/* Programs read codes as FP16 weights, which a scale may be within and a weight beyond. */
static void weights_that_have_no_place(void **state)
{
    (void)state;
    static const struct {
        float scale;
        uint8_t code[4];
        int fits;
    } rows[] = {{0.5f, {0, 15, 8, 1}, 1},
                {9352, {1, 15, 8, 8}, 1},
                {9368, {9, 15, 8, 8}, 0},
                {9368, {8, 8, 8, 1}, 0},
                {9368, {9, 8, 7, 8}, 1}}; /* none of its codes reaches that far */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        uint8_t code[4];
        float scale = rows[i].scale, zero = 8;
        struct ptq_qmat q = {.n = 1, .k = 4, .n_groups = 1, .code = code, .scale = &scale, .zero = &zero};
        memcpy(code, rows[i].code, 4);
        q.grid.w_bit = 4;
        q.grid.group_size = -1;
        enum ptq_status status = ptq_export_check_weights("up", &q, &err);
        if (rows[i].fits && status) fail_msg("row %zu: %s", i, err.text);
        if (!rows[i].fits)
            assert_refused("weights", status, &err,
                           "up: output 0, group 0: a scale of 9368 gives a weight beyond 65504");
    }
}

/* ---- sizes and families ---- */

static enum ptq_status check_config(const char *format, const char *spec_text, const char *config,
                                    struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    char folder[64];
    struct ptq_model model = {0};
    struct ptq_spec spec;
    struct ptq_export x = {.model = &model, .spec = &spec};
    make_test_folder(folder);
    write_test_text(folder, "config.json", config);
    EXPORT_OK(err, ptq_config_from_json(arena, ptq_join(arena, folder, "config.json"), &model.config, err));
    EXPORT_OK(err, ptq_spec_parse(spec_text, &spec, err));
    EXPORT_OK(err, ptq_export_find(format, &x.format, err));
    enum ptq_status status = ptq_export_check(&x, err);
    remove_test_folder(folder);
    ptq_arena_free(arena);
    return status;
}

#define SIZES(ff)                                                                                                      \
    "\"hidden_size\": 64, \"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"vocab_size\": 9, "                   \
    "\"max_position_embeddings\": 64, \"intermediate_size\": " ff ", \"ffn_dim\": " ff "}"

static void sizes_and_families(void **state)
{
    (void)state;
    static const char llama[] = "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, ";
    static const char opt[] = "{\"model_type\": \"opt\", \"do_layer_norm_before\": false, ";
    static const struct {
        const char *format, *spec, *head, *sizes, *words;
    } rows[] = {
        {"awq", "rtn:w4,g32", llama, SIZES("96"), NULL},
        {"awq", "rtn:w4,g32", llama, SIZES("100"), "is [100, 64];outputs in multiples of 8"},
        {"awq", "rtn:w4,g64", llama, SIZES("96"), "is [64, 96];inputs in multiples of 64"},
        {"gguf", "rtn:w4,g32", llama, SIZES("80"), "is [64, 80];inputs in multiples of 32"},
        {"gptq_v2", "awq:w4,g32", "{\"model_type\": \"bloom\", \"n_head\": 4, \"n_layer\": 1, ", SIZES("256"),
         "awq divides what bloom's activation gives, which this container has no place for; --format awq holds it"},
        {"awq", "awq:w4,g32", "{\"model_type\": \"bloom\", \"n_head\": 4, \"n_layer\": 1, ", SIZES("256"), NULL},
        {"gptq_v2", "awq:w4,g32", opt, SIZES("96"), NULL}, /* the method itself refuses norms that come after */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        char config[1000];
        snprintf(config, sizeof config, "%s%s", rows[i].head, rows[i].sizes);
        enum ptq_status status = check_config(rows[i].format, rows[i].spec, config, &err);
        if (rows[i].words) assert_refused(rows[i].sizes, status, &err, rows[i].words);
        if (!rows[i].words && status) fail_msg("row %zu: %s", i, err.text);
    }
}

/* ---- biases ---- */

static float bias[512];

static void with_bias(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)q;
    block->linear[PTQ_DOWN].b = bias;
}

static enum ptq_status export_changed(const char *model, const char *spec, const char *format, struct ptq_error *err)
{
    char folder[64];
    struct remembered r;
    make_test_folder(folder);
    enum ptq_status status = export_into(&r, model, spec, format, folder, err);
    forget(&r);
    remove_test_folder(folder);
    return status;
}

/* Zeros are no bias; others have no place, whatever the format. */
static void biases_that_no_family_has(void **state)
{
    (void)state;
    static const char *const format[] = {"gptq", "gguf"};
    change_block = with_bias;
    for (int f = 0; f < 2; f++) {
        struct ptq_error err;
        memset(bias, 0, sizeof bias);
        EXPORT_OK(&err, export_changed(tiny, "rtn:w4,g32,sym=1", format[f], &err));
        bias[EXPORT_WIDTH - 1] = 0.25f;
        assert_refused(format[f], export_changed(tiny, "rtn:w4,g32,sym=1", format[f], &err), &err,
                       "down;has got a bias that its family has not");
    }
    change_block = NULL;
}

static void coarse_minimum(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)block;
    q[PTQ_UP].scale[1] = 1e4f;
    q[PTQ_UP].zero[1] = 15;
}

static void zero_beside_the_middle(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)block;
    q[PTQ_UP].zero[1] = 7;
}

static void coarse_scale(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)block;
    q[PTQ_UP].scale[1] = 2e4f;
    q[PTQ_UP].zero[1] = 8;
    memset(q[PTQ_UP].code, 15, EXPORT_WIDTH);
}

/* No folder is written that says of itself, when it is read, that it is damaged. */
static void weights_that_no_folder_holds(void **state)
{
    (void)state;
    static const char *const format[] = {"awq", "gptq", "gptq_v2"};
    change_block = coarse_scale;
    for (int f = 0; f < 3; f++) {
        struct ptq_error err;
        assert_refused(format[f], export_changed(tiny, "rtn:w4,g32,sym=1", format[f], &err), &err,
                       "up_proj: output 0, group 1: a scale of 20000 gives a weight beyond 65504;--format packed");
    }
    change_block = NULL;
}

static void zeros_and_minima_of_a_gguf(void **state)
{
    (void)state;
    struct ptq_error err;
    change_block = zero_beside_the_middle;
    assert_refused("Q4_0", export_changed(tiny, "rtn:w4,g32,sym=1", "gguf", &err), &err,
                   "up;output 0, group 1: a zero of 7 has no place here, where all are 8");
    change_block = coarse_minimum;
    assert_refused("Q4_1", export_changed(tiny, "rtn:w4,g32", "gguf", &err), &err,
                   "up;output 0, group 1: a minimum of -150000 becomes");
    change_block = NULL;
}

/* ---- what families leave out ---- */

static struct ptq_family bare;
static enum ptq_position position;

/* A LLaMA without rotary positions, gates, factors and half of the names. */
static void strip_family(struct ptq_model *model)
{
    int of_gguf = model->names == &model->config.family->ggml;
    bare = *model->config.family;
    bare.position = position;
    bare.hf.linear[PTQ_GATE] = NULL;
    bare.activation = model->config.activation = PTQ_RELU;
    bare.ggml.rope_factors = NULL;
    bare.keys.kv_heads = bare.keys.eps = NULL;
    model->config.family = &bare;
    model->names = of_gguf ? &bare.ggml : &bare.hf;
}

static void without_gate(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)q;
    block->linear[PTQ_GATE].n = 0;
}

static void families_may_leave_things_out(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    char folder[64], *text;
    size_t size;
    struct remembered r;
    change_model = strip_family;
    change_block = without_gate;
    position = PTQ_ROPE;
    EXPORT_OK(&err, export_changed(gguf_path, "rtn:w4,g32", "awq", &err));
    position = PTQ_LEARNED;
    EXPORT_OK(&err, export_changed(tiny, "rtn:w4,g32,sym=1", "gguf", &err));
    EXPORT_OK(&err, export_changed(gguf_path, "rtn:w4,g32,sym=1", "gguf", &err));
    make_test_folder(folder);
    EXPORT_OK(&err, export_into(&r, gguf_path, "rtn:w4,g32", "awq", folder, &err));
    forget(&r);
    change_model = NULL;
    change_block = NULL;
    EXPORT_OK(&err, ptq_read_file(arena, ptq_join(arena, folder, "config.json"), 1 << 20, &text, &size, &err));
    static const char *const absent[] = {"rope_theta", "num_key_value_heads", "hidden_act", "rms_norm_eps"};
    for (int i = 0; i < 4; i++)
        if (strstr(text, absent[i])) fail_msg("config.json has %s", absent[i]);
    assert_non_null(strstr(text, "\"norm_eps\": "));
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

static void what_is_no_json_is_not_written(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model model;
    struct ptq_error err;
    struct ptq_export x = {.model = &model, .arena = arena, .scratch = arena, .folder = cache};
    EXPORT_OK(&err, ptq_model_open(arena, tiny, "tiny", &model, &err));
    assert_refused("NULL", ptq_export_config(&x, NULL, "codes.json", &err), &err,
                   "codes.json cannot be written as JSON");
    assert_false(ptq_is_file(ptq_join(arena, cache, "codes.json")));
    ptq_model_close(&model);
    ptq_arena_free(arena);
}

/* A GGUF's ids have 32 bits; one beyond the embedding would be another token's there, or nobody's. */
static void ids_of_a_gguf_have_rows(void **state)
{
    (void)state;
    static const struct {
        const char *config, *words; /* NULL: it is written, or left out */
    } rows[] = {
        {"{\"bos_token_id\": 287, \"eos_token_id\": [2, 999], \"pad_token_id\": -1}", NULL},
        {"{\"bos_token_id\": null, \"eos_token_id\": []}", NULL},
        {"{\"pad_token_id\": 288}", "config.json: pad_token_id, 288, has no row in the embedding, which has 288"},
        {"{\"bos_token_id\": 4294967297}", "config.json: bos_token_id, 4294967297, has no row"},
        {"{\"eos_token_id\": [288, 2]}", "config.json: eos_token_id, 288, has no row"},
    };
    struct ptq_arena *arena = ptq_arena_make("test");
    char folder[64];
    make_test_folder(folder);
    copy_file(MODELS "llama/tokenizer.json", folder, "tokenizer.json");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_gguf_keys keys = {0};
        struct ptq_error err;
        write_test_text(folder, "config.json", rows[i].config);
        enum ptq_status status = ptq_gguf_put_tokenizer(&keys, arena, folder, 288, &err);
        free(keys.bytes.data);
        if (rows[i].words) assert_refused(rows[i].config, status, &err, rows[i].words);
        if (!rows[i].words && status) fail_msg("%s: %s", rows[i].config, err.text);
    }
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

/* A folder of a stranger's may hold anything beneath the names that are carried over. */
static void files_beside_the_weights_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t size;
        const char *words; /* NULL: it is carried over */
    } rows[] = {{"LICENSE", (64 << 20) + 1, "LICENSE: has 67108865 bytes;at most 67108864"},
                {"chat_template.jinja", 1 << 30, "chat_template.jinja: has 1073741824 bytes"},
                {"generation_config.json", 3 << 20, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        char path[128];
        snprintf(path, sizeof path, "%s/%s", tiny, rows[i].name);
        write_test_text(tiny, rows[i].name, "");
        assert_int_equal(truncate(path, rows[i].size), 0);
        enum ptq_status status = export_changed(tiny, "rtn:w4,g32", "awq", &err);
        assert_int_equal(unlink(path), 0);
        if (rows[i].words) assert_refused(rows[i].name, status, &err, rows[i].words);
        if (!rows[i].words && status) fail_msg("%s: %s", rows[i].name, err.text);
    }
}

/* Nothing was begun, so there is nothing to give back. */
static void formats_that_never_began(void **state)
{
    (void)state;
    for (int i = 0; i < ptq_n_export_formats; i++) {
        struct ptq_export x = {.format = ptq_export_formats[i]};
        ptq_export_abandon(&x);
        assert_null(x.state);
    }
}

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_gguf(gguf, gguf_path, sizeof gguf_path, tiny);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny, gguf};
    return end_exports(folder, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_that_have_no_place),      cmocka_unit_test(sizes_and_families),
        cmocka_unit_test(biases_that_no_family_has),     cmocka_unit_test(zeros_and_minima_of_a_gguf),
        cmocka_unit_test(families_may_leave_things_out), cmocka_unit_test(what_is_no_json_is_not_written),
        cmocka_unit_test(ids_of_a_gguf_have_rows),       cmocka_unit_test(files_beside_the_weights_are_bounded),
        cmocka_unit_test(formats_that_never_began),      cmocka_unit_test(weights_that_have_no_place),
        cmocka_unit_test(weights_that_no_folder_holds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
