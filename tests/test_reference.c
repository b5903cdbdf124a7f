/* What is measured against full precision, on the tiny checkpoints: equal to the plain formula over whole rows of
 * logits, whatever keeps the reference, and the same bytes for any number of threads. */
#include "apply.h"
#include "files.h"
#include "forward.h"
#include "golden.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "reference.h"
#include "session.h"

#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MODELS PTQ_FIXTURES "/models/"

static const char *const models[] = {"llama", "opt", "opt350", "llama.gguf"};
enum { N_MODELS = sizeof models / sizeof *models, WINDOW = 32, WINDOWS = 6 };
static const double bound = 1e-5; /* of a nat: rounding of float32 logits near 10 */

struct check {
    struct golden g;
    struct ptq_session *session;
    struct ptq_job job;
};

#define OK(call) GOLDEN_OK(&c->g, call)

static void begin(struct check *c, const char *model)
{
    *c = (struct check){.g = {.name = model, .arena = ptq_arena_make("check")}, .session = ptq_session_make()};
    c->job = (struct ptq_job){.model = ptq_join(c->g.arena, MODELS, model),
                              .text = MODELS "text.txt",
                              .calib = MODELS "calib.txt",
                              .window = WINDOW,
                              .max_windows = WINDOWS,
                              .calib_window = WINDOW,
                              .calib_windows = 4,
                              .bos = PTQ_BOS_NONE,
                              .reference = 1};
}

static void end(struct check *c)
{
    ptq_session_free(c->session);
    ptq_arena_free(c->g.arena);
}

static void run_cell(struct check *c, const char *spec, struct ptq_cell *cell)
{
    c->job.spec = spec;
    OK(ptq_cell_plan(c->session, &c->job, c->g.arena, cell, &c->g.err));
    OK(ptq_cell_run(c->session, &c->job, c->g.arena, cell, &c->g.err));
}

/* Logits [rows][V] of the model, quantised where spec quantises. */
static float *logits_of(struct check *c, const char *spec)
{
    struct ptq_planned plan;
    struct ptq_forward f;
    c->job.spec = spec;
    OK(ptq_session_plan(c->session, &c->job, &plan, &c->g.err));
    const struct ptq_model *model = &plan.model->model;
    const struct ptq_windows *eval = &plan.eval->windows;
    ptq_forward_make(c->g.arena, model, eval->id, eval->n, eval->length, &f);
    OK(ptq_forward_embed(&f, &c->g.err));
    for (int64_t b = 0; b < model->config.blocks; b++) {
        struct ptq_block block;
        struct ptq_qmat q[PTQ_N_ROLE] = {0};
        struct ptq_linear_report report[PTQ_N_ROLE];
        struct ptq_arena *scratch = ptq_arena_make("scratch");
        int n = 0;
        OK(ptq_block_load(model, b, c->g.arena, &block, &c->g.err));
        if (ptq_spec_quantizes(&plan.spec))
            OK(ptq_apply(&plan.spec, 0, NULL, &block, c->g.arena, scratch, q, report, &n, &c->g.err));
        OK(ptq_forward_block(&f, &block, b, NULL, &c->g.err));
        ptq_arena_free(scratch);
    }
    float *logits = ptq_new(c->g.arena, float, eval->n * eval->length * model->config.vocab);
    OK(ptq_forward_logits(&f, c->g.arena, logits, &c->g.err));
    return logits;
}

/* Of one row: log of the sum of exponentials, and the largest. */
static double log_sum(const float *logit, int64_t n, int64_t *top)
{
    double sum = 0;
    *top = 0;
    for (int64_t v = 1; v < n; v++)
        if (logit[v] > logit[*top]) *top = v;
    for (int64_t v = 0; v < n; v++) sum += exp((double)logit[v] - logit[*top]);
    return log(sum) + logit[*top];
}

static double direct_kl(const float *p, const float *q, int64_t n, int *same_top)
{
    int64_t top, other;
    double log_p = log_sum(p, n, &top), log_q = log_sum(q, n, &other), kl = 0;
    *same_top = top == other;
    for (int64_t v = 0; v < n; v++) kl += exp(p[v] - log_p) * ((p[v] - log_p) - (q[v] - log_q));
    return kl;
}

