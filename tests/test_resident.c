/* Decoding on a device, over the emulated one: every family's logits against the CPU's decoder, whatever the tokens
 * came in, with weights as float32, FP16 and packed; greedy tokens against transformers; little memory; failures. With
 * PTQ_TEST_DEVICE=real in the environment on the real device. */
#include "decode.h"
#include "device_wish.h"
#include "files.h"
#include "fixtures/greedy.h"
#include "hold.h"
#include "offload.h"
#include "resident.h"

#include <math.h>

enum { TOKENS = 26, GREEDY = 10 };

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

static const struct ptq_choice likeliest = {0, 1, 0};

struct fixture {
    struct ptq_arena *arena;
    struct ptq_session *session;
    struct ptq_held held;
    struct ptq_model far; /* the held one, on the device */
};

static void open_fixture(struct fixture *f, const char *name, const char *spec, const char *path)
{
    struct ptq_error err;
    *f = (struct fixture){.arena = ptq_arena_make("test"), .session = ptq_session_make()};
    struct ptq_job job = {.model = ptq_format(f->arena, PTQ_FIXTURES "/models/%s", name), .spec = spec, .path = path};
    OK(ptq_hold(f->session, &job, f->arena, &f->held, &err));
    f->far = *f->held.model;
    f->far.device = there();
}

static void close_fixture(struct fixture *f)
{
    ptq_arena_free(f->arena);
    ptq_session_free(f->session);
    assert_int_equal(there()->error() != NULL, 0);
}

/* ---- logits ---- */

static double largest(const float *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

/* Returns how far apart they are, in largest logits. */
static double compare(const struct fixture *f, struct ptq_decoder *here, struct ptq_decoder *far, double bound)
{
    const float *want, *got;
    struct ptq_error err;
    int64_t vocab = f->far.config.vocab;
    OK(ptq_decoder_logits(here, &want, &err));
    OK(ptq_decoder_logits(far, &got, &err));
    double most = 0, scale = largest(want, vocab);
    for (int64_t i = 0; i < vocab; i++) {
        double apart = fabs((double)got[i] - want[i]) / scale;
        most = fmax(most, apart);
        if (!(apart <= bound))
            fail_msg("%s %s %s, token %ld: logit %ld is %g there, and %g here", f->held.model->name, f->held.spec,
                     f->held.path, (long)here->n - 1, (long)i, (double)got[i], (double)want[i]);
    }
    int32_t id;
    OK(ptq_decoder_choose(far, &likeliest, NULL, f->arena, &id, &err));
    if ((double)got[id] < largest(got, vocab) && (double)got[id] < 0) return most;
    for (int64_t i = 0; i < vocab; i++)
        if (got[i] > got[id] || (got[i] == got[id] && i < id))
            fail_msg("%s: %ld is chosen, %ld is likelier", f->held.model->name, (long)id, (long)i);
    return most;
}

/* Float32 and FP16 weights: the same products in another order. Packed: activations of FP16 there, integers of 16 bits
 * here, with the bound of the checking backend (offload.h). */
static void check(const char *name, const char *spec, const char *path)
{
    struct fixture f;
    struct ptq_decoder here, far;
    struct ptq_error err;
    open_fixture(&f, name, spec, path);
    int32_t id[TOKENS];
    struct ptq_rng rng = ptq_rng_make(1, name);
    for (int i = 0; i < TOKENS; i++) id[i] = (int32_t)ptq_rng_below(&rng, (uint64_t)f.far.config.vocab);
    OK(ptq_decoder_make(f.arena, f.held.model, f.held.block, TOKENS, &here, &err));
    OK(ptq_decoder_make(f.arena, &f.far, f.held.block, TOKENS, &far, &err));
    assert_non_null(far.there);
    double most = 0, bound = strcmp(f.held.path, "packed") ? ptq_check_float : ptq_check_packed;
    const int64_t pieces[] = {13, 1, 1, 9, 1, 1};
    for (int i = 0; i < 6; i++) {
        OK(ptq_decoder_push(&here, id + here.n, pieces[i], &err));
        OK(ptq_decoder_push(&far, id + far.n, pieces[i], &err));
        most = fmax(most, compare(&f, &here, &far, bound));
    }
    assert_int_equal(far.n, TOKENS);
    assert_non_null(far.there->recording);
    assert_int_equal(ptq_decoder_push(&far, id, 1, &err), PTQ_EINPUT);
    print_message("%-12s %-36s %-7s %.1e apart\n", name, spec, f.held.path, most);
    close_fixture(&f);
}

static void test_logits(void **state)
{
    static const char *const models[] = {"bloom", "gpt2", "llama", "llama3", "mistral", "opt", "opt350", "qwen2"};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        check(models[i], "fp16", "fp32");
        check(models[i], "rtn:w4,g16", "packed");
    }
    check("llama-gqa/model.gguf", "fp16", "fp32");
    check("llama", "rtn:w4,g32", "packed"); /* rows go straight to what packed linears read */
    check("llama", "rtn:w3,g32", "fp32");   /* float32 weights */
    check("llama", "salient:w3,g16,select=weight,fraction=0.1", "packed"); /* kept columns differ by linear */
}

/* ---- tokens ---- */

