#include "paper.h"

#include "home.h"
#include "path.h"
#include "tsv.h"
#include "words.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char header[] = "paper\ttable\tmodel\tspec\tmetric\tvalue\ttolerance\tsource\tnote";
static const char wikitext2[] = "ppl:wikitext2";

/* ---- reading ---- */

/* "0.01" or "0.5%" of value. */
static int parse_tolerance(char *text, double value, double *tolerance)
{
    size_t length = strlen(text);
    int percent = length && text[length - 1] == '%';
    if (percent) text[length - 1] = 0;
    if (!ptq_parse_double(text, 0, DBL_MAX, tolerance)) return 0;
    if (percent) *tolerance *= fabs(value) / 100;
    return *tolerance > 0 || value == 0;
}

static enum ptq_status parse_row(struct ptq_arena *arena, const char *path, const struct ptq_tsv_row *row,
                                 struct ptq_paper_number *out, struct ptq_error *err)
{
    char *const *column = row->column;
    const char *printed = ptq_strdup(arena, column[5]);
    *out = (struct ptq_paper_number){.paper = column[0],
                                     .table = column[1],
                                     .model = column[2],
                                     .spec = column[3],
                                     .metric = column[4],
                                     .printed = printed,
                                     .source = column[7],
                                     .note = column[8]};
    if (!ptq_parse_double(printed, -DBL_MAX, DBL_MAX, &out->value))
        return ptq_fail(err, PTQ_EINPUT, "%s:%d: the value '%s' is no number", path, row->line, printed);
    if (!parse_tolerance(column[6], out->value, &out->tolerance))
        return ptq_fail(err, PTQ_EINPUT, "%s:%d: the tolerance '%s' is no number above 0", path, row->line, column[6]);
    return PTQ_OK;
}

enum ptq_status ptq_paper_read(struct ptq_arena *arena, const char *path, struct ptq_paper *out, struct ptq_error *err)
{
    struct ptq_tsv table;
    if (!path) path = ptq_home_path(arena, "experiments/paper.tsv");
    PTQ_TRY(ptq_tsv_read(arena, path, header, &table, err));
    struct ptq_paper_number *numbers = ptq_new(arena, struct ptq_paper_number, table.n);
    *out = (struct ptq_paper){numbers, table.n};
    for (int i = 0; i < table.n; i++) PTQ_TRY(parse_row(arena, path, &table.row[i], &numbers[i], err));
    return PTQ_OK;
}

/* ---- finding ---- */

static int ends_with(const char *text, size_t length, const char *end)
{
    size_t n = strlen(end);
    return length > n && strncasecmp(text + length - n, end, n) == 0;
}

/* The part of a model's name that papers would know it by: *length bytes from the result on. */
static const char *short_name(const char *model, size_t *length)
{
    const char *cached = strstr(model, "models--"), *start = model;
    size_t n = strlen(model);
    if (cached && strstr(cached + 8, "--")) { /* ".../models--facebook--opt-1.3b/snapshots/..." */
        start = strstr(cached + 8, "--") + 2;
        n = strcspn(start, "/");
    } else {
        while (n > 1 && model[n - 1] == '/') n--;
        for (size_t i = 0; i + 1 < n; i++)
            if (model[i] == '/') start = model + i + 1;
        n -= (size_t)(start - model);
    }
    if (ends_with(start, n, ".gguf")) n -= 5;
    if (ends_with(start, n, "-hf")) n -= 3;
    *length = n;
    return start;
}

/* Whether an experiment is the one of a row's table: awq-table3 of AWQ, 3. */
static int is_table_of(const char *experiment, const struct ptq_paper_number *row)
{
    static const char table[] = "-table";
    size_t paper = strlen(row->paper);
    return strncasecmp(experiment, row->paper, paper) == 0 &&
           strncmp(experiment + paper, table, sizeof table - 1) == 0 &&
           strcmp(experiment + paper + sizeof table - 1, row->table) == 0;
}

const struct ptq_paper_number *ptq_paper_find(const struct ptq_paper *paper, const char *experiment, const char *model,
                                              const char *spec, const char *metric)
{
    size_t length;
    const char *name = short_name(model, &length);
    const struct ptq_paper_number *first = NULL;
    for (int i = 0; i < paper->n; i++) {
        const struct ptq_paper_number *p = &paper->number[i];
        if (strlen(p->model) != length || strncasecmp(p->model, name, length) || strcmp(p->metric, metric) ||
            strcmp(p->spec, spec))
            continue;
        if (is_table_of(experiment, p)) return p;
        if (!first) first = p;
    }
    return first;
}

/* ---- judging ---- */

/* Windows of 2048 that the papers' text gives with a family's tokenizer: 287 645 and 341 469 ids. It is told by its
 * name and by this number, since the text itself may not be in the tree. */
static const struct {
    const char *family;
    int64_t windows;
} paper_text[] = {{"opt", 140}, {"llama", 166}};

/* Whether name holds word, taken together ("wikitext-2-raw-v1/test.txt" holds "wikitext2"). */
static int name_holds(const char *name, const char *word)
{
    for (; *name; name++) {
        const char *at = name, *w = word;
        for (; *at && *w; at++) {
            if (*at == '-' || *at == '_' || *at == ' ') continue;
            if (tolower((unsigned char)*at) != *w) break;
            w++;
        }
        if (!*w) return 1;
    }
    return 0;
}

static int is_paper_text(const struct ptq_cell *cell)
{
    static const char protocol[] = "window 2048, all windows, bos stream,";
    if (strncmp(cell->protocol, protocol, sizeof protocol - 1)) return 0;
    if (!name_holds(cell->text, "wikitext2") || !name_holds(cell->text, "test")) return 0;
    for (size_t i = 0; i < sizeof paper_text / sizeof *paper_text; i++)
        if (strcmp(cell->family, paper_text[i].family) == 0) return cell->windows == paper_text[i].windows;
    return 0;
}

static int is_full_precision(const char *dtype)
{
    return strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0 || strcmp(dtype, "F32") == 0;
}

enum ptq_verdict ptq_paper_judge(const struct ptq_paper *paper, const struct ptq_cell *cell, const char *metric,
                                 double ours, const struct ptq_paper_number **number)
{
    int is_ppl = strncmp(metric, "ppl:", 4) == 0;
    *number = ptq_paper_find(paper, cell->experiment, cell->model, cell->spec, metric);
    if (!*number) return PTQ_NO_PAPER;
    /* What is said of the weights alone depends on no evaluation text. */
    if ((is_ppl && (!is_paper_text(cell) || ptq_path_is_coarse(cell->path))) || !is_full_precision(cell->source_dtype))
        return PTQ_OTHER_SETTINGS;
    /* What a paper prints is rounded, and so is a sum of decimal fractions. */
    double distance = fabs(ours - (*number)->value), slack = 1e-9 * fabs((*number)->value);
    if (distance <= (*number)->tolerance + slack) return PTQ_MATCHES;
    return distance <= 3 * (*number)->tolerance + slack ? PTQ_WITHIN_BAND : PTQ_OFF;
}

enum ptq_verdict ptq_paper_verdict(const struct ptq_paper *paper, const struct ptq_cell *cell,
                                   const struct ptq_paper_number **number)
{
    return ptq_paper_judge(paper, cell, wikitext2, cell->ppl, number);
}

const char *ptq_verdict_name(enum ptq_verdict verdict)
{
    static const char *const names[] = {"", "other settings", "matches", "within band", "off"};
    return names[verdict];
}
