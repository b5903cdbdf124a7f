/* What must hold of AWQ whatever the data: on small random blocks of each kind. */
#include "awq_fixture.h"
#include "session.h"
#include "awq_clip.h"
#include "awq_groups.h"
#include "pool.h"

static void assert_same_codes(const struct ptq_qmat *a, const struct ptq_qmat *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_groups, b->n_groups);
    if (!a->n) return;
    assert_memory_equal(a->code, b->code, (size_t)(a->n * a->k));
    assert_memory_equal(a->scale, b->scale, sizeof(float) * (size_t)(a->n * a->n_groups));
    assert_memory_equal(a->zero, b->zero, sizeof(float) * (size_t)(a->n * a->n_groups));
}

/* One ratio, 0, without bounds: round to nearest, to the byte. */
static void test_ratio_0_is_rtn(void **state)
{
    (void)state;
    for (int kind = GATED; kind < N_KINDS; kind++) {
        struct fixture f;
        make(&f, (enum kind)kind, "awq:w3,g16,clip=0,grid=1");
        run(&f, 0);
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            struct ptq_qmat q = {0};
            if (!f.block.linear[role].n) continue;
            ptq_qmat_make(f.arena, &f.spec.grid, f.original.linear[role].n, f.original.linear[role].k, &q);
            ptq_grid_quantize(&q, f.original.linear[role].w);
            assert_same_codes(&q, &f.q[role]);
        }
        drop(&f);
    }
}

/* The scales change no output, and the calibration leaves at the original block's. */
static void test_function_is_kept(void **state)
{
    (void)state;
    for (int kind = GATED; kind < N_KINDS; kind++) {
        struct fixture f;
        make(&f, (enum kind)kind, "awq:w3,g16,vo_average=1");
        struct ptq_awq_options options = ptq_awq_options(&f.spec);
        struct ptq_forward given, before;
        int64_t n = ROWS * f.model.config.width;
        ptq_forward_make(f.arena, &f.model, NULL, WINDOWS, LENGTH, &given);
        ptq_forward_make(f.arena, &f.model, NULL, WINDOWS, LENGTH, &before);
        memcpy(given.x, f.calib.x, sizeof(float) * (size_t)n);
        memcpy(before.x, f.calib.x, sizeof(float) * (size_t)n);
        assert_int_equal(ptq_awq_transform(&f.task, &options, f.arena, &f.awq, &f.err), PTQ_OK);
        assert_int_equal(ptq_forward_block(&before, &f.original, 0, NULL, &f.err), PTQ_OK);
        assert_int_equal(ptq_forward_block(&given, &f.block, 0, NULL, &f.err), PTQ_OK);
        double size = 0, moved = 0, scaled = 0;
        for (int64_t i = 0; i < n; i++) {
            size = fmax(size, fabs((double)before.x[i]));
            scaled = fmax(scaled, fabs((double)given.x[i] - before.x[i]));
            moved = fmax(moved, fabs((double)f.calib.x[i] - before.x[i]));
        }
        int searched = 0, apart = 0;
        for (int input = 0; input < PTQ_N_INPUT; input++) {
            searched += f.awq.choice[input].searched;
            apart += f.awq.choice[input].ratio > 0;
        }
        printf("%-8s scaled %d groups, %d not by 1: output off by %.1e of the largest\n", kind_name[kind], searched,
               apart, scaled / size);
        assert_int_equal(searched, kind >= FUSED ? 3 : 4); /* v -> o is left where q, k, v are fused */
        assert_true(apart >= 2);
        assert_true(scaled <= 1e-4 * size);
        assert_true(moved <= 1e-5 * size);
        drop(&f);
    }
}

