/* Perplexity against the group size: one panel a width, one line for each method that was measured at more than one
 * size. */
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SIZES = 16, MOST_LINES = 9, MOST_PANELS = 4 };

struct line {
    const char *name, *method;
    int turn;                                        /* which one of its method, from 0 */
    struct ptq_point point[MOST_PANELS][MOST_SIZES]; /* a panel a width */
    int longest;                                     /* most points that it has in one panel */
};

struct groups {
    int64_t size[MOST_SIZES]; /* rising; a whole row, -1, last */
    int n_sizes;
    int64_t width[MOST_PANELS]; /* rising */
    int n_panels;
    struct line *line;
    int n_lines, left_out;
};

/* -1, the row, is the largest. */
static int by_size(const void *a, const void *b)
{
    uint64_t x = (uint64_t) * (const int64_t *)a, y = (uint64_t) * (const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* value among the n known ones, or at the end of them while there is room. */
static void note_value(int64_t value, int64_t *known, int *n, int room)
{
    for (int i = 0; i < *n; i++)
        if (known[i] == value) return;
    if (*n < room) known[(*n)++] = value;
}

static void find_axes(const struct ptq_model_rows *rows, struct groups *g)
{
    for (int r = 0; r < rows->n; r++) {
        const struct ptq_cell *c = rows->row[r]->cell;
        if (c->w_bit == 16) continue;
        note_value(c->group_size, g->size, &g->n_sizes, MOST_SIZES);
        note_value(c->w_bit, g->width, &g->n_panels, MOST_PANELS);
    }
    qsort(g->size, (size_t)g->n_sizes, sizeof *g->size, by_size);
    qsort(g->width, (size_t)g->n_panels, sizeof *g->width, by_size);
}

static struct line *line_of(struct groups *g, const char *name, const char *method)
{
    for (int l = 0; l < g->n_lines; l++)
        if (strcmp(g->line[l].name, name) == 0) return &g->line[l];
    struct line *line = &g->line[g->n_lines++];
    *line = (struct line){.name = name, .method = method};
    for (int p = 0; p < MOST_PANELS; p++)
        for (int i = 0; i < MOST_SIZES; i++) line->point[p][i] = (struct ptq_point){NAN, NAN, NAN};
    return line;
}

static void place(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct ptq_report_row *row,
                  struct groups *g)
{
    struct line *line = line_of(g, ptq_row_name(arena, row), ptq_row_method(arena, row));
    for (int p = 0; p < g->n_panels; p++) {
        int n = 0;
        for (int i = 0; i < g->n_sizes; i++) {
            struct ptq_point *at = &line->point[p][i];
            if (g->width[p] == row->cell->w_bit && g->size[i] == row->cell->group_size && isnan(at->ppl))
                *at = ptq_point_of(row, rows->fp16);
            n += !isnan(at->ppl);
        }
        if (n > line->longest) line->longest = n;
    }
}

/* Lines with one point are none. Of too many, those that are the first of their method stay, then the others in their
 * order. */
static void choose_lines(struct groups *g)
{
    int kept = 0, n = 0;
    for (int l = 0; l < g->n_lines; l++)
        if (g->line[l].longest > 1) g->line[kept++] = g->line[l];
    for (int l = 0; l < kept; l++)
        for (int j = 0; j < l; j++) g->line[l].turn += strcmp(g->line[j].method, g->line[l].method) == 0;
    g->left_out = kept > MOST_LINES ? kept - MOST_LINES : 0;
    for (int drop = g->left_out, l = kept - 1; drop && l >= 0; l--)
        if (g->line[l].turn) g->line[l].longest = 0, drop--;
    for (int l = 0; l < kept && n < MOST_LINES; l++)
        if (g->line[l].longest) g->line[n++] = g->line[l];
    g->n_lines = n;
}

/* Widths that no line has left have no panel. */
static void choose_panels(struct groups *g)
{
    int kept = 0;
    for (int p = 0; p < g->n_panels; p++) {
        int there = 0;
        for (int l = 0; l < g->n_lines; l++)
            for (int i = 0; i < g->n_sizes; i++) there |= !isnan(g->line[l].point[p][i].ppl);
        if (!there) continue;
        for (int l = 0; l < g->n_lines; l++)
            memmove(g->line[l].point[kept], g->line[l].point[p], sizeof g->line[l].point[p]);
        g->width[kept++] = g->width[p];
    }
    g->n_panels = kept;
}

static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct groups *g)
{
    *g = (struct groups){.line = ptq_new(arena, struct line, rows->n)};
    find_axes(rows, g);
    for (int r = 0; r < rows->n; r++)
        if (rows->row[r]->cell->w_bit < 16) place(arena, rows, rows->row[r], g);
    choose_lines(g);
    choose_panels(g);
    return g->n_lines > 0;
}

static const char *size_name(struct ptq_arena *arena, int64_t size)
{
    return size < 0 ? "row" : ptq_format(arena, "%lld", (long long)size);
}

static void put_numbers(struct ptq_arena *arena, const struct groups *g, struct ptq_sheet *sheet)
{
    ptq_figure_columns(arena, sheet, "method,w_bit,line,panel,group_size,position,ppl,low,high",
                       g->n_lines * g->n_panels * g->n_sizes);
    for (int at = 0; at < g->n_lines * g->n_panels * g->n_sizes; at++) {
        int i = at % g->n_sizes, p = at / g->n_sizes % g->n_panels, l = at / g->n_sizes / g->n_panels;
        const struct ptq_point *point = &g->line[l].point[p][i];
        if (isnan(point->ppl)) continue;
        const char **row = sheet->row[sheet->n_rows++];
        row[0] = g->line[l].name;
        row[1] = ptq_format(arena, "%lld", (long long)g->width[p]);
        row[2] = ptq_format(arena, "%d", l + 1);
        row[3] = ptq_format(arena, "%d", p + 1);
        row[4] = size_name(arena, g->size[i]);
        row[5] = ptq_format(arena, "%d", i + 1);
        row[6] = ptq_figure_value(arena, point->ppl);
        row[7] = ptq_figure_value(arena, point->low);
        row[8] = ptq_figure_value(arena, point->high);
    }
}

/* Perplexities alone; the intervals are in the CSV file. */
static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct groups *g)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    const char *heads = "bits,method";
    for (int i = 0; i < g->n_sizes; i++)
        heads = ptq_format(arena, "%s,%s%s", heads, g->size[i] < 0 ? "" : "g", size_name(arena, g->size[i]));
    ptq_figure_columns(arena, sheet, heads, g->n_lines * g->n_panels);
    sheet->column[1].left = 1;
    for (int p = 0; p < g->n_panels; p++)
        for (int l = 0; l < g->n_lines; l++) {
            const char **row = sheet->row[sheet->n_rows];
            int there = 0;
            for (int i = 0; i < g->n_sizes; i++) {
                double ppl = g->line[l].point[p][i].ppl;
                row[2 + i] = ptq_number(arena, ppl, ptq_decimals(ppl), 0);
                there |= !isnan(ppl);
            }
            row[0] = ptq_format(arena, "%lld", (long long)g->width[p]);
            row[1] = g->line[l].name;
            sheet->n_rows += there;
        }
    return sheet;
}

