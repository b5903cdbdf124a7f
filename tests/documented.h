/* For tests of what a page of docs/ shows as a command prints it. */
#ifndef PTQ_TESTS_DOCUMENTED_H
#define PTQ_TESTS_DOCUMENTED_H

#include "mapped.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* docs/NAME shows what print writes, to the letter. */
static inline void expect_documented(const char *name, void (*print)(FILE *out))
{
    struct ptq_arena *texts = ptq_arena_make("page");
    struct ptq_error err = {0};
    char *printed = NULL, *page;
    size_t size;
    FILE *out = open_memstream(&printed, &size);
    print(out);
    fclose(out);
    if (ptq_read_file(texts, ptq_format(texts, PTQ_FIXTURES "/../../docs/%s", name), 1 << 20, &page, &size, &err))
        fail_msg("%s", err.text);
    if (!strstr(page, printed)) fail_msg("docs/%s needs this table:\n%s", name, printed);
    free(printed);
    ptq_arena_free(texts);
}

#endif
