/* Files of strangers (ptq_h5_read of h5.h). HDF5 1.10 crashes on forged files, writes beyond its buffers, which may
 * show much later, and asks for any amount of memory, and none of that can be mended from outside. So a child reads,
 * under limits, and what it found is in memory that both have, at the same addresses. */
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

/* What a child may take, SPARE and for each byte of the file: of memory for what it finds MOST_TIMES (ours take twice
 * their size), as much again for HDF5 (glibc alone reserves 128 MB for a thread's heap); of processor time one second
 * for each BYTES_A_SECOND (small cells take 0.08 s a MB on a fast machine). */
enum { MOST_TIMES = 16, SPARE_SECONDS = 10, BYTES_A_SECOND = 1 << 20, SPARE_FOUND = 4 << 20, SPARE_HDF5 = 256 << 20 };

enum kind { NOTHING, READ, REFUSED, NO_MEMORY };

/* What a child says before it ends. */
struct answer {
    enum kind kind;
    void *out;              /* READ: in memory that both have */
    size_t bytes;           /* READ: how much of that is taken; NO_MEMORY: what was asked for */
    enum ptq_status status; /* REFUSED: why, with text */
    char text[sizeof((struct ptq_error *)NULL)->text];
};

/* A call: what is read, by whom, into what. */
struct call {
    const char *path;
    uint64_t size;
    struct ptq_mapped bytes; /* which the child reads, and no descriptor */
    ptq_h5_reader *read;
    const void *context;
    struct ptq_arena *arena;
};

static uint64_t most_bytes(uint64_t size, uint64_t spare)
{
    return spare + MOST_TIMES * size;
}

static uint64_t most_seconds(uint64_t size)
{
    return SPARE_SECONDS + size / BYTES_A_SECOND;
}

/* Of processor time, as the user has limited it (ulimit -t): one less than where the kernel kills without a word. */
static uint64_t users_seconds(void)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_CPU, &now)) return RLIM_INFINITY;
    uint64_t most = now.rlim_max > 1 ? now.rlim_max - 1 : 1;
    return now.rlim_cur < most ? now.rlim_cur : most;
}

/* ---- the child ---- */

static int answer_to = -1;

static void say(const struct answer *answer)
{
    const char *rest = (const char *)answer, *end = rest + sizeof *answer;
    ssize_t wrote = 0; /* no handler is left that could interrupt it */
    while (rest < end && (wrote = write(answer_to, rest, (size_t)(end - rest))) > 0) rest += wrote;
    COUNT_THIS_CHILD();
    _exit(rest < end);
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

/* SIGXCPU behind these seconds, and SIGKILL, which says nothing, a second later: where both are one the kernel kills.
 */
static void limit_seconds(uint64_t most)
{
    limit(RLIMIT_CPU, most + 1);
    struct rlimit now;
    if (getrlimit(RLIMIT_CPU, &now)) return;
    now.rlim_cur = most;
    setrlimit(RLIMIT_CPU, &now);
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
    uint64_t most = most_seconds(size), users = users_seconds();
    limit_seconds(users < most ? users : most);
    if (used) limit(RLIMIT_AS, used + most_bytes(size, SPARE_HDF5));
    ptq_on_out_of_memory(say_no_memory);
    ptq_pool_leave();
}

static enum ptq_status open_and_read(const struct call *c, void **out, struct ptq_error *err)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_open_map(&c->bytes, &file, err));
    enum ptq_status status = c->read(file, c->context, c->arena, out, err);
    ptq_h5_close(file);
    return status;
}

