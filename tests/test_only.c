/* only=: which linears a cell swaps for their quantised versions, on the tiny checkpoints. */
#include "only.h"
#include "cost.h"
#include "forward.h"
#include "golden.h"
#include "pipeline.h"
#include "pool.h"
#include "prefix.h"
#include "progress.h"
#include "session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MODELS PTQ_FIXTURES "/models/"
enum { WINDOW = 32 };

struct check {
    struct golden g;
    struct ptq_session *session;
    struct ptq_job job;
};

#define OK(call) GOLDEN_OK(&c->g, call)

static void begin(struct check *c)
{
    *c = (struct check){.g = {.name = "llama", .arena = ptq_arena_make("check")}, .session = ptq_session_make()};
    c->job = (struct ptq_job){.model = MODELS "llama",
                              .text = MODELS "text.txt",
                              .calib = MODELS "calib.txt",
                              .window = WINDOW,
                              .max_windows = 6,
                              .calib_window = WINDOW,
                              .calib_windows = 4,
                              .bos = PTQ_BOS_NONE};
}

static void end(struct check *c)
{
    ptq_session_free(c->session);
    ptq_arena_free(c->g.arena);
}

static const struct ptq_cell *run_cell(struct check *c, const char *spec)
{
    struct ptq_cell *cell = ptq_new(c->g.arena, struct ptq_cell, 1);
    c->job.spec = spec;
    OK(ptq_cell_plan(c->session, &c->job, c->g.arena, cell, &c->g.err));
    OK(ptq_cell_run(c->session, &c->job, c->g.arena, cell, &c->g.err));
    return cell;
}

static int same_nll(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return a->tokens == b->tokens && memcmp(a->nll, b->nll, sizeof *a->nll * (size_t)a->tokens) == 0;
}

/* All linears are all linears; one is another cell, with one report, and nearer to FP16. */
static void test_all_and_one(void **state)
{
    (void)state;
    static const char *const methods[] = {"rtn:w3,g32", "gptq:w3,g32", "awq:w3,g32,loss=gram", "awq:w3,g32"};
    for (int m = 0; m < 4; m++) {
        struct check check, *c = &check;
        begin(c);
        const struct ptq_cell *fp16 = run_cell(c, "fp16"), *all = run_cell(c, methods[m]);
        const struct ptq_cell *star = run_cell(c, ptq_format(c->g.arena, "%s,only=*", methods[m]));
        const struct ptq_cell *one = run_cell(c, ptq_format(c->g.arena, "%s,only=1.down", methods[m]));
        assert_true(same_nll(all, star));
        assert_string_not_equal(all->id, star->id);
        assert_int_equal(star->n_linears, all->n_linears);
        assert_int_equal(one->n_linears, 1);
        assert_string_equal(one->linear[0].name, "model.layers.1.mlp.down_proj");
        assert_false(same_nll(one, fp16) || same_nll(one, all));
        assert_true(fabs(one->nll_mean - fp16->nll_mean) < 0.5 * fabs(all->nll_mean - fp16->nll_mean) + 0.01);
        for (int i = 0; i < all->n_linears; i++)
            if (strcmp(all->linear[i].name, one->linear[0].name) == 0)
                assert_true(all->linear[i].weight_error == one->linear[0].weight_error);
        end(c);
    }
}

/* Whole blocks are packed, the others stay float32, also where windows travel through them. */
static void test_packed(void **state)
{
    (void)state;
    static const char *const methods[] = {"rtn:w3,g32", "gptq:w3,g32", "awq:w3,g32,loss=gram"};
    for (int m = 0; m < 3; m++) {
        struct check check, *c = &check;
        begin(c);
        const char *one = ptq_format(c->g.arena, "%s,only=1", methods[m]);
        const struct ptq_cell *plain = run_cell(c, one);
        c->job.path = "packed";
        const struct ptq_cell *packed = run_cell(c, one), *all = run_cell(c, methods[m]);
        assert_string_equal(packed->path, "packed");
        assert_false(same_nll(packed, plain));
        assert_true(fabs(packed->ppl / plain->ppl - 1) < 1e-4);
        assert_true(packed->effective_bits > plain->effective_bits);
        assert_true(same_nll(all, run_cell(c, ptq_format(c->g.arena, "%s,only=*", methods[m]))));
        end(c);
    }
}

