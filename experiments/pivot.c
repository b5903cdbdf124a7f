#include "pivot.h"

#include "words.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Everything of one call. */
struct making {
    struct ptq_arena *arena;
    const struct ptq_report *report;
    struct ptq_pivot *pivot;
    struct ptq_paper paper;
};

/* ---- the text of a key ---- */

/* Whether a parameter ("w3", "s=2") is said by another key of the layout or by the label. */
static int is_said(const struct ptq_table_layout *layout, const char *word, size_t length)
{
    size_t name = 0;
    while (name < length && word[name] != '=') name++;
    if (name == length) return 1; /* w3, g64: the section or a key says it */
    if (name == 6 && strncmp(word, "select", 6) == 0) return 1;
    for (int i = 0; i < layout->n_rows + layout->n_columns; i++) {
        const char *key = (i < layout->n_rows ? layout->row[i] : layout->column[i - layout->n_rows])->name;
        if (strlen(key) == name && strncmp(word, key, name) == 0) return 1;
    }
    return 0;
}

/* The method's label and what of its SPEC nothing else says: "GPTQ, act_order=1". */
static const char *with_rest(const struct making *m, const char *label, const char *spec)
{
    for (const char *at = strpbrk(spec, ":,"); at; at = strpbrk(at + 1, ",")) {
        size_t length = strcspn(at + 1, ",");
        if (!is_said(m->pivot->layout, at + 1, length))
            label = ptq_format(m->arena, "%s, %.*s", label, (int)length, at + 1);
    }
    return label;
}

static const char *key_text(const struct making *m, const struct ptq_table_layout_key *key,
                            const struct ptq_report_row *row)
{
    if (!key->text) return ptq_report_option(m->arena, row->cell->spec, key->name);
    const char *text = key->text(m->arena, m->report, row);
    return key->identity && strcmp(key->name, "spec") ? with_rest(m, text, row->cell->spec) : text;
}

/* ---- lines ---- */

static int has_identity(const struct ptq_table_layout_key *const *key, int n)
{
    for (int i = 0; i < n; i++)
        if (key[i]->identity) return 1;
    return 0;
}

/* 1 where the line has the texts that are not NULL. */
static int agrees(const struct ptq_pivot_line *line, const char *const *text, int n)
{
    for (int i = 0; i < n; i++)
        if (text[i] && strcmp(text[i], line->key[i])) return 0;
    return 1;
}

static void add_line(struct ptq_pivot_line *lines, int *n_lines, const char *const *text,
                     const struct ptq_table_layout_key *const *key, int n)
{
    struct ptq_pivot_line *line = &lines[(*n_lines)++];
    for (int i = 0; i < n; i++) {
        line->key[i] = text[i] ? text[i] : "";
        if (key[i]->rising && i == 0) line->order = strtod(line->key[i], NULL);
    }
}

/* Whether a cell that lacks a key has a line of its own on this side, and not a place in each: where the side names the
 * method, or neither side does. */
static int is_closed(const struct ptq_table_layout *layout, const struct ptq_table_layout_key *const *key, int n)
{
    return has_identity(key, n) ||
           (!has_identity(layout->row, layout->n_rows) && !has_identity(layout->column, layout->n_columns));
}

/* The texts of a row's keys for one value; NULL is open to all. Where nothing else says which method a line of its own
 * is, the lacking key does. */
static void line_texts(const struct making *m, const struct ptq_table_layout_key *const *key, int n,
                       const struct ptq_report_row *row, const struct ptq_table_layout_value *value, const char **text)
{
    int closed = is_closed(m->pivot->layout, key, n), named = has_identity(key, n);
    for (int i = 0; i < n; i++) {
        text[i] = ptq_table_layout_is_value(key[i]) ? value->head : key_text(m, key[i], row);
        if (!text[i] && closed) text[i] = named ? "" : ptq_report_label(m->arena, row->cell);
    }
}

static int is_whole(const char *const *text, int n)
{
    for (int i = 0; i < n; i++)
        if (!text[i]) return 0;
    return 1;
}

/* Where the text of the line's k-th key first stands. */
static int first_with(const struct ptq_pivot_line *line, int n, int k, const char *text)
{
    int i = 0;
    while (i < n && strcmp(line[i].key[k], text)) i++;
    return i;
}

/* Whether line a belongs behind line b: by a rising key, else key by key in the order in which their texts came. */
static int is_behind(const struct ptq_pivot_line *as_came, int n, int n_keys, const struct ptq_pivot_line *a,
                     const struct ptq_pivot_line *b)
{
    if (a->order != b->order) return a->order > b->order;
    for (int k = 0; k < n_keys; k++) {
        int x = first_with(as_came, n, k, a->key[k]), y = first_with(as_came, n, k, b->key[k]);
        if (x != y) return x > y;
    }
    return 0;
}

/* Insertion: equal lines stay as they came. */
static void sort_lines(const struct making *m, struct ptq_pivot_line *line, int n, int n_keys)
{
    struct ptq_pivot_line *as_came = ptq_new(m->arena, struct ptq_pivot_line, n);
    if (n) memcpy(as_came, line, (size_t)n * sizeof *line);
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && is_behind(as_came, n, n_keys, &line[j - 1], &line[j]); j--) {
            struct ptq_pivot_line kept = line[j];
            line[j] = line[j - 1];
            line[j - 1] = kept;
        }
}

