/* A results file by the name of a link, and the list of failures beside it. */
#include "beside.h"
#include "cells.h"
#include "failures.h"
#include "folder_test.h"
#include "mapped.h"
#include "results.h"

static struct ptq_error err;

static void store(const char *file, const struct ptq_cell *cell)
{
    if (ptq_results_put(file, cell, &err)) fail_msg("%s", err.text);
}

static void expect_count(const char *file, int wanted)
{
    struct ptq_cell *read;
    int n;
    if (ptq_results_read(arena, file, &read, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(n, wanted);
}

/* A link is another name of its file, to readers too: what a run that has not ended left is beside the file. */
static void a_link_is_read(void **state)
{
    (void)state;
    struct ptq_cell *cells = make_table1(arena, "a model");
    struct ptq_failure *failure;
    int n;
    const char *file = ptq_join(arena, folder, "far/r.h5"), *link = ptq_join(arena, folder, "link.h5");
    const char *between = ptq_join(arena, folder, "far/between.h5");
    static const char list[] = "{\"failed\": [{\"cell\": \"c\", \"model\": \"m\", \"why\": \"w\"}]}";
    store(file, &cells[0]);
    assert_int_equal(symlink("far/between.h5", link) || symlink("r.h5", between), 0);
    expect_count(link, 1); /* it leads to nothing yet, and the cell is beside that */
    assert_int_equal(ptq_results_merge(file, "e", "", (const char(*)[PTQ_SHA256_HEX])cells[0].id, 1, &err), PTQ_OK);
    store(file, &cells[1]);
    expect_count(link, 2);
    write_test_text(folder, "far/r.h5.failed.json", list);
    assert_int_equal(ptq_failures_read(arena, link, &failure, &n, &err), PTQ_OK);
    assert_int_equal(n, 1);
    assert_string_equal(failure->why, "w");
}

static void a_name_that_leads_nowhere(void **state)
{
    (void)state;
    struct ptq_cell *read;
    int n;
    char long_name[301];
    const char *round = ptq_join(arena, folder, "round.h5");
    memset(long_name, 'n', 300);
    long_name[300] = 0;
    assert_int_equal(symlink("round.h5", round), 0);
    assert_refused("a round", ptq_results_read(arena, round, &read, &n, &err), &err,
                   "round.h5: is a symbolic link that leads nowhere");
    assert_int_equal(err.status, PTQ_EINPUT);
    /* What cannot be looked at is no link, not nothing, and nobody's to remove. */
    assert_refused("a long name", ptq_results_read(arena, long_name, &read, &n, &err), &err,
                   "nnn: cannot be looked for: File name too long");
    assert_refused("to go", ptq_results_start_over(long_name, NULL, 0, &err), &err,
                   "nnn: cannot be looked for: File name too long");
}

/* Where nothing failed, what a killed run left of the list goes too. */
static void no_failures_leave_nothing(void **state)
{
    (void)state;
    const char *left = ptq_temporary_path(arena, ptq_join(arena, folder, "f.h5.failed.json"));
    write_test_text(folder, ptq_file_name(left), "{");
    write_test_text(folder, "f.h5.failed.json", "{}");
    assert_int_equal(ptq_failures_write(ptq_join(arena, folder, "f.h5"), NULL, &err), PTQ_OK);
    assert_false(ptq_is_file(left) || ptq_is_file(ptq_join(arena, folder, "f.h5.failed.json")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_link_is_read), cmocka_unit_test(a_name_that_leads_nowhere),
                                       cmocka_unit_test(no_failures_leave_nothing)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
