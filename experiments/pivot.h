/* A report's cells in the arrangement of a layout: rows, columns, a value where they cross. Data first (for HTML and
 * plots); ptq_pivot_sheet makes the printed form of it. */
#ifndef PTQ_PIVOT_H
#define PTQ_PIVOT_H

#include "table_layout.h"
#include "sheet.h"

/* A row in a slot, and those that fell there before it. */
struct ptq_pivot_fallen {
    const struct ptq_report_row *row;
    const struct ptq_pivot_fallen *before;
};

/* Where a row and a column cross. */
struct ptq_pivot_slot {
    const struct ptq_table_layout_value *value;
    int n;                            /* numbers that fell here: 0, 1, or replicates (seeds, or cells told by no key) */
    double mean;                      /* of their numbers; NaN where none has one */
    double spread;                    /* standard deviation of n > 1, else NaN */
    double low, high;                 /* n = 1: 95 % interval or NaN; n > 1: the least and the largest */
    double squares;                   /* sum of squares about the mean */
    const struct ptq_report_row *row; /* the first of them */
    const struct ptq_pivot_fallen *last;  /* of all of them */
    const struct ptq_paper_number *paper; /* what was published for it, or NULL */
    enum ptq_verdict verdict;
};

/* One row or column: its text of each key of the layout, "" where it has none. */
struct ptq_pivot_line {
    const char *key[PTQ_TABLE_LAYOUT_KEYS + 1];
    double order; /* of a rising key */
};

struct ptq_pivot {
    const struct ptq_table_layout *layout;
    struct ptq_pivot_line *row, *column;
    int n_rows, n_columns;
    struct ptq_pivot_slot *slot; /* [n_rows][n_columns] */
};

/* layout and report outlive the pivot; memory from arena. A cell that lacks a key (FP16 has no group size) stands in
 * every line that agrees with the keys that it has; it is a line of its own on the side that names the method, and on
 * both where neither does.
 * Where published numbers cannot be read there are none. */
void ptq_pivot_make(struct ptq_arena *arena, const struct ptq_table_layout *layout, const struct ptq_report *report,
                    struct ptq_pivot *out);

/* "64.19", "64.2 +-1.3 (3)", "+41.9 [+37.3, +47.3]", "8.2 %"; "" where there is none. In arena. */
const char *ptq_pivot_text(struct ptq_arena *arena, const struct ptq_pivot_slot *slot);

/* Footnotes, a sentence each, of slots whose cells are no replicates of one another, since the layout has no key for
 * what they differ in: "Slots of AWQ are means over 2 calibration texts: a, b." *n: how many, 0 where there is no such
 * slot. In arena. */
const char **ptq_pivot_notes(struct ptq_arena *arena, const struct ptq_pivot *pivot, int *n);

/* The pivot as a sheet: a line of published numbers under each row that has any, with the verdict. PTQ_EINPUT where it
 * has more columns than a sheet. */
enum ptq_status ptq_pivot_sheet(struct ptq_arena *arena, const struct ptq_pivot *pivot, const char *title,
                                struct ptq_sheet *out, struct ptq_error *err);

#endif
