/* The error of each linear as a heat map, block by role: one panel a cell. */
#include "figure.h"
#include "figure_kinds.h"
#include "linear_name.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PANELS = 6, PANEL_WIDTH = 40 }; /* PANEL_WIDTH: characters of a title's line */

struct panel {
    const struct ptq_report_row *row;
    struct ptq_linear_grid grid;
    const char *name;
    int worst; /* in grid.linear */
    double low, high, sum;
    int n;
};

struct error {
    struct panel panel[MOST_PANELS];
    int n, n_cells;
    int of_output; /* the error of the output; else that of the weights */
};

static double error_of(const struct error *e, const struct ptq_linear_report *linear)
{
    double error = !linear ? NAN : e->of_output ? linear->output_error : linear->weight_error;
    return error > 0 && isfinite(error) ? error : NAN;
}

/* The section with the most cells of a width, so that panels are of one grid and width. */
static const struct ptq_section *fullest(const struct ptq_model_rows *rows, int64_t w_bit)
{
    const struct ptq_section *best = NULL;
    for (int s = 0; s < rows->n_sections; s++)
        if (rows->section[s]->w_bit == w_bit && (!best || rows->section[s]->n > best->n)) best = rows->section[s];
    return best;
}

static int is_shown(const struct error *e, const struct ptq_report_row *row)
{
    for (int p = 0; p < e->n; p++)
        if (e->panel[p].row == row) return 1;
    return 0;
}

static int has_method(struct ptq_arena *arena, const struct error *e, const struct ptq_report_row *row)
{
    for (int p = 0; p < e->n; p++)
        if (strcmp(ptq_row_method(arena, e->panel[p].row), ptq_row_method(arena, row)) == 0) return 1;
    return 0;
}

/* One cell a method first, then others while there is room. */
static void choose(struct ptq_arena *arena, const struct ptq_section *section, struct error *e)
{
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < section->n && e->n < MOST_PANELS; r++) {
            const struct ptq_report_row *row = section->row[r];
            struct panel p = {.row = row, .low = INFINITY, .high = -INFINITY, .worst = -1};
            if (is_shown(e, row) || (!pass && has_method(arena, e, row))) continue;
            if (ptq_linear_grid_make(arena, row->cell, &p.grid)) e->panel[e->n++] = p;
        }
    for (int r = 0; r < section->n; r++) e->n_cells += section->row[r]->cell->n_linears > 0;
}

static void measure(const struct error *e, struct panel *p)
{
    for (int i = 0; i < p->grid.blocks * p->grid.n_roles; i++) {
        double error = error_of(e, p->grid.linear[i]);
        if (isnan(error)) continue;
        if (error > p->high) p->worst = i;
        p->low = fmin(p->low, error);
        p->high = fmax(p->high, error);
        p->sum += error;
        p->n++;
    }
}

static int gather(struct ptq_arena *arena, const struct ptq_section *section, struct error *e)
{
    *e = (struct error){.of_output = 1};
    choose(arena, section, e);
    for (int p = 0; p < e->n; p++)
        for (int i = 0; i < e->panel[p].row->cell->n_linears; i++)
            e->of_output &= e->panel[p].row->cell->linear[i].output_error >= 0;
    int any = 0;
    for (int p = 0; p < e->n; p++) {
        measure(e, &e->panel[p]);
        e->panel[p].name = ptq_row_name(arena, e->panel[p].row);
        any += e->panel[p].n;
    }
    return any > 0;
}

static void put_numbers(struct ptq_arena *arena, const struct error *e, struct ptq_sheet *sheet)
{
    int n = 0;
    for (int p = 0; p < e->n; p++) n += e->panel[p].grid.blocks * e->panel[p].grid.n_roles;
    ptq_figure_columns(
        arena, sheet,
        ptq_format(arena, "cell,panel,block,role,role_number,%s", e->of_output ? "output_error" : "weight_error"), n);
    for (int p = 0; p < e->n; p++)
        for (int i = 0; i < e->panel[p].grid.blocks * e->panel[p].grid.n_roles; i++) {
            const struct ptq_linear_grid *g = &e->panel[p].grid;
            double error = error_of(e, g->linear[i]);
            if (isnan(error)) continue;
            const char **row = sheet->row[sheet->n_rows++];
            row[0] = e->panel[p].name;
            row[1] = ptq_format(arena, "%d", p + 1);
            row[2] = ptq_format(arena, "%d", i / g->n_roles);
            row[3] = g->role[i % g->n_roles];
            row[4] = ptq_format(arena, "%d", i % g->n_roles);
            row[5] = ptq_figure_value(arena, error);
        }
}

