/* The table as a picture: a line a cell, its perplexity with its bar, each seed's own, and the number beside it. What
 * other figures leave out (cells with only=, methods of one size, calibration on another text) is here. */
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <string.h>

enum { MOST_ROWS = 40, LINE = 22, LABEL = 58 };

struct lines {
    const struct ptq_report_row **row; /* [n] */
    struct ptq_point *point;
    int n, n_seeds, most_seeds, differ_in_grid;
    struct ptq_figure_methods methods;
};

/* The model's quantised rows, those with only= too, which stand in no section. 0 where they are none or too many. */
static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct lines *l)
{
    const struct ptq_report *report = rows->report;
    *l = (struct lines){.row = ptq_new(arena, const struct ptq_report_row *, report->n_rows)};
    for (int r = 0; r < report->n_rows; r++) {
        const struct ptq_report_row *row = &report->row[r];
        if (row->cell->w_bit == 16 || !ptq_same_task(row->cell, rows->row[0]->cell) || !isfinite(row->estimate.ppl))
            continue;
        l->row[l->n++] = row;
        if (row->seeds.n > 1) l->n_seeds += row->seeds.n;
        if (row->seeds.n > l->most_seeds) l->most_seeds = row->seeds.n;
        const struct ptq_cell *c = row->cell, *first = l->row[0]->cell;
        l->differ_in_grid |= c->w_bit != first->w_bit || c->group_size != first->group_size;
    }
    if (l->n < 1 || l->n > MOST_ROWS) return 0;
    l->point = ptq_new(arena, struct ptq_point, l->n);
    for (int i = 0; i < l->n; i++) l->point[i] = ptq_point_of(l->row[i], rows->fp16);
    return 1;
}

/* A line of the file a row, and one a seed where a row is of several. */
static void put_numbers(struct ptq_arena *arena, struct lines *l, struct ptq_sheet *sheet)
{
    ptq_figure_columns(arena, sheet, "cell,line,method_number,seeds,seed,ppl,low,high,shown", l->n + l->n_seeds);
    for (int i = 0; i < l->n; i++)
        for (int s = -1; s < (l->row[i]->seeds.n > 1 ? l->row[i]->seeds.n : 0); s++) {
            const struct ptq_replicates *seeds = &l->row[i]->seeds;
            const char **row = sheet->row[sheet->n_rows++];
            row[0] = ptq_row_line(arena, l->row[i], l->differ_in_grid);
            row[1] = ptq_format(arena, "%d", i);
            row[2] = ptq_format(arena, "%d", ptq_figure_method(arena, &l->methods, l->row[i]));
            row[3] = s < 0 ? ptq_format(arena, "%d", seeds->n) : "0";
            row[4] = s < 0 ? "" : ptq_format(arena, "%lld", (long long)seeds->cell[s]->seed);
            row[5] = ptq_figure_value(arena, s < 0 ? l->point[i].ppl : seeds->cell[s]->ppl);
            if (s >= 0) continue;
            row[6] = ptq_figure_value(arena, l->point[i].low);
            row[7] = ptq_figure_value(arena, l->point[i].high);
            row[8] = ptq_number(arena, l->point[i].ppl, ptq_decimals(l->point[i].ppl), 0);
        }
}

static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct lines *l, const struct ptq_model_rows *rows)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "cell,perplexity,interval,replicates: n,lowest,highest", l->n);
    sheet->column[0].left = 1;
    sheet->column[2].head = ptq_point_head(rows->fp16);
    sheet->n_rows = l->n;
    for (int i = 0; i < l->n; i++) {
        const struct ptq_replicates *s = &l->row[i]->seeds;
        int decimals = ptq_decimals(l->point[i].ppl);
        const char **row = sheet->row[i];
        row[0] = ptq_row_line(arena, l->row[i], l->differ_in_grid);
        row[1] = ptq_number(arena, l->point[i].ppl, decimals, 0);
        row[2] = ptq_point_interval(arena, l->row[i], rows->fp16);
        if (s->n < 2) continue;
        row[3] = ptq_format(arena, "%d", s->n);
        row[4] = ptq_number(arena, s->lowest, decimals, 0);
        row[5] = ptq_number(arena, s->highest, decimals, 0);
    }
    return sheet;
}

/* Where the plot begins and its axis: all bars and seeds are inside. */
static void put_settings(struct ptq_arena *arena, const struct lines *l, const struct ptq_model_rows *rows,
                         struct ptq_figure *f)
{
    const char *name[MOST_ROWS];
    double low = INFINITY, high = -INFINITY;
    size_t longest = 0, longest_number = 0;
    for (int i = 0; i < l->n; i++) {
        const struct ptq_replicates *s = &l->row[i]->seeds;
        ptq_point_stretch(&l->point[i], &low, &high);
        if (s->n > 1 && isfinite(s->highest)) low = fmin(low, s->lowest), high = fmax(high, s->highest);
        name[i] = ptq_figure_cut(
            arena, ptq_escape(arena, PTQ_TABLE_TEXT, ptq_row_line(arena, l->row[i], l->differ_in_grid)), LABEL);
        size_t number = strlen(ptq_number(arena, l->point[i].ppl, ptq_decimals(l->point[i].ppl), 0));
        if (strlen(name[i]) > longest) longest = strlen(name[i]);
        if (number > longest_number) longest_number = number;
    }
    if (rows->fp16) {
        struct ptq_point fp16 = ptq_point_of(rows->fp16, rows->fp16);
        ptq_point_stretch(&fp16, &low, &high);
    }
    f->height = 150 + LINE * l->n;
    ptq_figure_texts(arena, f, "methods", l->methods.name, l->methods.n);
    ptq_figure_ticks(arena, f, "row_ticks", name, l->n);
    ptq_figure_number(arena, f, "n_lines", l->n);
    ptq_figure_number(arena, f, "label_width", (double)longest);
    ptq_figure_number(arena, f, "number_width", (double)longest_number);
    ptq_figure_axis(arena, f, "x", low, high);
    ptq_figure_number(arena, f, "has_seeds", l->n_seeds > 0);
    ptq_figure_number(arena, f, "has_fp16", rows->fp16 != NULL);
    ptq_figure_number(arena, f, "fp16", rows->fp16 ? rows->fp16->estimate.ppl : NAN);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct lines l;
    if (!gather(arena, rows, &l)) return;
    struct ptq_model_rows all = *rows;
    all.row = l.row;
    all.n = l.n;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "rows", "cells");
    f->heading = ptq_format(arena, "%s: perplexity of each cell", rows->model);
    f->note = ptq_figure_note(arena, &all, "bars");
    if (l.n_seeds) f->note = ptq_format(arena, "%s; circles: up to %d replicates", f->note, l.most_seeds);
    f->caption = "The table as a picture: the perplexity of each cell, with the number beside it. Two cells whose bars "
                 "overlap may still differ, since they saw the same tokens: ptq table --against compares them.";
    f->alt = ptq_format(arena, "Dot plot: perplexity of %d cells of %s; the numbers are in the table below.", l.n,
                        rows->model);
    put_numbers(arena, &l, &f->data);
    f->brief = brief(arena, &l, rows);
    put_settings(arena, &l, rows, f);
}

const struct ptq_figure_kind ptq_figure_rows = {.name = "rows", .title = "Perplexity of each cell", .find = find};
