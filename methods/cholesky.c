/* Panels of PANEL columns, one after the other; within a panel tiles of TILE rows, shared out among the threads.
 *
 *   factor, left to right    A_ip -= L_i,<p L_p,<p^T    L_pp = chol(A_pp)    L_ip = A_ip L_pp^-T
 *   inverse, right to left   X_ip = -(X_i,>p L_>p,p) L_pp^-1                 X_pp = L_pp^-1
 *
 * Each entry is written once a panel, and nearly all the work is products of long rows. The equations are those of
 * LAPACK's potrf and trtri. */
#include "cholesky.h"

#include "pool.h"

#include <assert.h>
#include <cblas.h>
#include <lapacke.h>
#include <string.h>

enum { PANEL = 128, TILE = 128 };

/* One panel: columns [p, p + n). */
struct panel {
    double *a;
    int64_t k, p, n;
    double *copy; /* inverse: L's rows below the panel, [K - p - n][n] */
    int64_t tiles;
};

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows from the panel's own down: A_ip -= L_i,<p L_p,<p^T. */
static void subtract_rows(void *context, int64_t i, int worker)
{
    const struct panel *t = context;
    int64_t k = t->k, row = t->p + i * TILE;
    (void)worker;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)min64(TILE, k - row), (int)t->n, (int)t->p, -1,
                t->a + row * k, (int)k, t->a + t->p * k, (int)k, 1, t->a + row * k + t->p, (int)k);
}

/* Rows below the panel's own: L_ip = A_ip L_pp^-T. */
static void solve_rows(void *context, int64_t i, int worker)
{
    const struct panel *t = context;
    int64_t k = t->k, row = t->p + t->n + i * TILE;
    (void)worker;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)min64(TILE, k - row), (int)t->n,
                1, t->a + t->p * k + t->p, (int)k, t->a + row * k + t->p, (int)k);
}

static int64_t tiles_of(int64_t rows)
{
    return (rows + TILE - 1) / TILE;
}

int64_t ptq_cholesky(double *a, int64_t k)
{
    for (int64_t p = 0; p < k; p += PANEL) {
        struct panel t = {.a = a, .k = k, .p = p, .n = min64(PANEL, k - p)};
        if (p) ptq_parallel_for(tiles_of(k - p), subtract_rows, &t);
        /* Row-major lower is LAPACK's upper: nothing is transposed. */
        int64_t bad = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', (lapack_int)t.n, a + p * k + p, (lapack_int)k);
        if (bad) return bad < 0 ? 1 + p : bad + p; /* below 0: LAPACKE found a NaN */
        for (int64_t row = p; row + 1 < p + t.n; row++)
            memset(a + row * k + row + 1, 0, sizeof *a * (size_t)(p + t.n - row - 1));
        ptq_parallel_for(tiles_of(k - p - t.n), solve_rows, &t);
    }
    return 0;
}

/* Rows below the panel's own; the last ones have the longest products and are started first. */
static void invert_rows(void *context, int64_t i, int worker)
{
    const struct panel *t = context;
    int64_t k = t->k, below = t->p + t->n, row = below + (t->tiles - 1 - i) * TILE, rows = min64(TILE, k - row);
    double *out = t->a + row * k + t->p;
    (void)worker;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)t->n, (int)(row + rows - below), -1,
                t->a + row * k + below, (int)k, t->copy, (int)t->n, 0, out, (int)k);
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)rows, (int)t->n, 1,
                t->a + t->p * k + t->p, (int)k, out, (int)k);
}

void ptq_lower_inverse(double *a, int64_t k, struct ptq_arena *scratch)
{
    struct ptq_mark mark = ptq_arena_mark(scratch);
    double *copy = ptq_new(scratch, double, k *PANEL);
    for (int64_t p = (k - 1) / PANEL * PANEL; p >= 0; p -= PANEL) {
        struct panel t = {.a = a, .k = k, .p = p, .n = min64(PANEL, k - p), .copy = copy};
        int64_t below = p + t.n;
        for (int64_t row = below; row < k; row++)
            memcpy(copy + (row - below) * t.n, a + row * k + p, sizeof *copy * (size_t)t.n);
        t.tiles = tiles_of(k - below);
        ptq_parallel_for(t.tiles, invert_rows, &t);
        int64_t bad = LAPACKE_dtrtri(LAPACK_COL_MAJOR, 'U', 'N', (lapack_int)t.n, a + p * k + p, (lapack_int)k);
        assert(bad == 0); /* the diagonal of a Cholesky factor holds no 0 */
        (void)bad;
    }
    ptq_arena_rewind(scratch, mark);
}
