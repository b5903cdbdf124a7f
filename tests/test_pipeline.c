/* The whole way from a text to a cell, on the tiny checkpoints of tests/fixtures/models, against what transformers and
 * a plain torch transcription of the methods say of them (expected.h5, made by tests/fixtures/make_models.py); and that
 * neither threads nor chunks nor kernels change what comes out. */
#include "files.h"
#include "forward.h"
#include "golden.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODELS PTQ_FIXTURES "/models/"

/* A model and the folder of its expected values. */
static const struct fixture {
    const char *model, *expected;
} fixtures[] = {
    {MODELS "llama", MODELS "llama"},      {MODELS "llama3", MODELS "llama3"},
    {MODELS "opt", MODELS "opt"},          {MODELS "opt350", MODELS "opt350"},
    {MODELS "llama.gguf", MODELS "llama"}, {MODELS "llama-gqa/model.gguf", MODELS "llama-gqa"},
};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures, WINDOW = 32 };
static const double ppl_bound = 5e-5;

struct check {
    struct golden g;
    struct ptq_session *session;
    struct ptq_job job;
};

#define OK(call) GOLDEN_OK(&c->g, call)

static void begin(struct check *c, const struct fixture *f)
{
    int64_t n;
    struct ptq_arena *names = ptq_arena_make("names");
    golden_open(&c->g, strrchr(f->model, '/') + 1, ptq_join(names, f->expected, "expected.h5"));
    ptq_arena_free(names);
    golden_ids(&c->g, "/", "calib_tokens", &n);
    c->session = ptq_session_make();
    c->job = (struct ptq_job){.model = f->model,
                              .text = MODELS "text.txt",
                              .calib = MODELS "calib.txt",
                              .window = WINDOW,
                              .calib_window = WINDOW,
                              .calib_windows = n / WINDOW,
                              .bos = PTQ_BOS_NONE};
}

static void end(struct check *c)
{
    ptq_session_free(c->session);
    golden_close(&c->g);
}

static void run_cell(struct check *c, const char *spec, struct ptq_cell *cell)
{
    c->job.spec = spec;
    OK(ptq_cell_plan(c->session, &c->job, c->g.arena, cell, &c->g.err));
    OK(ptq_cell_run(c->session, &c->job, c->g.arena, cell, &c->g.err));
}

static void expect_ppl(struct check *c, const char *spec, double got, double want)
{
    if (!(fabs(got - want) <= ppl_bound * want)) fail_msg("%s %s: ppl %.7f, expected %.7f", c->g.name, spec, got, want);
}

/* ---- the full-precision model ---- */

static void check_nll(struct check *c)
{
    struct ptq_cell cell;
    run_cell(c, "fp16", &cell);
    double *want = golden_reals(&c->g, "/", "nll", cell.tokens);
    for (int64_t i = 0; i < cell.tokens; i++)
        if (fabs(cell.nll[i] - want[i]) > 2e-4)
            fail_msg("%s: nll %ld is %g, expected %g", c->g.name, (long)i, (double)cell.nll[i], want[i]);
    expect_ppl(c, "fp16", cell.ppl, golden_real(&c->g, "/", "fp_ppl"));
    c->job.bos = PTQ_BOS_STREAM;
    run_cell(c, "fp16", &cell);
    expect_ppl(c, "fp16, bos stream", cell.ppl, golden_real(&c->g, "/", "fp_ppl_bos"));
    c->job.bos = PTQ_BOS_NONE;
}

static void test_full_precision(void **state)
{
    (void)state;
    for (int i = 0; i < N_FIXTURES; i++) {
        struct check c;
        begin(&c, &fixtures[i]);
        check_nll(&c);
        end(&c);
    }
}

