#include "apply.h"

#include "grid.h"
#include "ops.h"
#include "pool.h"
#include "sha256.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_A_TASK = 64 };

/* Squares summed over one task's rows: of the weights, of their error, of the output, of its error. */
struct squares {
    double w, dw, y, dy;
};

struct measure_task {
    struct ptq_linear *linear;
    const struct ptq_qmat *q;
    const struct ptq_stats *stats; /* NULL: no outputs */
    struct squares *sum;           /* [tasks] */
    float **scratch;               /* [threads] of 2 ROWS_A_TASK K + samples ROWS_A_TASK floats */
};

static double sum_squares(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

static double output_squares(const struct ptq_stats *s, const float *w, int64_t rows, float *y)
{
    ptq_ops()->linear(y, rows, s->sample, s->k, w, NULL, 0, s->n_sample, rows, s->k);
    return sum_squares(y, s->n_sample * rows);
}

static void measure_rows(void *context, int64_t i, int worker)
{
    struct measure_task *t = context;
    int64_t k = t->linear->k, first = i * ROWS_A_TASK, left = t->linear->n - first;
    int64_t rows = left < ROWS_A_TASK ? left : ROWS_A_TASK;
    float *w = t->linear->w + first * k, *quantized = t->scratch[worker], *error = quantized + ROWS_A_TASK * k;
    float *y = error + ROWS_A_TASK * k;
    struct squares *s = &t->sum[i];
    ptq_ops()->dequantize(quantized, t->q, first, rows);
    for (int64_t j = 0; j < rows * k; j++) error[j] = quantized[j] - w[j];
    s->w = sum_squares(w, rows * k);
    s->dw = sum_squares(error, rows * k);
    if (t->stats) {
        s->y = output_squares(t->stats, w, rows, y);
        s->dy = output_squares(t->stats, error, rows, y);
    }
    memcpy(w, quantized, sizeof *w * (size_t)(rows * k));
}

/* Measures, and puts the quantised weights in place of the original ones. */
static void measure(struct ptq_linear *linear, const struct ptq_qmat *q, const struct ptq_stats *stats,
                    struct ptq_arena *scratch, struct ptq_linear_report *report)
{
    int64_t tasks = (linear->n + ROWS_A_TASK - 1) / ROWS_A_TASK, samples = stats ? stats->n_sample : 0;
    struct measure_task t = {.linear = linear, .q = q, .stats = stats};
    t.sum = ptq_new(scratch, struct squares, tasks);
    t.scratch = ptq_new(scratch, float *, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++)
        t.scratch[i] = ptq_new(scratch, float, ROWS_A_TASK *(2 * linear->k + samples));
    ptq_parallel_for(tasks, measure_rows, &t);
    struct squares all = {0};
    for (int64_t i = 0; i < tasks; i++) {
        all.w += t.sum[i].w;
        all.dw += t.sum[i].dw;
        all.y += t.sum[i].y;
        all.dy += t.sum[i].dy;
    }
    /* An all-zero matrix or input has no relative error; where nothing is lost it is 0. */
    report->weight_error = all.w > 0 ? all.dw / all.w : all.dw > 0 ? 1 : 0;
    report->output_error = !stats ? -1 : all.y > 0 ? all.dy / all.y : all.dy > 0 ? 1 : 0;
}

static enum ptq_status check_codes(const struct ptq_qmat *q, const char *name, struct ptq_error *err)
{
    for (int64_t i = 0; i < q->n * q->n_groups; i++)
        if (!isfinite(q->scale[i]) || !isfinite(q->zero[i]))
            return ptq_fail(err, PTQ_ENUMERIC, "%s: row %lld, group %lld: the scale is not finite", name,
                            (long long)(i / q->n_groups), (long long)(i % q->n_groups));
    return PTQ_OK;
}

/* 52 bits, which JSON's numbers hold, of all that the linear's values are computed from; never 0, which says that a
 * file is older than this. */
static int64_t digest(const struct ptq_qmat *q)
{
    size_t groups = (size_t)(q->n * q->n_groups);
    char hex[PTQ_SHA256_HEX];
    struct ptq_sha256 *hash = ptq_sha256_begin();
    const int64_t shape[] = {q->n, q->k, q->n_groups, q->grid.group_size, q->perm != NULL, q->n_keep, q->n_divided};
    ptq_sha256_add(hash, shape, sizeof shape);
    ptq_sha256_add(hash, q->code, (size_t)(q->n * q->k));
    ptq_sha256_add(hash, q->scale, groups * sizeof *q->scale);
    ptq_sha256_add(hash, q->zero, groups * sizeof *q->zero);
    if (q->perm) ptq_sha256_add(hash, q->perm, (size_t)q->k * sizeof *q->perm);
    ptq_sha256_add(hash, q->keep, (size_t)q->n_keep * sizeof *q->keep);
    ptq_sha256_add(hash, q->kept, (size_t)(q->n * q->n_keep) * sizeof *q->kept);
    ptq_sha256_add(hash, q->divided, (size_t)q->n_divided * sizeof *q->divided);
    ptq_sha256_add(hash, q->divisor, (size_t)q->n_divided * sizeof *q->divisor);
    ptq_sha256_end(hash, hex);
    hex[13] = 0;
    int64_t bits = strtoll(hex, NULL, 16);
    return bits ? bits : 1;
}

static enum ptq_status finish_linear(struct ptq_linear *linear, const struct ptq_qmat *q, const struct ptq_stats *stats,
                                     struct ptq_arena *scratch, struct ptq_linear_report *report, struct ptq_error *err)
{
    PTQ_TRY(check_codes(q, linear->name, err));
    report->groups = q->n * q->n_groups;
    report->code_digest = digest(q);
    struct ptq_mark mark = ptq_arena_mark(scratch);
    measure(linear, q, stats, scratch, report);
    ptq_arena_rewind(scratch, mark);
    return PTQ_OK;
}

static enum ptq_status apply_linear(const struct ptq_spec *spec, uint64_t seed, const struct ptq_stats *stats,
                                    struct ptq_linear *linear, struct ptq_arena *arena, struct ptq_arena *scratch,
                                    struct ptq_qmat *q, struct ptq_linear_report *report, struct ptq_error *err)
{
    *report = (struct ptq_linear_report){.name = linear->name};
    struct ptq_layer layer = {.name = linear->name,
                              .w = linear->w,
                              .n = linear->n,
                              .k = linear->k,
                              .stats = stats,
                              .seed = seed,
                              .report = report};
    ptq_qmat_make(arena, &spec->grid, linear->n, linear->k, q);
    if (spec->method->quantize(spec, &layer, arena, q, err)) return ptq_within(err, "%s", linear->name);
    return finish_linear(linear, q, stats, scratch, report, err);
}

enum ptq_status ptq_apply(const struct ptq_spec *spec, uint64_t seed, const struct ptq_stats *stats,
                          struct ptq_block *block, struct ptq_arena *arena, struct ptq_arena *scratch,
                          struct ptq_qmat *q, struct ptq_linear_report *report, int *n_reports, struct ptq_error *err)
{
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *linear = &block->linear[role];
        if (!linear->n) continue;
        PTQ_TRY(apply_linear(spec, seed, stats ? &stats[ptq_role_input[role]] : NULL, linear, arena, scratch, &q[role],
                             &report[(*n_reports)++], err));
    }
    return PTQ_OK;
}

