/* One row at a time. The m weights that are still free lie at places 0 .. m-1, in no order; column[p] is a place's
 * column. Of their H^-1 the lower triangle is kept, [place][place], rows K apart. A step at place p, column c of the
 * inverse c_i = [H^-1]_ip:
 *
 *   w_i  -= (w_p - q_p) / c_p * c_i          A_ij -= c_i c_j / c_p          the last place moves to p,  m -= 1
 *
 * K^3 / 6 multiplications a row. */
#include "obq_solve.h"

#include "grid.h"
#include "pool.h"
#include "progress.h"

#include <math.h>
#include <string.h>

enum { ROWS_A_ROUND = 64 }; /* between two looks at Ctrl-C */

/* Above half a step by more than float32's rounding. */
static const float outlier_steps = 0.5f + 1e-4f;

struct row {
    int64_t m;
    double *w, *a, *c; /* [K], [K][K], [K] */
    int32_t *column;   /* [K] */
    float *start;      /* [K] by column, dead ones 0 */
};

struct solve {
    const double *inverse;
    const uint8_t *dead;
    int outliers;
    const float *w;
    struct ptq_qmat *q;
    double *loss;
    int32_t *saturated;
    int64_t first;
    struct row *row; /* [threads] */
};

/* The weight at a place: its code, and how far it is from it, in steps. */
struct fit {
    float code, scale, back, steps;
};

static struct fit code_of(const struct ptq_qmat *q, int64_t n, int32_t column, double value)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size, at = n * q->n_groups + column / g;
    float w = (float)value, maxq = (float)((1 << q->grid.w_bit) - 1);
    struct fit f = {.code = rintf(w / q->scale[at]) + q->zero[at], .scale = q->scale[at]};
    f.code = !(f.code > 0) ? 0 : f.code > maxq ? maxq : f.code; /* not a number: 0 */
    f.back = f.scale * (f.code - q->zero[at]);
    f.steps = fabsf(w - f.back) / f.scale;
    return f;
}

/* The place that is coded next. Outliers go before all others; else by loss, equal ones by column. */
static int64_t choose(const struct solve *s, const struct row *r, int64_t n)
{
    int64_t k = s->q->k, best = 0;
    double best_loss = HUGE_VAL;
    int best_out = 0;
    for (int64_t p = 0; p < r->m; p++) {
        struct fit f = code_of(s->q, n, r->column[p], r->w[p]);
        double error = r->w[p] - f.back, loss = error * error / r->a[p * k + p];
        int out = s->outliers && f.steps > outlier_steps;
        int better = out != best_out     ? out > best_out
                     : loss != best_loss ? loss < best_loss
                                         : r->column[p] < r->column[best];
        if (!better) continue;
        best = p;
        best_loss = loss;
        best_out = out;
    }
    return best;
}

/* The last place takes place p's. */
static void move_last(struct row *r, int64_t p, int64_t k)
{
    int64_t last = r->m - 1;
    double *a = r->a;
    for (int64_t i = 0; i < p; i++) a[p * k + i] = a[last * k + i];
    for (int64_t i = p + 1; i < last; i++) a[i * k + p] = a[last * k + i];
    a[p * k + p] = a[last * k + last];
    r->w[p] = r->w[last];
    r->c[p] = r->c[last];
    r->column[p] = r->column[last];
    r->m = last;
}

/* Place p leaves with this error; what is still free makes it good. */
static void eliminate(struct row *r, int64_t p, double error, int64_t k)
{
    double pivot = r->a[p * k + p];
    for (int64_t i = 0; i < r->m; i++) r->c[i] = i < p ? r->a[p * k + i] : r->a[i * k + p];
    move_last(r, p, k);
    for (int64_t i = 0; i < r->m; i++) {
        double part = r->c[i] / pivot, *a = r->a + i * k;
        r->w[i] -= error * part;
        for (int64_t j = 0; j <= i; j++) a[j] -= part * r->c[j];
    }
}

/* Grids as gptq's static groups have them: of the original weights, dead ones 0, but for a whole row's. */
static void load(const struct solve *s, struct row *r, int64_t n)
{
    const struct ptq_qmat *q = s->q;
    int64_t k = q->k;
    memcpy(r->start, s->w + n * k, sizeof *r->start * (size_t)k);
    if (q->grid.group_size < 0) s->saturated[n] += (int32_t)ptq_grid_quantize_rows(s->q, r->start, n, 1);
    for (int64_t i = 0; i < k; i++) {
        if (s->dead[i]) r->start[i] = 0;
        r->w[i] = r->start[i];
        r->column[i] = (int32_t)i;
        memcpy(r->a + i * k, s->inverse + i * k, sizeof *r->a * (size_t)(i + 1));
    }
    if (q->grid.group_size > 0) s->saturated[n] += (int32_t)ptq_grid_quantize_rows(s->q, r->start, n, 1);
    r->m = k;
}

static void solve_row(void *context, int64_t i, int worker)
{
    const struct solve *s = context;
    struct row *r = &s->row[worker];
    int64_t n = s->first + i, k = s->q->k;
    double loss = 0;
    load(s, r, n);
    while (r->m) {
        int64_t p = choose(s, r, n);
        struct fit fit = code_of(s->q, n, r->column[p], r->w[p]);
        double error = r->w[p] - fit.back;
        s->q->code[n * k + r->column[p]] = (uint8_t)fit.code;
        loss += error * error / r->a[p * k + p];
        eliminate(r, p, error, k);
    }
    s->loss[n] += loss / 2;
}

static struct row *make_rows(struct ptq_arena *arena, int64_t k)
{
    struct row *row = ptq_new(arena, struct row, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++) {
        struct row *r = &row[i];
        r->w = ptq_new(arena, double, k);
        r->a = ptq_new(arena, double, k *k);
        r->c = ptq_new(arena, double, k);
        r->column = ptq_new(arena, int32_t, k);
        r->start = ptq_new(arena, float, k);
    }
    return row;
}

enum ptq_status ptq_obq_solve(const double *inverse, const uint8_t *dead, int outliers, const float *w,
                              struct ptq_arena *scratch, struct ptq_qmat *q, double *loss, int32_t *saturated,
                              struct ptq_error *err)
{
    struct ptq_mark mark = ptq_arena_mark(scratch);
    struct solve s = {.inverse = inverse, .dead = dead, .outliers = outliers, .w = w, .q = q};
    s.loss = loss;
    s.saturated = saturated;
    s.row = make_rows(scratch, q->k);
    for (s.first = 0; s.first < q->n; s.first += ROWS_A_ROUND) {
        PTQ_TRY(ptq_interrupted(err));
        ptq_parallel_for(q->n - s.first < ROWS_A_ROUND ? q->n - s.first : ROWS_A_ROUND, solve_row, &s);
    }
    ptq_arena_rewind(scratch, mark);
    return PTQ_OK;
}
