#include "grid.h"

#include "dtype.h"
#include "ops.h"
#include "pool.h"

#include <math.h>
#include <stdatomic.h>

enum { ROWS_A_TASK = 32 };

/* One step of scale arithmetic: in float32, or rounded to FP16 as it is where llm-awq runs in FP16. */
static float step(const struct ptq_grid *grid, float value)
{
    return grid->scale_f16 ? ptq_f16_round(value) : value;
}

static float clamp(float x, float lo, float hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

void ptq_grid_ends(const struct ptq_grid *grid, float lo, float hi, float *scale, float *zero)
{
    float low = lo, high = hi, maxq = (float)((1 << grid->w_bit) - 1);
    if (grid->sym) {
        high = fmaxf(fabsf(lo), fabsf(hi));
        low = -high;
    }
    if (grid->range == PTQ_RANGE_GPTQ) {
        low = fminf(low, 0);
        high = fmaxf(high, 0);
        if (low == 0 && high == 0) low = -1, high = 1;
        *scale = step(grid, step(grid, high - low) / maxq);
    } else {
        *scale = step(grid, fmaxf(step(grid, high - low), 1e-5f) / maxq);
    }
    if (*scale == 0) *scale = 0x1p-24f; /* FP16 arithmetic underflowed: its smallest step */
    float start = rintf(step(grid, low / *scale));
    *zero = grid->sym ? (maxq + 1) / 2 : grid->range == PTQ_RANGE_AWQ ? clamp(-start, 0, maxq) : -start;
}

int ptq_grid_fit(const struct ptq_grid *grid, const float *w, int64_t n, float *scale, float *zero)
{
    float lo, hi, maxq = (float)((1 << grid->w_bit) - 1);
    ptq_ops()->minmax(w, n, &lo, &hi);
    ptq_grid_ends(grid, lo, hi, scale, zero);
    return lo / *scale + *zero < -0.5f || hi / *scale + *zero > maxq + 0.5f;
}

void ptq_qmat_make(struct ptq_arena *arena, const struct ptq_grid *grid, int64_t n, int64_t k, struct ptq_qmat *out)
{
    *out = (struct ptq_qmat){.n = n, .k = k, .n_groups = ptq_n_groups(k, grid->group_size), .grid = *grid};
    out->code = ptq_new(arena, uint8_t, n * k);
    out->scale = ptq_new(arena, float, n * out->n_groups);
    out->zero = ptq_new(arena, float, n * out->n_groups);
}

struct quantize_task {
    struct ptq_qmat *q;
    const float *w;
    atomic_int_fast64_t saturated;
};

/* FP16 arithmetic rounds the quotient before rint, so its codes are formed here and not by the kernel. */
static void code_f16(uint8_t *code, const float *w, int64_t n, float scale, float zero, int maxq)
{
    for (int64_t i = 0; i < n; i++) code[i] = (uint8_t)clamp(rintf(ptq_f16_round(w[i] / scale)) + zero, 0, (float)maxq);
}

int64_t ptq_grid_quantize_rows(struct ptq_qmat *q, const float *w, int64_t first, int64_t rows)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size, saturated = 0;
    int maxq = (1 << q->grid.w_bit) - 1;
    for (int64_t n = first; n < first + rows; n++)
        for (int64_t k = 0, at = n * q->n_groups; k < q->k; k += g, at++) {
            int64_t columns = q->k - k < g ? q->k - k : g;
            const float *group = w + (n - first) * q->k + k;
            saturated += ptq_grid_fit(&q->grid, group, columns, &q->scale[at], &q->zero[at]);
            (q->grid.scale_f16 ? code_f16 : ptq_ops()->code)(q->code + n * q->k + k, group, columns, q->scale[at],
                                                             q->zero[at], maxq);
        }
    return saturated;
}

static void quantize_rows(void *context, int64_t i, int worker)
{
    struct quantize_task *t = context;
    int64_t first = i * ROWS_A_TASK, left = t->q->n - first;
    (void)worker;
    atomic_fetch_add(&t->saturated, ptq_grid_quantize_rows(t->q, t->w + first * t->q->k, first,
                                                           left < ROWS_A_TASK ? left : ROWS_A_TASK));
}

int64_t ptq_grid_quantize(struct ptq_qmat *q, const float *w)
{
    struct quantize_task task = {.q = q, .w = w};
    ptq_parallel_for((q->n + ROWS_A_TASK - 1) / ROWS_A_TASK, quantize_rows, &task);
    return atomic_load(&task.saturated);
}

/* Bits of one of q's zeros. A container stores them all in one way, so one that is no code makes each a number. */
static double zero_bits(const struct ptq_qmat *q)
{
    int maxq = (1 << q->grid.w_bit) - 1;
    for (int64_t i = 0; i < q->n * q->n_groups; i++)
        if (!(q->zero[i] >= 0 && q->zero[i] <= (float)maxq && q->zero[i] == rintf(q->zero[i]))) return 16;
    return q->grid.sym ? 0 : q->grid.w_bit;
}

double ptq_qmat_bits(const struct ptq_qmat *q)
{
    double zero = zero_bits(q), n = (double)q->n, k = (double)q->k, keep = (double)q->n_keep;
    double bits = n * (k - keep) * q->grid.w_bit + n * (double)q->n_groups * (16 + zero) + keep * (16 * n + 32);
    return (bits + (q->perm ? 32 * k : 0) + 64 * (double)q->n_divided) / (n * k);
}
