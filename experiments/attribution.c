#include "attribution.h"

#include "model_name.h"
#include "only.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORST = 10, DECIMALS = 2 };
static const double milli = 1000; /* costs are printed in thousandths of a nat */

/* One swapped cell and what it costs, in thousandths of a nat; NaN where it is not known. */
struct swap {
    const struct ptq_cell *cell;
    const char *only; /* NULL: all linears */
    int64_t block;    /* of a single linear, else -1 */
    enum ptq_role role;
    double nll, kl;
};

/* The cells of one method and model. */
struct group {
    const char *spec; /* without only= */
    const char *model;
    struct swap *swap; /* [n], singles and others */
    int n;
};

int ptq_is_swap(const struct ptq_cell *cell)
{
    return strstr(cell->spec, ",only=") != NULL;
}

static const char *base_spec(struct ptq_arena *arena, const struct ptq_cell *cell)
{
    return ptq_format(arena, "%.*s", (int)(strstr(cell->spec, ",only=") - cell->spec), cell->spec);
}

/* ---- gathering ---- */

static const struct ptq_cell *find_fp16(const struct ptq_report *report, const struct ptq_cell *of)
{
    for (int i = 0; i < report->n_rows; i++)
        if (strcmp(report->row[i].cell->method, "fp16") == 0 && ptq_same_task(report->row[i].cell, of))
            return report->row[i].cell;
    return NULL;
}

static struct swap make_swap(struct ptq_arena *arena, const struct ptq_cell *cell, const struct ptq_cell *fp16)
{
    struct swap s = {.cell = cell, .only = ptq_report_option(arena, cell->spec, "only"), .block = -1};
    if (!s.only || !ptq_only_is_one(s.only, &s.block, &s.role)) s.block = -1;
    s.nll = fp16 ? milli * (cell->nll_mean - fp16->nll_mean) : NAN;
    s.kl = cell->kl ? milli * cell->kl_mean : NAN;
    return s;
}

/* All cells of row[first]'s method and model, with the one that swaps everything. */
static struct group gather(struct ptq_arena *arena, const struct ptq_report *report, int first)
{
    const struct ptq_cell *of = report->row[first].cell, *fp16 = find_fp16(report, of);
    struct group g = {.spec = base_spec(arena, of), .model = ptq_model_name(arena, report->cell, report->n_cells, of)};
    g.swap = ptq_new(arena, struct swap, report->n_rows);
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *c = report->row[i].cell;
        if (!ptq_same_task(of, c)) continue;
        if (strcmp(ptq_is_swap(c) ? base_spec(arena, c) : c->spec, g.spec) == 0)
            g.swap[g.n++] = make_swap(arena, c, fp16);
    }
    return g;
}

static int is_first(struct ptq_arena *arena, const struct ptq_report *report, int row)
{
    const struct ptq_cell *of = report->row[row].cell;
    for (int i = 0; i < row; i++) {
        const struct ptq_cell *c = report->row[i].cell;
        if (ptq_is_swap(c) && ptq_same_task(of, c) && strcmp(base_spec(arena, c), base_spec(arena, of)) == 0) return 0;
    }
    return 1;
}

static const char *number(struct ptq_arena *arena, double value, int sign)
{
    return ptq_number(arena, value, DECIMALS, sign);
}

/* ---- by block and role ---- */

static const struct swap *find_single(const struct group *g, int64_t block, int role)
{
    for (int i = 0; i < g->n; i++)
        if (g->swap[i].block == block && (int)g->swap[i].role == role) return &g->swap[i];
    return NULL;
}

static double cost(const struct swap *s, int of_kl)
{
    return of_kl ? s->kl : s->nll;
}

/* Sum over the singles of a block, of a role, or (-1) of all. */
static double sum_of(const struct group *g, int64_t block, int role, int of_kl)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < g->n; i++) {
        const struct swap *s = &g->swap[i];
        if (s->block < 0 || (block >= 0 && s->block != block) || (role >= 0 && (int)s->role != role)) continue;
        sum += cost(s, of_kl);
        n++;
    }
    return n ? sum : NAN;
}

static void matrix_row(struct ptq_arena *arena, const struct group *g, int64_t block, int of_kl, const char **out)
{
    out[0] = block < 0 ? "sum" : ptq_format(arena, "%lld", (long long)block);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct swap *s = block < 0 ? NULL : find_single(g, block, role);
        double value = block < 0 ? sum_of(g, -1, role, of_kl) : s ? cost(s, of_kl) : NAN;
        out[1 + role] = number(arena, value, 0);
    }
    out[1 + PTQ_N_ROLE] = number(arena, sum_of(g, block, -1, of_kl), 0);
}

static void print_matrix(struct ptq_arena *arena, const struct group *g, int of_kl, enum ptq_table_format format,
                         FILE *out)
{
    struct ptq_sheet sheet = {.column = {{.head = "block"}}, .n_columns = 2 + PTQ_N_ROLE};
    int64_t last = -1;
    for (int i = 0; i < g->n; i++)
        if (g->swap[i].block > last) last = g->swap[i].block;
    if (last < 0 || isnan(sum_of(g, -1, -1, of_kl))) return;
    sheet.title = ptq_format(arena, "%s, %s: %s of each linear swapped alone, in thousandths of a nat", g->model,
                             g->spec, of_kl ? "KL divergence to FP16" : "change of the mean nll");
    for (int role = 0; role < PTQ_N_ROLE; role++) sheet.column[1 + role].head = ptq_role_word[role];
    sheet.column[1 + PTQ_N_ROLE].head = "sum";
    sheet.row = ptq_alloc_array(arena, (size_t)last + 2, sizeof *sheet.row, "a table");
    for (int64_t block = 0; block <= last; block++)
        if (!isnan(sum_of(g, block, -1, of_kl))) matrix_row(arena, g, block, of_kl, sheet.row[sheet.n_rows++]);
    matrix_row(arena, g, -1, of_kl, sheet.row[sheet.n_rows++]);
    ptq_sheet_print(&sheet, format, out);
    fputs("\n", out);
}

