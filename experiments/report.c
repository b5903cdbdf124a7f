#include "report.h"

#include "attribution.h"
#include "escape.h"
#include "labels.h"
#include "method.h"
#include "model_name.h"
#include "partial_spec.h"
#include "path.h"
#include "report_notes.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- names ---- */

const char *ptq_report_option(struct ptq_arena *arena, const char *spec, const char *key)
{
    size_t length = strlen(key);
    for (const char *at = strpbrk(spec, ":,"); at; at = strpbrk(at + 1, ","))
        if (strncmp(at + 1, key, length) == 0 && at[1 + length] == '=')
            return ptq_strndup(arena, at + 2 + length, strcspn(at + 2 + length, ","));
    return NULL;
}

const char *ptq_report_label(struct ptq_arena *arena, const struct ptq_cell *cell)
{
    const char *select = ptq_report_option(arena, cell->spec, "select");
    if (strcmp(cell->method, "fp16") == 0) return cell->w_bit < 16 ? cell->source_dtype : "FP16";
    if (strcmp(cell->method, "rtn") == 0) return "RTN";
    if (strstr(cell->method, "awq") || strstr(cell->method, "gptq") || strcmp(cell->method, "obq") == 0) {
        char *upper = ptq_strdup(arena, cell->method);
        for (char *c = upper; *c; c++) *c = (char)toupper((unsigned char)*c);
        return upper;
    }
    if (!select) return cell->method;
    return ptq_format(arena, "%s %s %s", cell->method, strcmp(select, "random") ? "by" : "at", select);
}

const char *ptq_report_short(struct ptq_arena *arena, const char *path)
{
    size_t length = strlen(path), start = 0;
    while (length > 1 && path[length - 1] == '/') length--;
    for (size_t i = 0; i + 1 < length; i++)
        if (path[i] == '/') start = i + 1;
    return ptq_strndup(arena, path + start, length - start);
}

static const char *text_at(const struct ptq_cell *cell, size_t offset)
{
    return *(const char *const *)((const char *)cell + offset);
}

const char *ptq_report_apart(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_cell *cell,
                             size_t offset)
{
    const char *text = text_at(cell, offset), *name = ptq_report_short(arena, text);
    for (int i = 0; i < report->n_cells; i++) {
        const char *other = text_at(&report->cell[i], offset);
        if (strcmp(other, text) && strcmp(ptq_report_short(arena, other), name) == 0) return text;
    }
    return name;
}

const char *ptq_section_settings(struct ptq_arena *arena, const struct ptq_section *section)
{
    if (section->w_bit == 16) return "FP16";
    if (section->group_size == -1) return ptq_format(arena, "w%lld, one group a row", (long long)section->w_bit);
    return ptq_format(arena, "w%lld g%lld", (long long)section->w_bit, (long long)section->group_size);
}

/* ---- intervals as text ---- */

const char *ptq_seeds_interval(struct ptq_arena *arena, const struct ptq_interval *interval, int decimals, int n,
                               int sign)
{
    const char *text = ptq_interval_text(arena, interval->low, interval->high, decimals, sign);
    return *text && n > 1 ? ptq_format(arena, "%s t, n = %d", text, n) : text;
}

static const char *interval_text(struct ptq_arena *arena, const struct ptq_report_row *row,
                                 const struct ptq_interval *i, int n, int sign)
{
    return ptq_seeds_interval(arena, i, ptq_decimals(row->estimate.ppl), n, sign);
}

const char *ptq_row_interval(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    return interval_text(arena, row, &row->estimate.interval, row->seeds.n, 0);
}

const char *ptq_row_above_interval(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    return interval_text(arena, row, &row->estimate.difference_interval, row->seeds.n, 1);
}

const char *ptq_row_versus_interval(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    int n = row->seeds.n > row->versus->other->seeds.n ? row->seeds.n : row->versus->other->seeds.n;
    return interval_text(arena, row, &row->versus->estimate.difference_interval, n, 1);
}

