/* Quantisation on a device (device.h's struct ptq_device_solver), piece by piece against the CPU: products in parts
 * against float64, attention, sums; GPTQ's codes and AWQ's losses and bounds against methods/. On the emulated device,
 * and on a real one where there is one. */
#include "awq_clip.h"
#include "awq_device.h"
#include "awq_groups.h"
#include "devices.h"
#include "gptq_device.h"
#include "grid.h"
#include "offload.h"

/* Of the largest value: parts keep 2^-22 of x, sums are float32; a tensor core's sums are cut, not rounded (2e-6 was
 * seen on an H200). */
static const double parts_bound = 1e-6, tensor_bound = 1e-5;
static const double same_codes = 0.999, loss_bound = 1e-4;

static struct ptq_split make_split(struct setup *s, const float *x, int64_t m, int64_t k, int halves)
{
    uint16_t *room = s->device->take(2 * (size_t)(halves * m * k));
    float *state = s->device->take(sizeof(float) * PTQ_SPLIT_STATE);
    struct ptq_split out = (halves == PTQ_SPLIT_ROWS ? ptq_split_rows : ptq_split_weights)(room, state, m, k);
    s->device->solver.split(&out, x, k);
    return out;
}

static void drop_split(struct setup *s, struct ptq_split *x)
{
    s->device->give(x->again ? x->hi : x->lo);
    s->device->give(x->state);
}

/* b->host holds what is expected. */
static void expect_near(struct setup *s, const char *what, int number, const struct both *b, double bound)
{
    size_t bytes = sizeof *b->host * (size_t)(b->n + GUARD_WORDS);
    float *got = malloc(bytes);
    double most = 0;
    assert_non_null(got);
    s->device->download(got, b->device, bytes);
    assert_null(s->device->error());
    for (int64_t i = 0; i < b->n; i++) most = fmax(most, fabs((double)b->host[i]));
    for (int64_t i = 0; i < b->n; i++)
        if (!(fabs((double)got[i] - b->host[i]) <= bound * most))
            fail_msg("%s on %s, case %d: value %ld is %.9g, expected %.9g", what, s->device->name, number, (long)i,
                     (double)got[i], (double)b->host[i]);
    for (int i = 0; i < GUARD_WORDS; i++)
        if (got[b->n + i] != guard) fail_msg("%s, case %d: wrote past the end", what, number);
    free(got);
}

static double of_products(const struct setup *s)
{
    return s->device == ptq_cuda_emulated_device() ? parts_bound : tensor_bound;
}

static void multiply(const float *x, const float *w, const float *b, float *y, struct ptq_matrix_case m, int accumulate)
{
    for (int64_t i = 0; i < m.m; i++)
        for (int64_t j = 0; j < m.n; j++) {
            double sum = (b ? b[j] : 0) + (accumulate ? y[i * m.n + j] : 0.0);
            for (int64_t l = 0; l < m.k; l++) sum += (double)x[i * m.k + l] * w[j * m.k + l];
            y[i * m.n + j] = (float)sum;
        }
}

/* Float32 weights of three products, FP16 weights of two; small and large rows. */
static void products(struct setup *s)
{
    for (int c = 0; c < s->matrix_cases; c++)
        for (int variant = 0; variant < 4; variant++) {
            struct ptq_matrix_case m = ptq_matrix_cases[c];
            if (c == PTQ_N_CASES(ptq_matrix_cases) - 1 && variant < 3) continue;
            struct both x = make(s, m.m * m.k), w = make(s, m.n * m.k), b = make(s, m.n), y = make(s, m.m * m.n);
            for (int64_t i = 0; i < m.n * m.k; i++)
                w.host[i] = variant & 1 ? (float)(int)(w.host[i] * 100) / 64 : w.host[i];
            s->device->upload(w.device, w.host, sizeof(float) * (size_t)w.n);
            struct ptq_split parts = make_split(s, x.device, m.m, m.k, PTQ_SPLIT_ROWS),
                             weights = make_split(s, w.device, m.n, m.k, PTQ_SPLIT_WEIGHTS);
            int exact = s->device->solver.exact(&weights);
            if (variant & 1) assert_true(exact);
            if (exact) weights.lo = NULL;
            multiply(x.host, w.host, variant & 2 ? b.host : NULL, y.host, m, variant & 1);
            s->device->solver.product(y.device, m.n, &parts, &weights, variant & 2 ? b.device : NULL, variant & 1);
            expect_near(s, "product", c, &y, of_products(s));
            s->device->solver.join(w.device, &weights);
            expect_near(s, "join", c, &w, exact ? 0 : parts_bound);
            drop_split(s, &parts);
            drop_split(s, &weights);
            drop(s, &x), drop(s, &w), drop(s, &b), drop(s, &y);
        }
}

