/* Perplexity against stored bits a weight (codes, scales, zeros, kept channels): a point a cell, and the Pareto front
 * of those that nothing smaller beats. */
#include "axis.h"
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINES = 9, LABEL = 76 }; /* LABEL: characters of a name in the key */
/* Bits a weight: cells that differ by less (one with another number of zeros) are of one size. */
static const double least_span = 0.01;

struct bits {
    const struct ptq_model_rows *rows;
    const struct ptq_report_row **row; /* [n], by effective bits */
    struct ptq_point *point;
    double *x;         /* where it is drawn */
    double low, high;  /* of all points and bars, FP16's too */
    int *line, *front; /* front: the number on the front from 1, or 0 */
    int n, n_front, n_aside;
    /* A mark each in the key: the methods with their parameters, or, where those are too many, without. */
    const char *name[MOST_LINES + 1], *method[MOST_LINES + 1]; /* the last one stands for all others */
    int turn[MOST_LINES + 1];                                  /* which one of its method, from 0 */
    int n_lines, by_method;
};

static int by_bits(const void *a, const void *b)
{
    const struct ptq_report_row *x = *(const struct ptq_report_row *const *)a;
    const struct ptq_report_row *y = *(const struct ptq_report_row *const *)b;
    double p = x->cell->effective_bits, q = y->cell->effective_bits;
    if (p != q) return p < q ? -1 : 1;
    return x->estimate.ppl < y->estimate.ppl ? -1 : x->estimate.ppl > y->estimate.ppl;
}

static int line_of(struct ptq_arena *arena, struct bits *b, const struct ptq_report_row *row)
{
    const char *method = ptq_row_method(arena, row), *name = b->by_method ? method : row->label;
    for (int l = 0; l < b->n_lines; l++)
        if (strcmp(b->name[l], name) == 0) return l;
    if (b->n_lines == MOST_LINES) name = method = "others";
    if (b->n_lines > MOST_LINES) return MOST_LINES;
    for (int l = 0; l < b->n_lines; l++) b->turn[b->n_lines] += strcmp(b->method[l], method) == 0;
    b->name[b->n_lines] = name;
    b->method[b->n_lines] = method;
    return b->n_lines++;
}

/* Lines in the order of the results, so that each keeps its mark whatever its size. */
static void find_lines(struct ptq_arena *arena, struct bits *b)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int r = 0; r < b->rows->n; r++)
            if (b->rows->row[r]->cell->w_bit < 16) line_of(arena, b, b->rows->row[r]);
        if (pass || b->n_lines <= MOST_LINES) return;
        b->n_lines = 0;
        b->by_method = 1;
        memset(b->turn, 0, sizeof b->turn);
    }
}

/* Rows are sorted, so a row is on the front where it beats the best so far. */
static void find_front(struct bits *b)
{
    double best = INFINITY;
    for (int i = 0; i < b->n; i++)
        if (b->point[i].ppl < best) {
            best = b->point[i].ppl;
            b->front[i] = ++b->n_front;
        }
}

/* ---- places ---- */

/* A mark's size, and how far apart marks stand that would cover each other: shares of the plot's height and width. */
static const double mark = 0.04, apart = 0.016;

/* Where a perplexity is on its axis, from 0 to 1. */
static double height_of(const struct ptq_axis *axis, double ppl)
{
    if (axis->is_log) return log(ppl / axis->low) / log(axis->high / axis->low);
    return (ppl - axis->low) / (axis->high - axis->low);
}

static int covers(const struct bits *b, const struct ptq_axis *axis, int i, int j, double step)
{
    const struct ptq_point *p = &b->point[i], *q = &b->point[j];
    return fabs(b->x[i] - b->x[j]) < 0.9 * step && height_of(axis, p->low) - mark < height_of(axis, q->high) &&
           height_of(axis, q->low) - mark < height_of(axis, p->high);
}

static int is_aside(const struct bits *b, int i)
{
    return b->x[i] != b->row[i]->cell->effective_bits;
}

