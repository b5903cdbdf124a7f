/* `ptq table`: results as text for the terminal, Markdown, CSV, LaTeX, JSON. */
#ifndef PTQ_TABLE_H
#define PTQ_TABLE_H

#include "escape.h"
#include "table_layout.h"
#include "report.h"

#include <stdio.h>

/* "text", "md", "csv", "tex", "json"; another is PTQ_EUSAGE with the list. */
enum ptq_status ptq_table_format_parse(const char *text, enum ptq_table_format *out, struct ptq_error *err);

/* Prints the cells. Text, Markdown and LaTeX: what the layout says (NULL: nothing), then a list for each model, width
 * and group size. CSV and JSON: a record a cell, all its scalars by the names of PTQ_CELL_FIELDS, then what was
 * computed from it. against (or NULL): a sheet more (CSV, JSON: columns), in which every row is compared with that of
 * this SPEC. Cells of different protocols are PTQ_EINPUT, but where they are of different texts and the layout has the
 * key `text`. */
enum ptq_status ptq_table_print_as(const struct ptq_table_layout *layout, const struct ptq_cell *cells, int n,
                                   const char *against, enum ptq_table_format format, FILE *out, struct ptq_error *err);
/* The same of cells whose experiment has no layout: AWQ's Table 1 where some are salient, but for the terminal. */
enum ptq_status ptq_table_print_against(const struct ptq_cell *cells, int n, const char *against,
                                        enum ptq_table_format format, FILE *out, struct ptq_error *err);
enum ptq_status ptq_table_print(const struct ptq_cell *cells, int n, enum ptq_table_format format, FILE *out,
                                struct ptq_error *err);

/* The cells of all files, in the order of the files; a cell that comes twice counts once. In arena. */
enum ptq_status ptq_table_read(struct ptq_arena *arena, const char *const *files, int n_files, struct ptq_cell **cells,
                               int *n, struct ptq_error *err);

/* The layout of the first file whose experiment has one, else that of the cells, or NULL. In arena. */
enum ptq_status ptq_table_find_layout(struct ptq_arena *arena, const char *const *files, int n_files,
                                      const struct ptq_cell *cells, int n, const struct ptq_table_layout **out,
                                      struct ptq_error *err);

#endif
