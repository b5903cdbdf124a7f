/* Status codes, the error that travels with them, and the three macros that pass it up.
 *
 * A fallible function returns enum ptq_status and takes struct ptq_error * last. The error keeps the place where it
 * arose and one sentence, which grows at the front as it travels up ("layer 3: q_proj: ..."). Only the command
 * (experiments/ptq.c) prints it and exits. Bad input and bad numerics are statuses; a bug is an assert; host memory
 * that is gone ends the process in base/arena.c. */
#ifndef PTQ_STATUS_H
#define PTQ_STATUS_H

#include <stdarg.h>
#include <stddef.h>

/* name, text, exit code of the command */
#define PTQ_STATUS_MAP(X)                                                                                              \
    X(OK, "done", 0)                                                                                                   \
    X(EINPUT, "bad input", 1)                                                                                          \
    X(ENUMERIC, "bad numerics", 1)                                                                                     \
    X(EIO, "input/output", 1)                                                                                          \
    X(EDEVICE, "device", 1)                                                                                            \
    X(EUSAGE, "usage", 2)                                                                                              \
    X(EINTERRUPT, "interrupted", 130)

enum ptq_status {
#define X(name, text, code) PTQ_##name,
    PTQ_STATUS_MAP(X)
#undef X
};

struct ptq_error {
    enum ptq_status status;
    const char *file; /* where it arose, for PTQ_TRACE; static storage */
    int line;
    char text[2048]; /* one sentence: what, where, what to do */
};

/* Sets *err and returns status, so that `return ptq_fail(...)` is one line. status is never PTQ_OK. */
#define ptq_fail(err, status, ...) ptq_fail_at((err), __FILE__, __LINE__, (status), __VA_ARGS__)
enum ptq_status ptq_fail_at(struct ptq_error *err, const char *file, int line, enum ptq_status status,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Puts "<format>: " before the sentence and returns err->status. */
enum ptq_status ptq_within(struct ptq_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Passes a failure up. Everything taken before it lives in an arena; who owns a file or an id uses one `out:` label. */
#define PTQ_TRY(call)                                                                                                  \
    do {                                                                                                               \
        enum ptq_status ptq_try_ = (call);                                                                             \
        if (ptq_try_ != PTQ_OK) return ptq_try_;                                                                       \
    } while (0)

/* Names of files and tensors come from strangers, and a terminal obeys control characters. Bytes of the UTF-8 character
 * at text, 0 where there is none that is whole, shortest and only shown; and each byte of others made '?', in place. */
size_t ptq_printable(const char *text);
void ptq_blunt(char *text);

int ptq_status_exit_code(enum ptq_status status);

#endif