/* Where a cell starts changes nothing: from the embedding, from an input that another cell kept, in chunks. */
static void test_same_bytes(void **state)
{
    (void)state;
    static const char *const specs[] = {"rtn:w3,g32,only=1.down", "gptq:w3,g32,only=1", "rtn:w3,g32,only=q|0.up",
                                        "rtn:w3,g32,only=1.[uo]*"};
    int64_t room = ptq_prefix_bytes, whole = ptq_chunk_bytes;
    for (int s = 0; s < 4; s++) {
        struct check check[4];
        const struct ptq_cell *cell[4];
        for (int i = 0; i < 4; i++) {
            struct check *c = &check[i];
            ptq_pool_start(1 + i % 3);
            if (i == 2) ptq_prefix_bytes = 1;
            if (i == 3 && s != 1) ptq_chunk_bytes = 1;
            begin(c);
            if (i == 1) run_cell(c, "rtn:w4,g32,only=1.q");
            cell[i] = run_cell(c, specs[s]);
            ptq_prefix_bytes = room, ptq_chunk_bytes = whole;
            if (i < 3) assert_true(same_nll(cell[0], cell[i]));
            assert_true(fabs(cell[0]->ppl / cell[i]->ppl - 1) < 1e-5);
            assert_int_equal(cell[0]->n_linears, cell[i]->n_linears);
        }
        for (int i = 0; i < 4; i++) end(&check[i]);
    }
    ptq_pool_start(2);
}