static void test_shared_v_is_left(void **state)
{
    struct fixture f;
    (void)state;
    make(&f, SHARED, "awq:w3,g16");
    run(&f, 0);
    assert_false(f.awq.choice[PTQ_ATTN_OUT].searched);
    assert_true(f.report[PTQ_O].alpha == -1 && f.report[PTQ_Q].alpha >= 0);
    for (int64_t k = 0; k < f.awq.choice[PTQ_ATTN_OUT].k; k++) assert_true(f.awq.choice[PTQ_ATTN_OUT].scale[k] == 1);
    assert_null(f.awq.clip[PTQ_Q].max);
    assert_null(f.awq.clip[PTQ_K].max);
    assert_non_null(f.awq.clip[PTQ_V].max);
    drop(&f);
}

/* What llm-awq's names decide: all of GPT-2's c_attn is clipped, nothing of BLOOM's query_key_value; and the scale
 * behind the activation goes with the block. */
static void test_fused_blocks(void **state)
{
    (void)state;
    for (int kind = FUSED; kind <= WHOLE; kind++) {
        struct fixture f;
        make(&f, (enum kind)kind, "awq:w3,g16,vo_average=1");
        run(&f, 0);
        assert_int_equal(f.awq.clip[PTQ_Q].max != NULL, kind == FUSED);
        assert_non_null(f.awq.clip[PTQ_O].max);
        assert_false(f.awq.choice[PTQ_ATTN_OUT].searched);
        assert_ptr_equal(f.block.activation_scale, f.awq.choice[PTQ_MLP_OUT].scale);
        drop(&f);
    }
}

/* A family without groups is refused by its name. */
static void test_unknown_groups(void **state)
{
    struct fixture f;
    (void)state;
    make(&f, GATED, "awq:w3,g16");
    struct ptq_family other = *f.model.config.family;
    struct ptq_awq_options options = ptq_awq_options(&f.spec);
    other.model_type = "gptj";
    f.model.config.family = &other;
    assert_int_equal(ptq_awq_block(&f.task, &options, f.arena, &f.awq, &f.err), PTQ_EINPUT);
    assert_non_null(strstr(f.err.text, "AWQ of gptj is not known"));
    assert_non_null(strstr(f.err.text, "take another method"));
    drop(&f);
}

/* ---- the losses, explicitly ---- */

static double out_of(const struct ptq_linear *l, const float *x, int64_t n)
{
    double sum = l->b ? l->b[n] : 0;
    for (int64_t k = 0; k < l->k; k++) sum += (double)x[k] * l->w[n * l->k + k];
    return sum;
}

/* Mean squared difference of what two linears of one shape give on x[ROWS][K]. */
static double output_loss(const struct ptq_linear *a, const struct ptq_linear *b, const float *x, const float *y)
{
    double sum = 0;
    for (int64_t row = 0; row < ROWS; row++)
        for (int64_t n = 0; n < a->n; n++) {
            double d = out_of(a, x + row * a->k, n) - out_of(b, y + row * b->k, n);
            sum += d * d;
        }
    return sum / (double)(ROWS * a->n);
}

/* l with Q(W s) / s, s that of ratio i for importance mean |x|. */
static struct ptq_linear rounded(struct fixture *f, const struct ptq_linear *l, const float *x, double ratio)
{
    struct ptq_linear out = *l;
    struct ptq_qmat q;
    float *s = ptq_new(f->arena, float, l->k), least = INFINITY, most = 0;
    out.w = ptq_new(f->arena, float, l->n * l->k);
    for (int64_t k = 0; k < l->k; k++) {
        double sum = 0;
        for (int64_t row = 0; row < ROWS; row++) sum += fabsf(x[row * l->k + k]);
        double value = pow(sum / ROWS, ratio);
        if (ptq_awq_options(&f->spec).formula == PTQ_AWQ_2023_05) value /= pow(weight_mean(f, l, k), 1 - ratio);
        s[k] = fmaxf((float)value, 1e-4f);
        least = fminf(least, s[k]);
        most = fmaxf(most, s[k]);
    }
    for (int64_t i = 0; i < l->n * l->k; i++) out.w[i] = l->w[i] * (s[i % l->k] / sqrtf(least * most));
    ptq_qmat_make(f->arena, &f->spec.grid, l->n, l->k, &q);
    ptq_grid_quantize(&q, out.w);
    ptq_ops()->dequantize(out.w, &q, 0, l->n);
    for (int64_t i = 0; i < l->n * l->k; i++) out.w[i] /= s[i % l->k] / sqrtf(least * most);
    return out;
}

