#include "contrast.h"

#include "arena.h"
#include "quantile.h"
#include "rng.h"

#include <math.h>
#include <string.h>

struct units {
    struct ptq_arena *arena;
    const struct ptq_group *group;
    int n_groups, n_cells;
    int64_t n, block;
    double **sum;  /* [n_cells][n] nll of a unit, cells group by group */
    double *count; /* [n] tokens of a unit */
};

static enum ptq_status check_tokens(const struct ptq_group *group, int n_groups, struct ptq_error *err)
{
    const struct ptq_cell *a = group[0].cell[0];
    for (int g = 0; g < n_groups; g++)
        for (int i = 0; i < group[g].n; i++) {
            const struct ptq_cell *b = group[g].cell[i];
            if (a->windows != b->windows || a->tokens != b->tokens || strcmp(a->tokens_sha256, b->tokens_sha256))
                return ptq_fail(err, PTQ_EINPUT, "%s on %s and %s on %s did not score the same tokens", a->spec,
                                a->text, b->spec, b->text);
        }
    return PTQ_OK;
}

static void sum_cell(struct units *u, const struct ptq_cell *cell, double *sum)
{
    int64_t scored = cell->tokens / cell->windows, at = 0;
    for (int64_t w = 0; w < cell->windows; w++)
        for (int64_t first = 0; first < scored; first += u->block, at++) {
            int64_t end = first + u->block < scored ? first + u->block : scored;
            double total = 0;
            for (int64_t t = first; t < end; t++) total += cell->nll[w * scored + t];
            sum[at] = total;
            u->count[at] = (double)(end - first);
        }
}

static void make_units(struct units *u, const struct ptq_bootstrap *how)
{
    const struct ptq_cell *first = u->group[0].cell[0];
    u->block = how->block;
    u->n = first->windows * ((first->tokens / first->windows + u->block - 1) / u->block);
    for (int g = 0; g < u->n_groups; g++) u->n_cells += u->group[g].n;
    u->count = ptq_new(u->arena, double, u->n);
    u->sum = ptq_new(u->arena, double *, u->n_cells);
    for (int g = 0, c = 0; g < u->n_groups; g++)
        for (int i = 0; i < u->group[g].n; i++, c++) {
            u->sum[c] = ptq_new(u->arena, double, u->n);
            sum_cell(u, u->group[g].cell[i], u->sum[c]);
        }
}

/* Mean nll of every group over the units drawn[n], of the cells pick[n_cells] (an index within the group). */
static void means(const struct units *u, const int64_t *drawn, const int *pick, double *nll)
{
    double count = 0;
    for (int64_t i = 0; i < u->n; i++) count += u->count[drawn[i]];
    for (int g = 0, first = 0; g < u->n_groups; first += u->group[g++].n) {
        double total = 0;
        for (int c = 0; c < u->group[g].n; c++)
            for (int64_t i = 0; i < u->n; i++) total += u->sum[first + pick[first + c]][drawn[i]];
        nll[g] = total / (count * u->group[g].n);
    }
}

static int below(struct ptq_rng *rng, int64_t n)
{
    return (int)((ptq_rng_next(rng) >> 32) * (uint64_t)n >> 32);
}

/* Units as every bootstrap draws them; which cells, from a stream of their own. */
static void draw(const struct units *u, struct ptq_rng *rng, struct ptq_rng *cells, int64_t *drawn, int *pick)
{
    uint64_t word = 0;
    for (int64_t i = 0; i < u->n; i++) drawn[i] = ptq_bootstrap_unit(rng, &word, i, u->n);
    for (int g = 0, c = 0; g < u->n_groups; g++)
        for (int i = 0; i < u->group[g].n; i++) pick[c++] = below(cells, u->group[g].n);
}

enum ptq_status ptq_contrast(const struct ptq_group *group, int n_groups, const struct ptq_bootstrap *how,
                             ptq_statistic *statistic, const void *context, double *value,
                             struct ptq_interval *interval, struct ptq_error *err)
{
    PTQ_TRY(check_tokens(group, n_groups, err));
    struct ptq_arena *arena = ptq_arena_make("a contrast");
    struct units u = {.arena = arena, .group = group, .n_groups = n_groups};
    make_units(&u, how);
    int64_t *drawn = ptq_new(arena, int64_t, u.n);
    int *pick = ptq_new(arena, int, u.n_cells);
    double *nll = ptq_new(arena, double, n_groups), *replicate = ptq_new(arena, double, how->replicates);
    for (int64_t i = 0; i < u.n; i++) drawn[i] = i;
    for (int g = 0, c = 0; g < n_groups; g++)
        for (int i = 0; i < group[g].n; i++) pick[c++] = i;
    means(&u, drawn, pick, nll);
    *value = statistic(nll, context);
    *interval = (struct ptq_interval){NAN, NAN};
    struct ptq_rng rng = {0}, picks = ptq_rng_make(how->seed, "cells of a contrast");
    for (int64_t b = 0; b < how->replicates && u.n >= PTQ_BOOTSTRAP_LEAST; b++) {
        if (b % PTQ_BOOTSTRAP_CHUNK == 0) rng = ptq_bootstrap_stream(how->seed, b / PTQ_BOOTSTRAP_CHUNK);
        draw(&u, &rng, &picks, drawn, pick);
        means(&u, drawn, pick, nll);
        replicate[b] = statistic(nll, context);
    }
    if (u.n >= PTQ_BOOTSTRAP_LEAST) {
        ptq_sort(replicate, how->replicates);
        interval->low = ptq_quantile(replicate, how->replicates, (1 - how->level) / 2);
        interval->high = ptq_quantile(replicate, how->replicates, (1 + how->level) / 2);
    }
    ptq_arena_free(arena);
    return PTQ_OK;
}
