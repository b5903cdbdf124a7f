/* What a cell is said to cost: operations counted by hand on a tiny model, and what a budget of memory leaves room for.
 */
#include "cost.h"
#include "forward.h"
#include "plan.h"
#include "words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { MIB = 1 << 20 };

static void test_budget(void **state)
{
    (void)state;
    struct ptq_cost cost = {.fixed = 10 * MIB, .codes = 40 * MIB, .window = 8 * MIB, .windows = 20, .batch = 2};
    int64_t here = ptq_memory_in_use(), peak;
    assert_true(here > 0);
    /* usual: 128 MiB of activations, in two chunks, so codes are kept */
    assert_int_equal(ptq_cost_chunk(&cost, here, 0, &peak), 16);
    assert_true(peak >= (10 + 40 + 16 * 8) * MIB + here);
    /* room for all: no codes are kept */
    assert_int_equal(ptq_cost_chunk(&cost, here, here + 171 * MIB, &peak), 20);
    assert_in_range(peak, 170 * MIB, 171 * MIB + here);
    /* one window less than all: the codes' room is not there for windows */
    assert_int_equal(ptq_cost_chunk(&cost, here, here + 167 * MIB, &peak), 14);
    assert_int_equal(ptq_cost_chunk(&cost, here, here + 67 * MIB, &peak), 2);
    /* less than one batch: refused, with what it would take */
    assert_int_equal(ptq_cost_chunk(&cost, here, here + 60 * MIB, &peak), 0);
    assert_true(peak >= (10 + 40 + 16) * MIB);
    /* where all windows take less than the codes and one batch, that is what it would take */
    cost.windows = 4;
    assert_int_equal(ptq_cost_chunk(&cost, here, here + 41 * MIB, &peak), 0);
    assert_int_equal(peak, here + (10 + 4 * 8) * MIB);
    /* one batch that is all there is needs no codes kept */
    cost.windows = 1;
    assert_int_equal(ptq_cost_chunk(&cost, here, here + 19 * MIB, &peak), 1);
}

/* Inputs of blocks are kept in what is left when all windows go together, and never make a cell too large. */
static void test_prefix(void **state)
{
    (void)state;
    struct ptq_cost cost = {
        .fixed = 10 * MIB, .codes = 40 * MIB, .window = 8 * MIB, .windows = 10, .batch = 2, .prefix = 60 * MIB};
    static const struct {
        int64_t windows, budget, chunk, prefix, peak; /* MiB; peak beside what is in use */
    } rows[] = {
        {10, 0, 10, 60, 150}, {10, 150, 10, 60, 150}, {10, 149, 10, 59, 149},
        {10, 90, 10, 0, 90},  {10, 89, 4, 0, 82},     {17, 0, 16, 0, 178}, /* in two chunks */
    };
    int64_t here = 3 * MIB, peak;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t budget = rows[i].budget ? here + rows[i].budget * MIB : 0;
        cost.windows = rows[i].windows;
        assert_int_equal(ptq_cost_chunk(&cost, here, budget, &peak), rows[i].chunk);
        assert_int_equal(ptq_cost_prefix(&cost, here, budget), rows[i].prefix * MIB);
        assert_int_equal(peak, here + rows[i].peak * MIB);
    }
}

static struct ptq_cost cost_of(struct ptq_session *session, const char *spec)
{
    struct ptq_error err;
    struct ptq_cost cost;
    struct ptq_job job = {.model = PTQ_FIXTURES "/models/llama",
                          .text = PTQ_FIXTURES "/models/text.txt",
                          .calib = PTQ_FIXTURES "/models/calib.txt",
                          .spec = spec,
                          .window = 32,
                          .max_windows = 2,
                          .calib_window = 32,
                          .calib_windows = 4};
    if (ptq_cell_cost(session, &job, &cost, &err)) fail_msg("%s: %s", spec, err.text);
    return cost;
}

