/* The tiny checkpoints of tests/fixtures/models against what transformers on torch says of them (make_models.py): ids,
 * logits, losses, statistics, codes, kept channels, perplexity of every cell; from each container. */
#include "apply.h"
#include "forward.h"
#include "golden.h"
#include "mapped.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "tokenizer.h"

#include <math.h>
#include <string.h>

enum { WINDOW = 32 };

/* One checkpoint, and what is expected of it. */
struct fixture {
    struct golden g;
    struct ptq_model model;
    struct ptq_windows eval, calib;
    struct ptq_model_stats stats;
};

#define OK(call) GOLDEN_OK(&f->g, call)
#define OK_OF(f, call) GOLDEN_OK(&(f)->g, call)

static const char *in_models(struct ptq_arena *arena, const char *name)
{
    return ptq_join(arena, PTQ_FIXTURES "/models", name);
}

static void open_fixture(struct fixture *f, const char *name, const char *expected)
{
    struct ptq_arena *names = ptq_arena_make("names");
    golden_open(&f->g, name, in_models(names, expected));
    ptq_arena_free(names);
    OK(ptq_model_open(f->g.arena, in_models(f->g.arena, name), name, &f->model, &f->g.err));
    f->eval = golden_windows(&f->g, "tokens", WINDOW, 0);
    f->calib = golden_windows(&f->g, "calib_tokens", WINDOW, 0);
    OK(ptq_stats_gather(f->g.arena, &f->model, &f->calib, 0, &f->stats, &f->g.err));
}

static void close_fixture(struct fixture *f)
{
    ptq_model_close(&f->model);
    golden_close(&f->g);
}

/* ---- ids ---- */

static void check_ids(struct fixture *f, const struct ptq_tokenizer *tokenizer, const char *file, int special,
                      const char *dataset)
{
    struct ptq_arena *arena = f->g.arena;
    char *text;
    size_t size, n;
    int64_t n_want;
    int32_t *id, *want = golden_ids(&f->g, "/", dataset, &n_want);
    OK(ptq_read_file(arena, in_models(arena, file), 1 << 20, &text, &size, &f->g.err));
    OK(ptq_tokenizer_encode(tokenizer, text, size, special, arena, &id, &n, &f->g.err));
    /* calib_tokens are whole windows; the text goes on */
    if ((int64_t)n < n_want || (int64_t)n >= n_want + WINDOW || memcmp(id, want, sizeof *id * (size_t)n_want))
        fail_msg("%s: the ids of %s are not %s", f->g.name, file, dataset);
}

static void check_tokenizer(struct fixture *f)
{
    const struct ptq_checkpoint *file = &f->model.checkpoint;
    struct ptq_tokenizer *tokenizer;
    if (file->gguf)
        OK(ptq_tokenizer_from_gguf(f->g.arena, file->gguf, file->path, &tokenizer, &f->g.err));
    else
        OK(ptq_tokenizer_open(f->g.arena, file->folder, &tokenizer, &f->g.err));
    check_ids(f, tokenizer, "text.txt", 0, "tokens");
    check_ids(f, tokenizer, "text.txt", 1, "tokens_special");
    check_ids(f, tokenizer, "calib.txt", 0, "calib_tokens");
    assert_int_equal(ptq_tokenizer_bos(tokenizer), (int32_t)golden_real(&f->g, "/", "bos"));
    ptq_tokenizer_close(tokenizer);
}

/* ---- full precision ---- */

static void check_logits(struct fixture *f)
{
    int64_t n = WINDOW * f->model.config.vocab;
    double *want = golden_reals(&f->g, "/", "logits", n);
    float *got = ptq_new(f->g.arena, float, n);
    struct ptq_forward pass;
    ptq_forward_make(f->g.arena, &f->model, f->eval.id, 1, WINDOW, &pass);
    OK(ptq_forward_embed(&pass, &f->g.err));
    for (int64_t b = 0; b < f->model.config.blocks; b++) {
        struct ptq_block block;
        OK(ptq_block_load(&f->model, b, f->g.arena, &block, &f->g.err));
        OK(ptq_forward_block(&pass, &block, b, NULL, &f->g.err));
    }
    OK(ptq_forward_logits(&pass, f->g.arena, got, &f->g.err));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 2e-5 + 2e-5 * fabs(want[i])))
            fail_msg("%s: logit [%lld][%lld] is %.7g, expected %.7g", f->g.name, (long long)(i / f->model.config.vocab),
                     (long long)(i % f->model.config.vocab), (double)got[i], want[i]);
}

