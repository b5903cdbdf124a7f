/* Results files: what was put comes back, whatever moment a run was killed at, and nothing half-written has a name. */
#include "cells.h"
#include "folders.h"
#include "h5.h"
#include "mapped.h"
#include "temporaries.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static struct ptq_arena *arena;
static struct ptq_error err;
static char root[] = "/tmp/ptq-results-XXXXXX";
static const char *file; /* FILE.h5 in a folder of the test's own */
static struct ptq_cell *cells;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

static void refuse(enum ptq_status status, enum ptq_status wanted, const char *part)
{
    assert_int_equal(status, wanted);
    if (!strstr(err.text, part)) fail_msg("no '%s' in: %s", part, err.text);
}

static const char *beside(const char *suffix)
{
    return ptq_format(arena, "%s%s", file, suffix);
}

static const char *cell_path(int i)
{
    return ptq_format(arena, "%s.cells/%s.h5", file, cells[i].id);
}

static void put(int from, int to)
{
    for (int i = from; i < to; i++) OK(ptq_results_put(file, &cells[i], &err));
}

static void merge(int n)
{
    char(*keep)[PTQ_SHA256_HEX] = ptq_alloc_array(arena, (size_t)n, sizeof *keep, "ids");
    for (int i = 0; i < n; i++) memcpy(keep[i], cells[i].id, sizeof *keep);
    OK(ptq_results_merge(file, "table1", "models: [x]\n", (const char(*)[PTQ_SHA256_HEX])keep, n, &err));
}

/* FILE holds the first n cells, in order, and they are what they were. */
static void expect_cells(int n)
{
    struct ptq_cell *read;
    int found;
    OK(ptq_results_read(arena, file, &read, &found, &err));
    assert_int_equal(found, n);
    for (int i = 0; i < n; i++) {
        const struct ptq_cell *a = &cells[i], *b = &read[i];
        assert_string_equal(a->id, b->id);
#define TEXT(name) assert_string_equal(a->name, b->name);
#define INT(name) assert_int_equal(a->name, b->name);
#define REAL(name) assert_memory_equal(&a->name, &b->name, sizeof a->name);
#define X(kind, name, ...) kind(name)
        PTQ_CELL_FIELDS(X)
        PTQ_PEAK_FIELDS(X)
        PTQ_AGAINST_FIELDS(X)
#undef X
#undef TEXT
#undef INT
#undef REAL
        assert_true(!a->kl == !b->kl);
        if (a->kl) assert_memory_equal(a->kl, b->kl, (size_t)a->tokens * sizeof *a->kl);
        assert_memory_equal(a->nll, b->nll, (size_t)a->tokens * sizeof *a->nll);
        assert_int_equal(a->n_linears, b->n_linears);
        for (int l = 0; l < a->n_linears; l++) {
            assert_string_equal(a->linear[l].name, b->linear[l].name);
            assert_true(a->linear[l].weight_error == b->linear[l].weight_error);
            assert_true(a->linear[l].output_error == b->linear[l].output_error);
            assert_int_equal(a->linear[l].saturated, b->linear[l].saturated);
            assert_true(a->linear[l].damp == b->linear[l].damp && a->linear[l].loss == b->linear[l].loss);
        }
    }
}

static int count_ids(void)
{
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    OK(ptq_results_ids(arena, file, &ids, &n, &err));
    for (int i = 1; i < n; i++) assert_true(strcmp(ids[i - 1], ids[i]) < 0);
    return n;
}

static void write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void test_round_trip(void **state)
{
    (void)state;
    assert_int_equal(count_ids(), 0);
    put(0, 5);
    assert_false(ptq_is_file(file));
    assert_int_equal(count_ids(), 5);
    merge(5);
    assert_true(ptq_is_file(file));
    assert_false(ptq_is_folder(beside(".cells")));
    expect_cells(5);
    assert_int_equal(count_ids(), 5);
}

