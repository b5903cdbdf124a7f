#include "table.h"

#include "attribution.h"
#include "model_name.h"
#include "pivot.h"
#include "progress.h"
#include "records.h"
#include "report_parts.h"
#include "sheet.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const format_names[] = {"text", "md", "csv", "tex", "json"};
enum { N_FORMATS = sizeof format_names / sizeof *format_names };

enum ptq_status ptq_table_format_parse(const char *text, enum ptq_table_format *out, struct ptq_error *err)
{
    for (int i = 0; i < N_FORMATS; i++)
        if (strcmp(text, format_names[i]) == 0) {
            *out = (enum ptq_table_format)i;
            return PTQ_OK;
        }
    return ptq_fail(err, PTQ_EUSAGE, "format '%.40s' is not known; known: text, md, csv, tex, json", text);
}

static const char *percent(struct ptq_arena *arena, double fraction)
{
    return fraction > 0 ? ptq_format(arena, "%.4g %%", 100 * fraction) : "";
}

/* ---- footnotes ---- */

enum { TEXT_WIDTH = 100 };

/* Words in lines of TEXT_WIDTH characters at most, two spaces from the edge, four from the second line on. */
static void print_wrapped(const char *text, FILE *out)
{
    size_t used = 0;
    for (size_t length; *text; text += length + strspn(text + length, " ")) {
        length = strcspn(text, " ");
        int fresh = used == 0 || used + 1 + length > TEXT_WIDTH;
        fprintf(out, "%s%.*s", used == 0 ? "  " : fresh ? "\n    " : " ", (int)length, text);
        used = fresh ? (used ? 4 : 2) + length : used + 1 + length;
    }
    fputs("\n", out);
}

static void print_notes(struct ptq_arena *arena, const char *const *notes, int n, enum ptq_table_format format,
                        FILE *out)
{
    if (format == PTQ_TABLE_TEX) fputs("\\begin{itemize}\\footnotesize\n", out);
    if (format == PTQ_TABLE_HTML) fputs("<ul class=\"notes\">\n", out);
    for (int i = 0; i < n; i++) {
        const char *note = ptq_escape(arena, format, notes[i]);
        if (format == PTQ_TABLE_TEXT)
            print_wrapped(note, out);
        else if (format == PTQ_TABLE_HTML)
            fprintf(out, "<li>%s</li>\n", note);
        else
            fprintf(out, "%s%s\n", format == PTQ_TABLE_TEX ? "\\item " : "- ", note);
    }
    if (format == PTQ_TABLE_TEX) fputs("\\end{itemize}\n", out);
    if (format == PTQ_TABLE_HTML) fputs("</ul>\n", out);
}

/* ---- the list of a section ---- */

/* What a further cell costs: loading and calibration are shared. */
static double seconds(const struct ptq_cell *c)
{
    return c->seconds_quantize + c->seconds_eval;
}

static const char *paper_text(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    if (!row->paper) return "";
    return row->verdict == PTQ_OTHER_SETTINGS ? ptq_format(arena, "(%s)", row->paper->printed) : row->paper->printed;
}

/* "0.21, 38.5..38.9 (5)": spread of the replicates' perplexities, and how many. */
static const char *seeds_text(struct ptq_arena *arena, const struct ptq_report_row *row, int decimals)
{
    const struct ptq_replicates *s = &row->seeds;
    if (s->n < 2) return "";
    return ptq_format(arena, "%s, %s..%s (%d)", ptq_number(arena, s->sd, decimals, 0),
                      ptq_number(arena, s->lowest, decimals, 0), ptq_number(arena, s->highest, decimals, 0), s->n);
}

static void list_row(struct ptq_arena *arena, const struct ptq_report_row *row, const char **out)
{
    const struct ptq_estimate *e = &row->estimate;
    int decimals = ptq_decimals(e->ppl), is_reference = strcmp(row->cell->method, "fp16") == 0;
    int n = 0;
    out[n++] = row->label;
    out[n++] = percent(arena, row->cell->fraction);
    out[n++] = ptq_format(arena, "%.2f", row->cell->effective_bits);
    out[n++] = ptq_number(arena, e->ppl, decimals, 0);
    out[n++] = ptq_row_interval(arena, row);
    out[n++] = is_reference ? "" : ptq_number(arena, e->difference, decimals, 1);
    out[n++] = is_reference ? "" : ptq_row_above_interval(arena, row);
    out[n++] = seeds_text(arena, row, decimals);
    out[n++] = row->cell->kl ? ptq_number(arena, row->cell->kl_mean, 4, 0) : "";
    out[n++] = row->cell->kl ? ptq_format(arena, "%.2f", 100 * row->cell->same_top) : "";
    out[n++] = ptq_format(arena, "%.1f", seconds(row->cell));
    out[n++] = paper_text(arena, row);
    out[n++] = ptq_verdict_name(row->verdict);
}

