/* Steps of an export that fail, one at a time: what stopped it is what it says, and everything that it took is given
 * back (the sanitized build sees what is not). The steps are functions of other files, which the linker lets fail
 * (--wrap, see CMakeLists.txt): a disk that is full stops only some of them, and a damaged tensor only others. */
#include "export_fixture.h"
#include "gguf_write.h"
#include "model.h"
#include "tokenizer_export.h"

#define FAULT "the fault of the test"

/* name, parameters, words; CMakeLists.txt has the same names. */
#define STEPS(X)                                                                                                       \
    X(ptq_tensor_write, (struct ptq_tensor_writer * a, const char *b, const void *c, size_t d, struct ptq_error *err), \
      (a, b, c, d, err))                                                                                               \
    X(ptq_tensor_write_f16,                                                                                            \
      (struct ptq_tensor_writer * a, const char *b, const float *c, int64_t d, struct ptq_error *err),                 \
      (a, b, c, d, err))                                                                                               \
    X(ptq_tensor_writer_finish, (struct ptq_tensor_writer * a, struct ptq_error * err), (a, err))                      \
    X(ptq_safetensors_open, (struct ptq_tensor_writer * a, const char *b, uint64_t c, struct ptq_error *err),          \
      (a, b, c, err))                                                                                                  \
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
    X(ptq_write_file, (const char *a, const void *b, size_t c, struct ptq_error *err), (a, b, c, err))                 \
    X(ptq_map_member,                                                                                                  \
      (struct ptq_arena * a, const char *b, const char *c, struct ptq_mapped *d, struct ptq_error *err),               \
      (a, b, c, d, err))                                                                                               \
    X(ptq_json_load, (const char *a, size_t b, json_t **c, struct ptq_error *err), (a, b, c, err))                     \
    X(ptq_model_rows, (const struct ptq_tensor *a, int64_t b, int64_t c, float *d, struct ptq_error *err),             \
      (a, b, c, d, err))                                                                                               \
    X(ptq_export_check_codes,                                                                                          \
      (const struct ptq_export *a, const char *b, const struct ptq_qmat *c, int d, struct ptq_error *err),             \
      (a, b, c, d, err))

enum step {
#define X(name, ...) STEP_##name,
    STEPS(X) N_STEPS
#undef X
};
static const char *const step_name[] = {
#define X(name, ...) #name,
    STEPS(X)
#undef X
};

static int64_t fail_at[N_STEPS], seen[N_STEPS]; /* the call that fails, from 1; 0: none */

static int fails(enum step step)
{
    return ++seen[step] == fail_at[step];
}

#define X(name, parameters, words)                                                                                     \
    enum ptq_status __real_##name parameters;                                                                          \
    enum ptq_status __wrap_##name parameters;                                                                          \
    enum ptq_status __wrap_##name parameters                                                                           \
    {                                                                                                                  \
        return fails(STEP_##name) ? ptq_fail(err, PTQ_EIO, FAULT) : __real_##name words;                               \
    }
STEPS(X)
#undef X

static int tried;
static char cache[64], tiny[64], biased[64], gguf[64], gguf_path[96];

static enum ptq_status export_once(const char *model, const char *spec, const char *format, struct ptq_error *err)
{
    char folder[64];
    struct remembered r;
    make_test_folder(folder);
    memset(seen, 0, sizeof seen);
    enum ptq_status status = export_into(&r, model, spec, format, folder, err);
    forget(&r);
    remove_test_folder(folder);
    return status;
}

/* Every step fails at its first calls, at some of the following, and at its last; the steps that were made. */
static unsigned each_step_fails(const char *model, const char *spec, const char *format)
{
    int64_t calls[N_STEPS];
    unsigned made = 0;
    struct ptq_error err;
    for (int run = 0; run < 2; run++) EXPORT_OK(&err, export_once(model, spec, format, &err)); /* with its cache full */
    memcpy(calls, seen, sizeof calls);
    for (int step = 0; step < N_STEPS; step++) {
        made |= (calls[step] > 0) << step;
        int64_t stride = calls[step] / 12 + 1;
        for (int64_t n = 1; n <= calls[step]; n += n < 16 || n == calls[step] ? 1 : stride) {
            if (n + stride > calls[step] && n >= 16) n = calls[step];
            fail_at[step] = n;
            tried++;
            enum ptq_status status = export_once(model, spec, format, &err);
            fail_at[step] = 0;
            if (status != PTQ_EIO || !strstr(err.text, FAULT))
                fail_msg("%s as %s, call %lld of %s: status %d: %s", spec, format, (long long)n, step_name[step],
                         (int)status, status ? err.text : "its failure was not noticed");
        }
    }
    return made;
}

static void every_step_of_every_format(void **state)
{
    (void)state;
    unsigned made = 0;
    made |= each_step_fails(tiny, "rtn:w4,g32", "fp16");
    made |= each_step_fails(biased, "rtn:w4,g32", "awq");
    made |= each_step_fails(biased, "rtn:w4,g32", "gptq_v2");
    made |= each_step_fails(tiny, "rtn:w4,g32,sym=1", "gguf");
    made |= each_step_fails(gguf_path, "rtn:w4,g32", "awq");
    print_message("%d steps that fail\n", tried);
    assert_int_equal(made, (1u << N_STEPS) - 1);
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

/* What AWQ divides behind an activation has no place in a checkpoint: the weights that are written undo it. */
static void scales_behind_activations_are_undone(void **state)
{
    (void)state;
    const char *spec = "awq:w4,g32,loss=gram";
    char folder[64];
    struct remembered r;
    struct ptq_error err;
    make_test_folder(folder);
    EXPORT_OK(&err, export_into(&r, MODELS "bloom", spec, "fp16", folder, &err));
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
    double got = ppl_of(folder);
    if (!(fabs(got - cell.ppl) <= 2e-3 * cell.ppl)) fail_msg("%.9g as written, %.9g as quantised", got, cell.ppl);
    forget(&r);
    remove_test_folder(folder);
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
    make_tiny_llama(source, "llama3",
                    "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                    "\"original_max_position_embeddings\": 32}");
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
    struct remembered r;
    struct ptq_error err;
    (void)state;
    begin_exports(cache, tiny);
    make_test_folder(biased);
    make_test_folder(gguf);
    make_tiny(biased, "llama",
              "{\"model_type\": \"qwen2\", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
              " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 64,"
              " \"rms_norm_eps\": 1e-5, \"vocab_size\": 287, \"hidden_act\": \"silu\", \"rope_theta\": 10000.0,"
              " \"dtype\": \"float16\", \"bos_token_id\": 1, \"eos_token_id\": 2, \"tie_word_embeddings\": true}");
    EXPORT_OK(&err, export_into(&r, tiny, "rtn:w4,g32,sym=1", "gguf", gguf, &err));
    forget(&r);
    snprintf(gguf_path, sizeof gguf_path, "%s/model.gguf", gguf);
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
        cmocka_unit_test(scales_behind_activations_are_undone), cmocka_unit_test(frequencies_of_a_gguf_are_no_folders)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
