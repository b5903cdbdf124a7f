/* Perplexity against the fraction of input channels kept in FP16: one curve for each way to choose them. One figure a
 * width and group size. */
#include "figure.h"
#include "figure_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const ways[] = {"activation", "weight", "random"};
enum { N_WAYS = sizeof ways / sizeof *ways, MOST_POINTS = 64 };

struct kept {
    const struct ptq_section *section;
    double fraction[MOST_POINTS];
    int n;
    struct ptq_point point[MOST_POINTS][N_WAYS];
    const struct ptq_report_row *row[MOST_POINTS][N_WAYS]; /* of each point, or NULL */
    struct ptq_point fp16, rtn;
    double low, high; /* of everything that is drawn */
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void find_fractions(struct kept *k)
{
    for (int r = 0; r < k->section->n && k->n < MOST_POINTS; r++) {
        const struct ptq_cell *c = k->section->row[r]->cell;
        int seen = strcmp(c->method, "salient") || !(c->fraction > 0);
        for (int i = 0; i < k->n && !seen; i++) seen = k->fraction[i] == c->fraction;
        if (!seen) k->fraction[k->n++] = c->fraction;
    }
    qsort(k->fraction, (size_t)k->n, sizeof *k->fraction, by_size);
}

/* Puts a row where it belongs; the first of its kind stays, and rows with other options are no part of the figure. */
static void place_row(struct ptq_arena *arena, struct kept *k, const struct ptq_report_row *row)
{
    const char *way = ptq_report_option(arena, row->cell->spec, "select");
    struct ptq_point *at = NULL;
    if (*row->rest) return;
    if (strcmp(row->cell->method, "fp16") == 0) at = &k->fp16;
    if (strcmp(row->cell->method, "rtn") == 0) at = &k->rtn;
    for (int i = 0; i < k->n && way; i++)
        for (int w = 0; w < N_WAYS; w++)
            if (k->fraction[i] == row->cell->fraction && strcmp(ways[w], way) == 0) {
                at = &k->point[i][w];
                if (isnan(at->ppl)) k->row[i][w] = row;
            }
    if (at && isnan(at->ppl)) *at = ptq_point_of(row, k->section->fp16);
}

/* 0 where the section has nothing to compare: less than two points. */
static int gather(struct ptq_arena *arena, const struct ptq_section *section, struct kept *k)
{
    const struct ptq_point none = {NAN, NAN, NAN};
    *k = (struct kept){.section = section, .fp16 = none, .rtn = none, .low = INFINITY, .high = -INFINITY};
    int there = 0;
    find_fractions(k);
    for (int i = 0; i < k->n; i++)
        for (int w = 0; w < N_WAYS; w++) k->point[i][w] = none;
    for (int r = 0; r < section->n; r++) place_row(arena, k, section->row[r]);
    for (int i = 0; i < k->n; i++)
        for (int w = 0; w < N_WAYS; w++) {
            ptq_point_stretch(&k->point[i][w], &k->low, &k->high);
            there += !isnan(k->point[i][w].ppl);
        }
    ptq_point_stretch(&k->fp16, &k->low, &k->high);
    ptq_point_stretch(&k->rtn, &k->low, &k->high);
    return there > 1;
}

static int put_point(struct ptq_arena *arena, const struct ptq_point *p, const char **row)
{
    row[0] = ptq_figure_value(arena, p->ppl);
    row[1] = ptq_figure_value(arena, p->low);
    row[2] = ptq_figure_value(arena, p->high);
    return 3;
}

static void put_numbers(struct ptq_arena *arena, const struct kept *k, struct ptq_sheet *sheet)
{
    const char *heads = "kept_percent";
    for (int w = 0; w < N_WAYS; w++)
        heads = ptq_format(arena, "%s,%s_ppl,%s_low,%s_high", heads, ways[w], ways[w], ways[w]);
    ptq_figure_columns(arena, sheet,
                       ptq_format(arena, "%s,fp16_ppl,fp16_low,fp16_high,rtn_ppl,rtn_low,rtn_high", heads), k->n);
    sheet->n_rows = k->n;
    for (int i = 0; i < k->n; i++) {
        const char **row = sheet->row[i];
        int at = 1;
        row[0] = ptq_format(arena, "%.6g", 100 * k->fraction[i]);
        for (int w = 0; w < N_WAYS; w++) at += put_point(arena, &k->point[i][w], row + at);
        at += put_point(arena, &k->fp16, row + at);
        put_point(arena, &k->rtn, row + at);
    }
}

/* What a page prints beside the picture. */
static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct kept *k)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "kept,chosen by activation,interval,by weight,interval,at random,interval", k->n);
    for (int w = 0; w < N_WAYS; w++) sheet->column[2 + 2 * w].head = ptq_point_head(k->section->fp16);
    sheet->n_rows = k->n;
    for (int i = 0; i < k->n; i++) {
        sheet->row[i][0] = ptq_format(arena, "%.4g %%", 100 * k->fraction[i]);
        for (int w = 0; w < N_WAYS; w++) {
            const struct ptq_point *p = &k->point[i][w];
            int decimals = ptq_decimals(p->ppl);
            sheet->row[i][1 + 2 * w] = ptq_number(arena, p->ppl, decimals, 0);
            if (k->row[i][w]) sheet->row[i][2 + 2 * w] = ptq_point_interval(arena, k->row[i][w], k->section->fp16);
        }
    }
    return sheet;
}