static struct ptq_cell evaluate(struct fixture *f, const char *text, const struct ptq_windows *windows)
{
    struct ptq_spec spec;
    struct ptq_cell cell = {0};
    OK(ptq_spec_parse(text, &spec, &f->g.err));
    OK(ptq_evaluate(&f->model, &spec, 0, &f->stats, NULL, windows, f->g.arena, &cell, &f->g.err));
    return cell;
}

static void check_ppl(struct fixture *f, const char *what, double got, double want)
{
    if (!(fabs(got - want) <= 1e-5 * want))
        fail_msg("%s: %s: perplexity %.7g, expected %.7g", f->g.name, what, got, want);
}

static void check_full_precision(struct fixture *f)
{
    struct ptq_cell cell = evaluate(f, "fp16", &f->eval);
    double *nll = golden_reals(&f->g, "/", "nll", cell.tokens);
    assert_int_equal(cell.windows, (int64_t)golden_real(&f->g, "/", "windows"));
    for (int64_t i = 0; i < cell.tokens; i++)
        if (!(fabs(cell.nll[i] - nll[i]) <= 5e-5))
            fail_msg("%s: window %lld, token %lld: nll %.7g, expected %.7g", f->g.name, (long long)(i / (WINDOW - 1)),
                     (long long)(i % (WINDOW - 1) + 1), (double)cell.nll[i], nll[i]);
    check_ppl(f, "fp16", cell.ppl, golden_real(&f->g, "/", "fp_ppl"));
}

/* The stream with its BOS, cut anew. */
static void check_bos(struct fixture *f)
{
    int64_t n;
    struct ptq_windows windows;
    int32_t *id = golden_ids(&f->g, "/", "tokens", &n);
    struct ptq_stream_ids stream = {.id = id, .n = (size_t)n, .bos = (int32_t)golden_real(&f->g, "/", "bos")};
    OK(ptq_windows_cut(f->g.arena, &stream, "text", WINDOW, 0, 0, PTQ_BOS_STREAM, PTQ_SAMPLE_FIRST, 0, &windows,
                       &f->g.err));
    check_ppl(f, "fp16, bos stream", evaluate(f, "fp16", &windows).ppl, golden_real(&f->g, "/", "fp_ppl_bos"));
}

/* ---- calibration ---- */

static void check_mean_abs(struct fixture *f)
{
    for (int64_t b = 0; b < f->model.config.blocks; b++) {
        struct ptq_block block;
        OK(ptq_block_load(&f->model, b, f->g.arena, &block, &f->g.err));
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            const struct ptq_linear *l = &block.linear[role];
            const float *got = f->stats.input[b][ptq_role_input[role]].absmean;
            if (!l->n) continue;
            double *want = golden_reals(&f->g, "/mean_abs", l->name, l->k);
            for (int64_t k = 0; k < l->k; k++)
                if (!(fabs(got[k] - want[k]) <= 1e-5 * fabs(want[k]) + 1e-7))
                    fail_msg("%s: %s: mean |x_%lld| is %.7g, expected %.7g", f->g.name, l->name, (long long)k,
                             (double)got[k], want[k]);
        }
    }
}

/* ---- quantised cells ---- */

static void quantise_first_block(struct fixture *f, const char *text, struct ptq_block *block, struct ptq_qmat *q)
{
    struct ptq_spec spec;
    struct ptq_linear_report report[PTQ_N_ROLE];
    int n = 0;
    OK(ptq_spec_parse(text, &spec, &f->g.err));
    OK(ptq_block_load(&f->model, 0, f->g.arena, block, &f->g.err));
    OK(ptq_apply(&spec, 0, f->stats.input[0], block, f->g.arena, f->g.arena, q, report, &n, &f->g.err));
}

/* What is expected has its rows as the family's own container has them: BLOOM's q, k, v head by head, also where the
 * model came from a GGUF. */