static void print_list(struct ptq_arena *arena, const struct ptq_section *section, enum ptq_table_format format,
                       FILE *out)
{
    struct ptq_sheet sheet = {
        .column = {{.head = "method", .left = 1},
                   {.head = "kept"},
                   {.head = "bits"},
                   {.head = "perplexity"},
                   {.head = PTQ_HEAD_PERPLEXITY, .not_in_text = 1},
                   {.head = "above FP16"},
                   {.head = PTQ_HEAD_ABOVE},
                   {.head = "replicates: sd, range (n)"},
                   {.head = "KL to FP16"},
                   {.head = "same top-1 %"},
                   {.head = "quantise + evaluate, s"},
                   {.head = "paper"},
                   {.head = "verdict", .left = 1}},
        .n_columns = 13,
        .n_rows = section->n,
    };
    sheet.title = ptq_format(arena, "%s, %s%s%s", section->model, ptq_section_settings(arena, section),
                             section->text ? ", on " : "", section->text ? section->text : "");
    sheet.row = ptq_alloc_array(arena, (size_t)section->n, sizeof *sheet.row, "a table");
    for (int r = 0; r < section->n; r++) list_row(arena, section->row[r], sheet.row[r]);
    ptq_sheet_print(&sheet, format, out);
}

/* ---- against another row ---- */

static const char *p_text(struct ptq_arena *arena, double p)
{
    return isnan(p) ? "" : ptq_format(arena, "%.2g", p);
}

static void versus_row(struct ptq_arena *arena, const struct ptq_report_row *row, const char **out)
{
    const struct ptq_estimate *e = &row->versus->estimate;
    int decimals = ptq_decimals(e->ppl), n = 0, itself = row->versus->other == row;
    out[n++] = row->cell->spec;
    out[n++] = ptq_number(arena, e->ppl, decimals, 0);
    if (itself) return;
    out[n++] = ptq_number(arena, e->difference, decimals, 1);
    out[n++] = ptq_row_versus_interval(arena, row);
    out[n++] = p_text(arena, e->p);
    out[n++] = p_text(arena, row->versus->holm);
    out[n++] = ptq_versus_verdict(row->versus);
}

static int same_other(const struct ptq_report_row *a, const struct ptq_report_row *b)
{
    return a->versus->other == b->versus->other;
}

/* One sheet a model: all its rows, whatever their width. */
static void print_versus(struct ptq_arena *arena, const struct ptq_report *report, enum ptq_table_format format,
                         FILE *out)
{
    for (int first = 0; first < report->n_rows; first++) {
        const struct ptq_report_row *other = report->row[first].versus->other;
        if (other != &report->row[first]) continue; /* a sheet for each row that others are compared with */
        struct ptq_sheet sheet = {.column = {{.head = "method", .left = 1},
                                             {.head = "perplexity"},
                                             {.head = "difference"},
                                             {.head = PTQ_HEAD_DIFFERENCE},
                                             {.head = "p"},
                                             {.head = "p (Holm)"},
                                             {.head = "perplexity is", .left = 1}},
                                  .n_columns = 7};
        sheet.title = ptq_format(arena, "%s, against %s",
                                 ptq_model_name(arena, report->cell, report->n_cells, other->cell), other->cell->spec);
        sheet.row = ptq_alloc_array(arena, (size_t)report->n_rows, sizeof *sheet.row, "a table");
        for (int i = 0; i < report->n_rows; i++)
            if (same_other(&report->row[i], other)) versus_row(arena, &report->row[i], sheet.row[sheet.n_rows++]);
        ptq_sheet_print(&sheet, format, out);
        fputs("\n", out);
    }
}

/* ---- the paper's arrangement ---- */

/* The experiment's title; one value alone is named in no column, so here. */
static const char *arranged_title(struct ptq_arena *arena, const struct ptq_table_layout *layout)
{
    if (layout->plain) return "Perplexity, and what is kept in FP16";
    if (!layout->title) return layout->value[0]->doc;
    return layout->n_values > 1 ? layout->title : ptq_format(arena, "%s: %s", layout->title, layout->value[0]->doc);
}

