/* ptq run --fresh: what is there stays whole until all of the new cells are finished, whatever stops them; the same
 * command without it goes on with the new ones alone. A cell's threads tell of which run it is. */
#include "made_up_run.h"

enum { OLD = 1, NEW = 2 };

static enum ptq_status run_fresh(void)
{
    return run_with((struct ptq_run_options){.fresh = 1}, NULL);
}

/* FILE with all cells, as it was. */
static void run_old(void)
{
    fake.threads = OLD;
    assert_int_equal(run(), PTQ_OK);
    fake.threads = NEW;
}

static const char *mark(void)
{
    return ptq_format(arena, "%s.cells/fresh", file);
}

/* Who reads finds all cells, those of that run. */
static void expect_all_of(int threads)
{
    struct ptq_cell *cell;
    int n;
    expect_results(all_specs);
    assert_int_equal(ptq_results_read(arena, file, &cell, &n, &error), PTQ_OK);
    for (int i = 0; i < n; i++) assert_int_equal(cell[i].threads, threads);
}

static int n_read(void)
{
    struct ptq_cell *cell;
    int n;
    assert_int_equal(ptq_results_read(arena, file, &cell, &n, &error), PTQ_OK);
    return n;
}

static int n_finished(void)
{
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    assert_int_equal(ptq_results_ids(arena, file, &ids, &n, &error), PTQ_OK);
    return n;
}

/* --fresh, interrupted in its k-th cell. */
static void interrupt_fresh(int k)
{
    fake.fail_at = k;
    fake.with = PTQ_EINTERRUPT;
    assert_int_equal(run_fresh(), PTQ_EINTERRUPT);
    fake.fail_at = 0;
}

static void test_interrupted(void **state)
{
    (void)state;
    const char *log;
    for (int k = 1; k <= N_CELLS; k += 5) {
        remove_test_results(file);
        run_old();
        interrupt_fresh(k);
        expect_all_of(OLD);
        assert_int_equal(n_finished(), k - 1);
        assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_OK);
        expect_text(log, "made-up: goes on with what --fresh began; until all cells are done ");
        assert_int_equal(fake.n_run, N_CELLS - k + 1);
        expect_all_of(NEW);
        assert_false(has_cells_folder());
    }
    assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_OK);
    assert_int_equal(fake.n_run, 0);
    assert_null(strstr(log, "--fresh"));
}

/* Where a cell fails, FILE waits for it. */
static void test_failed_cell(void **state)
{
    (void)state;
    const char *log;
    run_old();
    fake.fail_at = 3;
    fake.with = PTQ_EINPUT;
    assert_int_equal(run_with((struct ptq_run_options){.fresh = 1}, &log), PTQ_EINPUT);
    expect_text(log, "x.h5.cells holds 10 of 11\n");
    expect_text(error.text,
                "1 of 11 cells failed: salient:w3,g64,select=activation,fraction=0.001 (layer 3: it broke); "
                "the same command without --fresh tries them again, ");
    expect_text(error.text, "x.h5.cells keeps the others, and ");
    expect_text(error.text, "x.h5 stays as it was before");
    expect_all_of(OLD);
    /* What is not finished is not joined by --merge either. */
    assert_int_not_equal(run_with((struct ptq_run_options){.merge = 1}, NULL), PTQ_OK);
    expect_all_of(OLD);
    fake.fail_at = 0;
    assert_int_equal(run(), PTQ_OK);
    assert_int_equal(fake.n_run, 1);
    expect_all_of(NEW);
}

/* The one cell of an experiment says why it failed, and that FILE stays. */
static void test_all_failed(void **state)
{
    (void)state;
    write_yaml("methods: [fp16]\n");
    assert_int_equal(run(), PTQ_OK);
    fake.fail_at = 1;
    fake.with = PTQ_EINPUT;
    assert_int_equal(run_fresh(), PTQ_EINPUT);
    expect_text(error.text, "x.h5 stays as it was before");
    assert_null(strstr(error.text, "keeps")); /* no others are there */
    expect_results("fp16 ");
}

/* A second --fresh drops the first one's cells, and FILE stays. */
static void test_twice(void **state)
{
    (void)state;
    run_old();
    interrupt_fresh(4);
    fake.threads = OLD;
    interrupt_fresh(6);
    assert_int_equal(n_finished(), 5);
    interrupt_fresh(2);
    assert_int_equal(n_finished(), 1);
    expect_all_of(OLD);
    fake.threads = NEW;
    assert_int_equal(run_fresh(), PTQ_OK);
    assert_int_equal(fake.n_run, N_CELLS);
    expect_all_of(NEW);
}