static int64_t expected_row(const struct fixture *f, int role, int64_t row)
{
    struct ptq_row_layout layout = ptq_linear_layout(&f->model, (enum ptq_role)role);
    layout.order = role == PTQ_Q ? f->model.config.family->hf.order : PTQ_ROWS_PLAIN;
    return ptq_file_row(&layout, row);
}

static void check_rows(struct fixture *f, const char *group, const char *name, int role, const float *got, int64_t n,
                       int64_t columns)
{
    double *want = golden_reals(&f->g, group, name, n * columns);
    for (int64_t i = 0; i < n * columns; i++) {
        double expected = want[expected_row(f, role, i / columns) * columns + i % columns];
        if (got[i] != (float)expected)
            fail_msg("%s: %s: %s[%lld] is %.9g, expected %.9g", f->g.name, group, name, (long long)i, (double)got[i],
                     expected);
    }
}

/* Codes are equal to the last one: both sides divide and round in float32. */
static void check_codes(struct fixture *f, const char *group, int role, const struct ptq_qmat *q)
{
    int64_t n;
    int32_t *code = golden_ids(&f->g, group, "code", &n);
    assert_int_equal(n, q->n * q->k);
    check_rows(f, group, "scale", role, q->scale, q->n, q->n_groups);
    check_rows(f, group, "zero", role, q->zero, q->n, q->n_groups);
    for (int64_t i = 0; i < n; i++) {
        int32_t want = code[expected_row(f, role, i / q->k) * q->k + i % q->k];
        if (q->code[i] != want)
            fail_msg("%s: %s: code [%lld][%lld] is %d, expected %d", f->g.name, group, (long long)(i / q->k),
                     (long long)(i % q->k), q->code[i], want);
    }
}

static void check_kept(struct fixture *f, const char *group, const char *linear, const struct ptq_qmat *q)
{
    int64_t n;
    int32_t *keep = golden_ids(&f->g, group, linear, &n);
    if (n != q->n_keep || memcmp(keep, q->keep, sizeof *keep * (size_t)n))
        fail_msg("%s: %s: %s keeps other channels than expected", f->g.name, group, linear);
}

/* Returns how many linears had codes or kept channels to compare. */
static int check_spec(struct fixture *f, const char *method, const char *spec)
{
    const char *group = ptq_format(f->g.arena, "/%s/%s", method, spec);
    struct ptq_block block;
    struct ptq_qmat q[PTQ_N_ROLE] = {0};
    int compared = 0;
    quantise_first_block(f, spec, &block, q);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const char *linear = block.linear[role].n ? ptq_join(f->g.arena, group, block.linear[role].name) : NULL;
        if (!linear || !ptq_h5_exists(f->g.file, linear)) continue;
        compared++;
        if (q[role].n_keep)
            check_kept(f, group, block.linear[role].name, &q[role]);
        else
            check_codes(f, linear, role, &q[role]);
    }
    double want = golden_real(&f->g, group, "ppl"), got = evaluate(f, spec, &f->eval).ppl;
    printf("%-20s %-52s ppl %.4f, expected %.4f, %d linears compared\n", f->g.name, spec, got, want, compared);
    check_ppl(f, spec, got, want);
    return compared;
}

static void check_method(struct fixture *f, const char *method, int64_t least, int least_compared)
{
    const char **spec;
    int64_t n;
    int compared = 0;
    OK(ptq_h5_groups(f->g.file, ptq_join(f->g.arena, "/", method), f->g.arena, &spec, &n, &f->g.err));
    assert_true(n >= least);
    for (int64_t i = 0; i < n; i++) compared += check_spec(f, method, spec[i]);
    assert_true(compared >= least_compared);
}

static void check_model(struct fixture *f)
{
    check_tokenizer(f);
    check_logits(f);
    check_full_precision(f);
    check_bos(f);
    check_mean_abs(f);
}

static void check_fixture(const char *name, const char *expected)
{
    struct fixture f;
    open_fixture(&f, name, expected);
    check_model(&f);
    check_method(&f, "rtn", 8, 3 * 6);
    check_method(&f, "salient", 4, 4 * 6);
    close_fixture(&f);
}

/* ---- further families (make_families.py) ---- */