/* A layout that nobody asked for is left out where it does not fit. */
static enum ptq_status print_arranged(struct ptq_arena *arena, const struct ptq_table_layout *layout,
                                      const struct ptq_report *report, enum ptq_table_format format, FILE *out,
                                      struct ptq_error *err)
{
    struct ptq_pivot pivot;
    struct ptq_sheet sheet;
    ptq_pivot_make(arena, layout, report, &pivot);
    enum ptq_status status = ptq_pivot_sheet(arena, &pivot, arranged_title(arena, layout), &sheet, err);
    if (status) return layout->plain ? PTQ_OK : status;
    ptq_sheet_print(&sheet, format, out);
    int n_notes;
    const char **note = ptq_pivot_notes(arena, &pivot, &n_notes);
    if (n_notes && format == PTQ_TABLE_MD) fputs("\n", out);
    if (n_notes) print_notes(arena, note, n_notes, format, out);
    fputs("\n", out);
    return PTQ_OK;
}

/* ---- the whole ---- */

static enum ptq_status print_report(struct ptq_arena *arena, const struct ptq_table_layout *layout,
                                    const struct ptq_report *report, enum ptq_table_format format, FILE *out,
                                    struct ptq_error *err)
{
    if (format == PTQ_TABLE_TEX) fputs("% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}\n", out);
    if (layout && !(layout->plain && format == PTQ_TABLE_TEXT))
        PTQ_TRY(print_arranged(arena, layout, report, format, out, err));
    for (int s = 0; s < report->n_sections; s++) {
        print_list(arena, &report->section[s], format, out);
        fputs("\n", out);
    }
    ptq_attribution_print(arena, report, format, out);
    if (report->against) print_versus(arena, report, format, out);
    print_notes(arena, report->note, report->n_notes, format, out);
    return PTQ_OK;
}

enum ptq_status ptq_table_print_as(const struct ptq_table_layout *layout, const struct ptq_cell *cells, int n,
                                   const char *against, enum ptq_table_format format, FILE *out, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("a table");
    struct ptq_report report;
    enum ptq_status status = ptq_report_parts(arena, layout, cells, n, &report, err);
    if (!status && against) status = ptq_report_against(arena, &report, against, err);
    if (!status && format == PTQ_TABLE_CSV)
        ptq_records_csv(arena, &report, out);
    else if (!status && format == PTQ_TABLE_JSON)
        ptq_records_json(&report, out);
    else if (!status)
        status = print_report(arena, layout, &report, format, out, err);
    ptq_arena_free(arena);
    if (!status) status = ptq_interrupted(err); /* some number may not have been found for it */
    if (!status && (fflush(out) || ferror(out))) return ptq_fail(err, PTQ_EIO, "the table cannot be written");
    return status;
}

enum ptq_status ptq_table_print_against(const struct ptq_cell *cells, int n, const char *against,
                                        enum ptq_table_format format, FILE *out, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("a layout");
    struct ptq_table_layout layout;
    int found;
    ptq_table_layout_of_cells(arena, cells, n, &layout, &found);
    enum ptq_status status = ptq_table_print_as(found ? &layout : NULL, cells, n, against, format, out, err);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_table_find_layout(struct ptq_arena *arena, const char *const *files, int n_files,
                                      const struct ptq_cell *cells, int n, const struct ptq_table_layout **out,
                                      struct ptq_error *err)
{
    struct ptq_table_layout *layout = ptq_new(arena, struct ptq_table_layout, 1);
    const char *experiment, *yaml;
    int found = 0;
    *out = NULL;
    for (int f = 0; f < n_files && !found; f++) {
        PTQ_TRY(ptq_results_experiment(arena, files[f], &experiment, &yaml, err));
        PTQ_TRY(ptq_table_layout_of_yaml(arena, files[f], yaml, layout, &found, err));
    }
    if (!found) ptq_table_layout_of_cells(arena, cells, n, layout, &found);
    if (found) *out = layout;
    return PTQ_OK;
}

enum ptq_status ptq_table_print(const struct ptq_cell *cells, int n, enum ptq_table_format format, FILE *out,
                                struct ptq_error *err)
{
    return ptq_table_print_against(cells, n, NULL, format, out, err);
}

enum ptq_status ptq_table_read(struct ptq_arena *arena, const char *const *files, int n_files, struct ptq_cell **cells,
                               int *n, struct ptq_error *err)
{
    struct ptq_cell *all = NULL, *read;
    int found;
    *n = 0;
    for (int f = 0; f < n_files; f++) {
        enum ptq_status status = ptq_results_read(arena, files[f], &read, &found, err);
        if (status) {
            free(all);
            return status;
        }
        all = ptq_realloc(all, (size_t)(*n + found), sizeof *all, "cells");
        for (int i = 0; i < found; i++) {
            int seen = 0;
            for (int j = 0; j < *n && !seen; j++) seen = strcmp(all[j].id, read[i].id) == 0;
            if (!seen) all[(*n)++] = read[i];
        }
    }
    *cells = ptq_new(arena, struct ptq_cell, *n);
    if (*n) memcpy(*cells, all, (size_t)*n * sizeof *all);
    free(all);
    return PTQ_OK;
}