/* What is not finite stays in its row. */
static void not_finite(struct setup *s)
{
    float x[] = {1, 2, 1e30F, NAN, INFINITY, 1, 3e-30F, 0}, w[] = {1, 1}, y[4];
    float *there = put(s, x, sizeof x), *weights = put(s, w, sizeof w), *out = put(s, y, sizeof y);
    struct ptq_split parts = make_split(s, there, 4, 2, PTQ_SPLIT_ROWS),
                     weight_parts = make_split(s, weights, 1, 2, PTQ_SPLIT_WEIGHTS);
    s->device->solver.product(out, 1, &parts, &weight_parts, NULL, 0);
    s->device->download(y, out, sizeof y);
    assert_true(isfinite(y[0]) && isnan(y[1]) && !isfinite(y[2]) && isfinite(y[3]));
    drop_split(s, &parts);
    drop_split(s, &weight_parts);
    s->device->give(there), s->device->give(weights), s->device->give(out);
}

static void grams(struct setup *s)
{
    static const struct ptq_matrix_case cases[] = {{7, 0, 5}, {40, 0, 33}, {64, 0, 300}};
    for (int c = 0; c < PTQ_N_CASES(cases); c++) {
        int64_t m = cases[c].m, k = cases[c].k;
        struct both x = make(s, m * k), h = make(s, k * k);
        struct ptq_split parts = make_split(s, x.device, m, k, PTQ_SPLIT_ROWS);
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = i; j < k; j++) {
                double sum = h.host[i * k + j];
                for (int64_t l = 0; l < m; l++) sum += (double)x.host[l * k + i] * x.host[l * k + j];
                h.host[i * k + j] = (float)sum;
            }
        s->device->solver.gram(h.device, &parts);
        float *got = malloc(sizeof *got * (size_t)(k * k));
        assert_non_null(got);
        s->device->download(got, h.device, sizeof *got * (size_t)(k * k));
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < i; j++) h.host[i * k + j] = got[i * k + j];
        free(got);
        expect_near(s, "gram", c, &h, of_products(s));
        drop_split(s, &parts);
        drop(s, &x), drop(s, &h);
    }
}

static void attention(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(ptq_attention_cases); c++) {
        struct ptq_attention_case a = ptq_attention_cases[c];
        if (a.first) continue; /* whole windows alone */
        struct both slope = make(s, a.heads);
        struct ptq_attention shape = {.heads = a.heads, .kv_heads = a.kv_heads, .head_size = a.d, .window = a.window};
        int64_t ld = (a.heads + 2 * a.kv_heads) * a.d, width = a.heads * a.d, k = width, v = k + a.kv_heads * a.d;
        struct both qkv = make(s, a.m * ld), y = make(s, a.m * width), scratch;
        scratch = make(s, ptq_attention_scratch(a.m, a.d));
        void *room = s->device->take(s->device->solver.attention_bytes(&shape, a.m));
        shape.scale = 1 / sqrtf((float)a.d);
        shape.slope = a.alibi ? slope.host : NULL;
        s->ref.attention(y.host, width, qkv.host, qkv.host + k, qkv.host + v, ld, &shape, 0, a.m, scratch.host);
        shape.slope = a.alibi ? slope.device : NULL;
        s->device->solver.attention(y.device, width, qkv.device, qkv.device + k, qkv.device + v, ld, &shape, a.m, room);
        expect_near(s, "attention", c, &y, 1e-5);
        s->device->give(room);
        drop(s, &slope), drop(s, &qkv), drop(s, &y), drop(s, &scratch);
    }
}

