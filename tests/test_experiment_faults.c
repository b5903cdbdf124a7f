/* Steps of reading an experiment that fail (steps.h), each time that one is made; and lists of experiments. */
#include "experiment.h"
#include "mapped.h"
#include "method.h"
#include "table_layout.h"
#include "variants.h"

#define STEPS(X)                                                                                                       \
    X(ptq_spec_parse, (const char *a, struct ptq_spec *b, struct ptq_error *err), (a, b, err))                         \
    X(ptq_variant_spec,                                                                                                \
      (struct ptq_arena * a, const struct ptq_variant *b, int64_t c, int64_t d, const char **e,                        \
       struct ptq_error *err),                                                                                         \
      (a, b, c, d, e, err))                                                                                            \
    X(ptq_table_layout_read,                                                                                           \
      (struct ptq_arena * a, const struct ptq_yaml *b, struct ptq_table_layout *c, struct ptq_error *err),             \
      (a, b, c, err))
#include "steps.h"

static enum ptq_status read_once(void *context, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_experiment x;
    enum ptq_status status = ptq_experiment_read(arena, context, NULL, 0, &x, err);
    ptq_arena_free(arena);
    return status;
}

static void every_step(void **state)
{
    (void)state;
    char folder[64], path[96];
    make_test_folder(folder);
    write_test_text(folder, "x.yaml",
                    "title: x\nmethods: [fp16, rtn]\nw_bit: [3, 4]\ngroup_size: 64\n"
                    "exclude:\n  - {methods: rtn, w_bit: 3}\ninclude:\n  - {methods: rtn, w_bit: 2}\n"
                    "layout:\n  rows: [method]\n  columns: [w_bit]\n  values: [ppl]\n");
    snprintf(path, sizeof path, "%s/x.yaml", folder);
    assert_int_equal(each_step_fails("x.yaml", read_once, path), ALL_STEPS);
    print_message("%d steps that fail\n", tried);
    remove_test_folder(folder);
}

/* Names are what stands before the ending, where there is one. */
static void names(void **state)
{
    (void)state;
    static const char *const file[][2] = {{"a.yaml", "a"}, {"plain", "plain"}, {".yaml", ".yaml"}};
    char folder[64];
    make_test_folder(folder);
    for (int i = 0; i < 3; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_experiment x;
        struct ptq_error err;
        write_test_text(folder, file[i][0], "methods: rtn\n");
        if (ptq_experiment_read(arena, ptq_format(arena, "%s/%s", folder, file[i][0]), NULL, 0, &x, &err))
            fail_msg("%s", err.text);
        assert_string_equal(x.name, file[i][1]);
        ptq_arena_free(arena);
    }
    remove_test_folder(folder);
}

static void lists(void **state)
{
    (void)state;
    char folder[64], *printed = NULL;
    size_t size;
    struct ptq_error err;
    static const char *const other[] = {".hidden.yaml", "text.txt", "plain"};
    make_test_folder(folder);
    write_test_text(folder, "one.yaml", "title: the one\nmethods: fp16\n");
    write_test_text(folder, "two.yaml", "title: the two\nmethods: rtn\nw_bit: [3, 4]\n");
    for (int i = 0; i < 3; i++) write_test_text(folder, other[i], "methods: 17\n");
    for (int broken = 0; broken < 2; broken++) {
        FILE *out = open_memstream(&printed, &size);
        if (broken) write_test_text(folder, "bad.yaml", "methods: [\n");
        enum ptq_status status = ptq_experiments_list(folder, out, &err);
        fclose(out);
        if (broken) assert_refused("broken", status, &err, "1 of 3 experiments are broken");
        if (!broken && status) fail_msg("%s", err.text);
        assert_true(!strstr(printed, "bad                  broken") == !broken);
        assert_non_null(strstr(printed, "1 cell  the one"));
        assert_non_null(strstr(printed, "2 cells the two"));
        free(printed);
    }
    remove_test_folder(folder);
}

/* Whether somebody named the calibration text: in the file, its quick form, by --set, in an entry of include. */
static void calibration_by_default(void **state)
{
    (void)state;
    static const struct {
        const char *text, *set;
        int by_default;
    } rows[] = {
        {"methods: fp16\n", NULL, 1},
        {"methods: fp16\ncalib: {windows: 4}\n", NULL, 1},
        {"methods: fp16\ncalib: {text: perl-doc}\n", NULL, 0},
        {"methods: fp16\n", "calib=perl-doc", 0},
        {"methods: fp16\nquick: {calib: perl-doc}\n", "quick=1", 0},
        {"methods: fp16\nquick: {calib: perl-doc}\n", "w_bit=4", 1},
        {"methods: rtn\nexclude: {methods: rtn}\ninclude: {methods: fp16, calib: {text: perl-doc}}\n", NULL, 0},
        {"methods: rtn\nexclude: {methods: rtn}\ninclude: {methods: fp16, seed: 1}\n", NULL, 1},
    };
    char folder[64];
    make_test_folder(folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        const char *path = ptq_join(arena, folder, "t.yaml");
        struct ptq_experiment x;
        struct ptq_error err;
        write_test_text(folder, "t.yaml", rows[i].text);
        if (ptq_experiment_read(arena, path, &rows[i].set, rows[i].set != NULL, &x, &err)) fail_msg("%s", err.text);
        assert_int_equal(x.n_jobs, 1);
        assert_string_equal(x.job->calib, "perl-doc");
        if (x.job->calib_by_default != rows[i].by_default) fail_msg("row %zu", i);
        ptq_arena_free(arena);
    }
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_step), cmocka_unit_test(names), cmocka_unit_test(lists),
                                       cmocka_unit_test(calibration_by_default)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