static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct error *e)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "cell,mean error,smallest,largest,where", e->n);
    sheet->column[0].left = sheet->column[4].left = 1;
    for (int p = 0; p < e->n; p++) {
        const struct panel *panel = &e->panel[p];
        if (!panel->n) continue;
        const char **row = sheet->row[sheet->n_rows++];
        row[0] = panel->name;
        row[1] = ptq_format(arena, "%.3g", panel->sum / panel->n);
        row[2] = ptq_format(arena, "%.3g", panel->low);
        row[3] = ptq_format(arena, "%.3g", panel->high);
        row[4] = ptq_format(arena, "block %d, %s", panel->worst / panel->grid.n_roles,
                            panel->grid.role[panel->worst % panel->grid.n_roles]);
    }
    return sheet;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The scale's lower end: the 2nd percentile of all that is drawn. A single linear that loses nothing (its salient
 * channel carries all of its output) would take the contrast from all others. */
static double scale_low(struct ptq_arena *arena, const struct ptq_sheet *numbers)
{
    double *value = ptq_new(arena, double, numbers->n_rows);
    for (int r = 0; r < numbers->n_rows; r++) value[r] = strtod(numbers->row[r][5], NULL);
    qsort(value, (size_t)numbers->n_rows, sizeof *value, by_value);
    return value[numbers->n_rows / 50];
}

static void put_settings(struct ptq_arena *arena, const struct error *e, struct ptq_figure *f)
{
    const char *name[MOST_PANELS];
    const struct ptq_linear_grid *g = &e->panel[0].grid;
    double low = scale_low(arena, &f->data), high = -INFINITY;
    int blocks = 0;
    for (int p = 0; p < e->n; p++) {
        name[p] = e->panel[p].name;
        high = fmax(high, e->panel[p].high);
        if (e->panel[p].grid.blocks > blocks) blocks = e->panel[p].grid.blocks;
    }
    int pitch = ptq_figure_titles(arena, f, "panels", name, e->n, PANEL_WIDTH) ? 206 : 190;
    f->height = 70 + pitch * ((e->n + 1) / 2);
    ptq_figure_number(arena, f, "pitch", pitch);
    ptq_figure_ticks(arena, f, "role_ticks", g->role, g->n_roles);
    ptq_figure_number(arena, f, "n_roles", g->n_roles);
    ptq_figure_number(arena, f, "n_blocks", blocks);
    ptq_figure_number(arena, f, "low", low);
    ptq_figure_number(arena, f, "high", high > low ? high : low * 1.01);
}

/* What the error of outputs is measured on is what GPTQ makes small. */
static const char fitted[] = "the tokens are of the calibration text, and a method that fits its codes to that (GPTQ, "
                             "OBQ) has less of this error than its perplexity on another text would say.";

static void describe(struct ptq_arena *arena, const struct ptq_section *section, const struct error *e,
                     struct ptq_figure *f)
{
    const char *what = e->of_output ? "output" : "weights";
    f->heading = ptq_format(arena, "%s, %s: error of each linear's %s", section->model,
                            ptq_section_settings(arena, section), what);
    f->note = e->of_output ? "squared error of the output over the squared output, on sampled calibration tokens; "
                             "darkest: this or less"
                           : "squared error of the weights over the squared weights; log scale, darkest: this or less";
    f->caption = ptq_format(
        arena,
        "Relative squared error of each linear's %s, block by block; all panels share the scale, and a light row or "
        "column is where a cell loses most. It is no order of methods: %s%s",
        what, e->of_output ? fitted : "codes that keep the outputs may move the weights further. Perplexity judges.",
        e->n < e->n_cells ? ptq_format(arena, " %d of %d cells are shown, one of each method first.", e->n, e->n_cells)
                          : "");
    f->alt = ptq_format(arena,
                        "%d heat maps of the error of each linear, blocks across and roles down; mean, smallest "
                        "and largest are in the table below.",
                        e->n);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct error *e = ptq_new(arena, struct error, 1);
    for (int64_t w_bit = 1; w_bit < 16; w_bit++) {
        const struct ptq_section *section = fullest(rows, w_bit);
        if (!section || !gather(arena, section, e)) continue;
        struct ptq_figure *f =
            ptq_figure_add(arena, out, rows, "error", ptq_format(arena, "w%lld-error", (long long)w_bit));
        describe(arena, section, e, f);
        put_numbers(arena, e, &f->data);
        f->brief = brief(arena, e);
        put_settings(arena, e, f);
    }
}

const struct ptq_figure_kind ptq_figure_error = {.name = "error", .title = "Error of each linear", .find = find};
