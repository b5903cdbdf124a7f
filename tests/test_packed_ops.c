/* Packed linears: every backend this processor can run gives the bytes of ref, on all shapes of kernels/cases.h, and
 * ref what the dequantised weights give within the error of 16-bit activations. */
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
static const double bound = 1e-7; /* NMSE: off by at most 1.5e-5 of a chunk's largest, some 20 times the others */

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

static void make_problem(struct problem *p, const struct ptq_qmat_case *s, int64_t m, struct ptq_rng *rng)
{
    struct ptq_error err;
    *p = (struct problem){.arena = ptq_arena_make("test"), .m = m, .ldx = s->k + 3, .ldy = s->n + 5};
    make_qmat(p->arena, &p->q, s, (int)(m % 2), (int)(m % 3 == 0), rng);
    if (ptq_pack(p->arena, &p->q, &p->w, &err)) fail_msg("%s", err.text);
    p->x = values(p, m * p->ldx, rng);
    p->bias = values(p, s->n, rng);
    p->before = values(p, m * p->ldy, rng);
    p->want = values(p, m * p->ldy, rng);
    p->got = values(p, m * p->ldy, rng);
    size_t bytes = ptq_acts_bytes(&p->w, m);
    char *memory = ptq_alloc(p->arena, bytes + 64, "acts");
    memset(memory, 0x5a, bytes + 64);
    ptq_acts_make(&p->acts, &p->w, m, memory);
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
    const unsigned char *behind = (const unsigned char *)p->acts.x + ptq_acts_bytes(&p->w, p->m);
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
    if (!(error <= bound * power)) fail_msg("case %d, %ld tokens: NMSE %g", number, (long)p->m, error / power);
}

static int count_backends(void)
{
    int n = 0;
    for (int i = 0; i < 2; i++) {
        n += ptq_cpu_has(backends[i].parts);
        if (!ptq_cpu_has(backends[i].parts)) print_message("this processor has no %s: not tested\n", backends[i].name);
    }
    return n;
}

static void test_all_cases(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(1, "packed ops");
    struct ptq_ops ref, ops;
    ptq_ops_ref(&ref);
    count_backends();
    for (int c = 0; c < PTQ_N_CASES(ptq_qmat_cases); c++)
        for (int t = 0; t < PTQ_N_CASES(ptq_token_cases); t++) {
            struct problem p;
            int variant = (c + t) % 4;
            make_problem(&p, &ptq_qmat_cases[c], ptq_token_cases[t], &rng);
            run(&p, &ref, variant, p.want);
            assert_guarded(&p, p.want);
            agrees_with_float32(&p, &ref, variant, c);
            for (int b = 0; b < 2; b++) {
                if (!ptq_cpu_has(backends[b].parts)) continue;
                ops = ref;
                ptq_ops_packed(&ops, backends[b].parts);
                run(&p, &ops, variant, p.got);
                assert_guarded(&p, p.got);
                if (memcmp(p.want, p.got, sizeof *p.got * (size_t)(p.m * p.ldy)))
                    fail_msg("%s, case %d, %ld tokens: not the bytes of ref", backends[b].name, c, (long)p.m);
            }
            ptq_arena_free(p.arena);
        }
}

/* A token's outputs do not depend on the tokens beside it. */
static void test_tokens_apart(void **state)
{
    (void)state;
    struct ptq_rng rng = ptq_rng_make(2, "apart");
    const struct ptq_ops *ops = ptq_ops();
    for (int c = 0; c < PTQ_N_CASES(ptq_qmat_cases); c++) {
        struct problem all, one;
        make_problem(&all, &ptq_qmat_cases[c], 25, &rng);
        run(&all, ops, 2, all.got);
        for (int64_t i = 0; i < all.m; i += 6) {
            one = all;
            one.m = 1;
            one.x = all.x + i * all.ldx;
            one.want = values(&all, all.ldy, &rng);
            ptq_acts_make(&one.acts, &one.w, 1, ptq_alloc(all.arena, ptq_acts_bytes(&one.w, 1), "acts"));
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
            for (int where = 0; where < 3; where++) {
                struct problem p;
                struct ptq_ops ops = ref;
                if (b >= 0 && !ptq_cpu_has(backends[b].parts)) continue;
                if (b >= 0) ptq_ops_packed(&ops, backends[b].parts);
                make_problem(&p, &(struct ptq_qmat_case){33, 200, 4, 64, 4, where == 2, 2}, 7, &rng);
                for (int64_t i = 0; i < p.m * p.ldx; i++) p.x[i] *= 1e-3f;
                for (int64_t i = 0; v == 3 && i < p.q.k; i++) p.x[3 * p.ldx + i] = 0;
                p.x[3 * p.ldx + (where ? 77 : p.q.keep[1])] = odd[v]; /* a salient column, or another */
                for (int64_t i = 0; i < p.q.n; i++) p.q.kept[i] = 0;
                run(&p, &ops, 0, p.got);
                for (int64_t i = 0; i < p.m; i++)
                    for (int64_t n = 0; n < p.q.n; n++) {
                        float y = p.got[i * p.ldy + n];
                        if (i == 3 && !isfinite(odd[v])) assert_true(isnan(y));
                        if (i != 3 || (isfinite(odd[v]) && v != 5)) assert_true(isfinite(y));
                        if (i == 3 && v == 3) assert_true(y == 0);
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
    make_problem(&a, &(struct ptq_qmat_case){33, 200, 4, 64, 4, 0, 2}, 7, &rng);
    make_problem(&b, &(struct ptq_qmat_case){17, 200, 3, 64, 4, 0, 2}, 7, &rng);
    make_problem(&c, &(struct ptq_qmat_case){33, 200, 4, 64, 4, 1, 2}, 7, &rng);
    assert_false(ptq_packed_alike(&a.w, &b.w)); /* other divisors */
    memcpy((float *)b.w.divisor, a.w.divisor, sizeof *a.w.divisor * 2);
    assert_true(ptq_packed_alike(&a.w, &b.w));
    assert_false(ptq_packed_alike(&a.w, &c.w));
    ptq_arena_free(a.arena), ptq_arena_free(b.arena), ptq_arena_free(c.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_cases),
        cmocka_unit_test(test_tokens_apart),
        cmocka_unit_test(test_values_apart),
        cmocka_unit_test(test_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
