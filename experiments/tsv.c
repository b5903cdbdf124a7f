#include "tsv.h"

#include "mapped.h"

#include <string.h>

enum { MOST_BYTES = 1 << 20 };

static int count(const char *text, char what)
{
    int n = 0;
    for (; *text; text++) n += *text == what;
    return n;
}

/* Cuts line at its tabs; the number of columns. */
static int cut_columns(char *line, char **column)
{
    int n = 0;
    for (char *at = line; at; n++) {
        char *tab = strchr(at, '\t');
        if (tab) *tab++ = 0;
        if (n < PTQ_TSV_MOST_COLUMNS) column[n] = at;
        at = tab;
    }
    return n;
}

enum ptq_status ptq_tsv_read(struct ptq_arena *arena, const char *path, const char *header, struct ptq_tsv *out,
                             struct ptq_error *err)
{
    char *text;
    size_t size;
    int columns = count(header, '\t') + 1, seen_header = 0, number = 1;
    PTQ_TRY(ptq_read_file(arena, path, MOST_BYTES, &text, &size, err));
    *out = (struct ptq_tsv){.row = ptq_new(arena, struct ptq_tsv_row, (size_t)count(text, '\n') + 1)};
    for (char *line = text, *next; line && *line; line = next, number++) {
        struct ptq_tsv_row *row = &out->row[out->n];
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        if (*line == '#' || !*line) continue;
        if (!seen_header && strcmp(line, header))
            return ptq_fail(err, PTQ_EINPUT, "%s:%d: the names of the columns are not those of this ptq", path, number);
        if (!seen_header++) continue;
        row->line = number;
        if (cut_columns(line, row->column) != columns)
            return ptq_fail(err, PTQ_EINPUT, "%s:%d: a line needs %d columns parted by tabs", path, number, columns);
        out->n++;
    }
    return PTQ_OK;
}