const char *ptq_report_values(struct ptq_arena *arena, const struct ptq_cell *cells, int n, size_t offset,
                              int short_names, int *n_values)
{
    const char *all = "";
    int found = 0;
    for (int i = 0; i < n; i++) {
        const char *value = text_at(&cells[i], offset);
        int seen = !*value;
        for (int j = 0; j < i && !seen; j++) seen = strcmp(value, text_at(&cells[j], offset)) == 0;
        if (short_names) value = ptq_report_short(arena, value);
        if (!seen) all = ptq_format(arena, "%s%s%s", all, found++ ? "; " : "", value);
    }
    if (n_values) *n_values = found;
    return all;
}

/* ---- rows ---- */

static int is_fp16(const struct ptq_cell *cell)
{
    return strcmp(cell->method, "fp16") == 0;
}

/* 1 where cell number i stands in another one's row: as an earlier one once more, or a replicate of it. */
static int is_folded(struct ptq_arena *arena, const struct ptq_cell *cells, int i)
{
    for (int j = 0; j < i; j++)
        if (ptq_is_repeat(&cells[j], &cells[i]) || ptq_is_replicate(arena, &cells[j], &cells[i])) return 1;
    return 0;
}

static int is_in(const struct ptq_replicates *r, const struct ptq_cell *cell)
{
    for (int i = 0; i < r->n; i++)
        if (ptq_is_repeat(r->cell[i], cell)) return 1;
    return 0;
}

static void fill_row(struct ptq_arena *arena, const struct ptq_cell *cells, int n, int first,
                     struct ptq_report_row *row)
{
    const struct ptq_cell *cell = &cells[first];
    row->seeds.cell = ptq_new(arena, const struct ptq_cell *, n);
    row->seeds.cell[row->seeds.n++] = cell;
    for (int i = first + 1; i < n; i++)
        if (ptq_is_replicate(arena, cell, &cells[i]) && !is_in(&row->seeds, &cells[i]))
            row->seeds.cell[row->seeds.n++] = &cells[i];
    ptq_replicates_summarise(&row->seeds);
    row->cell = ptq_replicates_mean(arena, &row->seeds);
}

static void gather_rows(struct ptq_arena *arena, const struct ptq_cell *cells, int n, struct ptq_report *out)
{
    out->row = ptq_new(arena, struct ptq_report_row, n);
    for (int i = 0; i < n; i++)
        if (!is_folded(arena, cells, i)) fill_row(arena, cells, n, i, &out->row[out->n_rows++]);
}

static enum ptq_status check_protocols(struct ptq_arena *arena, const struct ptq_cell *cells, int n, int by_text,
                                       struct ptq_error *err)
{
    for (const struct ptq_cell *b = cells; b < cells + n; b++) {
        const struct ptq_cell *a = cells;
        while (by_text && strcmp(a->text, b->text)) a++;
        if (strcmp(a->protocol, b->protocol) == 0) continue;
        return ptq_fail(
            err, PTQ_EINPUT,
            "%s %s (%s) and %s %s (%s) were measured by different protocols, and a table does not mix them; "
            "run them with the same text, window, windows and bos, each protocol into a file of its own, or drop what "
            "was measured before by ptq run --fresh",
            a->model, a->spec, ptq_worded(arena, a->protocol), b->model, b->spec, ptq_worded(arena, b->protocol));
    }
    return PTQ_OK;
}

int ptq_paths_apart(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return a->w_bit < 16 && b->w_bit < 16 && ptq_path_is_coarse(a->path) != ptq_path_is_coarse(b->path);
}

