/* What is exported comes back: the same codes and zeros, the scales as FP16, the groups of every column (every family,
 * width, group size and order: tests/test_export_families.c), the same numbers from every container. And what a
 * container cannot hold is refused by name. */
#include "export_fixture.h"

static char tiny[64]; /* the folder of the tiny llama */
static char cache[64];

/* ---- there and back: tests/test_export_families.c has every family ---- */

/* What other methods than plain GPTQ make. */
static void test_gptq_v2(void **state)
{
    (void)state;
    there_and_back(tiny, "gptq:w4,g32,act_order=1,static_groups=1", "gptq_v2");
    there_and_back(tiny, "awq:w3,g32,loss=gram", "gptq_v2");
    there_and_back(MODELS "opt", "awq+gptq:w2,g32", "gptq_v2");
}

static void test_awq(void **state)
{
    (void)state;
    there_and_back(tiny, "awq:w4,g32,loss=gram", "awq");
    there_and_back(tiny, "awq:w4,g-1,loss=module", "awq");
    there_and_back(MODELS "opt", "awq:w4,g64,loss=gram", "awq");
    there_and_back(tiny, "rtn:w4,g16,sym=1", "awq");
    there_and_back(tiny, "gptq:w4,g32,act_order=1,static_groups=1", "awq");
}

/* ---- one meaning in every container ---- */

/* The same codes with scales that FP16 holds: whichever container, the same numbers to the last bit, and so in the
 * plain checkpoint that they stand for. Without the rounding to FP16 (exact) they are what the method itself gave. */
static void test_formats_agree(void **state)
{
    static const char *const format[] = {"fp16", "awq", "gptq", "gptq_v2", "gguf"},
                             *spec = "rtn:w4,g32,sym=1,scale_dtype=fp16";
    double ppl[5], made = ppl_by(tiny, spec);
    (void)state;
    for (int i = 0; i < 5; i++) {
        char folder[64], path[96];
        struct remembered r;
        struct ptq_error err;
        make_test_folder(folder);
        EXPORT_OK(&err, export_into(&r, tiny, spec, format[i], folder, &err));
        snprintf(path, sizeof path, "%s%s", folder, i == 4 ? "/model.gguf" : "");
        ppl[i] = ppl_of(path);
        double exact = ppl_by(path, "exact"), want = i ? made : ppl[0];
        forget(&r);
        remove_test_folder(folder);
        if (exact != want) fail_msg("%s read exactly gives %.9g; it must be %.9g", format[i], exact, want);
        if (i && exact == ppl[i]) fail_msg("%s: rounding to FP16 changed nothing", format[i]);
        if (ppl[i] != ppl[0]) fail_msg("%s gives %.9g, fp16 %.9g", format[i], ppl[i], ppl[0]);
    }
}

/* Codes in a GGUF: Q8_0 as it is, Q4_1 with its minimum rounded to FP16. */
static void test_gguf_kinds(void **state)
{
    static const struct {
        const char *spec;
        enum ptq_dtype dtype;
        double bound;
    } row[] = {{"rtn:w8,g32,sym=1,scale_dtype=fp16", PTQ_Q8_0, 0}, {"rtn:w4,g32,range=gptq", PTQ_Q4_1, 2e-3}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char folder[64], path[96], plain[64];
        struct remembered r;
        struct ptq_model model;
        struct ptq_error err;
        struct ptq_arena *arena = ptq_arena_make("gguf");
        make_test_folder(folder);
        make_test_folder(plain);
        EXPORT_OK(&err, export_into(&r, tiny, row[i].spec, "gguf", folder, &err));
        forget(&r);
        EXPORT_OK(&err, export_into(&r, tiny, row[i].spec, "fp16", plain, &err));
        forget(&r);
        snprintf(path, sizeof path, "%s/model.gguf", folder);
        EXPORT_OK(&err, ptq_model_open(arena, path, "gguf", &model, &err));
        assert_string_equal(model.source_dtype, ptq_dtypes[row[i].dtype].name);
        ptq_model_close(&model);
        double gguf = ppl_of(path), fp16 = ppl_of(plain);
        if (!(fabs(gguf - fp16) <= row[i].bound * fp16)) fail_msg("%s: %.9g, fp16 %.9g", row[i].spec, gguf, fp16);
        ptq_arena_free(arena);
        remove_test_folder(folder);
        remove_test_folder(plain);
    }
}

/* Llama 3.1's rotary scaling is a tensor in a GGUF, and a text is the same ids there. */
static void test_gguf_carries_the_model(void **state)
{
    char source[64], folder[64], path[96], again[64];
    struct remembered r;
    struct ptq_error err;
    (void)state;
    make_test_folder(source);
    make_test_folder(folder);
    make_test_folder(again);
    make_tiny_llama(source, "llama3",
                    "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                    "\"original_max_position_embeddings\": 32}");
    const char *spec = "rtn:w8,g32,sym=1,scale_dtype=fp16";
    EXPORT_OK(&err, export_into(&r, source, spec, "gguf", folder, &err));
    forget(&r);
    EXPORT_OK(&err, export_into(&r, source, spec, "fp16", again, &err));
    forget(&r);
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    double gguf = ppl_of(path), fp16 = ppl_of(again);
    if (!(fabs(gguf - fp16) <= 1e-5 * fp16)) fail_msg("llama3: %.9g, fp16 %.9g", gguf, fp16);
    remove_test_folder(source);
    remove_test_folder(folder);
    remove_test_folder(again);
}

