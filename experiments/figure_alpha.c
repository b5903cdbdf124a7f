/* AWQ's ratio alpha, as the search chose it for each input, block by block: one panel a cell. */
#include "figure.h"
#include "figure_kinds.h"
#include "linear_name.h"

#include <math.h>
#include <string.h>

enum { MOST_PANELS = 3, MOST_LINES = 8 };

/* Linears that share an input have the same ratio: one line. What was not searched (the input of o, where heads share
 * a v) has none; files from before -1 stood for that hold 0, as for a search that chose 0. */
struct panel {
    const struct ptq_report_row *row;
    struct ptq_linear_grid grid;
    int told;                     /* the file tells what was not searched from what is 0 */
    const char *left;             /* the linears without a line: "o_proj", or "" */
    const char *line[MOST_LINES]; /* "q_proj, k_proj, v_proj" */
    int role[MOST_LINES];         /* that stands for the line */
    int number[MOST_LINES];       /* the line's in the key, from 1 */
    int n;
};

/* The lines of all panels, each name once: one colour and mark a name. */
struct key {
    const char *line[MOST_LINES];
    int n;
};

static int number_of(struct key *key, const char *line)
{
    for (int l = 0; l < key->n; l++)
        if (strcmp(key->line[l], line) == 0) return l + 1;
    if (key->n < MOST_LINES) key->line[key->n++] = line;
    return key->n;
}

static double alpha_of(const struct ptq_linear_grid *g, int block, int role)
{
    const struct ptq_linear_report *linear = g->linear[block * g->n_roles + role];
    return linear && linear->alpha >= 0 ? linear->alpha : NAN;
}

static double largest_of(const struct ptq_linear_grid *g, int role)
{
    double largest = -1;
    for (int block = 0; block < g->blocks; block++) largest = fmax(largest, alpha_of(g, block, role));
    return largest;
}

/* As it may be said of a panel's linears without a line. */
static const char *why_left(const struct panel *p)
{
    return p->told ? "not searched" : "not searched, or 0 in every block";
}

static int same_alphas(const struct ptq_linear_grid *g, int a, int b)
{
    for (int block = 0; block < g->blocks; block++) {
        double x = alpha_of(g, block, a), y = alpha_of(g, block, b);
        if (x != y && !(isnan(x) && isnan(y))) return 0;
    }
    return 1;
}

static void merge_roles(struct ptq_arena *arena, struct panel *p)
{
    p->left = "";
    for (int i = 0; i < p->row->cell->n_linears; i++) p->told |= p->row->cell->linear[i].alpha < 0;
    for (int r = 0; r < p->grid.n_roles; r++) {
        double largest = largest_of(&p->grid, r);
        if (largest < 0 || (largest == 0 && !p->told))
            p->left = ptq_format(arena, "%s%s%s", p->left, *p->left ? ", " : "", p->grid.role[r]);
        else if (p->n && same_alphas(&p->grid, r, p->role[p->n - 1]))
            p->line[p->n - 1] = ptq_format(arena, "%s, %s", p->line[p->n - 1], p->grid.role[r]);
        else if (p->n < MOST_LINES) {
            p->role[p->n] = r;
            p->line[p->n++] = p->grid.role[r];
        }
    }
}

static int has_alpha(const struct ptq_cell *cell)
{
    if (!strstr(cell->method, "awq")) return 0;
    for (int i = 0; i < cell->n_linears; i++)
        if (cell->linear[i].alpha > 0) return 1;
    return 0;
}

static void put_numbers(struct ptq_arena *arena, const struct panel *panel, int n, struct ptq_sheet *sheet)
{
    int room = 0;
    for (int p = 0; p < n; p++) room += panel[p].grid.blocks * panel[p].n;
    ptq_figure_columns(arena, sheet, "cell,grid,panel,linears,line,block,alpha", room);
    for (int p = 0; p < n; p++)
        for (int l = 0; l < panel[p].n; l++)
            for (int b = 0; b < panel[p].grid.blocks; b++) {
                double alpha = alpha_of(&panel[p].grid, b, panel[p].role[l]);
                if (isnan(alpha)) continue;
                const char **row = sheet->row[sheet->n_rows++];
                row[0] = ptq_row_name(arena, panel[p].row);
                row[1] = ptq_row_grid(arena, panel[p].row);
                row[2] = ptq_format(arena, "%d", p + 1);
                row[3] = panel[p].line[l];
                row[4] = ptq_format(arena, "%d", panel[p].number[l]);
                row[5] = ptq_format(arena, "%d", b);
                row[6] = ptq_figure_value(arena, alpha);
            }
}

