/* By halves: with n1 of n rows done, the others follow in tiles of rows that are shared out among the threads.
 *
 *   L11 = chol(A11)      L21 = A21 L11^-T      A22 -= L21 L21^T      L22 = chol(A22)
 *
 * Nearly all the work is the products of the first few halves: large tiles with long sums, which BLAS packs seldom. */
#include "cholesky.h"

#include "pool.h"

#include <cblas.h>
#include <lapacke.h>

enum { LEAF = 128, LEAST_TILE = 64, MOST_TILE = 512, TILES = 4 };

/* The lower right part of one halving. */
struct corner {
    const double *l11;
    double *l21, *a22;
    int64_t ld, n1, n2;
    int64_t tile, tiles; /* rows in a tile, tiles in n2 */
};

static int64_t rows_of(const struct corner *c, int64_t tile)
{
    int64_t left = c->n2 - tile * c->tile;
    return left < c->tile ? left : c->tile;
}

static void solve_rows(void *context, int64_t i, int worker)
{
    const struct corner *c = context;
    (void)worker;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)rows_of(c, i), (int)c->n1, 1,
                c->l11, (int)c->ld, c->l21 + i * c->tile * c->ld, (int)c->ld);
}

static void update_diagonal(const struct corner *c, int64_t i)
{
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)rows_of(c, i), (int)c->n1, -1,
                c->l21 + i * c->tile * c->ld, (int)c->ld, 1, c->a22 + i * c->tile * (c->ld + 1), (int)c->ld);
}

/* The tiles below the diagonal, row by row, and then those on it, which are half the work: no thread waits long. */
static void update_tile(void *context, int64_t index, int worker)
{
    const struct corner *c = context;
    int64_t below = c->tiles * (c->tiles - 1) / 2, i = 1, j = index;
    (void)worker;
    if (index >= below) {
        update_diagonal(c, index - below);
        return;
    }
    for (; j >= i; i++) j -= i;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows_of(c, i), (int)c->tile, (int)c->n1, -1,
                c->l21 + i * c->tile * c->ld, (int)c->ld, c->l21 + j * c->tile * c->ld, (int)c->ld, 1,
                c->a22 + i * c->tile * c->ld + j * c->tile, (int)c->ld);
}

static int64_t factor(double *a, int64_t ld, int64_t n)
{
    if (n <= LEAF) {
        /* Row-major lower is LAPACK's upper: nothing is transposed. */
        int64_t bad = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', (lapack_int)n, a, (lapack_int)ld);
        return bad < 0 ? 1 : bad; /* below 0: LAPACKE found a NaN */
    }
    struct corner c = {.l11 = a, .ld = ld, .n1 = (n / 2 + LEAF - 1) / LEAF * LEAF};
    c.n2 = n - c.n1;
    c.l21 = a + c.n1 * ld;
    c.a22 = c.l21 + c.n1;
    c.tile = (c.n2 / TILES + LEAST_TILE - 1) / LEAST_TILE * LEAST_TILE;
    c.tile = c.tile < LEAST_TILE ? LEAST_TILE : c.tile > MOST_TILE ? MOST_TILE : c.tile;
    c.tiles = (c.n2 + c.tile - 1) / c.tile;
    int64_t bad = factor(a, ld, c.n1);
    if (bad) return bad;
    ptq_parallel_for(c.tiles, solve_rows, &c);
    ptq_parallel_for(c.tiles * (c.tiles + 1) / 2, update_tile, &c);
    bad = factor(c.a22, ld, c.n2);
    return bad ? bad + c.n1 : 0;
}

int64_t ptq_cholesky(double *a, int64_t k)
{
    return factor(a, k, k);
}
