#include "contrast.h"

#include "arena.h"
#include "progress.h"
#include "quantile.h"
#include "replicates.h"

#include <math.h>
#include <string.h>

struct units {
    struct ptq_arena *arena;
    const struct ptq_group *group;
    int n_groups, n_cells;
    int64_t n, block;
    double **sum;  /* [n_cells][n] nll of a unit, cells group by group */
    double **mean; /* [n_groups][n] of the group's cells */
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
    u->mean = ptq_new(u->arena, double *, u->n_groups);
    for (int g = 0, c = 0; g < u->n_groups; g++) {
        u->mean[g] = ptq_new(u->arena, double, u->n);
        for (int i = 0; i < u->group[g].n; i++, c++) {
            u->sum[c] = ptq_new(u->arena, double, u->n);
            sum_cell(u, u->group[g].cell[i], u->sum[c]);
            for (int64_t unit = 0; unit < u->n; unit++) u->mean[g][unit] += u->sum[c][unit] / u->group[g].n;
        }
    }
}

/* Mean nll of every group over the units drawn[n]. */
static void means(const struct units *u, const int64_t *drawn, double *nll)
{
    double count = 0;
    for (int64_t i = 0; i < u->n; i++) count += u->count[drawn[i]];
    for (int g = 0; g < u->n_groups; g++) {
        double total = 0;
        for (int64_t i = 0; i < u->n; i++) total += u->mean[g][drawn[i]];
        nll[g] = total / count;
    }
}

/* The statistic of every replicate of the tokens, in value[how->replicates]. */
static void replicate(const struct units *u, const struct ptq_bootstrap *how, ptq_statistic *statistic,
                      const void *context, double *value)
{
    int64_t *drawn = ptq_new(u->arena, int64_t, u->n);
    double *nll = ptq_new(u->arena, double, u->n_groups);
    struct ptq_rng rng = {0};
    for (int64_t b = 0; b < how->replicates; b++) {
        uint64_t word = 0;
        if (b % PTQ_BOOTSTRAP_CHUNK == 0) rng = ptq_bootstrap_stream(how->seed, b / PTQ_BOOTSTRAP_CHUNK);
        for (int64_t i = 0; i < u->n; i++) drawn[i] = ptq_bootstrap_unit(&rng, &word, i, u->n);
        means(u, drawn, nll);
        value[b] = statistic(nll, context);
    }
}

/* ---- seeds ---- */

/* Mean nll of a cell over all tokens. */
static double cell_nll(const struct units *u, int cell)
{
    double total = 0, count = 0;
    for (int64_t i = 0; i < u->n; i++) total += u->sum[cell][i], count += u->count[i];
    return total / count;
}

static int of_one_draw(const struct ptq_group *a, const struct ptq_group *b)
{
    struct ptq_replicates x = {.cell = (const struct ptq_cell **)a->cell, .n = a->n}, y = x;
    y.cell = (const struct ptq_cell **)b->cell;
    y.n = b->n;
    return ptq_replicates_paired(&x, &y);
}

/* What the draws of group g, and of those after it that had the same ones, make of the statistic: its variance over
 * them, one after the other in place of their mean. taken: groups that are done. */
static void add_draws(const struct units *u, int g, int *taken, const double *nll, ptq_statistic *statistic,
                      const void *context, struct ptq_terms *terms)
{
    int n = u->group[g].n;
    double *of_draw = ptq_new(u->arena, double, n), *here = ptq_new(u->arena, double, u->n_groups);
    int *mine = ptq_new(u->arena, int, u->n_groups);
    for (int h = g; h < u->n_groups; h++)
        if (!taken[h] && of_one_draw(&u->group[g], &u->group[h])) mine[h] = taken[h] = 1;
    for (int i = 0; i < n; i++) {
        for (int h = 0, first = 0; h < u->n_groups; first += u->group[h++].n)
            here[h] = mine[h] ? cell_nll(u, first + i) : nll[h];
        of_draw[i] = statistic(here, context);
    }
    ptq_terms_add(terms, ptq_sample_variance(of_draw, n) / n, n - 1);
}

/* Whether any group is of several draws; then their terms. */
static int add_all_draws(const struct units *u, const double *nll, ptq_statistic *statistic, const void *context,
                         struct ptq_terms *terms)
{
    int *taken = ptq_new(u->arena, int, u->n_groups), any = 0;
    for (int g = 0; g < u->n_groups; g++) {
        if (taken[g] || u->group[g].n < 2) continue;
        add_draws(u, g, taken, nll, statistic, context, terms);
        any = 1;
    }
    return any;
}

/* ---- both ---- */

static struct ptq_interval interval_of(const struct units *u, const struct ptq_bootstrap *how, ptq_statistic *statistic,
                                       const void *context, const double *nll, double value)
{
    double unused, *replicates = ptq_new(u->arena, double, how->replicates);
    struct ptq_terms terms = {0};
    if (u->n < PTQ_BOOTSTRAP_LEAST) return (struct ptq_interval){NAN, NAN};
    replicate(u, how, statistic, context, replicates);
    if (add_all_draws(u, nll, statistic, context, &terms)) {
        double error = ptq_bootstrap_deviation(replicates, how->replicates);
        ptq_terms_add(&terms, error * error, (double)u->n - 1);
        return ptq_terms_interval(value, &terms, how->level, &unused);
    }
    ptq_sort(replicates, how->replicates);
    return (struct ptq_interval){ptq_quantile(replicates, how->replicates, (1 - how->level) / 2),
                                 ptq_quantile(replicates, how->replicates, (1 + how->level) / 2)};
}

enum ptq_status ptq_contrast(const struct ptq_group *group, int n_groups, const struct ptq_bootstrap *how,
                             ptq_statistic *statistic, const void *context, double *value,
                             struct ptq_interval *interval, struct ptq_error *err)
{
    PTQ_TRY(ptq_interrupted(err));
    PTQ_TRY(check_tokens(group, n_groups, err));
    struct ptq_arena *arena = ptq_arena_make("a contrast");
    struct units u = {.arena = arena, .group = group, .n_groups = n_groups};
    make_units(&u, how);
    int64_t *all = ptq_new(arena, int64_t, u.n);
    double *nll = ptq_new(arena, double, n_groups);
    for (int64_t i = 0; i < u.n; i++) all[i] = i;
    means(&u, all, nll);
    *value = statistic(nll, context);
    *interval = interval_of(&u, how, statistic, context, nll, *value);
    ptq_arena_free(arena);
    return PTQ_OK;
}