/* At its bits, or as many steps to the side as keep its mark and bar free of those before it. */
static void place(struct ptq_arena *arena, struct bits *b)
{
    struct ptq_axis axis = ptq_axis_make(arena, b->low, b->high, 0);
    double step = apart * (b->row[b->n - 1]->cell->effective_bits - b->row[0]->cell->effective_bits);
    for (int i = 0; i < b->n; i++)
        for (int k = 0, covered = 1; covered && k < 2 * b->n; k++) {
            b->x[i] = b->row[i]->cell->effective_bits + (k % 2 ? step : -step) * ((k + 1) / 2);
            covered = 0;
            for (int j = 0; j < i && !covered; j++) covered = covers(b, &axis, i, j, step);
        }
    for (int i = 0; i < b->n; i++) b->n_aside += is_aside(b, i);
}

/* 0 where there are not two sizes to compare. */
static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct bits *b)
{
    *b = (struct bits){.rows = rows};
    b->row = ptq_new(arena, const struct ptq_report_row *, rows->n);
    for (int r = 0; r < rows->n; r++)
        if (rows->row[r]->cell->w_bit < 16 && isfinite(rows->row[r]->estimate.ppl)) b->row[b->n++] = rows->row[r];
    if (b->n < 3) return 0;
    qsort(b->row, (size_t)b->n, sizeof *b->row, by_bits);
    if (b->row[b->n - 1]->cell->effective_bits - b->row[0]->cell->effective_bits < least_span) return 0;
    b->point = ptq_new(arena, struct ptq_point, b->n);
    b->x = ptq_new(arena, double, b->n);
    b->line = ptq_new(arena, int, b->n);
    b->front = ptq_new(arena, int, b->n);
    find_lines(arena, b);
    for (int i = 0; i < b->n; i++) {
        b->point[i] = ptq_point_of(b->row[i], rows->fp16);
        b->line[i] = line_of(arena, b, b->row[i]);
    }
    find_front(b);
    b->low = INFINITY;
    b->high = -INFINITY;
    for (int i = 0; i < b->n; i++) ptq_point_stretch(&b->point[i], &b->low, &b->high);
    if (rows->fp16) {
        struct ptq_point fp16 = ptq_point_of(rows->fp16, rows->fp16);
        ptq_point_stretch(&fp16, &b->low, &b->high);
    }
    place(arena, b);
    return 1;
}

static void put_numbers(struct ptq_arena *arena, const struct bits *b, struct ptq_sheet *sheet)
{
    ptq_figure_columns(arena, sheet, "method,line,cell,grid,effective_bits,ppl,low,high,front,drawn_at", b->n);
    sheet->n_rows = b->n;
    for (int i = 0; i < b->n; i++) {
        const char **row = sheet->row[i];
        row[0] = b->name[b->line[i]];
        row[1] = ptq_format(arena, "%d", b->line[i] + 1);
        row[2] = ptq_row_name(arena, b->row[i]);
        row[3] = ptq_row_grid(arena, b->row[i]);
        row[4] = ptq_figure_value(arena, b->row[i]->cell->effective_bits);
        row[5] = ptq_figure_value(arena, b->point[i].ppl);
        row[6] = ptq_figure_value(arena, b->point[i].low);
        row[7] = ptq_figure_value(arena, b->point[i].high);
        row[8] = ptq_format(arena, "%d", b->front[i]);
        row[9] = ptq_figure_value(arena, b->x[i]);
    }
}

/* The cells on the front alone. */
static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct bits *b)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "bits,cell on the front,grid,perplexity,interval", b->n_front);
    sheet->column[1].left = sheet->column[2].left = 1;
    sheet->column[4].head = ptq_point_head(b->rows->fp16);
    for (int i = 0; i < b->n; i++) {
        if (!b->front[i]) continue;
        const char **row = sheet->row[sheet->n_rows++];
        int decimals = ptq_decimals(b->point[i].ppl);
        row[0] = ptq_format(arena, "%.2f", b->row[i]->cell->effective_bits);
        row[1] = ptq_row_name(arena, b->row[i]);
        row[2] = ptq_row_grid(arena, b->row[i]);
        row[3] = ptq_number(arena, b->point[i].ppl, decimals, 0);
        row[4] = ptq_point_interval(arena, b->row[i], b->rows->fp16);
    }
    return sheet;
}

