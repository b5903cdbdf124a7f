/* The YAML subset: what a tree looks like, and every refusal with its line. */
#include "arena_test.h"
#include "files.h"
#include "words.h"
#include "yaml_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct ptq_error error;

static struct ptq_yaml *parse(const char *text)
{
    struct ptq_yaml *root = NULL;
    if (ptq_yaml_parse(arena, "t.yaml", text, strlen(text), &root, &error)) fail_msg("%s", error.text);
    return root;
}

static void test_tree(void **state)
{
    (void)state;
    const struct ptq_yaml *root = parse("# a comment\n"
                                        "title: \"a: b\"\n"
                                        "w_bit: [3, 4]\n"
                                        "calib:\n"
                                        "  text: no\n"
                                        "\n"
                                        "  windows: 1e3\n"
                                        "methods:\n"
                                        "  - fp16\n"
                                        "  - salient: {select: [a, b]}\n"
                                        "  - rtn:w3,g64\n"
                                        "empty:\n");
    assert_int_equal(root->kind, PTQ_YAML_MAPPING);
    assert_int_equal(root->n, 5);
    assert_string_equal(ptq_yaml_get(root, "title")->text, "a: b");
    const struct ptq_yaml *w_bit = ptq_yaml_get(root, "w_bit");
    assert_int_equal(w_bit->kind, PTQ_YAML_SEQUENCE);
    assert_int_equal(w_bit->line, 3);
    assert_int_equal(w_bit->n, 2);
    assert_string_equal(w_bit->child->next->text, "4");
    assert_null(w_bit->child->next->next);
    const struct ptq_yaml *calib = ptq_yaml_get(root, "calib");
    assert_string_equal(ptq_yaml_get(calib, "text")->text, "no");
    assert_string_equal(ptq_yaml_get(calib, "windows")->text, "1e3");
    assert_int_equal(ptq_yaml_get(calib, "windows")->line, 7);
    const struct ptq_yaml *salient = ptq_yaml_get(root, "methods")->child->next;
    assert_int_equal(salient->kind, PTQ_YAML_MAPPING);
    assert_string_equal(salient->child->key, "salient");
    assert_string_equal(salient->child->child->child->next->text, "b");
    assert_string_equal(salient->next->text, "rtn:w3,g64");
    assert_string_equal(ptq_yaml_get(root, "empty")->text, "");
    assert_null(ptq_yaml_get(root, "absent"));
    assert_null(ptq_yaml_get(w_bit, "absent"));
}

static const struct {
    const char *text, *sentence;
} refusals[] = {
    {"", "t.yaml: the file is empty"},
    {"# nothing\n", "t.yaml: the file is empty"},
    {"a: 1\nb: 2\na: 3\n", "t.yaml:3: key 'a' is there already, in line 1"},
    {"a: &x 1\n", "t.yaml:1: an anchor"},
    {"a: &x [1]\n", "t.yaml:1: an anchor"},
    {"a: 1\nb: *x\n", "t.yaml:2: an alias"},
    {"a:\n  <<: *x\n", "t.yaml:2: an alias"},
    {"a: !!int 3\n", "t.yaml:1: a tag"},
    {"a: !python/object x\n", "t.yaml:1: a tag"},
    {"a: !!map {b: 1}\n", "t.yaml:1: a tag"},
    {"a: 1\n---\nb: 2\n", "t.yaml:2: a second document"},
    {"a:\n\tb: 1\n", "t.yaml:2: a tab in the indentation"},
    {"a:\n  - 1\n \t- 2\n", "t.yaml:3: a tab in the indentation"},
    {"a: [1, 2\nb: 3\n", "not YAML"},
    {"a: b: c\n", "t.yaml:1: not YAML"},
    {"a: 'x\n", "not YAML"},
    {"a: 1\n  b: 2\n", "t.yaml:2: not YAML"},
    {"a: \"x\\0y\"\n", "t.yaml:1: a text holds a control character"},
    {"a: \"x\\ey\"\n", "t.yaml:1: a text holds a control character"},
    {"a: x\x01y\n", "t.yaml: byte 4"},
    {"a: x\xff\xfey\n", "t.yaml: byte 4"},
    {"? [a, b]\n: 1\n", "t.yaml:1: a key is a list or a mapping"},
    {"? {a: b}\n: 1\n", "t.yaml:1: a key is a list or a mapping"},
    {"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "t.yaml:1: lists and mappings are nested more than 16 deep"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct ptq_yaml *root = NULL;
        enum ptq_status status =
            ptq_yaml_parse(arena, "t.yaml", refusals[i].text, strlen(refusals[i].text), &root, &error);
        if (status != PTQ_EINPUT) fail_msg("taken: %s", refusals[i].text);
        if (!strstr(error.text, refusals[i].sentence)) fail_msg("'%s' for: %s", error.text, refusals[i].text);
        assert_null(root);
    }
}

