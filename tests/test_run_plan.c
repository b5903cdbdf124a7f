/* What ptq run says before it runs anything: what is done, what is left and how long that takes, and what cannot be. */
#include "made_up_run.h"
#include "failures.h"

static void test_bad_models(void **state)
{
    (void)state;
    const char *log;
    write_yaml("models: [a, b]\nmethods: [fp16, rtn]\n");
    fake.bad_model = "a";
    assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_EINPUT);
    assert_string_equal(fake.order, "fp16 rtn:w3,g64 ");
    expect_text(log, "x.h5 holds 2 of 4\n");
    expect_text(log, "[1/4] a  fp16  failed: model 'a' is not there\n");
    expect_text(log, "2 cannot be run");
    expect_text(error.text, "2 of 4 cells failed: a  fp16 and 1 more (model 'a' is not there); the same command tries "
                            "them again, ");
    expect_text(error.text, "x.h5 keeps the others");
    expect_results("fp16 rtn:w3,g64 ");
    write_yaml("models: [a, b]\nmethods: [fp16, rtn, 'rtn:w4']\n");
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, NULL), PTQ_EINPUT);
    assert_string_equal(error.text, "3 of 6 cells cannot be run: a  fp16 and 2 more (model 'a' is not there)");
    write_yaml("models: [a, b]\nmethods: [fp16, rtn]\n");
    fake.bad_model = NULL;
    assert_int_equal(run(), PTQ_OK);
    expect_results("fp16 rtn:w3,g64 fp16 rtn:w3,g64 ");
    /* Three reasons are given, no more. */
    write_yaml("models: [a, b]\nmethods: ['rtn:w5', 'rtn:w6', 'rtn:w7', 'rtn:w8']\n");
    fake.bad_spec = 1;
    assert_int_equal(run(), PTQ_EINPUT);
    expect_text(error.text, "8 of 8 cells failed: a  rtn:w5,g64 and 1 more (no rtn:w5,g64 today), a  rtn:w6,g64 and 1");
    expect_text(error.text, "(no rtn:w7,g64 today), and others; the same command tries them again");
    assert_null(strstr(error.text, "keeps")); /* no cell is there */
    fake.bad_spec = 0;
    /* Where no cell can be run nothing is made. */
    const char *other = ptq_join(arena, folder, "none/y.h5");
    write_yaml("models: [a]\nmethods: [fp16, rtn, 'rtn:w4,g-1', 'rtn:w5', 'rtn:w6']\n");
    fake.bad_model = "a";
    assert_int_equal(run_with((struct ptq_run_options){.out = other}, NULL), PTQ_EINPUT);
    assert_string_equal(error.text, "model 'a' is not there");
    assert_false(ptq_is_folder(ptq_join(arena, folder, "none")));
}

/* A model that is another one by a second name, which no cell is of: said once, whatever of it was planned before. */
static void test_same_files(void **state)
{
    (void)state;
    static const char said[] = "made-up: note: b is a again, the same files: its cells are counted once\n";
    const char *log;
    write_yaml("models: [a, b, c]\nmethods: [fp16, rtn]\n");
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_OK);
    expect_text(log, "6 cells");
    assert_null(strstr(log, "again"));
    fake.copy = "b";
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_OK);
    expect_text(log, "4 cells");
    expect_text(log, said);
    assert_null(strstr(strstr(log, said) + sizeof said - 1, "again"));
    assert_int_equal(run_with((struct ptq_run_options){0}, &log), PTQ_OK);
    expect_text(log, said);
    write_yaml("models: [a]\nmethods: [rtn]\ncalib: {text: [c, d]}\n"); /* which RTN does not read: one cell */
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1, .fresh = 1}, &log), PTQ_OK);
    expect_text(log, "1 cell");
    assert_null(strstr(log, "again"));
}