static enum ptq_status check_paths(const struct ptq_cell *cells, int n, struct ptq_error *err)
{
    const struct ptq_cell *a = NULL;
    for (int i = 0; i < n; i++) {
        const struct ptq_cell *b = &cells[i];
        if (!a && b->w_bit < 16) a = b;
        if (!a || !ptq_paths_apart(a, b)) continue;
        return ptq_fail(err, PTQ_EINPUT,
                        "%s %s (path %s) and %s %s (path %s) do not stand in one table, since activations of 8 bits "
                        "have a loss of their own; keep such cells in a file of their own, and compare by ptq diff",
                        a->model, a->spec, a->path, b->model, b->spec, b->path);
    }
    return PTQ_OK;
}

enum ptq_status ptq_report_check(struct ptq_arena *arena, const struct ptq_cell *cells, int n, int by_text,
                                 struct ptq_error *err)
{
    PTQ_TRY(check_protocols(arena, cells, n, by_text, err));
    return check_paths(cells, n, err);
}

/* The rows of row[first]'s model, from that one on; how many. */
static int rows_of_model(struct ptq_report *report, int first, struct ptq_report_row **row)
{
    int n = 0;
    for (int i = first; i < report->n_rows; i++)
        if (ptq_same_task(report->row[first].cell, report->row[i].cell)) row[n++] = &report->row[i];
    return n;
}

/* Estimates for row[n], all of one model, against row[reference] (or, where that is -1, against none). */
static enum ptq_status estimate(struct ptq_arena *arena, const struct ptq_report *report,
                                struct ptq_report_row *const *row, int n, int reference, struct ptq_estimate *out,
                                struct ptq_error *err)
{
    const struct ptq_cell **cell = ptq_new(arena, const struct ptq_cell *, n);
    for (int i = 0; i < n; i++) cell[i] = row[i]->cell;
    PTQ_TRY(ptq_bootstrap(cell, n, reference, &report->bootstrap, out, err));
    for (int i = 0; i < n; i++)
        ptq_replicates_widen(&row[i]->seeds, reference < 0 ? NULL : &row[reference]->seeds, report->bootstrap.level,
                             &out[i]);
    return PTQ_OK;
}

/* Intervals for all rows that share row[first]'s model, at once. */
static enum ptq_status estimate_model(struct ptq_arena *arena, struct ptq_report *report, int first,
                                      struct ptq_error *err)
{
    struct ptq_report_row **row = ptq_new(arena, struct ptq_report_row *, report->n_rows);
    struct ptq_estimate *out = ptq_new(arena, struct ptq_estimate, report->n_rows);
    int n = rows_of_model(report, first, row), reference = -1;
    for (int i = 0; i < n && reference < 0; i++)
        if (is_fp16(row[i]->cell) && row[i]->cell->w_bit >= 16) reference = i; /* codes as they are read are none */
    PTQ_TRY(estimate(arena, report, row, n, reference, out, err));
    for (int i = 0; i < n; i++) row[i]->estimate = out[i];
    return PTQ_OK;
}

/* 1 where no row before this one has its model. */
static int is_first_of_model(const struct ptq_report *report, int i)
{
    for (int j = 0; j < i; j++)
        if (ptq_same_task(report->row[j].cell, report->row[i].cell)) return 0;
    return 1;
}

static enum ptq_status estimate_rows(struct ptq_arena *arena, struct ptq_report *report, struct ptq_error *err)
{
    for (int i = 0; i < report->n_rows; i++)
        if (is_first_of_model(report, i)) PTQ_TRY(estimate_model(arena, report, i, err));
    return PTQ_OK;
}

/* ---- the comparison that was asked for ---- */