static void test_order_is_keep(void **state)
{
    (void)state;
    put(3, 5); /* a first experiment with two cells */
    merge(5);
    put(0, 3);
    merge(5);
    expect_cells(5);
    put(5, 7); /* not asked for, but finished: kept behind */
    merge(3);
    expect_cells(7);
}

static void test_same_bytes_in_any_order(void **state)
{
    (void)state;
    char *a, *b;
    size_t size_a, size_b;
    put(0, 4);
    merge(4);
    OK(ptq_read_file(arena, file, 1 << 24, &a, &size_a, &err));
    remove_test_results(file);
    put(2, 4);
    merge(4);
    put(0, 2);
    merge(4);
    OK(ptq_read_file(arena, file, 1 << 24, &b, &size_b, &err));
    assert_int_equal(size_a, size_b);
    assert_memory_equal(a, b, size_a);
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    struct stat before, after;
    put(0, 3);
    merge(3);
    assert_int_equal(stat(file, &before), 0);
    merge(3);
    assert_int_equal(stat(file, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* not written again */
}

static void test_killed_between(void **state)
{
    (void)state;
    put(0, 4);
    merge(4);
    put(0, 3); /* FILE is whole, FILE.cells is not removed yet, and one of it is */
    assert_int_equal(count_ids(), 4);
    expect_cells(4);
    merge(4);
    expect_cells(4);
    assert_false(ptq_is_folder(beside(".cells")));
}

static void test_killed_while_writing(void **state)
{
    (void)state;
    put(0, 3);
    const char *half = temporary_of(arena, file, "4194305");
    write_text(temporary_of(arena, cell_path(3), "4194305"), "half a cell");
    write_text(half, "half a file");
    assert_int_equal(count_ids(), 3);
    put(3, 4);
    merge(4);
    expect_cells(4);
    assert_false(ptq_is_folder(beside(".cells")));
    assert_false(ptq_is_file(half));
}

static void test_damaged_cell(void **state)
{
    (void)state;
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    put(0, 2);
    assert_int_equal(truncate(cell_path(1), 5000), 0);
    assert_int_equal(count_ids(), 1);
    merge(2);
    expect_cells(1);
    assert_false(ptq_is_folder(beside(".cells")));
    put(1, 3);
    assert_int_equal(rename(cell_path(1), cell_path(3)), 0);
    refuse(ptq_results_ids(arena, file, &ids, &n, &err), PTQ_EINPUT, "does not hold the cell that its name says");
    assert_int_equal(rename(cell_path(3), cell_path(1)), 0);
    merge(3);
    expect_cells(3);
}

static void test_foreign_file_stays(void **state)
{
    (void)state;
    put(0, 1);
    write_text(beside(".cells/notes.txt"), "mine");
    merge(1);
    expect_cells(1);
    assert_true(ptq_is_file(beside(".cells/notes.txt")));
    assert_false(ptq_is_file(cell_path(0)));
    unlink(beside(".cells/notes.txt"));
}

/* Cut at every KB: refused by each reader, in one sentence that says what to do, and left as it is. */
static void test_cut(void **state)
{
    (void)state;
    char(*ids)[PTQ_SHA256_HEX], *whole;
    struct ptq_cell *read;
    size_t size;
    int n;
    put(0, 2);
    merge(2);
    put(2, 3);
    OK(ptq_read_file(arena, file, 1 << 24, &whole, &size, &err));
    for (size_t cut = 0; cut < size; cut += 1024) {
        OK(ptq_write_file(file, whole, cut, &err));
        refuse(ptq_results_ids(arena, file, &ids, &n, &err), PTQ_EINPUT, "--fresh");
        refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "r.h5");
        refuse(ptq_results_merge(file, "table1", "", NULL, 0, &err), PTQ_EINPUT, "--fresh");
        assert_true(ptq_is_file(cell_path(2)));
    }
    /* What is finished beside a file that nobody can read goes with --fresh, and that file with the new one. */
    OK(ptq_results_start_over(file, (const char(*)[PTQ_SHA256_HEX])cells[0].id, 1, &err));
    assert_false(ptq_is_file(cell_path(2)));
    put(0, 1);
    merge(1);
}

/* What a results file of another making would hold. */
static void write_other(const char *format, int64_t schema)
{
    struct ptq_h5 *h5;
    OK(ptq_h5_create(file, &h5, &err));
    if (format) OK(ptq_h5_put_text(h5, "/", "format", format, &err));
    if (schema) OK(ptq_h5_put_int(h5, "/", "schema", schema, &err));
    OK(ptq_h5_put_text(h5, "/", "experiment", "x", &err));
    OK(ptq_h5_put_text(h5, "/", "experiment_yaml", "x", &err));
    OK(ptq_h5_put_group(h5,
                        "/cells/"
                        "0000000000000000000000000000000000000000000000000000000000000000",
                        &err));
    OK(ptq_h5_commit(h5, &err));
}

static void test_other_versions(void **state)
{
    (void)state;
    struct ptq_cell *read;
    int n;
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EIO, "no such results file");
    write_other(NULL, 0);
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "no results file of ptq");
    write_other("something-else", 1);
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "no results file of ptq");
    write_other("ptq-results", 2);
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "schema 2, and this ptq reads schema 1");
    write_other("ptq-results", 1);
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "has no experiment");
    write_text(file, "no HDF5");
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "is no HDF5 file");
}

