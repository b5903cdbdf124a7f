/* Forward passes on a device, end to end, over the emulated one: every family against the CPU, float32 and packed;
 * calibration's taps; GPTQ and AWQ, whose x goes back and forth; little memory; and the checking backend, which must
 * notice what is planted. */
#include "device_wish.h"
#include "forward.h"
#include "golden.h"
#include "offload.h"
#include "export_fixture.h"
#include "pipeline.h"
#include "progress.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 16, WINDOWS = 3, MAX_PIECES = 64 };

/* Of a perplexity: sums of float32 in another order; packed: activations of FP16 there, integers of 16 bits here, over
 * the 45 tokens of three windows (1.1e-4 was seen); and where what is quantised comes of sums there, which a code or a
 * scale may follow by a step: 3.7e-5 was seen on the emulated device, 2.04e-3 on an H200 (AWQ's clip at 4 bits, where
 * the published loops differ from themselves by as much: docs/decisions.md). */
static const double ppl_bound = 1e-5, packed_bound = 5e-4, code_bound = 5e-3;

static const char *const families[] = {"llama", "llama-gqa/model.gguf", "opt", "opt350", "qwen2", "mistral", "gpt2",
                                       "bloom"};
enum { N_FAMILIES = sizeof families / sizeof *families };

struct fixture {
    struct golden g;
    struct ptq_model model;
    struct ptq_windows eval;
    int stats_here; /* 1: statistics are the CPU's, so that codes are the same */
};

#define OK(call) GOLDEN_OK(&f->g, call)

static const char *folder_of(struct ptq_arena *arena, const char *name)
{
    return ptq_strndup(arena, name, strcspn(name, "/"));
}

static void open_fixture(struct fixture *f, const char *name)
{
    struct ptq_arena *names = ptq_arena_make("names");
    const char *folder = ptq_join(names, PTQ_FIXTURES "/models", folder_of(names, name));
    golden_open(&f->g, name, ptq_join(names, folder, "expected.h5"));
    ptq_arena_free(names);
    OK(ptq_model_open(f->g.arena, ptq_join(f->g.arena, PTQ_FIXTURES "/models", name), name, &f->model, &f->g.err));
    f->eval = golden_windows(&f->g, "tokens", WINDOW, WINDOWS);
    f->stats_here = 0;
}

static void close_fixture(struct fixture *f)
{
    ptq_model_close(&f->model);
    golden_close(&f->g);
}

/* ---- a device that has little memory, or does wrong ---- */

static struct {
    struct ptq_device device;
    const struct ptq_device *real;
    size_t limit, held, most;
    struct {
        void *at;
        size_t bytes;
    } piece[MAX_PIECES];
    int64_t most_rows;  /* of a norm */
    int call, bad_call; /* products that are added; the one that is damaged */
    float planted;
    const char *failure;
    int takes, fail_at, fail_last; /* takes counted from 1; those that give nothing */
} fake;

static void *fake_take(size_t bytes)
{
    fake.takes++;
    if (fake.held + bytes > fake.limit || (fake.fail_at <= fake.takes && fake.takes <= fake.fail_last)) return NULL;
    for (int i = 0; i < MAX_PIECES; i++) {
        if (fake.piece[i].at) continue;
        fake.piece[i].at = fake.real->take(bytes);
        fake.piece[i].bytes = bytes;
        fake.held += bytes;
        if (fake.held > fake.most) fake.most = fake.held;
        return fake.piece[i].at;
    }
    fail_msg("more than %d pieces of device memory", MAX_PIECES);
    return NULL;
}

static void fake_give(void *memory)
{
    for (int i = 0; i < MAX_PIECES; i++)
        if (fake.piece[i].at == memory) {
            fake.held -= fake.piece[i].bytes;
            fake.piece[i].at = NULL;
            fake.real->give(memory);
            return;
        }
    fail_msg("gives what it did not take");
}

static size_t fake_room(void)
{
    return fake.limit - fake.held;
}

static const char *fake_error(void)
{
    const char *failure = fake.failure;
    fake.failure = NULL;
    return failure ? failure : fake.real->error();
}

static void fake_rmsnorm(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k)
{
    if (m > fake.most_rows) fake.most_rows = m;
    fake.real->ops.rmsnorm(y, x, g, eps, m, k);
}