static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct panel *panel, int n)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "cell,linears,mean alpha,smallest,largest,blocks left as they are",
                       n * (MOST_LINES + 1));
    sheet->column[0].left = sheet->column[1].left = 1;
    for (int p = 0; p < n; p++) {
        const char *cell =
            ptq_format(arena, "%s %s", ptq_row_name(arena, panel[p].row), ptq_row_grid(arena, panel[p].row));
        for (int l = 0; l < panel[p].n; l++) {
            double sum = 0, low = INFINITY, high = 0;
            int there = 0, zeros = 0;
            for (int b = 0; b < panel[p].grid.blocks; b++) {
                double alpha = alpha_of(&panel[p].grid, b, panel[p].role[l]);
                if (isnan(alpha)) continue;
                sum += alpha, there++, zeros += alpha == 0;
                low = fmin(low, alpha);
                high = fmax(high, alpha);
            }
            const char **row = sheet->row[sheet->n_rows++];
            row[0] = cell;
            row[1] = panel[p].line[l];
            row[2] = ptq_format(arena, "%.2f", there ? sum / there : 0);
            row[3] = ptq_format(arena, "%.2f", low);
            row[4] = ptq_format(arena, "%.2f", high);
            row[5] = ptq_format(arena, "%d", zeros);
        }
        if (!*panel[p].left) continue;
        const char **row = sheet->row[sheet->n_rows++];
        row[0] = cell;
        row[1] = panel[p].left;
        row[2] = why_left(&panel[p]);
    }
    return sheet;
}

static void put_settings(struct ptq_arena *arena, const struct panel *panel, int n, const struct key *key,
                         struct ptq_figure *f)
{
    const char *name[MOST_PANELS], *lines[MOST_LINES];
    int blocks = 0;
    for (int p = 0; p < n; p++) {
        name[p] = ptq_format(arena, "%s, %s", ptq_row_name(arena, panel[p].row), ptq_row_grid(arena, panel[p].row));
        if (*panel[p].left) name[p] = ptq_format(arena, "%s; %s: %s", name[p], why_left(&panel[p]), panel[p].left);
        name[p] = ptq_escape(arena, PTQ_TABLE_TEXT, name[p]);
        if (panel[p].grid.blocks > blocks) blocks = panel[p].grid.blocks;
    }
    for (int l = 0; l < key->n; l++) lines[l] = ptq_escape(arena, PTQ_TABLE_TEXT, key->line[l]);
    ptq_figure_texts(arena, f, "panels", name, n);
    ptq_figure_texts(arena, f, "lines", lines, key->n);
    ptq_figure_number(arena, f, "n_blocks", blocks);
}

/* AWQ's cells, one a width and group size first, then others. */
static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct panel *panel, int *n_cells)
{
    int n = 0;
    *n_cells = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < rows->n; r++) {
            int taken = 0;
            if (!has_alpha(rows->row[r]->cell)) continue;
            *n_cells += !pass;
            for (int p = 0; p < n; p++)
                taken |=
                    panel[p].row == rows->row[r] || (!pass && panel[p].row->cell->w_bit == rows->row[r]->cell->w_bit &&
                                                     panel[p].row->cell->group_size == rows->row[r]->cell->group_size);
            if (taken || n == MOST_PANELS) continue;
            panel[n] = (struct panel){.row = rows->row[r]};
            if (!ptq_linear_grid_make(arena, rows->row[r]->cell, &panel[n].grid)) continue;
            merge_roles(arena, &panel[n]);
            n += panel[n].n > 0;
        }
    return n;
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct panel *panel = ptq_new(arena, struct panel, MOST_PANELS);
    int n_cells, n = gather(arena, rows, panel, &n_cells);
    if (!n) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "alpha", "alpha");
    f->heading = ptq_format(arena, "%s: alpha that AWQ chose", rows->model);
    f->note = "s = (mean |x|)^alpha, before it is centred; 0 leaves the input as it is";
    struct key key = {.n = 0};
    int left = 0;
    for (int p = 0; p < n; p++) {
        left |= *panel[p].left != 0;
        for (int l = 0; l < panel[p].n; l++) panel[p].number[l] = number_of(&key, panel[p].line[l]);
    }
    f->caption = ptq_format(arena,
                            "The exponent that the search chose for the input of the linears named, block by block. "
                            "Near 0 the weights are left as they are, near 1 they are scaled by the whole magnitude of "
                            "their channel.%s%s",
                            left ? " What was not searched has no line: AWQ leaves out an input that it cannot scale "
                                   "by what comes before, such as o_proj's where heads share a v."
                                 : "",
                            n < n_cells ? ptq_format(arena, " %d of %d AWQ cells are shown.", n, n_cells) : "");
    f->alt = ptq_format(arena,
                        "%d panels: alpha from 0 to 1 against the block, one line an input; means and extremes "
                        "are in the table below.",
                        n);
    f->height = 120 + 180 * n;
    put_numbers(arena, panel, n, &f->data);
    f->brief = brief(arena, panel, n);
    put_settings(arena, panel, n, &key, f);
}

const struct ptq_figure_kind ptq_figure_alpha = {.name = "alpha", .title = "Alpha chosen by AWQ", .find = find};
