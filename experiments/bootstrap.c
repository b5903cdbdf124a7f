#include "bootstrap.h"

#include "arena.h"
#include "pool.h"
#include "progress.h"
#include "quantile.h"
#include "rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct ptq_bootstrap ptq_bootstrap_default = {.block = 256, .replicates = 10000, .seed = 0, .level = 0.95};

/* Cells are resampled a few at a time, so that a unit's sums are one short row: how many tokens it has, the reference's
 * nll, and those of up to BATCH - 2 cells. Each batch draws the same units, since it starts the same streams again. */
enum { BATCH = 12, COUNT = 0, REFERENCE = 1, FIRST = 2, CHUNK = PTQ_BOOTSTRAP_CHUNK };

struct batch {
    const struct ptq_bootstrap *how;
    int64_t n_units;
    double (*unit)[BATCH]; /* [n_units] */
    double (*mean)[BATCH]; /* [replicates] mean nll of each column but COUNT */
};

/* ---- units ---- */

int64_t ptq_bootstrap_unit_tokens(const struct ptq_bootstrap *how, const struct ptq_cell *cell)
{
    int64_t scored = cell->windows > 0 ? cell->tokens / cell->windows : 0;
    return scored > 0 && scored < how->block ? scored : how->block;
}

static int64_t units_in_window(int64_t scored, int64_t block)
{
    return (scored + block - 1) / block;
}

int64_t ptq_bootstrap_units(const struct ptq_bootstrap *how, const struct ptq_cell *cell)
{
    return cell->windows ? cell->windows * units_in_window(cell->tokens / cell->windows, how->block) : 0;
}

/* Sums of a cell's nll into column of every unit. */
static void sum_units(const struct ptq_cell *cell, int64_t block, int column, double (*unit)[BATCH])
{
    int64_t scored = cell->tokens / cell->windows, per_window = units_in_window(scored, block);
    for (int64_t w = 0; w < cell->windows; w++)
        for (int64_t u = 0; u < per_window; u++) {
            int64_t end = (u + 1) * block < scored ? (u + 1) * block : scored;
            double sum = 0;
            for (int64_t t = u * block; t < end; t++) sum += cell->nll[w * scored + t];
            unit[w * per_window + u][column] = sum;
            unit[w * per_window + u][COUNT] = (double)(end - u * block);
        }
}

/* ---- replicates ---- */

struct ptq_rng ptq_bootstrap_stream(uint64_t seed, int64_t chunk)
{
    char name[64];
    snprintf(name, sizeof name, "bootstrap %lld", (long long)chunk);
    return ptq_rng_make(seed, name);
}

/* Both halves of a random word become units by multiplication, whose bias of n_units / 2^32 is nothing beside the noise
 * of any number of replicates. */
int64_t ptq_bootstrap_unit(struct ptq_rng *rng, uint64_t *word, int64_t i, int64_t n_units)
{
    *word = i % 2 ? *word >> 32 : ptq_rng_next(rng);
    return (int64_t)((*word & 0xffffffff) * (uint64_t)n_units >> 32);
}

static void draw_replicate(const struct batch *batch, struct ptq_rng *rng, double mean[BATCH])
{
    double sum[BATCH] = {0};
    uint64_t word = 0;
    for (int64_t i = 0; i < batch->n_units; i++) {
        const double *unit = batch->unit[ptq_bootstrap_unit(rng, &word, i, batch->n_units)];
        for (int c = 0; c < BATCH; c++) sum[c] += unit[c];
    }
    for (int c = 0; c < BATCH; c++) mean[c] = sum[c] / sum[COUNT];
}

/* A stream of random numbers for each CHUNK of replicates, whichever thread has it. */
static void draw_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const struct batch *batch = context;
    struct ptq_rng rng = ptq_bootstrap_stream(batch->how->seed, chunk);
    for (int64_t b = chunk * CHUNK; b < (chunk + 1) * CHUNK && b < batch->how->replicates; b++)
        draw_replicate(batch, &rng, batch->mean[b]);
}

/* ---- intervals ---- */

/* Sorts value. */
static struct ptq_interval interval_of(double *value, const struct ptq_bootstrap *how)
{
    ptq_sort(value, how->replicates);
    return (struct ptq_interval){ptq_quantile(value, how->replicates, (1 - how->level) / 2),
                                 ptq_quantile(value, how->replicates, (1 + how->level) / 2)};
}

double ptq_bootstrap_deviation(const double *value, int64_t n)
{
    double mean = 0, squares = 0;
    for (int64_t b = 0; b < n; b++) mean += value[b] / (double)n;
    for (int64_t b = 0; b < n; b++) squares += (value[b] - mean) * (value[b] - mean);
    return sqrt(squares / (double)(n - 1));
}

