#include "claims.h"
#include "report.h"
#include "sheet.h"
#include "words.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static const char *with_unit(struct ptq_arena *arena, const char *number, const char *unit)
{
    return *unit ? ptq_format(arena, "%s %s", number, unit) : number;
}

const char *ptq_claim_number(struct ptq_arena *arena, const struct ptq_claim_test *t)
{
    if (isnan(t->value)) return "";
    int whole = t->value == floor(t->value) && fabs(t->value) < 1e6, decimals = whole ? 0 : ptq_decimals(t->value);
    if (!isnan(t->interval.low) && decimals < 2 && fabs(t->value) < 100) decimals = ptq_decimals(t->value);
    const char *text = with_unit(arena, ptq_number(arena, t->value, decimals, 0), t->measure->unit);
    if (isnan(t->interval.low)) return text;
    if (t->sampled)
        return ptq_format(arena, "%s %s", text, ptq_seeds_interval(arena, &t->interval, decimals, t->runs, 0));
    return ptq_format(arena, "%s (%s .. %s)", text, ptq_number(arena, t->interval.low, decimals, 0),
                      ptq_number(arena, t->interval.high, decimals, 0));
}

static const char *threshold(struct ptq_arena *arena, const struct ptq_claim_test *t)
{
    int above = !isnan(t->above);
    return with_unit(arena, ptq_format(arena, "%s %g", above ? "above" : "below", above ? t->above : t->below),
                     t->measure->unit);
}

/* Where the number comes from. */
static const char *source(struct ptq_arena *arena, const struct ptq_claim_test *t)
{
    if (t->experiment) return t->experiment;
    const char *files = "";
    for (int i = 0; i < t->n_file; i++) files = ptq_format(arena, "%s%s%s", files, i ? ", " : "", t->file[i]);
    return files;
}

/* "holds here, but GPTQ itself is worse than RTN here: 31.24 against 29.12 (...)" */
static const char *verdict(struct ptq_arena *arena, const struct ptq_claim *claim)
{
    const char *name = ptq_claim_verdict_name(claim->verdict);
    if (!claim->but) return name;
    return ptq_format(arena, "%s%s%s", name, claim->verdict == PTQ_CLAIM_HOLDS ? ", but " : "; ", claim->but);
}

/* ---- text and Markdown ---- */

struct page {
    struct ptq_arena *arena;
    const struct ptq_claims *claims;
    enum ptq_table_format format;
    FILE *out;
};

static const char *escaped(const struct page *p, const char *text)
{
    return ptq_escape(p->arena, p->format, text);
}

static void print_summary(const struct page *p)
{
    struct ptq_sheet sheet = {
        .title = p->claims->title,
        .column = {{.head = "claim", .left = 1}, {.head = "verdict", .left = 1}, {.head = "measured under", .left = 1}},
        .n_columns = 3,
        .n_rows = p->claims->n};
    sheet.row = ptq_alloc_array(p->arena, (size_t)sheet.n_rows, sizeof *sheet.row, "claims");
    for (int i = 0; i < p->claims->n; i++) {
        sheet.row[i][0] = p->claims->claim[i].claim;
        sheet.row[i][1] = verdict(p->arena, &p->claims->claim[i]);
        sheet.row[i][2] = p->claims->claim[i].conditions;
    }
    ptq_sheet_print(&sheet, p->format, p->out);
    fputs("\n", p->out);
}

