#include "records.h"

#include "escape.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT, INT, REAL, UNKNOWN };

/* One field of a record. */
struct field {
    int kind;
    const char *name;
    const char *text;
    int64_t integer;
    double real;
};

enum { MOST_FIELDS = 128 };

#define ADD_TEXT(label, value)                                                                                         \
    f[n++] = (struct field)                                                                                            \
    {                                                                                                                  \
        .kind = TEXT, .name = (label), .text = (value)                                                                 \
    }
#define ADD_INT(label, value)                                                                                          \
    f[n++] = (struct field)                                                                                            \
    {                                                                                                                  \
        .kind = INT, .name = (label), .integer = (value)                                                               \
    }
#define ADD_KNOWN(label, value)                                                                                        \
    f[n++] = (struct field)                                                                                            \
    {                                                                                                                  \
        .kind = (value) ? INT : UNKNOWN, .name = (label), .integer = (value)                                           \
    }
#define ADD_REAL(label, value)                                                                                         \
    f[n++] = (struct field)                                                                                            \
    {                                                                                                                  \
        .kind = REAL, .name = (label), .real = (value)                                                                 \
    }

/* Of the comparison that was asked for; the columns are there in every row of a report that has one. */
static int list_versus(const struct ptq_report *report, const struct ptq_report_row *row, struct field *f)
{
    int n = 0;
    if (!report->against) return 0;
    const struct ptq_versus *v = row->versus;
    const struct ptq_estimate *e = &v->estimate;
    int itself = v->other == row;
    ADD_TEXT("against", v->other->cell->spec);
    ADD_REAL("against_difference", itself ? NAN : e->difference);
    ADD_REAL("against_low", itself ? NAN : e->difference_interval.low);
    ADD_REAL("against_high", itself ? NAN : e->difference_interval.high);
    ADD_REAL("against_p", e->p);
    ADD_REAL("against_p_holm", v->holm);
    ADD_TEXT("against_verdict", ptq_versus_verdict(v));
    return n;
}

/* All scalars of a cell. */
static int list_cell(const struct ptq_cell *c, struct field *f)
{
    int n = 0;
#define X(type, name, ...) ADD_##type(#name, c->name);
    ADD_TEXT("id", c->id);
    PTQ_CELL_FIELDS(X)
#undef X
#define X(type, name, ...) ADD_KNOWN(#name, c->name);
    PTQ_PEAK_FIELDS(X)
#undef X
#define X(type, name, ...) ADD_##type(#name, c->kl ? c->name : NAN);
    PTQ_AGAINST_FIELDS(X)
#undef X
    return n;
}

/* Everything that is known of a row, in the order in which it is written. */
static int list_fields(const struct ptq_report *report, const struct ptq_report_row *row, struct field *f)
{
    const struct ptq_estimate *e = &row->estimate;
    const struct ptq_paper_number *p = row->paper;
    int n = list_cell(row->cell, f);
    ADD_REAL("ppl_low", e->interval.low);
    ADD_REAL("ppl_high", e->interval.high);
    ADD_REAL("difference", e->difference);
    ADD_REAL("difference_low", e->difference_interval.low);
    ADD_REAL("difference_high", e->difference_interval.high);
    ADD_REAL("difference_p", e->p);
    ADD_INT("seeds", row->seeds.n);
    ADD_REAL("sd_of_seeds", row->seeds.sd);
    ADD_REAL("lowest_of_seeds", row->seeds.lowest);
    ADD_REAL("highest_of_seeds", row->seeds.highest);
    ADD_REAL("mean_of_seeds_low", row->seeds.mean_low);
    ADD_REAL("mean_of_seeds_high", row->seeds.mean_high);
    n += list_versus(report, row, f + n);
    ADD_INT("bootstrap_block", ptq_bootstrap_unit_tokens(&report->bootstrap, row->cell));
    ADD_INT("bootstrap_replicates", report->bootstrap.replicates);
    ADD_INT("bootstrap_seed", (int64_t)report->bootstrap.seed);
    ADD_REAL("paper_value", p ? p->value : NAN);
    ADD_REAL("paper_tolerance", p ? p->tolerance : NAN);
    ADD_TEXT("paper_source", p ? p->source : "");
    ADD_TEXT("paper_table", p ? p->table : "");
    ADD_TEXT("paper_note", p ? p->note : "");
    ADD_TEXT("verdict", ptq_verdict_name(row->verdict));
    return n;
}

