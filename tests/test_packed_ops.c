/* Packed linears on activations of 16 and of 8 bits: every backend this processor can run gives the bytes of ref, on
 * all shapes of kernels/cases.h, and ref what the dequantised weights give within the error of such activations. */
#include "cases.h"
#include "cpu/packed_parts.h"
#include "ops.h"
#include "qmats.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { GUARD_WORDS = 16 };
static const float guard = 1234.5f;
/* NMSE: an activation is off by at most half a step, 1 / (2 most) of its chunk's largest, which is some 20 times the
 * others: (20 / (2 most))^2, 9.3e-8 with 16 bits and 6.2e-3 with 8. */
static double bound_of(int bits)
{
    double most = bits == 16 ? 32767 : 127;
    return pow(20 / (2 * most), 2);
}

static struct backend {
    const char *name;
    const struct ptq_packed_parts *parts;
} const backends[] = {{"avx2", &ptq_packed_avx2}, {"avx512", &ptq_packed_avx512}};

/* One linear with everything that a call needs. */
struct problem {
    struct ptq_arena *arena;
    struct ptq_qmat q;
    struct ptq_packed w;
    int64_t m, ldx, ldy;
    int bits; /* of activations */
    float *x, *bias, *want, *got, *before;
    struct ptq_acts acts;
};

static float *values(struct problem *p, int64_t n, struct ptq_rng *rng)
{
    float *x = ptq_new(p->arena, float, n + GUARD_WORDS);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(ptq_rng_uniform(rng) * 4 - 2) * (ptq_rng_below(rng, 50) ? 1 : 20);
    for (int i = 0; i < GUARD_WORDS; i++) x[n + i] = guard;
    return x;
}

static void make_acts(struct problem *p, int64_t m)
{
    size_t bytes = ptq_acts_bytes(&p->w, m, p->bits);
    char *memory = ptq_alloc(p->arena, bytes + 64, "acts");
    memset(memory, 0x5a, bytes + 64);
    ptq_acts_make(&p->acts, &p->w, m, p->bits, memory);
}

static void make_problem(struct problem *p, const struct ptq_qmat_case *s, int64_t m, int bits, struct ptq_rng *rng)
{
    struct ptq_error err;
    *p = (struct problem){.arena = ptq_arena_make("test"), .m = m, .bits = bits, .ldx = s->k + 3, .ldy = s->n + 5};
    make_qmat(p->arena, &p->q, s, (int)(m % 2), (int)(m % 3 == 0), rng);
    if (ptq_pack(p->arena, &p->q, &p->w, &err)) fail_msg("%s", err.text);
    p->x = values(p, m * p->ldx, rng);
    p->bias = values(p, s->n, rng);
    p->before = values(p, m * p->ldy, rng);
    p->want = values(p, m * p->ldy, rng);
    p->got = values(p, m * p->ldy, rng);
    make_acts(p, m);
}

/* variant: 1 accumulates, 2 has a bias; in two calls where there are tiles enough. */
static void run(struct problem *p, const struct ptq_ops *ops, int variant, float *y)
{
    int64_t half = p->w.tiles / 2;
    const float *bias = variant & 2 ? p->bias : NULL;
    memcpy(y, p->before, sizeof *y * (size_t)(p->m * p->ldy));
    ops->acts(&p->acts, &p->w, p->x, p->ldx);
    if (half) ops->packed(y, p->ldy, &p->acts, &p->w, bias, variant & 1, 0, half);
    ops->packed(y, p->ldy, &p->acts, &p->w, bias, variant & 1, half, p->w.tiles - half);
}

static void assert_guarded(const struct problem *p, const float *y)
{
    const unsigned char *acts = p->bits == 16 ? (const void *)p->acts.x : p->acts.x8;
    const unsigned char *behind = acts + ptq_acts_bytes(&p->w, p->m, p->bits);
    for (int i = 0; i < GUARD_WORDS; i++) assert_true(y[p->m * p->ldy + i] == guard);
    for (int i = 0; i < 64; i++) assert_int_equal(behind[i], 0x5a);
    for (int64_t i = 0; i < p->m; i++) /* between the rows */
        assert_memory_equal(y + i * p->ldy + p->q.n, p->before + i * p->ldy + p->q.n, 5 * sizeof *y);
}

