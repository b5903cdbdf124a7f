#include "progress.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static enum ptq_quiet quiet;
static int line_open;
static volatile sig_atomic_t seen_signal;

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

long long ptq_peak_rss_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1024LL * usage.ru_maxrss;
}

static void show(struct ptq_progress *progress, double now)
{
    double fraction = progress->total > 0 ? progress->done / progress->total : 1;
    double left = fraction > 0 ? (now - progress->started) * (1 - fraction) / fraction : 0;
    fprintf(stderr, "\r%-58.58s %3.0f %%  %.0f s, %.0f s left \033[K", progress->stage, floor(100 * fraction),
            now - progress->started, ceil(left));
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

void ptq_progress_step(struct ptq_progress *progress, double amount)
{
    progress->done += amount;
    double now = ptq_seconds();
    if (!quiet && isatty(STDERR_FILENO) && now - progress->shown > 0.2) show(progress, now);
}

void ptq_progress_end(struct ptq_progress *progress)
{
    if (quiet) return;
    if (isatty(STDERR_FILENO))
        ptq_progress_clear(); /* the line was a promise; what came of it is printed by whoever asked */
    else
        fprintf(stderr, "%s: %.1f s\n", progress->stage, ptq_seconds() - progress->started);
}

void ptq_progress_note(const char *format, ...)
{
    va_list values;
    if (quiet == PTQ_QUIET) return;
    ptq_progress_clear();
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
}

static void note_signal(int signal_number)
{
    if (seen_signal) _exit(128 + signal_number);
    seen_signal = signal_number;
}

void ptq_catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int ptq_signal_seen(void)
{
    return seen_signal;
}

enum ptq_status ptq_interrupted(struct ptq_error *err)
{
    if (!seen_signal) return PTQ_OK;
    return ptq_fail(err, PTQ_EINTERRUPT, "stopped by a signal; what was finished is kept");
}