/* Texts too; a calibration text where it is read, and not of the cells that all of its texts have in common. */
static void test_same_texts(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *cells, *says;
    } rows[] = {
        {"methods: [fp16, rtn]\neval: {text: [a, b, c]}\n", "4 cells", "text b is a again, the same bytes: "},
        {"methods: [fp16, awq]\ncalib: {text: [a, c, b]}\n", "3 cells",
         "calibration text b is a again, the same windows: "},
        {"methods: [fp16]\ncalib: {text: [a, b]}\n", "1 cell", NULL},
        {"methods: [awq]\ncalib: {text: [c, d]}\n", "2 cells", NULL},
        {"methods: [rtn]\ncalib: {text: [c, d]}\n", "1 cell", NULL}, /* which it does not read */
        {"methods: [rtn]\ncalib: {text: [a, b]}\n", "1 cell", NULL},
    };
    fake.copy = "b", fake.calibrates = 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *log;
        write_yaml(rows[i].yaml);
        assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_OK);
        expect_text(log, rows[i].cells);
        const char *note = strstr(log, "again");
        assert_int_equal(note != NULL, rows[i].says != NULL);
        if (!note) continue;
        expect_text(log, ptq_format(arena, "made-up: note: %sits cells are counted once\n", rows[i].says));
        assert_null(strstr(note + 1, "again"));
    }
}

/* A label names what differs between the cells as far as the cell's method reads it. */
static void test_labels(void **state)
{
    (void)state;
    const char *log;
    fake.calibrates = 1;
    write_yaml("methods: [fp16, rtn, awq, salient: {select: random, fraction: 0.01}]\nw_bit: 3\n"
               "calib: {text: [a, c], windows: [2, 4]}\nseed: [0, 1]\n");
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_OK);
    expect_text(log, "  missing  fp16\n");
    expect_text(log, "  missing  rtn:w3,g64\n");
    expect_text(log, "  missing  salient:w3,g64,select=random,fraction=0.01  seed=1\n");
    const char *awq = strstr(log, "  missing  awq:w3,g64");
    assert_non_null(awq);
    expect_text(awq, "  calib=c  calib_windows=2  seed=1\n");
}

static void test_dry_run(void **state)
{
    (void)state;
    const char *log;
    fake.windows = 20; /* enough for intervals */
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_OK);
    expect_text(log, "T\nmade-up: 11 cells in ");
    expect_text(log, ": 0 done, 11 to run\n  missing  fp16\n  missing  rtn:w3,g64\n");
    assert_int_equal(fake.n_run, 0);
    assert_int_equal(file_size(file), -1);
    fake.fail_at = 3;
    fake.with = PTQ_EINTERRUPT;
    assert_int_equal(run(), PTQ_EINTERRUPT);
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1}, &log), PTQ_OK);
    expect_text(log, ": 2 done, 9 to run, about 15 min\n  done     fp16\n  done     rtn:w3,g64\n  missing  salient:");
    assert_int_equal(run_with((struct ptq_run_options){.dry_run = 1, .fresh = 1}, &log), PTQ_OK);
    expect_text(log, ": 0 done, 11 to run\n");
    assert_true(has_cells_folder());
}

