/* Finished blocks with a value that no method writes, sealed like any other: none is used (methods/part_check.c). */
#include "part_runs.h"
#include "h5.h"

/* ---- blocks that are forged on their way into the file, by the linker's --wrap (CMakeLists.txt has the names) ---- */

/* name, type of a value, parameters, words without the values, how many there are */
#define AT struct ptq_h5 *h5, const char *at, const char *name
#define PUTS(X)                                                                                                        \
    X(put_ints, int64_t, (AT, const int64_t *v, int64_t n, struct ptq_error *err), (h5, at, name, v, n, err), n)       \
    X(put_reals, double, (AT, const double *v, int64_t n, struct ptq_error *err), (h5, at, name, v, n, err), n)        \
    X(put_floats, float, (AT, const float *v, int64_t n, int64_t m, struct ptq_error *err),                            \
      (h5, at, name, v, n, m, err), n *m)                                                                              \
    X(put_bytes, uint8_t, (AT, const uint8_t *v, int64_t n, int64_t m, struct ptq_error *err),                         \
      (h5, at, name, v, n, m, err), n *m)

static int is_forged(const char *name)
{
    return now.forged.name && strcmp(now.forged.name, name) == 0;
}

#define X(call, type, parameters, words, count)                                                                        \
    enum ptq_status __real_ptq_h5_##call parameters;                                                                   \
    enum ptq_status __wrap_ptq_h5_##call parameters;
PUTS(X)
#undef X

/* Beside numbers: columns 5 and `value` that are kept, or values of them. Beside norm0: another norm. */
static enum ptq_status add_array(struct ptq_h5 *h5, const char *at, const char *beside, int64_t n,
                                 struct ptq_error *err)
{
    const int64_t keep[] = {5, is_forged("keep") ? (int64_t)now.forged.value : 6};
    float *value = ptq_new(arena, float, 2 * n);
    for (int64_t i = 0; i < 2 * n; i++) value[i] = is_forged("keep") ? 1 : (float)now.forged.value;
    if (strcmp(beside, "norm0") == 0) return __real_ptq_h5_put_floats(h5, at, now.forged.name, value, 1, n, err);
    PTQ_TRY(__real_ptq_h5_put_ints(h5, at, "keep", keep, 2, err));
    return __real_ptq_h5_put_floats(h5, at, "kept", value, n, 2, err);
}

#define X(call, type, parameters, words, count)                                                                        \
    enum ptq_status __wrap_ptq_h5_##call parameters                                                                    \
    {                                                                                                                  \
        type *copy = ptq_new(arena, type, (count) + 1);                                                                \
        if ((count) > 0) memcpy(copy, v, sizeof *v *(size_t)(count));                                                  \
        v = copy;                                                                                                      \
        int keeps = is_forged("keep") || is_forged("kept");                                                            \
        if (is_forged(name) && now.forged.place == LEFT_OUT) return PTQ_OK;                                            \
        if (is_forged(name)) copy[now.forged.place] = (type)now.forged.value;                                          \
        if (keeps && strcmp(name, "numbers") == 0) {                                                                   \
            PTQ_TRY(add_array(h5, at, name, (int64_t)copy[0], err));                                                   \
            copy[7] = 2;                                                                                               \
        }                                                                                                              \
        if (!keeps && now.forged.place == ADDED && strcmp(name, "norm0") == 0)                                         \
            PTQ_TRY(add_array(h5, at, name, count, err));                                                              \
        return __real_ptq_h5_##call words;                                                                             \
    }
PUTS(X)
#undef X

enum ptq_status __real_ptq_h5_put_texts(AT, const char *const *v, int64_t n, struct ptq_error *err);
enum ptq_status __wrap_ptq_h5_put_texts(AT, const char *const *v, int64_t n, struct ptq_error *err);
enum ptq_status __wrap_ptq_h5_put_texts(AT, const char *const *v, int64_t n, struct ptq_error *err)
{
    const char **copy = ptq_new(arena, const char *, n);
    memcpy(copy, v, sizeof *v * (size_t)n);
    if (is_forged(name)) copy[now.forged.place] = "another.linear";
    return __real_ptq_h5_put_texts(h5, at, name, copy, n, err);
}

