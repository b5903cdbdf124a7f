/* By halves: with n1 of n rows done, the others follow in tiles of rows that are shared out among the threads.
 *
 *   L11 = chol(A11)      L21 = A21 L11^-T      A22 -= L21 L21^T      L22 = chol(A22)
 *
 * Nearly all the work is the products of the first few halves: large tiles with long sums, which BLAS packs seldom. The
 * leaves, LEAF rows each, are inverted once, so that L21 is made of products, too: OpenBLAS's TRSM has half their rate.
 */
#include "cholesky.h"

#include "pool.h"

#include <assert.h>
#include <cblas.h>
#include <lapacke.h>
#include <string.h>

enum { LEAF = 128, LEAST_TILE = 64, MOST_TILE = 512, TILES = 4 };

/* The lower right part of one halving. */
struct corner {
    const double *l11, *inverse; /* of its leaves, [n1 / LEAF][LEAF][LEAF] */
    double *l21, *a22;
    int64_t ld, n1, n2;
    int64_t tile, tiles; /* rows in a tile, tiles in n2 */
};

static int64_t rows_of(const struct corner *c, int64_t tile)
{
    int64_t left = c->n2 - tile * c->tile;
    return left < c->tile ? left : c->tile;
}

/* L21's columns leaf by leaf, left to right: X_j = (A_j - X_<j L_j,<j^T) L_jj^-T */
static void solve_rows(void *context, int64_t i, int worker)
{
    const struct corner *c = context;
    int rows = (int)rows_of(c, i), ld = (int)c->ld;
    double *x = c->l21 + i * c->tile * c->ld;
    (void)worker;
    for (int64_t j = 0; j < c->n1; j += LEAF) {
        if (j)
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, LEAF, (int)j, -1, x, ld, c->l11 + j * c->ld, ld,
                        1, x + j, ld);
        cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, rows, LEAF, 1,
                    c->inverse + j * LEAF, LEAF, x + j, ld);
    }
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

/* Row-major lower is LAPACK's upper: nothing is transposed. */
static int64_t factor_leaf(double *a, int64_t ld, int64_t n, double *inverse)
{
    int64_t bad = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', (lapack_int)n, a, (lapack_int)ld);
    if (bad) return bad < 0 ? 1 : bad; /* below 0: LAPACKE found a NaN */
    for (int64_t i = 0; i < n; i++) memcpy(inverse + i * LEAF, a + i * ld, sizeof *a * (size_t)(i + 1));
    bad = LAPACKE_dtrtri(LAPACK_COL_MAJOR, 'U', 'N', (lapack_int)n, inverse, LEAF);
    assert(bad == 0); /* the diagonal of a Cholesky factor holds no 0 */
    return 0;
}

static int64_t factor(double *a, int64_t ld, int64_t n, double *inverse)
{
    if (n <= LEAF) return factor_leaf(a, ld, n, inverse);
    struct corner c = {.l11 = a, .inverse = inverse, .ld = ld, .n1 = (n / 2 + LEAF - 1) / LEAF * LEAF};
    c.n2 = n - c.n1;
    c.l21 = a + c.n1 * ld;
    c.a22 = c.l21 + c.n1;
    c.tile = (c.n2 / TILES + LEAST_TILE - 1) / LEAST_TILE * LEAST_TILE;
    c.tile = c.tile < LEAST_TILE ? LEAST_TILE : c.tile > MOST_TILE ? MOST_TILE : c.tile;
    c.tiles = (c.n2 + c.tile - 1) / c.tile;
    int64_t bad = factor(a, ld, c.n1, inverse);
    if (bad) return bad;
    ptq_parallel_for(c.tiles, solve_rows, &c);
    ptq_parallel_for(c.tiles * (c.tiles + 1) / 2, update_tile, &c);
    bad = factor(c.a22, ld, c.n2, inverse + c.n1 * LEAF);
    return bad ? bad + c.n1 : 0;
}

int64_t ptq_cholesky(double *a, int64_t k, struct ptq_arena *scratch)
{
    struct ptq_mark mark = ptq_arena_mark(scratch);
    int64_t bad = factor(a, k, k, ptq_new(scratch, double, (k + LEAF - 1) / LEAF * LEAF * LEAF));
    ptq_arena_rewind(scratch, mark);
    return bad;
}