/* Two cells of 100 s are done, with four threads each; of the nine that are left a dry run tells the time. */
static void test_time_left(void **state)
{
    (void)state;
    static const struct {
        int cores;
        const char *launcher;
        int64_t jobs, threads;
        const char *told;
        double begun;
    } rows[] = {
        {4, NULL, 0, 0, ", about 15 min\n", 0},
        {1, NULL, 0, 0, ", about 60 min\n", 0},
        {4, NULL, 2, 0, ", about 15 min\n", 0}, /* the same cores */
        {4, NULL, 3, 0, ", about 20 min\n", 0}, /* a thread each: one core has nothing to do */
        {4, NULL, 40, 0, ", about 15 min\n", 0},
        {16, NULL, 9, 0, ", about 7 min\n", 0}, /* no sooner than one cell on its one thread */
        {16, NULL, 1, 0, ", about 4 min\n", 0},
        {1, "slurm", 3, 4, ", about 5 min by 3 tasks at once of 4 threads\n", 0},
        {1, "slurm", 0, 0, ", about 7 min by 9 tasks at once of 1 thread\n", 0},
        {1, "slurm", 1, 8, ", about 8 min by 1 task at once of 8 threads\n", 0},
        /* a process of its own takes so long before its cell as this one did */
        {4, NULL, 0, 0, ", about 15 min\n", 200},
        {4, NULL, 2, 0, ", about 30 min\n", 200},
        {1, "slurm", 1, 8, ", about 38 min by 1 task at once of 8 threads\n", 200},
    };
    int cores = ptq_pool_size();
    fake.threads = 4;
    fake.fail_at = 3;
    fake.with = PTQ_EINTERRUPT;
    assert_int_equal(run(), PTQ_EINTERRUPT);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *log;
        ptq_pool_start(rows[i].cores);
        struct ptq_run_options o = {.dry_run = 1,
                                    .launcher = rows[i].launcher,
                                    .jobs = rows[i].jobs,
                                    .threads = rows[i].threads,
                                    .begun = rows[i].begun};
        assert_int_equal(run_with(o, &log), PTQ_OK);
        expect_text(log, ": 2 done, 9 to run");
        expect_text(log, rows[i].told);
    }
    ptq_pool_start(cores);
}

static void expect_left(const struct ptq_plan *plan, struct ptq_shares shares, double seconds)
{
    double left = ptq_plan_seconds_left(plan, &shares);
    if (fabs(left - seconds) > 1e-9) fail_msg("%g s and not %g", left, seconds);
}

/* What a task takes beside its cell is no work: more threads make it no shorter. It is measured on the cells of the
 * run; before the first of them a task is taken to begin as this process did, and one that is no task begins no more.
 */
static void test_beside(void **state)
{
    (void)state;
    float kl = 0;
    struct ptq_plan_cell cell[3] = {{.cost.evaluate = 1}, {.cost.evaluate = 1}, {.cost.evaluate = 1}};
    struct ptq_pace pace = {.model = "m"};
    struct ptq_plan plan = {.cell = cell, .n = 3, .pace = &pace, .n_paces = 1, .machine = 10, .begin = 2};
    struct ptq_cell done = {.seconds_load = 5, .seconds_calibrate = 1, .seconds_quantize = 1, .seconds_eval = 10};
    expect_left(&plan, (struct ptq_shares){1, 1, 0}, 30);
    expect_left(&plan, (struct ptq_shares){1, 1, 1}, 36);
    expect_left(&plan, (struct ptq_shares){2, 2, 1}, 10.5);
    expect_left(&plan, (struct ptq_shares){9, 1, 1}, 12); /* the longest */
    ptq_plan_add_beside(&plan, &done, 15);
    expect_left(&plan, (struct ptq_shares){1, 1, 1}, 39);
    expect_left(&plan, (struct ptq_shares){1, 1, 0}, 39);
    done.kl = &kl, done.seconds_reference = 2;
    ptq_plan_add_beside(&plan, &done, 15);
    expect_left(&plan, (struct ptq_shares){1, 1, 1}, 36);
    ptq_plan_add_beside(&plan, &done,
                        7); /* as where a cell was gone on with, which counts an earlier process's seconds */
    expect_left(&plan, (struct ptq_shares){1, 1, 1}, 34);
}

/* The list of failures goes with the results that it is of, which stay until --fresh has all of the new ones. */
static void test_list_of_failures(void **state)
{
    (void)state;
    const char *list = ptq_format(arena, "%s.failed.json", file);
    assert_int_equal(run() || ptq_write_file(list, "{}", 2, &error), 0);
    fake.fail_at = 1, fake.with = PTQ_EINTERRUPT;
    assert_true(run_with((struct ptq_run_options){.fresh = 1}, NULL) == PTQ_EINTERRUPT && ptq_is_file(list));
    fake.fail_at = 0;
    assert_true(run() == PTQ_OK && !ptq_is_file(list));
    unlink(file);
    assert_int_equal(ptq_write_file(list, "{}", 2, &error), PTQ_OK);
    fake.fail_at = 1;
    assert_true(run_with((struct ptq_run_options){.fresh = 1}, NULL) == PTQ_EINTERRUPT && !ptq_is_file(list));
}

