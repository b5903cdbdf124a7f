/* Files of strangers (ptq_h5_read of h5.h). HDF5 1.10 crashes on forged files, writes beyond its buffers and asks for
 * any amount of memory, and none of that can be mended from outside. So a child reads first, under limits, and what
 * becomes of the child is what the file is worth. */
#include "h5.h"
#include "h5_path.h"
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef PTQ_COVERAGE
void __gcov_dump(void); // NOLINT: gcc's
#define COUNT_THIS_CHILD() __gcov_dump()
#else
#define COUNT_THIS_CHILD() ((void)0)
#endif

/* What a reader may take, beside what the process has already: of memory SPARE_BYTES and MOST_TIMES the file's size
 * (ours are read at once to twice their size; glibc reserves 128 MB for a heap of a thread), of processor time
 * SPARE_SECONDS and one second for each BYTES_A_SECOND. */
enum { MOST_TIMES = 16, SPARE_SECONDS = 10, BYTES_A_SECOND = 1 << 24 };
static const uint64_t spare_bytes = 256u << 20;

typedef enum ptq_status (*reader)(struct ptq_h5 *file, void *context, struct ptq_error *err);

enum kind { NOTHING, READ, REFUSED, NO_MEMORY };

/* What a child says before it ends, in one write. */
struct answer {
    enum kind kind;
    enum ptq_status status; /* REFUSED: why, with text */
    uint64_t bytes;         /* NO_MEMORY: what was asked for */
    char text[sizeof((struct ptq_error *)NULL)->text];
};

static uint64_t most_bytes(uint64_t size)
{
    return spare_bytes + MOST_TIMES * size;
}

static uint64_t most_seconds(uint64_t size)
{
    return SPARE_SECONDS + size / BYTES_A_SECOND;
}

static enum ptq_status read_here(const char *path, uint64_t size, reader read, void *context, struct ptq_error *err)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_open_checked(path, size, &file, err));
    enum ptq_status status = read(file, context, err);
    ptq_h5_close(file);
    return status;
}

/* ---- the child ---- */

static int answer_to = -1;

static void say(const struct answer *answer)
{
    COUNT_THIS_CHILD();
    _exit(write(answer_to, answer, sizeof *answer) == (ssize_t)sizeof *answer ? 0 : 1);
}

static void say_no_memory(size_t bytes)
{
    static struct answer answer = {.kind = NO_MEMORY};
    answer.bytes = bytes;
    say(&answer);
}

/* No more than the user's own limits allow. */
static void limit(int what, uint64_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now)) return;
    if (now.rlim_max > most) now.rlim_max = most;
    if (now.rlim_cur > most) now.rlim_cur = most;
    setrlimit((__rlimit_resource_t)what, &now);
}

/* Bytes of address space that the process has, 0 where that is not known. */
static uint64_t used_bytes(void)
{
    char text[64] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    unsigned long long pages = 0;
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) sscanf(text, "%llu", &pages);
    if (fd >= 0) close(fd);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Nothing of the parent's can be reached from here on but memory, which is a copy: no handlers (a test's would run the
 * other tests' end), no streams, no files, no locks. What interrupts a run is the parent's to notice. */
static void leave_parent(uint64_t size)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU, SIGPIPE};
    uint64_t used = used_bytes();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) signal(deadly[i], SIG_DFL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (stream != answer_to && dup2(nowhere, stream) < 0) close(stream);
    if (answer_to > STDERR_FILENO + 1) close_range(STDERR_FILENO + 1, (unsigned)answer_to - 1, 0);
    close_range((unsigned)answer_to + 1, ~0U, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, most_seconds(size));
    if (used) limit(RLIMIT_AS, used + most_bytes(size));
    ptq_on_out_of_memory(say_no_memory);
    ptq_pool_leave();
}