/* Whether the cell is one that the layout shows. */
static int is_shown(const struct making *m, const struct ptq_report_row *row)
{
    return !m->pivot->layout->plain || !*row->rest;
}

/* First the lines that cells name in full, then those of cells that fit in none. */
static struct ptq_pivot_line *make_lines(const struct making *m, const struct ptq_table_layout_key *const *key, int n,
                                         int *n_lines)
{
    const struct ptq_table_layout *layout = m->pivot->layout;
    int most = m->report->n_rows * layout->n_values;
    struct ptq_pivot_line *lines = ptq_new(m->arena, struct ptq_pivot_line, most);
    const char *text[PTQ_TABLE_LAYOUT_KEYS + 1];
    *n_lines = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < m->report->n_rows; r++)
            for (int v = 0; v < layout->n_values && is_shown(m, &m->report->row[r]); v++) {
                line_texts(m, key, n, &m->report->row[r], layout->value[v], text);
                int found = pass == 0 && !is_whole(text, n);
                for (int l = 0; l < *n_lines && !found; l++) found = agrees(&lines[l], text, n);
                if (!found) add_line(lines, n_lines, text, key, n);
            }
    sort_lines(m, lines, *n_lines, n);
    return lines;
}

/* ---- slots ---- */

static void widen(struct ptq_pivot_slot *slot, double least, double largest)
{
    slot->low = least < slot->low ? least : slot->low;
    slot->high = largest > slot->high ? largest : slot->high;
}

/* The first row of a slot as it is; a further one, which the layout does not tell from it, is one more replicate. */
static void add_number(struct ptq_arena *arena, struct ptq_pivot_slot *slot, const struct ptq_report_row *row,
                       double number, const struct ptq_interval *interval)
{
    const struct ptq_replicates *seeds = &row->seeds;
    if (isnan(number)) return;
    struct ptq_pivot_fallen *fallen = ptq_new(arena, struct ptq_pivot_fallen, 1);
    *fallen = (struct ptq_pivot_fallen){.row = row, .before = slot->last};
    slot->last = fallen;
    if (slot->n == 0) {
        int folded = slot->value->of_seeds && seeds->n > 1;
        slot->row = row;
        slot->n = folded ? seeds->n : 1;
        slot->mean = number;
        slot->low = folded ? seeds->lowest : interval->low;
        slot->high = folded ? seeds->highest : interval->high;
        slot->squares = folded ? seeds->sd * seeds->sd * (seeds->n - 1) : 0;
        return;
    }
    if (slot->n == 1) slot->low = slot->high = slot->mean;
    widen(slot, number, number);
    slot->n++;
    double off = number - slot->mean; /* Welford */
    slot->mean += off / slot->n;
    slot->squares += off * (number - slot->mean);
}

static void add_cell(const struct making *m, const struct ptq_report_row *row)
{
    const struct ptq_table_layout *layout = m->pivot->layout;
    const char *row_text[PTQ_TABLE_LAYOUT_KEYS + 1], *column_text[PTQ_TABLE_LAYOUT_KEYS + 1];
    for (int v = 0; v < layout->n_values; v++) {
        struct ptq_interval interval = {NAN, NAN};
        double number = layout->value[v]->number(m->report, row, &interval);
        line_texts(m, layout->row, layout->n_rows, row, layout->value[v], row_text);
        line_texts(m, layout->column, layout->n_columns, row, layout->value[v], column_text);
        for (int r = 0; r < m->pivot->n_rows; r++)
            for (int c = 0; c < m->pivot->n_columns; c++) {
                if (!agrees(&m->pivot->row[r], row_text, layout->n_rows)) continue;
                if (!agrees(&m->pivot->column[c], column_text, layout->n_columns)) continue;
                struct ptq_pivot_slot *slot = &m->pivot->slot[r * m->pivot->n_columns + c];
                slot->value = layout->value[v];
                add_number(m->arena, slot, row, number, &interval);
            }
    }
}

static void finish_slot(const struct making *m, struct ptq_pivot_slot *slot)
{
    slot->spread = slot->n > 1 ? sqrt(slot->squares / (slot->n - 1)) : NAN;
    if (slot->n == 0) slot->mean = slot->low = slot->high = NAN;
    if (slot->n > 0 && slot->value->metric)
        slot->verdict = ptq_paper_judge(&m->paper, slot->row->cell, slot->value->metric, slot->mean, &slot->paper);
}