/* The equation of core/reference.h against sum p (log p - log q), token by token. */
static void test_direct_formula(void **state)
{
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        struct check check, *c = &check;
        struct ptq_cell fp16, cell;
        begin(c, models[m]);
        run_cell(c, "fp16", &fp16);
        run_cell(c, "rtn:w3,g32", &cell);
        assert_null(fp16.kl);
        assert_non_null(cell.kl);
        const float *p = logits_of(c, "fp16"), *q = logits_of(c, "rtn:w3,g32");
        int64_t vocab = c->session->model->model.config.vocab, same = 0;
        double sum = 0, most = 0, delta = 0, squares = 0;
        for (int64_t w = 0, at = 0; w < WINDOWS; w++)
            for (int64_t t = 0; t + 1 < WINDOW; t++, at++) {
                int same_top;
                double kl = direct_kl(p + (w * WINDOW + t) * vocab, q + (w * WINDOW + t) * vocab, vocab, &same_top);
                if (!(fabs(cell.kl[at] - kl) <= bound + 1e-5 * kl))
                    fail_msg("%s: kl %ld is %g, expected %g", models[m], (long)at, (double)cell.kl[at], kl);
                double change = exp(-(double)cell.nll[at]) - exp(-(double)fp16.nll[at]);
                same += same_top, sum += kl, most = fmax(most, kl), delta += change, squares += change * change;
            }
        double n = (double)cell.tokens;
        assert_true(sum / n > 1e-3); /* else nothing was tested */
        assert_true(fabs(cell.kl_mean - sum / n) <= bound && fabs(cell.kl_max - most) <= bound + 1e-5 * most);
        assert_true(cell.same_top == (double)same / n && same < cell.tokens);
        assert_true(fabs(cell.delta_p_mean - delta / n) <= 1e-6);
        assert_true(fabs(cell.delta_p_rms - sqrt(squares / n)) <= 1e-6);
        assert_true(cell.kl_median <= cell.kl_p95 && cell.kl_p95 <= cell.kl_p99 && cell.kl_p99 <= cell.kl_max);
        assert_true(cell.delta_p_p01 < cell.delta_p_p25 && cell.delta_p_p25 < cell.delta_p_p75 &&
                    cell.delta_p_p75 < cell.delta_p_p99);
        end(c);
    }
}

static void expect_same(const struct ptq_cell *a, const struct ptq_cell *b, const char *what)
{
    assert_non_null(a->kl);
    assert_non_null(b->kl);
    if (memcmp(a->kl, b->kl, sizeof *a->kl * (size_t)a->tokens) || a->same_top != b->same_top ||
        a->delta_p_p05 != b->delta_p_p05)
        fail_msg("%s changes what is measured against FP16", what);
}

/* From memory, from the FP16 cell's file, from a file of an earlier process, from a pass of its own; with 1, 2 and 3
 * threads. AWQ's transform leaves the head alone, so it is compared like the others. */
static void test_same_bytes(void **state)
{
    static const char spec[] = "awq:w3,g32,loss=gram";
    const char *folder = *state;
    struct ptq_cell cell[5], fp16;
    struct check check[5];
    int64_t room = ptq_reference_bytes;
    for (int i = 0; i < 5; i++) {
        struct check *c = &check[i];
        setenv("PTQ_CACHE", i == 4 ? "/dev/null/nowhere" : folder, 1);
        ptq_reference_bytes = i == 1 || i == 2 ? 0 : room;
        ptq_pool_start(1 + i % 3);
        begin(c, "llama");
        if (i < 2) run_cell(c, "fp16", &fp16); /* 0 makes the file */
        run_cell(c, spec, &cell[i]);
        assert_true((cell[i].seconds_reference > 0) == (i == 4));
        expect_same(&cell[0], &cell[i], i == 4 ? "a pass of its own" : "where the reference is kept");
    }
    for (int i = 0; i < 5; i++) end(&check[i]);
    ptq_reference_bytes = room;
}

static void damage_files(const char *folder)
{
    glob_t files;
    char pattern[200];
    snprintf(pattern, sizeof pattern, "%s/reference/*/*.ref", folder);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        FILE *file = fopen(files.gl_pathv[i], "r+b");
        assert_non_null(file);
        fseek(file, 4000, SEEK_SET);
        int byte = fgetc(file);
        fseek(file, 4000, SEEK_SET);
        fputc(byte ^ 1, file);
        fclose(file);
    }
    globfree(&files);
}

/* A damaged file counts as none; a chunk is a file; where nothing can be kept nothing is compared, and the cell is
 * there all the same. */
static void test_kept_badly(void **state)
{
    const char *folder = *state;
    struct ptq_cell cell[4];
    struct check check[4];
    int64_t room = ptq_reference_bytes, whole = ptq_chunk_bytes;
    ptq_pool_start(2);
    for (int i = 0; i < 4; i++) {
        struct check *c = &check[i];
        setenv("PTQ_CACHE", i == 3 ? "/dev/null/nowhere" : folder, 1);
        if (i == 1) damage_files(folder);
        if (i >= 2) ptq_chunk_bytes = 2 * WINDOW * 4 * 64;
        ptq_reference_bytes = i == 3 ? 0 : room;
        begin(c, "llama");
        run_cell(c, "rtn:w3,g32", &cell[i]);
        if (i < 2) expect_same(&cell[0], &cell[i], "a damaged file");
    }
    assert_true(cell[2].kl && fabs(cell[2].kl_mean - cell[0].kl_mean) <= bound);
    assert_null(cell[3].kl);
    assert_true(cell[3].ppl > 1);
    for (int i = 0; i < 4; i++) end(&check[i]);
    ptq_reference_bytes = room, ptq_chunk_bytes = whole;
    check[0].job.reference = 0;
    struct check *c = &check[0];
    begin(c, "llama");
    c->job.reference = 0;
    run_cell(c, "rtn:w3,g32", &cell[0]);
    assert_null(cell[0].kl);
    end(c);
}

int main(void)
{
    char folder[] = "/tmp/ptq-reference-XXXXXX";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_direct_formula, folder),
        cmocka_unit_test_prestate(test_same_bytes, folder),
        cmocka_unit_test_prestate(test_kept_badly, folder),
    };
    if (!mkdtemp(folder)) return 1;
    setenv("PTQ_CACHE", "/dev/null/nowhere", 1);
    ptq_progress_quiet(PTQ_QUIET);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    remove_test_folder(folder);
    return failed;
}