/* What an interrupted run had finished is not joined yet: --fresh does it, so that it stays, too. */
static void test_behind_an_interrupted_run(void **state)
{
    (void)state;
    for (int joined = 0; joined < 2; joined++) {
        remove_test_results(file);
        write_yaml("methods: [fp16, rtn]\n");
        if (joined) assert_int_equal(run(), PTQ_OK);
        write_yaml(table1);
        fake.fail_at = joined ? 2 : 4;
        fake.with = PTQ_EINTERRUPT;
        assert_int_equal(run(), PTQ_EINTERRUPT);
        interrupt_fresh(1);
        assert_int_equal(n_read(), 3);
        assert_int_equal(n_finished(), 0);
        assert_int_equal(run(), PTQ_OK);
        assert_int_equal(fake.n_run, N_CELLS);
        expect_results(all_specs);
    }
}

/* Nothing to keep: as any run. */
static void test_without_a_file(void **state)
{
    (void)state;
    interrupt_fresh(3);
    assert_false(ptq_is_file(mark()));
    assert_int_equal(n_read(), 2);
    assert_int_equal(run(), PTQ_OK);
    assert_int_equal(fake.n_run, N_CELLS - 2);
    /* Moved away, it is waited for no longer. */
    interrupt_fresh(3);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(n_read(), 2);
    write_yaml("methods: [fp16]\n");
    assert_int_equal(run(), PTQ_OK);
    expect_results("fp16 rtn:w3,g64 ");
    assert_false(has_cells_folder());
    /* Its mark says nothing of what comes after it. */
    write_yaml(table1);
    interrupt_fresh(1);
    assert_int_equal(unlink(file), 0);
    interrupt_fresh(1);
    assert_false(ptq_is_file(mark()));
}

/* As the run before it, whose sentence is in error, and without a list of what would be run. */
static void expect_dry_run_refused(void)
{
    const char *log, *said = ptq_strdup(arena, error.text);
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_EINPUT);
    assert_string_equal(error.text, said);
    assert_string_equal(log, "");
}

/* Another experiment's cells would never be all that the file waits for. */
static void test_another_experiment(void **state)
{
    (void)state;
    run_old();
    interrupt_fresh(3);
    write_yaml("methods: [fp16, rtn, 'rtn:w4,g64']\n");
    assert_int_equal(run(), PTQ_EINPUT);
    expect_text(error.text, "x.h5: --fresh began to compute it anew, and 9 of the cells that it still lacks are not of "
                            "this run; go on with that one, start over with --fresh, or give another name behind -o");
    assert_int_equal(fake.n_run, 0);
    expect_dry_run_refused();
    expect_all_of(OLD);
    assert_int_equal(run_fresh(), PTQ_OK);
    expect_results("fp16 rtn:w3,g64 rtn:w4,g64 ");
    /* An added row is no hindrance. */
    interrupt_fresh(2);
    write_yaml("methods: [fp16, 'rtn:w5,g64', rtn, 'rtn:w4,g64']\n");
    assert_int_equal(run(), PTQ_OK);
    expect_results("fp16 rtn:w5,g64 rtn:w3,g64 rtn:w4,g64 ");
    /* One cell is told of as one. */
    interrupt_fresh(4);
    write_yaml("methods: [fp16]\n");
    assert_int_equal(run(), PTQ_EINPUT);
    expect_text(error.text, "1 of the cells that it still lacks is not of this run");
}

static void test_mark_of_another_make(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "a text of somebody", "0123456789abcdef"};
    run_old();
    interrupt_fresh(3);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(ptq_write_file(mark(), texts[i], strlen(texts[i]), &error), PTQ_OK);
        assert_int_equal(run(), PTQ_EINPUT);
        expect_text(error.text, "x.h5.cells/fresh: is not what --fresh wrote there; start over with --fresh");
        expect_dry_run_refused();
        expect_all_of(OLD);
    }
    /* As long as an id and its end, but none. */
    const char *line = ptq_format(arena, "%064d ", 0), *word = ptq_format(arena, "%064dx\n", 0) + 1;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ptq_write_file(mark(), i ? word : line, 65, &error), PTQ_OK);
        assert_int_equal(run(), PTQ_EINPUT);
    }
    /* A folder is none, and in the way. */
    assert_true(unlink(mark()) == 0 && mkdir(mark(), 0777) == 0);
    assert_int_equal(run(), PTQ_EINPUT);
    expect_text(error.text, "x.h5.cells/fresh: is a folder");
    assert_int_equal(rmdir(mark()), 0);
    assert_int_equal(run_fresh(), PTQ_OK);
    expect_all_of(NEW);
}