static void put_settings(struct ptq_arena *arena, const struct kept *k, struct ptq_figure *f)
{
    static const char *const names[] = {"by activation", "by weight", "at random"};
    const char *ticks = "";
    for (int i = 0; i < k->n; i++) ticks = ptq_format(arena, "%s%s%.6g", ticks, i ? ", " : "", 100 * k->fraction[i]);
    ptq_figure_texts(arena, f, "ways", names, N_WAYS);
    ptq_figure_text(arena, f, "x_ticks", ticks);
    ptq_figure_number(arena, f, "x_low", 100 * k->fraction[0] / 1.7);
    ptq_figure_number(arena, f, "x_high", 100 * k->fraction[k->n - 1] * 1.7);
    ptq_figure_axis(arena, f, "y", k->low, k->high);
    ptq_figure_number(arena, f, "has_fp16", !isnan(k->fp16.ppl));
    ptq_figure_number(arena, f, "fp16", k->fp16.ppl);
    ptq_figure_number(arena, f, "has_rtn", !isnan(k->rtn.ppl));
    ptq_figure_number(arena, f, "rtn", k->rtn.ppl);
    ptq_figure_number(arena, f, "rtn_low", k->rtn.low);
    ptq_figure_number(arena, f, "rtn_high", k->rtn.high);
}

static void describe(struct ptq_arena *arena, const struct ptq_model_rows *rows, const struct kept *k,
                     struct ptq_figure *f)
{
    const struct ptq_section *s = k->section;
    const char *group =
        s->group_size < 0 ? "one group a row" : ptq_format(arena, "groups of %lld", (long long)s->group_size);
    f->heading = ptq_format(arena, "%s, %lld bits, %s", s->model, (long long)s->w_bit, group);
    f->note = ptq_figure_note(arena, rows, "bars and band");
    f->caption = "Perplexity against the share of input channels that stay in FP16, for three ways to choose them. If "
                 "a few channels matter by what flows through them, the curve chosen by activation falls towards FP16 "
                 "while the two others stay near RTN.";
    f->alt = ptq_format(arena,
                        "Line chart: perplexity of %s at %lld bits, %d shares of kept channels, three ways to "
                        "choose them, between the levels of FP16 and RTN; the numbers are in the table below.",
                        s->model, (long long)s->w_bit, k->n);
}

static void find(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct kept *k = ptq_new(arena, struct kept, 1);
    for (int s = 0; s < rows->n_sections; s++) {
        const struct ptq_section *section = rows->section[s];
        if (!gather(arena, section, k)) continue;
        const char *group = section->group_size < 0 ? "row" : ptq_format(arena, "%lld", (long long)section->group_size);
        struct ptq_figure *f =
            ptq_figure_add(arena, out, rows, "kept", ptq_format(arena, "w%lld-g%s", (long long)section->w_bit, group));
        describe(arena, rows, k, f);
        put_numbers(arena, k, &f->data);
        f->brief = brief(arena, k);
        put_settings(arena, k, f);
    }
}

const struct ptq_figure_kind ptq_figure_kept = {
    .name = "kept", .title = "Perplexity against the share kept in FP16", .find = find};