/* The key, and its rows: of as many columns as its longest name leaves room for. */
static void put_lines(struct ptq_arena *arena, const struct bits *b, struct ptq_figure *f)
{
    const char *name[MOST_LINES + 1], *turn[MOST_LINES + 1];
    size_t longest = 0;
    for (int l = 0; l < b->n_lines; l++) {
        name[l] = ptq_figure_cut(arena, ptq_escape(arena, PTQ_TABLE_TEXT, b->name[l]), LABEL);
        turn[l] = ptq_format(arena, "%d", b->turn[l]);
        if (strlen(name[l]) > longest) longest = strlen(name[l]);
    }
    int columns = longest < 24 ? 3 : longest < 40 ? 2 : 1, rows = (b->n_lines + columns) / columns;
    f->height = 370 + 19 * rows;
    ptq_figure_number(arena, f, "key_rows", rows);
    ptq_figure_texts(arena, f, "lines", name, b->n_lines);
    ptq_figure_texts(arena, f, "line_method", b->method, b->n_lines);
    ptq_figure_texts(arena, f, "line_turn", turn, b->n_lines);
}

static void put_settings(struct ptq_arena *arena, const struct bits *b, struct ptq_figure *f)
{
    double first = b->row[0]->cell->effective_bits, last = b->row[b->n - 1]->cell->effective_bits;
    double margin = 0.05 * (last - first);
    put_lines(arena, b, f);
    ptq_figure_number(arena, f, "n_front", b->n_front);
    ptq_figure_number(arena, f, "x_low", first - margin);
    ptq_figure_number(arena, f, "x_high", last + margin);
    ptq_figure_axis(arena, f, "y", b->low, b->high);
    ptq_figure_number(arena, f, "has_fp16", b->rows->fp16 != NULL);
    ptq_figure_number(arena, f, "fp16", b->rows->fp16 ? b->rows->fp16->estimate.ppl : NAN);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct bits b;
    if (!gather(arena, rows, &b)) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "bits", "bits");
    f->heading = ptq_format(arena, "%s: perplexity against size", rows->model);
    f->note = ptq_figure_note(arena, rows, "bars");
    if (b.n_aside)
        f->note = ptq_format(arena, "%s; a mark set aside, not to cover another, has a line to its bits", f->note);
    f->caption = ptq_format(
        arena,
        "Each point is a cell. Bits are all that is stored for a weight of a quantised linear: its code, its share of "
        "scales and zeros, and channels kept in FP16. %s%s%s",
        b.n_front > 1 ? "The stepped line is the Pareto front: the ringed cells on it are better than every cell that "
                        "is no larger; a cell above it wastes bits or perplexity."
                      : "The ringed cell is the whole Pareto front: the smallest and the best.",
        b.n_aside ? " Cells of nearly one size that would cover each other stand a little apart, each with a line to "
                    "its bits."
                  : "",
        b.by_method ? " Cells of one method share its mark, whatever their parameters: those are too many for the key."
                    : "");
    f->alt = ptq_format(arena,
                        "Scatter plot: perplexity of %s against effective bits a weight, %d cells, %d marks; "
                        "%d of them make the Pareto front, which the table below lists.",
                        rows->model, b.n, b.n_lines, b.n_front);
    put_numbers(arena, &b, &f->data);
    f->brief = brief(arena, &b);
    put_settings(arena, &b, f);
}

const struct ptq_figure_kind ptq_figure_bits = {
    .name = "bits", .title = "Perplexity against effective bits", .find = find};