/* Row 3, column 5 of one product. */
static void fake_product(float *y, int64_t ldy, const struct ptq_split *x, const struct ptq_split *w, const float *b,
                         int accumulate)
{
    float value, *at = y + 3 * ldy + 5;
    fake.real->solver.product(y, ldy, x, w, b, accumulate);
    if (!accumulate || ++fake.call != fake.bad_call) return;
    fake.real->download(&value, at, sizeof value);
    value += fake.planted;
    fake.real->upload(at, &value, sizeof value);
}

static const struct ptq_device *make_fake(size_t limit)
{
    memset(&fake, 0, sizeof fake);
    fake.real = there();
    fake.device = *fake.real;
    fake.limit = limit;
    fake.device.take = fake_take;
    fake.device.give = fake_give;
    fake.device.room = fake_room;
    fake.device.error = fake_error;
    fake.device.ops.rmsnorm = fake_rmsnorm;
    fake.device.solver.product = fake_product;
    return &fake.device;
}

/* ---- evaluation ---- */

/* Moments that are measured there block by block, and searched there. */
static enum ptq_status evaluate_travelling(struct fixture *f, const struct ptq_spec *spec,
                                           const struct ptq_windows *calib, struct ptq_cell *cell)
{
    struct ptq_arena *arena = ptq_arena_make("travelling");
    struct ptq_model_stats stats;
    ptq_stats_travel(arena, &f->model, calib, &stats);
    enum ptq_status status = ptq_evaluate(&f->model, spec, 0, &stats, calib, &f->eval, f->g.arena, cell, &f->g.err);
    ptq_arena_free(arena);
    return status;
}

static enum ptq_status evaluate(struct fixture *f, const struct ptq_device *device, const char *text, const char *path,
                                struct ptq_cell *cell)
{
    struct ptq_spec spec;
    *cell = (struct ptq_cell){.path = path, .spec = text};
    OK(ptq_spec_parse(text, &spec, &f->g.err));
    struct ptq_windows calib = golden_windows(&f->g, "calib_tokens", WINDOW, 2 * WINDOWS);
    struct ptq_model_stats stats;
    unsigned need = ptq_spec_need(&spec);
    int reads = (need & (PTQ_NEED_ABSMEAN | PTQ_NEED_MOMENTS)) != 0;
    int travel = device && !f->stats_here && (need & PTQ_NEED_GRAM_ANYWHERE);
    f->model.device = f->stats_here ? NULL : device;
    if (travel) return evaluate_travelling(f, &spec, &calib, cell);
    if (reads) OK(ptq_stats_gather(f->g.arena, &f->model, &calib, (need & PTQ_NEED_MOMENTS) != 0, &stats, &f->g.err));
    f->model.device = device;
    return ptq_evaluate(&f->model, &spec, 0, reads ? &stats : NULL, &calib, &f->eval, f->g.arena, cell, &f->g.err);
}

static double perplexity(struct fixture *f, const struct ptq_device *device, const char *text, const char *path)
{
    struct ptq_cell cell;
    OK(evaluate(f, device, text, path, &cell));
    return cell.ppl;
}

static void expect_same(struct fixture *f, const char *spec, const char *path, double bound)
{
    double want = perplexity(f, NULL, spec, path), got = perplexity(f, make_fake(SIZE_MAX / 2), spec, path);
    assert_true(fake.most > 0 && fake.held == 0); /* it ran there */
    print_message("%-22s %-24s %-7s ppl %.6f, there %.6f, %.1e apart\n", f->g.name, spec, path, want, got,
                  fabs(got / want - 1));
    if (!(fabs(got - want) <= bound * want))
        fail_msg("%s: %s, %s: perplexity %.8g on the CPU, %.8g there", f->g.name, spec, path, want, got);
}

static void test_families(void **state)
{
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        struct fixture f;
        open_fixture(&f, families[i]);
        expect_same(&f, "fp16", "fp32", ppl_bound);
        expect_same(&f, "rtn:w4,g16", "packed", packed_bound);
        close_fixture(&f);
    }
}

/* ptq's own folder, whose images go to the device as they lie in the file, and others', which are packed on the way in:
 * the numbers of the CPU, by both paths. */
