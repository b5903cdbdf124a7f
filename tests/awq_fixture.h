/* For tests of AWQ: one random block of each kind on random activations, as a method sees it. */
#ifndef PTQ_AWQ_FIXTURE_H
#define PTQ_AWQ_FIXTURE_H

#include "awq.h"
#include "grid.h"
#include "ops.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { WINDOWS = 9, LENGTH = 64, ROWS = WINDOWS * LENGTH };

/* The kinds of blocks: gated with as many v as q heads, gated with shared v, OPT's with biases, GPT-2's with q, k, v
 * fused and a scale behind its GELU, and BLOOM's, judged as a whole. */
enum kind { GATED, SHARED, PLAIN, FUSED, WHOLE, N_KINDS };
static const char *const kind_name[] = {"gated", "shared v", "plain", "fused", "whole"};
static const char *const kind_family[] = {"llama", "llama", "opt", "gpt2", "bloom"};

/* One block on random activations. */
struct fixture {
    struct ptq_arena *arena, *scratch;
    struct ptq_model model;
    struct ptq_spec spec;
    struct ptq_block block, original; /* worked on; as it was */
    struct ptq_forward calib;
    struct ptq_qmat q[PTQ_N_ROLE];
    struct ptq_linear_report report[PTQ_N_ROLE];
    struct ptq_awq_report awq;
    struct ptq_stats means[PTQ_N_INPUT];
    struct ptq_moments moments[PTQ_N_INPUT];
    struct ptq_block_task task;
    struct ptq_error err;
};

static inline float gauss(struct ptq_rng *rng)
{
    double u = ptq_rng_uniform(rng), v = ptq_rng_uniform(rng);
    return (float)(sqrt(-2 * log(1 - u)) * cos(2 * 3.14159265358979 * v));
}

/* Some values are much larger than the others, as activations are. */
static inline float *random_values(struct fixture *f, const char *name, int64_t n, double size, int wild)
{
    struct ptq_rng rng = ptq_rng_make(7, name);
    float *v = ptq_new(f->arena, float, n);
    for (int64_t i = 0; i < n; i++) v[i] = (float)size * gauss(&rng) * (wild && i % 13 == 5 ? 12 : 1);
    return v;
}

static inline void make_model(struct fixture *f, enum kind kind, int64_t ff)
{
    struct ptq_config *c = &f->model.config;
    for (int i = 0; i < ptq_n_families; i++)
        if (strcmp(ptq_families[i]->model_type, kind_family[kind]) == 0) c->family = ptq_families[i];
    c->activation = c->family->activation;
    c->blocks = 1;
    c->width = 48;
    c->heads = 4;
    c->kv_heads = kind == SHARED ? 2 : 4;
    c->head_size = 12;
    c->ff = ff;
    c->norm_eps = 1e-5;
    if (c->family->position == PTQ_ALIBI) {
        f->model.alibi_slope = ptq_new(f->arena, float, 4);
        for (int i = 0; i < 4; i++) f->model.alibi_slope[i] = (float)pow(2, -2 * (i + 1));
    }
    if (c->family->position != PTQ_ROPE) return;
    f->model.rope_frequency = ptq_new(f->arena, float, 6);
    for (int i = 0; i < 6; i++) f->model.rope_frequency[i] = (float)pow(10000, -i / 6.0);
}

static inline struct ptq_block make_block(struct fixture *f, enum kind kind)
{
    const struct ptq_config *c = &f->model.config;
    int64_t kv = c->kv_heads * c->head_size;
    int plain = kind >= PLAIN, fused = ptq_fused_qkv(c->family);
    const int64_t n[PTQ_N_ROLE] = {
        fused ? 3 * c->width : c->width, fused ? 0 : kv, fused ? 0 : kv, c->width, plain ? 0 : c->ff, c->ff, c->width};
    struct ptq_block b = {0};
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        int64_t k = ptq_input_width(c, (enum ptq_input)input), outputs = 0;
        for (int role = 0; role < PTQ_N_ROLE; role++)
            outputs += ptq_role_input[role] == (enum ptq_input)input ? n[role] : 0;
        float *w = random_values(f, ptq_input_name[input], outputs * k, 0.1, 0);
        float *bias = plain ? random_values(f, "bias", outputs, 0.1, 0) : NULL;
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            if (ptq_role_input[role] != (enum ptq_input)input || !n[role]) continue;
            b.linear[role] = (struct ptq_linear){.w = w, .b = bias, .n = n[role], .k = k};
            snprintf(b.linear[role].name, sizeof b.linear[role].name, "linear %d", role);
            w += n[role] * k;
            if (bias) bias += n[role];
        }
    }
    b.norm1_w = random_values(f, "norm1", c->width, 1, 1);
    b.norm2_w = random_values(f, "norm2", c->width, 1, 1);
    if (!plain) return b;
    b.norm1_b = random_values(f, "norm1 b", c->width, 0.3, 0);
    b.norm2_b = random_values(f, "norm2 b", c->width, 0.3, 0);
    return b;
}