static void expect_refusal(struct ptq_buffer *text, const char *sentence)
{
    struct ptq_yaml *root;
    assert_int_equal(ptq_yaml_parse(arena, "t.yaml", text->data, text->size, &root, &error), PTQ_EINPUT);
    if (!strstr(error.text, sentence)) fail_msg("'%s'", error.text);
    free(text->data);
}

static void test_sizes(void **state)
{
    (void)state;
    struct ptq_buffer keys = {0}, values = {0}, bytes = {0}, deep = {0};
    for (int i = 0; i < 60000; i++) ptq_buffer_add(&keys, "k%d: 1\n", i);
    expect_refusal(&keys, "t.yaml:1001: a mapping has more than 1000 keys");
    ptq_buffer_add(&values, "a: [");
    for (int i = 0; i < 150000; i++) ptq_buffer_add(&values, "1,\n");
    expect_refusal(&values, "more than 100000 values");
    for (int i = 0; i < 200000; i++) ptq_buffer_add(&bytes, "# long\n");
    expect_refusal(&bytes, "an experiment has at most 1048576");
    for (int i = 0; i < 500000; i++) ptq_buffer_add(&deep, i % 400 ? "[" : "\n [");
    expect_refusal(&deep, "nested more than 16 deep");
}

/* Every beginning of a good file, and every byte of it changed, is taken or refused, and nothing else. */
static void test_damaged(void **state)
{
    (void)state;
    char text[] = "title: \"x\"\nw_bit: [3, 4]\ncalib: {text: a, windows: 2}\nmethods:\n  - fp16\n  - salient:\n"
                  "      select: [activation]\n";
    size_t size = strlen(text);
    struct ptq_yaml *root;
    for (size_t i = 0; i <= size; i++) ptq_yaml_parse(arena, "t.yaml", text, i, &root, &error);
    const char damage[] = "\t\n:-[]{}&*!|>'\"%@`#,? \xff";
    for (size_t i = 0; i < size; i++) {
        char kept = text[i];
        for (size_t j = 0; j < sizeof damage; j++) {
            text[i] = damage[j];
            enum ptq_status status = ptq_yaml_parse(arena, "t.yaml", text, size, &root, &error);
            assert_true(status == PTQ_OK || status == PTQ_EINPUT);
        }
        text[i] = kept;
    }
}

static void test_files(void **state)
{
    (void)state;
    struct ptq_yaml *root;
    assert_int_equal(ptq_yaml_read(arena, "/nowhere/x.yaml", &root, NULL, &error), PTQ_EIO);
    assert_non_null(strstr(error.text, "/nowhere/x.yaml"));
    assert_int_equal(ptq_yaml_read(arena, "/tmp", &root, NULL, &error), PTQ_EINPUT);
    assert_int_equal(ptq_yaml_read(arena, "/dev/zero", &root, NULL, &error), PTQ_EINPUT);
    char folder[64];
    const char *text;
    make_test_folder(folder);
    write_test_text(folder, "bom.yaml",
                    "\xef\xbb\xbf"
                    "a: 1\n");
    const char *path = ptq_format(arena, "%s/bom.yaml", folder);
    assert_int_equal(ptq_yaml_read(arena, path, &root, &text, &error), PTQ_OK);
    assert_string_equal(text, "a: 1\n");
    assert_string_equal(root->child->key, "a");
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tree), TEST(refusals), TEST(sizes), TEST(damaged), TEST(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