/* ---- the worst ---- */

/* By KL, else by nll, the largest first. */
static int by_cost(const void *a, const void *b)
{
    const struct swap *x = *(const struct swap *const *)a, *y = *(const struct swap *const *)b;
    int of_kl = !isnan(x->kl) && !isnan(y->kl);
    double p = cost(x, of_kl), q = cost(y, of_kl);
    return p > q ? -1 : p < q;
}

static void worst_row(struct ptq_arena *arena, const struct group *g, const struct swap *s, const char **out)
{
    const struct ptq_linear_report *l = s->cell->n_linears ? s->cell->linear : NULL;
    out[0] = l ? l->name : s->only;
    out[1] = number(arena, s->kl, 0);
    out[2] = isnan(s->kl) ? "" : ptq_format(arena, "%.1f", 100 * s->kl / sum_of(g, -1, -1, 1));
    out[3] = number(arena, s->nll, 1);
    out[4] = l ? ptq_format(arena, "%.4f", l->weight_error) : "";
    out[5] = l && l->output_error >= 0 ? ptq_format(arena, "%.4f", l->output_error) : "";
}

static void print_worst(struct ptq_arena *arena, const struct group *g, enum ptq_table_format format, FILE *out)
{
    const struct swap **single = ptq_new(arena, const struct swap *, g->n);
    int n = 0;
    for (int i = 0; i < g->n; i++)
        if (g->swap[i].block >= 0) single[n++] = &g->swap[i];
    if (n < 2) return;
    qsort(single, (size_t)n, sizeof *single, by_cost);
    struct ptq_sheet sheet = {.column = {{.head = "linear", .left = 1},
                                         {.head = "KL / 1000"},
                                         {.head = "% of the sum"},
                                         {.head = "nll / 1000"},
                                         {.head = "weight error"},
                                         {.head = "output error"}},
                              .n_columns = 6,
                              .n_rows = n < MOST_WORST ? n : MOST_WORST};
    sheet.title = ptq_format(arena, "%s, %s: the linears that cost most", g->model, g->spec);
    sheet.row = ptq_alloc_array(arena, (size_t)sheet.n_rows, sizeof *sheet.row, "a table");
    for (int r = 0; r < sheet.n_rows; r++) worst_row(arena, g, single[r], sheet.row[r]);
    ptq_sheet_print(&sheet, format, out);
    fputs("\n", out);
}

/* ---- does it add up? ---- */

static int has_linear(const struct ptq_cell *cell, const char *name)
{
    for (int i = 0; i < cell->n_linears; i++)
        if (strcmp(cell->linear[i].name, name) == 0) return 1;
    return 0;
}

/* Sum of the singles whose linears s swaps too; NaN where one of them is missing. */
static double parts_of(const struct group *g, const struct swap *s, int of_kl)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < g->n; i++) {
        const struct swap *one = &g->swap[i];
        if (one->block < 0 || !one->cell->n_linears || !has_linear(s->cell, one->cell->linear[0].name)) continue;
        sum += cost(one, of_kl);
        n++;
    }
    return n == s->cell->n_linears ? sum : NAN;
}

static void sum_row(struct ptq_arena *arena, const struct group *g, const struct swap *s, const char **out)
{
    int n = 0;
    out[n++] = s->only ? s->only : "all";
    out[n++] = ptq_format(arena, "%d", s->cell->n_linears);
    for (int of_kl = 1; of_kl >= 0; of_kl--) {
        double together = cost(s, of_kl), parts = parts_of(g, s, of_kl);
        out[n++] = number(arena, together, !of_kl);
        out[n++] = number(arena, parts, !of_kl);
        out[n++] = ptq_number(arena, together / parts, DECIMALS, 0);
    }
}

static void print_sums(struct ptq_arena *arena, const struct group *g, enum ptq_table_format format, FILE *out)
{
    struct ptq_sheet sheet = {.column = {{.head = "swapped", .left = 1},
                                         {.head = "linears"},
                                         {.group = "KL / 1000", .head = "at once"},
                                         {.group = "KL / 1000", .head = "each alone"},
                                         {.group = "KL", .head = "ratio"},
                                         {.group = "nll / 1000", .head = "at once"},
                                         {.group = "nll / 1000", .head = "each alone"},
                                         {.group = "nll", .head = "ratio"}},
                              .n_columns = 8};
    sheet.title = ptq_format(arena, "%s, %s: several linears swapped at once, and each alone", g->model, g->spec);
    sheet.row = ptq_alloc_array(arena, (size_t)g->n, sizeof *sheet.row, "a table");
    for (int i = 0; i < g->n; i++)
        if (g->swap[i].block < 0) sum_row(arena, g, &g->swap[i], sheet.row[sheet.n_rows++]);
    if (!sheet.n_rows) return;
    ptq_sheet_print(&sheet, format, out);
    fputs("\n", out);
}

void ptq_attribution_print(struct ptq_arena *arena, const struct ptq_report *report, enum ptq_table_format format,
                           FILE *out)
{
    for (int i = 0; i < report->n_rows; i++) {
        if (!ptq_is_swap(report->row[i].cell) || !is_first(arena, report, i)) continue;
        struct group g = gather(arena, report, i);
        print_matrix(arena, &g, 1, format, out);
        print_matrix(arena, &g, 0, format, out);
        print_worst(arena, &g, format, out);
        print_sums(arena, &g, format, out);
    }
}