static void test_folders_of_codes(void **state)
{
    static const struct {
        const char *family, *spec, *format;
    } row[] = {{"llama", "awq:w3,g16,loss=gram,grid=4", "packed"}, /* those of AWQ's activation, too */
               {"bloom", "awq:w3,g16,loss=gram,grid=4", "packed"},
               {"gpt2", "awq:w3,g16,loss=gram,grid=4", "packed"},
               {"opt", "gptq:w3,g32,act_order=1", "gptq_v2"},
               {"opt", "rtn:w4,g32", "awq"}};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct fixture fixture, *f = &fixture;
        struct remembered r;
        char folder[64];
        open_fixture(f, row[i].family);
        make_test_folder(folder);
        const char *model = ptq_join(f->g.arena, PTQ_FIXTURES "/models", row[i].family);
        OK(export_into(&r, model, row[i].spec, row[i].format, folder, &f->g.err));
        forget(&r);
        ptq_model_close(&f->model);
        OK(ptq_model_open(f->g.arena, folder, folder, &f->model, &f->g.err));
        for (f->model.path = PTQ_PATH_FP32; f->model.path <= PTQ_PATH_PACKED; f->model.path++)
            expect_same(f, "fp16", ptq_paths[f->model.path].name, f->model.path ? packed_bound : ppl_bound);
        close_fixture(f);
        remove_test_folder(folder);
    }
}

/* Codes and kept channels that come of statistics gathered there; the activation's divisor (AWQ behind GELU); x that
 * goes to the device for a block and comes back for the next one's steps (GPTQ), staged and at once. */
static void test_methods(void **state)
{
    static const struct {
        const char *family, *spec, *path;
        double bound;
        int stats_here;
    } table[] = {
        {"llama", "salient:w3,g16,select=activation,fraction=0.1", "packed", packed_bound, 0},
        {"gpt2", "awq:w3,g8,loss=gram", "fp32", ppl_bound, 1},
        {"gpt2", "awq:w3,g8,loss=gram", "packed", packed_bound, 1},
        {"gpt2", "awq:w3,g8,loss=gram,grid=4", "fp32", code_bound, 0},
        {"llama", "awq:w4,g16,loss=gram,grid=4", "fp32", code_bound, 0},
        {"llama", "awq:w4,g16,loss=gram,scale_dtype=fp16", "fp32", code_bound, 0}, /* its grid is the CPU's */
        {"llama", "awq+gptq:w3,g16,grid=4", "fp32", code_bound, 0},
        {"qwen2", "awq:w3,g8,grid=3", "fp32", ppl_bound, 1}, /* its trials run there */
        {"llama", "gptq:w4,g16", "fp32", code_bound, 0},
        {"opt", "gptq:w3,g16,act_order=1,true_sequential=1", "packed", code_bound, 0},
        {"bloom", "gptq:w3,g8,true_sequential=0", "fp32", code_bound, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fixture f;
        open_fixture(&f, table[i].family);
        f.stats_here = table[i].stats_here;
        expect_same(&f, table[i].spec, table[i].path, table[i].bound);
        close_fixture(&f);
    }
}

/* ---- calibration ---- */

static void near(const char *what, const float *want, const float *got, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= 1e-5 * most))
            fail_msg("%s: value %ld is %.8g, expected %.8g", what, (long)i, (double)got[i], (double)want[i]);
}

static void test_taps(void **state)
{
    static const char *const names[] = {"llama", "opt350", "gpt2"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct fixture fixture, *f = &fixture;
        struct ptq_model_stats here, far;
        open_fixture(f, names[i]);
        OK(ptq_stats_gather(f->g.arena, &f->model, &f->eval, 1, &here, &f->g.err));
        f->model.device = make_fake(SIZE_MAX / 2);
        OK(ptq_stats_gather(f->g.arena, &f->model, &f->eval, 1, &far, &f->g.err));
        assert_int_equal(fake.held, 0); /* given back with the pass */
        for (int64_t b = 0; b < here.blocks; b++)
            for (int input = 0; input < PTQ_N_INPUT; input++) {
                const struct ptq_stats *s = &here.input[b][input], *t = &far.input[b][input];
                const struct ptq_moments *m = &here.moments[b][input], *n = &far.moments[b][input];
                near(ptq_input_name[input], s->absmean, t->absmean, s->k);
                near(ptq_input_name[input], s->sample, t->sample, s->n_sample * s->k);
                near(ptq_input_name[input], m->gram, n->gram, m->k * m->k);
                near(ptq_input_name[input], m->row, n->row, m->n_row * m->k);
            }
        close_fixture(f);
    }
}