/* Rows in batches, of whole runs, of others, and of more runs than go together; levels as core/stats.c carries them. */
static void means(struct setup *s)
{
    enum { POWER = 4, LEVELS = 4 };
    static const struct {
        int64_t rows, k, batch;
    } cases[] = {{704, 70, 64}, {704, 70, 123}, {4400, 40, 4400}};
    for (int c = 0; c < PTQ_N_CASES(cases); c++) {
        int64_t rows = cases[c].rows, width = cases[c].k;
        struct both x = make(s, rows * width), level = make(s, LEVELS * width);
        memset(level.host, 0, sizeof(float) * (size_t)level.n);
        s->device->upload(level.device, level.host, sizeof(float) * (size_t)level.n);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t k = 0; k < width; k++) {
                level.host[k] += fabsf(x.host[row * width + k]);
                for (int l = 1; l < LEVELS && (row + 1) % (1 << POWER * l) == 0; l++) {
                    level.host[l * width + k] += level.host[(l - 1) * width + k];
                    level.host[(l - 1) * width + k] = 0;
                }
            }
        for (int64_t row = 0, n; row < rows; row += n) {
            n = rows - row < cases[c].batch ? rows - row : cases[c].batch;
            s->device->solver.absmean(level.device, LEVELS, POWER, row, x.device + row * width, n, width);
        }
        expect_near(s, "absmean", c, &level, 0);
        drop(s, &x), drop(s, &level);
    }
}

static void not_finite_anywhere(struct setup *s)
{
    struct both x = make(s, 5 * 300), flag = make(s, 1);
    flag.host[0] = 0;
    s->device->upload(flag.device, flag.host, sizeof(float));
    s->device->solver.finite(flag.device, x.device, 5, 300);
    expect_near(s, "finite", 0, &flag, 0);
    x.host[777] = NAN;
    s->device->upload(x.device, x.host, sizeof(float) * 1500);
    s->device->solver.finite(flag.device, x.device, 5, 300);
    s->device->download(flag.host, flag.device, sizeof(float));
    assert_true(isnan(flag.host[0]));
    drop(s, &x), drop(s, &flag);
}

/* ---- GPTQ ---- */

static const struct problem {
    int64_t n, k, rows;
    int w_bit;
    int64_t group;
    int sym, act_order, static_groups, fresh, dead;
} problems[] = {{5, 40, 90, 4, 16, 0, 0, 0, 0, 0},     {20, 300, 500, 3, 32, 0, 0, 0, 0, 0},
                {17, 257, 400, 4, 128, 0, 1, 0, 0, 5}, {9, 200, 300, 2, 64, 1, 0, 0, 0, 0},
                {8, 160, 260, 4, -1, 0, 1, 0, 0, 3},   {12, 288, 300, 3, 48, 0, 1, 1, 0, 2},
                {6, 150, 290, 4, 16, 0, 0, 0, 1, 0},   {7, 280, 100, 4, 8, 0, 0, 0, 0, 0}};

struct solved {
    struct ptq_qmat q;
    double *loss;
    int32_t *saturated;
};

static struct solved make_solved(struct ptq_arena *arena, const struct problem *p, const struct ptq_grid *grid)
{
    struct solved out = {.loss = ptq_new(arena, double, p->n), .saturated = ptq_new(arena, int32_t, p->n)};
    ptq_qmat_make(arena, grid, p->n, p->k, &out.q);
    return out;
}

/* Inputs with something in common, a few of them 0 throughout; H is 2 / n of 4 windows. */
static void make_inputs(struct setup *s, const struct problem *p, float *x)
{
    for (int64_t i = 0; i < p->rows; i++) {
        float common = (float)ptq_rng_uniform(&s->rng) - 0.5F;
        for (int64_t j = 0; j < p->k; j++)
            x[i * p->k + j] = j % 41 < p->dead && j % 41 == 3
                                  ? 0
                                  : (common + (float)ptq_rng_uniform(&s->rng) - 0.5F) * (j % 37 ? 1 : 9);
    }
}

