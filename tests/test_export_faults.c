/* Steps of an export that fail (steps.h): a disk that is full stops only some of them, and a damaged tensor only
 * others. */
#include "export_fixture.h"
#include "gguf_write.h"
#include "model.h"
#include "tokenizer_export.h"

#define LLAMA3_ROPE                                                                                                    \
    "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "               \
    "\"original_max_position_embeddings\": 32}"

/* Of steps.h. */
#define STEPS(X)                                                                                                       \
    X(ptq_tensor_write, (struct ptq_tensor_writer * a, const char *b, const void *c, size_t d, struct ptq_error *err), \
      (a, b, c, d, err))                                                                                               \
    X(ptq_tensor_write_f16,                                                                                            \
      (struct ptq_tensor_writer * a, const char *b, const float *c, int64_t d, struct ptq_error *err),                 \
      (a, b, c, d, err))                                                                                               \
    X(ptq_tensor_writer_finish, (struct ptq_tensor_writer * a, struct ptq_error * err), (a, err))                      \
    X(ptq_safetensors_open, (struct ptq_tensor_writer * a, const char *b, uint64_t c, struct ptq_error *err),          \
      (a, b, c, err))                                                                                                  \
    X(ptq_tensor_write_exact,                                                                                          \
      (struct ptq_tensor_writer * a, const char *b, const float *c, int64_t d, struct ptq_error *err),                 \
      (a, b, c, d, err))                                                                                               \
    X(ptq_safetensors_next, (struct ptq_tensor_writer * a, const char *b, struct ptq_error *err), (a, b, err))         \
    X(ptq_safetensors_index, (const struct ptq_tensor_writer *a, const char *b, struct ptq_error *err), (a, b, err))   \
    X(ptq_gguf_open,                                                                                                   \
      (struct ptq_tensor_writer * a, const char *b, const struct ptq_gguf_keys *c, struct ptq_error *err),             \
      (a, b, c, err))                                                                                                  \
    X(ptq_gguf_put_tokenizer,                                                                                          \
      (struct ptq_gguf_keys * a, struct ptq_arena * b, const char *c, int64_t d, struct ptq_error *err),               \
      (a, b, c, d, err))                                                                                               \
    X(ptq_tokenizer_json_from_gguf,                                                                                    \
      (struct ptq_arena * a, const struct ptq_gguf *b, const char *c, json_t **d, json_t **e, struct ptq_error *err),  \
      (a, b, c, d, e, err))                                                                                            \
    X(ptq_write_pieces, (const char *a, const struct ptq_piece *b, int c, struct ptq_error *err), (a, b, c, err))      \
    X(ptq_write_mapped, (const char *a, const struct ptq_mapped *b, struct ptq_error *err), (a, b, err))               \
    X(ptq_map_member,                                                                                                  \
      (struct ptq_arena * a, const char *b, const char *c, struct ptq_mapped *d, struct ptq_error *err),               \
      (a, b, c, d, err))                                                                                               \
    X(ptq_json_load, (const char *a, size_t b, json_t **c, struct ptq_error *err), (a, b, c, err))                     \
    X(ptq_model_rows, (const struct ptq_tensor *a, int64_t b, int64_t c, float *d, struct ptq_error *err),             \
      (a, b, c, d, err))                                                                                               \
    X(ptq_model_find_bias,                                                                                             \
      (const struct ptq_model *a, int64_t b, enum ptq_role c, struct ptq_arena *d, const struct ptq_tensor **e,        \
       struct ptq_error *err),                                                                                         \
      (a, b, c, d, e, err))                                                                                            \
    X(ptq_export_check_codes,                                                                                          \
      (const struct ptq_export *a, const char *b, const struct ptq_qmat *c, int d, struct ptq_error *err),             \
      (a, b, c, d, err))

#include "steps.h"

static char cache[64], tiny[64], biased[64], gguf[64], gguf_path[96];

struct wanted {
    const char *model, *spec, *format;
};

static enum ptq_status export_once(void *context, struct ptq_error *err)
{
    const struct wanted *w = context;
    char folder[64];
    struct remembered r;
    make_test_folder(folder);
    enum ptq_status status = export_into(&r, w->model, w->spec, w->format, folder, err);
    forget(&r);
    remove_test_folder(folder);
    return status;
}

static unsigned each_fails(const char *model, const char *spec, const char *format)
{
    char what[300];
    snprintf(what, sizeof what, "%s of %s as %s", spec, model, format);
    return each_step_fails(what, export_once, &(struct wanted){model, spec, format});
}

static void every_step_of_every_format(void **state)
{
    (void)state;
    unsigned made = 0;
    made |= each_fails(tiny, "rtn:w4,g32", "fp16");
    made |= each_fails(biased, "rtn:w4,g32", "awq");
    made |= each_fails(biased, "rtn:w4,g32", "gptq_v2");
    made |= each_fails(tiny, "rtn:w4,g32,sym=1", "gguf");
    made |= each_fails(gguf_path, "rtn:w4,g32", "awq");
    made |= each_fails(biased, "rtn:w4,g32", "packed");
    char llama3[64];
    make_test_folder(llama3);
    make_tiny_llama(llama3, "llama3", LLAMA3_ROPE);
    made |= each_fails(llama3, "rtn:w8,g32,sym=1", "gguf");
    remove_test_folder(llama3);
    print_message("%d steps that fail\n", tried);
    assert_int_equal(made, ALL_STEPS);
}

