/* GGUFs whose blocks see a window of keys, as folders: config.json says the window, or it is refused. */
#include "export_fixture.h"

enum { WINDOW = 9 };

static char cache[64], tiny[64], qwen2[64];

/* The GGUF with one key more, and another that fills up, so that the tensors stay aligned. */
static void add_window(struct ptq_arena *arena, const char *folder, const char *key, uint32_t window)
{
    enum { HEADER = 24, N_KEYS_AT = 16, UINT32 = 4, STRING = 8, ALIGNMENT = 32 };
    struct ptq_error err;
    char *text;
    size_t size;
    uint64_t n_keys;
    EXPORT_OK(&err, ptq_read_file(arena, ptq_join(arena, folder, "model.gguf"), 1 << 26, &text, &size, &err));
    memcpy(&n_keys, text + N_KEYS_AT, 8);
    struct bytes keys = assemble(ptq_format(arena, "\"%s\" %d:4 %u:4 \"filler\" %d:4", key, UINT32, window, STRING));
    uint64_t filled = ALIGNMENT - (keys.size + 8) % ALIGNMENT;
    put_number(&keys, filled, 8);
    put_zeros(&keys, filled);
    struct bytes all = {0};
    put(&all, text, N_KEYS_AT);
    put_number(&all, n_keys + 2, 8);
    put(&all, keys.data, keys.size);
    put(&all, text + HEADER, size - HEADER);
    write_test_file(folder, "model.gguf", all.data, all.size);
    free(keys.data);
    free(all.data);
}

/* What config.json says of a key, -1: nothing. */
static int64_t said(const char *folder, const char *key)
{
    struct ptq_arena *arena = ptq_arena_make("config");
    struct ptq_error err;
    json_t *json;
    EXPORT_OK(&err, ptq_json_load(ptq_join(arena, folder, "config.json"), 1 << 20, &json, &err));
    const json_t *value = json_object_get(json, key);
    int64_t is = !value ? -1 : json_is_integer(value) ? json_integer_value(value) : json_is_true(value);
    json_decref(json);
    ptq_arena_free(arena);
    return is;
}

static const struct {
    const char *source, *key;
    uint32_t window;
    const char *words; /* NULL: it is written */
} rows[] = {
    {qwen2, "qwen2.attention.sliding_window", WINDOW, NULL},
    {qwen2, "qwen2.attention.sliding_window", 64, NULL}, /* as long as the positions */
    {tiny, "llama.attention.sliding_window", 64, NULL},
    {tiny, "llama.attention.sliding_window", 0, NULL},
    {tiny, "llama.attention.sliding_window", WINDOW,
     "llama.attention.sliding_window is 9, which config.json of the llama family cannot say; take the Hugging Face"},
};

static void check(size_t row, const char *path, const char *format)
{
    char folder[64];
    struct remembered r;
    struct ptq_error err;
    int slides = rows[row].window == WINDOW;
    make_test_folder(folder);
    enum ptq_status status =
        export_into(&r, path, strcmp(format, "fp16") ? "rtn:w4,g32,scale_dtype=fp16" : "fp16", format, folder, &err);
    forget(&r);
    if (rows[row].words) {
        assert_refused(format, status, &err, rows[row].words);
    } else {
        EXPORT_OK(&err, status);
        assert_int_equal(said(folder, "use_sliding_window"), slides ? 1 : -1);
        assert_int_equal(said(folder, "sliding_window"), slides ? WINDOW : -1);
        assert_int_equal(said(folder, "max_window_layers"), slides ? 0 : -1);
    }
    if (!rows[row].words && strcmp(format, "fp16") == 0) {
        double want = ppl_of(path), got = ppl_of(folder);
        if (got != want) fail_msg("row %zu: %.9g, as a GGUF %.9g", row, got, want);
    }
    remove_test_folder(folder);
}

static void windows_go_along_or_are_refused(void **state)
{
    static const char *const format[] = {"fp16", "gptq_v2", "awq", "packed"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_arena *arena = ptq_arena_make("window");
        char folder[64], path[96];
        make_gguf(folder, path, sizeof path, rows[i].source);
        double before = ppl_of(path);
        add_window(arena, folder, rows[i].key, rows[i].window);
        assert_true((ppl_of(path) != before) == (rows[i].window == WINDOW));
        for (int f = 0; f < 4; f++) check(i, path, format[f]);
        remove_test_folder(folder);
        ptq_arena_free(arena);
    }
}

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_test_folder(qwen2);
    make_tiny(qwen2, "qwen2",
              "{\"model_type\": \"qwen2\", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
              " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 64,"
              " \"rms_norm_eps\": 1e-5, \"vocab_size\": 288, \"hidden_act\": \"silu\", \"rope_theta\": 10000.0,"
              " \"dtype\": \"float16\", \"bos_token_id\": 1, \"eos_token_id\": 2, \"tie_word_embeddings\": true}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny, qwen2};
    return end_exports(folder, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows_go_along_or_are_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
