/* What cells cost: seconds by stage as stacked bars, and beside them the process's peak memory, by stage where files
 * have it. */
#include "figure.h"
#include "figure_kinds.h"
#include "stages.h"

#include <math.h>
#include <string.h>

enum { MOST_BARS = 30, LABEL_WIDTH = 72 }; /* LABEL_WIDTH: characters of a bar's name */

static double mebibytes(int64_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* Whether any of the cells has a peak of a stage. */
static int has_peaks(const struct ptq_model_rows *rows, int n)
{
    int known = 0;
    for (int r = 0; r < n; r++) {
        struct ptq_stage stage[PTQ_N_STAGES];
        ptq_stages_of(rows->row[r]->cell, stage);
        for (int s = 0; s < PTQ_N_STAGES; s++) known |= stage[s].peak > 0;
    }
    return known;
}

/* Whether the seconds of the statistics that its method reads are in no bar. */
static int is_cached(const struct ptq_model_rows *rows, const struct ptq_report_row *row)
{
    return ptq_stages_statistics(row->cell, rows->report->cell, rows->report->n_cells) == 0;
}

static const char *name_of(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct ptq_report_row *row)
{
    int with_grid = row->cell->w_bit < 16 && ptq_rows_differ_in_grid(rows);
    return ptq_format(arena, "%s%s", ptq_row_line(arena, row, with_grid), is_cached(rows, row) ? " *" : "");
}

/* Columns: the cell and its bar; seconds by stage; memory by stage; memory. A page prints no bar, seconds to one
 * decimal and memory in whole MiB. A peak that is not known is an empty place, and a column of such is not printed. */
enum { SECONDS = 2, PEAKS = SECONDS + PTQ_N_STAGES, PEAK = PEAKS + PTQ_N_STAGES };

static void put_row(struct ptq_arena *arena, const struct ptq_cell *c, const char **data, const char **brief)
{
    struct ptq_stage stage[PTQ_N_STAGES];
    ptq_stages_of(c, stage);
    for (int s = 0; s < PTQ_N_STAGES; s++) {
        data[SECONDS + s] = ptq_format(arena, "%.4g", stage[s].seconds);
        brief[SECONDS - 1 + s] = ptq_format(arena, "%.1f", stage[s].seconds);
        if (!stage[s].peak) continue;
        data[PEAKS + s] = ptq_format(arena, "%.1f", mebibytes(stage[s].peak));
        brief[PEAKS - 1 + s] = ptq_format(arena, "%.0f", mebibytes(stage[s].peak));
    }
    data[PEAK] = ptq_format(arena, "%.1f", mebibytes(c->peak_rss_bytes));
    brief[PEAK - 1] = ptq_format(arena, "%.0f", mebibytes(c->peak_rss_bytes));
}

static void put_rows(struct ptq_arena *arena, const struct ptq_model_rows *rows, int n, struct ptq_figure *f)
{
    struct ptq_sheet *brief = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, &f->data,
                       "cell,bar,load_s,calibrate_s,quantize_s,eval_s,load_mib,calibrate_mib,quantize_mib,eval_mib,"
                       "peak_mib",
                       n);
    ptq_figure_columns(arena, brief, "cell,load,calibrate,quantise,evaluate,load,calibrate,quantise,evaluate,all", n);
    for (int c = 1; c < brief->n_columns; c++) brief->column[c].group = c < PEAKS - 1 ? "seconds" : "peak memory, MiB";
    brief->column[0].left = 1;
    f->data.n_rows = brief->n_rows = n;
    for (int r = 0; r < n; r++) {
        f->data.row[r][0] = brief->row[r][0] = name_of(arena, rows, rows->row[r]);
        f->data.row[r][1] = ptq_format(arena, "%d", r);
        put_row(arena, rows->row[r]->cell, f->data.row[r], brief->row[r]);
    }
    f->brief = brief;
}

static void put_settings(struct ptq_arena *arena, const struct ptq_model_rows *rows, int n, struct ptq_figure *f)
{
    const char *name[MOST_BARS] = {0};
    double longest = 0, largest = 0;
    size_t width = 0;
    for (int r = 0; r < n; r++) {
        struct ptq_stage stage[PTQ_N_STAGES];
        double sum = 0;
        ptq_stages_of(rows->row[r]->cell, stage);
        for (int s = 0; s < PTQ_N_STAGES; s++) sum += stage[s].seconds;
        longest = fmax(longest, sum);
        largest = fmax(largest, mebibytes(rows->row[r]->cell->peak_rss_bytes));
        name[r] = ptq_escape(arena, PTQ_TABLE_TEXT, name_of(arena, rows, rows->row[r]));
        name[r] = ptq_figure_cut(arena, name[r], LABEL_WIDTH);
        if (strlen(name[r]) > width) width = strlen(name[r]);
    }
    ptq_figure_ticks(arena, f, "cell_ticks", name, n);
    ptq_figure_number(arena, f, "n", n);
    ptq_figure_number(arena, f, "name_width", (double)width);
    ptq_figure_number(arena, f, "longest", longest > 0 ? longest : 1);
    ptq_figure_number(arena, f, "largest", largest > 0 ? largest : 1);
    ptq_figure_number(arena, f, "by_stage", has_peaks(rows, n));
}

static const char by_stage[] = " Its bars, from above, are of loading, calibration, quantising and evaluation: the "
                               "most in the seconds of each, with what others held beside it; the line is the most "
                               "of all, and of what is none of the four, such as the pass to compare with FP16. No "
                               "bar: the cell had no such stage, or its peak is not known.";

static const char cached[] = " Of a cell with a * the statistics were in the cache, left by a cell that is not here: "
                             "their seconds are in no bar, so its sum says nothing beside one that holds its own.";

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    int n = rows->n < MOST_BARS ? rows->n : MOST_BARS;
    if (n < 2) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "cost", "cost");
    const struct ptq_cell *c = rows->row[n - 1]->cell;
    int n_cached = 0;
    for (int r = 0; r < n; r++) n_cached += is_cached(rows, rows->row[r]);
    f->heading = ptq_format(arena, "%s: time and memory by stage", rows->model);
    f->note = ptq_format(arena, "wall seconds and the process's peak memory; %s, %s",
                         ptq_escape(arena, PTQ_TABLE_TEXT, c->cpu), ptq_counted(arena, c->threads, "thread"));
    if (n_cached) f->note = ptq_format(arena, "%s; * statistics from the cache, whose seconds are in no bar", f->note);
    f->caption = ptq_format(arena,
                            "Loading and calibration are shared, and counted where they were done: in the first cell "
                            "that asked.%s Memory is the most that the process held while the cell ran; in older "
                            "files, and where the system does not count anew, by the end of the cell.%s%s",
                            n_cached ? cached : "", has_peaks(rows, n) ? by_stage : "",
                            n < rows->n ? ptq_format(arena, " The first %d of %d cells.", n, rows->n) : "");
    f->alt = ptq_format(arena,
                        "Stacked bars: seconds for loading, calibration, quantising and evaluation of %d cells, "
                        "with their peak memory%s; the numbers are in the table below.",
                        n, has_peaks(rows, n) ? ", in each of these stages and in all" : "");
    f->height = 130 + (has_peaks(rows, n) ? 26 : 19) * n;
    put_rows(arena, rows, n, f);
    put_settings(arena, rows, n, f);
}

const struct ptq_figure_kind ptq_figure_cost = {.name = "cost", .title = "Time and memory by stage", .find = find};
