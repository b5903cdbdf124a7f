/* What ptq run notes of its results file and its plan, before the first cell and behind the last. */
#include "made_up_run.h"
#include "provenance.h"

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

/* Of a changed tree the program's own bytes tell builds apart, which a clean one needs not. */
static void test_build_of_a_commit(void **state)
{
    (void)state;
    struct ptq_mapped program;
    char hex[PTQ_SHA256_HEX];
    assert_int_equal(ptq_map(arena, "/proc/self/exe", &program, &error), PTQ_OK);
    ptq_sha256(program.data, program.size, hex);
    ptq_unmap(&program);
    for (int twice = 0; twice < 2; twice++)
        assert_string_equal(ptq_build_commit(arena, "0123+"), ptq_format(arena, "0123+%.12s", hex));
    assert_string_equal(ptq_build_commit(arena, "0123"), "0123");
    assert_string_equal(ptq_build_commit(arena, "unknown"), "unknown");
}

/* A cell of a changed tree's build, or one that a changed tree's build finds, may be of other code: one line says so.
 */
static void test_other_builds(void **state)
{
    (void)state;
    static const struct {
        const char *stored, *ours, *said;
    } rows[] = {
        {"0123456789abcdef", "0123456789abcdef", NULL},
        {"0123456789abcdef", "fedcba9876543210", NULL}, /* which a table names */
        {"0123456789abcdef+11", "0123456789abcdef+11", NULL},
        {"0123456789abcdef+11", "0123456789abcdef+22", "build (0123456789ab+11) than this one (0123456789ab+22), "},
        {"0123456789abcdef+", "0123456789abcdef+22", "build (0123456789ab+) than this one (0123456789ab+22), "},
        {"0123456789abcdef", "0123456789abcdef+22", "build (0123456789ab) than this one (0123456789ab+22), "},
        {"01+11", "0123456789abcdef", "build (01+11) than this one (0123456789ab), "},
    };
    write_yaml("methods: [fp16, rtn]\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *log;
        fake.commit = rows[i].stored;
        assert_int_equal(run_with((struct ptq_run_options){.fresh = 1}, &log), PTQ_OK);
        assert_null(strstr(log, "note"));
        fake.commit = rows[i].ours;
        for (int dry = 0; dry < 2; dry++) {
            assert_int_equal(run_with((struct ptq_run_options){.dry_run = dry}, &log), PTQ_OK);
            if (rows[i].said)
                expect_text(log,
                            ptq_format(arena, "made-up: note: 2 cells that are done are of another %s", rows[i].said));
            else
                assert_null(strstr(log, "note"));
        }
    }
}

/* That there will be no intervals is said before the first cell, dry or not, of each protocol that gives none. */
static void test_too_few_units(void **state)
{
    (void)state;
    const char *log;
    write_yaml("methods: [fp16, rtn]\n");
    for (int dry = 0; dry < 2; dry++) {
        fake.windows = 2;
        assert_int_equal(run_with((struct ptq_run_options){.dry_run = dry, .fresh = 1}, &log), PTQ_OK);
        expect_text(log,
                    "made-up: too few tokens for intervals: 2 windows of 8 of anarchism make 2 units of 7 tokens, and "
                    "it takes 20; eval.windows 20 would do\n");
        assert_null(strstr(strstr(log, "too few") + 1, "too few"));
        fake.windows = 20;
        assert_int_equal(run_with((struct ptq_run_options){.dry_run = dry, .fresh = 1}, &log), PTQ_OK);
        assert_null(strstr(log, "too few"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_protocols_by_text),
        TEST(test_build_of_a_commit),
        TEST(test_other_builds),
        TEST(test_too_few_units),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
