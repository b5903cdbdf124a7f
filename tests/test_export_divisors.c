/* What AWQ divides an activation by, in a container that has a place for it (methods/export_folder.h). */
#include "export_fixture.h"

extern const struct ptq_family ptq_family_bloom;

static char cache[64], tiny[64];

/* A family whose activation has no name, as programs know it. */
static void divisors_without_a_place(void **state)
{
    struct ptq_family nameless = ptq_family_bloom;
    struct ptq_model model = {.config = {.family = &nameless}};
    struct ptq_spec spec;
    struct ptq_error err;
    struct ptq_export x = {.model = &model, .spec = &spec};
    (void)state;
    EXPORT_OK(&err, ptq_spec_parse("awq:w4,g32", &spec, &err));
    EXPORT_OK(&err, ptq_export_needs_codes(&x, 1, &err));
    nameless.hf.activation = NULL;
    assert_refused("nameless", ptq_export_needs_codes(&x, 1, &err), &err,
                   "awq divides what bloom's activation gives, which this container has no place for; --format fp16");
}

static float divisor[4 * EXPORT_WIDTH];

static void with_divisor(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)q;
    block->activation_scale = divisor;
}

/* What the first block of a folder divides by is what went out, as FP16. */
static void check_divisor(const char *folder)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model model;
    struct ptq_block block;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_model_open(arena, folder, "back", &model, &err));
    EXPORT_OK(&err, ptq_block_load(&model, 0, arena, &block, &err));
    for (int i = 0; i < 4 * EXPORT_WIDTH; i++) assert_true(block.activation_scale[i] == ptq_f16_round(divisor[i]));
    ptq_model_close(&model);
    ptq_arena_free(arena);
}

/* Half of what FP16 has below 6e-5 is lost. */
static void divisors_as_fp16(void **state)
{
    static const struct {
        float last;
        const char *words; /* NULL: it holds it */
    } rows[] = {{3.0001f, NULL},
                {0x1p-20f, NULL},
                {3e-7f, "'transformer.h.0.mlp.gelu_impl.scales': element 255 is 3e-07, which becomes 2.98023e-07 in"},
                {1e-9f, "element 255 is 1e-09, which becomes 0 in FP16; --format fp16 does without it"},
                {1e6f, "element 255 is 1e+06, which becomes inf in FP16"},
                {NAN, "element 255 is nan"}};
    char bloom[64], folder[64];
    struct remembered r;
    (void)state;
    make_test_folder(bloom);
    make_tiny(bloom, "bloom",
              "{\"model_type\": \"bloom\", \"vocab_size\": 288, \"hidden_size\": 64, \"n_layer\": 1, \"n_head\": 4, "
              "\"layer_norm_epsilon\": 1e-5}");
    for (int i = 0; i < 4 * EXPORT_WIDTH; i++) divisor[i] = 0.5f + (float)i / 300;
    change_block = with_divisor;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        divisor[4 * EXPORT_WIDTH - 1] = rows[i].last;
        make_test_folder(folder);
        enum ptq_status status = export_into(&r, bloom, "rtn:w4,g32", "awq", folder, &err);
        forget(&r);
        if (rows[i].words) assert_refused(rows[i].words, status, &err, rows[i].words);
        if (!rows[i].words && status) fail_msg("%g: %s", (double)rows[i].last, err.text);
        if (!rows[i].words) check_divisor(folder);
        remove_test_folder(folder);
    }
    change_block = NULL;
    remove_test_folder(bloom);
}

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny};
    return end_exports(folder, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(divisors_without_a_place), cmocka_unit_test(divisors_as_fp16)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
