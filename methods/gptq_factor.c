/* H + damp = R R^T, R upper, by a Cholesky factor of the reversed matrix. With J the exchange (J A J turns A round in
 * both directions):
 *
 *   J H J = L L^T                lower
 *   H     = (J L J) (J L J)^T    R = J L J
 *   H^-1  = U^T U,  U = R^-1     what the published code makes by chol, inverse and chol again
 *
 * The column loop needs no U but that of its diagonal blocks (gptq_solve.c), so one POTRF, 1/3 K^3, takes the place of
 * 4/3 K^3, with less lost to rounding. OBQ wants H^-1 itself: one POTRF and one POTRI. Everything here is float64; R is
 * rounded to float32 once, since the column loop is float32. Source of the conventions: IST-DASLab/gptq gptq.py
 * fasterquant; of R in place of U: arXiv:2507.18553. */
#include "gptq_factor.h"

#include "cholesky.h"
#include "pool.h"

#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_A_TASK = 64 };

struct channel {
    double diagonal;
    int32_t index;
};

static int by_diagonal(const void *a, const void *b)
{
    const struct channel *x = a, *y = b;
    if (x->diagonal != y->diagonal) return x->diagonal < y->diagonal ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

enum ptq_status ptq_gptq_diagonal(const float *h, int64_t stride, int64_t k, double *diagonal, uint8_t *dead,
                                  double *mean, struct ptq_error *err)
{
    double sum = 0;
    for (int64_t i = 0; i < k; i++) {
        float value = h[i * stride];
        if (!isfinite(value))
            return ptq_fail(err, PTQ_ENUMERIC,
                            "input channel %lld: the activations of the calibration text are not finite or too large",
                            (long long)i);
        dead[i] = value == 0;
        diagonal[i] = dead[i] ? 1 : value;
        sum += diagonal[i];
    }
    *mean = sum / (double)k;
    return PTQ_OK;
}

void ptq_gptq_order(const double *diagonal, int64_t k, struct ptq_arena *scratch, int32_t *perm)
{
    struct channel *channel = ptq_new(scratch, struct channel, k);
    for (int64_t i = 0; i < k; i++) channel[i] = (struct channel){diagonal[i], (int32_t)i};
    qsort(channel, (size_t)k, sizeof *channel, by_diagonal);
    for (int64_t i = 0; i < k; i++) perm[i] = channel[i].index;
}

struct reverse_task {
    const float *h;
    const double *diagonal;
    const struct ptq_gptq_factor *f;
    double damp, *a;
    double *inverse; /* [K][K] by place, or NULL: R is wanted */
    struct ptq_arena *scratch;
};

/* Row i of a is place K - 1 - i; columns up to the diagonal. */
static void reverse_rows(void *context, int64_t task, int worker)
{
    const struct reverse_task *t = context;
    int64_t k = t->f->k, end = (task + 1) * ROWS_A_TASK < k ? (task + 1) * ROWS_A_TASK : k;
    const int32_t *perm = t->f->perm;
    (void)worker;
    for (int64_t i = task * ROWS_A_TASK; i < end; i++) {
        int64_t row = perm ? perm[k - 1 - i] : k - 1 - i;
        for (int64_t j = 0; j < i; j++) {
            int64_t column = perm ? perm[k - 1 - j] : k - 1 - j;
            t->a[i * k + j] = row < column ? t->h[row * k + column] : t->h[column * k + row];
        }
        t->a[i * k + i] = t->diagonal[row] + t->damp;
    }
}

/* R[p][q] = L[K - 1 - p][K - 1 - q] for q >= p. R may lie where h was. */
static void turn_back(void *context, int64_t task, int worker)
{
    const struct reverse_task *t = context;
    int64_t k = t->f->k, end = (task + 1) * ROWS_A_TASK < k ? (task + 1) * ROWS_A_TASK : k;
    (void)worker;
    for (int64_t p = task * ROWS_A_TASK; p < end; p++) {
        const double *row = t->a + (k - 1 - p) * k + k - 1;
        memset(t->f->r + p * k, 0, sizeof *t->f->r * (size_t)p);
        for (int64_t q = p; q < k; q++) t->f->r[p * k + q] = (float)row[-q];
        for (int64_t q = p; q < k && q < p + PTQ_GPTQ_BLOCK; q++) t->f->band[p * PTQ_GPTQ_BLOCK + q - p] = row[-q];
    }
}

/* (J H J)^-1 = J H^-1 J: both triangles of the inverse. */
static void turn_inverse(void *context, int64_t task, int worker)
{
    const struct reverse_task *t = context;
    int64_t k = t->f->k, end = (task + 1) * ROWS_A_TASK < k ? (task + 1) * ROWS_A_TASK : k;
    (void)worker;
    for (int64_t p = task * ROWS_A_TASK; p < end; p++)
        for (int64_t q = 0; q < k; q++) {
            int64_t row = k - 1 - (p < q ? p : q), column = k - 1 - (p < q ? q : p);
            t->inverse[p * k + q] = t->a[row * k + column];
        }
}

/* One attempt. Returns 0, or 1 + the bad pivot's row in a. Row-major lower is LAPACK's upper: nothing is transposed. */
static int64_t factor_once(void *context, double damp)
{
    struct reverse_task *t = context;
    t->damp = damp;
    int64_t k = t->f->k, tasks = (k + ROWS_A_TASK - 1) / ROWS_A_TASK;
    ptq_parallel_for(tasks, reverse_rows, t);
    int64_t bad = ptq_cholesky(t->a, k, t->scratch);
    if (bad) return bad;
    if (t->inverse) bad = LAPACKE_dpotri(LAPACK_COL_MAJOR, 'U', (lapack_int)k, t->a, (lapack_int)k);
    if (!bad) ptq_parallel_for(tasks, t->inverse ? turn_inverse : turn_back, t);
    return bad < 0 ? 1 : bad;
}

enum ptq_status ptq_gptq_climb(int64_t (*attempt)(void *context, double damp), void *context, double mean,
                               double percdamp, struct ptq_gptq_factor *out, struct ptq_error *err)
{
    int64_t bad = 0;
    out->percdamp = percdamp;
    for (int raise = 0; raise <= PTQ_GPTQ_RAISES; raise++) {
        if (raise) out->percdamp = out->percdamp > 0 ? out->percdamp * 10 : 1e-4;
        bad = attempt(context, out->percdamp * mean);
        if (!bad) return PTQ_OK;
    }
    int64_t place = out->k - bad;
    return ptq_fail(err, PTQ_ENUMERIC,
                    "the Hessian is not positive definite at input channel %lld, even with percdamp %g (%d times "
                    "raised tenfold from %g); take more calibration text or a larger percdamp",
                    (long long)(out->perm ? out->perm[place] : place), out->percdamp, PTQ_GPTQ_RAISES, percdamp);
}

/* out->r and band or, where given, inverse; dead, perm and percdamp. */
static enum ptq_status prepare(struct ptq_arena *arena, struct ptq_arena *scratch, const float *h, double percdamp,
                               int act_order, double *inverse, struct ptq_gptq_factor *out, struct ptq_error *err)
{
    double mean = 0;
    int64_t k = out->k;
    out->dead = ptq_new(arena, uint8_t, k);
    if (act_order) out->perm = ptq_new(arena, int32_t, k);
    struct ptq_mark mark = ptq_arena_mark(scratch);
    struct reverse_task task = {.h = h, .f = out, .inverse = inverse, .scratch = scratch};
    double *diagonal = ptq_new(scratch, double, k);
    task.diagonal = diagonal;
    PTQ_TRY(ptq_gptq_diagonal(h, k + 1, k, diagonal, out->dead, &mean, err));
    if (act_order) ptq_gptq_order(diagonal, k, scratch, out->perm);
    task.a = ptq_new(scratch, double, k *k);
    PTQ_TRY(ptq_gptq_climb(factor_once, &task, mean, percdamp, out, err));
    ptq_arena_rewind(scratch, mark);
    return PTQ_OK;
}

enum ptq_status ptq_gptq_factorize(struct ptq_arena *arena, struct ptq_arena *scratch, const float *h, int64_t k,
                                   double percdamp, int act_order, struct ptq_gptq_factor *out, struct ptq_error *err)
{
    *out = (struct ptq_gptq_factor){.k = k, .r = ptq_new(arena, float, k *k)};
    out->band = ptq_new(arena, double, k *PTQ_GPTQ_BLOCK);
    return prepare(arena, scratch, h, percdamp, act_order, NULL, out, err);
}

enum ptq_status ptq_gptq_factorize_over(struct ptq_arena *arena, struct ptq_arena *scratch, float *h, int64_t k,
                                        double percdamp, int act_order, struct ptq_gptq_factor *out,
                                        struct ptq_error *err)
{
    *out = (struct ptq_gptq_factor){.k = k, .r = h};
    out->band = ptq_new(arena, double, k *PTQ_GPTQ_BLOCK);
    return prepare(arena, scratch, h, percdamp, act_order, NULL, out, err);
}

enum ptq_status ptq_gptq_invert(struct ptq_arena *arena, struct ptq_arena *scratch, const float *h, int64_t k,
                                double percdamp, double **inverse, struct ptq_gptq_factor *out, struct ptq_error *err)
{
    *out = (struct ptq_gptq_factor){.k = k};
    *inverse = ptq_new(arena, double, k *k);
    return prepare(arena, scratch, h, percdamp, 0, *inverse, out, err);
}
