/* What others put beside a results file: links, a task's half a cell; and names that leave no room for what is ours. */
#include "cells.h"
#include "folder_test.h"
#include "mapped.h"
#include "temporaries.h"

static struct ptq_error err;
static struct ptq_cell *cells;
static const char *file;

static const char *beside(const char *suffix)
{
    return ptq_format(arena, "%s%s", file, suffix);
}

static const char *cell_path(int i)
{
    return ptq_format(arena, "%s" PTQ_CELLS "/%s.h5", file, cells[i].id);
}

/* Joins the cells [from, to) with what is there. */
static void store(int from, int to)
{
    for (int i = from; i < to; i++) assert_int_equal(ptq_results_put(file, &cells[i], &err), PTQ_OK);
    assert_int_equal(ptq_results_merge(file, "table1", "", NULL, 0, &err), PTQ_OK);
}

static void expect_cells(int n)
{
    struct ptq_cell *read;
    int found;
    assert_int_equal(ptq_results_read(arena, file, &read, &found, &err), PTQ_OK);
    assert_int_equal(found, n);
}

static void refuse(enum ptq_status status, enum ptq_status wanted, const char *words)
{
    assert_int_equal(status, wanted);
    assert_refused("beside", status, &err, words);
}

/* Of a task that is under way: its half a cell stays, and so does the folder, in which it will be renamed. */
static void another_is_writing(void **state)
{
    (void)state;
    const char *half = temporary_of(arena, cell_path(3), "1");
    assert_int_equal(ptq_make_folder(beside(PTQ_CELLS), &err), PTQ_OK);
    write_test_text("", half, "half a cell");
    store(0, 2);
    expect_cells(2);
    assert_true(ptq_is_file(half));
    assert_false(ptq_is_file(cell_path(0)));
    assert_int_equal(unlink(half), 0);
    store(2, 2);
    assert_false(ptq_is_folder(beside(PTQ_CELLS)));
    assert_int_equal(unlink(file), 0);
}

/* Another process joins what is there, and removes the folder, between our making it and our first file in it; the
 * linker puts this before the function of that name (--wrap, see CMakeLists.txt). */
static int vanishes;
enum ptq_status __real_ptq_make_own_folder(const char *path, struct ptq_error *e);
enum ptq_status __wrap_ptq_make_own_folder(const char *path, struct ptq_error *e);
enum ptq_status __wrap_ptq_make_own_folder(const char *path, struct ptq_error *e)
{
    enum ptq_status status = __real_ptq_make_own_folder(path, e);
    if (vanishes > 0 && vanishes--) assert_int_equal(rmdir(path), 0);
    return status;
}

static void the_folder_vanishes(void **state)
{
    (void)state;
    vanishes = 2;
    assert_int_equal(ptq_results_put(file, &cells[0], &err), PTQ_OK);
    assert_int_equal(vanishes, 0);
    assert_true(ptq_is_file(cell_path(0)));
    store(0, 0);
    assert_int_equal(unlink(file), 0);
    vanishes = 1000; /* for ever: no endless loop, and one sentence */
    refuse(ptq_results_put(file, &cells[0], &err), PTQ_EIO, "cannot be written: No such file or directory");
    vanishes = 0;
}

/* A stranger's folder of results may have a link anywhere beside them: nothing behind it is written or removed. */
static void links(void **state)
{
    (void)state;
    write_test_text(folder, "elsewhere/theirs", "theirs");
    const char *elsewhere = ptq_join(arena, folder, "elsewhere"), *part = ptq_results_part(arena, file, cells[0].id);
    assert_int_equal(ptq_make_folder(beside(PTQ_CELLS), &err), PTQ_OK);
    assert_int_equal(symlink(elsewhere, part), 0);
    store(0, 2); /* the link was ours by its name */
    expect_cells(2);
    assert_false(ptq_is_folder(beside(PTQ_CELLS)));
    static const char *const suffixes[] = {PTQ_CELLS, PTQ_TASKS};
    for (int i = 0; i < 2; i++) {
        const char *words = ptq_format(arena, "r.h5%s: is a link, through which nothing is written", suffixes[i]);
        assert_int_equal(symlink(elsewhere, beside(suffixes[i])), 0);
        refuse(ptq_results_check_beside(file, &err), PTQ_EINPUT, words);
        if (i == 0) refuse(ptq_results_put(file, &cells[2], &err), PTQ_EINPUT, words);
        if (i == 0) refuse(ptq_results_merge(file, "other", "", NULL, 0, &err), PTQ_EINPUT, words);
        assert_int_equal(unlink(beside(suffixes[i])), 0);
    }
    assert_int_equal(ptq_results_check_beside(file, &err), PTQ_OK);
    assert_int_equal(unlink(ptq_join(arena, elsewhere, "theirs")), 0);
    assert_int_equal(rmdir(elsewhere), 0); /* there was nothing else in it */
}

