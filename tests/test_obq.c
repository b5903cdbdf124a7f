/* OBQ against its definition, against RTN and against GPTQ, on small random problems. */
#include "dense.h"
#include "gptq_solve.h"
#include "grid.h"
#include "method.h"
#include "obq_solve.h"
#include "ops.h"
#include "pool.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct problem {
    struct ptq_arena *arena;
    int64_t n, k;
    float *w, *h;
};

static const double percdamp = 0.01;
static const struct ptq_grid row_grid = {.w_bit = 3, .group_size = -1, .range = PTQ_RANGE_GPTQ};

static float draw(struct ptq_rng *rng)
{
    return (float)(ptq_rng_uniform(rng) * 2 - 1);
}

/* Inputs alike: of one size, each its own (correlated by chance alone). Shared: one part in common, several sizes. */
enum inputs { ALIKE, SHARED };
static const char *const inputs_name[] = {"alike", "shared"};

static struct problem make_problem(uint64_t seed, int64_t n, int64_t k, enum inputs inputs)
{
    enum { SAMPLES = 300 };
    struct problem p = {.arena = ptq_arena_make("test"), .n = n, .k = k};
    struct ptq_rng rng = ptq_rng_make(seed, "obq");
    float *x = ptq_new(p.arena, float, SAMPLES *k);
    p.w = ptq_new(p.arena, float, n *k);
    p.h = ptq_new(p.arena, float, k *k);
    for (int64_t i = 0; i < n * k; i++) p.w[i] = draw(&rng);
    for (int64_t row = 0; row < SAMPLES; row++) {
        float common = inputs == SHARED ? draw(&rng) : 0;
        for (int64_t i = 0; i < k; i++)
            x[row * k + i] = (common + draw(&rng)) * (inputs == SHARED && i % 11 == 3 ? 4 : 1);
    }
    ptq_ops()->gram(p.h, k, 1, x, k, SAMPLES, 0, k);
    return p;
}

static struct ptq_qmat solve(const struct problem *p, struct ptq_grid grid, int outliers, double *loss)
{
    struct ptq_gptq_factor factor;
    struct ptq_qmat q;
    struct ptq_error err;
    double *inverse, *row_loss = ptq_new(p->arena, double, p->n);
    int32_t *saturated = ptq_new(p->arena, int32_t, p->n);
    if (ptq_gptq_invert(p->arena, p->arena, p->h, p->k, percdamp, &inverse, &factor, &err)) fail_msg("%s", err.text);
    ptq_qmat_make(p->arena, &grid, p->n, p->k, &q);
    if (ptq_obq_solve(inverse, factor.dead, outliers, p->w, p->arena, &q, row_loss, saturated, &err))
        fail_msg("%s", err.text);
    for (int64_t i = 0; loss && i < p->n; i++) *loss += row_loss[i];
    return q;
}

static struct ptq_qmat solve_gptq(const struct problem *p, struct ptq_grid grid, double *loss)
{
    struct ptq_gptq_options o = {.percdamp = percdamp, .static_groups = 1};
    struct ptq_gptq_factor factor;
    struct ptq_qmat q;
    struct ptq_error err;
    double *row_loss = ptq_new(p->arena, double, p->n);
    int32_t *saturated = ptq_new(p->arena, int32_t, p->n);
    if (ptq_gptq_factorize(p->arena, p->arena, p->h, p->k, percdamp, 0, &factor, &err)) fail_msg("%s", err.text);
    ptq_qmat_make(p->arena, &grid, p->n, p->k, &q);
    ptq_gptq_solve(&factor, &o, p->w, p->arena, p->arena, &q, row_loss, saturated);
    for (int64_t i = 0; i < p->n; i++) *loss += row_loss[i];
    return q;
}

/* H + damp, both triangles; dead columns are 1 before it. */
static double *damped(const struct problem *p)
{
    int64_t k = p->k;
    double *a = ptq_new(p->arena, double, k *k), mean = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) a[i * k + j] = i < j ? p->h[i * k + j] : p->h[j * k + i];
    for (int64_t i = 0; i < k; i++) {
        if (a[i * k + i] == 0) a[i * k + i] = 1;
        mean += a[i * k + i] / (double)k;
    }
    for (int64_t i = 0; i < k; i++) a[i * k + i] += percdamp * mean;
    return a;
}

/* tr(dW H dW^T) / 2, H damped */
static double half_trace(const struct problem *p, const struct ptq_qmat *q)
{
    double sum = 0, *h = damped(p);
    float *back = ptq_new(p->arena, float, p->n * p->k);
    ptq_ops()->dequantize(back, q, 0, p->n);
    for (int64_t i = 0; i < p->n * p->k; i++) back[i] -= p->w[i];
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t i = 0; i < p->k; i++)
            for (int64_t j = 0; j < p->k; j++)
                sum += (double)back[n * p->k + i] * back[n * p->k + j] * h[i * p->k + j] / 2;
    return sum;
}

