#include "drawn.h"

#include "mapped.h"

#include <stdio.h>
#include <string.h>

enum { ROOM = 128 };

/* Both formats take a comment behind their end. */
static void comment(const char *format, const char *sha256, char out[ROOM])
{
    snprintf(out, ROOM, strcmp(format, "svg") == 0 ? "<!-- ptq: of %s -->\n" : "%% ptq: of %s\n", sha256);
}

const char *ptq_drawn_comment(struct ptq_arena *arena, const char *format, const char *sha256)
{
    char text[ROOM];
    comment(format, sha256, text);
    return ptq_strdup(arena, text);
}

int ptq_drawn_of(const char *path, const char *format, const char *sha256)
{
    char wanted[ROOM], found[ROOM] = "";
    FILE *file = ptq_is_file(path) ? fopen(path, "rb") : NULL; /* what cannot be looked at is drawn again */
    if (!file) return 0;
    comment(format, sha256, wanted);
    size_t n = strlen(wanted);
    int same = fseek(file, -(long)n, SEEK_END) == 0 && fread(found, 1, n, file) == n && memcmp(found, wanted, n) == 0;
    fclose(file);
    return same;
}

enum ptq_status ptq_write_changed(struct ptq_arena *arena, const char *path, const char *text, size_t size,
                                  struct ptq_error *err)
{
    struct ptq_mapped file;
    if (ptq_is_file(path) && ptq_map(arena, path, &file, err) == PTQ_OK) { /* else written, which says what is wrong */
        int same = file.size == size && (size == 0 || memcmp(file.data, text, size) == 0);
        ptq_unmap(&file);
        if (same) return PTQ_OK;
    }
    return ptq_write_file(path, text, size, err);
}

enum ptq_status ptq_drawn_mark(const char *path, const char *format, const char *sha256, struct ptq_error *err)
{
    char text[ROOM];
    FILE *file = fopen(path, "r+b"); /* which makes none where the program has made none */
    if (!file) return ptq_fail(err, PTQ_EIO, "%s: is not there, though the program that draws it ended well", path);
    comment(format, sha256, text);
    int bad = fseek(file, 0, SEEK_END) || fputs(text, file) == EOF;
    if (fclose(file)) bad = 1;
    return bad ? ptq_fail(err, PTQ_EIO, "%s: cannot be written to its end; is the disk full?", path) : PTQ_OK;
}