static void solve_there(struct setup *s, struct ptq_arena *arena, const struct ptq_gptq_options *options, float *h,
                        const float *w, struct solved *out)
{
    struct ptq_model model = {.device = s->device};
    struct ptq_forward f = {.windows = 2, .model = &model}; /* h is H by itself */
    ptq_offload_make(arena, &f);
    struct ptq_offload_product *product = &f.offload->product[PTQ_Q];
    struct ptq_error err;
    int64_t n = out->q.n, k = out->q.k;
    product->n = n;
    product->k = k;
    float *weights = put(s, w, sizeof *w * (size_t)(n * k));
    product->w = make_split(s, weights, n, k, PTQ_SPLIT_WEIGHTS);
    struct ptq_hessian_problem p = {.w = w,
                                    .q = &out->q,
                                    .loss = out->loss,
                                    .saturated = out->saturated,
                                    .arena = arena,
                                    .scratch = arena,
                                    .there = &f,
                                    .input = PTQ_ATTN_IN};
    p.h = put(s, h, sizeof *h * (size_t)(k * k));
    if (ptq_gptq_solve_there(options, &p, &err)) fail_msg("%s", err.text);
    /* what stands for the codes is what the next product reads */
    float *back = ptq_new(arena, float, n *k), *want = ptq_new(arena, float, n *k);
    s->device->solver.join(weights, &product->w);
    s->device->download(back, weights, sizeof *back * (size_t)(n * k));
    s->ref.dequantize(want, &out->q, 0, n);
    for (int64_t i = 0; i < n * k; i++)
        if (!(fabsf(back[i] - want[i]) <= 1e-5F))
            fail_msg("weight %ld is %g there, %g by its code", (long)i, (double)back[i], (double)want[i]);
    s->device->give(weights), s->device->give(p.h), s->device->give(product->w.hi), s->device->give(product->w.state);
}

static void compare_solved(const struct solved *here, const struct solved *there, int number)
{
    int64_t n = here->q.n, k = here->q.k, same = 0;
    double loss = 0, other = 0;
    int saturated = 0;
    for (int64_t i = 0; i < n * k; i++) same += here->q.code[i] == there->q.code[i];
    for (int64_t i = 0; i < n; i++) {
        loss += here->loss[i];
        other += there->loss[i];
        saturated += abs(here->saturated[i] - there->saturated[i]);
    }
    print_message("case %d: %.3f %% of the codes, losses %.2g apart, saturated groups %d apart\n", number,
                  100.0 * (double)same / (double)(n * k), fabs(other / loss - 1), saturated);
    assert_true((double)same >= same_codes * (double)(n * k));
    assert_true(fabs(other / loss - 1) <= loss_bound);
    assert_true(saturated <= 1);
    assert_int_equal(here->q.perm != NULL, there->q.perm != NULL);
    if (here->q.perm) assert_memory_equal(here->q.perm, there->q.perm, sizeof *here->q.perm * (size_t)k);
}

static void gptq(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(problems); c++) {
        const struct problem *p = &problems[c];
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_grid grid = {.w_bit = p->w_bit, .group_size = p->group, .sym = p->sym, .range = PTQ_RANGE_GPTQ};
        struct ptq_gptq_options options = {
            .percdamp = 0.01, .act_order = p->act_order, .static_groups = p->static_groups, .fresh_groups = p->fresh};
        struct solved here = make_solved(arena, p, &grid), there = make_solved(arena, p, &grid);
        float *x = ptq_new(arena, float, p->rows * p->k), *h = ptq_new(arena, float, p->k * p->k);
        struct both w = make(s, p->n * p->k);
        struct ptq_gptq_factor factor;
        struct ptq_error err;
        assert_true(ptq_gptq_can_there(&options, &grid));
        make_inputs(s, p, x);
        s->ref.gram(h, p->k, 1, x, p->k, p->rows, 0, p->k);
        solve_there(s, arena, &options, h, w.host, &there);
        if (ptq_gptq_factorize(arena, arena, h, p->k, 0.01, p->act_order, &factor, &err)) fail_msg("%s", err.text);
        ptq_gptq_solve(&factor, &options, w.host, arena, arena, &here.q, here.loss, here.saturated);
        compare_solved(&here, &there, c);
        drop(s, &w);
        ptq_arena_free(arena);
    }
}

/* ---- AWQ ---- */

