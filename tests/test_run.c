/* ptq run on a pipeline that is made up: what is run and in which order, what a failure, an interrupt or a kill leaves,
 * and that the same call then goes on. The made-up cells are functions of their SPEC, so every run can be compared. */
#include "mapped.h"
#include "progress.h"
#include "run.h"
#include "words.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WINDOWS = 2, SCORED = 7, N_CELLS = 11 };

static struct ptq_arena *arena;
static struct ptq_error error;
static char folder[] = "/tmp/ptq-run-XXXXXX";
static const char *file, *yaml, *counter; /* counter: grows by a byte with every cell that was run to its end */

/* ---- the made-up pipeline ---- */

static struct {
    int fail_at; /* which call of run fails, from 1; 0: none */
    enum ptq_status with;
    int kill_at;           /* which call of run the process does not survive */
    const char *bad_model; /* cannot be planned */
    int bad_spec;          /* 1: nothing can be planned, for a reason that names the SPEC */
    int n_planned, n_run, sleep_us;
    char order[4096]; /* SPECs in the order in which they were run */
} fake;

static void *fake_make(void)
{
    return &fake;
}

static void fake_free(void *session)
{
    assert_ptr_equal(session, &fake);
}

static enum ptq_status fake_plan(void *session, const struct ptq_job *job, struct ptq_arena *where,
                                 struct ptq_cell *cell, struct ptq_error *err)
{
    (void)session;
    fake.n_planned++;
    if (fake.bad_model && strcmp(job->model, fake.bad_model) == 0)
        return ptq_fail(err, PTQ_EUSAGE, "model '%s' is not there", job->model);
    if (fake.bad_spec) return ptq_fail(err, PTQ_EINPUT, "no %s today", job->spec);
    *cell = (struct ptq_cell){0};
#define PTQ_PRESET_TEXT(name) cell->name = "";
#define PTQ_PRESET_INT(name)
#define PTQ_PRESET_REAL(name)
#define X(kind, name, ...) PTQ_PRESET_##kind(name)
    PTQ_CELL_FIELDS(X)
#undef X
    cell->spec = job->spec;
    cell->model = job->model;
    cell->experiment = job->experiment;
    cell->window = SCORED + 1;
    cell->windows = WINDOWS;
    cell->tokens = WINDOWS * SCORED;
    cell->protocol = "made up"; /* fp16 knows no seed, as in the pipeline */
    int quantized = strcmp(job->spec, "fp16") != 0;
    cell->method = ptq_strndup(where, job->spec, strcspn(job->spec, ":"));
    cell->config = ptq_format(where, "schema=1\nspec=%s\n%s|%s|%llu", job->spec, job->model, job->text,
                              quantized ? (unsigned long long)job->seed : 0);
    ptq_cell_identify(cell);
    return PTQ_OK;
}

static void count_one(void)
{
    FILE *out = fopen(counter, "ae");
    assert_non_null(out);
    fputc('x', out);
    fclose(out);
}

static enum ptq_status fake_run(void *session, const struct ptq_job *job, struct ptq_arena *where,
                                struct ptq_cell *cell, struct ptq_error *err)
{
    (void)session;
    size_t used = strlen(fake.order);
    snprintf(fake.order + used, sizeof fake.order - used, "%s ", job->spec);
    fake.n_run++;
    if (fake.n_run == fake.kill_at) raise(SIGKILL);
    if (fake.sleep_us) usleep((useconds_t)fake.sleep_us);
    if (fake.n_run == fake.fail_at) return ptq_fail(err, fake.with, "%s: layer 3: it broke", job->spec);
    cell->nll = ptq_new(where, float, WINDOWS *SCORED);
    double sum = 0;
    for (int i = 0; i < WINDOWS * SCORED; i++)
        sum += cell->nll[i] = (float)((unsigned char)cell->id[i] + (unsigned char)cell->id[20]) / 50;
    cell->nll_mean = sum / (WINDOWS * SCORED);
    cell->ppl = exp(cell->nll_mean);
    cell->linear = ptq_new(where, struct ptq_linear_report, 1);
    cell->linear[0] = (struct ptq_linear_report){.name = "a.b", .weight_error = 0.5, .output_error = -1};
    cell->n_linears = 1;
    cell->seconds_eval = 100;
    count_one();
    return PTQ_OK;
}

static const struct ptq_runner runner = {.make = fake_make, .free = fake_free, .plan = fake_plan, .run = fake_run};

/* ---- helpers ---- */

static void write_yaml(const char *text)
{
    assert_int_equal(ptq_write_file(yaml, text, strlen(text), &error), PTQ_OK);
}

static const char table1[] = "title: T\n"
                             "methods:\n"
                             "  - fp16\n"
                             "  - rtn\n"
                             "  - salient: {select: [activation, weight, random], fraction: [0.001, 0.01, 0.03]}\n";

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    file = ptq_join(arena, folder, "deep/er/x.h5");
    yaml = ptq_join(arena, folder, "made-up.yaml");
    counter = ptq_join(arena, folder, "counter");
    memset(&fake, 0, sizeof fake);
    ptq_progress_quiet(1);
    ptq_results_remove(file, &error);
    unlink(counter);
    write_yaml(table1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    return 0;
}

