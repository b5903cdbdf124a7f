/* How far a cell's predictions are from full precision's on the same tokens, against stored bits: mean KL divergence,
 * and the share of tokens whose most probable next token is another one. */
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <string.h>

enum { MOST_METHODS = 9 };

struct shift {
    const struct ptq_report_row **row; /* [n] those that were compared with full precision */
    int *method, n;
    const char *methods[MOST_METHODS + 1]; /* the last one stands for all others */
    int n_methods;
};

static int method_of(struct shift *s, const char *name)
{
    for (int m = 0; m < s->n_methods; m++)
        if (strcmp(s->methods[m], name) == 0) return m;
    if (s->n_methods > MOST_METHODS) return MOST_METHODS;
    s->methods[s->n_methods] = s->n_methods == MOST_METHODS ? "others" : name;
    return s->n_methods++;
}

static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct shift *s)
{
    *s = (struct shift){.row = ptq_new(arena, const struct ptq_report_row *, rows->n),
                        .method = ptq_new(arena, int, rows->n)};
    for (int r = 0; r < rows->n; r++) {
        const struct ptq_cell *c = rows->row[r]->cell;
        if (!c->kl || c->w_bit == 16 || !(c->kl_mean > 0) || !isfinite(c->kl_mean)) continue;
        s->method[s->n] = method_of(s, ptq_row_method(arena, rows->row[r]));
        s->row[s->n++] = rows->row[r];
    }
    return s->n > 1;
}

/* Half of a 95 % interval of the mean, from the means of units of `block` tokens of a window, as the tables' bootstrap
 * has them: tokens of a window hang together. NaN where there are too few. */
static double half_interval(const struct ptq_cell *c, int64_t block)
{
    int64_t scored = c->windows ? c->tokens / c->windows : 0, n = 0;
    double sum = 0, squares = 0;
    for (int64_t w = 0; w < c->windows; w++)
        for (int64_t first = 0; first + block <= scored; first += block, n++) {
            double mean = 0;
            for (int64_t t = first; t < first + block; t++) mean += c->kl[w * scored + t] / (double)block;
            sum += mean;
            squares += mean * mean;
        }
    if (n < PTQ_BOOTSTRAP_LEAST) return NAN;
    double mean = sum / (double)n;
    return 1.96 * sqrt(fmax(0, squares / (double)n - mean * mean) / (double)(n - 1));
}

static void put_rows(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct shift *s,
                     struct ptq_figure *f)
{
    struct ptq_sheet *brief = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, &f->data,
                       "cell,grid,method_number,effective_bits,kl_mean,kl_low,kl_high,changed_percent,kl_p99,"
                       "delta_p_p05,delta_p_p50,delta_p_p95",
                       s->n);
    ptq_figure_columns(arena, brief,
                       "cell,grid,bits,mean KL (nat),99th percentile,other top token (%),change in p: 5 %,median,95 %",
                       s->n);
    brief->column[0].left = brief->column[1].left = 1;
    f->data.n_rows = brief->n_rows = s->n;
    for (int i = 0; i < s->n; i++) {
        const struct ptq_cell *c = s->row[i]->cell;
        double half = half_interval(c, rows->report->bootstrap.block);
        const double value[] = {c->effective_bits,
                                c->kl_mean,
                                isnan(half) ? c->kl_mean : fmax(c->kl_mean - half, c->kl_mean / 100),
                                isnan(half) ? c->kl_mean : c->kl_mean + half,
                                100 * (1 - c->same_top),
                                c->kl_p99,
                                c->delta_p_p05,
                                c->delta_p_p50,
                                c->delta_p_p95};
        f->data.row[i][0] = brief->row[i][0] = ptq_row_name(arena, s->row[i]);
        f->data.row[i][1] = brief->row[i][1] = ptq_row_grid(arena, s->row[i]);
        f->data.row[i][2] = ptq_format(arena, "%d", s->method[i] + 1);
        for (size_t v = 0; v < sizeof value / sizeof *value; v++)
            f->data.row[i][3 + v] = ptq_figure_value(arena, value[v]);
        brief->row[i][2] = ptq_format(arena, "%.2f", c->effective_bits);
        brief->row[i][3] = ptq_format(arena, "%.4f", c->kl_mean);
        brief->row[i][4] = ptq_format(arena, "%.3f", c->kl_p99);
        brief->row[i][5] = ptq_format(arena, "%.1f", 100 * (1 - c->same_top));
        brief->row[i][6] = ptq_format(arena, "%+.3f", c->delta_p_p05);
        brief->row[i][7] = ptq_format(arena, "%+.4f", c->delta_p_p50);
        brief->row[i][8] = ptq_format(arena, "%+.3f", c->delta_p_p95);
    }
    f->brief = brief;
}

static void put_settings(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct shift *s,
                         struct ptq_figure *f)
{
    double low = INFINITY, high = -INFINITY, first = INFINITY, last = -INFINITY, most = 0;
    for (int i = 0; i < s->n; i++) {
        const struct ptq_cell *c = s->row[i]->cell;
        double half = half_interval(c, rows->report->bootstrap.block);
        low = fmin(low, isnan(half) ? c->kl_mean : fmax(c->kl_mean - half, c->kl_mean / 100));
        high = fmax(high, isnan(half) ? c->kl_mean : c->kl_mean + half);
        first = fmin(first, c->effective_bits);
        last = fmax(last, c->effective_bits);
        most = fmax(most, 100 * (1 - c->same_top));
    }
    double margin = 0.06 * fmax(last - first, 0.2);
    ptq_figure_texts(arena, f, "methods", s->methods, s->n_methods);
    ptq_figure_number(arena, f, "x_low", first - margin);
    ptq_figure_number(arena, f, "x_high", last + margin);
    ptq_figure_number(arena, f, "most", most > 0 ? most : 1);
    ptq_figure_axis(arena, f, "y", low, high);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct shift s;
    if (!gather(arena, rows, &s)) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "shift", "shift");
    f->heading = ptq_format(arena, "%s: distance from full precision", rows->model);
    f->note = ptq_figure_note(arena, rows, NULL);
    if (!isnan(half_interval(s.row[0]->cell, rows->report->bootstrap.block)))
        f->note = ptq_format(arena, "%s; bars at the left: 95 %% intervals from units of %lld tokens", f->note,
                             (long long)rows->report->bootstrap.block);
    f->caption = "Left: mean Kullback-Leibler divergence of the quantised model's next-token distribution from full "
                 "precision's, in nats. Right: share of tokens for which another token is the most probable. Both see "
                 "changes that perplexity averages away; lower is nearer. Change in p, in the table, is of the true "
                 "token's probability.";
    f->alt = ptq_format(arena,
                        "Two scatter plots against effective bits, %d cells of %d methods: mean KL divergence, "
                        "and share of tokens with another most probable token; the numbers are in the table "
                        "below.",
                        s.n, s.n_methods);
    f->height = 340 + 19 * ((s.n_methods + 2) / 3);
    put_rows(arena, rows, &s, f);
    put_settings(arena, rows, &s, f);
}

const struct ptq_figure_kind ptq_figure_shift = {
    .name = "shift", .title = "Distance from full precision", .find = find};
