/* The whole way from a text to a cell, on the tiny checkpoints of tests/fixtures/models, against what transformers and
 * a plain torch transcription of the methods say of them (expected.h5, made by tests/fixtures/make_models.py); and that
 * neither threads nor chunks nor kernels change what comes out. */
#include "apply.h"
#include "forward.h"
#include "h5.h"
#include "ops.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MODELS PTQ_FIXTURES "/models/"

/* A model, the folder of its expected values, and how near its perplexities must come. */
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
    const char *name;
    struct ptq_arena *arena;
    struct ptq_session *session;
    struct ptq_h5 *expected;
    struct ptq_job job;
    struct ptq_error err;
};

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s: %s", c->name, c->err.text);                                                            \
    } while (0)

static void begin(struct check *c, const struct fixture *f)
{
    *c = (struct check){
        .name = strrchr(f->model, '/') + 1, .arena = ptq_arena_make("test"), .session = ptq_session_make()};
    OK(ptq_h5_open(ptq_join(c->arena, f->expected, "expected.h5"), &c->expected, &c->err));
    c->job = (struct ptq_job){.model = f->model,
                              .text = MODELS "text.txt",
                              .calib = MODELS "calib.txt",
                              .window = WINDOW,
                              .calib_window = WINDOW,
                              .bos = PTQ_BOS_NONE};
    int64_t *id, n;
    OK(ptq_h5_ints(c->expected, "/", "calib_tokens", c->arena, &id, &n, &c->err));
    c->job.calib_windows = n / WINDOW;
}

static void end(struct check *c)
{
    ptq_h5_close(c->expected);
    ptq_session_free(c->session);
    ptq_arena_free(c->arena);
}

static void run_cell(struct check *c, const char *spec, struct ptq_cell *cell)
{
    c->job.spec = spec;
    OK(ptq_cell_plan(c->session, &c->job, c->arena, cell, &c->err));
    OK(ptq_cell_run(c->session, &c->job, c->arena, cell, &c->err));
}

static double expected_real(struct check *c, const char *group, const char *name)
{
    double value;
    OK(ptq_h5_real(c->expected, group, name, &value, &c->err));
    return value;
}

static void expect_ppl(struct check *c, const char *spec, double got, double want)
{
    if (!(fabs(got - want) <= ppl_bound * want)) fail_msg("%s %s: ppl %.7f, expected %.7f", c->name, spec, got, want);
}

/* ---- the full-precision model ---- */

static void check_nll(struct check *c)
{
    struct ptq_cell cell;
    float *want;
    int64_t rows, columns;
    run_cell(c, "fp16", &cell);
    OK(ptq_h5_floats(c->expected, "/", "nll", c->arena, &want, &rows, &columns, &c->err));
    assert_int_equal(rows, cell.windows);
    assert_int_equal(columns, WINDOW - 1);
    assert_int_equal(rows * columns, cell.tokens);
    for (int64_t i = 0; i < cell.tokens; i++)
        if (fabs(cell.nll[i] - want[i]) > 2e-4)
            fail_msg("%s: nll %ld is %g, expected %g", c->name, (long)i, (double)cell.nll[i], (double)want[i]);
    expect_ppl(c, "fp16", cell.ppl, expected_real(c, "/", "fp_ppl"));
    c->job.bos = PTQ_BOS_STREAM;
    run_cell(c, "fp16", &cell);
    expect_ppl(c, "fp16, bos stream", cell.ppl, expected_real(c, "/", "fp_ppl_bos"));
    c->job.bos = PTQ_BOS_NONE;
}

static void check_logits(struct check *c)
{
    const struct ptq_model *model = &c->session->model->model;
    struct ptq_forward f;
    float *want;
    int64_t rows, columns;
    OK(ptq_h5_floats(c->expected, "/", "logits", c->arena, &want, &rows, &columns, &c->err));
    assert_int_equal(columns, model->config.vocab);
    float *got = ptq_new(c->arena, float, rows *columns);
    const struct ptq_shared_windows *plain = c->session->model->text->windows;
    while (plain->bos != PTQ_BOS_NONE) plain = plain->next;
    ptq_forward_make(c->arena, model, plain->windows.id, 1, rows, &f);
    OK(ptq_forward_embed(&f, &c->err));
    for (int64_t b = 0; b < model->config.blocks; b++) {
        struct ptq_block block;
        OK(ptq_block_load(model, b, c->arena, &block, &c->err));
        OK(ptq_forward_block(&f, &block, b, NULL, &c->err));
    }
    OK(ptq_forward_logits(&f, c->arena, got, &c->err));
    for (int64_t i = 0; i < rows * columns; i++)
        if (fabs((double)got[i] - want[i]) > 2e-4 + 1e-4 * fabs(want[i]))
            fail_msg("%s: logit %ld is %g, expected %g", c->name, (long)i, (double)got[i], (double)want[i]);
}

