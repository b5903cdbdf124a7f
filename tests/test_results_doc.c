/* docs/results.md names every scalar and column that a results file has, with its type, its unit and what it is, as the
 * tables of core/results.h have it. */
#include "results.h"

#include "mapped.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define KIND_TEXT "text"
#define KIND_INT "int64"
#define KIND_REAL "float64"

struct field {
    const char *kind, *name, *unit, *doc;
};

static const struct field fields[] = {
#define X(kind, name, unit, doc) {KIND_##kind, #name, unit, doc},
    PTQ_CELL_FIELDS(X) PTQ_PEAK_FIELDS(X) PTQ_AGAINST_FIELDS(X) PTQ_LINEAR_FIELDS(X) PTQ_INPUT_FIELDS(X)
#undef X
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

/* A | in a cell of a Markdown table. */
static const char *escape(struct ptq_arena *arena, const char *text)
{
    const char *out = "";
    for (; *text; text++)
        out = *text == '|' ? ptq_format(arena, "%s&#124;", out) : ptq_format(arena, "%s%c", out, *text);
    return out;
}

static void test_every_field(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("doc");
    struct ptq_error err;
    char *text;
    size_t size;
    if (ptq_read_file(arena, PTQ_FIXTURES "/../../docs/results.md", 1 << 20, &text, &size, &err))
        fail_msg("%s", err.text);
    int rows = 0;
    for (int i = 0; i < N_FIELDS; i++) {
        const struct field *f = &fields[i];
        const char *row = ptq_format(arena, "\n| `%s` | %s | %s | %s |\n", f->name, f->kind,
                                     strcmp(f->unit, "text") ? f->unit : "", escape(arena, f->doc));
        if (!strstr(text, row)) fail_msg("docs/results.md lacks this line:%s", row);
    }
    for (const char *at = text; (at = strstr(at, "\n| `")); at++) {
        const char *type = strstr(at + 4, "` | ");
        rows += type &&
                (!strncmp(type + 4, "text", 4) || !strncmp(type + 4, "int64", 5) || !strncmp(type + 4, "float64", 7));
    }
    assert_int_equal(rows, N_FIELDS); /* and none that is no more */
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_field)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
