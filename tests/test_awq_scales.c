/* What must hold of AWQ's scales whatever the data: that they change no function, that the formula's terms are there,
 * and that a search which leaves trials early chooses what the whole search does. */
#include "apply.h"
#include "awq_fixture.h"
#include "awq_groups.h"
#include "pool.h"

/* How far b is from a, of the largest a. */
static double off(const float *a, const float *b, int64_t n)
{
    double size = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        size = fmax(size, fabs((double)a[i]));
        most = fmax(most, fabs((double)b[i] - a[i]));
    }
    return most / size;
}

/* What a block makes of the fixture's activations. */
static const float *block_output(struct fixture *f, const struct ptq_block *block)
{
    struct ptq_forward g;
    ptq_forward_make(f->arena, &f->model, NULL, WINDOWS, LENGTH, &g);
    g.x = random_values(f, "x", ROWS * f->model.config.width, 1, 0);
    assert_int_equal(ptq_forward_block(&g, block, 0, NULL, &f->err), PTQ_OK);
    return g.x;
}

static void check_function_is_kept(enum kind kind, const char *spec)
{
    struct fixture f;
    make(&f, kind, spec);
    struct ptq_awq_options options = ptq_awq_options(&f.spec);
    int64_t n = ROWS * f.model.config.width;
    assert_int_equal(ptq_awq_transform(&f.task, &options, f.arena, &f.awq, &f.err), PTQ_OK);
    const float *before = block_output(&f, &f.original);
    double scaled = off(before, block_output(&f, &f.block), n), moved = off(before, f.calib.x, n);
    int searched = 0, apart = 0;
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const struct ptq_awq_choice *choice = &f.awq.choice[input];
        int by_1 = 1;
        for (int64_t k = 0; k < choice->k; k++) by_1 &= choice->scale[k] == 1;
        searched += choice->searched;
        apart += !by_1;
    }
    printf("%-8s %s: scaled %d groups, %d not by 1: output off by %.1e of the largest\n", kind_name[kind], spec,
           searched, apart, scaled);
    assert_int_equal(searched, kind >= FUSED ? 3 : 4); /* v -> o is left where q, k, v are fused */
    assert_true(apart >= 2);
    assert_true(scaled <= 1e-4);
    if (options.loss == PTQ_AWQ_MODULE) assert_true(moved <= 1e-5);
    drop(&f);
}

/* The scales change no output, whatever the formula; and with loss=module the calibration leaves at the original
 * block's. */
static void test_function_is_kept(void **state)
{
    static const char *const spec[] = {"awq:w3,g16,vo_average=1",
                                       "awq:w3,g16,vo_average=1,formula=2023-05",
                                       "awq:w3,g16,vo_average=1,formula=autoawq",
                                       "awq:w8,g16,vo_average=1,formula=2023-05,loss=gram",
                                       "awq+gptq:w3,g16,vo_average=1",
                                       "awq+gptq:w3,g16,vo_average=1,formula=2023-05",
                                       "awq+gptq:w3,g16,vo_average=1,formula=autoawq"};
    (void)state;
    for (enum kind kind = GATED; kind < N_KINDS; kind++)
        for (size_t i = 0; i < sizeof spec / sizeof *spec; i++) check_function_is_kept(kind, spec[i]);
}