/* x of attn_out, mlp_in and mlp_out of the original block. */
static void forward_inputs(struct fixture *f, float *x[PTQ_N_INPUT])
{
    struct ptq_forward g;
    ptq_forward_make(f->arena, &f->model, NULL, WINDOWS, LENGTH, &g);
    memcpy(g.x, f->calib.x, sizeof(float) * (size_t)(ROWS * f->model.config.width));
    for (int input = 0; input < PTQ_N_INPUT; input++)
        x[input] = ptq_new(f->arena, float, ROWS *ptq_input_width(&f->model.config, (enum ptq_input)input));
    ptq_forward_step(&g, &f->original, PTQ_ATTN_IN_STEP, 0, WINDOWS, NULL, x[PTQ_ATTN_IN]);
    ptq_forward_step(&g, &f->original, PTQ_ATTENTION_STEP, 0, WINDOWS, x[PTQ_ATTN_IN], x[PTQ_ATTN_OUT]);
    ptq_forward_step(&g, &f->original, PTQ_ATTN_OUT_STEP, 0, WINDOWS, x[PTQ_ATTN_OUT], NULL);
    ptq_forward_step(&g, &f->original, PTQ_MLP_IN_STEP, 0, WINDOWS, NULL, x[PTQ_MLP_IN]);
    ptq_forward_step(&g, &f->original, PTQ_MLP_STEP, 0, WINDOWS, x[PTQ_MLP_IN], x[PTQ_MLP_OUT]);
}

static void assert_loss(const char *what, int ratio, double got, double want)
{
    if (fabs(got - want) > 2e-4 * want)
        fail_msg("%s: loss at ratio %d is %.9g, explicitly %.9g", what, ratio, got, want);
}

/* Gram losses of every group, and the attention's and MLP's, against outputs compared token by token in float64. */
static void test_losses(void **state)
{
    (void)state;
    for (int kind = GATED; kind <= PLAIN; kind += 2) {
        struct fixture f, module;
        float *x[PTQ_N_INPUT];
        make(&f, (enum kind)kind, "awq:w3,g16,loss=gram");
        make(&module, (enum kind)kind, "awq:w3,g16");
        forward_inputs(&f, x);
        run(&f, 1);
        run(&module, 1);
        for (int ratio = 0; ratio < 20; ratio += 7) {
            struct ptq_linear l[PTQ_N_ROLE];
            double of_input[PTQ_N_INPUT] = {0}, outputs[PTQ_N_INPUT] = {0};
            for (int role = 0; role < PTQ_N_ROLE; role++) {
                int input = (int)ptq_role_input[role];
                const struct ptq_linear *w = &f.original.linear[role];
                if (!w->n) continue;
                l[role] = rounded(&f, w, x[input], ratio / 20.0);
                of_input[input] += output_loss(w, &l[role], x[input], x[input]) * (double)w->n;
                outputs[input] += (double)w->n;
            }
            for (int input = 0; input < PTQ_N_INPUT; input++)
                assert_loss(ptq_input_name[input], ratio, f.awq.choice[input].loss[ratio],
                            of_input[input] / outputs[input]);
            /* The attention with q, k, v rounded, through the original o. */
            struct ptq_block trial = f.original;
            float *mixed = ptq_new(f.arena, float, ROWS *f.model.config.width), *stacked;
            stacked = ptq_new(f.arena, float, 3 * l[PTQ_Q].n * l[PTQ_Q].k);
            for (int role = PTQ_Q; role <= PTQ_V; role++) {
                trial.linear[role].w = stacked + role * l[PTQ_Q].n * l[PTQ_Q].k;
                memcpy(trial.linear[role].w, l[role].w, sizeof(float) * (size_t)(l[PTQ_Q].n * l[PTQ_Q].k));
            }
            ptq_forward_step(&f.calib, &trial, PTQ_ATTENTION_STEP, 0, WINDOWS, x[PTQ_ATTN_IN], mixed);
            const struct ptq_linear *o = &f.original.linear[PTQ_O];
            assert_loss("attention", ratio, module.awq.choice[PTQ_ATTN_IN].loss[ratio],
                        output_loss(o, o, x[PTQ_ATTN_OUT], mixed));
            assert_loss("o by itself", ratio, module.awq.choice[PTQ_ATTN_OUT].loss[ratio],
                        f.awq.choice[PTQ_ATTN_OUT].loss[ratio]);
        }
        drop(&module);
        drop(&f);
    }
}