/* bootstrap.h says what p is. */
static double two_sided(const double *difference, int64_t n)
{
    int64_t below = 0, above = 0;
    for (int64_t b = 0; b < n; b++) below += !(difference[b] > 0), above += !(difference[b] < 0);
    double p = 2 * (double)((below < above ? below : above) + 1) / (double)(n + 1);
    return p < 1 ? p : 1;
}

static void find_intervals(const struct batch *batch, int column, int with_difference, double *scratch,
                           struct ptq_estimate *out)
{
    int64_t n = batch->how->replicates;
    for (int64_t b = 0; b < n; b++) scratch[b] = exp(batch->mean[b][column]);
    out->units = batch->n_units;
    out->error = ptq_bootstrap_deviation(scratch, n);
    out->interval = interval_of(scratch, batch->how);
    if (!with_difference) return;
    for (int64_t b = 0; b < n; b++) scratch[b] = exp(batch->mean[b][column]) - exp(batch->mean[b][REFERENCE]);
    out->difference_error = ptq_bootstrap_deviation(scratch, n);
    out->p = two_sided(scratch, n);
    out->difference_interval = interval_of(scratch, batch->how);
}

/* ---- all cells ---- */

static enum ptq_status check(const struct ptq_cell *const *cells, int n, const struct ptq_bootstrap *how,
                             struct ptq_error *err)
{
    if (how->block < 1 || how->replicates < 2 || how->level <= 0 || how->level >= 1)
        return ptq_fail(err, PTQ_EINPUT,
                        "a bootstrap needs a block of 1 token, 2 replicates and a level within 0 to 1");
    for (int i = 0; i < n; i++) {
        const struct ptq_cell *a = cells[0], *b = cells[i];
        if (b->windows < 1 || b->tokens < 1 || b->tokens % b->windows)
            return ptq_fail(err, PTQ_EINPUT, "%s, %s: has no nll to resample", b->model, b->spec);
        if (a->windows == b->windows && a->tokens == b->tokens && strcmp(a->tokens_sha256, b->tokens_sha256) == 0)
            continue;
        return ptq_fail(err, PTQ_EINPUT, "%s, %s and %s, %s did not score the same tokens, so they cannot be compared",
                        a->model, a->spec, b->model, b->spec);
    }
    return PTQ_OK;
}

static void point_estimates(const struct ptq_cell *const *cells, int n, int reference, struct ptq_estimate *out)
{
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t t = 0; t < cells[i]->tokens; t++) sum += cells[i]->nll[t];
        out[i].ppl = exp(sum / (double)cells[i]->tokens);
        out[i].interval = out[i].difference_interval = (struct ptq_interval){NAN, NAN};
        out[i].error = out[i].difference_error = out[i].p = NAN;
        out[i].units = 0;
    }
    for (int i = 0; i < n; i++) out[i].difference = reference < 0 ? NAN : out[i].ppl - out[reference].ppl;
}

static void run_batch(struct batch *batch, const struct ptq_cell *const *cells, int n, int with_difference,
                      double *scratch, struct ptq_estimate *out)
{
    for (int i = 0; i < n; i++) sum_units(cells[i], batch->how->block, FIRST + i, batch->unit);
    ptq_parallel_for((batch->how->replicates + CHUNK - 1) / CHUNK, draw_chunk, batch);
    for (int i = 0; i < n; i++) find_intervals(batch, FIRST + i, with_difference, scratch, &out[i]);
}

enum ptq_status ptq_bootstrap(const struct ptq_cell *const *cells, int n, int reference,
                              const struct ptq_bootstrap *how, struct ptq_estimate *out, struct ptq_error *err)
{
    if (n < 1) return PTQ_OK;
    PTQ_TRY(check(cells, n, how, err));
    point_estimates(cells, n, reference, out);
    const struct ptq_cell *first = cells[reference < 0 ? 0 : reference];
    struct batch batch = {.how = how};
    batch.n_units = ptq_bootstrap_units(how, first);
    if (batch.n_units < PTQ_BOOTSTRAP_LEAST || batch.n_units > UINT32_MAX) return PTQ_OK;
    struct ptq_arena *arena = ptq_arena_make("bootstrap");
    batch.unit = ptq_alloc_array(arena, (size_t)batch.n_units, sizeof *batch.unit, "units");
    batch.mean = ptq_alloc_array(arena, (size_t)how->replicates, sizeof *batch.mean, "replicates");
    double *scratch = ptq_new(arena, double, how->replicates);
    sum_units(first, how->block, REFERENCE, batch.unit);
    enum ptq_status status = PTQ_OK;
    for (int i = 0; i < n && !(status = ptq_interrupted(err)); i += BATCH - FIRST)
        run_batch(&batch, cells + i, n - i < BATCH - FIRST ? n - i : BATCH - FIRST, reference >= 0, scratch, out + i);
    ptq_arena_free(arena);
    return status;
}