/* ---- the head against a reference ---- */

static void run_blocks(struct fixture *f, struct ptq_forward *pass)
{
    ptq_forward_make(f->g.arena, &f->model, f->eval.id, f->eval.n, WINDOW, pass);
    OK(ptq_forward_embed(pass, &f->g.err));
    for (int64_t b = 0; b < f->model.config.blocks; b++) {
        struct ptq_block block;
        OK(ptq_block_load(&f->model, b, f->g.arena, &block, &f->g.err));
        OK(ptq_forward_block(pass, &block, b, NULL, &f->g.err));
    }
}

static void score(struct fixture *f, const struct ptq_device *device, struct ptq_reference_rows *made,
                  struct ptq_scores *scores)
{
    struct ptq_forward pass;
    struct ptq_reference *r = ptq_reference_make(f->g.arena, &f->model, "", &f->eval, NULL);
    int64_t n = f->eval.n * (WINDOW - 1);
    f->model.device = device;
    ptq_reference_room(f->g.arena, r, f->eval.n, made);
    *scores = (struct ptq_scores){.nll = ptq_new(f->g.arena, float, n),
                                  .kl = ptq_new(f->g.arena, float, n),
                                  .delta_p = ptq_new(f->g.arena, float, n),
                                  .same_top = ptq_new(f->g.arena, uint8_t, n)};
    run_blocks(f, &pass);
    OK(ptq_forward_score(&pass, f->g.arena, NULL, made, scores, &f->g.err));
    run_blocks(f, &pass);
    OK(ptq_forward_score(&pass, f->g.arena, made, NULL, scores, &f->g.err));
}

/* The mean row under the softmax is the same; and a model does not differ from itself. */
static void test_reference(void **state)
{
    static const char *const names[] = {"llama", "opt350"}; /* opt350 projects before its head */
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct fixture f;
        struct ptq_reference_rows here, far;
        struct ptq_scores a, b;
        open_fixture(&f, names[i]);
        score(&f, NULL, &here, &a);
        score(&f, there(), &far, &b);
        near("mean", here.mean, far.mean, here.rows * here.width);
        near("nll", a.nll, b.nll, f.eval.n * (WINDOW - 1));
        assert_memory_equal(here.top, far.top, sizeof *here.top * (size_t)here.rows);
        for (int64_t t = 0; t < f.eval.n * (WINDOW - 1); t++)
            if (!(b.kl[t] <= 1e-5F) || !b.same_top[t]) fail_msg("%s: KL %g with itself", names[i], (double)b.kl[t]);
        close_fixture(&f);
    }
}

/* ---- memory ---- */

static void test_little_memory(void **state)
{
    struct fixture fixture, *f = &fixture;
    struct ptq_cell cell;
    (void)state;
    open_fixture(f, "llama");
    make_fake(SIZE_MAX / 2);
    double want = perplexity(f, &fake.device, "fp16", "fp32");
    size_t all = fake.most;
    assert_int_equal(fake.held, 0);
    assert_int_equal(fake.most_rows, WINDOWS * WINDOW);
    make_fake(all - 1); /* half of the rows at a time */
    double got = perplexity(f, &fake.device, "fp16", "fp32");
    assert_true(fabs(got - want) <= ppl_bound * want);
    size_t least = 0; /* where the smallest limit that works lies */
    for (size_t limit = all; limit > 0; limit = limit * 9 / 10) {
        make_fake(limit);
        if (evaluate(f, &fake.device, "fp16", "fp32", &cell)) break;
        assert_true(fake.most <= limit);
        assert_true(fabs(cell.ppl - want) <= ppl_bound * want);
        least = limit;
    }
    assert_true(least > 0 && least < all * 8 / 10);
    assert_int_equal(f->g.err.status, PTQ_EDEVICE);
    if (!strstr(f->g.err.text, "needs") || !strstr(f->g.err.text, "bytes are free")) fail_msg("%s", f->g.err.text);
    print_message("%zu bytes, %zu at least; then: %s\n", all, least, f->g.err.text);
    assert_int_equal(fake.held, 0);
    close_fixture(f);
}

/* Nothing at the n-th take, or from there on, for every n: the same number, or a refusal that says so; all is given
 * back. */
