/* GGUFs that have some biases and not others, as folders: a switch of config.json is on where any linear of it has one,
 * zeros stand for those that have none, and what no switch speaks of is refused before anything is computed. */
#include "export_fixture.h"

extern const struct ptq_family ptq_family_qwen2;

enum {
    NONE = 0,
    Q = PTQ_BIAS(PTQ_Q),
    K = PTQ_BIAS(PTQ_K),
    V = PTQ_BIAS(PTQ_V),
    O = PTQ_BIAS(PTQ_O),
    DOWN = PTQ_BIAS(PTQ_DOWN)
};

static char cache[64], tiny[64], source[64];

/* What of the source's biases goes into the GGUF, block by block; elsewhere they are as they are. */
static const unsigned *kept;
static int zeroed = -1; /* the role whose biases are zeros there */
static int n_blocks;    /* that were computed */

int __real_ptq_model_has_bias(const struct ptq_model *model, int64_t block, enum ptq_role role);
int __wrap_ptq_model_has_bias(const struct ptq_model *model, int64_t block, enum ptq_role role);

int __wrap_ptq_model_has_bias(const struct ptq_model *model, int64_t block, enum ptq_role role)
{
    return __real_ptq_model_has_bias(model, block, role) && (!kept || kept[block] >> role & 1);
}

static void drop_biases(struct ptq_block *block, struct ptq_qmat *q)
{
    static float zeros[EXPORT_MOST_K];
    int index = strstr(block->linear[PTQ_Q].name, ".1.") != NULL;
    (void)q;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        if (role == zeroed) block->linear[role].b = zeros;
        if (!(kept[index] >> role & 1)) block->linear[role].b = NULL;
    }
}

static void count_blocks(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)block, (void)q;
    n_blocks++;
}

static void as_qwen2(struct ptq_model *model)
{
    model->config.family = &ptq_family_qwen2;
}

/* The source as a GGUF with these biases, in a new folder. */
static void make_some(char folder[64], char path[96], const unsigned keep[EXPORT_BLOCKS])
{
    kept = keep;
    change_block = drop_biases;
    make_gguf(folder, path, 96, source);
    change_block = NULL;
    kept = NULL;
}

/* What config.json says of a switch, -1: nothing. */
static int switched(const char *folder, const char *key)
{
    struct ptq_arena *arena = ptq_arena_make("config");
    struct ptq_error err;
    json_t *json;
    EXPORT_OK(&err, ptq_json_load(ptq_join(arena, folder, "config.json"), 1 << 20, &json, &err));
    const json_t *value = json_object_get(json, key);
    int is = value ? json_is_true(value) : -1;
    json_decref(json);
    ptq_arena_free(arena);
    return is;
}

static const struct {
    const char *name;
    unsigned keep[EXPORT_BLOCKS];
    int attention, mlp;
} rows[] = {
    {"no biases", {NONE, NONE}, 0, 0},
    {"all biases", {PTQ_BIAS_ALL, PTQ_BIAS_ALL}, 1, 1},
    {"q, k, v and no o", {Q | K | V, Q | K | V}, 1, 0},
    {"o alone", {O, O}, 1, 0},
    {"the second block alone", {NONE, PTQ_BIAS_ATTENTION}, 1, 0},
    {"v here and k there", {V, K}, 1, 0},
    {"down in the second block", {NONE, DOWN}, 0, 1},
    {"o and down in turn", {O, DOWN}, 1, 1},
};

static void some_biases_and_zeros_for_the_rest(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char made[64], path[96], folder[64];
        struct remembered r;
        struct ptq_error err;
        make_some(made, path, rows[i].keep);
        make_test_folder(folder);
        if (export_into(&r, path, "fp16", "fp16", folder, &err)) fail_msg("%s: %s", rows[i].name, err.text);
        forget(&r);
        if (switched(folder, "attention_bias") != rows[i].attention || switched(folder, "mlp_bias") != rows[i].mlp)
            fail_msg("%s: the switches are wrong", rows[i].name);
        double want = ppl_by(path, "exact"), got = ppl_of(folder);
        if (!(fabs(got - want) <= 1e-3 * want)) fail_msg("%s: %.9g, as a GGUF %.9g", rows[i].name, got, want);
        remove_test_folder(folder);
        make_test_folder(folder);
        EXPORT_OK(&err, export_into(&r, path, "rtn:w4,g32", "packed", folder, &err));
        forget(&r);
        if (ppl_of(folder) != ppl_by(path, "rtn:w4,g32")) fail_msg("%s: another cell as images", rows[i].name);
        remove_test_folder(folder);
        there_and_back(path, "rtn:w4,g32", "gptq_v2");
        remove_test_folder(made);
    }
}

/* Qwen2 has biases of q, k and v, and no switch. */
static void biases_that_no_switch_has(void **state)
{
    (void)state;
    static const unsigned keep[][EXPORT_BLOCKS] = {
        {Q | K | V, Q | K | V}, {Q | K | V, Q | K | V | O}, {Q | K | V | DOWN, Q | K | V}};
    static const char *const words[] = {NULL, "blk.1.attn_output.bias", "blk.0.ffn_down.bias"};
    static const int zero[] = {-1, PTQ_O, PTQ_DOWN};
    for (int i = 0; i < 3; i++)
        for (int zeros = 0; zeros < 2; zeros++) {
            char made[64], path[96], folder[64];
            struct remembered r;
            struct ptq_error err;
            zeroed = zeros ? zero[i] : -1;
            change_model = as_qwen2;
            make_some(made, path, keep[i]);
            change_model = NULL;
            make_test_folder(folder);
            n_blocks = 0;
            change_block = count_blocks;
            enum ptq_status status = export_into(&r, path, "rtn:w4,g32", "awq", folder, &err);
            change_block = NULL;
            forget(&r);
            if (words[i] && !zeros) {
                assert_refused(words[i], status, &err, words[i]);
                assert_refused(words[i], status, &err, "config.json of the qwen2 family cannot say;--format gguf");
                assert_int_equal(n_blocks, 0);
            } else {
                EXPORT_OK(&err, status);
                assert_int_equal(switched(folder, "attention_bias"), -1);
                assert_true(ppl_of(folder) > 0);
            }
            remove_test_folder(made);
            remove_test_folder(folder);
        }
    zeroed = -1;
}

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_test_folder(source);
    make_tiny(source, "llama",
              "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
              " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 64,"
              " \"rms_norm_eps\": 1e-5, \"vocab_size\": 287, \"hidden_act\": \"silu\", \"rope_theta\": 10000.0,"
              " \"attention_bias\": true, \"mlp_bias\": true, \"dtype\": \"float16\", \"bos_token_id\": 1,"
              " \"eos_token_id\": 2, \"tie_word_embeddings\": true}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny, source};
    return end_exports(folder, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(some_biases_and_zeros_for_the_rest),
                                       cmocka_unit_test(biases_that_no_switch_has)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
