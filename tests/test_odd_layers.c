/* What a method makes of weights and activations that are out of the ordinary: a result whose codes are finite, or one
 * sentence that says where. And, on calibration data as it comes, that GPTQ's and OBQ's outputs are nearer than RTN's.
 */
#include "apply.h"
#include "awq_fixture.h"
#include "golden.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"

#define MODELS PTQ_FIXTURES "/models/"

/* What is done to a block and its calibration before it is quantised. */
static void zero_group(struct fixture *f)
{
    for (int role = 0; role < PTQ_N_ROLE; role++)
        for (int i = 0; i < 16 && f->block.linear[role].n; i++) f->block.linear[role].w[i] = 0;
}

static void positive_group(struct fixture *f)
{
    for (int role = 0; role < PTQ_N_ROLE; role++)
        for (int i = 0; i < 16 && f->block.linear[role].n; i++) f->block.linear[role].w[i] = 2 + 0.1f * (float)i;
}

static void nothing(struct fixture *f)
{
    (void)f;
}

/* Channel 3 of attn_in and of mlp_in is always 0. */
static void dead_channel(struct fixture *f)
{
    f->block.norm1_w[3] = f->block.norm2_w[3] = 0;
}

static void infinite_activation(struct fixture *f)
{
    f->calib.x[5] = INFINITY;
}

static const struct odd {
    const char *name, *grid;
    void (*change)(struct fixture *f);
    enum ptq_status want;
} odds[] = {
    {"an all-zero group", "w3,g16", zero_group, PTQ_OK},
    {"an all-positive group", "w3,g16", positive_group, PTQ_OK},
    {"an all-positive group, symmetric", "w3,g16,sym=1", positive_group, PTQ_OK},
    {"a group larger than the row", "w3,g1000", nothing, PTQ_OK},
    {"a last group that is shorter", "w4,g32", nothing, PTQ_OK},
    {"a dead channel", "w3,g16", dead_channel, PTQ_OK},
    {"an infinite activation", "w3,g16", infinite_activation, PTQ_ENUMERIC},
};

static const char *const methods[] = {"gptq:%s", "gptq:%s,act_order=1",   "gptq:%s,true_sequential=1", "obq:%s",
                                      "awq:%s",  "scale:%s,fraction=0.1", "salient:%s,fraction=0.1"};

/* Statistics of the inputs as the calibration windows give them: of attn_in; the others see its values, cut. */
static void gather(struct fixture *f, struct ptq_stats stats[PTQ_N_INPUT])
{
    int64_t c = f->model.config.width;
    float *in = ptq_new(f->arena, float, ROWS *c);
    for (int64_t window = 0; window < WINDOWS; window++)
        ptq_forward_step(&f->calib, &f->block, PTQ_ATTN_IN_STEP, window, 1, NULL, in + window * LENGTH * c);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        int64_t k = ptq_input_width(&f->model.config, (enum ptq_input)input);
        stats[input] = (struct ptq_stats){.k = k, .rows = ROWS, .absmean = ptq_new(f->arena, float, k)};
        for (int64_t i = 0; i < ROWS; i++)
            for (int64_t j = 0; j < k; j++) stats[input].absmean[j] += fabsf(in[i * c + j % c]) / ROWS;
    }
}

static enum ptq_status quantize(struct fixture *f)
{
    struct ptq_stats stats[PTQ_N_INPUT];
    struct ptq_linear_report report[PTQ_N_ROLE] = {0};
    int n = 0;
    if (f->spec.method->block_method) {
        PTQ_TRY(f->spec.method->block_method(&f->task, &f->err));
        return ptq_apply_codes(NULL, f->q, f->report, &f->block, f->scratch, report, &n, &f->err);
    }
    gather(f, stats);
    return ptq_apply(&f->spec, 0, stats, &f->block, f->arena, f->scratch, f->q, report, &n, &f->err);
}

static void check_finite(const struct fixture *f, const char *what)
{
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *l = &f->block.linear[role];
        for (int64_t i = 0; i < l->n * l->k; i++) {
            if (!isfinite(l->w[i])) fail_msg("%s: weight %ld of %s is not finite", what, (long)i, l->name);
            assert_true(f->q[role].code[i] < 1 << f->spec.grid.w_bit);
        }
    }
}

static void test_odd_layers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof odds / sizeof *odds; i++)
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
            for (enum kind kind = GATED; kind < N_KINDS; kind++) {
                struct fixture f;
                char spec[64], what[160];
                snprintf(spec, sizeof spec, methods[m], odds[i].grid);
                snprintf(what, sizeof what, "%s, %s, %s", odds[i].name, spec, kind_name[kind]);
                make(&f, kind, spec);
                odds[i].change(&f);
                enum ptq_status status = quantize(&f);
                if (status != odds[i].want) fail_msg("%s: status %d: %s", what, status, status ? f.err.text : "");
                if (status && kind == GATED) printf("%s: %s\n", spec, f.err.text);
                if (status && !strstr(f.err.text, "finite")) fail_msg("%s: %s", what, f.err.text);
                if (!status) check_finite(&f, what);
                drop(&f);
            }
}

/* ---- on the small checkpoints ---- */

static void run_cell(struct golden *g, struct ptq_session *session, const char *model, const char *spec,
                     int64_t windows, struct ptq_cell *cell)
{
    struct ptq_job job = {.model = model,
                          .spec = spec,
                          .text = MODELS "text.txt",
                          .calib = MODELS "calib.txt",
                          .window = 32,
                          .calib_window = 32,
                          .calib_windows = windows,
                          .bos = PTQ_BOS_NONE};
    GOLDEN_OK(g, ptq_cell_plan(session, &job, g->arena, cell, &g->err));
    GOLDEN_OK(g, ptq_cell_run(session, &job, g->arena, cell, &g->err));
}

/* All linears of block 0, where each method sees the same inputs (the one-shot order). */
static void test_nearer_than_rtn(void **state)
{
    (void)state;
    static const char *const models[] = {"llama", "llama3", "opt", "opt350"};
    static const char *const specs[] = {"rtn:w3,g32,range=gptq", "gptq:w3,g32", "gptq:w3,g32,act_order=1",
                                        "obq:w3,g32"};
    for (int i = 0; i < 4; i++) {
        struct golden g;
        struct ptq_cell cell[4];
        struct ptq_session *session = ptq_session_make();
        struct ptq_arena *names = ptq_arena_make("names");
        int64_t n;
        int compared = 0;
        golden_open(&g, models[i], ptq_format(names, MODELS "%s/expected.h5", models[i]));
        ptq_arena_free(names);
        golden_ids(&g, "/", "calib_tokens", &n);
        const char *folder = ptq_format(g.arena, MODELS "%s", models[i]);
        for (int s = 0; s < 4; s++) run_cell(&g, session, folder, specs[s], n / 32, &cell[s]);
        for (int l = 0; l < cell[0].n_linears; l++) {
            const struct ptq_linear_report *rtn = &cell[0].linear[l];
            if (!strstr(rtn->name, "layers.0.")) continue;
            assert_true(rtn->output_error > 0);
            compared++;
            for (int s = 1; s < 4; s++)
                if (cell[s].linear[l].output_error > rtn->output_error)
                    fail_msg("%s: %s: %s: output error %g, RTN's is %g", models[i], specs[s], rtn->name,
                             cell[s].linear[l].output_error, rtn->output_error);
        }
        assert_true(compared >= 6);
        ptq_session_free(session);
        golden_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_odd_layers), cmocka_unit_test(test_nearer_than_rtn)};
    setenv("PTQ_CACHE", "/nonexistent", 1);
    ptq_progress_quiet(1);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
