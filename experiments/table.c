#include "table.h"

#include "attribution.h"
#include "records.h"
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

/* ---- the list of a section ---- */

static double seconds(const struct ptq_cell *c)
{
    return c->seconds_quantize + c->seconds_eval;
}

static const char *paper_text(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    if (!row->paper) return "";
    return row->verdict == PTQ_OTHER_SETTINGS ? ptq_format(arena, "(%s)", row->paper->printed) : row->paper->printed;
}

/* What two orders of summation differ by at most. */
static double noise_of(const struct ptq_report_row *row)
{
    return row->highest - row->lowest;
}

/* "0.21, 38.5..38.9 (5)": spread of the seeds' perplexities, and how many. */
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
    const struct ptq_interval *i = &e->interval, *d = &e->difference_interval;
    int decimals = ptq_decimals(e->ppl), is_reference = strcmp(row->cell->method, "fp16") == 0;
    int n = 0;
    out[n++] = row->label;
    out[n++] = percent(arena, row->cell->fraction);
    out[n++] = ptq_format(arena, "%.2f", row->cell->effective_bits);
    out[n++] = ptq_number(arena, e->ppl, decimals, 0);
    out[n++] = ptq_interval_text(arena, i->low, i->high, decimals, 0);
    out[n++] = is_reference ? "" : ptq_number(arena, e->difference, decimals, 1);
    out[n++] = is_reference ? "" : ptq_interval_text(arena, d->low, d->high, decimals, 1);
    out[n++] = row->n_orders < 2
                   ? ""
                   : ptq_format(arena, "%s (%d)", ptq_number(arena, noise_of(row), decimals, 0), row->n_orders);
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
                   {.head = "95 % interval", .not_in_text = 1},
                   {.head = "above FP16"},
                   {.head = "95 % interval"},
                   {.head = "noise"},
                   {.head = "seeds: sd, range"},
                   {.head = "KL to FP16"},
                   {.head = "same top-1 %"},
                   {.head = "seconds"},
                   {.head = "paper"},
                   {.head = "verdict", .left = 1}},
        .n_columns = 14,
        .n_rows = section->n,
    };
    sheet.title = ptq_format(arena, "%s, %s", section->model, ptq_section_settings(arena, section));
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
    const struct ptq_interval *i = &e->difference_interval;
    int decimals = ptq_decimals(e->ppl), n = 0, itself = row->versus->other == row;
    out[n++] = row->cell->spec;
    out[n++] = ptq_number(arena, e->ppl, decimals, 0);
    if (itself) return;
    out[n++] = ptq_number(arena, e->difference, decimals, 1);
    out[n++] = ptq_interval_text(arena, i->low, i->high, decimals, 1);
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
                                             {.head = "95 % interval"},
                                             {.head = "p"},
                                             {.head = "p (Holm)"},
                                             {.head = "perplexity is", .left = 1}},
                                  .n_columns = 7};
        sheet.title = ptq_format(arena, "%s, against %s", ptq_report_short(arena, other->cell->model), report->against);
        sheet.row = ptq_alloc_array(arena, (size_t)report->n_rows, sizeof *sheet.row, "a table");
        for (int i = 0; i < report->n_rows; i++)
            if (same_other(&report->row[i], other)) versus_row(arena, &report->row[i], sheet.row[sheet.n_rows++]);
        ptq_sheet_print(&sheet, format, out);
        fputs("\n", out);
    }
}

/* ---- the paper's arrangement ---- */

static const char *const selections[] = {"activation", "weight", "random"};
enum { N_SELECTIONS = sizeof selections / sizeof *selections, MOST_FRACTIONS = 8, FIRST_SELECTION = 4 };

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The fractions of all salient cells, rising; how many, at most MOST_FRACTIONS. */
static int find_fractions(const struct ptq_report *report, double *fraction)
{
    int n = 0;
    for (int i = 0; i < report->n_rows && n < MOST_FRACTIONS; i++) {
        int seen = strcmp(report->row[i].cell->method, "salient") != 0;
        for (int j = 0; j < n && !seen; j++) seen = fraction[j] == report->row[i].cell->fraction;
        if (!seen) fraction[n++] = report->row[i].cell->fraction;
    }
    qsort(fraction, (size_t)n, sizeof *fraction, by_size);
    return n;
}