/* A block in its six steps gives what the fused block gives, bit for bit. */
static void test_steps(void **state)
{
    (void)state;
    for (int i = 0; i < N_FIXTURES; i++) {
        struct check check, *c = &check;
        struct ptq_cell cell;
        struct ptq_forward fused, steps;
        struct ptq_block block;
        begin(c, &fixtures[i]);
        c->job.spec = "fp16";
        OK(ptq_cell_plan(c->session, &c->job, c->g.arena, &cell, &c->g.err));
        const struct ptq_model *model = &c->session->model->model;
        const int32_t *id = c->session->model->text->windows->windows.id;
        ptq_forward_make(c->g.arena, model, id, cell.windows, WINDOW, &fused);
        ptq_forward_make(c->g.arena, model, id, cell.windows, WINDOW, &steps);
        OK(ptq_forward_embed(&fused, &c->g.err));
        OK(ptq_forward_embed(&steps, &c->g.err));
        OK(ptq_block_load(model, 0, c->g.arena, &block, &c->g.err));
        OK(ptq_forward_block(&fused, &block, 0, NULL, &c->g.err));
        int64_t n = cell.windows, widest = model->config.ff + model->config.width;
        float *in = ptq_new(c->g.arena, float, n *WINDOW *widest), *out = ptq_new(c->g.arena, float, n *WINDOW *widest);
        ptq_forward_step(&steps, &block, PTQ_ATTN_IN_STEP, 0, n, NULL, in);
        ptq_forward_step(&steps, &block, PTQ_ATTENTION_STEP, 0, n, in, out);
        ptq_forward_step(&steps, &block, PTQ_ATTN_OUT_STEP, 0, n, out, NULL);
        ptq_forward_step(&steps, &block, PTQ_MLP_IN_STEP, 0, n, NULL, in);
        ptq_forward_step(&steps, &block, PTQ_MLP_STEP, 0, n, in, out);
        ptq_forward_step(&steps, &block, PTQ_MLP_OUT_STEP, 0, n, out, NULL);
        assert_memory_equal(fused.x, steps.x, sizeof(float) * (size_t)(n * WINDOW * model->config.width));
        end(c);
    }
}

/* ---- what must not change a byte ---- */

static void expect_near(const struct ptq_cell *a, const struct ptq_cell *b)
{
    assert_string_equal(a->id, b->id);
    for (int64_t i = 0; i < a->tokens; i++) assert_true(fabs(a->nll[i] - b->nll[i]) <= 1e-4);
}

static void expect_same(const struct ptq_cell *a, const struct ptq_cell *b, const char *what)
{
    if (strcmp(a->id, b->id)) fail_msg("%s changes a cell's id", what);
    assert_int_equal(a->tokens, b->tokens);
    if (memcmp(a->nll, b->nll, sizeof *a->nll * (size_t)a->tokens)) fail_msg("%s changes the nll of %s", what, a->spec);
    assert_int_equal(a->n_linears, b->n_linears);
    for (int i = 0; i < a->n_linears; i++) {
        assert_string_equal(a->linear[i].name, b->linear[i].name);
        assert_memory_equal(&a->linear[i].weight_error, &b->linear[i].weight_error, sizeof(double));
        assert_memory_equal(&a->linear[i].output_error, &b->linear[i].output_error, sizeof(double));
    }
}

static void test_same_bytes(void **state)
{
    (void)state;
    static const char *const specs[] = {"fp16", "rtn:w3,g32", "salient:w3,g32,select=activation,fraction=0.03",
                                        "salient:w3,g32,select=random,fraction=0.03",
                                        "scale:w3,g32,fraction=0.1,s=1.5"};
    int64_t whole = ptq_chunk_bytes;
    for (int i = 0; i < N_FIXTURES; i++)
        for (int s = 0; s < 5; s++) {
            struct check c[3];
            struct ptq_cell cell[3];
            for (int run = 0; run < 3; run++) {
                ptq_pool_start(run == 0 ? 1 : run == 1 ? 2 : 3);
                ptq_chunk_bytes = run == 2 ? 1 : whole; /* one window at a time: codes are kept between chunks */
                begin(&c[run], &fixtures[i]);
                run_cell(&c[run], specs[s], &cell[run]);
            }
            ptq_chunk_bytes = whole;
            expect_same(&cell[0], &cell[1], "a second thread");
            expect_near(&cell[0], &cell[2]); /* OpenBLAS sums fewer rows by another kernel: not the same bytes */
            for (int run = 0; run < 3; run++) end(&c[run]);
        }
    ptq_pool_start(2);
}

