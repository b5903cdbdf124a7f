#include "plot.h"

#include "escape.h"
#include "gnuplot.h"
#include "home.h"
#include "mapped.h"
#include "report.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const ways[] = {"activation", "weight", "random"};
enum { N_WAYS = sizeof ways / sizeof *ways, MOST_POINTS = 64 };

/* A number with the ends of its bar; NaN where there is none. */
struct point {
    double ppl, low, high;
};

struct figure {
    const struct ptq_section *section;
    double fraction[MOST_POINTS];
    int n;
    struct point point[MOST_POINTS][N_WAYS];
    struct point fp16, rtn;
    double low, high; /* of everything that is drawn */
};

/* ---- what is drawn ---- */

/* Bars show what matters between curves: the difference to FP16 on the same tokens, set on FP16's own perplexity. */
static struct point point_of(const struct ptq_report_row *row, const struct ptq_report_row *fp16)
{
    const struct ptq_estimate *e = &row->estimate;
    struct point p = {e->ppl, e->interval.low, e->interval.high};
    if (fp16) {
        p.low = fp16->estimate.ppl + e->difference_interval.low;
        p.high = fp16->estimate.ppl + e->difference_interval.high;
    }
    if (!isfinite(p.ppl)) return (struct point){NAN, NAN, NAN};
    if (!isfinite(p.low) || !isfinite(p.high)) p.low = p.high = p.ppl;
    return p;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void find_fractions(struct figure *f)
{
    for (int r = 0; r < f->section->n && f->n < MOST_POINTS; r++) {
        const struct ptq_cell *c = f->section->row[r]->cell;
        int seen = strcmp(c->method, "salient") || !(c->fraction > 0);
        for (int i = 0; i < f->n && !seen; i++) seen = f->fraction[i] == c->fraction;
        if (!seen) f->fraction[f->n++] = c->fraction;
    }
    qsort(f->fraction, (size_t)f->n, sizeof *f->fraction, by_size);
}

/* Puts a row where it belongs; the first of its kind stays, and rows with other options are no part of the figure. */
static void place_row(struct ptq_arena *arena, struct figure *f, const struct ptq_report_row *row)
{
    const char *way = ptq_report_option(arena, row->cell->spec, "select");
    struct point *at = NULL;
    if (*row->rest) return;
    if (strcmp(row->cell->method, "fp16") == 0) at = &f->fp16;
    if (strcmp(row->cell->method, "rtn") == 0) at = &f->rtn;
    for (int i = 0; i < f->n && way; i++)
        for (int w = 0; w < N_WAYS; w++)
            if (f->fraction[i] == row->cell->fraction && strcmp(ways[w], way) == 0) at = &f->point[i][w];
    if (at && isnan(at->ppl)) *at = point_of(row, f->section->fp16);
}

static void stretch(struct figure *f, const struct point *p)
{
    if (isnan(p->ppl)) return;
    f->low = fmin(f->low, fmin(p->low, p->ppl));
    f->high = fmax(f->high, fmax(p->high, p->ppl));
}

/* 0 where the section has nothing to draw. */
static int make_figure(struct ptq_arena *arena, const struct ptq_section *section, struct figure *f)
{
    const struct point none = {NAN, NAN, NAN};
    *f = (struct figure){.section = section, .fp16 = none, .rtn = none, .low = INFINITY, .high = -INFINITY};
    find_fractions(f);
    for (int i = 0; i < f->n; i++)
        for (int w = 0; w < N_WAYS; w++) f->point[i][w] = none;
    for (int r = 0; r < section->n; r++) place_row(arena, f, section->row[r]);
    for (int i = 0; i < f->n; i++)
        for (int w = 0; w < N_WAYS; w++) stretch(f, &f->point[i][w]);
    int any = f->low <= f->high;
    stretch(f, &f->fp16);
    stretch(f, &f->rtn);
    return any;
}

/* ---- the numbers ---- */

static void add_point(struct ptq_buffer *out, const struct point *p)
{
    if (isnan(p->ppl))
        ptq_buffer_add(out, ",,,");
    else
        ptq_buffer_add(out, ",%.10g,%.10g,%.10g", p->ppl, p->low, p->high);
}

static enum ptq_status write_numbers(const struct figure *f, const char *path, struct ptq_error *err)
{
    struct ptq_buffer out = {0};
    ptq_buffer_add(&out, "kept_percent");
    for (int w = 0; w < N_WAYS; w++) ptq_buffer_add(&out, ",%s_ppl,%s_low,%s_high", ways[w], ways[w], ways[w]);
    ptq_buffer_add(&out, ",fp16_ppl,fp16_low,fp16_high,rtn_ppl,rtn_low,rtn_high\n");
    for (int i = 0; i < f->n; i++) {
        ptq_buffer_add(&out, "%.6g", 100 * f->fraction[i]);
        for (int w = 0; w < N_WAYS; w++) add_point(&out, &f->point[i][w]);
        add_point(&out, &f->fp16);
        add_point(&out, &f->rtn);
        ptq_buffer_add(&out, "\n");
    }
    enum ptq_status status = ptq_write_file(path, out.data, out.size, err);
    free(out.data);
    return status;
}

/* ---- the script ---- */

static void set_text(struct ptq_buffer *out, struct ptq_arena *arena, const char *name, const char *text)
{
    ptq_buffer_add(out, "%s = %s\n", name, ptq_gnuplot_quote(arena, text));
}

static void set_number(struct ptq_buffer *out, const char *name, double value)
{
    ptq_buffer_add(out, "%s = %.10g\n", name, isnan(value) ? 0 : value);
}

/* The axes: linear where the largest is at most four times the smallest. */
static void set_axes(struct ptq_buffer *out, struct ptq_arena *arena, const struct figure *f)
{
    static const double steps[] = {1, 1.5, 2, 3, 5, 7};
    int is_log = f->low > 0 && f->high > 4 * f->low;
    double margin = is_log ? 0 : 0.08 * (f->high - f->low + 0.01 * f->high);
    double low = is_log ? f->low / 1.15 : fmax(0, f->low - margin), high = is_log ? f->high * 1.15 : f->high + margin;
    const char *x_ticks = "", *y_ticks = "";
    for (int i = 0; i < f->n; i++)
        x_ticks = ptq_format(arena, "%s%s%.6g", x_ticks, i ? ", " : "", 100 * f->fraction[i]);
    for (int e = -3; is_log && e < 300; e++)
        for (int s = 0; s < 6; s++) {
            double tick = steps[s] * pow(10, e);
            int dense = high < 30 * low; /* else one tick a power of ten is enough */
            if (tick < low || tick > high || (s && !dense)) continue;
            y_ticks = ptq_format(arena, "%s%s%.6g", y_ticks, *y_ticks ? ", " : "", tick);
        }
    set_text(out, arena, "x_ticks", x_ticks);
    set_text(out, arena, "y_ticks", y_ticks);
    set_number(out, "x_low", 100 * f->fraction[0] / 1.7);
    set_number(out, "x_high", 100 * f->fraction[f->n - 1] * 1.7);
    set_number(out, "y_low", low);
    set_number(out, "y_high", high);
    set_number(out, "y_log", is_log);
}

static const char *make_script(struct ptq_arena *arena, const struct figure *f, const struct ptq_report *report,
                               const char *format, const char *data, const char *output)
{
    struct ptq_buffer out = {0};
    const char *model = ptq_escape(arena, PTQ_TABLE_TEXT, f->section->model);
    const char *settings = ptq_section_settings(arena, f->section);
    const char *what = isnan(f->fp16.ppl) ? "of the perplexity" : "of the difference to FP16 on the same tokens";
    set_text(&out, arena, "format", format);
    set_text(&out, arena, "data", data);
    set_text(&out, arena, "output_file", output);
    set_text(&out, arena, "heading", ptq_format(arena, "%s, %s", model, settings));
    set_text(&out, arena, "note",
             ptq_format(arena, "bars, band: %g %% paired-bootstrap interval %s (%lld tokens)",
                        100 * report->bootstrap.level, what, (long long)f->section->row[0]->cell->tokens));
    ptq_buffer_add(&out, "array ways = ['by activation', 'by weight', 'at random']\n");
    set_axes(&out, arena, f);
    set_number(&out, "has_fp16", !isnan(f->fp16.ppl));
    set_number(&out, "fp16", f->fp16.ppl);
    set_number(&out, "has_rtn", !isnan(f->rtn.ppl));
    set_number(&out, "rtn", f->rtn.ppl);
    set_number(&out, "rtn_low", f->rtn.low);
    set_number(&out, "rtn_high", f->rtn.high);
    ptq_buffer_add(&out, "load %s\n", ptq_gnuplot_quote(arena, ptq_home_path(arena, "plots/style.gp")));
    ptq_buffer_add(&out, "load %s\n", ptq_gnuplot_quote(arena, ptq_home_path(arena, "plots/table1.gp")));
    const char *script = ptq_strdup(arena, out.data);
    free(out.data);
    return script;
}

/* ---- pictures ---- */

/* gnuplot does not say when a write failed: a whole picture ends as its format does. */
static enum ptq_status check_picture(struct ptq_arena *arena, const char *path, const char *format, const char *what,
                                     struct ptq_error *err)
{
    const char *end = strcmp(format, "png") == 0 ? "IEND\xae\x42\x60\x82" : "</svg>\n";
    struct ptq_mapped file;
    size_t n = strlen(end);
    PTQ_TRY(ptq_map(arena, path, &file, err));
    int whole = file.size > n && memmem(file.data + file.size - n - 2, n + 2, end, n) != NULL;
    ptq_unmap(&file);
    if (whole) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO, "%s: gnuplot did not write it to its end; is the disk full?", what);
}