static void agrees_with_float32(struct problem *p, const struct ptq_ops *ref, int variant, int number)
{
    float *w = ptq_new(p->arena, float, p->q.n * p->q.k), *y = ptq_new(p->arena, float, p->m * p->ldy);
    double error = 0, power = 0;
    ref->dequantize(w, &p->q, 0, p->q.n);
    memcpy(y, p->before, sizeof *y * (size_t)(p->m * p->ldy));
    ref->linear(y, p->ldy, p->x, p->ldx, w, variant & 2 ? p->bias : NULL, variant & 1, p->m, p->q.n, p->q.k);
    for (int64_t i = 0; i < p->m * p->ldy; i++) {
        if (i % p->ldy >= p->q.n) continue;
        error += pow((double)p->want[i] - y[i], 2);
        power += pow((double)y[i], 2);
    }
    if (!(error <= bound_of(p->bits) * power))
        fail_msg("case %d, %ld tokens, %d bits: NMSE %g", number, (long)p->m, p->bits, error / power);
}

static void name_missing_backends(void)
{
    for (int i = 0; i < 2; i++)
        if (!ptq_cpu_has(backends[i].parts)) print_message("this processor has no %s: not tested\n", backends[i].name);
}

static void agrees_with_backends(struct problem *p, const struct ptq_ops *ref, int variant, int number)
{
    for (int b = 0; b < 2; b++) {
        struct ptq_ops ops = *ref;
        if (!ptq_cpu_has(backends[b].parts)) continue;
        ptq_ops_packed(&ops, backends[b].parts);
        run(p, &ops, variant, p->got);
        assert_guarded(p, p->got);
        if (memcmp(p->want, p->got, sizeof *p->got * (size_t)(p->m * p->ldy)))
            fail_msg("%s, case %d, %ld tokens, %d bits: not the bytes of ref", backends[b].name, number, (long)p->m,
                     p->bits);
    }
}

static void test_all_cases(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(1, "packed ops");
    struct ptq_ops ref;
    ptq_ops_ref(&ref);
    name_missing_backends();
    for (int i = 0; i < 2 * PTQ_N_CASES(ptq_qmat_cases) * PTQ_N_CASES(ptq_token_cases); i++) {
        struct problem p;
        int t = i / 2 % PTQ_N_CASES(ptq_token_cases), c = i / 2 / PTQ_N_CASES(ptq_token_cases), variant = (c + t) % 4;
        make_problem(&p, &ptq_qmat_cases[c], ptq_token_cases[t], i % 2 ? 8 : 16, &rng);
        run(&p, &ref, variant, p.want);
        assert_guarded(&p, p.want);
        agrees_with_float32(&p, &ref, variant, c);
        agrees_with_backends(&p, &ref, variant, c);
        ptq_arena_free(p.arena);
    }
}

/* The largest sums there are: every code at one end of its width with its zero at the other, every activation the
 * chunk's largest, of one sign. Of 8 bits all of it is exact: 127 times maxq at every place. */
static void test_largest_sums(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(5, "largest");
    struct ptq_ops ref;
    ptq_ops_ref(&ref);
    for (int i = 0; i < 7 * 2 * 4 * 2; i++) {
        struct problem p;
        int w_bit = 2 + i % 7, maxq = (1 << w_bit) - 1, high = i / 7 % 2, minus = i / 14 % 2, few = i / 28 % 2;
        make_problem(&p, &(struct ptq_qmat_case){40, 384, w_bit, 128, 0, 0, 0}, few ? 4 : 14, i / 56 ? 16 : 8, &rng);
        memset(p.q.code, high ? maxq : 0, (size_t)(p.q.n * p.q.k));
        for (int64_t g = 0; g < p.q.n * p.q.n_groups; g++) p.q.zero[g] = high ? 0 : (float)maxq, p.q.scale[g] = 1;
        struct ptq_error err;
        if (ptq_pack(p.arena, &p.q, &p.w, &err)) fail_msg("%s", err.text);
        make_acts(&p, p.m);
        float one = p.bits == 8 ? 127 : 32767; /* whose scale is 1 */
        for (int64_t j = 0; j < p.m * p.ldx; j++) p.x[j] = minus ? -one : one;
        run(&p, &ref, 0, p.want);
        for (int64_t j = 0; j < p.m; j++)
            for (int64_t n = 0; n < p.q.n; n++)
                assert_true(p.bits == 16 ||
                            p.want[j * p.ldy + n] == (high == minus ? -384.0f : 384.0f) * one * (float)maxq);
        agrees_with_backends(&p, &ref, 0, i);
        ptq_arena_free(p.arena);
    }
}