/* said: what several rows agree with, which are listed; NULL: none is spec, and all are. */
static enum ptq_status no_such_row(struct ptq_arena *arena, const struct ptq_report *report,
                                   struct ptq_report_row *const *row, int n, const char *spec, const char *said,
                                   struct ptq_error *err)
{
    const char *all = "";
    for (int i = 0; i < n; i++)
        if (!said || ptq_partial_spec_agrees(row[i]->cell->spec, said))
            all = ptq_format(arena, "%s%s%s", all, *all ? " ; " : "", row[i]->cell->spec);
    return ptq_fail(err, PTQ_EUSAGE, "%s of %s%s %s %s; there are: %.600s", said ? "several cells" : "no cell",
                    row[0]->cell->model, ptq_model_apart(arena, report->cell, report->n_cells, row[0]->cell),
                    said ? "agree with" : "is", said ? said : spec, all);
}

/* The row that is spec (what was said, with defaults for the rest), else the one SPEC that agrees with what was said.
 */
static enum ptq_status find_other(struct ptq_arena *arena, const struct ptq_report *report,
                                  struct ptq_report_row *const *row, int n, const char *spec, const char *said,
                                  int *other, struct ptq_error *err)
{
    int several = 0;
    *other = -1;
    for (int i = 0; i < n && *other < 0; i++)
        if (strcmp(row[i]->cell->spec, spec) == 0) *other = i;
    if (*other >= 0) return PTQ_OK;
    for (int i = 0; i < n; i++) {
        if (!ptq_partial_spec_agrees(row[i]->cell->spec, said)) continue;
        if (*other < 0) *other = i;
        several |= strcmp(row[i]->cell->spec, row[*other]->cell->spec) != 0;
    }
    return *other < 0 || several ? no_such_row(arena, report, row, n, spec, several ? said : NULL, err) : PTQ_OK;
}

/* Holm: the k-th smallest of m p values counts (m - k + 1)-fold, and none less than the one before it. */
static void adjust(struct ptq_versus *versus, int n)
{
    int m = 0;
    for (int i = 0; i < n; i++) m += !isnan(versus[i].estimate.p);
    double most = 0;
    for (int k = 0; k < m; k++) {
        struct ptq_versus *next = NULL;
        for (int i = 0; i < n; i++)
            if (!isnan(versus[i].estimate.p) && isnan(versus[i].holm) &&
                (!next || versus[i].estimate.p < next->estimate.p))
                next = &versus[i];
        most = fmax(most, fmin(1, (m - k) * next->estimate.p));
        next->holm = most;
    }
}

static enum ptq_status compare_model(struct ptq_arena *arena, struct ptq_report *report, int first, const char *spec,
                                     const char *said, struct ptq_error *err)
{
    struct ptq_report_row **row = ptq_new(arena, struct ptq_report_row *, report->n_rows);
    int n = rows_of_model(report, first, row), other;
    PTQ_TRY(find_other(arena, report, row, n, spec, said, &other, err));
    struct ptq_estimate *out = ptq_new(arena, struct ptq_estimate, n);
    struct ptq_versus *versus = ptq_new(arena, struct ptq_versus, n);
    PTQ_TRY(estimate(arena, report, row, n, other, out, err));
    for (int i = 0; i < n; i++) {
        versus[i] = (struct ptq_versus){.other = row[other], .estimate = out[i], .holm = NAN};
        if (i == other) versus[i].estimate.p = NAN; /* itself: no comparison */
        row[i]->versus = &versus[i];
    }
    adjust(versus, n);
    return PTQ_OK;
}

enum ptq_status ptq_report_against(struct ptq_arena *arena, struct ptq_report *report, const char *spec,
                                   struct ptq_error *err)
{
    struct ptq_spec parsed;
    PTQ_TRY(ptq_spec_parse(spec, &parsed, err));
    const char *whole = ptq_spec_format(&parsed, arena);
    for (int i = 0; i < report->n_rows; i++)
        if (is_first_of_model(report, i)) PTQ_TRY(compare_model(arena, report, i, whole, spec, err));
    report->against = report->row[0].versus->other->cell->spec;
    for (int i = 1; i < report->n_rows; i++) /* models may differ in what was not said */
        if (strcmp(report->row[i].versus->other->cell->spec, report->against)) report->against = spec;
    ptq_report_note_versus(arena, report);
    return PTQ_OK;
}