/* The first block's scales of AWQ, and the perplexity of its rounded model. */
static void check_awq_spec(struct fixture *f, const char *text)
{
    struct ptq_spec spec;
    struct ptq_cell cell = {0};
    const char *group = ptq_format(f->g.arena, "/awq/%s", text);
    OK(ptq_spec_parse(text, &spec, &f->g.err));
    OK(ptq_evaluate(&f->model, &spec, 0, &f->stats, &f->calib, &f->eval, f->g.arena, &cell, &f->g.err));
    for (int i = 0; i < cell.n_linears / f->model.config.blocks; i++) {
        static const char *const input[] = {"attn_in", NULL, "mlp_in", "mlp_out"};
        if (!input[i]) continue;
        double ratio = golden_real(&f->g, ptq_join(f->g.arena, group, input[i]), "ratio");
        if (fabs(cell.linear[i].alpha * 20 - ratio) > 1e-9)
            fail_msg("%s: %s: %s ends at %g / 20, expected %g", f->g.name, text, cell.linear[i].name,
                     cell.linear[i].alpha * 20, ratio);
    }
    double want = golden_real(&f->g, group, "ppl");
    printf("%-20s %-52s ppl %.4f, expected %.4f\n", f->g.name, text, cell.ppl, want);
    check_ppl(f, text, cell.ppl, want);
}

static void check_further(const char *name, const char *expected, int linears)
{
    struct fixture f;
    const char **spec;
    int64_t n;
    open_fixture(&f, name, expected);
    check_model(&f);
    check_method(&f, "rtn", 2, 2 * linears);
    check_method(&f, "salient", 2, 2 * linears);
    close_fixture(&f);
    if (linears > 4) return;
    open_fixture(&f, name, expected);
    OK_OF(&f, ptq_stats_gather(f.g.arena, &f.model, &f.calib, 1, &f.stats, &f.g.err));
    OK_OF(&f, ptq_h5_groups(f.g.file, "/awq", f.g.arena, &spec, &n, &f.g.err));
    assert_true(n >= 1);
    for (int64_t i = 0; i < n; i++) check_awq_spec(&f, spec[i]);
    close_fixture(&f);
}

static void test_llama(void **state)
{
    (void)state;
    check_fixture("llama", "llama/expected.h5");
}

static void test_llama_from_gguf(void **state)
{
    (void)state;
    check_fixture("llama.gguf", "llama/expected.h5");
}

static void test_llama3_in_shards(void **state)
{
    (void)state;
    check_fixture("llama3", "llama3/expected.h5");
}

static void test_grouped_queries_from_gguf(void **state)
{
    (void)state;
    check_fixture("llama-gqa/model.gguf", "llama-gqa/expected.h5");
}

static void test_opt(void **state)
{
    (void)state;
    check_fixture("opt", "opt/expected.h5");
}

static void test_opt350_post_norm(void **state)
{
    (void)state;
    check_fixture("opt350", "opt350/expected.h5");
}

static void test_qwen2(void **state)
{
    (void)state;
    check_further("qwen2", "qwen2/expected.h5", 7);
}

static void test_qwen2_from_gguf(void **state)
{
    (void)state;
    check_further("qwen2-gguf/model.gguf", "qwen2-gguf/expected.h5", 7);
}

static void test_mistral(void **state)
{
    (void)state;
    check_further("mistral", "mistral/expected.h5", 7);
}

static void test_gpt2(void **state)
{
    (void)state;
    check_further("gpt2", "gpt2/expected.h5", 4);
}

static void test_gpt2_from_gguf(void **state)
{
    (void)state;
    check_further("gpt2.gguf", "gpt2/expected.h5", 4);
}

static void test_bloom(void **state)
{
    (void)state;
    check_further("bloom", "bloom/expected.h5", 4);
}

static void test_bloom_from_gguf(void **state)
{
    (void)state;
    check_further("bloom.gguf", "bloom/expected.h5", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_llama_from_gguf),
        cmocka_unit_test(test_llama3_in_shards),
        cmocka_unit_test(test_grouped_queries_from_gguf),
        cmocka_unit_test(test_opt),
        cmocka_unit_test(test_opt350_post_norm),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_qwen2_from_gguf),
        cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_gpt2_from_gguf),
        cmocka_unit_test(test_bloom),
        cmocka_unit_test(test_bloom_from_gguf),
    };
    ptq_progress_quiet(1);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