static void assert_same(const struct ptq_qmat *a, const struct ptq_qmat *b)
{
    assert_memory_equal(a->code, b->code, (size_t)(a->n * a->k));
    assert_memory_equal(a->scale, b->scale, sizeof *a->scale * (size_t)(a->n * a->n_groups));
    assert_memory_equal(a->zero, b->zero, sizeof *a->zero * (size_t)(a->n * a->n_groups));
}

/* Nothing is correlated, so nothing is made good. */
static void test_identity_is_rtn(void **state)
{
    (void)state;
    const int64_t groups[] = {-1, 16, 24, 32, 1000};
    for (int i = 0; i < 10; i++) {
        struct problem p = make_problem(1, 20, 100, SHARED);
        struct ptq_grid grid = row_grid;
        struct ptq_qmat want;
        grid.group_size = groups[i / 2];
        memset(p.h, 0, sizeof *p.h * (size_t)(p.k * p.k));
        for (int64_t k = 0; k < p.k; k++) p.h[k * p.k + k] = 1;
        ptq_qmat_make(p.arena, &grid, p.n, p.k, &want);
        ptq_grid_quantize(&want, p.w);
        struct ptq_qmat got = solve(&p, grid, i % 2, NULL);
        assert_same(&want, &got);
        ptq_arena_free(p.arena);
    }
}

/* ---- the definition: the inverse of what is left of H, anew at every step ---- */

/* The row's codes, by brute force; returns its loss. */
static double brute_row(const double *h, int64_t k, const float *start, const struct ptq_qmat *q, int64_t n,
                        int outliers, struct ptq_arena *arena, uint8_t *code)
{
    int64_t g = q->grid.group_size < 0 ? k : q->grid.group_size, m = k;
    double *w = ptq_new(arena, double, k), *inverse = ptq_new(arena, double, k *k), loss = 0;
    int64_t *left = ptq_new(arena, int64_t, k);
    for (int64_t i = 0; i < k; i++) w[i] = start[i], left[i] = i;
    for (; m; m--) {
        int64_t best = -1;
        double best_key = 0, best_error = 0;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < m; j++) inverse[i * m + j] = h[left[i] * k + left[j]];
        invert(inverse, m);
        for (int64_t i = 0; i < m; i++) {
            float scale = q->scale[n * q->n_groups + left[i] / g], zero = q->zero[n * q->n_groups + left[i] / g];
            double c = fmin(fmax(rint(w[left[i]] / scale) + zero, 0), (1 << q->grid.w_bit) - 1);
            double error = w[left[i]] - scale * (c - zero), key = error * error / inverse[i * m + i];
            if (outliers && fabs(error) > scale * 0.5001) key -= 1e30;
            if (best >= 0 && key >= best_key) continue;
            best = i;
            best_key = key;
            best_error = error;
            code[left[i]] = (uint8_t)c;
        }
        int64_t column = left[best];
        float scale = q->scale[n * q->n_groups + column / g], zero = q->zero[n * q->n_groups + column / g];
        code[column] = (uint8_t)fmin(fmax(rint(w[column] / scale) + zero, 0), (1 << q->grid.w_bit) - 1);
        loss += best_error * best_error / inverse[best * m + best] / 2;
        for (int64_t i = 0; i < m; i++) w[left[i]] -= best_error / inverse[best * m + best] * inverse[i * m + best];
        for (int64_t i = best; i + 1 < m; i++) left[i] = left[i + 1];
    }
    return loss;
}

static void test_definition(void **state)
{
    (void)state;
    int64_t rows = 0, different = 0;
    for (int variant = 0; variant < 16; variant++) {
        int64_t k = 16 + 2 * variant;
        struct problem p = make_problem((uint64_t)variant, 12, k, variant & 8 ? SHARED : ALIKE);
        struct ptq_grid grid = row_grid;
        grid.group_size = variant & 2 ? 12 : -1;
        grid.w_bit = variant & 4 ? 4 : 2;
        double loss = 0, want_loss = 0, *h = damped(&p);
        struct ptq_qmat q = solve(&p, grid, variant & 1, &loss);
        uint8_t *code = ptq_new(p.arena, uint8_t, k);
        for (int64_t n = 0; n < p.n; n++, rows++) {
            want_loss += brute_row(h, k, p.w + n * k, &q, n, variant & 1, p.arena, code);
            different += memcmp(code, q.code + n * k, (size_t)k) != 0;
        }
        assert_true(fabs(loss - want_loss) <= 1e-4 * want_loss);
        ptq_arena_free(p.arena);
    }
    printf("%ld of %ld rows differ from the definition\n", (long)different, (long)rows);
    assert_int_equal(different, 0);
}

/* ---- against GPTQ, in the loss they share ---- */

/* Mean losses over layers of K = 32 .. 96. */
struct means {
    double obq[2], gptq, rtn; /* obq by outliers */
};