/* Who forges a block renews its seal. Each value in turn out of its range: computed again, like what is damaged. */
static void test_forged(void **state)
{
    (void)state;
    enum { N_NUMBERS = 7 }; /* without the last, n_keep */
    static const char llama[] = MODELS "llama", opt[] = MODELS "opt", gpt2[] = MODELS "gpt2";
    static const char gptq[] = "gptq:w3,g32,act_order=1", awq[] = "awq:w3,g32";
    static const struct {
        const char *model, *spec;
        struct forgery forged;
        const char *said; /* NULL: NAME: value PLACE is */
    } table[] = {
        {llama, gptq, {"code", 7, 8}, NULL},
        {llama, gptq, {"code", 7, 255}, NULL},
        {llama, gptq, {"scale", 1, NAN}, NULL},
        {llama, gptq, {"scale", 1, INFINITY}, NULL},
        {llama, gptq, {"scale", 0, 0}, NULL},
        {llama, gptq, {"scale", 0, -1}, NULL},
        {llama, gptq, {"scale", LEFT_OUT, 0}, "an array of /0 is missing"},
        {llama, gptq, {"zero", 1, NAN}, NULL},
        {llama, gptq, {"zero", 1, -1}, NULL},
        {llama, gptq, {"zero", 1, 0.5}, NULL},
        {llama, gptq, {"zero", 1, 1e9}, NULL},
        {llama, gptq, {"perm", 0, -1}, NULL},
        {llama, gptq, {"perm", 3, 100000000}, NULL},
        {llama, gptq, {"perm", 3, 0x1p32 + 3}, NULL},
        {llama, gptq, {"perm", 3, 0x1p62}, NULL},
        {llama, gptq, {"perm", 3, 64}, NULL},
        {llama, gptq, {"perm", 0, 0}, "/perm: value "}, /* twice */
        {llama, gptq, {"keep", ADDED, 5}, "/keep: value 1 is 5"},
        {llama, gptq, {"keep", ADDED, 4}, "/keep: value 1 is 4"},
        {llama, gptq, {"keep", ADDED, -1}, "/keep: value 1 is -1"},
        {llama, gptq, {"keep", ADDED, 64}, "/keep: value 1 is 64"},
        {llama, gptq, {"kept", ADDED, NAN}, "/kept: value 0 is nan"},
        {llama, gptq, {"kept", ADDED, 1.0001}, "/kept: value 0 is 1.0001"},
        {llama, gptq, {"numbers", 3, 0}, NULL}, /* groups of none */
        {llama, gptq, {"numbers", 7, -1}, NULL},
        {llama, gptq, {"numbers", 7, 65}, NULL},
        {llama, gptq, {"numbers", 7, 64}, "an array of /0 is missing"},
        {llama, gptq, {"norm0", 9, INFINITY}, NULL},
        {llama, gptq, {"norm2", 0, NAN}, NULL},
        {opt, gptq, {"norm1", 0, NAN}, NULL},
        {opt, gptq, {"norm3", 0, NAN}, NULL},
        {opt, gptq, {"bias", 2, NAN}, NULL},
        {gpt2, awq, {"activation_scale", 0, 0}, NULL},
        {gpt2, awq, {"activation_scale", 5, NAN}, NULL},
        {llama, gptq, {"name", 1, 0}, "/reports: number 1 is not of model.layers.0."},
    };
    static const double numbers[] = {-1, 0x1p62};
    struct attempt a = {.signal = SIGKILL};
    struct ptq_cell *want = NULL;
    const size_t n = sizeof table / sizeof *table, n_bad = sizeof numbers / sizeof *numbers;
    for (size_t i = 0; i < n + N_NUMBERS * n_bad; i++) {
        const size_t at = i < n ? i : 0, number = (i - n) / n_bad;
        if (!want || a.model != table[at].model || a.spec != table[at].spec) {
            a.model = table[at].model;
            a.spec = table[at].spec;
            want = straight(a);
        }
        struct attempt forging = a;
        forging.stop_at = 1;
        forging.forged = i < n ? table[i].forged : (struct forgery){"numbers", (int)number, numbers[(i - n) % n_bad]};
        assert_int_equal(run(forging), 200 + SIGKILL);
        a.stop_at = -1;
        const char *words = ptq_format(arena, "/%s: value %d is", forging.forged.name, forging.forged.place);
        int computed = run(a);
        if (computed != BLOCKS) fail_msg("%s, %g: %d", words, forging.forged.value, computed);
        expect_said("starts at its first block, since what is kept of it cannot be used: ");
        expect_said(i < n && table[i].said ? table[i].said : words);
        expect_same(want, result());
        forget_result();
    }
}

/* What only the model's own block shows: a sentence. */
static void test_another_models(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        struct forgery forged;
    } table[] = {{MODELS "opt", {"bias", LEFT_OUT, 0}},
                 {MODELS "opt", {"norm1", LEFT_OUT, 0}},
                 {MODELS "llama", {"norm1", ADDED, 1}},
                 {MODELS "llama", {"norm0", LEFT_OUT, 0}}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct attempt a = {.model = table[i].model, .spec = "gptq:w3,g32", .signal = SIGKILL, .stop_at = 1};
        struct ptq_cell *want = straight(a);
        a.forged = table[i].forged;
        assert_int_equal(run(a), 200 + SIGKILL);
        a.forged.name = NULL;
        a.stop_at = -1;
        assert_int_equal(run(a), 100 + PTQ_EINPUT);
        remove_test_folder(part_of(want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_models, setup, teardown),
    };
    setenv("PTQ_CACHE", "/nonexistent", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
