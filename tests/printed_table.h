/* For tests: cells as ptq table prints them. */
#ifndef PTQ_TEST_PRINTED_TABLE_H
#define PTQ_TEST_PRINTED_TABLE_H

#include "table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* In arena. */
static inline char *printed_table(struct ptq_arena *arena, const struct ptq_cell *cells, int n,
                                  enum ptq_table_format format)
{
    char *text;
    size_t size;
    struct ptq_error err;
    FILE *out = open_memstream(&text, &size);
    if (ptq_table_print(cells, n, format, out, &err)) fail_msg("%s", err.text);
    fclose(out);
    char *copy = ptq_strdup(arena, text);
    free(text);
    return copy;
}

#endif