static enum ptq_status draw(struct ptq_arena *arena, const struct figure *f, const struct ptq_report *report,
                            const char *stem, const char *format, struct ptq_error *err)
{
    const char *data = ptq_format(arena, "%s.csv", stem), *picture = ptq_format(arena, "%s.%s", stem, format);
    const char *temporary = ptq_temporary_path(arena, picture);
    const char *script_path = ptq_temporary_path(arena, ptq_format(arena, "%s.%s.gp", stem, format));
    const char *script = make_script(arena, f, report, format, data, temporary);
    ptq_sweep_temporaries(picture);
    enum ptq_status status = ptq_write_file(script_path, script, strlen(script), err);
    if (!status) status = ptq_gnuplot_run(script_path, err);
    if (!status) status = check_picture(arena, temporary, format, picture, err);
    if (!status) status = ptq_publish(temporary, picture, err);
    unlink(script_path);
    if (status) unlink(temporary);
    return status;
}

/* The figure's name: letters, digits, dots and dashes alone. Where a model's name has others, or is too long, a piece
 * of its hash tells it from names that would come out alike. */
static const char *stem_of(struct ptq_arena *arena, const char *folder, const struct ptq_section *section)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *group = section->group_size < 0 ? "row" : ptq_format(arena, "%lld", (long long)section->group_size);
    char *name = ptq_format(arena, "%.100s", section->model);
    int changed = strlen(section->model) > strlen(name);
    for (char *c = name; *c; c++)
        if (!strchr(letters, *c) || (c == name && (*c == '.' || *c == '-'))) *c = '_', changed = 1;
    if (changed) name = ptq_format(arena, "%s-%.8s", name, section->row[0]->cell->model_sha256);
    return ptq_format(arena, "%s/%s-w%lld-g%s", folder, name, (long long)section->w_bit, group);
}