static void print_claim(const struct page *p, const struct ptq_claim *claim)
{
    struct ptq_sheet sheet = {.column = {{.head = "test", .left = 1},
                                         {.head = "measured", .left = 1},
                                         {.head = "claimed", .left = 1},
                                         {.head = "verdict", .left = 1},
                                         {.head = "cells", .left = 1},
                                         {.head = "remark", .left = 1}},
                              .n_columns = 6,
                              .n_rows = claim->n_tests};
    const char *under = claim->conditions;
    sheet.title = ptq_format(p->arena, "%s: %s%s%s%s", claim->name, verdict(p->arena, claim), *under ? " (" : "", under,
                             *under ? ")" : "");
    sheet.row = ptq_alloc_array(p->arena, (size_t)sheet.n_rows, sizeof *sheet.row, "claims");
    for (int i = 0; i < claim->n_tests; i++) {
        const struct ptq_claim_test *t = &claim->test[i];
        sheet.row[i][0] = ptq_format(p->arena, "%s (%s)", t->what, source(p->arena, t));
        sheet.row[i][1] = ptq_claim_number(p->arena, t);
        sheet.row[i][2] = threshold(p->arena, t);
        sheet.row[i][3] = ptq_claim_verdict_name(t->verdict);
        sheet.row[i][4] = t->specs;
        sheet.row[i][5] = t->why;
    }
    ptq_sheet_print(&sheet, p->format, p->out);
    const char *begin = p->format == PTQ_TABLE_HTML ? "<p>" : "", *end = *begin ? "</p>" : "";
    fprintf(p->out, "\n%s%s (%s)%s\n", begin, escaped(p, claim->claim), escaped(p, claim->source), end);
    if (claim->note) fprintf(p->out, "%s%s%s\n", begin, escaped(p, claim->note), end);
    fputs("\n", p->out);
}

static const char *before_line(const struct page *p)
{
    return p->format == PTQ_TABLE_MD ? "- " : p->format == PTQ_TABLE_HTML ? "<p class=\"small\">" : "  ";
}

static const char *after_line(const struct page *p)
{
    return p->format == PTQ_TABLE_HTML ? "</p>" : "";
}

/* "- WHAT: WHY", once. */
static void add_remark(const struct page *p, const char *what, const char *why, struct ptq_buffer *remarks)
{
    const char *line =
        ptq_format(p->arena, "%s%s: %s.%s\n", before_line(p), escaped(p, what), escaped(p, why), after_line(p));
    if (!remarks->data || !strstr(remarks->data, line)) ptq_buffer_add(remarks, "%s", line);
}

static void print_comparison(const struct page *p)
{
    const struct ptq_claims *c = p->claims;
    struct ptq_sheet sheet = {.title = "The methods side by side, as measured",
                              .column = {{.head = "", .left = 1}},
                              .n_columns = 2 + c->n_sides,
                              .n_rows = c->n_rows};
    struct ptq_buffer remarks = {0};
    if (!c->n_rows) return;
    for (int s = 0; s < c->n_sides; s++) sheet.column[1 + s] = (struct ptq_sheet_column){.head = c->side[s], .left = 1};
    sheet.column[1 + c->n_sides] = (struct ptq_sheet_column){.head = "measured under", .left = 1};
    sheet.row = ptq_alloc_array(p->arena, (size_t)sheet.n_rows, sizeof *sheet.row, "claims");
    for (int r = 0; r < c->n_rows; r++) {
        sheet.row[r][0] = c->row[r].what;
        sheet.row[r][1 + c->n_sides] = c->row[r].conditions;
        for (int s = 0; s < c->n_sides; s++) {
            const struct ptq_claim_test *t = &c->row[r].side[s];
            const char *number = ptq_claim_number(p->arena, t);
            sheet.row[r][1 + s] = isnan(t->value) ? "not measured" : number;
            if (t->why) add_remark(p, isnan(t->value) ? "not measured" : c->row[r].what, t->why, &remarks);
        }
    }
    if (c->but) ptq_buffer_add(&remarks, "%s%s.%s\n", before_line(p), escaped(p, c->but), after_line(p));
    ptq_sheet_print(&sheet, p->format, p->out);
    fprintf(p->out, "\n%s%s", remarks.data ? remarks.data : "", remarks.data ? "\n" : "");
    free(remarks.data);
}

static void print_page(const struct page *p)
{
    print_summary(p);
    print_comparison(p);
    for (int i = 0; i < p->claims->n; i++) print_claim(p, &p->claims->claim[i]);
    for (int i = 0; i < p->claims->n_notes; i++)
        fprintf(p->out, "%s%s%s\n", before_line(p), escaped(p, p->claims->note[i]), after_line(p));
}

/* ---- JSON ---- */

static json_t *text_json(struct ptq_arena *arena, const char *text)
{
    return text ? json_string(ptq_escape(arena, PTQ_TABLE_TEXT, text)) : json_null();
}

