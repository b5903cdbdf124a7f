/* The digest that results keep of a linear's codes: the same for the same codes, another for whatever its values are
 * computed from. */
#include "apply.h"
#include "pool.h"
#include "qmats.h"

#include "arena_test.h" /* behind the others, whose functions take an arena of that name */

static const struct ptq_qmat_case shape = {
    .n = 8, .k = 96, .group_size = 32, .w_bit = 3, .permuted = 1, .n_keep = 2, .n_divided = 3};

static int64_t digest_of(const struct ptq_qmat *q)
{
    struct ptq_qmat all[PTQ_N_ROLE] = {*q};
    struct ptq_linear_report report[PTQ_N_ROLE] = {0}, out;
    struct ptq_error err = {0};
    struct ptq_block block = {0};
    int n = 0;
    block.linear[0] = (struct ptq_linear){.name = "up", .n = q->n, .k = q->k, .w = ptq_new(arena, float, q->n * q->k)};
    if (ptq_apply_codes(NULL, all, report, &block, arena, &out, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(n, 1);
    return out.code_digest;
}

static void swap(int32_t *a, int32_t *b)
{
    int32_t kept = *a;
    *a = *b;
    *b = kept;
}

static void test_digest(void **state)
{
    (void)state;
    struct ptq_qmat q, again;
    struct ptq_rng rng = ptq_rng_make(1, "digest"), same = rng;
    make_qmat(arena, &q, &shape, 0, 0, &rng);
    make_qmat(arena, &again, &shape, 0, 0, &same);
    int64_t base = digest_of(&q), seen[12] = {base};
    assert_true(base > 0 && base < (int64_t)1 << 52);
    assert_true(digest_of(&again) == base);

    int n = 1;
#define CHANGED(change)                                                                                                \
    do {                                                                                                               \
        change;                                                                                                        \
        seen[n++] = digest_of(&q);                                                                                     \
    } while (0)
    CHANGED(q.code[5] ^= 1);
    CHANGED(q.scale[3] *= 2);
    CHANGED(q.zero[3] += 1);
    CHANGED(swap(&q.perm[0], &q.perm[1]));
    CHANGED(q.keep[0]++);
    CHANGED(q.kept[1] *= 2);
    CHANGED(q.divided[0]++);
    CHANGED(q.divisor[1] *= 2);
    CHANGED(q.n_divided = 0);
    CHANGED(q.n_keep = 0);
    CHANGED(q.perm = NULL);
#undef CHANGED
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            if (seen[i] == seen[j]) fail_msg("changes %d and %d have one digest", j, i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(digest)};
    ptq_pool_start(1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