static void test_changed(void **state)
{
    (void)state;
    char *whole;
    size_t size;
    struct ptq_cell *read;
    int n;
    put(0, 2);
    merge(2);
    OK(ptq_read_file(arena, file, 1 << 24, &whole, &size, &err));
    whole[size / 2] ^= 1;
    OK(ptq_write_file(file, whole, size, &err));
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "its bytes are not those that were written");
    whole[size / 2] ^= 1;
    OK(ptq_write_file(file, whole, size - 10, &err)); /* HDF5's own part is whole */
    refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, "not as ptq wrote it");
}

/* Sealed, and yet no cell: it is not taken for unfinished, and stays, since a failing system looks the same. */
static void test_numbers_that_do_not_fit(void **state)
{
    (void)state;
    struct ptq_cell *read, odd[2] = {cells[1], cells[1]};
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    odd[0].nll_mean += 0.01;
    odd[1].config = "another configuration";
    for (int i = 0; i < 2; i++) {
        put(0, 1);
        OK(ptq_results_put(file, &odd[i], &err));
        refuse(ptq_results_ids(arena, file, &ids, &n, &err), PTQ_EINPUT, "start over with --fresh");
        refuse(ptq_results_read(arena, file, &read, &n, &err), PTQ_EINPUT, cell_path(1));
        refuse(ptq_results_merge(file, "test", "x", NULL, 0, &err), PTQ_EINPUT, cell_path(1));
        assert_true(ptq_is_file(cell_path(0)) && ptq_is_file(cell_path(1)));
        assert_int_equal(unlink(cell_path(1)), 0);
        merge(1);
        expect_cells(1);
    }
}

/* ---- full disks ---- */

