/* Perplexity against the amount of calibration: that of the table, over the seeds that drew the windows, and the seeds'
 * spread as a band. */
#include "figure.h"
#include "figure_kinds.h"
#include "labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINES = 8 };

/* One line at one size: a row, of one or more seeds. */
struct draw {
    int64_t tokens;
    int n;
    double ppl, low, high;
};

struct line {
    const char *spec, *name, *method;
    int turn; /* which one of its method, from 0 */
    struct draw *draw;
    int n;
};

struct calib {
    struct line *line;
    int n_lines, left_out, most_draws, grids; /* grids: 1 where lines differ in width or group size */
};

/* The row's label without what the axis and the band say. */
static const char *line_name(struct ptq_arena *arena, const struct ptq_model_rows *rows,
                             const struct ptq_report_row *row, const struct calib *c)
{
    const char *name =
        ptq_label_without(arena, rows->report, row, PTQ_LABEL_CALIB_WINDOWS | PTQ_LABEL_CALIB_WINDOW | PTQ_LABEL_SEED);
    if (row->cell->fraction > 0) name = ptq_format(arena, "%s %.4g %%", name, 100 * row->cell->fraction);
    return c->grids ? ptq_format(arena, "%s, %s", name, ptq_row_grid(arena, row)) : name;
}

static struct line *line_of(struct ptq_arena *arena, const struct ptq_model_rows *rows,
                            const struct ptq_report_row *row, struct calib *c)
{
    const char *name = line_name(arena, rows, row, c);
    for (int l = 0; l < c->n_lines; l++)
        if (strcmp(c->line[l].spec, row->cell->spec) == 0 && strcmp(c->line[l].name, name) == 0) return &c->line[l];
    struct line *line = &c->line[c->n_lines++];
    *line = (struct line){.spec = row->cell->spec, .name = name, .method = ptq_row_method(arena, row)};
    line->draw = ptq_new(arena, struct draw, rows->n);
    return line;
}

/* Rows of one size are no draws of each other (windows of another length): the first stays. */
static void count(struct line *line, const struct ptq_report_row *row)
{
    int64_t tokens = row->cell->calib_windows * row->cell->calib_window;
    for (int i = 0; i < line->n; i++)
        if (line->draw[i].tokens == tokens) return;
    line->draw[line->n++] =
        (struct draw){tokens, row->seeds.n, row->estimate.ppl, row->seeds.lowest, row->seeds.highest};
}

static int is_calibrated(const struct ptq_report_row *row)
{
    return ptq_reads_calib(row->cell) && isfinite(row->cell->ppl);
}

static int by_tokens(const void *a, const void *b)
{
    int64_t x = ((const struct draw *)a)->tokens, y = ((const struct draw *)b)->tokens;
    return x < y ? -1 : x > y;
}

/* Where all sizes give one number (RTN reads no statistics), calibration is no matter of it. */
static int is_flat(const struct line *line)
{
    for (int i = 0; i < line->n; i++)
        if (line->draw[i].low != line->draw[0].low || line->draw[i].high != line->draw[0].low) return 0;
    return 1;
}

static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct calib *c)
{
    *c = (struct calib){.line = ptq_new(arena, struct line, rows->n), .grids = ptq_rows_differ_in_grid(rows)};
    for (int r = 0; r < rows->n; r++)
        if (is_calibrated(rows->row[r])) count(line_of(arena, rows, rows->row[r], c), rows->row[r]);
    int kept = 0;
    for (int l = 0; l < c->n_lines; l++) {
        struct line *line = &c->line[l];
        if (line->n < 2 || is_flat(line)) continue;
        qsort(line->draw, (size_t)line->n, sizeof *line->draw, by_tokens);
        for (int i = 0; i < line->n; i++)
            if (line->draw[i].n > c->most_draws) c->most_draws = line->draw[i].n;
        c->line[kept++] = *line;
    }
    c->left_out = kept > MOST_LINES ? kept - MOST_LINES : 0;
    c->n_lines = kept - c->left_out;
    for (int l = 0; l < c->n_lines; l++)
        for (int j = 0; j < l; j++) c->line[l].turn += strcmp(c->line[j].method, c->line[l].method) == 0;
    return c->n_lines > 0;
}