static inline void fill_calibration(struct fixture *f)
{
    ptq_forward_make(f->arena, &f->model, NULL, WINDOWS, LENGTH, &f->calib);
    f->calib.x = random_values(f, "x", ROWS * f->model.config.width, 1, 0);
}

/* Means and moments of the original block on these activations, which stay. */
static inline void measure_calibration(struct fixture *f)
{
    struct ptq_forward moved;
    ptq_forward_make(f->arena, &f->model, NULL, WINDOWS, LENGTH, &moved);
    memcpy(moved.x, f->calib.x, sizeof(float) * (size_t)(ROWS * f->model.config.width));
    if (ptq_stats_block(f->arena, &moved, &f->original, 0, f->means, f->moments, &f->err)) fail_msg("%s", f->err.text);
}

/* With an MLP as wide as that. */
static inline void make_wide(struct fixture *f, enum kind kind, const char *spec, int64_t ff)
{
    *f = (struct fixture){.arena = ptq_arena_make("fixture"), .scratch = ptq_arena_make("scratch")};
    if (ptq_spec_parse(spec, &f->spec, &f->err)) fail_msg("%s", f->err.text);
    make_model(f, kind, ff);
    f->original = make_block(f, kind);
    f->block = make_block(f, kind);
    fill_calibration(f);
    measure_calibration(f);
    f->task = (struct ptq_block_task){.spec = &f->spec,
                                      .model = &f->model,
                                      .block = &f->block,
                                      .calib = &f->calib,
                                      .stats = f->means,
                                      .moments = f->moments,
                                      .arena = f->arena,
                                      .scratch = f->scratch,
                                      .q = f->q,
                                      .report = f->report};
}

static inline void make(struct fixture *f, enum kind kind, const char *spec)
{
    make_wide(f, kind, spec, 80);
}

static inline void drop(struct fixture *f)
{
    ptq_arena_free(f->scratch);
    ptq_arena_free(f->arena);
}

static inline void run(struct fixture *f, int every_loss)
{
    struct ptq_awq_options options = ptq_awq_options(&f->spec);
    options.every_loss = every_loss;
    if (ptq_awq_block(&f->task, &options, f->arena, &f->awq, &f->err)) fail_msg("%s", f->err.text);
}

static inline void assert_same_codes(const struct ptq_qmat *a, const struct ptq_qmat *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_groups, b->n_groups);
    if (!a->n) return;
    assert_memory_equal(a->code, b->code, (size_t)(a->n * a->k));
    assert_memory_equal(a->scale, b->scale, sizeof(float) * (size_t)(a->n * a->n_groups));
    assert_memory_equal(a->zero, b->zero, sizeof(float) * (size_t)(a->n * a->n_groups));
}

/* As the pipeline runs it: any method of blocks. */
static inline void run_method(struct fixture *f)
{
    f->task.moments_memory = ptq_arena_make("moments");
    if (f->spec.method->block_method(&f->task, &f->err)) fail_msg("%s", f->err.text);
    ptq_arena_free(f->task.moments_memory);
}

/* Mean over the rows of |w| / the largest of its group: what formula=2023-05 divides by. */
static inline double weight_mean(const struct fixture *f, const struct ptq_linear *l, int64_t k)
{
    int64_t size = f->spec.grid.group_size, first = k / size * size;
    double sum = 0;
    for (int64_t n = 0; n < l->n; n++) {
        const float *row = l->w + n * l->k;
        float most = 0;
        for (int64_t j = first; j < l->k && j < first + size; j++) most = fmaxf(most, fabsf(row[j]));
        sum += most > 0 ? fabsf(row[k]) / most : 0;
    }
    return sum / (double)l->n;
}

#endif
