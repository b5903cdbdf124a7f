/* What cells cost: seconds by stage as stacked bars, and the process's peak memory beside them. */
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <string.h>

enum { MOST_BARS = 30, N_STAGES = 4, LABEL_WIDTH = 72 }; /* LABEL_WIDTH: characters of a bar's name */

static void stages(const struct ptq_cell *c, double out[N_STAGES])
{
    out[0] = c->seconds_load;
    out[1] = c->seconds_calibrate;
    out[2] = c->seconds_quantize;
    out[3] = c->seconds_eval;
}

static double mebibytes(const struct ptq_cell *c)
{
    return (double)c->peak_rss_bytes / (1 << 20);
}

static const char *name_of(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct ptq_report_row *row)
{
    const char *name = ptq_row_name(arena, row);
    if (row->cell->w_bit == 16 || !ptq_rows_differ_in_grid(rows)) return name;
    return ptq_format(arena, "%s, %s", name, ptq_row_grid(arena, row));
}

/* What a page prints: seconds to one decimal, memory in whole MiB. */
static void put_rows(struct ptq_arena *arena, const struct ptq_model_rows *rows, int n, struct ptq_figure *f)
{
    struct ptq_sheet *brief = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, &f->data, "cell,bar,load_s,calibrate_s,quantize_s,eval_s,peak_mib", n);
    ptq_figure_columns(arena, brief, "cell,load (s),calibrate (s),quantise (s),evaluate (s),peak memory (MiB)", n);
    brief->column[0].left = 1;
    f->data.n_rows = brief->n_rows = n;
    for (int r = 0; r < n; r++) {
        double stage[N_STAGES];
        stages(rows->row[r]->cell, stage);
        f->data.row[r][0] = brief->row[r][0] = name_of(arena, rows, rows->row[r]);
        f->data.row[r][1] = ptq_format(arena, "%d", r);
        for (int s = 0; s < N_STAGES; s++) {
            f->data.row[r][2 + s] = ptq_format(arena, "%.4g", stage[s]);
            brief->row[r][1 + s] = ptq_format(arena, "%.1f", stage[s]);
        }
        f->data.row[r][6] = ptq_format(arena, "%.1f", mebibytes(rows->row[r]->cell));
        brief->row[r][5] = ptq_format(arena, "%.0f", mebibytes(rows->row[r]->cell));
    }
    f->brief = brief;
}

static void put_settings(struct ptq_arena *arena, const struct ptq_model_rows *rows, int n, struct ptq_figure *f)
{
    const char *name[MOST_BARS] = {0};
    double longest = 0, largest = 0;
    size_t width = 0;
    for (int r = 0; r < n; r++) {
        double stage[N_STAGES], sum = 0;
        stages(rows->row[r]->cell, stage);
        for (int s = 0; s < N_STAGES; s++) sum += stage[s];
        longest = fmax(longest, sum);
        largest = fmax(largest, mebibytes(rows->row[r]->cell));
        name[r] = ptq_escape(arena, PTQ_TABLE_TEXT, name_of(arena, rows, rows->row[r]));
        name[r] = ptq_figure_cut(arena, name[r], LABEL_WIDTH);
        if (strlen(name[r]) > width) width = strlen(name[r]);
    }
    ptq_figure_ticks(arena, f, "cell_ticks", name, n);
    ptq_figure_number(arena, f, "n", n);
    ptq_figure_number(arena, f, "name_width", (double)width);
    ptq_figure_number(arena, f, "longest", longest > 0 ? longest : 1);
    ptq_figure_number(arena, f, "largest", largest > 0 ? largest : 1);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    int n = rows->n < MOST_BARS ? rows->n : MOST_BARS;
    if (n < 2) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "cost", "cost");
    const struct ptq_cell *c = rows->row[n - 1]->cell;
    f->heading = ptq_format(arena, "%s: time and memory by stage", rows->model);
    f->note = ptq_format(arena, "wall seconds and the process's peak memory; %s, %lld threads",
                         ptq_escape(arena, PTQ_TABLE_TEXT, c->cpu), (long long)c->threads);
    f->caption = ptq_format(arena,
                            "Loading and calibration are shared, and counted where they were done: in the first cell "
                            "that asked. Memory is the most that the process held while the cell ran; in older "
                            "files, and where the system does not count anew, by the end of the cell.%s",
                            n < rows->n ? ptq_format(arena, " The first %d of %d cells.", n, rows->n) : "");
    f->alt = ptq_format(arena,
                        "Stacked bars: seconds for loading, calibration, quantising and evaluation of %d cells, "
                        "with their peak memory; the numbers are in the table below.",
                        n);
    f->height = 130 + 19 * n;
    put_rows(arena, rows, n, f);
    put_settings(arena, rows, n, f);
}

const struct ptq_figure_kind ptq_figure_cost = {.name = "cost", .title = "Time and memory by stage", .find = find};