/* Runs, with what it said in *log (in arena). */
static enum ptq_status run_with(struct ptq_run_options options, const char **log)
{
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);
    options.experiment = yaml;
    if (!options.out) options.out = file;
    options.runner = &runner;
    options.list = options.log = out;
    fake.n_run = fake.n_planned = 0;
    fake.order[0] = 0;
    enum ptq_status status = ptq_run(&options, &error);
    fclose(out);
    if (log) *log = ptq_strdup(arena, said);
    free(said);
    return status;
}

static enum ptq_status run(void)
{
    return run_with((struct ptq_run_options){0}, NULL);
}

static void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in '%s'", part, text);
}

/* The results hold these cells in this order, as the made-up pipeline makes them. */
static void expect_results(const char *specs)
{
    struct ptq_cell *cell;
    int n;
    struct ptq_buffer found = {0};
    if (ptq_results_read(arena, file, &cell, &n, &error)) fail_msg("%s", error.text);
    for (int i = 0; i < n; i++) {
        ptq_buffer_add(&found, "%s ", cell[i].spec);
        assert_true(cell[i].ppl > 1);
    }
    assert_string_equal(found.data, specs);
    free(found.data);
}

static const char all_specs[] =
    "fp16 rtn:w3,g64 salient:w3,g64,select=activation,fraction=0.001 salient:w3,g64,select=activation,fraction=0.01 "
    "salient:w3,g64,select=activation,fraction=0.03 salient:w3,g64,select=weight,fraction=0.001 "
    "salient:w3,g64,select=weight,fraction=0.01 salient:w3,g64,select=weight,fraction=0.03 "
    "salient:w3,g64,select=random,fraction=0.001 salient:w3,g64,select=random,fraction=0.01 "
    "salient:w3,g64,select=random,fraction=0.03 ";

static long file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) ? -1 : (long)info.st_size;
}

static int has_cells_folder(void)
{
    return ptq_is_folder(ptq_format(arena, "%s.cells", file));
}

/* ---- tests ---- */

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
    write_yaml("methods: [fp16, rtn]\nseed: [1, 2]\n");
    assert_int_equal(run(), PTQ_OK);
    assert_string_equal(fake.order, "fp16 rtn:w3,g64 rtn:w3,g64 ");
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
        ptq_results_remove(file, &error);
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
            ptq_results_remove(file, &error);
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

static void test_killed(void **state)
{
    (void)state;
    for (int k = 1; k <= N_CELLS; k += 2) {
        ptq_results_remove(file, &error);
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
    expect_text(error.text, "2 of 4 cells failed: a  fp16 and 1 more (model 'a' is not there); the same command");
    expect_results("fp16 rtn:w3,g64 ");
    fake.bad_model = NULL;
    assert_int_equal(run(), PTQ_OK);
    expect_results("fp16 rtn:w3,g64 fp16 rtn:w3,g64 ");
    /* Three reasons are given, no more. */
    write_yaml("models: [a, b]\nmethods: ['rtn:w5', 'rtn:w6', 'rtn:w7', 'rtn:w8']\n");
    fake.bad_spec = 1;
    assert_int_equal(run(), PTQ_EINPUT);
    expect_text(error.text, "8 of 8 cells failed: a  rtn:w5,g64 and 1 more (no rtn:w5,g64 today), a  rtn:w6,g64 and 1");
    expect_text(error.text, "(no rtn:w7,g64 today), and others; the same");
    fake.bad_spec = 0;
    /* Where no cell can be run nothing is made. */
    const char *other = ptq_join(arena, folder, "none/y.h5");
    write_yaml("models: [a]\nmethods: [fp16, rtn, 'rtn:w4,g-1', 'rtn:w5', 'rtn:w6']\n");
    fake.bad_model = "a";
    assert_int_equal(run_with((struct ptq_run_options){.out = other}, NULL), PTQ_EINPUT);
    assert_string_equal(error.text, "model 'a' is not there");
    assert_false(ptq_is_folder(ptq_join(arena, folder, "none")));
}

static void test_dry_run(void **state)
{
    (void)state;
    const char *log;
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

/* The list of failures goes with the results that it is of. */
static void test_list_of_failures(void **state)
{
    (void)state;
    const char *list = ptq_format(arena, "%s.failed.json", file);
    assert_int_equal(run() || ptq_write_file(list, "{}", 2, &error), 0);
    fake.fail_at = 1, fake.with = PTQ_EINTERRUPT;
    assert_true(run_with((struct ptq_run_options){.fresh = 1}, NULL) == PTQ_EINTERRUPT && !ptq_is_file(list));
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

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    const char *const leftovers[] = {"deep/er/x.h5.lock", "deep/er/x.h5", "deep/er", "deep", "made-up.yaml", "counter"};
    arena = ptq_arena_make("test");
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++) remove(ptq_join(arena, folder, leftovers[i]));
    ptq_arena_free(arena);
    return rmdir(folder);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_straight),         TEST(test_again),        TEST(test_added_row),   TEST(test_reordered),
        TEST(test_one_id_twice),     TEST(test_failed_cell),  TEST(test_stopped),     TEST(test_killed),
        TEST(test_killed_at_random), TEST(test_bad_models),   TEST(test_dry_run),     TEST(test_lock),
        TEST(test_list_of_failures), TEST(test_damaged_file), TEST(test_bad_options),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
