/* ptq run on a pipeline that is made up: what is run and in which order, what a failure, an interrupt or a kill leaves,
 * and that the same call then goes on. The made-up cells are functions of their SPEC, so every run can be compared. */
#include "made_up_run.h"

static void test_straight(void **state)
{
    (void)state;
    const char *log;
    assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_OK);
    assert_string_equal(fake.order, all_specs);
    expect_results(all_specs);
    assert_false(has_cells_folder());
    expect_text(log, "made-up: 11 cells in ");
    expect_text(log, ": 0 done, 11 to run\n");
    expect_text(log, "[1/11] fp16  ppl ");
    expect_text(log, "about 17 min left\n"); /* 10 cells of 100 s */
    expect_text(log, "[11/11] salient:w3,g64,select=random,fraction=0.03  ppl ");
    expect_text(log, "made-up: 11 cells run in ");
}

static void test_again(void **state)
{
    (void)state;
    const char *log;
    assert_int_equal(run(), PTQ_OK);
    assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_OK);
    assert_int_equal(fake.n_run, 0);
    assert_int_equal(fake.n_planned, N_CELLS);
    expect_text(log, "11 done, 0 to run\n");
    expect_results(all_specs);
    assert_int_equal(run_with((struct ptq_run_options){.fresh = 1}, NULL), PTQ_OK);
    assert_int_equal(fake.n_run, N_CELLS);
    expect_results(all_specs);
}

/* An added row costs itself; the table has the new order; what was there before stays behind. */
static void test_added_row(void **state)
{
    (void)state;
    write_yaml("methods: [fp16, rtn]\n");
    assert_int_equal(run(), PTQ_OK);
    write_yaml("methods: ['rtn:w4,g64', fp16]\n");
    assert_int_equal(run(), PTQ_OK);
    assert_string_equal(fake.order, "rtn:w4,g64 ");
    expect_results("rtn:w4,g64 fp16 rtn:w3,g64 ");
}

/* Only the order is another: nothing is run, and the table has it. */
static void test_reordered(void **state)
{
    (void)state;
    write_yaml("methods: [fp16, rtn]\n");
    assert_int_equal(run(), PTQ_OK);
    write_yaml("methods: [rtn, fp16]\n");
    assert_int_equal(run(), PTQ_OK);
    assert_int_equal(fake.n_run, 0);
    expect_results("rtn:w3,g64 fp16 ");
}

static void test_one_id_twice(void **state)
{
    (void)state;
    write_yaml("methods: [fp16, rtn, salient: {select: random, fraction: 0.01}]\nseed: [1, 2]\n");
    assert_int_equal(run(), PTQ_OK);
    static const char drawn[] = "salient:w3,g64,select=random,fraction=0.01";
    assert_string_equal(fake.order, ptq_format(arena, "fp16 rtn:w3,g64 %s %s ", drawn, drawn));
    /* The same id by two jobs: models of one content are not told apart here. */
    fake.n_planned = 0;
    write_yaml("methods: [fp16, 'fp16']\n");
    assert_int_equal(run(), PTQ_OK);
    assert_int_equal(fake.n_planned, 1);
}

static void test_failed_cell(void **state)
{
    (void)state;
    const enum ptq_status of_a_cell[] = {PTQ_EINPUT, PTQ_ENUMERIC};
    for (int i = 0; i < 2; i++) {
        const char *log;
        remove_test_results(file);
        fake.fail_at = 3;
        fake.with = of_a_cell[i];
        assert_int_equal(run_with((struct ptq_run_options){0}, &log), of_a_cell[i]);
        assert_int_equal(fake.n_run, N_CELLS);
        expect_text(log, "[3/11] salient:w3,g64,select=activation,fraction=0.001  failed: layer 3: it broke\n");
        expect_text(error.text, "1 of 11 cells failed: salient:w3,g64,select=activation,fraction=0.001 (layer 3: it "
                                "broke); the same command tries them again");
        assert_false(has_cells_folder());
        fake.fail_at = 0;
        assert_int_equal(run(), PTQ_OK);
        assert_string_equal(fake.order, "salient:w3,g64,select=activation,fraction=0.001 ");
        expect_results(all_specs);
    }
}

/* What is no cell's own fault stops the run; what is finished stays. */
static void test_stopped(void **state)
{
    (void)state;
    const enum ptq_status at_once[] = {PTQ_EINTERRUPT, PTQ_EIO, PTQ_EDEVICE};
    for (int i = 0; i < 3; i++)
        for (int k = 1; k <= N_CELLS; k += 5) {
            remove_test_results(file);
            fake.fail_at = k;
            fake.with = at_once[i];
            assert_int_equal(run(), at_once[i]);
            assert_int_equal(fake.n_run, k);
            expect_text(error.text, ptq_format(arena, "%d of 11 cells are done: ", k - 1));
            fake.fail_at = 0;
            assert_int_equal(run(), PTQ_OK);
            assert_int_equal(fake.n_run, N_CELLS - k + 1);
            expect_results(all_specs);
        }
}