static int fail_takes(struct fixture *f, const char *spec, const char *path, double bound, int for_ever)
{
    struct ptq_cell cell;
    int n = 0, refused = 0;
    make_fake(SIZE_MAX / 2);
    double want = perplexity(f, &fake.device, spec, path);
    do {
        make_fake(SIZE_MAX / 2);
        fake.fail_at = ++n;
        fake.fail_last = for_ever ? INT_MAX : n;
        enum ptq_status status = evaluate(f, &fake.device, spec, path, &cell);
        assert_int_equal(fake.held, 0);
        if (status) {
            assert_int_equal(status, PTQ_EDEVICE);
            if (!strstr(f->g.err.text, "bytes")) fail_msg("%s, take %d: %s", spec, n, f->g.err.text);
        } else if (fabs(cell.ppl - want) > bound * want) {
            fail_msg("%s, take %d: %.9g, and %.9g without", spec, n, cell.ppl, want);
        }
        refused += status != PTQ_OK;
    } while (fake.takes >= n);
    print_message("%s %s: %d takes, %d refused\n", spec, path, n - 1, refused);
    return n - 1;
}

static void test_no_take(void **state)
{
    static const char *const specs[][2] = {{"fp16", "fp32"}, {"rtn:w4,g16", "packed"}, {"gptq:w4,g16", "fp32"}};
    const double bounds[] = {ppl_bound, packed_bound, code_bound};
    struct fixture fixture, *f = &fixture;
    (void)state;
    open_fixture(f, "llama");
    for (int i = 0; i < 3; i++)
        for (int for_ever = i == 2; for_ever < 2; for_ever++)
            assert_true(fail_takes(f, specs[i][0], specs[i][1], bounds[i], for_ever) > 0);
    close_fixture(f);
}

/* ---- failures ---- */

static void test_failures(void **state)
{
    struct fixture fixture, *f = &fixture;
    struct ptq_cell cell;
    (void)state;
    open_fixture(f, "llama");
    make_fake(SIZE_MAX / 2);
    fake.failure = "CUDA, a kernel: planted";
    assert_int_equal(evaluate(f, &fake.device, "fp16", "fp32", &cell), PTQ_EDEVICE);
    assert_non_null(
        strstr(f->g.err.text, ptq_format(f->g.arena, "layer 0: %s: CUDA, a kernel: planted", fake.device.name)));
    make_fake(SIZE_MAX / 2);
    fake.bad_call = 4; /* the second block's down */
    fake.planted = NAN;
    assert_int_equal(evaluate(f, &fake.device, "fp16", "fp32", &cell), PTQ_ENUMERIC);
    if (!strstr(f->g.err.text, ": layer 1: the activation of window 0, token 3 is not finite"))
        fail_msg("%s", f->g.err.text);
    assert_int_equal(fake.held, 0);
    close_fixture(f);
}

/* What passes unchecked is noticed by PTQ_DEVICE_CHECK, where it is; without a fault it passes, packed, too. */
static void test_checking(void **state)
{
    struct fixture fixture, *f = &fixture;
    struct ptq_cell cell;
    (void)state;
    setenv("PTQ_DEVICE_CHECK", "1", 1);
    for (int i = 0; i < N_FAMILIES; i++) {
        open_fixture(f, families[i]);
        perplexity(f, there(), "fp16", "fp32");
        perplexity(f, there(), "rtn:w4,g16", "packed");
        close_fixture(f);
    }
    open_fixture(f, "llama");
    make_fake(SIZE_MAX / 2);
    fake.bad_call = 3; /* the second block's attention output */
    fake.planted = 0.5F;
    assert_int_equal(evaluate(f, &fake.device, "fp16", "fp32", &cell), PTQ_EDEVICE);
    print_message("%s\n", f->g.err.text);
    if (!strstr(f->g.err.text, "layer 1: row 3 (window 0, token 3), column ")) fail_msg("%s", f->g.err.text);
    unsetenv("PTQ_DEVICE_CHECK");
    make_fake(SIZE_MAX / 2);
    fake.bad_call = 3;
    fake.planted = 0.5F;
    OK(evaluate(f, &fake.device, "fp16", "fp32", &cell));
    close_fixture(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),  cmocka_unit_test(test_methods),       cmocka_unit_test(test_taps),
        cmocka_unit_test(test_reference), cmocka_unit_test(test_little_memory), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_checking),  cmocka_unit_test(test_no_take),       cmocka_unit_test(test_folders_of_codes),
    };
    ptq_progress_quiet(PTQ_NOTES_ONLY);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