static void try_reading(const char *path, uint64_t size, reader read, void *context)
{
    struct ptq_error err;
    struct answer answer = {.kind = READ};
    leave_parent(size);
    if (read_here(path, size, read, context, &err)) {
        answer.kind = REFUSED;
        answer.status = err.status;
        memcpy(answer.text, err.text, sizeof answer.text);
    }
    say(&answer);
}

/* ---- the parent ---- */

/* The child's last words and how it ended. Words that are not whole are none. */
static void hear(int from, pid_t child, struct answer *answer, int *how)
{
    size_t used = 0;
    ssize_t got = 1;
    while (used < sizeof *answer && got) {
        got = read(from, (char *)answer + used, sizeof *answer - used);
        if (got > 0) used += (size_t)got;
        if (got < 0 && errno != EINTR) break;
    }
    close(from);
    while (waitpid(child, how, 0) < 0)
        if (errno != EINTR) break; /* who started us may have said that nobody waits for children */
    if (used < sizeof *answer) answer->kind = NOTHING;
    answer->text[sizeof answer->text - 1] = 0;
}

static enum ptq_status no_memory(const char *path, uint64_t size, uint64_t bytes, struct ptq_error *err)
{
    if (bytes > most_bytes(size))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: is a damaged HDF5 file: reading its %llu bytes asked for %llu bytes of memory", path,
                        (unsigned long long)size, (unsigned long long)bytes);
    return ptq_fail(err, PTQ_EIO, "%s: there is not enough memory to read it: HDF5 or ptq asked for %llu bytes more",
                    path, (unsigned long long)bytes);
}

/* PTQ_EINPUT where it is the file's doing: a cell that cannot be read is computed again, and must not be for want of
 * memory or of processes. */
static enum ptq_status judge(const char *path, uint64_t size, const struct answer *answer, int how,
                             struct ptq_error *err)
{
    if (answer->kind == READ) return PTQ_OK;
    if (answer->kind == NO_MEMORY) return no_memory(path, size, answer->bytes, err);
    if (answer->kind == REFUSED && answer->status > PTQ_OK && answer->status <= PTQ_EINTERRUPT)
        return ptq_fail(err, answer->status, "%s", answer->text);
    int by = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    if (by == SIGKILL)
        return ptq_fail(err, PTQ_EIO, "%s: the process that tried to read it was killed (signal 9); run again", path);
    if (by == SIGXCPU)
        return ptq_fail(err, PTQ_EINPUT, "%s: is a damaged HDF5 file: reading its %llu bytes took more than %llu s",
                        path, (unsigned long long)size, (unsigned long long)most_seconds(size));
    return ptq_fail(err, PTQ_EINPUT, "%s: is a damaged HDF5 file: reading it ended by %s %d", path,
                    by ? "signal" : "exit", by ? by : WEXITSTATUS(how));
}

static enum ptq_status read_in_child(const char *path, uint64_t size, reader read, void *context, struct ptq_error *err)
{
    int end[2], how = 0, good = pipe2(end, O_CLOEXEC) == 0;
    pid_t child = good ? fork() : -1;
    if (child < 0) {
        ptq_fail(err, PTQ_EIO, "%s: no process can be started that tries to read it: %s", path, strerror(errno));
        if (good) close(end[0]), close(end[1]);
        return err->status;
    }
    if (child == 0) {
        answer_to = end[1];
        try_reading(path, size, read, context); /* ends there */
    }
    struct answer answer = {0};
    close(end[1]);
    hear(end[0], child, &answer, &how);
    return judge(path, size, &answer, how, err);
}

enum ptq_status ptq_h5_read(const char *path,
                            enum ptq_status (*read)(struct ptq_h5 *file, void *context, struct ptq_error *err),
                            void *context, struct ptq_error *err)
{
    uint64_t size;
    PTQ_TRY(ptq_h5_check(path, 1, &size, err));
    PTQ_TRY(read_in_child(path, size, read, context, err));
    return read_here(path, size, read, context, err);
}