/* One finished cell by itself, while the others are run. */
static void test_one_of_them(void **state)
{
    (void)state;
    char(*ids)[PTQ_SHA256_HEX];
    struct ptq_cell *cell;
    int n;
    fake.fail_at = 3, fake.with = PTQ_EINTERRUPT;
    assert_int_equal(run(), PTQ_EINTERRUPT);
    assert_true(ptq_results_ids(arena, file, &ids, &n, &error) == PTQ_OK && n == 2);
    assert_true(ptq_results_one(arena, file, ids[0], &cell, &error) == PTQ_OK && cell);
    assert_true(strcmp(cell->id, ids[0]) == 0 && cell->ppl > 1);
    const char *path[2] = {ptq_format(arena, "%s.cells/%s.h5", file, ids[0]),
                           ptq_format(arena, "%s.cells/%s.h5", file, ids[1])};
    assert_int_equal(rename(path[0], path[1]), 0);
    assert_true(ptq_results_one(arena, file, ids[0], &cell, &error) == PTQ_OK && !cell);
    assert_int_equal(ptq_results_one(arena, file, ids[1], &cell, &error), PTQ_EINPUT);
    expect_text(error.text, "does not hold the cell that its name says");
    assert_int_equal(truncate(path[1], 5000), 0);
    assert_true(ptq_results_one(arena, file, ids[1], &cell, &error) == PTQ_OK && !cell);
}

/* A task looks for its own cell, beside the others or joined, and for no other one, such as that of a file that nobody
 * can read; while --fresh computes all anew, what is joined does not count. */
static void test_task(void **state)
{
    (void)state;
    struct ptq_cell *cell;
    int n, has;
    assert_int_equal(run(), PTQ_OK);
    assert_true(ptq_results_read(arena, file, &cell, &n, &error) == PTQ_OK && n == N_CELLS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ptq_results_has(file, i ? ptq_format(arena, "%064d", 0) : cell[4].id, &has, &error), PTQ_OK);
        assert_int_equal(has, !i);
    }
    assert_int_equal(ptq_results_start_over(file, (const char(*)[PTQ_SHA256_HEX])cell[4].id, 1, &error), PTQ_OK);
    assert_true(ptq_results_has(file, cell[4].id, &has, &error) == PTQ_OK && !has);
    remove_test_results(file);
    assert_int_equal(ptq_results_put(file, &cell[0], &error), PTQ_OK);
    assert_int_equal(rename(ptq_format(arena, "%s.cells/%s.h5", file, cell[0].id),
                            ptq_format(arena, "%s.cells/%s.h5", file, cell[1].id)),
                     0);
    const char *tasks = ptq_format(arena, "%s.tasks", file);
    assert_int_equal(ptq_make_folder(tasks, &error), PTQ_OK);
    for (int again = 0; again < 2; again++) {
        if (run_with((struct ptq_run_options){.cell = ptq_format(arena, "4:%s", cell[4].id)}, NULL))
            fail_msg("%s", error.text);
        assert_int_equal(fake.n_run, !again);
    }
    assert_true(ptq_results_has(file, cell[4].id, &has, &error) == PTQ_OK && has);
    unlink(ptq_format(arena, "%s/%s.lock", tasks, cell[4].id));
    rmdir(tasks);
}

static void test_killed(void **state)
{
    (void)state;
    for (int k = 1; k <= N_CELLS; k += 2) {
        remove_test_results(file);
        pid_t child = fork();
        if (child == 0) {
            fake.kill_at = k;
            run();
            _exit(0);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how));
        assert_int_equal(run(), PTQ_OK);
        assert_int_equal(fake.n_run, N_CELLS - k + 1);
        expect_results(all_specs);
    }
}

/* At whatever moment: no finished cell is lost, and at most the one that was under way is computed again. */
static void test_killed_at_random(void **state)
{
    (void)state;
    int kills = 0;
    for (int round = 0; round < 40; round++) {
        pid_t child = fork();
        if (child == 0) {
            fake.sleep_us = 1000;
            _exit(run() != PTQ_OK);
        }
        int how;
        usleep((useconds_t)(1000 + 700 * round));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &how, 0), child);
        kills += WIFSIGNALED(how);
        if (!WIFSIGNALED(how)) assert_int_equal(WEXITSTATUS(how), 0);
    }
    assert_int_equal(run(), PTQ_OK);
    expect_results(all_specs);
    assert_false(has_cells_folder());
    assert_true(file_size(counter) >= N_CELLS && file_size(counter) <= N_CELLS + kills);
}

static void test_lock(void **state)
{
    (void)state;
    struct ptq_lock lock;
    assert_int_equal(run(), PTQ_OK);
    assert_int_equal(ptq_results_lock(file, &lock, &error), PTQ_OK);
    assert_int_not_equal(run_with((struct ptq_run_options){.fresh = 1}, NULL), PTQ_OK);
    expect_text(error.text, file);
    assert_int_equal(fake.n_run, 0);
    ptq_results_unlock(&lock);
    expect_results(all_specs);
    assert_int_equal(run(), PTQ_OK);
}

/* A results file that cannot be read is left alone, unless --fresh says otherwise. */
static void test_damaged_file(void **state)
{
    (void)state;
    assert_int_equal(run() || truncate(file, 1000), 0);
    assert_int_equal(run(), PTQ_EINPUT);
    expect_text(error.text, "--fresh");
    assert_int_equal(run_with((struct ptq_run_options){.fresh = 1}, NULL), PTQ_OK);
    expect_results(all_specs);
    ptq_write_file(file, "a text of somebody", 18, &error);
    assert_int_equal(run_with((struct ptq_run_options){.fresh = 1}, NULL), PTQ_EINPUT);
    assert_int_equal(file_size(file), 18);
    unlink(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_straight),     TEST(test_again),       TEST(test_added_row),        TEST(test_reordered),
        TEST(test_one_id_twice), TEST(test_failed_cell), TEST(test_stopped),          TEST(test_one_of_them),
        TEST(test_task),         TEST(test_killed),      TEST(test_killed_at_random), TEST(test_lock),
        TEST(test_damaged_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