static enum ptq_status plot_all(struct ptq_arena *arena, const struct ptq_report *report, const char *folder,
                                int *n_figures, struct ptq_error *err)
{
    struct figure *f = ptq_new(arena, struct figure, 1);
    PTQ_TRY(ptq_make_folder(folder, err));
    PTQ_TRY(ptq_gnuplot_path(arena, folder, &folder, err));
    for (int s = 0; s < report->n_sections; s++) {
        if (!make_figure(arena, &report->section[s], f)) continue;
        const char *stem = stem_of(arena, folder, &report->section[s]);
        PTQ_TRY(write_numbers(f, ptq_format(arena, "%s.csv", stem), err));
        PTQ_TRY(draw(arena, f, report, stem, "svg", err));
        PTQ_TRY(draw(arena, f, report, stem, "png", err));
        ++*n_figures;
    }
    if (*n_figures) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "there is nothing to draw: the plot shows perplexity against the fraction kept, and "
                    "no cell is of method salient");
}

enum ptq_status ptq_plot(const struct ptq_cell *cells, int n, const char *folder, int *n_figures, struct ptq_error *err)
{
    int figures = 0;
    struct ptq_arena *arena = ptq_arena_make("a plot");
    struct ptq_report report;
    enum ptq_status status = ptq_report_make(arena, cells, n, &report, err);
    if (!status) status = plot_all(arena, &report, folder, &figures, err);
    ptq_arena_free(arena);
    if (n_figures) *n_figures = figures;
    return status;
}