/* From a GGUF alone: config.json and tokenizer.json are made, and a text has the same ids and numbers. */
static void test_folder_from_gguf(void **state)
{
    char folder[64], again[64];
    struct remembered r;
    struct ptq_error err;
    (void)state;
    make_test_folder(folder);
    make_test_folder(again);
    EXPORT_OK(&err, export_into(&r, tiny, "rtn:w8,g32,sym=1,scale_dtype=fp16", "gguf", folder, &err));
    forget(&r);
    char path[96];
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    EXPORT_OK(&err, export_into(&r, path, "fp16", "fp16", again, &err));
    forget(&r);
    if (ppl_of(path) != ppl_of(again)) fail_msg("the folder made of a GGUF gives another perplexity");
    remove_test_folder(folder);
    remove_test_folder(again);
}

/* ---- what cannot be held ---- */

static void test_refused(void **state)
{
    static const struct {
        const char *model, *spec, *format, *words;
    } row[] = {
        {NULL, "rtn:w4,g32", "nonsense", "nonsense;known: fp16, awq, gptq, gptq_v2, gguf, packed"},
        {NULL, "awq:w3,g32,loss=gram", "awq", "no AWQ container holds 3 bits;gptq_v2"},
        {NULL, "gptq:w4,g32,act_order=1", "awq", "act_order;gptq_v2;static_groups"},
        {NULL, "rtn:w4,g40", "awq", "is [64, 64];inputs in multiples of 40;group size that divides"},
        {NULL, "rtn:w5,g32", "gptq_v2", "2, 3, 4 or 8 bits, not 5"},
        {NULL, "salient:w4,g32", "awq", "salient has columns;--format fp16"},
        {NULL, "scale:w4,g32,s=2", "gptq_v2", "scale has columns;--format fp16"},
        {NULL, "fp16", "gptq", "fp16 quantises nothing;--format fp16"},
        {MODELS "llama", "rtn:w4,g32", "gptq",
         "mlp.gate_proj is [72, 64];outputs in multiples of 32;fp16 takes any number"},
        {NULL, "fp16", "gguf", "fp16 quantises nothing;--format fp16"},
        {NULL, "rtn:w4,g64", "gguf", "Q4_0;Q4_1;Q8_0;w4,g64,sym=0"},
        {NULL, "rtn:w3,g32", "gguf", "not w3,g32"},
        {NULL, "gptq:w4,g32,sym=1,act_order=1", "gguf", "act_order"},
        {MODELS "opt", "rtn:w4,g32", "gguf", "opt;take another format"},
        {MODELS "gpt2", "rtn:w4,g32", "gguf", "mistral and qwen2 alone;none of the gpt2 family"},
        {MODELS "bloom", "rtn:w4,g32", "gguf", "mistral and qwen2 alone;none of the bloom family"},
        {MODELS "mistral", "rtn:w4,g32,sym=1", "gguf", "llama has no sliding window"},
        {MODELS "bloom.gguf", "rtn:w4,g32", "fp16", "config.json of the bloom family is not made from a GGUF"},
        {MODELS "llama", "rtn:w4,g32,sym=1", "gguf", "down_proj is [64, 72];inputs in multiples of 32"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char folder[64];
        struct remembered r;
        struct ptq_error err;
        make_test_folder(folder);
        enum ptq_status status =
            export_into(&r, row[i].model ? row[i].model : tiny, row[i].spec, row[i].format, folder, &err);
        assert_refused(row[i].spec, status, &err, row[i].words);
        forget(&r);
        remove_test_folder(folder);
    }
}

/* One linear of one group, straight to what a container is asked. */
static enum ptq_status check_one(float scale, float zero, uint8_t top, int least, struct ptq_error *err)
{
    uint8_t code[32] = {0};
    struct ptq_spec spec;
    struct ptq_qmat q = {.n = 1, .k = 32, .n_groups = 1, .code = code, .scale = &scale, .zero = &zero};
    struct ptq_export x = {.spec = &spec};
    q.grid = (struct ptq_grid){.w_bit = 4, .group_size = 32};
    memset(code, (int)zero, sizeof code);
    code[7] = top;
    return ptq_export_check_codes(&x, "layers.3.up_proj", &q, least, err);
}

static void test_scales_and_zeros(void **state)
{
    struct ptq_error err;
    (void)state;
    assert_int_equal(check_one(0.01f, 8, 15, 0, &err), PTQ_OK);
    assert_int_equal(check_one(0.01f, 0, 15, 0, &err), PTQ_OK);
    assert_int_equal(check_one(4e-5f, 8, 15, 0, &err), PTQ_OK); /* below FP16's normal numbers, and near enough */
    assert_int_equal(check_one(1e-9f, 8, 8, 0, &err), PTQ_OK);  /* no code differs from the zero: no scale matters */
    assert_refused("0 in v1", check_one(0.01f, 0, 15, 1, &err), &err, "layers.3.up_proj;group 0;zero of 0;gptq_v2");
    assert_refused("overflow", check_one(1e6f, 8, 15, 0, &err), &err, "layers.3.up_proj;1e+06;inf;half a step");
    assert_refused("underflow", check_one(1e-9f, 8, 15, 0, &err), &err, "layers.3.up_proj;1e-09;half a step");
    assert_refused("denormal", check_one(7e-8f, 8, 15, 0, &err), &err, "layers.3.up_proj;half a step");
    assert_refused("zero off the grid", check_one(0.01f, -3, 0, 0, &err), &err, "zero of -3");
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
    const char *const folder[] = {tiny, cache};
    return end_exports(folder, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gptq_v2),
        cmocka_unit_test(test_awq),
        cmocka_unit_test(test_formats_agree),
        cmocka_unit_test(test_gguf_kinds),
        cmocka_unit_test(test_gguf_carries_the_model),
        cmocka_unit_test(test_folder_from_gguf),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_scales_and_zeros),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
