/* ptq inspect of checkpoints: what people see, and the JSON object. */
#include "cmd_inspect.h"

#include "files.h"

#include <jansson.h>

static const char file[] = "'GGUF' 3:4 2:8 3:8 \"general.architecture\" 8:4 \"llama\" \"a.f32\" 6:4 0x3f000000:4 "
                           "\"a.list\" 9:4 5:4 3:8 1:4 2:4 3:4 "
                           "\"w\" 2:4 32:8 2:8 8:4 0:8 \"b\" 1:4 3:8 0:4 96:8 @32 *68 @32 *12";

/* What inspect writes about folder/name, in malloc memory. */
static char *inspect(const char *folder, const char *name, int json, enum ptq_status *status, struct ptq_error *err)
{
    char path[256], *text = NULL;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    *status = ptq_inspect_checkpoint(path, json, out, err);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void a_model_is_described(void **state)
{
    static const char *const lines[] = {": GGUF, 1 file\n",
                                        "\ngeneral.architecture = llama\n",
                                        "\na.list = [3 i32s]\n",
                                        " 68  [2, 32]\n",
                                        " 12  [3]\n",
                                        "all          2 tensors             67 elements             80 bytes\n"};
    enum ptq_status status;
    struct ptq_error err;
    char *text = inspect(*state, "m.gguf", 0, &status, &err);
    assert_int_equal(status, PTQ_OK);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text, lines[i])) fail_msg("lacks '%s':\n%s", lines[i], text);
    free(text);
}

static void json_holds_the_same(void **state)
{
    enum ptq_status status;
    struct ptq_error err;
    json_error_t cause;
    const char *format, *first, *architecture, *list;
    double real;
    json_int_t rows, columns, elements, bytes, size;
    char *text = inspect(*state, "m.gguf", 1, &status, &err);
    assert_int_equal(status, PTQ_OK);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &cause);
    assert_non_null(root);
    assert_int_equal(json_unpack(root, "{s:s, s:{s:s, s:s, s:f}, s:[{s:s}, {s:[I,I]}], s:{s:I, s:I}, s:[{s:I}]}",
                                 "format", &format, "metadata", "general.architecture", &architecture, "a.list", &list,
                                 "a.f32", &real, "tensors", "name", &first, "shape", &rows, &columns, "total",
                                 "elements", &elements, "bytes", &bytes, "files", "bytes", &size),
                     0);
    assert_string_equal(format, "GGUF");
    assert_string_equal(architecture, "llama");
    assert_string_equal(list, "[3 i32s]");
    assert_string_equal(first, "b");
    assert_true(real == 0.5 && rows == 2 && columns == 32 && elements == 67 && bytes == 80);
    struct bytes b = assemble(file);
    assert_int_equal(size, b.size);
    free(b.data);
    json_decref(root);
    free(text);
}

static void what_is_no_model_is_refused_and_nothing_is_written(void **state)
{
    enum ptq_status status;
    struct ptq_error err;
    write_test_text(*state, "x.gguf", "GGUF");
    char *text = inspect(*state, "x.gguf", 1, &status, &err);
    assert_refused("cut", status, &err, "x.gguf: byte 4");
    assert_string_equal(text, "");
    free(text);
}

static int setup(void **state)
{
    char *folder = calloc(1, 64);
    make_test_folder(folder);
    struct bytes b = assemble(file);
    write_test_file(folder, "m.gguf", b.data, b.size);
    free(b.data);
    *state = folder;
    return 0;
}

static int teardown(void **state)
{
    remove_test_folder(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_described),
        cmocka_unit_test(json_holds_the_same),
        cmocka_unit_test(what_is_no_model_is_refused_and_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