/* What would be replaced or removed as a file is refused before the work where it is a folder; what has no name of ours
 * is left alone. */
static void folders_where_files_are_expected(void **state)
{
    (void)state;
    const char *id = cells[0].id;
    const struct {
        const char *name;
        int refused;
    } rows[] = {{".failed.json", 1},
                {".lock", 1},
                {ptq_format(arena, PTQ_CELLS "/%s.h5", id), 1},
                {ptq_format(arena, PTQ_CELLS "/%s.part/theirs", id), 1},
                {PTQ_CELLS "/theirs", 0},
                {PTQ_CELLS "/theirs.part/theirs", 0},
                {ptq_format(arena, PTQ_CELLS "/%s.part", id), 0},
                {ptq_format(arena, "%s/%s.h5", PTQ_TASKS, id), 0},
                {temporary_of(arena, ptq_format(arena, PTQ_CELLS "/%s.h5", id), "1"), 0},
                {temporary_of(arena, ptq_format(arena, PTQ_CELLS "/%s.h5", id), "4194305"), 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = beside(rows[i].name);
        char parent[4096];
        assert_int_equal(ptq_make_folder(path, &err), PTQ_OK);
        enum ptq_status status = ptq_results_check_beside(file, &err);
        if (rows[i].refused)
            refuse(status, PTQ_EINPUT, ptq_format(arena, "r.h5%s: is a folder, where ptq writes", rows[i].name));
        else
            assert_int_equal(status, PTQ_OK);
        while (strlen(path) > strlen(file)) {
            assert_int_equal(rmdir(path), 0);
            ptq_folder_of(path, parent, sizeof parent);
            path = ptq_strdup(arena, parent);
        }
    }
}

/* The longest name to which everything can be added is taken, and it can be; one more is refused. */
static void long_names(void **state)
{
    (void)state;
    enum { MOST = 255 - (sizeof PTQ_FAILED - 1) - PTQ_TEMPORARY_ROOM };
    char name[4200];
    memset(name, 'n', sizeof name - 1);
    name[MOST] = 0;
    const char *failed = ptq_format(arena, "%s/%s" PTQ_FAILED, folder, name);
    assert_int_equal(ptq_results_check_beside(ptq_join(arena, folder, name), &err), PTQ_OK);
    assert_int_equal(ptq_results_check_beside(ptq_format(arena, "/nowhere/%s", name), &err), PTQ_OK);
    write_test_text("", temporary_of(arena, failed, "4194304"), "x");
    assert_int_equal(ptq_write_file(failed, "", 0, &err), PTQ_OK);
    name[MOST] = 'n', name[MOST + 1] = 0;
    refuse(ptq_results_check_beside(ptq_join(arena, folder, name), &err), PTQ_EUSAGE,
           ptq_format(arena, "this name is too long; at most %d bytes", MOST));
    name[MOST + 1] = 'n', name[sizeof name - 1] = 0;
    refuse(ptq_results_check_beside(name, &err), PTQ_EUSAGE, "this path is too long; at most");
}

static int set_up_cells(void **state)
{
    set_up(state);
    cells = make_table1(arena, "smollm2-135m-instruct");
    file = ptq_join(arena, folder, "r.h5");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(another_is_writing), cmocka_unit_test(the_folder_vanishes),
                                       cmocka_unit_test(links), cmocka_unit_test(folders_where_files_are_expected),
                                       cmocka_unit_test(long_names)};
    return cmocka_run_group_tests(tests, set_up_cells, tear_down);
}