/* What later cells start from is held while cells ask for it, in the room that the budget of each leaves. */
static void test_held(void **state)
{
    (void)state;
    struct check check, *c = &check;
    begin(c);
    const struct ptq_cell *free_of = run_cell(c, "rtn:w3,g32,only=1");
    assert_true(c->session->begun && c->session->begun->prefix);
    assert_true(ptq_prefix_limit(c->session->begun->prefix) > 0);
    run_cell(c, "fp16");
    assert_null(c->session->begun);
    run_cell(c, "rtn:w4,g32,only=1");
    assert_non_null(c->session->begun);
    struct ptq_cost cost;
    int64_t least, whole;
    c->job.spec = "rtn:w3,g32,only=1";
    OK(ptq_cell_cost(c->session, &c->job, &cost, &c->g.err));
    c->session->at_rest = 1 << 20;
    ptq_cost_chunk(&cost, c->session->at_rest, INT64_MAX / 2, &whole);
    least = whole - cost.prefix;
    ptq_session_budget(c->session, whole);
    assert_true(same_nll(free_of, run_cell(c, "rtn:w3,g32,only=1")));
    assert_int_equal(ptq_prefix_limit(c->session->begun->prefix), cost.prefix);
    ptq_session_budget(c->session, least);
    assert_true(same_nll(free_of, run_cell(c, "rtn:w3,g32,only=1")));
    assert_int_equal(ptq_prefix_limit(c->session->begun->prefix), 0);
    end(c);
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *only;
        unsigned roles[2]; /* of blocks 0 and 1; q k v o gate up down from bit 0 on */
    } table[] = {
        {"", {0x7f, 0x7f}},     {"*", {0x7f, 0x7f}}, {"down", {0x40, 0x40}},
        {"1", {0, 0x7f}},       {"0.q|1.o", {1, 8}}, {"model.layers.1.self_attn.[qk]_proj", {0, 3}},
        {"*.up", {0x20, 0x20}}, {"7.q", {0, 0}},     {"0.*|v", {0x7f, 4}},
        {"own", {0, 0}},
    };
    struct check check, *c = &check;
    struct ptq_planned plan;
    begin(c);
    c->job.spec = "fp16";
    OK(ptq_session_plan(c->session, &c->job, &plan, &c->g.err));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int block = 0; block < 2; block++)
            if (ptq_only_roles(table[i].only, &plan.model->model, block) != table[i].roles[block])
                fail_msg("'%s', block %d: %#x", table[i].only, block,
                         ptq_only_roles(table[i].only, &plan.model->model, block));
    int64_t block;
    enum ptq_role role;
    assert_true(ptq_only_is_one("12.down", &block, &role) && block == 12 && role == PTQ_DOWN);
    assert_false(ptq_only_is_one("12", &block, &role) || ptq_only_is_one("down", &block, &role) ||
                 ptq_only_is_one("1.q|2.q", &block, &role) || ptq_only_is_one("-1.q", &block, &role));
    end(c);
}

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void test_braces(void **state)
{
    (void)state;
    static const struct {
        const char *text, *all;
    } table[] = {{"3.q", "3.q "},
                 {"{9..11}.{q|down}", "9.q 9.down 10.q 10.down 11.q 11.down "},
                 {"{a|b|}c", "ac bc c "},
                 {"{}x{}", "x "},
                 {"*|{0..1}", "*|0 *|1 "}};
    struct ptq_arena *arena = ptq_arena_make("braces");
    struct ptq_error err;
    const char **out;
    int n;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *all = "";
        assert_int_equal(ptq_only_expand(arena, table[i].text, 100, &out, &n, &err), PTQ_OK);
        for (int j = 0; j < n; j++) all = ptq_format(arena, "%s%s ", all, out[j]);
        assert_string_equal(all, table[i].all);
    }
    /* the last two, as a file of a stranger's has them by the thousand, were taken apart again and again */
    static const char *const bad[] = {
        "{0..3",    "{3..1}", "{0..9}{0..9}{0..9}",    "{0..99}{0..9}{0..9}",
        "{0..100}", "{x..y}", "{a|b}{}{}{}{}{}{}{}{}", "{1|2}" HUNDRED "01234567890123456789"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ptq_only_expand(arena, bad[i], 100, &out, &n, &err), PTQ_EUSAGE);
    assert_int_equal(ptq_only_expand(arena, "{1|2}" HUNDRED "012345678901234567", 100, &out, &n, &err), PTQ_OK);
    assert_int_equal(strlen(out[1]), PTQ_MAX_ONLY - 1);
    ptq_arena_free(arena);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *words, *path;
    } table[] = {{"rtn:w3,g32,only=0|1.q", "only=0|1.q leaves out some linears of a block", "packed"},
                 {"rtn:w3,g32,only=2.q", "only=2.q names no linear of", NULL},
                 {"rtn:w3,g32,only=2.q", "1.q ... 1.down (model.layers.1.self_attn.o_proj)", NULL},
                 {"rtn:w3,g32,only=", "only is ''", NULL},
                 {"rtn:w3,g32,only={0..1}", "without spaces and braces", NULL},
                 {"rtn:w3,only=q,only=k", "only is given twice", NULL},
                 {"fp16:only=q", "takes no parameters", NULL},
                 {"gptq:w3,g32,only=0", "takes at most 1 evaluation windows of 32, and here are 6", NULL}};
    int64_t whole = ptq_chunk_bytes;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check check, *c = &check;
        struct ptq_cell cell;
        begin(c);
        ptq_chunk_bytes = 1;
        c->job.spec = table[i].spec;
        c->job.path = table[i].path;
        assert_int_equal(ptq_cell_plan(c->session, &c->job, c->g.arena, &cell, &c->g.err), PTQ_EUSAGE);
        if (!strstr(c->g.err.text, table[i].words)) fail_msg("'%s' is not in: %s", table[i].words, c->g.err.text);
        ptq_chunk_bytes = whole;
        end(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_and_one), cmocka_unit_test(test_packed),   cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_held),        cmocka_unit_test(test_patterns), cmocka_unit_test(test_braces),
        cmocka_unit_test(test_refused),
    };
    setenv("PTQ_CACHE", "/dev/null/nowhere", 1);
    ptq_progress_quiet(PTQ_QUIET);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