static void test_full_precision(void **state)
{
    (void)state;
    for (int i = 0; i < N_FIXTURES; i++) {
        struct check c;
        begin(&c, &fixtures[i]);
        check_nll(&c);
        check_logits(&c);
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
        OK(ptq_cell_plan(c->session, &c->job, c->arena, &cell, &c->err));
        const struct ptq_model *model = &c->session->model->model;
        const int32_t *id = c->session->model->text->windows->windows.id;
        ptq_forward_make(c->arena, model, id, cell.windows, WINDOW, &fused);
        ptq_forward_make(c->arena, model, id, cell.windows, WINDOW, &steps);
        OK(ptq_forward_embed(&fused, &c->err));
        OK(ptq_forward_embed(&steps, &c->err));
        OK(ptq_block_load(model, 0, c->arena, &block, &c->err));
        OK(ptq_forward_block(&fused, &block, 0, NULL, &c->err));
        int64_t n = cell.windows, widest = model->config.ff + model->config.width;
        float *in = ptq_new(c->arena, float, n *WINDOW *widest), *out = ptq_new(c->arena, float, n *WINDOW *widest);
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

/* ---- statistics and methods ---- */

static void check_absmean(struct check *c)
{
    const struct ptq_shared_model *m = c->session->model;
    const struct ptq_model_stats *stats = NULL;
    for (const struct ptq_shared_text *t = m->text; t; t = t->next)
        if (t->windows->stats) stats = t->windows->stats;
    assert_non_null(stats);
    for (int64_t b = 0; b < stats->blocks; b++) {
        struct ptq_block block;
        OK(ptq_block_load(&m->model, b, c->arena, &block, &c->err));
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            double *want;
            int64_t n;
            const struct ptq_stats *s = &stats->input[b][ptq_role_input[role]];
            if (!block.linear[role].n) continue;
            OK(ptq_h5_reals(c->expected, "/mean_abs", block.linear[role].name, c->arena, &want, &n, &c->err));
            assert_int_equal(n, s->k);
            for (int64_t k = 0; k < n; k++)
                if (fabs(s->absmean[k] - want[k]) > 1e-5 * want[k] + 1e-7)
                    fail_msg("%s %s: mean |x_%ld| is %g, expected %g", c->name, block.linear[role].name, (long)k,
                             (double)s->absmean[k], want[k]);
        }
    }
}

/* Every SPEC under a group: its perplexity. */
static void check_specs(struct check *c, const char *group)
{
    const char **spec;
    int64_t n;
    OK(ptq_h5_groups(c->expected, group, c->arena, &spec, &n, &c->err));
    assert_true(n > 3);
    for (int64_t i = 0; i < n; i++) {
        struct ptq_cell cell;
        run_cell(c, spec[i], &cell);
        expect_ppl(c, spec[i], cell.ppl, expected_real(c, ptq_format(c->arena, "%s/%s", group, spec[i]), "ppl"));
        for (int l = 0; l < cell.n_linears; l++) {
            assert_true(cell.linear[l].weight_error > 0 && cell.linear[l].weight_error < 1);
            assert_true(cell.linear[l].output_error > 0 && cell.linear[l].output_error < 1);
        }
    }
}

static double from_tie(double w, double scale)
{
    double steps = w / scale;
    return fabs(steps - floor(steps) - 0.5);
}

static void compare_codes(struct check *c, const char *group, const struct ptq_linear *original,
                          const struct ptq_qmat *q)
{
    int64_t *code, n, groups, rows;
    float *scale, *zero;
    OK(ptq_h5_ints(c->expected, group, "code", c->arena, &code, &n, &c->err));
    OK(ptq_h5_floats(c->expected, group, "scale", c->arena, &scale, &rows, &groups, &c->err));
    OK(ptq_h5_floats(c->expected, group, "zero", c->arena, &zero, &rows, &groups, &c->err));
    assert_int_equal(n, q->n * q->k);
    assert_int_equal(groups, q->n_groups);
    assert_memory_equal(scale, q->scale, sizeof *scale * (size_t)(q->n * groups));
    assert_memory_equal(zero, q->zero, sizeof *zero * (size_t)(q->n * groups));
    int64_t size = q->grid.group_size < 0 ? q->k : q->grid.group_size;
    for (int64_t i = 0; i < n; i++) {
        double s = scale[i / q->k * groups + i % q->k / size];
        if (code[i] != q->code[i] && from_tie(original->w[i], s) > 1e-5)
            fail_msg("%s %s: code %ld is %d, expected %d", c->name, group, (long)i, q->code[i], (int)code[i]);
    }
}

/* Codes, scales and zeros of the first block, byte for byte. */
static void check_codes(struct check *c, const char *spec_text)
{
    struct ptq_spec spec;
    struct ptq_block original, block;
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    struct ptq_linear_report report[PTQ_N_ROLE];
    int n = 0;
    const struct ptq_model *model = &c->session->model->model;
    OK(ptq_spec_parse(spec_text, &spec, &c->err));
    OK(ptq_block_load(model, 0, c->arena, &original, &c->err));
    OK(ptq_block_load(model, 0, c->arena, &block, &c->err));
    OK(ptq_apply(&spec, 0, NULL, &block, c->arena, c->arena, q, report, &n, &c->err));
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (block.linear[role].n)
            compare_codes(c, ptq_format(c->arena, "/rtn/%s/%s", spec_text, block.linear[role].name),
                          &original.linear[role], &q[role]);
}

static void check_kept(struct check *c, const char *spec_text)
{
    struct ptq_spec spec;
    const struct ptq_shared_model *m = c->session->model;
    const struct ptq_model_stats *stats = NULL;
    struct ptq_block block;
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    struct ptq_linear_report report[PTQ_N_ROLE];
    int n = 0;
    for (const struct ptq_shared_text *t = m->text; t; t = t->next)
        if (t->windows->stats) stats = t->windows->stats;
    OK(ptq_spec_parse(spec_text, &spec, &c->err));
    OK(ptq_block_load(&m->model, 0, c->arena, &block, &c->err));
    OK(ptq_apply(&spec, 0, stats->input[0], &block, c->arena, c->arena, q, report, &n, &c->err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        int64_t *want, n_want;
        if (!block.linear[role].n) continue;
        OK(ptq_h5_ints(c->expected, ptq_format(c->arena, "/salient/%s", spec_text), block.linear[role].name, c->arena,
                       &want, &n_want, &c->err));
        assert_int_equal(n_want, q[role].n_keep);
        for (int64_t i = 0; i < n_want; i++) assert_int_equal(q[role].keep[i], want[i]);
    }
}

static void test_methods(void **state)
{
    (void)state;
    static const char *const coded[] = {"rtn:w3,g32", "rtn:w4,g24,sym=1", "rtn:w4,g32,range=gptq"};
    static const char *const kept[] = {"salient:w3,g32,select=activation,fraction=0.01",
                                       "salient:w3,g32,select=weight,fraction=0.1"};
    for (int i = 0; i < N_FIXTURES; i++) {
        struct check c;
        begin(&c, &fixtures[i]);
        check_specs(&c, "/rtn");
        check_specs(&c, "/salient");
        check_absmean(&c);
        for (int j = 0; j < 3; j++) check_codes(&c, coded[j]);
        for (int j = 0; j < 2; j++) check_kept(&c, kept[j]);
        end(&c);
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
                                        "salient:w3,g32,select=random,fraction=0.03"};
    int64_t whole = ptq_chunk_bytes;
    for (int i = 0; i < N_FIXTURES; i++)
        for (int s = 0; s < 4; s++) {
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

/* Jobs that cannot be: each with words that the sentence must hold. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        struct ptq_job change;
    } table[] = {
        {"needs a calibration text", {.spec = "salient:w3,g32"}},
        {"g is 0", {.spec = "rtn:g0"}},
        {"give 0 windows of 2000", {.window = 2000}},
        {"but 1000 are asked for", {.max_windows = 1000}},
        {"device 'cuda'", {.device = "cuda"}},
        {"path 'packed'", {.path = "packed"}},
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
        if (change->model) job.model = change->model;
        if (ptq_cell_plan(c.session, &job, c.arena, &cell, &c.err) == PTQ_OK)
            fail_msg("'%s' was taken", table[i].words);
        if (!strstr(c.err.text, table[i].words)) fail_msg("'%s' is not in: %s", table[i].words, c.err.text);
        end(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_precision),    cmocka_unit_test(test_steps),
        cmocka_unit_test(test_methods),           cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_cached_statistics), cmocka_unit_test(test_refused),
    };
    setenv("PTQ_CACHE", "/nonexistent", 1);
    ptq_progress_quiet(1);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