/* ---- CSV ---- */

/* The cells that a row stands for, a column a number: "0 1 2", their perplexities and ids. */
static int list_each(struct ptq_arena *arena, const struct ptq_replicates *seeds, struct field *f)
{
    const char *seed = "", *ppl = "", *id = "";
    int n = 0;
    for (int i = 0; i < seeds->n; i++) {
        const struct ptq_cell *c = seeds->cell[i];
        seed = ptq_format(arena, "%s%s%lld", seed, i ? " " : "", (long long)c->seed);
        ppl = ptq_format(arena, "%s%s%.12g", ppl, i ? " " : "", c->ppl);
        id = ptq_format(arena, "%s%s%s", id, i ? " " : "", c->id);
    }
    ADD_TEXT("each_seed", seed);
    ADD_TEXT("each_ppl", ppl);
    ADD_TEXT("each_id", id);
    return n;
}
#undef ADD_TEXT
#undef ADD_INT
#undef ADD_KNOWN
#undef ADD_REAL

/* The configuration to the byte: its SHA-256 is the cell's id. */
static void print_field(struct ptq_arena *arena, const struct field *f, FILE *out)
{
    if (f->kind == TEXT && strcmp(f->name, "config") == 0)
        fputs(ptq_escape_lines(arena, f->text), out);
    else if (f->kind == TEXT)
        fputs(ptq_escape(arena, PTQ_TABLE_CSV, f->text), out);
    else if (f->kind == INT)
        fprintf(out, "%lld", (long long)f->integer);
    else if (f->kind == REAL && !isnan(f->real))
        fprintf(out, "%.12g", f->real);
}

void ptq_records_csv(struct ptq_arena *arena, const struct ptq_report *report, FILE *out)
{
    struct field f[MOST_FIELDS];
    for (int r = -1; r < report->n_rows; r++) {
        const struct ptq_report_row *row = &report->row[r < 0 ? 0 : r];
        int n = list_fields(report, row, f);
        n += list_each(arena, &row->seeds, f + n);
        for (int i = 0; i < n; i++) {
            fputs(i ? "," : "", out);
            if (r < 0)
                fputs(f[i].name, out);
            else
                print_field(arena, &f[i], out);
        }
        fputs("\n", out);
    }
}

/* ---- JSON ---- */

static json_t *field_json(const struct field *f)
{
    if (f->kind == INT) return json_integer((json_int_t)f->integer);
    if (f->kind == REAL) return isfinite(f->real) ? json_real(f->real) : json_null();
    if (f->kind == UNKNOWN) return json_null();
    json_t *text = json_string(f->text);
    if (text) return text;
    /* Names are bytes, and JSON wants UTF-8. */
    struct ptq_arena *arena = ptq_arena_make("a record");
    text = json_string(ptq_escape(arena, PTQ_TABLE_TEXT, f->text));
    ptq_arena_free(arena);
    return text;
}

static json_t *record_json(const struct field *f, int n)
{
    json_t *record = json_object();
    for (int i = 0; i < n; i++) json_object_set_new(record, f[i].name, field_json(&f[i]));
    return record;
}

/* The cells that a row stands for, with all their scalars. */
static json_t *each_json(const struct ptq_replicates *seeds)
{
    struct field f[MOST_FIELDS];
    json_t *each = json_array();
    for (int i = 0; i < seeds->n; i++) json_array_append_new(each, record_json(f, list_cell(seeds->cell[i], f)));
    return each;
}

void ptq_records_json(const struct ptq_report *report, FILE *out)
{
    struct field f[MOST_FIELDS];
    json_t *root = json_object(), *cells = json_array(), *notes = json_array();
    for (int r = 0; r < report->n_rows; r++) {
        json_t *record = record_json(f, list_fields(report, &report->row[r], f));
        json_object_set_new(record, "each", each_json(&report->row[r].seeds));
        json_array_append_new(cells, record);
    }
    for (int i = 0; i < report->n_notes; i++)
        json_array_append_new(notes, field_json(&(struct field){.kind = TEXT, .text = report->note[i]}));
    json_object_set_new(root, "title", field_json(&(struct field){.kind = TEXT, .text = report->title}));
    json_object_set_new(root, "cells", cells);
    json_object_set_new(root, "notes", notes);
    ptq_json_show(root, JSON_INDENT(1), out);
    json_decref(root);
}
