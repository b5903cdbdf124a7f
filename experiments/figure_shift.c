/* How far a cell's predictions are from full precision's on the same tokens, a line a cell: mean KL divergence, and the
 * share of tokens whose most probable next token is another one. Cells of one size and nearly one distance are common,
 * so marks in a plane would cover each other; lines do not, and each is named. */
#include "contrast.h"
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINES = 40, LABEL = 40, MOST_TICKS = 5 };

struct line {
    const struct ptq_report_row *row;
    struct ptq_interval interval; /* of the mean KL divergence */
    struct ptq_point kl;          /* the mean and the ends of its bar */
    const char *name;
    int order; /* as it came */
};

struct shift {
    const struct ptq_model_rows *rows;
    struct line *line; /* [n] by stored bits: those that were compared with full precision */
    int n, n_cells, n_seeds, most_seeds;
    struct ptq_figure_methods methods;
};

static double itself(const double *mean, const void *context)
{
    (void)context;
    return mean[0];
}

/* As that of a perplexity (contrast.h), with each token's divergence in place of its nll. */
static struct ptq_interval interval_of(struct ptq_arena *arena, const struct ptq_model_rows *rows,
                                       const struct ptq_replicates *seeds)
{
    struct ptq_cell *copy = ptq_new(arena, struct ptq_cell, seeds->n);
    const struct ptq_cell **cell = ptq_new(arena, const struct ptq_cell *, seeds->n);
    struct ptq_interval interval;
    struct ptq_error ignored; /* interrupted: nothing is drawn either */
    double mean;
    for (int i = 0; i < seeds->n; i++) {
        copy[i] = *seeds->cell[i];
        copy[i].nll = copy[i].kl;
        cell[i] = &copy[i];
    }
    const struct ptq_group group = {.cell = cell, .n = seeds->n};
    if (ptq_contrast(&group, 1, &rows->report->bootstrap, itself, NULL, &mean, &interval, &ignored))
        return (struct ptq_interval){NAN, NAN};
    return interval;
}

static int by_bits(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    double p = x->row->cell->effective_bits, q = y->row->cell->effective_bits;
    return p != q ? (p < q ? -1 : 1) : x->order - y->order;
}

/* 0 where there are not two to compare. */
static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct shift *s)
{
    int with_grid = ptq_rows_differ_in_grid(rows);
    *s = (struct shift){.rows = rows, .line = ptq_new(arena, struct line, rows->n)};
    for (int r = 0; r < rows->n; r++) {
        const struct ptq_cell *c = rows->row[r]->cell;
        if (!c->kl || c->w_bit == 16 || !(c->kl_mean > 0) || !isfinite(c->kl_mean)) continue;
        s->line[s->n++] = (struct line){.row = rows->row[r], .order = r};
    }
    s->n_cells = s->n;
    if (s->n > MOST_LINES) s->n = MOST_LINES;
    qsort(s->line, (size_t)s->n, sizeof *s->line, by_bits);
    for (int i = 0; i < s->n; i++) {
        struct line *l = &s->line[i];
        const struct ptq_replicates *seeds = &l->row->seeds;
        double mean = l->row->cell->kl_mean;
        l->name = ptq_row_line(arena, l->row, with_grid);
        l->interval = interval_of(arena, rows, seeds);
        l->kl = (struct ptq_point){mean, l->interval.low, l->interval.high};
        if (isnan(l->interval.low)) l->kl.low = l->kl.high = mean;
        if (seeds->n > 1) s->n_seeds += seeds->n;
        if (seeds->n > s->most_seeds) s->most_seeds = seeds->n;
    }
    return s->n > 1;
}

/* ---- numbers ---- */

static double changed_percent(const struct ptq_cell *c)
{
    return 100 * (1 - c->same_top);
}

static void put_line(struct ptq_arena *arena, struct shift *s, int i, const struct ptq_cell *c, int n_seeds,
                     const char **row)
{
    const struct line *l = &s->line[i];
    const double value[] = {c->effective_bits,
                            c->kl_mean,
                            n_seeds ? l->kl.low : NAN,
                            n_seeds ? l->kl.high : NAN,
                            changed_percent(c),
                            c->kl_p99,
                            c->delta_p_p05,
                            c->delta_p_p50,
                            c->delta_p_p95};
    row[0] = ptq_row_name(arena, l->row);
    row[1] = ptq_row_grid(arena, l->row);
    row[2] = ptq_format(arena, "%d", i);
    row[3] = ptq_format(arena, "%d", ptq_figure_method(arena, &s->methods, l->row));
    row[4] = ptq_format(arena, "%d", n_seeds);
    row[5] = n_seeds ? "" : ptq_format(arena, "%lld", (long long)c->seed);
    for (size_t v = 0; v < sizeof value / sizeof *value; v++) row[6 + v] = ptq_figure_value(arena, value[v]);
}

/* A line of the file a row, and one a seed where a row is of several. */
static void put_numbers(struct ptq_arena *arena, struct shift *s, struct ptq_sheet *sheet)
{
    ptq_figure_columns(arena, sheet,
                       "cell,grid,line,method_number,seeds,seed,effective_bits,kl_mean,kl_low,kl_high,changed_percent,"
                       "kl_p99,delta_p_p05,delta_p_p50,delta_p_p95",
                       s->n + s->n_seeds);
    for (int i = 0; i < s->n; i++) {
        const struct ptq_replicates *seeds = &s->line[i].row->seeds;
        put_line(arena, s, i, s->line[i].row->cell, seeds->n, sheet->row[sheet->n_rows++]);
        for (int k = 0; k < seeds->n && seeds->n > 1; k++)
            put_line(arena, s, i, seeds->cell[k], 0, sheet->row[sheet->n_rows++]);
    }
}

