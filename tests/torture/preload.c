/* A library for LD_PRELOAD that makes what a program is given fail on purpose: memory at the n-th call, writes cut
 * short. It reaches all of a process, HDF5, jansson and libc among it, which a linker's --wrap of our own objects would
 * not; children of the process are left alone. Settings, in the environment:
 *
 *   PTQ_TORTURE_ALLOC=N     the N-th allocation gives NULL (from 1)
 *   PTQ_TORTURE_COUNT=FILE  at exit, a line with the number of allocations; before that the numbers of those that were
 *                           made from a place (the chain of callers) where none had been made before, one a line
 *   PTQ_TORTURE_SHORT=K     every K-th write of more than one byte writes only half of it
 *   PTQ_TORTURE_CLOCK=S     the clock of day is S seconds off at every other look, forth and back
 *
 * Large blocks of an arena come from mmap, which counts as an allocation where it is anonymous. Nothing counts before
 * main. glibc's __libc_malloc and its kin are replaced and not malloc: that is what the command's own malloc calls. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PLACES = 1 << 16, DEPTH = 10, OWN_FRAMES = 2 };

static long fail_at, short_every, jump;
static atomic_long allocations, writes, looks;
static int ready, count_to = -1;
static uint64_t place[MOST_PLACES];
static _Thread_local int inside; /* backtrace itself may allocate */

/* glibc's own function of that name, which is next in the search. */
#define NEXT(type, name, ...)                                                                                          \
    static type (*next)(__VA_ARGS__);                                                                                  \
    if (!next) next = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static long setting(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

static void begin(void)
{
    void *frame[DEPTH];
    const char *path = getenv("PTQ_TORTURE_COUNT");
    fail_at = setting("PTQ_TORTURE_ALLOC");
    short_every = setting("PTQ_TORTURE_SHORT");
    jump = setting("PTQ_TORTURE_CLOCK");
    if (path) count_to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (count_to >= 0) backtrace(frame, DEPTH); /* it loads what it needs now */
    unsetenv("LD_PRELOAD");
    ready = 1;
}

/* What libraries do before main is theirs: counting begins with it. */
static int (*own_main)(int, char **, char **);

static int main_at_last(int argc, char **argv, char **environment)
{
    begin();
    return own_main(argc, argv, environment);
}

int __libc_start_main(int (*program)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
    NEXT(int, "__libc_start_main", int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void),
         void (*)(void), void *);
    own_main = program;
    return next(main_at_last, argc, argv, init, fini, rtld_fini, stack_end);
}

static void say(long number)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%ld\n", number);
    syscall(SYS_write, count_to, line, (size_t)length);
}

__attribute__((destructor)) static void end(void)
{
    if (count_to >= 0) say(atomic_load(&allocations));
}

/* ---- memory ---- */

/* 1 where no allocation was made from here before. */
static int is_new_place(void)
{
    void *frame[DEPTH];
    uint64_t hash = 1;
    for (int i = OWN_FRAMES, n = backtrace(frame, DEPTH); i < n; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)frame[i]) * 0x9e3779b97f4a7c15u;
    hash |= 1;
    for (uint64_t at = hash >> 48;; at = (at + 1) % MOST_PLACES) {
        if (place[at] == hash) return 0;
        if (place[at]) continue;
        place[at] = hash;
        return 1;
    }
}

/* 1 where this allocation has to fail. */
static int fails(void)
{
    if (!ready || inside) return 0;
    long number = atomic_fetch_add(&allocations, 1) + 1;
    if (count_to >= 0) {
        inside = 1;
        if (is_new_place()) say(number);
        inside = 0;
    }
    if (number != fail_at) return 0;
    errno = ENOMEM;
    return 1;
}

void *__libc_malloc(size_t bytes)
{
    NEXT(void *, "__libc_malloc", size_t);
    return fails() ? NULL : next(bytes);
}

void *__libc_calloc(size_t count, size_t size)
{
    NEXT(void *, "__libc_calloc", size_t, size_t);
    return fails() ? NULL : next(count, size);
}

void *__libc_realloc(void *old, size_t bytes)
{
    NEXT(void *, "__libc_realloc", void *, size_t);
    return bytes && fails() ? NULL : next(old, bytes);
}

void *__libc_memalign(size_t alignment, size_t bytes)
{
    NEXT(void *, "__libc_memalign", size_t, size_t);
    return fails() ? NULL : next(alignment, bytes);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (flags & MAP_ANONYMOUS && fails()) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset); // NOLINT: as libc does it
}

/* ---- the clock ---- */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int bad = (int)syscall(SYS_clock_gettime, clock, now);
    if (!bad && jump && clock == CLOCK_REALTIME) now->tv_sec += (atomic_fetch_add(&looks, 1) % 2 ? 1 : -1) * jump;
    return bad;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

/* ---- writes ---- */

static size_t cut(size_t bytes)
{
    if (!short_every || bytes < 2) return bytes;
    return (atomic_fetch_add(&writes, 1) + 1) % short_every ? bytes : bytes / 2;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    return syscall(SYS_write, fd, data, cut(bytes));
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset)
{
    return syscall(SYS_pwrite64, fd, data, cut(bytes), offset);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    return syscall(SYS_pwrite64, fd, data, cut(bytes), offset);
}