/* Runs what in a process of its own, so that its limits stay there. */
static void in_child(void (*what)(void))
{
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        what();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void need(int holds, int code)
{
    if (!holds) _exit(code);
}

static void fill_limit(void)
{
    struct rlimit limit = {10000, 10000};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    need(ptq_results_put(file, &cells[3], &err) == PTQ_EIO, 1);
    need(strstr(err.text, "File too large") && strstr(err.text, cells[3].id), 2);
    need(ptq_results_merge(file, "table1", "", NULL, 0, &err) == PTQ_EIO, 3);
    need(strstr(err.text, "File too large") && strstr(err.text, "r.h5: cannot be written"), 4);
}

/* ---- a lock that outlives its run ---- */

static int outlived_by_ms;

/* Takes the lock and ends without giving it back; a child of its own has it for some time more. */
static void leave_lock_to_child(void)
{
    struct ptq_lock lock;
    need(!ptq_results_lock(file, &lock, &err), 1);
    pid_t child = fork();
    need(child >= 0, 2);
    if (child) return;
    close(STDOUT_FILENO); /* which ctest reads to its end */
    close(STDERR_FILENO);
    usleep((useconds_t)outlived_by_ms * 1000);
}

static void test_lock_outlives_run(void **state)
{
    (void)state;
    struct ptq_lock lock, second;
    outlived_by_ms = 100;
    in_child(leave_lock_to_child);
    OK(ptq_results_lock(file, &lock, &err));
    refuse(ptq_results_lock(file, &second, &err), PTQ_EIO, "another run, process ");
    ptq_results_unlock(&lock);
    outlived_by_ms = 10000;
    in_child(leave_lock_to_child);
    ptq_results_patience_ms = 1000;
    refuse(ptq_results_lock(file, &second, &err), PTQ_EIO, "had started writes to it still, after 1 s");
    ptq_results_patience_ms = 60000;
    OK(remove(beside(".lock")));
}

static int count_names(const char *path)
{
    const char *command = ptq_format(arena, "ls -A '%s' | wc -l", path);
    FILE *pipe = popen(command, "r");
    int n = -1;
    assert_int_equal(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return n;
}

static void test_file_limit(void **state)
{
    (void)state;
    put(0, 2);
    merge(2);
    put(2, 3);
    in_child(fill_limit);
    assert_int_equal(count_names(beside(".cells")), 1); /* no temporary file */
    expect_cells(3);
    put(3, 4);
    merge(4);
    expect_cells(4);
}

static void test_full_disk(void **state)
{
    (void)state;
    char *disk = ptq_strndup(arena, file, strlen(file) - 5);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=72k")) {
        print_message("skipped: a small tmpfs cannot be mounted here (%s)\n", strerror(errno));
        skip();
    }
    int n = 0;
    while (n < 9 && !ptq_results_put(file, &cells[n], &err)) n++;
    enum ptq_status status = err.status;
    int whole = count_ids(), names = count_names(beside(".cells"));
    enum ptq_status merged = ptq_results_merge(file, "table1", "", NULL, 0, &err);
    int is_there = ptq_is_file(file), left = count_names(disk);
    assert_int_equal(umount(disk), 0);
    assert_in_range(n, 1, 3);
    assert_int_equal(status, PTQ_EIO);
    assert_int_equal(whole, n);
    assert_int_equal(names, n);
    assert_int_equal(merged, PTQ_EIO);
    assert_non_null(strstr(err.text, "No space left on device"));
    assert_false(is_there);
    assert_int_equal(left, 1); /* FILE.cells alone */
}

static int set_up(void **state)
{
    (void)state;
    char *folder = ptq_format(arena, "%s/XXXXXX", root);
    if (!mkdtemp(folder)) return -1;
    file = ptq_format(arena, "%s/r.h5", folder);
    return 0;
}

/* Removes what the test left, which is no temporary file. */
static int tear_down(void **state)
{
    (void)state;
    char *folder = ptq_strndup(arena, file, strlen(file) - 5);
    remove_test_results(file);
    return rmdir(folder);
}

static int set_up_all(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    cells = make_table1(arena, "smollm2-135m-instruct");
    for (int i = 1; i < TABLE1_CELLS; i += 2)
        cell_compare(&cells[i], arena, 0.1 * i); /* the others are of an older ptq */
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down_all(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    return rmdir(root);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(round_trip),
                                       TEST(order_is_keep),
                                       TEST(same_bytes_in_any_order),
                                       TEST(nothing_to_do),
                                       TEST(killed_between),
                                       TEST(killed_while_writing),
                                       TEST(damaged_cell),
                                       TEST(foreign_file_stays),
                                       TEST(cut),
                                       TEST(other_versions),
                                       TEST(changed),
                                       TEST(numbers_that_do_not_fit),
                                       TEST(file_limit),
                                       TEST(full_disk),
                                       TEST(lock_outlives_run)};
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