static void put_panels(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct groups *g,
                       struct ptq_figure *f)
{
    const char *name[MOST_PANELS];
    for (int p = 0; p < g->n_panels; p++) {
        double low = INFINITY, high = -INFINITY;
        name[p] = ptq_format(arena, "%lld bits", (long long)g->width[p]);
        for (int l = 0; l < g->n_lines; l++)
            for (int i = 0; i < g->n_sizes; i++) ptq_point_stretch(&g->line[l].point[p][i], &low, &high);
        if (rows->fp16) {
            struct ptq_point fp16 = ptq_point_of(rows->fp16, rows->fp16);
            ptq_point_stretch(&fp16, &low, &high);
        }
        ptq_figure_axis(arena, f, ptq_format(arena, "p%d", p + 1), low, high);
    }
    ptq_figure_texts(arena, f, "panels", name, g->n_panels);
    ptq_figure_number(arena, f, "has_fp16", rows->fp16 != NULL);
    ptq_figure_number(arena, f, "fp16", rows->fp16 ? rows->fp16->estimate.ppl : NAN);
}

static void put_lines(struct ptq_arena *arena, const struct groups *g, struct ptq_figure *f)
{
    const char *name[MOST_LINES], *method[MOST_LINES], *turn[MOST_LINES], *ticks = "";
    for (int l = 0; l < g->n_lines; l++) {
        name[l] = ptq_escape(arena, PTQ_TABLE_TEXT, g->line[l].name);
        method[l] = g->line[l].method;
        turn[l] = ptq_format(arena, "%d", g->line[l].turn);
    }
    for (int i = 0; i < g->n_sizes; i++)
        ticks = ptq_format(arena, "%s%s\"%s\" %d", ticks, i ? ", " : "",
                           g->size[i] < 0 ? "one a row" : size_name(arena, g->size[i]), i + 1);
    ptq_figure_texts(arena, f, "lines", name, g->n_lines);
    ptq_figure_texts(arena, f, "line_method", method, g->n_lines);
    ptq_figure_texts(arena, f, "line_turn", turn, g->n_lines);
    ptq_figure_text(arena, f, "x_ticks", ticks);
    ptq_figure_number(arena, f, "n_sizes", g->n_sizes);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct groups *g = ptq_new(arena, struct groups, 1);
    if (!gather(arena, rows, g)) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "groups", "groups");
    f->height = 90 + 250 * ((g->n_panels + 1) / 2) + 19 * ((g->n_lines + 1) / 2);
    f->heading = ptq_format(arena, "%s: perplexity against group size", rows->model);
    f->note = ptq_figure_note(arena, rows, "bars");
    f->caption = "Smaller groups follow the weights more closely and store more scales; the gain is large at few bits "
                 "and small at many. One panel a width, with a scale of its own; one line a method.";
    if (g->left_out)
        f->caption = ptq_format(arena, "%s %d further line%s left out.", f->caption, g->left_out,
                                g->left_out == 1 ? " is" : "s are");
    f->alt = ptq_format(arena,
                        "Line charts: perplexity of %s against %d group sizes, %d width%s, %d line%s; the numbers are "
                        "in the table below.",
                        rows->model, g->n_sizes, g->n_panels, g->n_panels == 1 ? "" : "s", g->n_lines,
                        g->n_lines == 1 ? "" : "s");
    put_numbers(arena, g, &f->data);
    f->brief = brief(arena, g);
    put_panels(arena, rows, g, f);
    put_lines(arena, g, f);
}

const struct ptq_figure_kind ptq_figure_groups = {
    .name = "groups", .title = "Perplexity against group size", .find = find};