/* A token's outputs do not depend on the tokens beside it. */
static void test_tokens_apart(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(2, "apart");
    const struct ptq_ops *ops = ptq_ops();
    for (int c = 0; c < 2 * PTQ_N_CASES(ptq_qmat_cases); c++) {
        struct problem all, one;
        make_problem(&all, &ptq_qmat_cases[c / 2], 25, c % 2 ? 8 : 16, &rng);
        run(&all, ops, 2, all.got);
        for (int64_t i = 0; i < all.m; i += 6) {
            one = all;
            one.m = 1;
            one.x = all.x + i * all.ldx;
            one.want = values(&all, all.ldy, &rng);
            make_acts(&one, 1);
            run(&one, ops, 2, one.want);
            assert_memory_equal(one.want, all.got + i * all.ldy, sizeof *one.want * (size_t)all.q.n);
        }
        ptq_arena_free(all.arena);
    }
}

/* Of a token with a value that is not finite every output is NaN, of the others none is; zeros, denormals and the
 * largest floats are numbers. */
static void test_values_apart(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(3, "values");
    struct ptq_ops ref;
    ptq_ops_ref(&ref);
    const float odd[] = {NAN, INFINITY, -INFINITY, 0, 1e-42f, 3e38f, -NAN};
    for (int b = -1; b < 2; b++)
        for (int v = 0; v < 7; v++)
            for (int i = 0; i < 6; i++) {
                struct problem p;
                struct ptq_ops ops = ref;
                int where = i / 2, bits = i % 2 ? 8 : 16;
                if (b >= 0 && !ptq_cpu_has(backends[b].parts)) continue;
                if (b >= 0) ptq_ops_packed(&ops, backends[b].parts);
                make_problem(&p, &(struct ptq_qmat_case){33, 200, 4, 64, 4, where == 2, 2}, 7, bits, &rng);
                for (int64_t j = 0; j < p.m * p.ldx; j++) p.x[j] *= 1e-3f;
                for (int64_t j = 0; v == 3 && j < p.q.k; j++) p.x[3 * p.ldx + j] = 0;
                p.x[3 * p.ldx + (where ? 77 : p.q.keep[1])] = odd[v]; /* a salient column, or another */
                for (int64_t j = 0; j < p.q.n; j++) p.q.kept[j] = 0;
                run(&p, &ops, 0, p.got);
                for (int64_t j = 0; j < p.m; j++)
                    for (int64_t n = 0; n < p.q.n; n++) {
                        float y = p.got[j * p.ldy + n];
                        if (j == 3 && !isfinite(odd[v])) assert_true(isnan(y));
                        if (j != 3 || (isfinite(odd[v]) && v != 5)) assert_true(isfinite(y));
                        if (j == 3 && v == 3) assert_true(y == 0);
                    }
                ptq_arena_free(p.arena);
            }
}

/* Activations made for one linear serve another of the same plan, and only such. */
static void test_alike(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(4, "alike");
    struct problem a, b, c;
    make_problem(&a, &(struct ptq_qmat_case){33, 200, 4, 64, 4, 0, 2}, 7, 16, &rng);
    make_problem(&b, &(struct ptq_qmat_case){17, 200, 3, 64, 4, 0, 2}, 7, 16, &rng);
    make_problem(&c, &(struct ptq_qmat_case){33, 200, 4, 64, 4, 1, 2}, 7, 16, &rng);
    assert_false(ptq_packed_alike(&a.w, &b.w)); /* other divisors */
    memcpy((float *)b.w.divisor, a.w.divisor, sizeof *a.w.divisor * 2);
    assert_true(ptq_packed_alike(&a.w, &b.w));
    assert_true(ptq_acts_serve(16, &a.w, &b.w) && ptq_acts_serve(8, &a.w, &a.w));
    assert_false(ptq_acts_serve(8, &a.w, &b.w)); /* another order of places */
    assert_false(ptq_acts_serve(16, &a.w, &c.w));
    assert_false(ptq_packed_alike(&a.w, &c.w));
    ptq_arena_free(a.arena), ptq_arena_free(b.arena), ptq_arena_free(c.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_cases),    cmocka_unit_test(test_largest_sums), cmocka_unit_test(test_tokens_apart),
        cmocka_unit_test(test_values_apart), cmocka_unit_test(test_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
