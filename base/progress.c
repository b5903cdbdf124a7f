#include "progress.h"

#include "arena.h"
#include "mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 30 }; /* seconds */

static enum ptq_quiet quiet;
static int line_open;
static volatile sig_atomic_t seen_signal;
static int at_terminal; /* standard error, when signals were first caught */

void ptq_progress_quiet(enum ptq_quiet value)
{
    quiet = value;
}

double ptq_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double ptq_process_seconds(void)
{
    char text[1024] = "";
    unsigned long long ticks;
    struct timespec now;
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file) return 0;
    if (!fgets(text, sizeof text, file)) text[0] = 0;
    fclose(file);
    const char *at = strrchr(text, ')'); /* behind the name, which may hold anything; field 22 is the start */
    if (!at || sscanf(at + 1, "%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%llu", &ticks) != 1) return 0;
    clock_gettime(CLOCK_BOOTTIME, &now);
    double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)ticks / (double)sysconf(_SC_CLK_TCK);
    return seconds > 0 ? seconds : 0;
}

long long ptq_status_bytes(const char *key)
{
    char line[128];
    size_t length = strlen(key);
    long long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, key, length) == 0 && sscanf(line + length, ": %lld kB", &kib) == 1) break;
    if (status) fclose(status);
    return 1024 * kib;
}

/* Of the laps since the restart. */
static struct {
    long long most; /* of those that have ended */
    int counted;    /* 1: the kernel counted anew at the beginning of each */
} laps;

/* 1 where the kernel's peak begins again at what is held now. */
static int count_anew(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    int done = write(fd, "5", 1) == 1;
    close(fd);
    return done;
}

void ptq_peak_rss_restart(void)
{
    laps.most = 0;
    laps.counted = count_anew() && ptq_status_bytes("VmHWM");
}

void ptq_peak_rss_lap(int64_t *most)
{
    long long now = laps.counted ? ptq_status_bytes("VmHWM") : 0;
    if (now > laps.most) laps.most = now;
    if (most && (now > *most || !now)) *most = now;
    laps.counted = now && count_anew();
}

/* Of getrusage's, what was before an exec is never taken away. */
long long ptq_peak_rss_bytes(void)
{
    struct rusage usage;
    long long peak = ptq_status_bytes("VmHWM");
    if (peak) return peak > laps.most ? peak : laps.most;
    getrusage(RUSAGE_SELF, &usage);
    return 1024LL * usage.ru_maxrss;
}

static double part_done(const struct ptq_progress *progress)
{
    return progress->total > 0 ? progress->done / progress->total : 1;
}

static double seconds_left(const struct ptq_progress *progress, double now)
{
    double part = part_done(progress);
    return part > 0 ? (now - progress->started) * (1 - part) / part : 0;
}

static void show(struct ptq_progress *progress, double now)
{
    fprintf(stderr, "\r%-58.58s %3.0f %%  %.0f s, %.0f s left \033[K", progress->stage,
            floor(100 * part_done(progress)), now - progress->started, ceil(seconds_left(progress, now)));
    fflush(stderr);
    line_open = 1;
    progress->shown = now;
}

void ptq_progress_clear(void)
{
    if (line_open) fprintf(stderr, "\r\033[K");
    line_open = 0;
}

void ptq_progress_begin(struct ptq_progress *progress, const char *stage, double total)
{
    *progress = (struct ptq_progress){.stage = stage, .total = total, .started = ptq_seconds()};
}

/* In a file or a pipe: of a stage that goes on, a line after half a minute, a minute, two, four, ... */
static void note_slowness(struct ptq_progress *progress, double now)
{
    double elapsed = now - progress->started, before = progress->shown ? progress->shown - progress->started : 0;
    if (elapsed < PATIENCE || elapsed < 2 * before) return;
    fprintf(stderr, "%s: %.0f %% after %.0f s, %.0f s left\n", progress->stage, floor(100 * part_done(progress)),
            elapsed, ceil(seconds_left(progress, now)));
    progress->shown = now;
}

void ptq_progress_step(struct ptq_progress *progress, double amount)
{
    progress->done += amount;
    double now = ptq_seconds();
    if (isatty(STDERR_FILENO)) {
        if (!quiet && now - progress->shown > 0.2) show(progress, now);
    } else if (quiet != PTQ_QUIET) {
        note_slowness(progress, now);
    }
}