static void test_operations(void **state)
{
    (void)state;
    struct ptq_session *session = ptq_session_make();
    struct ptq_cost fp = cost_of(session, "fp16"), rtn = cost_of(session, "rtn:w3,g32");
    struct ptq_cost gptq = cost_of(session, "gptq:w3,g32"), gram = cost_of(session, "awq:w3,g32,loss=gram");
    assert_int_equal(fp.windows, 2);
    assert_int_equal(fp.batch, PTQ_BATCH_ROWS / 32);
    assert_true(fp.evaluate > 0 && fp.quantize == 0 && fp.calibrate == 0 && fp.codes == 0);
    /* every cell evaluates alike; whose windows travel shares no pass; moments make the pass dearer */
    assert_true(rtn.evaluate == fp.evaluate && gptq.evaluate == fp.evaluate);
    assert_true(rtn.calibrate > 0 && gptq.calibrate == 0 && gram.calibrate > rtn.calibrate);
    /* four windows through the blocks, without the head, against two with it */
    assert_true(rtn.calibrate < 2 * fp.evaluate);
    assert_true(rtn.quantize > 0 && gram.quantize > rtn.quantize && gptq.quantize > rtn.quantize);
    assert_true(gptq.fixed > rtn.fixed);
    /* a module's trials run the block, AWQ's scales before GPTQ do not */
    struct ptq_cost module = cost_of(session, "awq:w3,g32,loss=module"), both = cost_of(session, "awq+gptq:w3,g32");
    assert_true(module.quantize > both.quantize && both.quantize > gptq.quantize && both.calibrate == gram.calibrate);
    /* four windows of 32: what is held of them in staged order is no more than all of the widest outputs */
    struct ptq_cost staged = cost_of(session, "gptq:w3,g32,true_sequential=1");
    assert_in_range(staged.fixed - gptq.fixed, 1, 4 * 32 * 1024 * (int64_t)sizeof(float));
    /* the input of block 1 alone, of two; whose windows travel to be scaled keep none */
    struct ptq_cost only = cost_of(session, "gptq:w3,g32,only=1"),
                    scaled = cost_of(session, "awq:w3,g32,loss=module,only=1");
    assert_int_equal(only.prefix, 2 * only.window);
    assert_true(gptq.prefix == 0 && scaled.prefix == 0);
    ptq_session_free(session);
}

static void test_pace(void **state)
{
    (void)state;
    double pace = ptq_machine_pace();
    assert_true(pace > 1e-15 && pace < 1e-7); /* from 10 MF/s to 1 PF/s */
}

static void test_sizes(void **state)
{
    (void)state;
    int64_t size = 0;
    assert_true(ptq_parse_size("8G", 1, &size) && size == (int64_t)8 << 30);
    assert_true(ptq_parse_size("800M", 1, &size) && size == 800 * (int64_t)MIB);
    assert_true(ptq_parse_size("3K", 1, &size) && size == 3072);
    assert_true(ptq_parse_size("2T", 1, &size) && size == (int64_t)2 << 40);
    assert_true(ptq_parse_size("77", 1, &size) && size == 77);
    static const char *const bad[] = {"", "G", "8Q", "8g", "8GB", "-1", "1.5G", "9999999999T", "0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ptq_parse_size(bad[i], 1, &size)) fail_msg("'%s' is taken for %lld", bad[i], (long long)size);
    assert_int_equal(size, 77);
}

static void test_durations(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(ptq_duration(0.4, text, sizeof text), "1 s");
    assert_string_equal(ptq_duration(89, text, sizeof text), "89 s");
    assert_string_equal(ptq_duration(300, text, sizeof text), "5 min");
    assert_string_equal(ptq_duration(9000, text, sizeof text), "2.5 h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget), cmocka_unit_test(test_prefix), cmocka_unit_test(test_operations),
        cmocka_unit_test(test_pace),   cmocka_unit_test(test_sizes),  cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
