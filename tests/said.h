/* For tests of what is said to people, and not to programs. */
#ifndef PTQ_TESTS_SAID_H
#define PTQ_TESTS_SAID_H

#include "arena.h"
#include "files.h"

/* What `what` says on standard error, which is no terminal. */
static inline const char *said_by(struct ptq_arena *arena, void (*what)(void *), void *context)
{
    FILE *file = tmpfile();
    int before = dup(STDERR_FILENO);
    assert_true(file && before >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    what(context);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    char *text = ptq_new(arena, char, 1000);
    rewind(file);
    text[fread(text, 1, 999, file)] = 0;
    fclose(file);
    return text;
}

#endif