/* Where not one cell can be run the list is written as well, beside results that are there; with none, nothing is. */
static void test_list_of_none(void **state)
{
    (void)state;
    struct ptq_failure *failure;
    int n;
    const char *list = ptq_format(arena, "%s.failed.json", file);
    write_yaml("models: [a]\nmethods: [fp16, rtn]\n");
    fake.bad_model = "a";
    assert_true(run() == PTQ_EINPUT && !ptq_is_file(list) && file_size(ptq_format(arena, "%s.lock", file)) < 0);
    fake.bad_model = NULL;
    assert_int_equal(run(), PTQ_OK);
    fake.bad_model = "a";
    for (int fresh = 0; fresh < 2; fresh++) {
        assert_int_equal(run_with((struct ptq_run_options){.fresh = fresh, .dry_run = 1}, NULL), PTQ_EINPUT);
        assert_false(ptq_is_file(list));
        assert_int_equal(run_with((struct ptq_run_options){.fresh = fresh}, NULL), PTQ_EINPUT);
        assert_int_equal(ptq_failures_read(arena, file, &failure, &n, &error), PTQ_OK);
        assert_int_equal(n, 2);
        assert_string_equal(failure[0].why, "model 'a' is not there");
        expect_results("fp16 rtn:w3,g64 ");
        unlink(list);
    }
}

/* A path that is mistyped is told from one that holds nothing of this. */
static void test_nothing_to_reuse(void **state)
{
    (void)state;
    const char *log, *nope = ptq_join(arena, folder, "nope");
    for (int dry = 0; dry < 2; dry++) {
        const char *verb = dry ? "would be taken" : "taken";
        assert_int_equal(run_with((struct ptq_run_options){.reuse = nope, .dry_run = dry, .fresh = 1}, &log), PTQ_OK);
        expect_text(log, ptq_format(arena, "made-up: no cell %s from %s, which is not there\n", verb, nope));
        assert_int_equal(run_with((struct ptq_run_options){.reuse = folder, .dry_run = dry, .fresh = 1}, &log), PTQ_OK);
        expect_text(log, ptq_format(arena, "made-up: 0 cells %s from %s\n", verb, folder));
    }
}

static void test_bad_options(void **state)
{
    (void)state;
    assert_int_equal(run_with((struct ptq_run_options){.out = folder}, NULL), PTQ_EUSAGE);
    expect_text(error.text, "is a folder");
    assert_int_equal(run_with((struct ptq_run_options){.out = ""}, NULL), PTQ_EUSAGE);
    const char *set = "w_bits=3";
    assert_int_equal(run_with((struct ptq_run_options){.set = &set, .n_sets = 1}, NULL), PTQ_EUSAGE);
    set = "w_bit=4";
    assert_int_equal(run_with((struct ptq_run_options){.set = &set, .n_sets = 1, .quiet = 1}, NULL), PTQ_OK);
    expect_text(fake.order, "fp16 rtn:w4,g64 ");
    write_yaml("methods: [fp16]\nw_bits: 3\n");
    assert_int_equal(run(), PTQ_EINPUT);
    expect_text(error.text, "made-up.yaml:2: unknown key 'w_bits'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bad_models),       TEST(test_same_files),       TEST(test_same_texts),  TEST(test_labels),
        TEST(test_dry_run),          TEST(test_time_left),        TEST(test_beside),      TEST(test_list_of_none),
        TEST(test_list_of_failures), TEST(test_nothing_to_reuse), TEST(test_bad_options),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
