/* What ptq run notes of its results file and its plan, before the first cell and behind the last. */
#include "made_up_run.h"

/* A layout by text takes texts of several protocols, and of one text no two: said before any cell is run. */
static void test_protocols_by_text(void **state)
{
    (void)state;
    const char *log, *set = "windows=2";
    write_yaml("methods: [fp16]\neval: {text: [a, b], windows: 3}\n"
               "layout: {rows: [method], columns: [text], values: [ppl]}\n");
    assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_OK);
    assert_null(strstr(log, "note"));
    expect_text(log, "x.h5 holds 2 of 2\n");
    assert_int_equal(run_with((struct ptq_run_options){.set = &set, .n_sets = 1}, &log), PTQ_OK);
    expect_text(log, "note: no table will show smollm2-135m-instruct fp16 (first 2 windows) beside "
                     "smollm2-135m-instruct fp16 (first 3 windows), which is measured by another protocol");
    expect_text(log, "x.h5 holds 2 of 2, and 2 more that the experiment does not have\n");
    write_yaml("methods: [fp16]\neval: {text: [c], windows: 3}\n"
               "layout: {rows: [method], columns: [text], values: [ppl]}\n");
    assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_OK);
    assert_null(strstr(log, "no table"));
    expect_text(log, "x.h5 holds 4 cells more that this experiment does not have, such as ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_protocols_by_text),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