static void add_layer(struct means *m, uint64_t seed, int64_t k, int w_bit, enum inputs inputs, double share)
{
    struct problem p = make_problem(seed, 24, k, inputs);
    struct ptq_grid grid = row_grid;
    struct ptq_qmat q;
    grid.w_bit = w_bit;
    for (int outliers = 0; outliers < 2; outliers++) {
        double loss = 0;
        q = solve(&p, grid, outliers, &loss);
        assert_true(fabs(half_trace(&p, &q) - loss) <= 1e-4 * loss); /* both losses are tr(dW H dW^T) / 2 */
        m->obq[outliers] += loss * share;
    }
    double loss = 0;
    q = solve_gptq(&p, grid, &loss);
    assert_true(fabs(half_trace(&p, &q) - loss) <= 1e-4 * loss);
    m->gptq += loss * share;
    ptq_qmat_make(p.arena, &grid, p.n, p.k, &q);
    ptq_grid_quantize(&q, p.w);
    m->rtn += half_trace(&p, &q) * share;
    ptq_arena_free(p.arena);
}

/* The greedy order is not always the better one: what it puts off is left with few others to make it good. Where no
 * input says much of another it loses less than GPTQ's fixed order, where all have a part in common it loses more
 * (numpy, from the definition, says the same of both). It is below RTN always, and outliers=1 is worth having. */
static void test_against_gptq(void **state)
{
    (void)state;
    enum { LAYERS = 32 };
    for (enum inputs inputs = ALIKE; inputs <= SHARED; inputs++)
        for (int w_bit = 2; w_bit <= 4; w_bit++) {
            struct means m = {0};
            for (int i = 0; i < LAYERS; i++)
                add_layer(&m, (uint64_t)(100 + i), 32 + 64 * i / (LAYERS - 1), w_bit, inputs, 1.0 / LAYERS);
            printf("inputs %-6s w%d: mean loss OBQ %.5g (outliers=0 %.5g), GPTQ %.5g, RTN %.5g\n", inputs_name[inputs],
                   w_bit, m.obq[1], m.obq[0], m.gptq, m.rtn);
            assert_true(m.obq[1] <= m.obq[0] && m.obq[0] < m.rtn);
            assert_true(inputs == ALIKE ? m.obq[1] <= m.gptq : m.obq[1] <= 1.25 * m.gptq);
        }
}

/* ---- odd inputs, threads, the spec ---- */

static void test_dead(void **state)
{
    (void)state;
    struct problem p = make_problem(5, 10, 40, SHARED);
    struct ptq_grid grid = row_grid;
    grid.group_size = 16;
    float *back = ptq_new(p.arena, float, p.n *p.k);
    for (int64_t i = 0; i < p.k; i++) p.h[(i < 20 ? i : 20) * p.k + (i < 20 ? 20 : i)] = 0;
    struct ptq_qmat q = solve(&p, grid, 1, NULL);
    ptq_ops()->dequantize(back, &q, 0, p.n);
    for (int64_t n = 0; n < p.n; n++) assert_true(back[n * p.k + 20] == 0);
    for (int64_t n = 0; n < p.n; n++) p.w[n * p.k + 20] = 5; /* of no account */
    struct ptq_qmat same = solve(&p, grid, 1, NULL);
    assert_same(&q, &same);
    ptq_arena_free(p.arena);
}

static void test_threads(void **state)
{
    (void)state;
    struct problem p = make_problem(6, 150, 48, SHARED);
    double loss[2] = {0};
    ptq_pool_start(1);
    struct ptq_qmat one = solve(&p, row_grid, 1, &loss[0]);
    ptq_pool_start(2);
    struct ptq_qmat two = solve(&p, row_grid, 1, &loss[1]);
    assert_same(&one, &two);
    assert_true(loss[0] == loss[1]);
    ptq_arena_free(p.arena);
}

static void test_spec(void **state)
{
    (void)state;
    struct ptq_spec spec;
    struct ptq_error err;
    struct ptq_config config = {.family = ptq_families[0], .width = 8, .heads = 1, .kv_heads = 1, .head_size = 8};
    struct ptq_arena *arena = ptq_arena_make("test");
    assert_int_equal(ptq_spec_parse("obq:w4", &spec, &err), PTQ_OK);
    assert_true(ptq_spec_need(&spec) == PTQ_NEED_WINDOWS);
    assert_string_equal(ptq_spec_format(&spec, arena), "obq:w4,g-1");
    config.ff = PTQ_OBQ_MOST_K;
    assert_int_equal(spec.method->check(&spec, &config, &err), PTQ_OK);
    config.ff = PTQ_OBQ_MOST_K + 1;
    assert_int_equal(spec.method->check(&spec, &config, &err), PTQ_EUSAGE);
    assert_non_null(strstr(err.text, "mlp.down_proj has 3073 inputs, and obq takes 3072 at most"));
    assert_non_null(strstr(err.text, "take gptq"));
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_is_rtn), cmocka_unit_test(test_definition),
        cmocka_unit_test(test_against_gptq),    cmocka_unit_test(test_dead),
        cmocka_unit_test(test_threads),         cmocka_unit_test(test_spec),
    };
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
