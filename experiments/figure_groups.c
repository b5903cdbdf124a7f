/* Perplexity against the group size: one line for each width and method that was measured at more than one size. */
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SIZES = 16, MOST_LINES = 8 };

struct line {
    const char *name;
    int64_t w_bit;
    struct ptq_point point[MOST_SIZES];
    int n; /* points that are there */
};

struct groups {
    int64_t size[MOST_SIZES]; /* rising; a whole row, -1, last */
    int n_sizes;
    struct line *line;
    int n_lines, left_out;
};

/* -1, the row, is the largest. */
static int by_size(const void *a, const void *b)
{
    uint64_t x = (uint64_t) * (const int64_t *)a, y = (uint64_t) * (const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void find_sizes(const struct ptq_model_rows *rows, struct groups *g)
{
    for (int r = 0; r < rows->n && g->n_sizes < MOST_SIZES; r++) {
        int64_t size = rows->row[r]->cell->group_size;
        int seen = size == 0;
        for (int i = 0; i < g->n_sizes && !seen; i++) seen = g->size[i] == size;
        if (!seen) g->size[g->n_sizes++] = size;
    }
    qsort(g->size, (size_t)g->n_sizes, sizeof *g->size, by_size);
}

static struct line *line_of(struct groups *g, const char *name, int64_t w_bit)
{
    for (int l = 0; l < g->n_lines; l++)
        if (g->line[l].w_bit == w_bit && strcmp(g->line[l].name, name) == 0) return &g->line[l];
    struct line *line = &g->line[g->n_lines++];
    *line = (struct line){.name = name, .w_bit = w_bit};
    for (int i = 0; i < MOST_SIZES; i++) line->point[i] = (struct ptq_point){NAN, NAN, NAN};
    return line;
}

static void place(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct ptq_report_row *row,
                  struct groups *g)
{
    struct line *line = line_of(g, ptq_row_name(arena, row), row->cell->w_bit);
    for (int i = 0; i < g->n_sizes; i++)
        if (g->size[i] == row->cell->group_size && isnan(line->point[i].ppl)) {
            line->point[i] = ptq_point_of(row, rows->fp16);
            line->n += !isnan(line->point[i].ppl);
        }
}

/* Lines with one point are none; of too many the first stay. */
static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct groups *g)
{
    *g = (struct groups){.line = ptq_new(arena, struct line, rows->n)};
    find_sizes(rows, g);
    for (int r = 0; r < rows->n; r++)
        if (rows->row[r]->cell->w_bit < 16) place(arena, rows, rows->row[r], g);
    int kept = 0;
    for (int l = 0; l < g->n_lines; l++)
        if (g->line[l].n > 1) g->line[kept++] = g->line[l];
    g->left_out = kept > MOST_LINES ? kept - MOST_LINES : 0;
    g->n_lines = kept - g->left_out;
    return g->n_lines > 0;
}

static const char *size_name(struct ptq_arena *arena, int64_t size)
{
    return size < 0 ? "row" : ptq_format(arena, "%lld", (long long)size);
}

static void put_numbers(struct ptq_arena *arena, const struct groups *g, struct ptq_sheet *sheet)
{
    ptq_figure_columns(arena, sheet, "method,w_bit,line,group_size,position,ppl,low,high", g->n_lines * g->n_sizes);
    for (int l = 0; l < g->n_lines; l++)
        for (int i = 0; i < g->n_sizes; i++) {
            const struct ptq_point *p = &g->line[l].point[i];
            if (isnan(p->ppl)) continue;
            const char **row = sheet->row[sheet->n_rows++];
            row[0] = g->line[l].name;
            row[1] = ptq_format(arena, "%lld", (long long)g->line[l].w_bit);
            row[2] = ptq_format(arena, "%d", l + 1);
            row[3] = size_name(arena, g->size[i]);
            row[4] = ptq_format(arena, "%d", i + 1);
            row[5] = ptq_figure_value(arena, p->ppl);
            row[6] = ptq_figure_value(arena, p->low);
            row[7] = ptq_figure_value(arena, p->high);
        }
}

static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct groups *g)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    const char *heads = "method,bits";
    for (int i = 0; i < g->n_sizes; i++)
        heads = ptq_format(arena, "%s,%s%s", heads, g->size[i] < 0 ? "" : "g", size_name(arena, g->size[i]));
    ptq_figure_columns(arena, sheet, heads, g->n_lines);
    sheet->column[0].left = 1;
    sheet->n_rows = g->n_lines;
    for (int l = 0; l < g->n_lines; l++) {
        sheet->row[l][0] = g->line[l].name;
        sheet->row[l][1] = ptq_format(arena, "%lld", (long long)g->line[l].w_bit);
        for (int i = 0; i < g->n_sizes; i++) {
            double ppl = g->line[l].point[i].ppl;
            sheet->row[l][2 + i] = ptq_number(arena, ppl, ptq_decimals(ppl), 0);
        }
    }
    return sheet;
}

static void put_settings(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct groups *g,
                         struct ptq_figure *f)
{
    double low = INFINITY, high = -INFINITY;
    const char *name[MOST_LINES], *ticks = "";
    for (int l = 0; l < g->n_lines; l++) {
        name[l] = ptq_format(arena, "%s, %lld bits", ptq_escape(arena, PTQ_TABLE_TEXT, g->line[l].name),
                             (long long)g->line[l].w_bit);
        for (int i = 0; i < g->n_sizes; i++) ptq_point_stretch(&g->line[l].point[i], &low, &high);
    }
    if (rows->fp16) {
        struct ptq_point fp16 = ptq_point_of(rows->fp16, rows->fp16);
        ptq_point_stretch(&fp16, &low, &high);
    }
    for (int i = 0; i < g->n_sizes; i++)
        ticks = ptq_format(arena, "%s%s\"%s\" %d", ticks, i ? ", " : "",
                           g->size[i] < 0 ? "one a row" : size_name(arena, g->size[i]), i + 1);
    ptq_figure_texts(arena, f, "lines", name, g->n_lines);
    ptq_figure_text(arena, f, "x_ticks", ticks);
    ptq_figure_number(arena, f, "n_sizes", g->n_sizes);
    ptq_figure_axis(arena, f, "y", low, high);
    ptq_figure_number(arena, f, "has_fp16", rows->fp16 != NULL);
    ptq_figure_number(arena, f, "fp16", rows->fp16 ? rows->fp16->estimate.ppl : NAN);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct groups g;
    if (!gather(arena, rows, &g)) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "groups", "groups");
    f->height = 420 + 19 * ((g.n_lines + 1) / 2);
    f->heading = ptq_format(arena, "%s: perplexity against group size", rows->model);
    f->note = ptq_figure_note(arena, rows, "bars");
    f->caption = "Smaller groups follow the weights more closely and store more scales; the gain is large at few bits "
                 "and small at many. One line a width and method.";
    if (g.left_out) f->caption = ptq_format(arena, "%s %d further lines are left out.", f->caption, g.left_out);
    f->alt = ptq_format(arena,
                        "Line chart: perplexity of %s against %d group sizes, %d lines; the numbers are in the "
                        "table below.",
                        rows->model, g.n_sizes, g.n_lines);
    put_numbers(arena, &g, &f->data);
    f->brief = brief(arena, &g);
    put_settings(arena, rows, &g, f);
}

const struct ptq_figure_kind ptq_figure_groups = {
    .name = "groups", .title = "Perplexity against group size", .find = find};
