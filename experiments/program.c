#include "program.h"

#include "progress.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_SAID = 1 << 24, MAX_COMPLAINT = 1 << 16, PAUSE_MS = 2 };

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

/* ---- what it says ---- */

/* One of its streams: a pipe, which no full disk and no limit on files cuts short. */
struct said {
    int from, to; /* to read and to write; -1 where closed */
    size_t most;  /* bytes that are kept, the last ones */
    struct ptq_buffer text;
    int was_cut, cause; /* 1 where more came; errno where a read failed */
};

static void close_end(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Never waits for the other end. */
static enum ptq_status open_said(struct said *s, struct ptq_error *err)
{
    int end[2];
    if (pipe2(end, O_CLOEXEC)) return ptq_fail(err, PTQ_EIO, "a pipe cannot be made: %s", strerror(errno));
    s->from = end[0], s->to = end[1];
    fcntl(s->from, F_SETFL, O_NONBLOCK);
    ptq_buffer_bytes(&s->text, "", 0);
    return PTQ_OK;
}

static void close_said(struct said *s)
{
    close_end(&s->from);
    close_end(&s->to);
    free(s->text.data);
}

static void keep(struct said *s, const char *text, size_t n)
{
    ptq_buffer_bytes(&s->text, text, n);
    if (s->text.size < 2 * s->most) return;
    memmove(s->text.data, s->text.data + s->text.size - s->most, s->most + 1);
    s->text.size = s->most;
    s->was_cut = 1;
}

/* What is in the pipe now, or a part of it; 0 where nothing is. */
static int take(struct said *s)
{
    char text[1 << 14];
    if (s->from < 0) return 0;
    ssize_t n = read(s->from, text, sizeof text);
    if (n > 0) keep(s, text, (size_t)n);
    if (n < 0 && errno != EAGAIN && errno != EINTR) s->cause = errno;
    if (n == 0 || s->cause) close_end(&s->from);
    return n > 0 || (n < 0 && errno == EINTR);
}

/* It can still be waited for. */
static int has_ended(pid_t child)
{
    siginfo_t how = {0};
    return waitid(P_PID, (id_t)child, &how, WEXITED | WNOHANG | WNOWAIT) || how.si_pid;
}

/* Takes what it says until it has ended; who of its own children holds the pipes still is not waited for. A signal does
 * not end a wait (SA_RESTART): so the child is looked at, and so is the signal, every few ms. A picture takes some tens
 * of ms to draw, and there are many. */
static void listen_to(pid_t child, enum ptq_program_end end, struct said *out, struct said *error)
{
    struct pollfd more[2] = {{.events = POLLIN}, {.events = POLLIN}};
    int ended, any = 0;
    do {
        more[0].fd = out->from, more[1].fd = error->from;
        if (!any) poll(more, 2, PAUSE_MS);
        ended = has_ended(child); /* before the last look */
        any = take(out) | take(error);
        if (end == PTQ_PROGRAM_IS_KILLED && ptq_signal_seen()) kill(child, SIGKILL);
    } while (!ended || any);
}

/* All that the program called name wrote: a part of it would be taken for an answer. */
static enum ptq_status answer(struct ptq_arena *arena, const struct said *out, const char *name, char **said,
                              struct ptq_error *err)
{
    if (out->was_cut || out->text.size > out->most)
        return ptq_fail(err, PTQ_EIO, "%s says more than the %d MiB that are read of it", name, MAX_SAID >> 20);
    if (out->cause) return ptq_fail(err, PTQ_EIO, "what %s says cannot be read: %s", name, strerror(out->cause));
    *said = ptq_strndup(arena, out->text.data, out->text.size);
    return PTQ_OK;
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
                                struct said *out, struct said *error, char **said, struct ptq_error *err)
{
    pid_t child;
    PTQ_TRY(open_said(out, err));
    PTQ_TRY(open_said(error, err));
    PTQ_TRY(ptq_program_start(argv, out->to, error->to, end == PTQ_PROGRAM_COMPLETES, hint, &child, err));
    close_end(&out->to);
    close_end(&error->to);
    listen_to(child, end, out, error);
    int good = ptq_program_wait(child);
    if (end == PTQ_PROGRAM_IS_KILLED) PTQ_TRY(ptq_interrupted(err)); /* a terminal's Ctrl-C ended the child, too */
    if (!good) return ptq_fail(err, PTQ_EIO, "%s failed: %.400s", argv[0], last_line(error->text.data));
    return answer(arena, out, argv[0], said, err);
}

enum ptq_status ptq_program_run(struct ptq_arena *arena, char *const *argv, enum ptq_program_end end, const char *hint,
                                char **said, struct ptq_error *err)
{
    struct said out = {.from = -1, .to = -1, .most = MAX_SAID}, error = {.from = -1, .to = -1, .most = MAX_COMPLAINT};
    enum ptq_status status = run_into(arena, argv, end, hint, &out, &error, said, err);
    close_said(&out);
    close_said(&error);
    return status;
}
