#include "gnuplot.h"

#include "program.h"

#include <string.h>

const char *ptq_gnuplot_quote(struct ptq_arena *arena, const char *text)
{
    /* An apostrophe may be doubled inside single quotes, but gnuplot 5.4 reads one at the start as an empty string, and
     * what follows as commands. So each stands between double quotes, by itself. */
    static const char apostrophe[] = "'.\"'\".'";
    char *quoted = ptq_alloc(arena, (sizeof apostrophe - 1) * strlen(text) + 3, "a quoted text"), *out = quoted;
    *out++ = '\'';
    for (const char *start = text; *text; text++) {
        unsigned char c = (unsigned char)*text;
        /* gnuplot's SVG escapes < and &, but this would end a section that XML does not allow to end there. */
        if (c == '>' && text - start >= 2 && text[-1] == ']' && text[-2] == ']') *out++ = ' ';
        if (c == '\'') {
            memcpy(out, apostrophe, sizeof apostrophe - 1);
            out += sizeof apostrophe - 1;
        } else {
            *out++ = c < 0x20 || c == 0x7f ? '?' : (char)c;
        }
    }
    *out++ = '\'';
    return quoted;
}

enum ptq_status ptq_gnuplot_path(struct ptq_arena *arena, const char *path, const char **out, struct ptq_error *err)
{
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return ptq_fail(err, PTQ_EINPUT, "%s: gnuplot cannot be given a path with control characters", path);
    *out = path[0] == '/' ? path : ptq_format(arena, "./%s", path);
    return PTQ_OK;
}

enum ptq_status ptq_gnuplot_run(const char *path, struct ptq_error *err)
{
    const char *const words[] = {"gnuplot", "-d", path, NULL};
    struct ptq_arena *arena = ptq_arena_make("gnuplot");
    char *said;
    enum ptq_status status = ptq_program_run(arena, (char *const *)words, PTQ_PROGRAM_IS_KILLED,
                                             "the Debian package is gnuplot-nox", &said, err);
    ptq_arena_free(arena);
    return status;
}