/* Perplexity of the first row of a section that is plainly what a column asks for, or "". */
static const char *arranged_number(struct ptq_arena *arena, const struct ptq_section *section, const char *method,
                                   const char *select, double fraction)
{
    for (int r = 0; r < section->n; r++) {
        const struct ptq_report_row *row = section->row[r];
        const char *found = ptq_report_option(arena, row->cell->spec, "select");
        if (strcmp(row->cell->method, method) || *row->rest) continue;
        if (select && (!found || strcmp(found, select) || row->cell->fraction != fraction)) continue;
        return ptq_number(arena, row->estimate.ppl, ptq_decimals(row->estimate.ppl), 0);
    }
    return "";
}

static void arrange_row(struct ptq_arena *arena, const struct ptq_section *section, const double *fraction, int n,
                        const char **out)
{
    out[0] = section->model;
    out[1] = ptq_section_settings(arena, section);
    out[2] = arranged_number(arena, section, "fp16", NULL, 0);
    out[3] = arranged_number(arena, section, "rtn", NULL, 0);
    for (int s = 0; s < N_SELECTIONS; s++)
        for (int f = 0; f < n; f++)
            out[FIRST_SELECTION + s * n + f] = arranged_number(arena, section, "salient", selections[s], fraction[f]);
}

static void print_arranged(struct ptq_arena *arena, const struct ptq_report *report, enum ptq_table_format format,
                           FILE *out)
{
    double fraction[MOST_FRACTIONS];
    int n = find_fractions(report, fraction);
    if (!n) return;
    struct ptq_sheet sheet = {
        .title = "Perplexity, and what is kept in FP16",
        .column = {{.head = "model", .left = 1}, {.head = "quantised", .left = 1}, {.head = "FP16"}, {.head = "RTN"}},
        .n_columns = FIRST_SELECTION + N_SELECTIONS * n,
        .n_rows = report->n_sections};
    for (int s = 0; s < N_SELECTIONS; s++)
        for (int f = 0; f < n; f++)
            sheet.column[FIRST_SELECTION + s * n + f] =
                (struct ptq_sheet_column){.head = percent(arena, fraction[f]), .group = selections[s]};
    sheet.row = ptq_alloc_array(arena, (size_t)sheet.n_rows, sizeof *sheet.row, "a table");
    for (int r = 0; r < sheet.n_rows; r++) arrange_row(arena, &report->section[r], fraction, n, sheet.row[r]);
    ptq_sheet_print(&sheet, format, out);
    fputs("\n", out);
}

/* ---- the whole ---- */

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

static void print_notes(struct ptq_arena *arena, const struct ptq_report *report, enum ptq_table_format format,
                        FILE *out)
{
    if (format == PTQ_TABLE_TEX) fputs("\\begin{itemize}\\footnotesize\n", out);
    for (int i = 0; i < report->n_notes; i++) {
        const char *note = ptq_escape(arena, format, report->note[i]);
        if (format == PTQ_TABLE_TEXT)
            print_wrapped(note, out);
        else
            fprintf(out, "%s%s\n", format == PTQ_TABLE_TEX ? "\\item " : "- ", note);
    }
    if (format == PTQ_TABLE_TEX) fputs("\\end{itemize}\n", out);
}

static void print_report(struct ptq_arena *arena, const struct ptq_report *report, enum ptq_table_format format,
                         FILE *out)
{
    if (format == PTQ_TABLE_TEX) fputs("% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}\n", out);
    if (format != PTQ_TABLE_TEXT) print_arranged(arena, report, format, out);
    for (int s = 0; s < report->n_sections; s++) {
        print_list(arena, &report->section[s], format, out);
        fputs("\n", out);
    }
    ptq_attribution_print(arena, report, format, out);
    if (report->against) print_versus(arena, report, format, out);
    print_notes(arena, report, format, out);
}

enum ptq_status ptq_table_print_against(const struct ptq_cell *cells, int n, const char *against,
                                        enum ptq_table_format format, FILE *out, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("a table");
    struct ptq_report report;
    enum ptq_status status = ptq_report_make(arena, cells, n, &report, err);
    if (!status && against) status = ptq_report_against(arena, &report, against, err);
    if (!status && format == PTQ_TABLE_CSV)
        ptq_records_csv(arena, &report, out);
    else if (!status && format == PTQ_TABLE_JSON)
        ptq_records_json(&report, out);
    else if (!status)
        print_report(arena, &report, format, out);
    ptq_arena_free(arena);
    if (!status && (fflush(out) || ferror(out))) return ptq_fail(err, PTQ_EIO, "the table cannot be written");
    return status;
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