/* A trial's loss as methods/awq_search.c has it, in float64. */
static double trial_loss(struct setup *s, struct ptq_arena *arena, const struct problem *p, const struct ptq_grid *grid,
                         const float *h, const float *w, const float *scale)
{
    struct ptq_qmat q;
    float *scaled = ptq_new(arena, float, p->n * p->k), *back = ptq_new(arena, float, p->n * p->k);
    double sum = 0;
    for (int64_t i = 0; i < p->n * p->k; i++) scaled[i] = w[i] * scale[i % p->k];
    ptq_qmat_make(arena, grid, p->n, p->k, &q);
    ptq_grid_quantize(&q, scaled);
    s->ref.dequantize(back, &q, 0, p->n);
    for (int64_t i = 0; i < p->n * p->k; i++) back[i] = back[i] / scale[i % p->k] - w[i];
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t i = 0; i < p->k; i++)
            for (int64_t j = 0; j < p->k; j++)
                sum += (double)back[n * p->k + i] * back[n * p->k + j] * (i < j ? h[i * p->k + j] : h[j * p->k + i]);
    return sum;
}

static double trial_loss_there(struct setup *s, const struct problem *p, const struct ptq_grid *grid, const float *h,
                               const float *w, const float *scale)
{
    size_t k = (size_t)p->k, n = (size_t)p->n;
    float *h_there = put(s, h, sizeof *h * k * k), *d = s->device->take(sizeof *d * k);
    float *w_there = put(s, w, sizeof *w * n * k), *scale_there = put(s, scale, sizeof *scale * k);
    uint16_t *c = s->device->take(2 * k * k);
    double *loss = malloc(sizeof *loss * n), sum = 0;
    assert_non_null(loss);
    struct ptq_device_awq t = {.n = p->n, .k = p->k, .grid = *grid, .w = w_there, .c = c, .d = d, .scale = scale_there};
    t.n_groups = ptq_n_groups(p->k, grid->group_size);
    t.group_size = t.n_groups == 1 ? p->k : grid->group_size;
    t.delta = s->device->take(2 * n * k);
    t.factor = s->device->take(sizeof(float) * n);
    t.product = s->device->take(sizeof(float) * n * k);
    t.loss = s->device->take(sizeof(double) * n);
    s->device->solver.awq_begin(c, d, h_there, p->k);
    s->device->solver.awq_trial(&t);
    s->device->download(loss, t.loss, sizeof *loss * n);
    for (size_t i = 0; i < n; i++) sum += loss[i];
    free(loss);
    void *given[] = {h_there, d, w_there, scale_there, c, t.delta, t.factor, t.product, t.loss};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) s->device->give(given[i]);
    return sum;
}

static void awq_scales(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(problems); c++) {
        const struct problem *p = &problems[c];
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_grid grid = {.w_bit = p->w_bit, .group_size = p->group, .sym = p->sym};
        float *x = ptq_new(arena, float, p->rows * p->k), *h = ptq_new(arena, float, p->k * p->k);
        float *scale = ptq_new(arena, float, p->k);
        struct both w = make(s, p->n * p->k);
        make_inputs(s, p, x);
        s->ref.gram(h, p->k, 1, x, p->k, p->rows, 0, p->k);
        for (int64_t k = 0; k < p->k; k++) scale[k] = (float)exp(ptq_rng_uniform(&s->rng) - 0.5);
        double want = trial_loss(s, arena, p, &grid, h, w.host, scale);
        double got = trial_loss_there(s, p, &grid, h, w.host, scale);
        print_message("awq, case %d: loss %.6g, there %.2g apart\n", c, want, fabs(got / want - 1));
        assert_true(fabs(got / want - 1) <= 1e-3);
        drop(s, &w);
        ptq_arena_free(arena);
    }
}

/* Rows that are too long for shared memory: 98 KiB are 25000 columns, and LLaMA-2-70B has 28672. */
static void awq_long_scales(struct setup *s)
{
    ptq_cuda_emulated_shared(512);
    awq_scales(s);
    ptq_cuda_emulated_shared(0);
}