static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct shift *s)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet,
                       "cell,grid,bits,mean KL (nat),interval,99th percentile,other top token (%),"
                       "change in p: 5 %,median,95 %",
                       s->n);
    sheet->column[0].left = sheet->column[1].left = 1;
    sheet->column[4].head = "mean KL, 95 % interval";
    sheet->n_rows = s->n;
    for (int i = 0; i < s->n; i++) {
        const struct line *l = &s->line[i];
        const struct ptq_cell *c = l->row->cell;
        const char **row = sheet->row[i];
        row[0] = ptq_row_name(arena, l->row);
        row[1] = ptq_row_grid(arena, l->row);
        row[2] = ptq_format(arena, "%.2f", c->effective_bits);
        row[3] = ptq_format(arena, "%.4f", c->kl_mean);
        row[4] = ptq_seeds_interval(arena, &l->interval, 4, l->row->seeds.n, 0);
        row[5] = ptq_format(arena, "%.3f", c->kl_p99);
        row[6] = ptq_format(arena, "%.1f", changed_percent(c));
        row[7] = ptq_format(arena, "%+.3f", c->delta_p_p05);
        row[8] = ptq_format(arena, "%+.4f", c->delta_p_p50);
        row[9] = ptq_format(arena, "%+.3f", c->delta_p_p95);
    }
    return sheet;
}

/* ---- the picture ---- */

/* A bar may reach below 0, where a logarithmic axis ends: its range is that of what is above a quarter of the mean. */
static void put_axes(struct ptq_arena *arena, const struct shift *s, struct ptq_figure *f)
{
    double low = INFINITY, high = -INFINITY, most = 0;
    for (int i = 0; i < s->n; i++) {
        const struct ptq_replicates *seeds = &s->line[i].row->seeds;
        struct ptq_point kl = s->line[i].kl;
        kl.low = fmax(kl.low, kl.ppl / 4);
        ptq_point_stretch(&kl, &low, &high);
        for (int k = 0; k < seeds->n; k++) {
            low = fmin(low, seeds->cell[k]->kl_mean);
            high = fmax(high, seeds->cell[k]->kl_mean);
            most = fmax(most, changed_percent(seeds->cell[k]));
        }
    }
    ptq_figure_short_axis(arena, f, "x", low, high, MOST_TICKS);
    ptq_figure_short_axis(arena, f, "share", 0, most, MOST_TICKS);
}

static void put_settings(struct ptq_arena *arena, const struct shift *s, struct ptq_figure *f)
{
    const char *name[MOST_LINES], *bits[MOST_LINES];
    size_t longest = 0;
    for (int i = 0; i < s->n; i++) {
        size_t length = strlen(s->line[i].name);
        name[i] = s->line[i].name;
        bits[i] = ptq_format(arena, "%.2f", s->line[i].row->cell->effective_bits);
        if (length > longest) longest = length;
    }
    int two = ptq_figure_titles(arena, f, "lines", name, s->n, LABEL);
    f->height = 148 + (two ? 34 : 22) * s->n;
    ptq_figure_texts(arena, f, "bits", bits, s->n);
    ptq_figure_texts(arena, f, "methods", s->methods.name, s->methods.n);
    ptq_figure_number(arena, f, "label_width", (double)(longest < LABEL ? longest : LABEL));
    ptq_figure_number(arena, f, "has_seeds", s->n_seeds > 0);
    put_axes(arena, s, f);
}

static void describe(struct ptq_arena *arena, const struct shift *s, struct ptq_figure *f)
{
    f->heading = ptq_format(arena, "%s: distance from full precision", s->rows->model);
    f->note = ptq_figure_note_of(arena, s->rows, "bars", "mean");
    if (s->n_seeds) f->note = ptq_format(arena, "%s; circles: up to %d replicates", f->note, s->most_seeds);
    if (!isnan(s->line[0].interval.low))
        f->note =
            ptq_format(arena, "%s; no bars at the right: results keep the share of such tokens, not which", f->note);
    f->caption = ptq_format(
        arena,
        "Cells by their stored bits a weight, fewest first. Left: mean Kullback-Leibler divergence of the quantised "
        "model's next-token distribution from full precision's, in nats. Right: share of tokens for which another "
        "token is the most probable. Both see changes that perplexity averages away; lower is nearer. Change in p, in "
        "the table, is of the true token's probability.%s",
        s->n < s->n_cells ? ptq_format(arena, " %d of %d cells are shown, the first of the results.", s->n, s->n_cells)
                          : "");
    f->alt =
        ptq_format(arena,
                   "Two dot plots of %d cells, a line a cell: mean KL divergence, and share of tokens with another "
                   "most probable token; the numbers are in the table below.",
                   s->n);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct shift s;
    if (!gather(arena, rows, &s)) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "shift", "shift");
    describe(arena, &s, f);
    put_numbers(arena, &s, &f->data);
    f->brief = brief(arena, &s);
    put_settings(arena, &s, f);
}

const struct ptq_figure_kind ptq_figure_shift = {
    .name = "shift", .title = "Distance from full precision", .find = find};
