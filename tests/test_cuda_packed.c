/* The packed kernels of the CUDA backend against ref's dequantised weights, on all shapes of kernels/cases.h and more:
 * every width, tokens from one to more than a tile, a bias, a sum, all three kinds of kernel. */
#include "devices.h"
#include "qmats.h"

/* Rounding x to FP16 once changes a product w x by at most 2^-11 of it, by a third of the square of that in the mean:
 * 8e-8 of the sum of all (w x)^2; rounding w, too (panels), twice that. A bound of twelve times the first holds for
 * single outputs, too. */
static const double half_bound = 1e-6;
/* Where x is FP16 as it stands, what is left are float32 sums: 1e-5 of the root of that sum. */
static const double exact_bound = 1e-10;
static double worst[2]; /* normalised errors, on this device: any x, x that is FP16 */

/* Sum over all outputs of the sum of squares of their products. */
static double products(const float *x, int64_t ldx, const float *w, int64_t m, int64_t n, int64_t k)
{
    double sum = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t l = 0; l < k; l++) sum += pow((double)x[i * ldx + l] * w[j * k + l], 2);
    return sum;
}

/* The image on the device, and how it looks there. */
static void *put_packed(struct setup *s, const struct ptq_packed *host, struct ptq_packed *out)
{
    struct ptq_error err;
    unsigned char *image = put(s, host->image, host->bytes);
    assert_int_equal(ptq_packed_view(host->image, host->bytes, out, &err), PTQ_OK);
    ptq_packed_move(out, image);
    return image;
}

/* In one call, or as a linear that shares its activations with others is computed. */
static void compute(struct setup *s, const struct both *y, int ldy, const struct both *x, int ldx,
                    const struct ptq_packed *w, const float *b, int accumulate, int64_t m, void *scratch,
                    enum ptq_packed_kernel kind, int in_two)
{
    if (!in_two) {
        s->device->packed(y->device, ldy, x->device, ldx, w, b, accumulate, m, scratch, kind);
        return;
    }
    s->device->packed_acts(w, x->device, ldx, m, scratch);
    s->device->packed_multiply(y->device, ldy, w, b, accumulate, m, scratch);
}

/* x to eighths. */
static void round_x(struct setup *s, struct both *x)
{
    for (int64_t i = 0; i < x->n; i++) x->host[i] = rintf(x->host[i] * 8) / 8;
    s->device->upload(x->device, x->host, sizeof *x->host * (size_t)x->n);
}

static void one_linear(struct setup *s, int number, const struct ptq_qmat_case *c, int64_t m,
                       enum ptq_packed_kernel kind, int exact)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    struct ptq_qmat q;
    struct ptq_packed host, device;
    int accumulate = number % 2, ldx = (int)c->k + 3, ldy = (int)c->n + (accumulate ? 5 : 0);
    make_qmat(arena, &q, c, number % 3 == 0, number % 5 == 0, &s->rng);
    if (ptq_pack(arena, &q, &host, &err)) fail_msg("%s", err.text);
    void *image = put_packed(s, &host, &device), *scratch = s->device->take(s->device->packed_scratch(&device, m));
    struct both x = make(s, m * ldx), y = make(s, m * ldy), b = make(s, c->n);
    float *w = ptq_new(arena, float, c->n * c->k), *bias = number % 4 < 2 ? b.host : NULL;
    if (exact) round_x(s, &x);
    s->ref.dequantize(w, &q, 0, c->n);
    s->ref.linear(y.host, ldy, x.host, ldx, w, bias, accumulate, m, c->n, c->k);
    compute(s, &y, ldy, &x, ldx, &device, bias ? b.device : NULL, accumulate, m, scratch, kind,
            kind == PTQ_PACKED_BEST && number % 2);
    double error = squared_error(s, "packed", number, &y), power = products(x.host, ldx, w, m, c->n, c->k);
    worst[exact] = fmax(worst[exact], error / power);
    if (error > (exact ? exact_bound : half_bound) * power)
        fail_msg("case %d, kernel %d on %s: normalised error %g", number, kind, s->device->name, error / power);
    drop(s, &x), drop(s, &y), drop(s, &b);
    s->device->give(image);
    s->device->give(scratch);
    ptq_arena_free(arena);
}

static void listed(struct setup *s)
{
    const int64_t tokens[] = {1, 9, 70};
    for (int c = 0; c < PTQ_N_CASES(ptq_qmat_cases); c++)
        for (int t = 0; t < 3; t++)
            for (int kind = PTQ_PACKED_BEST; kind <= PTQ_PACKED_PLAIN; kind++) {
                const struct ptq_qmat_case *q = &ptq_qmat_cases[c];
                int gathers = !q->n_keep && !q->n_divided && (q->w_bit == 3 || q->w_bit == 4);
                if (kind == PTQ_PACKED_GATHER && !gathers) continue; /* not its to do: device.h */
                one_linear(s, c * 3 + t, q, tokens[t], (enum ptq_packed_kernel)kind, 0);
            }
}