static json_t *real_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *test_json(struct ptq_arena *arena, const struct ptq_claim_test *t)
{
    json_t *json = json_object();
    json_object_set_new(json, "what", text_json(arena, t->what));
    json_object_set_new(json, "experiment", text_json(arena, t->experiment));
    json_object_set_new(json, "measure", text_json(arena, t->measure->name));
    json_object_set_new(json, "unit", text_json(arena, t->measure->unit));
    json_object_set_new(json, "value", real_json(t->value));
    json_object_set_new(json, "low", real_json(t->interval.low));
    json_object_set_new(json, "high", real_json(t->interval.high));
    json_object_set_new(json, "above", real_json(t->above));
    json_object_set_new(json, "below", real_json(t->below));
    json_object_set_new(json, "runs", json_integer(t->runs));
    json_object_set_new(json, "cells", text_json(arena, t->specs));
    json_object_set_new(json, "remark", text_json(arena, t->why));
    return json;
}

static json_t *claim_json(struct ptq_arena *arena, const struct ptq_claim *claim)
{
    json_t *json = json_object(), *tests = json_array();
    json_object_set_new(json, "name", text_json(arena, claim->name));
    json_object_set_new(json, "claim", text_json(arena, claim->claim));
    json_object_set_new(json, "source", text_json(arena, claim->source));
    json_object_set_new(json, "note", text_json(arena, claim->note));
    json_object_set_new(json, "verdict", text_json(arena, ptq_claim_verdict_name(claim->verdict)));
    json_object_set_new(json, "but", text_json(arena, claim->but));
    json_object_set_new(json, "conditions", text_json(arena, claim->conditions));
    for (int t = 0; t < claim->n_tests; t++) {
        json_t *test = test_json(arena, &claim->test[t]);
        json_object_set_new(test, "verdict", text_json(arena, ptq_claim_verdict_name(claim->test[t].verdict)));
        json_array_append_new(tests, test);
    }
    json_object_set_new(json, "tests", tests);
    return json;
}

static json_t *row_json(struct ptq_arena *arena, const struct ptq_claims *claims, const struct ptq_claim_row *row)
{
    json_t *json = json_object();
    json_object_set_new(json, "what", text_json(arena, row->what));
    json_object_set_new(json, "conditions", text_json(arena, row->conditions));
    for (int s = 0; s < claims->n_sides; s++)
        json_object_set_new(json, claims->side[s], test_json(arena, &row->side[s]));
    return json;
}

static void print_json(struct ptq_arena *arena, const struct ptq_claims *claims, FILE *out)
{
    json_t *root = json_object(), *list = json_array(), *rows = json_array(), *notes = json_array();
    for (int i = 0; i < claims->n; i++) json_array_append_new(list, claim_json(arena, &claims->claim[i]));
    for (int i = 0; i < claims->n_rows; i++) json_array_append_new(rows, row_json(arena, claims, &claims->row[i]));
    for (int i = 0; i < claims->n_notes; i++) json_array_append_new(notes, text_json(arena, claims->note[i]));
    json_object_set_new(root, "title", text_json(arena, claims->title));
    json_object_set_new(root, "claims", list);
    json_object_set_new(root, "comparison", rows);
    json_object_set_new(root, "comparison_but", text_json(arena, claims->but));
    json_object_set_new(root, "notes", notes);
    ptq_json_show(root, JSON_INDENT(1), out);
    json_decref(root);
}

enum ptq_status ptq_claims_print(const struct ptq_claims *claims, enum ptq_table_format format, FILE *out,
                                 struct ptq_error *err)
{
    if (format == PTQ_TABLE_CSV || format == PTQ_TABLE_TEX)
        return ptq_fail(err, PTQ_EUSAGE, "claims are printed as text, md or json");
    struct ptq_arena *arena = ptq_arena_make("claims");
    struct page page = {.arena = arena, .claims = claims, .format = format, .out = out};
    if (format == PTQ_TABLE_JSON)
        print_json(arena, claims, out);
    else
        print_page(&page);
    ptq_arena_free(arena);
    if (fflush(out) || ferror(out)) return ptq_fail(err, PTQ_EIO, "the claims cannot be written");
    return PTQ_OK;
}