/* Statistics read back from the cache are those that were measured. */
static void test_cached_statistics(void **state)
{
    (void)state;
    char folder[] = "/tmp/ptq-cache-XXXXXX";
    assert_non_null(mkdtemp(folder));
    setenv("PTQ_CACHE", folder, 1);
    struct check c[2];
    struct ptq_cell cell[2];
    for (int run = 0; run < 2; run++) {
        begin(&c[run], &fixtures[1]);
        run_cell(&c[run], "salient:w3,g32,select=activation,fraction=0.1", &cell[run]);
    }
    assert_true(cell[0].seconds_calibrate > 0);
    assert_true(cell[1].seconds_calibrate == 0);
    expect_same(&cell[0], &cell[1], "the cache");
    for (int run = 0; run < 2; run++) end(&c[run]);
    setenv("PTQ_CACHE", "/nonexistent", 1); /* a cache that cannot be written is no error */
    begin(&c[0], &fixtures[1]);
    run_cell(&c[0], "salient:w3,g32,select=activation,fraction=0.1", &cell[0]);
    end(&c[0]);
}

/* Moments that are damaged, or gone, when a cell comes to them are measured again for it and for those behind it. */
static void test_lost_statistics(void **state)
{
    (void)state;
    char folder[] = "/tmp/ptq-cache-XXXXXX";
    struct check c[2];
    struct ptq_cell cold, cell;
    begin(&c[0], &fixtures[1]);
    run_cell(&c[0], "awq:w3,g32,loss=gram", &cold);
    assert_non_null(mkdtemp(folder));
    setenv("PTQ_CACHE", folder, 1);
    begin(&c[1], &fixtures[1]);
    for (int run = 0; run < 4; run++) {
        run_cell(&c[1], run == 2 ? "awq+gptq:w2,g32" : "awq:w3,g32,loss=gram", &cell);
        if (run != 2) expect_same(&cold, &cell, "statistics that were lost");
        assert_true((cell.seconds_calibrate > 0) == (run != 3)); /* before the last one nothing happened */
        if (run == 0) write_test_text(c[1].session->measured->stats->folder, "block0001.h5", "damaged");
        if (run == 1) remove_test_folder(folder);
    }
    for (int i = 0; i < 2; i++) end(&c[i]);
    remove_test_folder(folder);
    setenv("PTQ_CACHE", "/nonexistent", 1);
}

/* Jobs that cannot be: each with words that the sentence must hold. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        struct ptq_job change;
    } table[] = {
        {"needs a calibration text", {.spec = "salient:w3,g32"}},
        {"needs a calibration text; give --calib FILE", {.spec = "salient:w3,g32", .calib = PTQ_NO_CALIB}},
        {"nosuch.txt: no such text", {.calib = "nosuch.txt"}}, /* though FP16 would not read it */
        {"nosuch.txt: no such text", {.spec = "rtn:w3,g32", .calib = "nosuch.txt"}},
        {"is a folder, and a text is one file", {.calib = MODELS}},
        {"g is 0", {.spec = "rtn:g0"}},
        {"give 0 windows of 2000", {.window = 2000}},
        {"but 1000 are asked for", {.max_windows = 1000}},
        {"device 'tpu'", {.device = "tpu"}},
        {"path 'sideways'", {.path = "sideways"}},
        {"nowhere.txt", {.text = "nowhere.txt"}},
        {"nomodel", {.model = "nomodel"}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check c;
        struct ptq_cell cell;
        begin(&c, &fixtures[0]);
        struct ptq_job job = {.model = fixtures[0].model, .text = MODELS "text.txt", .window = WINDOW};
        const struct ptq_job *change = &table[i].change;
        if (change->spec) job.spec = change->spec;
        if (change->window) job.window = change->window;
        if (change->max_windows) job.max_windows = change->max_windows;
        if (change->device) job.device = change->device;
        if (change->path) job.path = change->path;
        if (change->text) job.text = change->text;
        if (change->calib) job.calib = change->calib;
        if (change->model) job.model = change->model;
        if (ptq_cell_plan(c.session, &job, c.g.arena, &cell, &c.g.err) == PTQ_OK)
            fail_msg("'%s' was taken", table[i].words);
        if (!strstr(c.g.err.text, table[i].words)) fail_msg("'%s' is not in: %s", table[i].words, c.g.err.text);
        end(&c);
    }
}