/* What --fresh would do, and what it would not replace. */
static void test_dry(void **state)
{
    (void)state;
    const char *log;
    run_old();
    interrupt_fresh(3);
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_OK);
    expect_text(log, "made-up: goes on with what --fresh began; until all cells are done ");
    expect_text(log, ": 2 done, 9 to run");
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1, .fresh = 1}, &log), PTQ_OK);
    expect_text(log, ": 0 done, 11 to run");
    expect_all_of(OLD);
    assert_int_equal(ptq_write_file(file, "a text", 6, &error), PTQ_OK);
    for (int dry = 0; dry < 2; dry++) {
        assert_int_equal(run_with((struct ptq_run_options){.dry_run = dry, .fresh = 1}, &log), PTQ_EINPUT);
        expect_text(error.text, "x.h5: is no results file, and is not removed; give another name behind -o");
    }
}

/* The mark cannot be written: FILE stays, with what was finished beside it. */
static void test_no_mark(void **state)
{
    (void)state;
    const char *id = ptq_format(arena, "%064d", 7), *more = ptq_format(arena, "%srtn:w5,g64 ", all_specs);
    run_old();
    write_yaml("methods: [fp16, 'rtn:w5,g64', 'rtn:w6,g64']\n");
    fake.fail_at = 2;
    fake.with = PTQ_EINTERRUPT;
    assert_int_equal(run(), PTQ_EINTERRUPT);
    assert_int_equal(mkdir(mark(), 0777), 0);
    assert_int_not_equal(ptq_results_start_over(file, (const char(*)[PTQ_SHA256_HEX])id, 1, &error), PTQ_OK);
    assert_int_equal(rmdir(mark()), 0);
    expect_results(more);
}

/* The mark goes before the cells that it names: else a kill between the two would have them computed once more. Here
 * they cannot all go. */
static void test_mark_before_cells(void **state)
{
    (void)state;
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    run_old();
    interrupt_fresh(4);
    assert_int_equal(ptq_results_ids(arena, file, &ids, &n, &error), PTQ_OK);
    const char *in_the_way = ptq_format(arena, "%s/in the way", ptq_results_part(arena, file, ids[0]));
    assert_int_equal(ptq_make_folder(in_the_way, &error), PTQ_OK);
    assert_int_equal(ptq_results_merge(file, "made-up", "", NULL, 0, &error), PTQ_EIO);
    assert_false(ptq_is_file(mark()));
    assert_int_equal(n_read(), 3);
}

/* Killed at whatever moment, and gone on with or not: FILE is all of the old one or all of the new one. */
static void test_killed_at_random(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        remove_test_results(file);
        fake.sleep_us = 0;
        run_old();
        for (int again = 0; again < 3; again++) {
            pid_t child = fork();
            if (child == 0) {
                fake.sleep_us = 200;
                _exit((again == 1 ? run() : run_fresh()) != PTQ_OK);
            }
            int how;
            usleep((useconds_t)(300 + 1000 * round));
            kill(child, SIGKILL);
            assert_int_equal(waitpid(child, &how, 0), child);
            if (!WIFSIGNALED(how)) assert_int_equal(WEXITSTATUS(how), 0);
            struct ptq_cell *cell;
            int n;
            assert_int_equal(ptq_results_read(arena, file, &cell, &n, &error), PTQ_OK);
            expect_all_of((int)cell[0].threads);
        }
        assert_int_equal(run_fresh(), PTQ_OK);
        expect_all_of(NEW);
        assert_false(has_cells_folder());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_interrupted),
        TEST(test_failed_cell),
        TEST(test_all_failed),
        TEST(test_twice),
        TEST(test_behind_an_interrupted_run),
        TEST(test_without_a_file),
        TEST(test_another_experiment),
        TEST(test_mark_of_another_make),
        TEST(test_dry),
        TEST(test_no_mark),
        TEST(test_mark_before_cells),
        TEST(test_killed_at_random),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
