/* forge_results FILE.h5 FORGED.h5 FIELD=TEXT...: FILE's cells with other texts, sealed like any results file. FIELD is
 * one of PTQ_CELL_FIELDS that are texts, or yaml, which the file has once. For the tests in shell. */
#include "cell_file.h"
#include "cell_texts.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} fields[] = {
#define CELL_TEXT(name) {#name, offsetof(struct ptq_cell, name)},
    CELL_TEXTS
#undef CELL_TEXT
};

/* Whether there is such a field. */
static int set(struct ptq_cell *cell, const char *word)
{
    size_t length = strcspn(word, "=");
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        if (strlen(fields[f].name) != length || strncmp(fields[f].name, word, length) != 0) continue;
        *(const char **)((char *)cell + fields[f].offset) = word + length + 1;
        return word[length] == '=';
    }
    return 0;
}

/* Another method is another spec and another configuration, or the file would be refused. */
static void follow_method(struct ptq_arena *arena, struct ptq_cell *cell)
{
    if (strncmp(cell->spec, cell->method, strlen(cell->method)) == 0) return;
    cell->spec = ptq_format(arena, "%s%s", cell->method, cell->spec + strcspn(cell->spec, ":"));
    cell->config = ptq_format(arena, "was=%s\nspec=%s\n", cell->id, cell->spec);
    ptq_cell_identify(cell);
}

static enum ptq_status forge(struct ptq_arena *arena, char **argv, struct ptq_error *err)
{
    struct ptq_cell *cell;
    int n;
    const char *experiment, *yaml;
    PTQ_TRY(ptq_results_read(arena, argv[1], &cell, &n, err));
    PTQ_TRY(ptq_results_experiment(arena, argv[1], &experiment, &yaml, err));
    for (char **word = argv + 3; *word; word++) {
        if (strncmp(*word, "yaml=", 5) == 0) {
            yaml = *word + 5;
            continue;
        }
        for (int i = 0; i < n; i++)
            if (!set(&cell[i], *word)) return ptq_fail(err, PTQ_EUSAGE, "'%s' sets no text of a cell", *word);
    }
    for (int i = 0; i < n; i++) follow_method(arena, &cell[i]);
    return ptq_cell_file_write(argv[2], n ? cell[0].experiment : experiment, yaml, cell, n, err);
}

int main(int argc, char **argv)
{
    struct ptq_error err;
    if (argc < 3) return 2;
    struct ptq_arena *arena = ptq_arena_make("a forged results file");
    enum ptq_status status = forge(arena, argv, &err);
    ptq_arena_free(arena);
    if (status) fprintf(stderr, "forge_results: %s\n", err.text);
    return status ? 1 : 0;
}
