/* The sheets of swapped linears: who is summed with whom, and what they add up to. */
#include "attribution.h"
#include "cells.h"
#include "printed_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static struct ptq_arena *arena;

/* A cell of two blocks with the linears named, costing so many nats of KL; its nll is FP16's plus twice that. */
static struct ptq_cell swap_cell(const char *spec, const char *const *linear, int n, double kl)
{
    struct ptq_cell c = make_cell(arena, "m", spec, 0), fp16 = make_cell(arena, "m", "fp16", 0);
    for (int64_t i = 0; i < c.tokens; i++) c.nll[i] = fp16.nll[i] + (float)(2 * kl);
    c.nll_mean = fp16.nll_mean + 2 * kl;
    c.ppl = exp(c.nll_mean);
    cell_compare(&c, arena, kl);
    c.n_linears = n;
    c.linear = ptq_new(arena, struct ptq_linear_report, n);
    for (int i = 0; i < n; i++)
        c.linear[i] = (struct ptq_linear_report){.name = linear[i], .weight_error = 0.0625, .output_error = 0.125};
    return c;
}

static void expect_part(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in:\n%s", part, text);
}

static void test_sheets(void **state)
{
    (void)state;
    static const char *const names[] = {"b0.q", "b0.down", "b1.q", "b1.down"}, *const q[] = {"b0.q", "b1.q"};
    struct ptq_cell cells[] = {
        make_cell(arena, "m", "fp16", 0),
        swap_cell("rtn:w3,g64", names, 4, 0.012),
        swap_cell("rtn:w3,g64,only=q", q, 2, 0.0045),
        swap_cell("rtn:w3,g64,only=0.q", names, 1, 0.001),
        swap_cell("rtn:w3,g64,only=0.down", names + 1, 1, 0.002),
        swap_cell("rtn:w3,g64,only=1.q", names + 2, 1, 0.002),
        swap_cell("rtn:w3,g64,only=1.down", names + 3, 1, 0.005),
    };
    const char *text = printed_table(arena, cells, 7, PTQ_TABLE_MD);
    expect_part(text, "KL divergence to FP16 of each linear swapped alone");
    expect_part(text, "| block |    q | down |   sum |");
    expect_part(text, "|     0 | 1.00 | 2.00 |  3.00 |");
    expect_part(text, "|     1 | 2.00 | 5.00 |  7.00 |");
    expect_part(text, "|   sum | 3.00 | 7.00 | 10.00 |");
    expect_part(text, "|   sum | 6.00 | 14.00 | 20.00 |"); /* of nll */
    expect_part(text, "| all     |       4 |             12.00 |                10.00 |     1.20 |");
    expect_part(text, "| q       |       2 |              4.50 |                 3.00 |     1.50 |");
    expect_part(text, "| b1.down |      5.00 |         50.0 |     +10.00 |       0.0625 |       0.1250 |");
    if (strstr(text, "only=0.q")) fail_msg("a swapped linear in the list:\n%s", text);
    expect_part(printed_table(arena, cells, 7, PTQ_TABLE_CSV), "\"rtn:w3,g64,only=0.q\"");
    text = printed_table(arena, cells, 6, PTQ_TABLE_TEXT); /* one is missing: no sum of all, but that of q */
    expect_part(text, "all            4              12.00 ");
    expect_part(text, "q              2               4.50                  3.00      1.50 ");
    text = printed_table(arena, cells + 1, 6, PTQ_TABLE_TEXT); /* without FP16 there is KL alone */
    if (strstr(text, "change of the mean nll")) fail_msg("costs of nll without FP16:\n%s", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sheets)};
    arena = ptq_arena_make("test");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_arena_free(arena);
    return failed;
}