void ptq_pivot_make(struct ptq_arena *arena, const struct ptq_table_layout *layout, const struct ptq_report *report,
                    struct ptq_pivot *out)
{
    struct making m = {.arena = arena, .report = report, .pivot = out};
    struct ptq_error ignored;
    *out = (struct ptq_pivot){.layout = layout};
    if (ptq_paper_read(arena, NULL, &m.paper, &ignored)) m.paper = (struct ptq_paper){0};
    out->row = make_lines(&m, layout->row, layout->n_rows, &out->n_rows);
    out->column = make_lines(&m, layout->column, layout->n_columns, &out->n_columns);
    out->slot = ptq_new(arena, struct ptq_pivot_slot, out->n_rows * out->n_columns);
    for (int r = 0; r < report->n_rows; r++)
        if (is_shown(&m, &report->row[r])) add_cell(&m, &report->row[r]);
    for (int i = 0; i < out->n_rows * out->n_columns; i++) finish_slot(&m, &out->slot[i]);
}

/* ---- text ---- */

const char *ptq_pivot_text(struct ptq_arena *arena, const struct ptq_pivot_slot *slot)
{
    if (slot->n == 0) return "";
    enum ptq_value_form form = slot->value->form;
    int decimals = ptq_decimals(form == PTQ_FORM_SIGNED && slot->row ? slot->row->estimate.ppl : slot->mean);
    if (form == PTQ_FORM_FLAG) return slot->mean > 0 ? slot->value->head : "";
    const char *text = ptq_number(arena, slot->mean, decimals, form == PTQ_FORM_SIGNED);
    if (form == PTQ_FORM_PERCENT) text = ptq_format(arena, "%.3g %%", slot->mean);
    if (slot->n > 1)
        return ptq_format(arena, "%s \302\261%s (%d)", text, ptq_number(arena, slot->spread, decimals, 0), slot->n);
    if (form != PTQ_FORM_SIGNED || isnan(slot->low)) return text;
    const struct ptq_interval interval = {slot->low, slot->high};
    return ptq_format(arena, "%s %s", text, ptq_seeds_interval(arena, &interval, decimals, slot->row->seeds.n, 1));
}

static const char *paper_text(struct ptq_arena *arena, const struct ptq_pivot_slot *slot)
{
    if (!slot->paper) return "";
    if (slot->verdict == PTQ_OTHER_SETTINGS) return ptq_format(arena, "(%s)", slot->paper->printed);
    return ptq_format(arena, "%s %s", slot->paper->printed, ptq_verdict_name(slot->verdict));
}

/* A column's head: its last key, and the others as the group above. */
static struct ptq_sheet_column column_of(struct ptq_arena *arena, const struct ptq_pivot *p, int column)
{
    const char *head = "", *group = NULL;
    for (int i = 0; i < p->layout->n_columns; i++) {
        const char *text = p->column[column].key[i];
        if (!*text) continue;
        if (*head) group = group ? ptq_format(arena, "%s, %s", group, head) : head;
        head = text;
    }
    return (struct ptq_sheet_column){.head = head, .group = group};
}

static void fill_row(struct ptq_arena *arena, const struct ptq_pivot *p, int row, int published, const char **out)
{
    int n_keys = p->layout->n_rows;
    for (int k = 0; k < n_keys; k++) {
        int last = k == n_keys - 1;
        out[k] = published ? (last ? "  paper" : "") : p->row[row].key[k];
    }
    for (int c = 0; c < p->n_columns; c++) {
        const struct ptq_pivot_slot *slot = &p->slot[row * p->n_columns + c];
        out[n_keys + c] = published ? paper_text(arena, slot) : ptq_pivot_text(arena, slot);
    }
}

static int is_published(const struct ptq_pivot *p, int row)
{
    for (int c = 0; c < p->n_columns; c++)
        if (p->slot[row * p->n_columns + c].paper) return 1;
    return 0;
}

/* What stands over the texts of a key; the values need no name. */
static const char *key_head(struct ptq_arena *arena, const struct ptq_table_layout_key *key)
{
    if (key->head) return key->head;
    char *head = ptq_strdup(arena, ptq_table_layout_is_value(key) ? "" : key->name);
    for (char *c = head; *c; c++) *c = *c == '_' ? ' ' : *c;
    return head;
}

enum ptq_status ptq_pivot_sheet(struct ptq_arena *arena, const struct ptq_pivot *pivot, const char *title,
                                struct ptq_sheet *out, struct ptq_error *err)
{
    int n_keys = pivot->layout->n_rows;
    *out = (struct ptq_sheet){.title = title, .n_columns = n_keys + pivot->n_columns};
    if (out->n_columns > PTQ_SHEET_COLUMNS)
        return ptq_fail(err, PTQ_EINPUT,
                        "the layout makes %d columns and at most %d fit; move a key of its columns to "
                        "its rows",
                        out->n_columns, PTQ_SHEET_COLUMNS);
    for (int k = 0; k < n_keys; k++)
        out->column[k] = (struct ptq_sheet_column){.head = key_head(arena, pivot->layout->row[k]), .left = 1};
    for (int c = 0; c < pivot->n_columns; c++) out->column[n_keys + c] = column_of(arena, pivot, c);
    out->row = ptq_alloc_array(arena, 2 * (size_t)pivot->n_rows, sizeof *out->row, "a table");
    for (int r = 0; r < pivot->n_rows; r++)
        for (int published = 0; published <= is_published(pivot, r); published++)
            fill_row(arena, pivot, r, published, out->row[out->n_rows++]);
    return PTQ_OK;
}
