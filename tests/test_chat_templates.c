/* The template for chats of a folder, among the keys of its GGUF. */
#include "export_fixture.h"
#include "mapped.h"
#include "tokenizer_export.h"

/* A text among the keys of a GGUF, "" where it is not there. */
static const char *text_at(struct ptq_arena *arena, const struct ptq_gguf_keys *keys, const char *key)
{
    const char *at = memmem(keys->bytes.data, keys->bytes.size, key, strlen(key));
    uint64_t size;
    if (!at) return "";
    at += strlen(key) + 4; /* the type */
    memcpy(&size, at, 8);
    return ptq_strndup(arena, at + 8, size);
}

/* transformers 5 writes chat_template.jinja, others a key of
 * tokenizer_config.json. */
static void chat_templates_go_along(void **state)
{
    (void)state;
    static const struct {
        const char *jinja, *config, *wanted;
    } rows[] = {{NULL, NULL, ""},
                {NULL, "{}", ""},
                {NULL, "{\"chat_template\": \"of the key\"}", "of the key"},
                {"{{ of the file }}\n", NULL, "{{ of the file }}\n"},
                {"{{ of the file }}\n", "{\"chat_template\": \"of the key\"}", "{{ of the file }}\n"}};
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_gguf_keys keys = {0};
        char folder[64];
        make_test_folder(folder);
        copy_file(MODELS "llama/tokenizer.json", folder, "tokenizer.json");
        write_test_text(folder, "config.json", "{}");
        if (rows[i].jinja) write_test_text(folder, "chat_template.jinja", rows[i].jinja);
        if (rows[i].config) write_test_text(folder, "tokenizer_config.json", rows[i].config);
        EXPORT_OK(&err, ptq_gguf_put_tokenizer(&keys, arena, folder, 288, &err));
        assert_string_equal(text_at(arena, &keys, "tokenizer.chat_template"), rows[i].wanted);
        free(keys.bytes.data);
        remove_test_folder(folder);
    }
    ptq_arena_free(arena);
}

static void chat_templates_that_cannot_be_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words;
    } rows[] = {{"chat_template.jinja", "chat_template.jinja: cannot be looked for: Too "
                                        "many levels of symbolic links"},
                {"tokenizer_config.json", "tokenizer_config.json: cannot be looked for"}};
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_gguf_keys keys = {0};
    struct ptq_error err;
    char folder[64];
    make_test_folder(folder);
    copy_file(MODELS "llama/tokenizer.json", folder, "tokenizer.json");
    write_test_text(folder, "config.json", "{}");
    for (int i = 0; i < 2; i++) {
        const char *path = ptq_join(arena, folder, rows[i].name);
        assert_int_equal(symlink(rows[i].name, path), 0);
        assert_refused(rows[i].name, ptq_gguf_put_tokenizer(&keys, arena, folder, 288, &err), &err, rows[i].words);
        unlink(path);
    }
    write_test_text(folder, "chat_template.jinja", "");
    assert_int_equal(truncate(ptq_join(arena, folder, "chat_template.jinja"), (1 << 24) + 1), 0);
    assert_refused("large", ptq_gguf_put_tokenizer(&keys, arena, folder, 288, &err), &err,
                   "chat_template.jinja;16777216");
    write_test_text(folder, "tokenizer_config.json", "{");
    unlink(ptq_join(arena, folder, "chat_template.jinja"));
    assert_refused("no JSON", ptq_gguf_put_tokenizer(&keys, arena, folder, 288, &err), &err, "tokenizer_config.json");
    free(keys.bytes.data);
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(chat_templates_go_along),
                                       cmocka_unit_test(chat_templates_that_cannot_be_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
