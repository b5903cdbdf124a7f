#include "program.h"

#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SAID = 1 << 24, MAX_COMPLAINT = 1 << 16, PAUSE_NS = 2 * 1000 * 1000 };

enum ptq_status ptq_program_start(char *const *argv, int out, int error, int own_group, const char *hint, pid_t *child,
                                  struct ptq_error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes; /* its process group is 0, which is a new one, where the flag is set */
    posix_spawnattr_init(&attributes);
    if (own_group) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, error, STDERR_FILENO);
    int cause = posix_spawnp(child, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (cause == ENOENT) return ptq_fail(err, PTQ_EIO, "%s: there is no such program; %s", argv[0], hint);
    if (cause) return ptq_fail(err, PTQ_EIO, "%s: cannot be started: %s", argv[0], strerror(cause));
    return PTQ_OK;
}

int ptq_program_wait(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* It can still be waited for. */
static int has_ended(pid_t child)
{
    siginfo_t how = {0};
    return waitid(P_PID, (id_t)child, &how, WEXITED | WNOHANG | WNOWAIT) || how.si_pid;
}

/* A signal restarts a wait that blocks (SA_RESTART): so the child is looked at, and so is the signal. A picture takes
 * some tens of ms to draw, and there are many. */
static void kill_at_signal(pid_t child)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    while (!has_ended(child) && !ptq_signal_seen()) nanosleep(&pause, NULL);
    if (ptq_signal_seen()) kill(child, SIGKILL);
}

/* All that the program called name wrote: a part of it would be taken for an answer. */
static enum ptq_status read_said(struct ptq_arena *arena, FILE *file, const char *name, char **said,
                                 struct ptq_error *err)
{
    long size = fseek(file, 0, SEEK_END) ? -1 : ftell(file);
    if (size > MAX_SAID)
        return ptq_fail(err, PTQ_EIO, "%s says more than the %d MiB that are read of it", name, MAX_SAID >> 20);
    *said = ptq_new(arena, char, (size > 0 ? size : 0) + 1);
    rewind(file);
    if (size < 0 || fread(*said, 1, (size_t)size, file) != (size_t)size)
        return ptq_fail(err, PTQ_EIO, "what %s says cannot be read: %s", name, strerror(errno));
    (*said)[size] = 0;
    return PTQ_OK;
}

/* What a program that failed wrote last. */
static char *read_complaint(struct ptq_arena *arena, FILE *file)
{
    char *text = ptq_new(arena, char, MAX_COMPLAINT + 1);
    if (fseek(file, -MAX_COMPLAINT, SEEK_END)) rewind(file); /* it wrote less */
    text[fread(text, 1, MAX_COMPLAINT, file)] = 0;
    return text;
}

/* The last line that says something (gnuplot's points at a place, under a line of its own); text is changed. */
static const char *last_line(char *text)
{
    size_t length = strlen(text);
    while (length && strchr(" \n\t^", text[length - 1])) text[--length] = 0;
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static enum ptq_status run_into(struct ptq_arena *arena, char *const *argv, enum ptq_program_end end, const char *hint,
                                FILE *out, FILE *error, char **said, struct ptq_error *err)
{
    pid_t child;
    PTQ_TRY(ptq_program_start(argv, fileno(out), fileno(error), end == PTQ_PROGRAM_COMPLETES, hint, &child, err));
    if (end == PTQ_PROGRAM_IS_KILLED) kill_at_signal(child);
    int good = ptq_program_wait(child);
    if (end == PTQ_PROGRAM_IS_KILLED) PTQ_TRY(ptq_interrupted(err)); /* a terminal's Ctrl-C ended the child, too */
    if (!good) return ptq_fail(err, PTQ_EIO, "%s failed: %.400s", argv[0], last_line(read_complaint(arena, error)));
    return read_said(arena, out, argv[0], said, err);
}

enum ptq_status ptq_program_run(struct ptq_arena *arena, char *const *argv, enum ptq_program_end end, const char *hint,
                                char **said, struct ptq_error *err)
{
    FILE *out = tmpfile(), *error = tmpfile();
    enum ptq_status status = out && error
                                 ? run_into(arena, argv, end, hint, out, error, said, err)
                                 : ptq_fail(err, PTQ_EIO, "a temporary file cannot be made: %s", strerror(errno));
    if (out) fclose(out);
    if (error) fclose(error);
    return status;
}