/* The weight term of the older formula, where one linear alone reads an input. */
static void test_weight_term(void **state)
{
    struct fixture f;
    float *x[PTQ_N_INPUT];
    (void)state;
    make(&f, GATED, "awq:w3,g16,loss=gram,formula=2023-05");
    forward_inputs(&f, x);
    run(&f, 1);
    for (int ratio = 0; ratio < 20; ratio += 3) {
        const struct ptq_linear *w = &f.original.linear[PTQ_DOWN];
        struct ptq_linear l = rounded(&f, w, x[PTQ_MLP_OUT], ratio / 20.0);
        assert_loss("the older formula", ratio, f.awq.choice[PTQ_MLP_OUT].loss[ratio],
                    output_loss(w, &l, x[PTQ_MLP_OUT], x[PTQ_MLP_OUT]));
    }
    drop(&f);
}

/* ---- choices ---- */

/* A search that leaves trials early chooses what the whole search does, and never a worse ratio than 0. */
static void test_early_stop(void **state)
{
    static const char *const spec[] = {"awq:w3,g16", "awq:w3,g16,loss=gram", "awq:w2,g-1,formula=2023-05",
                                       "awq:w4,g32,loss=gram,vo_average=1"};
    (void)state;
    for (int kind = GATED; kind < N_KINDS; kind++)
        for (int i = 0; i < 4; i++) {
            struct fixture whole, early;
            make(&whole, (enum kind)kind, spec[i]);
            make(&early, (enum kind)kind, spec[i]);
            run(&whole, 1);
            run(&early, 0);
            for (int input = 0; input < PTQ_N_INPUT; input++) {
                const struct ptq_awq_choice *a = &whole.awq.choice[input], *b = &early.awq.choice[input];
                assert_int_equal(a->searched, b->searched);
                if (!a->searched) continue;
                assert_int_equal(a->ratio, b->ratio);
                assert_true(a->loss[a->ratio] == b->loss[b->ratio]);
                int first = 0;
                for (int r = 1; r < 20; r++) first = a->loss[r] < a->loss[first] ? r : first;
                assert_int_equal(a->ratio, first);
            }
            for (int role = 0; role < PTQ_N_ROLE; role++) assert_same_codes(&whole.q[role], &early.q[role]);
            drop(&whole);
            drop(&early);
        }
}

static void test_threads(void **state)
{
    static const char *const spec[] = {"awq:w3,g16", "awq:w3,g16,loss=gram"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture one, two;
        ptq_pool_start(1);
        make(&one, GATED, spec[i]);
        run(&one, 0);
        ptq_pool_start(2);
        make(&two, GATED, spec[i]);
        run(&two, 0);
        for (int role = 0; role < PTQ_N_ROLE; role++) assert_same_codes(&one.q[role], &two.q[role]);
        for (int input = 0; input < PTQ_N_INPUT; input++)
            assert_memory_equal(one.awq.choice[input].loss, two.awq.choice[input].loss, 20 * sizeof(double));
        assert_memory_equal(one.calib.x, two.calib.x, sizeof(float) * (size_t)(ROWS * one.model.config.width));
        drop(&one);
        drop(&two);
    }
}

