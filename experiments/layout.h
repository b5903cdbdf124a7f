/* How the cells of an experiment are arranged in a table: the YAML key `layout`.
 *
 *   layout:
 *     rows: [bits, method]         # what tells one row from the next
 *     columns: [model]             # what tells one column from the next; the last key is the innermost
 *     values: [ppl, above]         # what stands where they cross
 *
 * A key is one of the table in layout_keys.c, or a parameter of a SPEC (`s`, `fraction`, `act_order`). Where there are
 * several values they are columns of their own, innermost, unless the key `value` says where they go. */
#ifndef PTQ_LAYOUT_H
#define PTQ_LAYOUT_H

#include "arena.h"
#include "report.h"
#include "status.h"
#include "yaml_tree.h"

#include <stdio.h>

enum { PTQ_LAYOUT_KEYS = 4, PTQ_LAYOUT_VALUES = 8 };

/* One thing that tells cells apart. */
struct ptq_layout_key {
    const char *name, *doc;
    int identity; /* 1: it names the method, so every cell has it */
    int rising;   /* 1: lines stand in the order of its numbers, not in that of the cells */
    /* The cell's text, or NULL where it has none. NULL instead of the function: a parameter of a SPEC, by its name. */
    const char *(*text)(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row);
};

enum ptq_value_form {
    PTQ_FORM_NUMBER, /* four digits */
    PTQ_FORM_SIGNED, /* with its interval */
    PTQ_FORM_PERCENT,
    PTQ_FORM_FLAG, /* the value's own word where it is not 0 */
};

/* One thing that can stand in a slot. */
struct ptq_layout_value {
    const char *name, *head, *doc;
    enum ptq_value_form form;
    const char *metric; /* in paper.tsv; NULL: nothing is published of it */
    /* The number, NaN where the cell has none, and its 95 % interval, NaN where there is none. */
    double (*number)(const struct ptq_report *report, const struct ptq_report_row *row, struct ptq_interval *interval);
};

struct ptq_layout {
    const struct ptq_layout_key *row[PTQ_LAYOUT_KEYS + 1], *column[PTQ_LAYOUT_KEYS + 1];
    const struct ptq_layout_value *value[PTQ_LAYOUT_VALUES];
    int n_rows, n_columns, n_values;
    const char *title; /* of the experiment, or NULL */
    int plain;         /* 1: cells with further parameters in their SPEC are left to the lists */
};

/* Reads the mapping. Fails with PTQ_EINPUT: an unknown key, value or parameter, one that stands twice, an empty list.
 */
enum ptq_status ptq_layout_read(struct ptq_arena *arena, const struct ptq_yaml *node, struct ptq_layout *out,
                                struct ptq_error *err);
/* The layout in an experiment's text, as a results file stores it; *found: 0 where it has none. */
enum ptq_status ptq_layout_of_yaml(struct ptq_arena *arena, const char *file, const char *yaml, struct ptq_layout *out,
                                   int *found, struct ptq_error *err);
/* The layout for cells that come without one: AWQ's Table 1 where some are salient, else *found is 0. */
void ptq_layout_of_cells(struct ptq_arena *arena, const struct ptq_cell *cells, int n, struct ptq_layout *out,
                         int *found);

/* Whether a key of that name makes rows or columns. */
int ptq_layout_has(const struct ptq_layout *layout, const char *key);
/* The pseudo-key under which several values stand. */
int ptq_layout_is_value(const struct ptq_layout_key *key);

/* The two tables. NULL where the name is not known. */
const struct ptq_layout_key *ptq_layout_key(struct ptq_arena *arena, const char *name);
const struct ptq_layout_value *ptq_layout_value(const char *name);
/* Both as Markdown, for docs/experiments.md. */
void ptq_layout_print(FILE *out);
/* Their names, for refusals; the number of names, at most `room`. */
size_t ptq_layout_key_names(const char **names, size_t room);
size_t ptq_layout_value_names(const char **names, size_t room);

#endif
