/* Every family there and back: codes, zeros, scales and groups, bit for bit, for every width, group size and order of
 * columns that its containers hold; and what is written means what the method gave. The models have one block, inputs
 * that groups of 48 do not divide, biases, a window, and BLOOM's q, k and v fused head by head. */
#include "export_fixture.h"

static char cache[64];

#define COMMON                                                                                                         \
    "\"vocab_size\": 288, \"bos_token_id\": 1, \"eos_token_id\": 2, \"torch_dtype\": \"float16\", "                    \
    "\"max_position_embeddings\": 64, \"hidden_size\": 64, \"num_hidden_layers\": 1, \"num_attention_heads\": 4, "     \
    "\"intermediate_size\": 96, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "

static const struct {
    const char *name, *config;
    int codes; /* 0: its linears are the other way round, and no container of codes takes them */
} family[] = {
    {"llama",
     "{\"model_type\": \"llama\", " COMMON "\"num_key_value_heads\": 2, \"rope_scaling\": null, "
     "\"tie_word_embeddings\": false}",
     1},
    {"mistral", "{\"model_type\": \"mistral\", " COMMON "\"num_key_value_heads\": 2, \"sliding_window\": 9}", 1},
    {"qwen2",
     "{\"model_type\": \"qwen2\", " COMMON "\"num_key_value_heads\": 2, \"tie_word_embeddings\": true, "
     "\"use_sliding_window\": false}",
     1},
    {"opt",
     "{\"model_type\": \"opt\", " COMMON "\"ffn_dim\": 160, \"word_embed_proj_dim\": 64, \"do_layer_norm_before\": "
     "true, \"activation_function\": \"relu\"}",
     1},
    {"bloom", "{\"model_type\": \"bloom\", " COMMON "\"layer_norm_epsilon\": 1e-5}", 1},
    {"gpt2",
     "{\"model_type\": \"gpt2\", " COMMON "\"n_embd\": 64, \"n_layer\": 1, \"n_head\": 4, \"n_positions\": 64, "
     "\"layer_norm_epsilon\": 1e-5, \"activation_function\": \"gelu_new\"}",
     0},
};
enum { N_FAMILIES = sizeof family / sizeof *family };

static char model[N_FAMILIES][64];

/* Every width x group x order of a GPTQ container. */
static void there_and_back_all(const char *folder, const char *format, const char *grid)
{
    static const int bits[] = {2, 3, 4, 8}, group[] = {-1, 32, 48};
    for (int b = 0; b < 4; b++)
        for (int g = 0; g < 3; g++)
            for (int act_order = 0; act_order < 2; act_order++) {
                char spec[96];
                snprintf(spec, sizeof spec, "gptq:w%d,g%d%s,act_order=%d", bits[b], group[g], grid, act_order);
                there_and_back(folder, spec, format);
            }
}

static void test_gptq(void **state)
{
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) /* of one packing with v2: fused and not, with biases and without */
        if (i == 0 || strcmp(family[i].name, "bloom") == 0) there_and_back_all(model[i], "gptq", ",sym=1");
}

static void test_gptq_v2(void **state)
{
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++)
        if (family[i].codes) there_and_back_all(model[i], "gptq_v2", "");
}

/* AWQ's container takes whole groups, of neighbours. */
static void test_awq(void **state)
{
    static const char *const spec[] = {"rtn:w4,g-1", "rtn:w4,g32,sym=1", "rtn:w4,g16"};
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++)
        for (size_t s = 0; family[i].codes && s < sizeof spec / sizeof *spec; s++)
            there_and_back(model[i], spec[s], "awq");
    there_and_back(MODELS "opt350", "rtn:w4,g-1", "awq"); /* with linears outside the blocks */
    there_and_back(model[0], "gptq:w4,g32,act_order=0", "awq");
}

/* What is read back is what the method gave, to the last bit of the perplexity, where FP16 holds the scales; as packed
 * codes, too. */
static void test_meaning(void **state)
{
    static const char *const row[][2] = {{"awq", "rtn:w4,g32,scale_dtype=fp16"},
                                         {"gptq", "rtn:w4,g32,sym=1,scale_dtype=fp16"},
                                         {"gptq_v2", "rtn:w3,g32,scale_dtype=fp16"}};
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++)
        for (int f = 0; family[i].codes && f < 3; f++) {
            const char *format = row[f][0], *spec = row[f][1];
            double made = ppl_by(model[i], spec), packed = ppl_on("packed", model[i], spec);
            char folder[64];
            struct remembered r;
            struct ptq_error err;
            make_test_folder(folder);
            EXPORT_OK(&err, export_into(&r, model[i], spec, format, folder, &err));
            double back = ppl_by(folder, "exact"), again = ppl_on("packed", folder, "exact");
            if (back != made) fail_msg("%s as %s gives %.9g; made was %.9g", family[i].name, format, back, made);
            if (again != packed)
                fail_msg("%s as %s gives %.9g packed; made was %.9g", family[i].name, format, again, packed);
            assert_true(again != back);
            forget(&r);
            remove_test_folder(folder);
        }
}

/* Without codes every family goes out and comes back, in the order of its own file. */
static void test_fp16(void **state)
{
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        char folder[64];
        struct remembered r;
        struct ptq_error err;
        make_test_folder(folder);
        EXPORT_OK(&err, export_into(&r, model[i], "fp16", "fp16", folder, &err));
        double before = ppl_by(model[i], "fp16"), after = ppl_by(folder, "fp16");
        if (before != after) fail_msg("%s: %.9g became %.9g", family[i].name, before, after);
        forget(&r);
        remove_test_folder(folder);
    }
}

static void test_conv1d_refused(void **state)
{
    static const char *const format[] = {"awq", "gptq", "gptq_v2"};
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++)
        for (int f = 0; !family[i].codes && f < 3; f++) {
            struct remembered r;
            struct ptq_error err;
            enum ptq_status status = export_into(&r, model[i], "rtn:w4,g32", format[f], cache, &err);
            assert_refused(format[f], status, &err, "gpt2;Conv1D;--format fp16");
            forget(&r);
        }
}

static int set_up(void **state)
{
    (void)state;
    ptq_progress_quiet(PTQ_QUIET);
    ptq_pool_start(1);
    make_test_folder(cache);
    setenv("PTQ_CACHE", cache, 1);
    for (int i = 0; i < N_FAMILIES; i++) {
        make_test_folder(model[i]);
        make_tiny(model[i], family[i].name, family[i].config);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) remove_test_folder(model[i]);
    remove_test_folder(cache);
    ptq_pool_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gptq),    cmocka_unit_test(test_gptq_v2), cmocka_unit_test(test_awq),
        cmocka_unit_test(test_meaning), cmocka_unit_test(test_fp16),    cmocka_unit_test(test_conv1d_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