/* Each bound is one of the ten, and none of the others is better by more than rounding; with the Gram matrix (groups
 * within the sample) and without (a row longer than the sample). */
static void check_clip(int64_t k, int64_t group_size, int64_t n_sample)
{
    struct fixture f;
    make(&f, GATED, "awq:w3,g16");
    int64_t n = 37, groups = ptq_n_groups(k, group_size), g = group_size < 0 ? k : group_size;
    struct ptq_linear l = {.w = random_values(&f, "w", n * k, 1, 1), .n = n, .k = k};
    float *x = random_values(&f, "x", n_sample * k, 1, 1), *cut = ptq_new(f.arena, float, g), *back;
    struct ptq_grid grid = f.spec.grid, row = grid;
    struct ptq_awq_clip clip;
    grid.group_size = group_size;
    row.group_size = -1;
    ptq_awq_clip_search(&grid, &l, x, n_sample, f.arena, f.scratch, &clip);
    back = ptq_new(f.arena, float, g);
    int64_t counted = 0;
    for (int i = 0; i < PTQ_AWQ_CLIPS; i++) counted += clip.at[i];
    assert_int_equal(counted, n * groups);
    for (int64_t i = 0; i < n * groups; i++) {
        int64_t first = i % groups * g, columns = k - first < g ? k - first : g;
        const float *w = l.w + i / groups * k + first;
        float most = 0;
        double least = INFINITY, taken = INFINITY;
        for (int64_t j = 0; j < columns; j++) most = fmaxf(most, fabsf(w[j]));
        for (int c = 0; c < PTQ_AWQ_CLIPS; c++) {
            float limit = most * (float)(1 - c / 20.0);
            struct ptq_qmat q;
            double loss = 0;
            for (int64_t j = 0; j < columns; j++) cut[j] = fminf(fmaxf(w[j], -limit), limit);
            ptq_qmat_make(f.arena, &row, 1, columns, &q);
            ptq_grid_quantize(&q, cut);
            ptq_ops()->dequantize(back, &q, 0, 1);
            for (int64_t t = 0; t < n_sample; t++) {
                double d = 0;
                for (int64_t j = 0; j < columns; j++) d += (double)x[t * k + first + j] * ((double)back[j] - w[j]);
                loss += d * d;
            }
            least = fmin(least, loss);
            if (limit == clip.max[i]) taken = loss;
        }
        assert_true(taken <= least * (1 + 1e-4));
    }
    drop(&f);
}

static void test_clip(void **state)
{
    (void)state;
    check_clip(48, 16, 100);
    check_clip(40, 16, 100); /* the last group is shorter */
    check_clip(48, -1, 100);
    check_clip(64, -1, 20); /* a row longer than the sample */
    check_clip(64, 1000, 20);
}

/* ---- hard data ---- */

static void assert_finite(const struct fixture *f)
{
    for (int role = 0; role < PTQ_N_ROLE; role++)
        for (int64_t i = 0; i < f->q[role].n * f->q[role].n_groups; i++) assert_true(isfinite(f->q[role].scale[i]));
    for (int input = 0; input < PTQ_N_INPUT; input++)
        for (int64_t k = 0; k < f->awq.choice[input].k; k++) {
            assert_true(isfinite(f->awq.choice[input].scale[k]));
            assert_true(f->awq.choice[input].scale[k] > 0);
        }
}

static void test_zero_channels(void **state)
{
    static const char *const spec[] = {"awq:w3,g16", "awq:w3,g16,loss=gram,formula=2023-05"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        make(&f, GATED, spec[i]);
        f.block.norm1_w[3] = f.block.norm2_w[0] = 0;                /* channels that are always zero */
        memset(f.block.linear[PTQ_V].w, 0, 48 * 5 * sizeof(float)); /* all-zero rows of v: zero channels of o */
        memset(f.block.linear[PTQ_DOWN].w, 0, 16 * sizeof(float));  /* an all-zero group */
        run(&f, 0);
        assert_finite(&f);
        drop(&f);
    }
}

