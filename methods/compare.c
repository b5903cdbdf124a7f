#include "compare.h"

#include "progress.h"
#include "quantile.h"
#include "reference.h"

#include <math.h>

void ptq_compare_begin(struct ptq_cell *cell, int quantizes, struct ptq_arena *arena, struct ptq_comparison *out)
{
    *out = (struct ptq_comparison){.reference = cell->reference, .quantizes = quantizes};
    cell->nll = out->all.nll = ptq_new(arena, float, cell->tokens);
    cell->kl = NULL;
    if (out->reference && ptq_reference_given_up(out->reference)) out->reference = NULL;
    if (!out->reference || !quantizes) return;
    cell->kl = out->all.kl = ptq_new(arena, float, cell->tokens);
    out->all.delta_p = ptq_new(arena, float, cell->tokens);
    out->all.same_top = ptq_new(arena, uint8_t, cell->tokens);
}

enum ptq_status ptq_compare_prepare(struct ptq_comparison *c, int64_t first, int64_t windows, struct ptq_error *err)
{
    if (!c->reference || !c->quantizes || ptq_reference_given_up(c->reference) ||
        ptq_reference_is_there(c->reference, first, windows))
        return PTQ_OK;
    double started = ptq_seconds();
    struct ptq_reference_rows rows;
    struct ptq_arena *work = ptq_arena_make("a full-precision reference");
    enum ptq_status status = ptq_reference_get(c->reference, first, windows, work, &rows, err);
    ptq_arena_free(work);
    c->seconds += ptq_seconds() - started;
    return status;
}

enum ptq_status ptq_compare_score(struct ptq_comparison *c, struct ptq_forward *f, int64_t first,
                                  struct ptq_arena *work, struct ptq_error *err)
{
    struct ptq_mark mark = ptq_arena_mark(work);
    struct ptq_reference_rows rows, *made = NULL, *against = NULL;
    int64_t at = first * (f->length - 1);
    struct ptq_scores out = {.nll = c->all.nll + at};
    if (c->all.kl && !ptq_reference_given_up(c->reference)) {
        out = (struct ptq_scores){out.nll, c->all.kl + at, c->all.delta_p + at, c->all.same_top + at};
        PTQ_TRY(ptq_reference_get(c->reference, first, f->windows, work, &rows, err));
        against = &rows;
    } else if (c->reference && !c->quantizes && !ptq_reference_is_there(c->reference, first, f->windows)) {
        ptq_reference_room(work, c->reference, f->windows, &rows);
        made = &rows;
    }
    PTQ_TRY(ptq_forward_score(f, work, against, made, &out, err));
    if (made) ptq_reference_put(c->reference, first, f->windows, made);
    ptq_arena_rewind(work, mark);
    return PTQ_OK;
}

/* Sorted, in arena. */
static double *sorted(struct ptq_arena *arena, const float *value, int64_t n)
{
    double *all = ptq_new(arena, double, n);
    for (int64_t i = 0; i < n; i++) all[i] = value[i];
    ptq_sort(all, n);
    return all;
}

static void summarise_kl(struct ptq_cell *cell, struct ptq_arena *arena)
{
    int64_t n = cell->tokens;
    const double *kl = sorted(arena, cell->kl, n);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += cell->kl[i];
    cell->kl_mean = sum / (double)n;
    cell->kl_median = ptq_quantile(kl, n, 0.5);
    cell->kl_p95 = ptq_quantile(kl, n, 0.95);
    cell->kl_p99 = ptq_quantile(kl, n, 0.99);
    cell->kl_max = kl[n - 1];
}

static void summarise_delta_p(struct ptq_cell *cell, const struct ptq_scores *all, struct ptq_arena *arena)
{
    int64_t n = cell->tokens;
    const double *delta = sorted(arena, all->delta_p, n);
    double sum = 0, squares = 0, same = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += all->delta_p[i];
        squares += (double)all->delta_p[i] * all->delta_p[i];
        same += all->same_top[i];
    }
    cell->same_top = same / (double)n;
    cell->delta_p_mean = sum / (double)n;
    cell->delta_p_rms = sqrt(squares / (double)n);
    const struct {
        double p, *out;
    } percentile[] = {{0.01, &cell->delta_p_p01}, {0.05, &cell->delta_p_p05}, {0.10, &cell->delta_p_p10},
                      {0.25, &cell->delta_p_p25}, {0.50, &cell->delta_p_p50}, {0.75, &cell->delta_p_p75},
                      {0.90, &cell->delta_p_p90}, {0.95, &cell->delta_p_p95}, {0.99, &cell->delta_p_p99}};
    for (size_t i = 0; i < sizeof percentile / sizeof *percentile; i++)
        *percentile[i].out = ptq_quantile(delta, n, percentile[i].p);
}

void ptq_compare_end(const struct ptq_comparison *c, struct ptq_cell *cell)
{
    if (cell->kl && ptq_reference_given_up(c->reference)) cell->kl = NULL;
    if (!cell->kl) return;
    struct ptq_arena *arena = ptq_arena_make("a comparison");
    summarise_kl(cell, arena);
    summarise_delta_p(cell, &c->all, arena);
    cell->seconds_reference = c->seconds;
    ptq_arena_free(arena);
}