static void put_numbers(struct ptq_arena *arena, const struct calib *c, struct ptq_sheet *sheet)
{
    int n = 0;
    for (int l = 0; l < c->n_lines; l++) n += c->line[l].n;
    ptq_figure_columns(arena, sheet, "method,line,calibration_tokens,seeds,ppl,lowest_ppl,highest_ppl", n);
    for (int l = 0; l < c->n_lines; l++)
        for (int i = 0; i < c->line[l].n; i++) {
            const struct draw *d = &c->line[l].draw[i];
            const char **row = sheet->row[sheet->n_rows++];
            row[0] = c->line[l].name;
            row[1] = ptq_format(arena, "%d", l + 1);
            row[2] = ptq_format(arena, "%lld", (long long)d->tokens);
            row[3] = ptq_format(arena, "%d", d->n);
            row[4] = ptq_figure_value(arena, d->ppl);
            row[5] = ptq_figure_value(arena, d->low);
            row[6] = ptq_figure_value(arena, d->high);
        }
}

static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct ptq_sheet *data)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "method,calibration tokens,seeds,perplexity,lowest seed,highest seed",
                       data->n_rows);
    sheet->column[0].left = 1;
    sheet->n_rows = data->n_rows;
    for (int r = 0; r < data->n_rows; r++) {
        sheet->row[r][0] = data->row[r][0];
        sheet->row[r][1] = data->row[r][2];
        sheet->row[r][2] = data->row[r][3];
        for (int c = 3; c < 6; c++) {
            double value = strtod(data->row[r][c + 1], NULL);
            sheet->row[r][c] = ptq_number(arena, value, ptq_decimals(value), 0);
        }
    }
    return sheet;
}

static void put_settings(struct ptq_arena *arena, const struct calib *c, struct ptq_figure *f)
{
    double low = INFINITY, high = -INFINITY;
    int64_t first = INT64_MAX, last = 0;
    const char *name[MOST_LINES], *method[MOST_LINES], *turn[MOST_LINES], *ticks = "";
    for (int l = 0; l < c->n_lines; l++) {
        name[l] = ptq_escape(arena, PTQ_TABLE_TEXT, c->line[l].name);
        method[l] = c->line[l].method;
        turn[l] = ptq_format(arena, "%d", c->line[l].turn);
        for (int i = 0; i < c->line[l].n; i++) {
            const struct draw *d = &c->line[l].draw[i];
            low = fmin(low, d->low);
            high = fmax(high, d->high);
            if (d->tokens < first) first = d->tokens;
            if (d->tokens > last) last = d->tokens;
        }
    }
    for (int64_t tick = 1; tick <= 2 * last; tick *= 2)
        if (tick >= first / 2 && (last <= 64 * first || (__builtin_ctzll((uint64_t)tick) & 1) == 0))
            ticks = ptq_format(arena, "%s%s%lld", ticks, *ticks ? ", " : "", (long long)tick);
    ptq_figure_texts(arena, f, "lines", name, c->n_lines);
    ptq_figure_texts(arena, f, "line_method", method, c->n_lines);
    ptq_figure_texts(arena, f, "line_turn", turn, c->n_lines);
    ptq_figure_text(arena, f, "x_ticks", ticks);
    ptq_figure_number(arena, f, "x_low", (double)first / 1.5);
    ptq_figure_number(arena, f, "x_high", (double)last * 1.5);
    ptq_figure_axis(arena, f, "y", low, high);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct calib c;
    if (!gather(arena, rows, &c)) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "calib", "calib");
    f->heading = ptq_format(arena, "%s: perplexity against the amount of calibration", rows->model);
    f->note = ptq_figure_note(arena, rows, NULL);
    if (c.most_draws > 1)
        f->note = ptq_format(arena, "%s; band: lowest to highest of up to %d seeds, which draw the calibration windows",
                             f->note, c.most_draws);
    f->caption = "How much calibration text a method needs: where the line is flat, more text buys nothing, and the "
                 "band says how much the choice of the windows matters. A difference of two methods that is narrower "
                 "than the band is no difference.";
    if (c.left_out) f->caption = ptq_format(arena, "%s %d further lines are left out.", f->caption, c.left_out);
    f->alt = ptq_format(arena,
                        "Line chart with bands: perplexity of %s against calibration tokens, %d lines; the "
                        "numbers are in the table below.",
                        rows->model, c.n_lines);
    f->height = 370 + 19 * ((c.n_lines + 1) / 2);
    put_numbers(arena, &c, &f->data);
    f->brief = brief(arena, &f->data);
    put_settings(arena, &c, f);
}

const struct ptq_figure_kind ptq_figure_calib = {
    .name = "calib", .title = "Perplexity against the amount of calibration", .find = find};