/* A calibration text that nobody named may be missing where nobody reads it; one that is none is not looked for, and
 * the cell is another. */
static void test_no_calibration(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *calib;
        int by_default;
    } rows[] = {{"fp16", "nosuch.txt", 1}, {"fp16", PTQ_NO_CALIB, 0}, {"rtn:w3,g32", PTQ_NO_CALIB, 0}};
    struct check c;
    struct ptq_cell cell, with;
    begin(&c, &fixtures[0]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_job job = {.model = fixtures[0].model,
                              .spec = rows[i].spec,
                              .text = MODELS "text.txt",
                              .window = WINDOW,
                              .calib = rows[i].calib,
                              .calib_by_default = rows[i].by_default};
        if (ptq_cell_plan(c.session, &job, c.g.arena, &cell, &c.g.err)) fail_msg("%s", c.g.err.text);
        assert_string_equal(cell.calib, "");
        job.calib = MODELS "calib.txt";
        job.calib_window = WINDOW;
        job.calib_windows = 4;
        if (ptq_cell_plan(c.session, &job, c.g.arena, &with, &c.g.err)) fail_msg("%s", c.g.err.text);
        assert_int_equal(strcmp(cell.id, with.id) != 0, i == 2);
    }
    end(&c);
}

/* Statistics are held of one calibration at a time, whatever number of draws a sweep has; a cell that comes back to an
 * earlier draw gives the same numbers. */
static void test_statistics_are_let_go(void **state)
{
    (void)state;
    struct check check, *c = &check;
    struct ptq_cell cell[4];
    begin(c, &fixtures[0]);
    c->job.calib_windows = 2;
    c->job.calib_sample = PTQ_SAMPLE_RANDOM;
    for (int i = 0; i < 4; i++) {
        int held = 0;
        c->job.seed = (uint64_t)i % 3;
        run_cell(c, "salient:w3,g32", &cell[i]);
        for (struct ptq_shared_text *t = c->session->model->text; t; t = t->next)
            for (struct ptq_shared_windows *w = t->windows; w; w = w->next) held += w->stats != NULL;
        assert_int_equal(held, 1);
    }
    assert_string_not_equal(cell[0].calib_sha256, cell[1].calib_sha256);
    assert_string_equal(cell[0].calib_sha256, cell[3].calib_sha256);
    assert_memory_equal(cell[0].nll, cell[3].nll, sizeof *cell[0].nll * (size_t)cell[0].tokens);
    run_cell(c, "gptq:w3,g32", &cell[1]); /* reads none, and its memory is counted without them */
    assert_null(c->session->measured);
    assert_null(c->session->statistics);
    end(c);
}

/* A cell's peak is its own, whatever the process held before it began. */
static void test_peak_is_the_cells(void **state)
{
    (void)state;
    struct check check, *c = &check;
    struct ptq_cell cell;
    enum { BEFORE = 256 << 20 };
    struct ptq_arena *earlier = ptq_arena_make("an earlier cell");
    memset(ptq_alloc(earlier, BEFORE, "its memory"), 1, BEFORE);
    ptq_arena_free(earlier);
    int64_t most = ptq_peak_rss_bytes();
    assert_true(most > BEFORE);
    if (access("/proc/self/clear_refs", W_OK)) skip();
    begin(c, &fixtures[0]);
    run_cell(c, "rtn:w3,g32", &cell);
    assert_in_range(cell.peak_rss_bytes, 1 << 20, most - BEFORE / 2);
    end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_precision),    cmocka_unit_test(test_steps),
        cmocka_unit_test(test_same_bytes),        cmocka_unit_test(test_cached_statistics),
        cmocka_unit_test(test_lost_statistics),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_calibration),    cmocka_unit_test(test_statistics_are_let_go),
        cmocka_unit_test(test_peak_is_the_cells),
    };
    setenv("PTQ_CACHE", "/nonexistent", 1);
    ptq_progress_quiet(1);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