static void test_greedy_is_transformers(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof greedy / sizeof *greedy; m++) {
        struct fixture f;
        struct ptq_decoder d;
        struct ptq_error err;
        open_fixture(&f, greedy[m].model, "fp16", "fp32");
        OK(ptq_decoder_make(f.arena, &f.far, f.held.block, GREEDY_PROMPT + GREEDY, &d, &err));
        OK(ptq_decoder_push(&d, greedy[m].prompt, GREEDY_PROMPT, &err));
        for (int i = 0; i < GREEDY; i++) {
            int32_t id;
            OK(ptq_decoder_choose(&d, &likeliest, NULL, f.arena, &id, &err));
            if (id != greedy[m].next[i])
                fail_msg("%s, new token %d: %d, and transformers says %d", greedy[m].model, i, id, greedy[m].next[i]);
            OK(ptq_decoder_push(&d, &id, 1, &err));
        }
        close_fixture(&f);
    }
}

/* A sampled token is drawn from the logits that come back. */
static void test_sampled(void **state)
{
    struct fixture f;
    struct ptq_decoder d;
    struct ptq_error err;
    const struct ptq_choice choice = {1, 1, 0};
    (void)state;
    open_fixture(&f, "llama", "fp16", "fp32");
    OK(ptq_decoder_make(f.arena, &f.far, f.held.block, GREEDY_PROMPT, &d, &err));
    OK(ptq_decoder_push(&d, greedy[2].prompt, GREEDY_PROMPT, &err));
    for (int i = 0; i < 20; i++) {
        int32_t a, b;
        struct ptq_rng one = ptq_rng_make((uint64_t)i, "draw"), two = one;
        OK(ptq_decoder_choose(&d, &choice, &one, f.arena, &a, &err));
        OK(ptq_choose(d.logits, f.far.config.vocab, &choice, &two, f.arena, &b, &err));
        assert_int_equal(a, b);
    }
    close_fixture(&f);
}

/* ---- memory and failures ---- */

static size_t limit, held;

static void *limited_take(size_t bytes)
{
    if (held + bytes > limit) return NULL;
    held += bytes;
    return there()->take(bytes);
}

static size_t limited_room(void)
{
    return limit - held;
}

/* Fewer rows go together where memory is short, down to one; below that nothing is computed. */
static void test_little_memory(void **state)
{
    struct fixture f;
    struct ptq_error err;
    struct ptq_device small = *there();
    int64_t rows = TOKENS + 1;
    (void)state;
    open_fixture(&f, "llama", "rtn:w4,g16", "packed");
    small.take = limited_take;
    small.room = limited_room;
    f.far.device = &small;
    limit = SIZE_MAX / 2;
    for (int i = 0; i < 200; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_decoder d;
        held = 0;
        if (ptq_decoder_make(arena, &f.far, f.held.block, TOKENS, &d, &err)) {
            ptq_arena_free(arena);
            break;
        }
        assert_true(d.there->most_rows <= rows);
        rows = d.there->most_rows;
        limit = held - 1;
        OK(ptq_decoder_push(&d, greedy[2].prompt, GREEDY_PROMPT, &err));
        OK(ptq_decoder_push(&d, greedy[2].next, 1, &err));
        ptq_arena_free(arena);
    }
    assert_int_equal(rows, 1);
    assert_int_equal(err.status, PTQ_EDEVICE);
    if (!strstr(err.text, "bytes of device memory") || !strstr(err.text, "free")) fail_msg("%s", err.text);
    print_message("%s\n", err.text);
    close_fixture(&f);
}

static void plant_nan(int32_t *id, const float *x, int64_t n, void *scratch)
{
    const float nan = NAN;
    there()->upload((float *)x + 7, &nan, sizeof nan);
    there()->decoding.likeliest(id, x, n, scratch);
}

static void test_not_finite(void **state)
{
    struct fixture f;
    struct ptq_decoder d;
    struct ptq_error err;
    struct ptq_device bad = *there();
    (void)state;
    open_fixture(&f, "llama", "fp16", "fp32");
    bad.decoding.likeliest = plant_nan;
    f.far.device = &bad;
    OK(ptq_decoder_make(f.arena, &f.far, f.held.block, TOKENS, &d, &err));
    assert_int_equal(ptq_decoder_push(&d, greedy[2].prompt, GREEDY_PROMPT, &err), PTQ_ENUMERIC);
    if (!strstr(err.text, ": token 8: the logit of id 7 is not finite")) fail_msg("%s", err.text);
    close_fixture(&f);
}

/* Heads that no kernel holds whole: refused, both where tokens are decoded and where windows are too long for the fast
 * attention, which holds any. */
static void test_wide_heads(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model model = {.name = "wide", .device = there()};
    struct ptq_forward f = {.model = &model, .windows = 1, .batch_windows = 1, .length = 8193};
    struct ptq_block block = {0};
    struct ptq_resident *out;
    struct ptq_error err;
    model.config.head_size = PTQ_DEVICE_HEAD + 64;
    model.config.heads = model.config.kv_heads = 1;
    ptq_offload_make(arena, &f);
    assert_int_equal(ptq_resident_make(arena, &f, &block, 4, NULL, NULL, NULL, &out, &err), PTQ_EDEVICE);
    assert_non_null(strstr(err.text, "wide has heads of 320, and attention there holds 256; take --device cpu"));
    assert_int_equal(ptq_offload_begin(&f, &block, &err), PTQ_EDEVICE);
    assert_non_null(strstr(err.text, "heads of 320"));
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),     cmocka_unit_test(test_greedy_is_transformers),
        cmocka_unit_test(test_sampled),    cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_wide_heads), cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
