/* ptq run on a pipeline that is made up. Its cells are functions of their SPEC, so every run can be compared. */
#ifndef PTQ_TESTS_MADE_UP_RUN_H
#define PTQ_TESTS_MADE_UP_RUN_H

#include "folders.h"
#include "mapped.h"
#include "pool.h"
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
    int kill_at;                                      /* which call of run the process does not survive */
    const char *bad_model;                            /* cannot be planned */
    const char *commit;                               /* that the cells are of; NULL: none */
    const char *copy;                                 /* a model, or text, of the same bytes as "a" */
    int calibrates;                                   /* 1: what is quantised reads calibration texts */
    int bad_spec;                                     /* 1: nothing can be planned, for a reason that names the SPEC */
    int n_planned, n_run, sleep_us, threads, windows; /* windows 0: WINDOWS */
    char order[4096];                                 /* SPECs in the order in which they were run */
} fake;

static inline void *fake_make(void)
{
    return &fake;
}

static inline void fake_free(void *session)
{
    assert_ptr_equal(session, &fake);
}

static inline const char *sha256_of(struct ptq_arena *where, const char *text)
{
    char hex[PTQ_SHA256_HEX];
    ptq_sha256(text, strlen(text), hex);
    return ptq_strdup(where, hex);
}

/* What name is the name of. */
static inline const char *bytes_of(const char *name)
{
    return fake.copy && strcmp(name, fake.copy) == 0 ? "a" : name;
}

static inline enum ptq_status fake_plan(void *session, const struct ptq_job *job, struct ptq_arena *where,
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
    cell->windows = fake.windows ? fake.windows : WINDOWS;
    cell->tokens = cell->windows * SCORED;
    cell->text = job->text;
    cell->seed = (int64_t)job->seed;
    cell->model_sha256 = sha256_of(where, bytes_of(job->model));
    cell->tokens_sha256 = sha256_of(where, bytes_of(job->text));
    if (fake.commit) cell->commit = fake.commit;
    cell->protocol = ptq_format(where, "first %lld windows", (long long)job->max_windows);
    int quantized = strcmp(job->spec, "fp16") != 0; /* fp16 knows no seed, as in the pipeline */
    cell->method = ptq_strndup(where, job->spec, strcspn(job->spec, ":"));
    if (quantized && fake.calibrates) cell->calib = job->calib;
    cell->config =
        ptq_format(where, "schema=1\nspec=%s\n%s|%s|%s|%llu|%s", job->spec, bytes_of(job->model), bytes_of(job->text),
                   bytes_of(cell->calib), quantized ? (unsigned long long)job->seed : 0, cell->protocol);
    ptq_cell_identify(cell);
    return PTQ_OK;
}

static inline void count_one(void)
{
    FILE *out = fopen(counter, "ae");
    assert_non_null(out);
    fputc('x', out);
    fclose(out);
}

static inline enum ptq_status fake_run(void *session, const struct ptq_job *job, struct ptq_arena *where,
                                       struct ptq_cell *cell, struct ptq_error *err)
{
    (void)session;
    size_t used = strlen(fake.order);
    snprintf(fake.order + used, sizeof fake.order - used, "%s ", job->spec);
    fake.n_run++;
    if (fake.n_run == fake.kill_at) raise(SIGKILL);
    if (fake.sleep_us) usleep((useconds_t)fake.sleep_us);
    if (fake.n_run == fake.fail_at) return ptq_fail(err, fake.with, "%s: layer 3: it broke", job->spec);
    cell->nll = ptq_new(where, float, cell->tokens);
    double sum = 0;
    for (int i = 0; i < cell->tokens; i++)
        sum += cell->nll[i] = (float)((unsigned char)cell->id[i % 60] + (unsigned char)cell->id[20]) / 50;
    cell->nll_mean = sum / (double)cell->tokens;
    cell->ppl = exp(cell->nll_mean);
    cell->linear = ptq_new(where, struct ptq_linear_report, 1);
    cell->linear[0] = (struct ptq_linear_report){.name = "a.b", .weight_error = 0.5, .output_error = -1};
    cell->n_linears = 1;
    cell->seconds_eval = 100;
    cell->threads = fake.threads;
    count_one();
    return PTQ_OK;
}

static const struct ptq_runner runner = {.make = fake_make, .free = fake_free, .plan = fake_plan, .run = fake_run};

/* ---- helpers ---- */

static inline void write_yaml(const char *text)
{
    assert_int_equal(ptq_write_file(yaml, text, strlen(text), &error), PTQ_OK);
}

static const char table1[] = "title: T\n"
                             "methods:\n"
                             "  - fp16\n"
                             "  - rtn\n"
                             "  - salient: {select: [activation, weight, random], fraction: [0.001, 0.01, 0.03]}\n";

static inline int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    file = ptq_join(arena, folder, "deep/er/x.h5");
    yaml = ptq_join(arena, folder, "made-up.yaml");
    counter = ptq_join(arena, folder, "counter");
    memset(&fake, 0, sizeof fake);
    ptq_progress_quiet(1);
    remove_test_results(file);
    unlink(counter);
    write_yaml(table1);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    return 0;
}

/* Runs, with what it said in *log (in arena). */
static inline enum ptq_status run_with(struct ptq_run_options options, const char **log)
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

static inline enum ptq_status run(void)
{
    return run_with((struct ptq_run_options){0}, NULL);
}

static inline void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in '%s'", part, text);
}

/* The results hold these cells in this order, as the made-up pipeline makes them. */
static inline void expect_results(const char *specs)
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

static inline long file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) ? -1 : (long)info.st_size;
}

static inline int has_cells_folder(void)
{
    return ptq_is_folder(ptq_format(arena, "%s.cells", file));
}

static inline int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static inline int remove_folder(void **state)
{
    (void)state;
    const char *const leftovers[] = {"deep/er/x.h5.lock", "deep/er/x.h5", "deep/er", "deep", "made-up.yaml", "counter"};
    arena = ptq_arena_make("test");
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++) remove(ptq_join(arena, folder, leftovers[i]));
    ptq_arena_free(arena);
    return rmdir(folder);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