static void test_positive_group(void **state)
{
    struct fixture f;
    (void)state;
    make(&f, GATED, "awq:w3,g16");
    for (int64_t i = 0; i < 16; i++) f.block.linear[PTQ_DOWN].w[i] = 1 + 0.01f * (float)i;
    run(&f, 0);
    assert_finite(&f);
    assert_true(f.report[PTQ_DOWN].saturated >= 1);
    drop(&f);
}

static void test_infinite_activation(void **state)
{
    struct fixture f;
    (void)state;
    make(&f, GATED, "awq:w3,g16");
    struct ptq_awq_options options = ptq_awq_options(&f.spec);
    f.means[PTQ_ATTN_IN].absmean[5] = INFINITY;
    assert_int_equal(ptq_awq_block(&f.task, &options, f.arena, &f.awq, &f.err), PTQ_ENUMERIC);
    assert_non_null(strstr(f.err.text, "linear 0: an activation of input channel 5 is not finite"));
    drop(&f);
}

/* Statistics that the report is measured on follow the scales; the shared ones stay. */
static void test_stats_follow(void **state)
{
    struct fixture f;
    (void)state;
    make(&f, GATED, "awq:w3,g16");
    run(&f, 0);
    assert_ptr_not_equal(f.task.stats, f.means);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const struct ptq_stats *was = &f.means[input], *is = &f.task.stats[input];
        for (int64_t i = 0; i < was->k * (1 + was->n_sample); i++) {
            int64_t k = i % was->k, row = i / was->k - 1;
            float before = row < 0 ? was->absmean[k] : was->sample[row * was->k + k];
            float after = row < 0 ? is->absmean[k] : is->sample[row * was->k + k];
            assert_true(after == before / f.awq.choice[input].scale[k]);
        }
    }
    drop(&f);
}

static void test_post_norm(void **state)
{
    struct fixture f;
    (void)state;
    make(&f, PLAIN, "awq:w3,g16");
    struct ptq_awq_options options = ptq_awq_options(&f.spec);
    f.model.config.post_norm = 1;
    assert_int_equal(ptq_awq_block(&f.task, &options, f.arena, &f.awq, &f.err), PTQ_EINPUT);
    assert_non_null(strstr(f.err.text, "this opt model norms come after them"));
    drop(&f);
}

/* A plan says it, before anything is calibrated. */
static void test_refused_when_planned(void **state)
{
    static const char *const spec[] = {"awq:w3,g16", "awq+gptq:w2,g16"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ptq_session *session = ptq_session_make();
        struct ptq_arena *arena = ptq_arena_make("plan");
        struct ptq_job job = {.model = PTQ_FIXTURES "/models/opt350",
                              .text = PTQ_FIXTURES "/models/text.txt",
                              .calib = PTQ_FIXTURES "/models/calib.txt",
                              .window = 32,
                              .calib_window = 32,
                              .calib_windows = 4,
                              .spec = spec[i]};
        struct ptq_cell cell;
        struct ptq_error err;
        assert_int_equal(ptq_cell_plan(session, &job, arena, &cell, &err), PTQ_EINPUT);
        assert_non_null(strstr(err.text, "opt350"));
        assert_non_null(strstr(err.text, "take rtn, salient or gptq"));
        ptq_arena_free(arena);
        ptq_session_free(session);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ratio_0_is_rtn),
        cmocka_unit_test(test_function_is_kept),
        cmocka_unit_test(test_shared_v_is_left),
        cmocka_unit_test(test_fused_blocks),
        cmocka_unit_test(test_unknown_groups),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_weight_term),
        cmocka_unit_test(test_early_stop),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_zero_channels),
        cmocka_unit_test(test_positive_group),
        cmocka_unit_test(test_infinite_activation),
        cmocka_unit_test(test_stats_follow),
        cmocka_unit_test(test_post_norm),
        cmocka_unit_test(test_refused_when_planned),
    };
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