void ptq_progress_end(struct ptq_progress *progress)
{
    if (quiet) return;
    if (isatty(STDERR_FILENO))
        ptq_progress_clear(); /* the line was a promise; what came of it is printed by whoever asked */
    else
        fprintf(stderr, "%s: %.1f s\n", progress->stage, ptq_seconds() - progress->started);
}

/* A line's own end stays, and so does nothing else that a terminal obeys. */
static void say(FILE *out, const char *format, va_list values)
{
    char *text;
    if (vasprintf(&text, format, values) < 0) ptq_out_of_memory(0, "a line", "its text");
    size_t length = strlen(text);
    int ended = length && text[length - 1] == '\n';
    text[length - (size_t)ended] = 0;
    ptq_blunt(text);
    fprintf(out, "%s%s", text, ended ? "\n" : "");
    free(text);
}

void ptq_progress_note(const char *format, ...)
{
    va_list values;
    if (quiet == PTQ_QUIET) return;
    ptq_progress_clear();
    va_start(values, format);
    say(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
}

enum ptq_status ptq_output_check(struct ptq_error *err)
{
    if (fflush(stdout) || ferror(stdout)) return ptq_fail(err, PTQ_EIO, "standard output cannot be written");
    return PTQ_OK;
}

void ptq_say(FILE *out, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    say(out, format, values);
    va_end(values);
}

enum { LONGEST_SAID = 1024 };

/* Of a handler, in one write: text[0..length), at most LONGEST_SAID, behind the end of a line of progress that is open.
 */
static void say_at_once(const char *text, size_t length)
{
    char line[LONGEST_SAID + 1], *at = mempcpy(line, "\n", (size_t)(line_open != 0));
    at = mempcpy(at, text, length);
    line_open = 0;
    if (write(STDERR_FILENO, line, (size_t)(at - line)) < 0) return; /* nobody is there to be told */
}

/* A step may take seconds: somebody at a terminal is to know that the key was seen. */
static void note_signal(int signal_number)
{
    static const char first[] = "ptq: stopping at the end of this step; again to stop at once\n",
                      second[] = "ptq: stopped at once by a second signal; finished files are kept\n";
    int cause = errno;
    if (seen_signal) {
        say_at_once(second, sizeof second - 1);
        _exit(128 + signal_number);
    }
    seen_signal = signal_number;
    if (at_terminal) say_at_once(first, sizeof first - 1);
    errno = cause;
}

static struct sigaction bus_before;

/* One sentence, by one thread. */
static void say_lost(const char *path)
{
    static const char begins[] = "ptq: ", ends[] = ": became shorter or could not be read while it was in use; run "
                                                   "the command again once the file is whole\n";
    static atomic_flag told = ATOMIC_FLAG_INIT;
    char text[LONGEST_SAID], *at = text;
    while (atomic_flag_test_and_set(&told)) pause();
    at = mempcpy(at, begins, sizeof begins - 1);
    at = mempcpy(at, path, strlen(path)); /* at most 511 */
    at = mempcpy(at, ends, sizeof ends - 1);
    say_at_once(text, (size_t)(at - text));
}

/* A file that is mapped and was cut short by somebody else: what is behind its end cannot be read, and there is no
 * error to return. The process ends as by SIGKILL, so what is half-written never gets its name; whatever else SIGBUS
 * comes from goes on as if nobody had asked. */
static void lose_file(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    const char *path = info->si_code > 0 ? ptq_mapped_at(info->si_addr) : NULL;
    if (path) {
        say_lost(path);
        _exit(1);
    }
    sigaction(signal_number, &bus_before, NULL);
    raise(signal_number);
}

/* Who started us may ignore or block it, and then nobody learns how a child ended, neither here nor in the children. */
static void hear_of_children(void)
{
    sigset_t ended;
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &ended, NULL);
}

void ptq_catch_signals(void)
{
    hear_of_children();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    at_terminal = isatty(STDERR_FILENO);
    action.sa_handler = note_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of the write, which is said */
    action.sa_sigaction = lose_file;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, &bus_before);
}

int ptq_signal_seen(void)
{
    return seen_signal;
}

enum ptq_status ptq_interrupted(struct ptq_error *err)
{
    if (!seen_signal) return PTQ_OK;
    return ptq_fail(err, PTQ_EINTERRUPT, "stopped by a signal; finished files are kept");
}
