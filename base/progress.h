/* Progress on stderr: a line that renews itself with an estimate of the time left, on a terminal; one line a stage
 * elsewhere, and of a slow one some before. And the flag that Ctrl-C sets, which long loops look at between steps. */
#ifndef PTQ_PROGRESS_H
#define PTQ_PROGRESS_H

#include "status.h"

#include <stdint.h>
#include <stdio.h>

struct ptq_progress {
    const char *stage; /* owned by the caller, must outlive the progress */
    double total, done;
    double started, shown;
};

/* How much is printed: everything (the default); notes, and what is slow; nothing. */
enum ptq_quiet { PTQ_LOUD, PTQ_NOTES_ONLY, PTQ_QUIET };
void ptq_progress_quiet(enum ptq_quiet quiet);
void ptq_progress_begin(struct ptq_progress *progress, const char *stage, double total);
void ptq_progress_step(struct ptq_progress *progress, double amount);
void ptq_progress_end(struct ptq_progress *progress);
/* One line that stays: what somebody who comes back later wants to know of a run. */
void ptq_progress_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What people read, on out: one line or a part of one. What of it a terminal would obey becomes '?'. */
void ptq_say(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* PTQ_EIO where data did not reach standard output: a full disk, a reader that has gone. */
enum ptq_status ptq_output_check(struct ptq_error *err);
/* Takes back a line that is still open, before something else is printed on stderr. */
void ptq_progress_clear(void);

double ptq_seconds(void); /* monotonic clock */
/* Since this process was started, before its libraries were there, to a hundredth; 0 where Linux does not say. */
double ptq_process_seconds(void);
/* A line of /proc/self/status, "RssAnon"; 0 where there is none. */
long long ptq_status_bytes(const char *key);
long long ptq_peak_rss_bytes(void); /* of this process, since the last restart */
void ptq_peak_rss_restart(void);    /* from now on; where Linux does not let us, it stays the process's so far */
/* Ends a lap, which began with the one before or the restart: *most is raised to the peak of it alone, or becomes 0
 * where that is not known, since Linux did not let us count anew. NULL: a lap of nothing in particular. */
void ptq_peak_rss_lap(int64_t *most);

/* After ptq_catch_signals, SIGINT and SIGTERM set a flag instead of ending the process; the second one ends it.
 * ptq_interrupted fails with PTQ_EINTERRUPT once the flag is set. SIGBUS from a mapped file that became shorter ends
 * the process with a sentence that names it. A file that may not grow (SIGXFSZ) is an error like a full disk. SIGCHLD
 * is as at first, whatever who started us made of it. */
void ptq_catch_signals(void);
enum ptq_status ptq_interrupted(struct ptq_error *err);
int ptq_signal_seen(void); /* 0, SIGINT or SIGTERM */

#endif
