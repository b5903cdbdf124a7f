#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The last line that is not empty; text is changed. */
static const char *last_line(char *text)
{
    size_t length = strlen(text);
    while (length && strchr(" \n\t^", text[length - 1])) text[--length] = 0;
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static enum ptq_status spawn(const char *const *words, const char *hint, FILE *errors, pid_t *child,
                             struct ptq_error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fileno(errors), STDERR_FILENO);
    int cause = posix_spawnp(child, words[0], &actions, NULL, (char *const *)words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (cause == ENOENT) return ptq_fail(err, PTQ_EIO, "%s is not installed; %s", words[0], hint);
    if (cause) return ptq_fail(err, PTQ_EIO, "%s cannot be started: %s", words[0], strerror(cause));
    return PTQ_OK;
}

enum ptq_status ptq_program_run(const char *const *words, const char *hint, struct ptq_error *err)
{
    char said[4096];
    int status = 0;
    pid_t child;
    FILE *errors = tmpfile();
    if (!errors) return ptq_fail(err, PTQ_EIO, "a temporary file cannot be made: %s", strerror(errno));
    if (spawn(words, hint, errors, &child, err)) {
        fclose(errors);
        return err->status;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    rewind(errors);
    said[fread(said, 1, sizeof said - 1, errors)] = 0;
    fclose(errors);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO, "%s failed: %s", words[0], last_line(said));
}
