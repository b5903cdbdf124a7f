/* A name that the system cannot say anything of is not taken for one that is not there: a model would be read as
 * another, and written with less. A link to itself is such a name to everybody, root too. */
#include "checkpoint.h"
#include "decode.h"
#include "export_folder.h"
#include "folder_test.h"
#include "mapped.h"
#include "new_folder.h"
#include "quantized.h"
#include "tokenizer.h"
#include "tokenizer_export.h"

static enum ptq_status open_one(const char *path, struct ptq_error *err)
{
    struct ptq_checkpoint checkpoint;
    return ptq_checkpoint_open(arena, path, &checkpoint, err);
}

static enum ptq_status open_model(struct ptq_error *err)
{
    return open_one(ptq_join(arena, folder, "model.gguf"), err);
}

static enum ptq_status open_folder(struct ptq_error *err)
{
    return open_one(folder, err);
}

/* Which of two files is the model's quantize_config.json may say. */
static enum ptq_status open_one_of_two(struct ptq_error *err)
{
    write_test_text(folder, "a.safetensors", "");
    write_test_text(folder, "b.safetensors", "");
    enum ptq_status status = open_one(folder, err);
    unlink(ptq_join(arena, folder, "a.safetensors"));
    unlink(ptq_join(arena, folder, "b.safetensors"));
    return status;
}

static enum ptq_status hash_configs(struct ptq_error *err)
{
    char hex[PTQ_SHA256_HEX];
    return ptq_checkpoint_config_sha256(&(struct ptq_checkpoint){.path = folder, .folder = folder}, hex, err);
}

static enum ptq_status read_quantization(struct ptq_error *err)
{
    struct ptq_quantization *quantization;
    return ptq_quantization_read(arena, folder, &quantization, err);
}

static enum ptq_status open_tokenizer(struct ptq_error *err)
{
    struct ptq_tokenizer *tokenizer;
    return ptq_tokenizer_open(arena, folder, &tokenizer, err);
}

static enum ptq_status open_tokenizer_file(struct ptq_error *err)
{
    struct ptq_tokenizer *tokenizer;
    return ptq_tokenizer_open(arena, ptq_join(arena, folder, "other.json"), &tokenizer, err);
}

static enum ptq_status carry_files(struct ptq_error *err)
{
    struct ptq_model model = {.checkpoint = {.path = folder, .folder = folder}};
    return ptq_export_tokenizer(&(struct ptq_export){.model = &model, .scratch = arena, .folder = folder}, err);
}

static enum ptq_status put_vocabulary(struct ptq_error *err)
{
    struct ptq_gguf_keys keys = {0};
    return ptq_gguf_put_tokenizer(&keys, arena, folder, 1, err);
}

static enum ptq_status find_ends(struct ptq_error *err)
{
    int32_t *id;
    int n;
    struct ptq_model model = {.checkpoint = {.path = folder, .folder = folder}};
    return ptq_model_ends(&model, arena, &id, &n, err);
}

static const struct {
    const char *name;
    enum ptq_status (*what)(struct ptq_error *err);
} rows[] = {
    {"model.gguf", open_model},
    {"model.safetensors", open_folder},
    {"model.safetensors.index.json", open_folder},
    {"quantize_config.json", open_one_of_two},
    {"config.json", hash_configs},
    {"quantize_config.json", hash_configs},
    {"quant_config.json", hash_configs},
    {"config.json", read_quantization},
    {"quantize_config.json", read_quantization},
    {"quant_config.json", read_quantization},
    {"other.json", open_tokenizer_file},
    {"tokenizer.json", open_tokenizer},
    {"vocab.json", open_tokenizer},
    {"tokenizer_config.json", open_tokenizer},
    {"special_tokens_map.json", open_tokenizer},
    {"added_tokens.json", open_tokenizer},
    {"tokenizer.json", carry_files},
    {"chat_template.jinja", carry_files},
    {"generation_config.json", carry_files},
    {"LICENSE", carry_files},
    {"tokenizer.json", put_vocabulary},
    {"generation_config.json", find_ends},
    {"config.json", find_ends},
};

static void what_nobody_can_say_is_not_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        const char *path = ptq_join(arena, folder, rows[i].name);
        if (strcmp(rows[i].name, "vocab.json")) write_test_text(folder, "vocab.json", "{\"a\": 0}");
        assert_int_equal(symlink(rows[i].name, path), 0);
        enum ptq_status status = rows[i].what(&err);
        /* A folder's tokenizer is asked for by the links' own names, and so found. */
        const char *cannot = rows[i].what == open_tokenizer ? "opened" : "looked for";
        assert_refused(rows[i].name, status, &err,
                       ptq_format(arena, "%s: cannot be %s: Too many levels of symbolic links", path, cannot));
        assert_int_equal(status, PTQ_EIO);
        unlink(path);
        unlink(ptq_join(arena, folder, "vocab.json"));
    }
}

static enum ptq_status begin_folder(const char *path, struct ptq_error *err)
{
    struct ptq_new_folder made;
    PTQ_TRY(ptq_new_folder_begin(arena, path, &made, err));
    ptq_new_folder_discard(&made);
    return PTQ_OK;
}

/* A new folder asks for the name itself: a link is there, wherever it leads; beneath a link to itself nobody can say.
 */
static void a_new_folder_takes_a_name_that_is_free(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words; /* NULL: it is free */
        enum ptq_status status;
    } names[] = {
        {"free", NULL, PTQ_OK},
        {"loop", "loop: is there already", PTQ_EUSAGE},
        {"nowhere", "nowhere: is there already", PTQ_EUSAGE},
        {"loop/out", "loop/out: cannot be looked for: Too many levels of symbolic links", PTQ_EIO},
    };
    assert_int_equal(symlink("loop", ptq_join(arena, folder, "loop")), 0);
    assert_int_equal(symlink("no such thing", ptq_join(arena, folder, "nowhere")), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct ptq_error err;
        enum ptq_status status = begin_folder(ptq_join(arena, folder, names[i].name), &err);
        assert_int_equal(status, names[i].status);
        if (names[i].words) assert_refused(names[i].name, status, &err, names[i].words);
    }
    unlink(ptq_join(arena, folder, "loop"));
    unlink(ptq_join(arena, folder, "nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_nobody_can_say_is_not_nothing),
                                       cmocka_unit_test(a_new_folder_takes_a_name_that_is_free)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