/* Chunks: groups of less, of exactly and of more than 128 places, tails, many tiles. */
static void widths(struct setup *s)
{
    const int64_t groups[] = {32, 64, 128, 256, -1, 100};
    for (int w_bit = 2; w_bit <= 8; w_bit++)
        for (int g = 0; g < 6; g++) {
            struct ptq_qmat_case c = {.n = 40 + w_bit, .k = 330 - g, .w_bit = w_bit, .group_size = groups[g]};
            c.permuted = g % 2;
            one_linear(s, w_bit * 6 + g, &c, 1 + g, PTQ_PACKED_BEST, 0);
        }
}

/* What packed_few.cu does, from one token to its last: units shared by teams, several times around a ring, pairs of
 * tiles with one missing; and the comparison. */
static void few(struct setup *s)
{
    static const int64_t groups[] = {128, 64, 32, 256, -1}, tokens[] = {1, 16, 2, 8, 5, 12};
    static const int widths[] = {4, 3, 2, 8};
    static int orders; /* that were emulated: each does a third of it, the device all */
    int number = 0, emulated = s->device == ptq_cuda_emulated_device(), order = orders++;
    for (int b = 0; b < 4; b++)
        for (int g = 0; g < 5; g++, number++) {
            if (emulated && number % ORDERS != order % ORDERS) continue;
            struct ptq_qmat_case c = {.n = g ? 70 : 33 + b, .k = g ? 600 : 5184, .w_bit = widths[b]};
            c.group_size = groups[g];
            c.permuted = g == 1;
            one_linear(s, number, &c, tokens[number % 6], PTQ_PACKED_BEST, number % 2);
            if (b < 2 && g < 2) one_linear(s, number, &c, tokens[(number + 1) % 6], PTQ_PACKED_GATHER, 1);
        }
}

/* Both ways for many tokens: tiles of 32, 64 and 128 tokens, one more and less; every width and kind of group. */
static void many(struct setup *s)
{
    const int64_t tokens[] = {17, 33, 64, 130, 20}, groups[] = {32, 64, 128, 256, -1, 100, 16};
    for (int kind = PTQ_PACKED_FUSED; kind <= PTQ_PACKED_PANELS; kind++) {
        for (int i = 0; i < PTQ_N_CASES(ptq_qmat_cases); i++) {
            const struct ptq_qmat_case *c = &ptq_qmat_cases[i];
            int exact = kind == PTQ_PACKED_FUSED && c->w_bit <= 4 && !c->n_divided;
            one_linear(s, i, c, tokens[i % 5], (enum ptq_packed_kernel)kind, exact);
        }
        for (int g = 0; g < 7; g++) {
            struct ptq_qmat_case c = {.n = 275 - g, .k = 330 - 64 * (g % 2) + g, .w_bit = 2 + (g % 3)};
            c.group_size = groups[g];
            c.permuted = g % 2;
            one_linear(s, g, &c, tokens[g % 5], (enum ptq_packed_kernel)kind, kind == PTQ_PACKED_FUSED);
        }
    }
}

/* The fused kernel where a split of a row has more slices than its ring has stages. */
static void many_long(struct setup *s)
{
    struct ptq_qmat_case c = {.n = 16, .k = 4096, .w_bit = 4, .group_size = 128};
    one_linear(s, 0, &c, 130, PTQ_PACKED_FUSED, 0);
}

/* One value that is not finite: its token is NaN from end to end, the others are as without it. */
static void not_finite(struct setup *s)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    struct ptq_qmat q;
    struct ptq_packed host, device;
    struct ptq_qmat_case c = {.n = 20, .k = 96, .w_bit = 4, .group_size = 32};
    make_qmat(arena, &q, &c, 0, 0, &s->rng);
    assert_int_equal(ptq_pack(arena, &q, &host, &err), PTQ_OK);
    void *image = put_packed(s, &host, &device), *scratch = s->device->take(s->device->packed_scratch(&device, 3));
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        struct both x = make(s, 3 * c.k), y = make(s, 3 * c.n);
        x.host[c.k + 7] = bad[i];
        s->device->upload(x.device, x.host, sizeof *x.host * (size_t)x.n);
        s->device->packed(y.device, c.n, x.device, c.k, &device, NULL, 0, 3, scratch, PTQ_PACKED_BEST);
        s->device->download(y.host, y.device, sizeof *y.host * (size_t)y.n);
        for (int64_t j = 0; j < y.n; j++) assert_int_equal(isnan(y.host[j]), j / c.n == 1);
        drop(s, &x), drop(s, &y);
    }
    s->device->give(image);
    s->device->give(scratch);
    ptq_arena_free(arena);
}

static void test_listed(void **state)
{
    (void)state;
    on_each_device(listed);
}

static void test_widths(void **state)
{
    (void)state;
    on_each_device(widths);
}

static void test_many(void **state)
{
    (void)state;
    on_each_device(many);
}

static void test_many_long(void **state)
{
    (void)state;
    on_each_device(many_long);
}

static void test_few(void **state)
{
    (void)state;
    on_each_device(few);
    print_message("largest error, normalised: %.1e; %.1e where x is FP16\n", sqrt(worst[0]), sqrt(worst[1]));
}

static void test_not_finite(void **state)
{
    (void)state;
    on_each_device(not_finite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_listed),    cmocka_unit_test(test_widths),
                                       cmocka_unit_test(test_few),       cmocka_unit_test(test_many),
                                       cmocka_unit_test(test_many_long), cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
