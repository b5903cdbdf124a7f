#include "gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const char *ptq_gnuplot_quote(struct ptq_arena *arena, const char *text)
{
    /* An apostrophe may be doubled inside single quotes, but gnuplot 5.4 reads one at the start as an empty string, and
     * what follows as commands. So each stands between double quotes, by itself. */
    static const char apostrophe[] = "'.\"'\".'";
    char *quoted = ptq_alloc(arena, (sizeof apostrophe - 1) * strlen(text) + 3, "a quoted text"), *out = quoted;
    *out++ = '\'';
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
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

/* The last line that is not empty; text is changed. */
static const char *last_line(char *text)
{
    size_t length = strlen(text);
    while (length && strchr(" \n\t^", text[length - 1])) text[--length] = 0;
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static enum ptq_status spawn(const char *path, FILE *errors, pid_t *child, struct ptq_error *err)
{
    char *const arguments[] = {"gnuplot", "-d", (char *)path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fileno(errors), STDERR_FILENO);
    int cause = posix_spawnp(child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (cause == ENOENT) return ptq_fail(err, PTQ_EIO, "gnuplot is not installed; the Debian package is gnuplot-nox");
    if (cause) return ptq_fail(err, PTQ_EIO, "gnuplot cannot be started: %s", strerror(cause));
    return PTQ_OK;
}

enum ptq_status ptq_gnuplot_run(const char *path, struct ptq_error *err)
{
    char said[4096];
    int status = 0;
    pid_t child;
    FILE *errors = tmpfile();
    if (!errors) return ptq_fail(err, PTQ_EIO, "a temporary file cannot be made: %s", strerror(errno));
    if (spawn(path, errors, &child, err)) {
        fclose(errors);
        return err->status;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    rewind(errors);
    said[fread(said, 1, sizeof said - 1, errors)] = 0;
    fclose(errors);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO, "gnuplot failed: %s", last_line(said));
}