enum ptq_status ptq_apply_codes(const struct ptq_stats *stats, const struct ptq_qmat *q,
                                const struct ptq_linear_report *report, struct ptq_block *block,
                                struct ptq_arena *scratch, struct ptq_linear_report *out, int *n_reports,
                                struct ptq_error *err)
{
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *linear = &block->linear[role];
        if (!linear->n) continue;
        struct ptq_linear_report *to = &out[(*n_reports)++];
        *to = report[role];
        to->name = linear->name;
        PTQ_TRY(finish_linear(linear, &q[role], stats ? &stats[ptq_role_input[role]] : NULL, scratch, to, err));
    }
    return PTQ_OK;
}

struct reapply_task {
    const struct ptq_qmat *q;
    float *w;
};

static void reapply_rows(void *context, int64_t i, int worker)
{
    struct reapply_task *t = context;
    int64_t first = i * ROWS_A_TASK, left = t->q->n - first;
    (void)worker;
    ptq_ops()->dequantize(t->w + first * t->q->k, t->q, first, left < ROWS_A_TASK ? left : ROWS_A_TASK);
}

void ptq_reapply(const struct ptq_qmat *q, struct ptq_block *block)
{
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        if (!block->linear[role].n) continue;
        struct reapply_task task = {&q[role], block->linear[role].w};
        ptq_parallel_for((q[role].n + ROWS_A_TASK - 1) / ROWS_A_TASK, reapply_rows, &task);
    }
}