/* The whole of AWQ then GPTQ, at 8 bits: what the quantised block gives is off by rounding alone. */
static void test_gptq_after_awq(void **state)
{
    static const char *const formula[] = {"2023-11", "2023-05", "autoawq"};
    (void)state;
    for (enum kind kind = GATED; kind < N_KINDS; kind++)
        for (int i = 0; i < 3; i++) {
            struct fixture f;
            char spec[80];
            snprintf(spec, sizeof spec, "awq+gptq:w8,g16,vo_average=1,formula=%s", formula[i]);
            make(&f, kind, spec);
            run_method(&f);
            ptq_reapply(f.q, &f.block);
            int64_t n = ROWS * f.model.config.width;
            double rounded = off(block_output(&f, &f.original), block_output(&f, &f.block), n);
            printf("%-8s %s: output off by %.1e of the largest\n", kind_name[kind], spec, rounded);
            assert_true(rounded <= 0.02);
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

/* Where query heads share a v, what the formula sees is their mean: here of four heads in two pairs. */
static void test_share(void **state)
{
    struct fixture f;
    const struct ptq_awq_family *family;
    float term[48];
    (void)state;
    make(&f, SHARED, "awq:w3,g16");
    assert_int_equal(ptq_awq_family(&f.model.config, &family, &f.err), PTQ_OK);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        for (int k = 0; k < 48; k++) term[k] = (float)(k * k);
        ptq_awq_share(&f.model.config, &family->group[input], term);
        for (int k = 0; k < 48; k++) {
            int first = k / 24 * 24 + k % 12, second = first + 12;
            assert_true(term[k] == (float)(input == PTQ_ATTN_OUT ? (first * first + second * second) / 2.0 : k * k));
        }
    }
    drop(&f);
}

/* With ratio 0 the scale is the weight term alone: 1 / (mean of |w| / its group's largest), and with AutoAWQ's formula
 * 1e-4 more below the line, which is felt where a channel's weights are small. */
static void test_weight_term_alone(void **state)
{
    static const char *const formula[] = {"2023-05", "autoawq"};
    static const double more[] = {0, 1e-4};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        make(&f, GATED, "awq:w3,g16,loss=gram,grid=1");
        struct ptq_awq_options options = ptq_awq_options(&f.spec);
        struct ptq_linear *down = &f.original.linear[PTQ_DOWN];
        double want[80], least = INFINITY, most = 0;
        for (int64_t at = 0; at < down->n * 80; at++) down->w[at] *= at % 80 % 7 == 2 ? 1e-3f : 1;
        memcpy(f.block.linear[PTQ_DOWN].w, down->w, sizeof(float) * (size_t)(down->n * 80));
        options.formula = i ? PTQ_AWQ_AUTOAWQ : PTQ_AWQ_2023_05;
        assert_int_equal(ptq_awq_transform(&f.task, &options, f.arena, &f.awq, &f.err), PTQ_OK);
        for (int64_t k = 0; k < 80; k++) {
            want[k] = 1 / (weight_mean(&f, down, k) + more[i]);
            least = fmin(least, want[k]);
            most = fmax(most, want[k]);
        }
        for (int64_t k = 0; k < 80; k++) {
            double scale = f.awq.choice[PTQ_MLP_OUT].scale[k], exact = want[k] / sqrt(least * most);
            if (fabs(scale - exact) > 1e-5 * exact)
                fail_msg("formula=%s: scale %ld is %.7g and not %.7g", formula[i], (long)k, scale, exact);
        }
        drop(&f);
    }
}

/* ---- the search ---- */

/* Trials that the search of a group left: their loss is what it was by then. Of the others it is the whole one, and the
 * choice is the first of the least. */
static int count_left(const struct ptq_awq_choice *whole, const struct ptq_awq_choice *early, int n_ratio)
{
    int left = 0, first = 0;
    for (int r = 0; r < n_ratio; r++) {
        if (early->loss[r] != whole->loss[r]) left++;
        if (whole->loss[r] < whole->loss[first]) first = r;
        assert_true(early->loss[r] <= whole->loss[r]);
    }
    assert_int_equal(whole->ratio, first);
    assert_int_equal(early->ratio, first);
    assert_true(early->loss[first] == whole->loss[first]);
    assert_memory_equal(early->scale, whole->scale, sizeof *early->scale * (size_t)early->k);
    return left;
}

/* A search that leaves trials early chooses what the whole search does. An MLP of 1400 or 700 rows takes more than one
 * wave, and two windows at a time five batches: so in each way of judging some trials are left. */
static void check_early_stop(enum kind kind, const char *spec, int left[PTQ_N_INPUT])
{
    struct fixture f[2];
    for (int every_loss = 0; every_loss < 2; every_loss++) {
        make_wide(&f[every_loss], kind, spec, 700);
        f[every_loss].calib.batch_windows = 2;
        run(&f[every_loss], every_loss);
    }
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const struct ptq_awq_choice *early = &f[0].awq.choice[input], *whole = &f[1].awq.choice[input];
        assert_int_equal(early->searched, whole->searched);
        left[input] = early->searched ? count_left(whole, early, 20) : 0;
    }
    for (int role = 0; role < PTQ_N_ROLE; role++) assert_same_codes(&f[0].q[role], &f[1].q[role]);
    drop(&f[0]);
    drop(&f[1]);
}

static void test_early_stop(void **state)
{
    static const char *const spec[] = {"awq:w3,g16", "awq:w3,g16,loss=gram", "awq:w2,g-1,formula=2023-05",
                                       "awq:w4,g32,loss=gram,vo_average=1"};
    (void)state;
    for (enum kind kind = GATED; kind < N_KINDS; kind++)
        for (int i = 0; i < 4; i++) {
            int left[PTQ_N_INPUT];
            check_early_stop(kind, spec[i], left);
            printf("%-8s %s: of 20 trials %d, %d, %d, %d are left early\n", kind_name[kind], spec[i], left[PTQ_ATTN_IN],
                   left[PTQ_ATTN_OUT], left[PTQ_MLP_IN], left[PTQ_MLP_OUT]);
            assert_true(left[PTQ_MLP_IN] > 0);
            if (!strstr(spec[i], "loss=gram")) assert_true(left[PTQ_ATTN_IN] > 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_function_is_kept),  cmocka_unit_test(test_gptq_after_awq),
        cmocka_unit_test(test_shared_v_is_left),  cmocka_unit_test(test_share),
        cmocka_unit_test(test_weight_term_alone), cmocka_unit_test(test_early_stop),
    };
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
