/* `ptq table`: results as text for the terminal, Markdown, CSV, LaTeX, JSON. */
#ifndef PTQ_TABLE_H
#define PTQ_TABLE_H

#include "escape.h"
#include "report.h"

#include <stdio.h>

/* "text", "md", "csv", "tex", "json"; another is PTQ_EUSAGE with the list. */
enum ptq_status ptq_table_format_parse(const char *text, enum ptq_table_format *out, struct ptq_error *err);

/* Prints the cells. Text: a list for each model, width and group size. Markdown and LaTeX: the paper's arrangement (one
 * line a model) where there are salient cells, then the lists. CSV and JSON: a record a cell, all its scalars by the
 * names of PTQ_CELL_FIELDS, then what was computed from it. Cells of different protocols are PTQ_EINPUT. */
enum ptq_status ptq_table_print(const struct ptq_cell *cells, int n, enum ptq_table_format format, FILE *out,
                                struct ptq_error *err);
/* The same with a sheet more (CSV, JSON: columns), in which every row is compared with that of the SPEC `against`. */
enum ptq_status ptq_table_print_against(const struct ptq_cell *cells, int n, const char *against,
                                        enum ptq_table_format format, FILE *out, struct ptq_error *err);

/* The cells of all files, in the order of the files; a cell that comes twice counts once. In arena. */
enum ptq_status ptq_table_read(struct ptq_arena *arena, const char *const *files, int n_files, struct ptq_cell **cells,
                               int *n, struct ptq_error *err);

#endif
