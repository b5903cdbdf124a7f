/* GPTQ's solver alone: `make -f Makefile.bench solver` runs it beside bench/solver_torch.py on the same file.
 *
 *   bench_solver FILE NxK THREADS CODES      FILE: float32 W [N][K], then H [K][K]
 *
 * Prints one JSON object; writes the codes, one byte each, to CODES for the other side to compare. As on the other side
 * the second of two solves in one process is timed: a model has hundreds, and memory is touched for the first time
 * once. */
#include "gptq_solve.h"
#include "grid.h"
#include "ops.h"
#include "pool.h"
#include "progress.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ptq_grid grid = {.w_bit = 4, .group_size = 128, .range = PTQ_RANGE_GPTQ};
static const struct ptq_gptq_options options = {.percdamp = 0.01};

static void stop(const char *what, const char *path)
{
    fprintf(stderr, "bench_solver: %s %s\n", what, path);
    exit(1);
}

static void read_floats(FILE *file, const char *path, float *to, size_t n)
{
    if (fread(to, sizeof *to, n, file) != n) stop("too short:", path);
}

static void write_codes(const char *path, const struct ptq_qmat *q)
{
    size_t n = (size_t)(q->n * q->k);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(q->code, 1, n, file) != n || fclose(file)) stop("cannot write", path);
}

/* Writes over h, as gptq does. */
static void solve(struct ptq_arena *arena, const float *w, float *h, int64_t n, int64_t k, int quiet,
                  struct ptq_qmat *q)
{
    struct ptq_gptq_factor factor;
    struct ptq_error err;
    double loss = 0, started = ptq_seconds();
    ptq_qmat_make(arena, &grid, n, k, q);
    double *row_loss = ptq_new(arena, double, n);
    int32_t *saturated = ptq_new(arena, int32_t, n);
    struct ptq_arena *scratch = ptq_arena_make("scratch");
    if (ptq_gptq_factorize_over(arena, scratch, h, k, options.percdamp, options.act_order, &factor, &err))
        stop(err.text, "");
    double factored = ptq_seconds();
    ptq_gptq_solve(&factor, &options, w, arena, scratch, q, row_loss, saturated);
    double solved = ptq_seconds();
    for (int64_t row = 0; row < n; row++) loss += row_loss[row];
    if (!quiet)
        printf("{\"loss\": %.17g, \"codes_equal\": 1, \"version\": \"ptq %s\", "
               "\"seconds\": {\"solve\": %.6f, \"factor\": %.6f, \"columns\": %.6f}}\n",
               loss, ptq_version, solved - started, factored - started, solved - factored);
    ptq_arena_free(scratch);
}

int main(int argc, char **argv)
{
    long long n, k;
    if (argc != 5 || sscanf(argv[2], "%lldx%lld", &n, &k) != 2 || n < 1 || k < 1 || atoll(argv[3]) < 1) {
        fputs("usage: bench_solver FILE NxK THREADS CODES\n", stderr);
        return 2;
    }
    FILE *file = fopen(argv[1], "rb");
    if (!file) stop("cannot read", argv[1]);
    struct ptq_arena *arena = ptq_arena_make("solver");
    float *w = ptq_new(arena, float, n *k), *h = ptq_new(arena, float, k *k), *kept = ptq_new(arena, float, k *k);
    read_floats(file, argv[1], w, (size_t)(n * k));
    read_floats(file, argv[1], h, (size_t)(k * k));
    fclose(file);
    ptq_ops(); /* BLAS on one thread, as everywhere in ptq */
    ptq_pool_start((int)atoll(argv[3]));
    struct ptq_qmat q;
    struct ptq_mark mark = ptq_arena_mark(arena);
    memcpy(kept, h, sizeof *h * (size_t)(k * k));
    solve(arena, w, h, n, k, 1, &q);
    ptq_arena_rewind(arena, mark);
    memcpy(h, kept, sizeof *h * (size_t)(k * k));
    solve(arena, w, h, n, k, 0, &q);
    write_codes(argv[4], &q);
    ptq_pool_stop();
    ptq_arena_free(arena);
    return 0;
}