const char *ptq_versus_verdict(const struct ptq_versus *versus)
{
    if (isnan(versus->holm)) return "";
    if (versus->holm >= 0.05) return "not told apart by these tokens";
    return versus->estimate.difference < 0 ? "lower" : "higher";
}

static void judge_rows(struct ptq_arena *arena, struct ptq_report *report, const char **missing)
{
    struct ptq_paper paper;
    struct ptq_error err;
    *missing = NULL;
    if (ptq_paper_read(arena, NULL, &paper, &err)) {
        *missing = ptq_strdup(arena, err.text);
        return;
    }
    for (int i = 0; i < report->n_rows; i++)
        report->row[i].verdict = ptq_paper_verdict(&paper, report->row[i].cell, &report->row[i].paper);
}

/* ---- sections ---- */

static int belongs(const struct ptq_section *section, const struct ptq_cell *of, const struct ptq_cell *cell)
{
    return ptq_same_task(of, cell) && cell->w_bit == section->w_bit && cell->group_size == section->group_size;
}

/* A model's FP16 cells stand in front of each of its sections; alone they are one. */
static void fill_section(struct ptq_arena *arena, struct ptq_report *report, const struct ptq_cell *of,
                         struct ptq_section *section)
{
    *section = (struct ptq_section){.w_bit = of->w_bit, .group_size = of->group_size};
    section->model = ptq_model_name(arena, report->cell, report->n_cells, of);
    section->row = ptq_new(arena, struct ptq_report_row *, report->n_rows);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < report->n_rows; i++) {
            const struct ptq_cell *cell = report->row[i].cell;
            int fits = pass ? belongs(section, of, cell) && !is_fp16(cell) && !ptq_is_swap(cell)
                            : is_fp16(cell) && ptq_same_task(of, cell);
            if (fits) section->row[section->n++] = &report->row[i];
        }
    if (is_fp16(section->row[0]->cell)) section->fp16 = section->row[0];
}

static int has_quantised(const struct ptq_report *report, const struct ptq_cell *of)
{
    for (int i = 0; i < report->n_rows; i++)
        if (ptq_same_task(report->row[i].cell, of) && !is_fp16(report->row[i].cell) &&
            !ptq_is_swap(report->row[i].cell))
            return 1;
    return 0;
}

static void make_sections(struct ptq_arena *arena, struct ptq_report *report)
{
    const struct ptq_cell **of = ptq_new(arena, const struct ptq_cell *, report->n_rows);
    report->section = ptq_new(arena, struct ptq_section, report->n_rows);
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *cell = report->row[i].cell;
        int seen = (is_fp16(cell) && has_quantised(report, cell)) || ptq_is_swap(cell);
        for (int s = 0; s < report->n_sections && !seen; s++) seen = belongs(&report->section[s], of[s], cell);
        if (seen) continue;
        of[report->n_sections] = cell;
        fill_section(arena, report, cell, &report->section[report->n_sections++]);
    }
}

enum ptq_status ptq_report_make(struct ptq_arena *arena, const struct ptq_cell *cells, int n, struct ptq_report *out,
                                struct ptq_error *err)
{
    const char *missing;
    if (n < 1) return ptq_fail(err, PTQ_EINPUT, "there is no finished cell to show");
    PTQ_TRY(ptq_report_check(arena, cells, n, 0, err));
    *out = (struct ptq_report){
        .title = cells[0].experiment, .cell = cells, .n_cells = n, .bootstrap = ptq_bootstrap_default};
    gather_rows(arena, cells, n, out);
    ptq_label_rows(arena, out);
    PTQ_TRY(estimate_rows(arena, out, err));
    judge_rows(arena, out, &missing);
    make_sections(arena, out);
    ptq_report_notes(arena, out, missing);
    return PTQ_OK;
}