/* Bounds and codes of a linear, all of it through methods/awq_device.c. */
static void awq_bounds(struct setup *s)
{
    for (int c = 0; c < PTQ_N_CASES(problems); c++) {
        const struct problem *p = &problems[c];
        if (p->group < 0) continue;
        struct ptq_arena *arena = ptq_arena_make("test"), *scratch = ptq_arena_make("scratch");
        struct ptq_spec spec = {.grid = {.w_bit = p->w_bit, .group_size = p->group, .sym = p->sym}};
        struct ptq_family family = {.model_type = "llama"};
        struct ptq_model model = {.config = {.family = &family}, .device = s->device};
        struct ptq_forward f = {.model = &model};
        ptq_offload_make(arena, &f);
        struct ptq_block block = {0};
        struct ptq_moments moments[PTQ_N_INPUT] = {0}, *m = &moments[ptq_role_input[PTQ_DOWN]];
        struct ptq_awq_choice choices[PTQ_N_INPUT] = {0}, *choice = &choices[ptq_role_input[PTQ_DOWN]];
        *choice = (struct ptq_awq_choice){.k = p->k, .scale = ptq_new(arena, float, p->k)};
        struct ptq_awq_clip here, there = {0};
        struct ptq_linear_report report[PTQ_N_ROLE] = {0};
        struct ptq_qmat q[PTQ_N_ROLE] = {0}, want;
        struct ptq_error err;
        struct both w = make(s, p->n * p->k);
        float *clamped = ptq_new(arena, float, p->n * p->k), nothing;
        *m = (struct ptq_moments){.k = p->k, .n_row = p->rows, .row = ptq_new(arena, float, p->rows * p->k)};
        m->there = &nothing;
        m->pass = &f;
        make_inputs(s, p, m->row);
        for (int64_t k = 0; k < p->k; k++) choice->scale[k] = 1;
        block.linear[PTQ_DOWN] = (struct ptq_linear){.w = w.host, .n = p->n, .k = p->k};
        struct ptq_block_task task = {.spec = &spec, .model = &model, .block = &block, .moments = moments};
        task.q = q;
        task.report = report;
        task.scratch = scratch;
        ptq_qmat_make(arena, &spec.grid, p->n, p->k, &q[PTQ_DOWN]);
        ptq_qmat_make(arena, &spec.grid, p->n, p->k, &want);
        assert_true(ptq_awq_can_there(&task, PTQ_DOWN));
        if (ptq_awq_linear_there(&task, PTQ_DOWN, 1, choices, arena, &there, &err)) fail_msg("%s", err.text);
        ptq_awq_clip_search(&spec.grid, &block.linear[PTQ_DOWN], m->row, m->n_row, arena, scratch, &here);
        int64_t groups = p->n * here.n_groups, same = 0;
        for (int64_t i = 0; i < groups; i++) same += here.max[i] == there.max[i];
        print_message("case %d: %ld of %ld bounds are the same\n", c, (long)same, (long)groups);
        assert_true((double)same >= 0.99 * (double)groups);
        ptq_awq_clamp(&block.linear[PTQ_DOWN], &there, p->group, clamped);
        int64_t saturated = ptq_grid_quantize(&want, clamped);
        assert_memory_equal(want.code, q[PTQ_DOWN].code, (size_t)(p->n * p->k));
        assert_memory_equal(want.scale, q[PTQ_DOWN].scale, sizeof(float) * (size_t)groups);
        assert_memory_equal(want.zero, q[PTQ_DOWN].zero, sizeof(float) * (size_t)groups);
        assert_int_equal(report[PTQ_DOWN].saturated, saturated);
        drop(s, &w);
        ptq_arena_free(arena);
        ptq_arena_free(scratch);
    }
}

#define PTQ_SOLVER_TESTS(X)                                                                                            \
    X(products)                                                                                                        \
    X(not_finite)                                                                                                      \
    X(not_finite_anywhere) X(grams) X(attention) X(means) X(gptq) X(awq_scales) X(awq_long_scales) X(awq_bounds)
#define X(name)                                                                                                        \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        on_each_device(name);                                                                                          \
    }
PTQ_SOLVER_TESTS(X)
#undef X

int main(void)
{
#define X(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {PTQ_SOLVER_TESTS(X)};
#undef X
    return cmocka_run_group_tests(tests, NULL, NULL);
}
