/* A table as rows and columns of text, and its printed forms. */
#ifndef PTQ_SHEET_H
#define PTQ_SHEET_H

#include "escape.h"

#include <stdio.h>

enum { PTQ_SHEET_COLUMNS = 32 };

/* One column. Those that are empty in all rows are not printed. */
struct ptq_sheet_column {
    const char *head;
    const char *group; /* printed above heads that share it, or NULL */
    int left;          /* text to the left; numbers stand to the right */
    int not_in_text;   /* left out in the terminal, where room is short */
};

struct ptq_sheet {
    const char *title;
    struct ptq_sheet_column column[PTQ_SHEET_COLUMNS];
    int n_columns;
    const char *(*row)[PTQ_SHEET_COLUMNS]; /* unescaped; NULL is empty */
    int n_rows;
};

/* format: TEXT, MD, TEX or HTML. TEX is a table environment that needs the package booktabs. */
void ptq_sheet_print(const struct ptq_sheet *sheet, enum ptq_table_format format, FILE *out);

#endif