/* A GGUF's biases, Q4_1, and linear rotary scaling both ways: the same numbers as the codes' own. */
static void ggufs_mean_what_was_exported(void **state)
{
    (void)state;
    static const char *const spec[] = {"rtn:w4,g32,sym=1,scale_dtype=fp16", "rtn:w8,g32,sym=1,scale_dtype=fp16"};
    char scaled[64];
    make_test_folder(scaled);
    make_tiny_llama(scaled, "llama", "{\"rope_type\": \"linear\", \"factor\": 4.0}");
    const char *const model[] = {biased, scaled};
    for (int i = 0; i < 2; i++) {
        char folder[64], path[96], back[64];
        struct remembered r;
        struct ptq_error err;
        make_test_folder(folder);
        make_test_folder(back);
        EXPORT_OK(&err, export_into(&r, model[i], spec[i], "gguf", folder, &err));
        forget(&r);
        snprintf(path, sizeof path, "%s/model.gguf", folder);
        EXPORT_OK(&err, export_into(&r, path, "fp16", "fp16", back, &err));
        forget(&r);
        double want = ppl_by(model[i], spec[i]), got = ppl_by(path, "exact"), again = ppl_of(back);
        if (!(fabs(got - want) <= 1e-6 * want)) fail_msg("model %d: %.9g from the GGUF, expected %.9g", i, got, want);
        if (!(fabs(again - want) <= 1e-3 * want)) fail_msg("model %d: %.9g from its folder", i, again);
        remove_test_folder(folder);
        remove_test_folder(back);
    }
    remove_test_folder(scaled);
}

static double ppl_as(const char *spec, const char *format, const char *path, const char *back, double *made)
{
    char folder[64];
    struct remembered r;
    struct ptq_error err;
    make_test_folder(folder);
    EXPORT_OK(&err, export_into(&r, MODELS "bloom", spec, format, folder, &err));
    struct ptq_job job = {.model = MODELS "bloom",
                          .spec = spec,
                          .text = MODELS "text.txt",
                          .window = 32,
                          .calib = MODELS "calib.txt",
                          .calib_window = 32,
                          .calib_windows = 4};
    struct ptq_cell cell;
    EXPORT_OK(&err, ptq_cell_plan(r.session, &job, r.arena, &cell, &err));
    EXPORT_OK(&err, ptq_cell_run(r.session, &job, r.arena, &cell, &err));
    double ppl = ppl_on(path, folder, back);
    *made = cell.ppl;
    forget(&r);
    remove_test_folder(folder);
    return ppl;
}

/* What AWQ divides behind an activation has a place in AWQ's own container; elsewhere the weights that are written undo
 * it. */
static void scales_behind_activations(void **state)
{
    static const struct {
        const char *format, *path, *back;
    } row[] = {{"fp16", "fp32", "fp16"}, {"awq", "fp32", "exact"}, {"awq", "packed", "exact"}};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        double made, got = ppl_as("awq:w4,g-1,loss=gram", row[i].format, row[i].path, row[i].back, &made);
        if (!(fabs(got - made) <= 2e-3 * made))
            fail_msg("%s, %s: %.9g as written, %.9g as quantised", row[i].format, row[i].path, got, made);
    }
}

/* A factor for each rotary frequency, which Llama 3.1's GGUFs have, cannot be said in config.json. */
static void frequencies_of_a_gguf_are_no_folders(void **state)
{
    (void)state;
    char source[64], made[64], path[96], folder[64];
    struct remembered r;
    struct ptq_error err;
    make_test_folder(source);
    make_test_folder(made);
    make_test_folder(folder);
    make_tiny_llama(source, "llama3", LLAMA3_ROPE);
    EXPORT_OK(&err, export_into(&r, source, "rtn:w4,g32,sym=1", "gguf", made, &err));
    forget(&r);
    snprintf(path, sizeof path, "%s/model.gguf", made);
    assert_refused("to a folder", export_into(&r, path, "rtn:w4,g32", "awq", folder, &err), &err,
                   "rope_freqs.weight has a factor for each rotary frequency;Hugging Face folder");
    forget(&r);
    remove_test_folder(folder);
    make_test_folder(folder);
    EXPORT_OK(&err, export_into(&r, path, "rtn:w4,g32,sym=1", "gguf", folder, &err)); /* but a GGUF's again */
    forget(&r);
    remove_test_folder(source);
    remove_test_folder(made);
    remove_test_folder(folder);
}

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_test_folder(biased);
    make_tiny(biased, "llama",
              "{\"model_type\": \"qwen2\", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
              " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 64,"
              " \"rms_norm_eps\": 1e-5, \"vocab_size\": 287, \"hidden_act\": \"silu\", \"rope_theta\": 10000.0,"
              " \"dtype\": \"float16\", \"bos_token_id\": 1, \"eos_token_id\": 2, \"tie_word_embeddings\": true}");
    make_gguf(gguf, gguf_path, sizeof gguf_path, tiny);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny, biased, gguf};
    return end_exports(folder, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_of_every_format), cmocka_unit_test(ggufs_mean_what_was_exported),
        cmocka_unit_test(scales_behind_activations), cmocka_unit_test(frequencies_of_a_gguf_are_no_folders)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