static void read_and_say(const struct call *c)
{
    struct ptq_error err;
    struct answer answer = {.kind = READ};
    leave_parent(c->size);
    if (open_and_read(c, &answer.out, &err)) {
        answer.kind = REFUSED;
        answer.status = err.status;
        memcpy(answer.text, err.text, sizeof answer.text);
    } else {
        answer.bytes = ptq_arena_shared(c->arena);
        if (!answer.bytes) say_no_memory(SIZE_MAX);
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

static enum ptq_status no_memory(const struct call *c, uint64_t bytes, struct ptq_error *err)
{
    if (bytes == SIZE_MAX || bytes > most_bytes(c->size, SPARE_FOUND))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: is a damaged HDF5 file: reading its %llu bytes asked for more memory than they can need",
                        c->path, (unsigned long long)c->size);
    return ptq_fail(err, PTQ_EIO, "%s: there is not enough memory to read it: %llu bytes more were asked for", c->path,
                    (unsigned long long)bytes);
}

/* The file's own limit, or the user's where that is lower, which says nothing of the file. */
static enum ptq_status no_time(const struct call *c, struct ptq_error *err)
{
    uint64_t most = most_seconds(c->size), users = users_seconds();
    if (users < most)
        return ptq_fail(err, PTQ_EIO,
                        "%s: reading it took longer than the limit that you have set, of %llu s of processor time; "
                        "raise it (ulimit -t) and run again",
                        c->path, (unsigned long long)users);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: is a damaged HDF5 file: reading its %llu bytes took more than %llu s of processor time",
                    c->path, (unsigned long long)c->size, (unsigned long long)most);
}

/* Why a child found nothing. PTQ_EINPUT where it is the file's doing: a cell that cannot be read is computed again, and
 * must not be for want of memory or of processes. */
static enum ptq_status judge(const struct call *c, const struct answer *answer, int how, struct ptq_error *err)
{
    if (answer->kind == NO_MEMORY) return no_memory(c, answer->bytes, err);
    if (answer->kind == REFUSED && answer->status > PTQ_OK && answer->status <= PTQ_EINTERRUPT)
        return ptq_fail(err, answer->status, "%s", answer->text);
    int by = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    if (by == SIGKILL)
        return ptq_fail(err, PTQ_EIO, "%s: the process that tried to read it was killed (signal 9); run again",
                        c->path);
    if (by == SIGBUS)
        return ptq_fail(err, PTQ_EIO,
                        "%s: became shorter or could not be read while it was in use (signal 7); run again", c->path);
    if (by == SIGXCPU) return no_time(c, err);
    return ptq_fail(err, PTQ_EINPUT, "%s: is a damaged HDF5 file: reading it ended by %s %d", c->path,
                    by ? "signal" : "exit", by ? by : WEXITSTATUS(how));
}

static enum ptq_status let_child_read(const struct call *c, struct answer *answer, int *how, struct ptq_error *err)
{
    int end[2], good = pipe2(end, O_CLOEXEC) == 0;
    pid_t child = good ? fork() : -1;
    if (child < 0) {
        ptq_fail(err, PTQ_EIO, "%s: no process can be started that reads it: %s", c->path, strerror(errno));
        if (good) close(end[0]), close(end[1]);
        return err->status;
    }
    if (child == 0) {
        answer_to = end[1];
        read_and_say(c); /* and ends */
    }
    close(end[1]);
    hear(end[0], child, answer, how);
    return PTQ_OK;
}

enum ptq_status ptq_h5_read(const char *path, ptq_h5_reader *read, const void *context, struct ptq_arena *arena,
                            void **out, size_t bytes, struct ptq_error *err)
{
    struct call c = {.path = path, .read = read, .context = context, .arena = arena};
    struct answer answer = {0};
    int how = 0;
    PTQ_TRY(ptq_h5_map(path, 1, &c.bytes, err));
    c.size = c.bytes.size;
    struct ptq_mark mark = ptq_arena_mark(arena);
    enum ptq_status status = ptq_arena_share(arena, most_bytes(c.size, SPARE_FOUND))
                                 ? let_child_read(&c, &answer, &how, err)
                                 : ptq_fail(err, PTQ_EIO, "%s: there is not enough memory to read it", path);
    if (!status && (answer.kind != READ || !ptq_arena_keep(arena, answer.bytes, answer.out, bytes)))
        status = judge(&c, &answer, how, err);
    ptq_unmap(&c.bytes);
    if (status) ptq_arena_rewind(arena, mark);
    *out = answer.out;
    return status;
}
