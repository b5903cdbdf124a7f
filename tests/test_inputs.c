/* What results keep of the calibration statistics: ranks, leading channels, the median. */
#include "inputs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { BLOCKS = 2, WIDE = 6 };

/* Two blocks: channels 0 to 5 of every input have the means below, shifted by the block and the input. */
static void test_report(void **state)
{
    (void)state;
    static const float means[WIDE] = {3, 9, 1, 9, 5, 2};
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model_stats stats = {.blocks = BLOCKS};
    struct ptq_cell cell = {0};
    stats.input = ptq_alloc(arena, sizeof *stats.input * BLOCKS, "inputs");
    for (int i = 0; i < BLOCKS * PTQ_N_INPUT; i++) {
        struct ptq_stats *s = &stats.input[i / PTQ_N_INPUT][i % PTQ_N_INPUT];
        s->k = WIDE;
        s->absmean = ptq_new(arena, float, WIDE);
        for (int c = 0; c < WIDE; c++) s->absmean[c] = means[c] + (float)i;
    }
    ptq_inputs_report(arena, &stats, &cell);
    assert_int_equal(cell.n_inputs, BLOCKS * PTQ_N_INPUT);
    for (int i = 0; i < cell.n_inputs; i++) {
        static const float ranked[] = {9, 9, 3, 1}; /* ranks 1, 2, 4, and 6, the last */
        const struct ptq_input_report *r = &cell.input[i];
        assert_int_equal(r->channels, WIDE);
        assert_int_equal(r->top1, 1); /* of equal channels the first */
        assert_int_equal(r->top2, 3);
        assert_int_equal(r->top3, 4);
        assert_true(r->median == 4.0 + i);
        for (int k = 0; k < PTQ_INPUT_RANKS; k++) assert_true(r->ranked[k] == ranked[k < 3 ? k : 3] + (float)i);
    }
    assert_string_equal(cell.input[0].name, "0.attn_in");
    assert_string_equal(cell.input[7].name, "1.mlp_out");
    ptq_arena_free(arena);
}

/* Fewer channels than there are places. */
static void test_narrow(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model_stats stats = {.blocks = 1};
    struct ptq_cell cell = {0};
    float mean[] = {2};
    stats.input = ptq_alloc(arena, sizeof *stats.input, "inputs");
    for (int i = 0; i < PTQ_N_INPUT; i++) stats.input[0][i] = (struct ptq_stats){.k = 1, .absmean = mean};
    ptq_inputs_report(arena, &stats, &cell);
    assert_int_equal(cell.input[0].top1, 0);
    assert_int_equal(cell.input[0].top2, -1);
    assert_true(cell.input[0].median == 2 && cell.input[0].ranked[PTQ_INPUT_RANKS - 1] == 2);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_report), cmocka_unit_test(test_narrow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
