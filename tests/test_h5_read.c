/* Reading a stranger's HDF5 in a child (core/h5_read.c): what the child finds comes back, and however it ends is one
 * sentence, with nothing changed here, no process and no descriptor left. The readers below do what HDF5 does on forged
 * files; tests/test_malformed_h5.sh has such files. */
#include "cell_file.h"
#include "folder_test.h"
#include "h5.h"
#include "h5_image.h"
#include "mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- system calls that fail, by the linker's --wrap (CMakeLists.txt has the same names) ---- */

#define CALLS(X)                                                                                                       \
    X(int, -1, pipe2, (int a[2], int b), (a, b))                                                                       \
    X(pid_t, -1, fork, (void), ())                                                                                     \
    X(pid_t, -1, waitpid, (pid_t a, int *b, int c), (a, b, c))                                                         \
    X(ssize_t, -1, read, (int a, void *b, size_t c), (a, b, c))                                                        \
    X(ssize_t, -1, write, (int a, const void *b, size_t c), (a, b, c))                                                 \
    X(int, -1, getrlimit, (__rlimit_resource_t a, struct rlimit * b), (a, b))                                          \
    X(int, -1, dup2, (int a, int b), (a, b))                                                                           \
    X(int, -1, open, (const char *a, int b, unsigned c), (a, b, c))                                                    \
    X(void *, MAP_FAILED, mmap, (void *a, size_t b, int c, int d, int e, off_t f), (a, b, c, d, e, f))

#include "calls.h"

/* What read is where the compiler knows the buffer's size. */
ssize_t __real___read_chk(int a, void *b, size_t c, size_t d);
ssize_t __wrap___read_chk(int a, void *b, size_t c, size_t d);
ssize_t __wrap___read_chk(int a, void *b, size_t c, size_t d)
{
    return fails(CALL_read) ? -1 : __real___read_chk(a, b, c, d);
}

/* ---- readers ---- */

struct found {
    int64_t number;
    const char *text;
};

static int touched; /* by readers, in a process that is not this one */

static enum ptq_status read_well(struct ptq_h5 *file, const void *context, struct ptq_arena *into, void **out,
                                 struct ptq_error *err)
{
    struct found *found = *out = ptq_new(into, struct found, 1);
    touched = 1;
    PTQ_TRY(ptq_h5_int(file, "/", "number", &found->number, err));
    return ptq_h5_text(file, "/", context ? context : "text", into, &found->text, err);
}

enum end { FOR_EVER, BY_SIGNAL, BY_EXIT, NO_MEMORY, MUCH_MEMORY, MUCH_FOUND, NOTHING_FOUND, OTHER_PLACE, OTHER_STATUS };
static enum end end;
static int number; /* of the signal, of the exit, of bytes */

/* The child's limits of processor time, the second as a text. */
static enum ptq_status read_limits(struct ptq_h5 *file, const void *context, struct ptq_arena *into, void **out,
                                   struct ptq_error *err)
{
    (void)file, (void)context, (void)err;
    struct rlimit now;
    struct found *found = *out = ptq_new(into, struct found, 1);
    __real_getrlimit(RLIMIT_CPU, &now);
    found->number = (int64_t)now.rlim_cur;
    found->text = ptq_format(into, "%lld", (long long)now.rlim_max);
    return PTQ_OK;
}

static enum ptq_status read_badly(struct ptq_h5 *file, const void *context, struct ptq_arena *into, void **out,
                                  struct ptq_error *err)
{
    (void)file, (void)context;
    touched = 1;
    *out = NULL;
    fputs("a library's complaint\n", stderr);
    switch (end) {
    case FOR_EVER:
        for (volatile int turn = 0;; turn = !turn) continue;
    case BY_SIGNAL:
        raise(number);
        break;
    case BY_EXIT:
        _exit(number);
    case NO_MEMORY:
        ptq_out_of_memory((size_t)number, "a part of this program", "its work");
    case MUCH_MEMORY:
        ptq_out_of_memory((size_t)1 << 62, "a part of this program", "its work");
    case MUCH_FOUND:
        *out = ptq_alloc(into, 32 << 20, "more than such a file can hold");
        break;
    case NOTHING_FOUND:
        break;
    case OTHER_PLACE:
        ptq_alloc(into, 100, "something");
        *out = &touched;
        break;
    case OTHER_STATUS:
        *err = (struct ptq_error){.status = (enum ptq_status)number, .text = "what is no status"};
        return PTQ_EINPUT;
    }
    return PTQ_OK;
}

static const char *path;
static struct ptq_error err;

static enum ptq_status read_with(ptq_h5_reader *reader, struct found **found)
{
    void *out;
    enum ptq_status status = ptq_h5_read(path, reader, NULL, arena, &out, sizeof **found, &err);
    *found = out;
    assert_false(touched);
    failing = NONE;
    errno = 0;
    assert_true(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    return status;
}

static void write_it(void)
{
    struct ptq_h5 *file;
    if (ptq_h5_create(path, &file, &err) || ptq_h5_put_int(file, "/", "number", 7, &err) ||
        ptq_h5_put_text(file, "/", "text", "what is in it", &err) || ptq_h5_commit(file, &err))
        fail_msg("%s", err.text);
}

static int next_descriptor(void)
{
    int fd = dup(STDIN_FILENO);
    close(fd);
    return fd;
}

static void what_is_found_comes_back(void **state)
{
    (void)state;
    struct found *first, *second;
    struct ptq_mark mark = ptq_arena_mark(arena);
    write_it();
    int descriptor = next_descriptor();
    assert_int_equal(read_with(read_well, &first), PTQ_OK);
    memset(ptq_alloc(arena, 5000, "what comes later"), 'x', 5000);
    assert_int_equal(read_with(read_well, &second), PTQ_OK);
    assert_true(first != second && first->number == 7 && second->number == 7);
    assert_string_equal(first->text, "what is in it");
    assert_string_equal(second->text, "what is in it");
    void *out;
    assert_refused("a missing text", ptq_h5_read(path, read_well, "other", arena, &out, sizeof *first, &err), &err,
                   "x.h5: / has no other");
    assert_int_equal(next_descriptor(), descriptor);
    ptq_arena_rewind(arena, mark);
}

/* A file without the SHA-256 does not come as far as a child, nor one whose bytes are others. */
static void what_is_not_ours_is_not_opened(void **state)
{
    (void)state;
    struct found *found;
    write_it();
    assert_int_equal(truncate(path, 1000), 0);
    failing = CALL_fork, fail_at = ALL, cause = EAGAIN;
    assert_refused("cut", read_with(read_well, &found), &err, "x.h5: is HDF5, but not as ptq wrote it;1000 bytes");
}

/* Nor does one come back that has the SHA-256 of bytes which HDF5 cannot open. */
static void what_hdf5_does_not_know(void **state)
{
    (void)state;
    enum { VERSION = 8 /* of the superblock */ };
    struct ptq_mapped file;
    struct found *found;
    write_it();
    assert_int_equal(ptq_map(arena, path, &file, &err), PTQ_OK);
    unsigned char *bytes = ptq_alloc(arena, file.size, "the same with another version");
    memcpy(bytes, file.data, file.size);
    bytes[VERSION] = 77;
    ptq_h5_seal(bytes, file.size - PTQ_H5_SEAL);
    assert_int_equal(ptq_write_file(path, bytes, file.size, &err), PTQ_OK);
    ptq_unmap(&file);
    assert_refused("version 77", read_with(read_well, &found), &err, "x.h5: is a damaged or truncated HDF5 file");
}

static void however_it_ends(void **state)
{
    (void)state;
    static const struct {
        enum end end;
        int number;
        enum ptq_status status;
        const char *words;
    } rows[] = {
        {BY_SIGNAL, SIGSEGV, PTQ_EINPUT, "is a damaged HDF5 file: reading it ended by signal 11"},
        {BY_SIGNAL, SIGABRT, PTQ_EINPUT, "is a damaged HDF5 file: reading it ended by signal 6"},
        {BY_SIGNAL, SIGXCPU, PTQ_EINPUT,
         "is a damaged HDF5 file: reading its ;bytes took more than 10 s of processor time"},
        {BY_SIGNAL, SIGBUS, PTQ_EIO, "x.h5: became shorter or could not be read while it was in use (signal 7)"},
        {BY_SIGNAL, SIGKILL, PTQ_EIO, "the process that tried to read it was killed (signal 9)"},
        {BY_EXIT, 3, PTQ_EINPUT, "is a damaged HDF5 file: reading it ended by exit 3"},
        {BY_EXIT, 0, PTQ_EINPUT, "is a damaged HDF5 file: reading it ended by exit 0"},
        {NO_MEMORY, 1000, PTQ_EIO, "there is not enough memory to read it: 1000 bytes more were asked for"},
        {MUCH_MEMORY, 0, PTQ_EINPUT, "bytes asked for more memory than they can need"},
        {MUCH_FOUND, 0, PTQ_EINPUT, "bytes asked for more memory than they can need"},
        {NOTHING_FOUND, 0, PTQ_EINPUT, "bytes asked for more memory than they can need"},
        {OTHER_PLACE, 0, PTQ_EINPUT, "is a damaged HDF5 file: reading it ended by exit 0"},
        {OTHER_STATUS, 0, PTQ_EINPUT, "is a damaged HDF5 file: reading it ended by exit 0"},
        {OTHER_STATUS, 99, PTQ_EINPUT, "is a damaged HDF5 file: reading it ended by exit 0"},
        {OTHER_STATUS, PTQ_ENUMERIC, PTQ_ENUMERIC, "what is no status"},
    };
    write_it();
    int descriptor = next_descriptor();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct found *found;
        end = rows[i].end, number = rows[i].number;
        enum ptq_status status = read_with(read_badly, &found);
        assert_refused(rows[i].words, status, &err, rows[i].words);
        assert_int_equal(status, rows[i].status);
        if (rows[i].end != OTHER_STATUS) assert_ptr_equal(strstr(err.text, path), err.text);
    }
    assert_int_equal(next_descriptor(), descriptor);
}

/* In a process of its own with those limits of processor time: 0 where it holds. */
static int holds_with(struct rlimit own, int (*holds)(void))
{
    int how;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CPU, &own);
        _exit(!holds());
    }
    assert_int_equal(__real_waitpid(child, &how, 0), child);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 200 + WTERMSIG(how);
}

static int refuses_by_users_limit(void)
{
    void *out;
    end = FOR_EVER;
    return ptq_h5_read(path, read_badly, NULL, arena, &out, sizeof(struct found), &err) == PTQ_EIO &&
           strstr(err.text, "x.h5: reading it took longer than the limit that you have set, of 1 s of processor time");
}

static int64_t soft, hard; /* what a child has */
static int has_limits(void)
{
    void *out;
    if (ptq_h5_read(path, read_limits, NULL, arena, &out, sizeof(struct found), &err)) return 0;
    const struct found *found = out;
    return found->number == soft && strtoll(found->text, NULL, 10) == hard;
}

/* A second for each MB, and 10; less where the user says so. A child learns of it before it is killed without a word.
 */
static void time_is_limited(void **state)
{
    (void)state;
    enum { MB = 1 << 20 };
    static const struct {
        int64_t mb, own_soft, own_hard, soft; /* own: -1 for none */
    } rows[] = {{0, -1, -1, 10}, {3, -1, -1, 13}, {3, 12, -1, 12}, {3, 12, 12, 11},
                {3, 13, 14, 13}, {3, 99, 99, 13}, {3, 1, 1, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_h5 *file;
        uint8_t *bytes = ptq_new(arena, uint8_t, rows[i].mb * MB + 1);
        assert_int_equal(ptq_h5_create(path, &file, &err), PTQ_OK);
        assert_int_equal(ptq_h5_put_bytes(file, "/", "bytes", bytes, 1, rows[i].mb * MB + 1, &err), PTQ_OK);
        assert_int_equal(ptq_h5_commit(file, &err), PTQ_OK);
        soft = rows[i].soft, hard = soft + (soft > 1);
        struct rlimit own = {(rlim_t)rows[i].own_soft, (rlim_t)rows[i].own_hard};
        if (holds_with(own, has_limits)) fail_msg("row %zu", i);
    }
    write_it();
    assert_int_equal(holds_with((struct rlimit){1, RLIM_INFINITY}, refuses_by_users_limit), 0);
    assert_int_equal(holds_with((struct rlimit){2, 2}, refuses_by_users_limit), 0);
    struct rlimit was, lower = {9, RLIM_INFINITY}; /* in this process, whose branches are counted; it needs 2 s */
    struct found *found;
    __real_getrlimit(RLIMIT_CPU, &was);
    lower.rlim_max = was.rlim_max;
    end = BY_SIGNAL, number = SIGXCPU;
    assert_int_equal(setrlimit(RLIMIT_CPU, &lower), 0);
    assert_refused("9 s", read_with(read_badly, &found), &err, "the limit that you have set, of 9 s");
    assert_int_equal(err.status, PTQ_EIO);
    setrlimit(RLIMIT_CPU, &was);
}

/* The reader is not interrupted, its parent is. */
static void signals_are_the_parents(void **state)
{
    (void)state;
    struct found *found;
    write_it();
    end = BY_SIGNAL;
    for (int i = 0; i < 2; i++) {
        number = i ? SIGTERM : SIGINT;
        assert_refused("it goes on", read_with(read_badly, &found), &err, "more memory than they can need");
    }
}

static void system_calls_that_fail(void **state)
{
    (void)state;
    static const struct {
        enum call call;
        int n, cause;
        const char *words; /* NULL: it is read all the same */
    } rows[] = {
        {CALL_pipe2, 1, EMFILE, "no process can be started that reads it: Too many open files"},
        {CALL_fork, 1, EAGAIN, "no process can be started that reads it: Resource temporarily unavailable"},
        {CALL_mmap, 2, ENOMEM, "x.h5: there is not enough memory to read it"}, /* the first maps the file */
        {CALL_waitpid, 1, EINTR, NULL},
        {CALL_read, 1, EINTR, NULL}, /* here, and the child's own, of its size */
        {CALL_read, 1, EIO, "reading it ended by"},
        {CALL_write, 1, EIO, "reading it ended by exit 1"},
        {CALL_open, 2, EMFILE, NULL}, /* /proc/self/statm: without that limit */
        {CALL_getrlimit, ALL, EINVAL, NULL},
        {CALL_dup2, ALL, EBADF, NULL},
    };
    write_it();
    int descriptor = next_descriptor();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct found *found;
        failing = rows[i].call, fail_at = rows[i].n, cause = rows[i].cause;
        enum ptq_status status = read_with(read_well, &found);
        if (rows[i].words) assert_refused(rows[i].words, status, &err, rows[i].words);
        if (!rows[i].words && (status || found->number != 7)) fail_msg("%zu: %s", i, err.text);
    }
    assert_int_equal(next_descriptor(), descriptor);
}

/* How a file begins is not asked of HDF5, and is the system's to give. */
static void how_it_begins(void **state)
{
    (void)state;
    int bytes;
    write_it();
    assert_true(ptq_h5_begins(path, &bytes, &err) == PTQ_OK && bytes == 8);
    failing = CALL_mmap, fail_at = 1, cause = ENOMEM;
    assert_refused("no map", ptq_h5_begins(path, &bytes, &err), &err, "x.h5: cannot be mapped: Cannot allocate memory");
    assert_int_equal(err.status, PTQ_EIO);
    static const struct {
        const char *text;
        int bytes;
    } rows[] = {{"", 0}, {"\x89HDF", 4}, {"\x89HDX", -1}, {"a text of somebody", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_test_text(folder, "x.h5", rows[i].text);
        assert_true(ptq_h5_begins(path, &bytes, &err) == PTQ_OK && bytes == rows[i].bytes);
    }
    assert_true(ptq_h5_begins(folder, &bytes, &err) == PTQ_OK && bytes == -1);
    const char *round = ptq_join(arena, folder, "round");
    assert_int_equal(symlink("round", round), 0);
    assert_refused("no look", ptq_h5_begins(round, &bytes, &err), &err, "round: cannot be looked for");
}

/* Who starts a program may have closed its streams: then the pipe has their numbers. */
static void streams_are_closed(void **state)
{
    (void)state;
    struct found *found;
    int kept[3];
    write_it();
    fflush(stdout);
    for (int i = 0; i < 3; i++) kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10), close(i);
    enum ptq_status status = read_with(read_well, &found);
    for (int i = 0; i < 3; i++) dup2(kept[i], i), close(kept[i]);
    assert_int_equal(status, PTQ_OK);
    assert_int_equal(found->number, 7);
}

/* Who starts a program may have said that nobody waits for children. */
static void nobody_waits(void **state)
{
    (void)state;
    struct found *found;
    write_it();
    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(read_with(read_well, &found), PTQ_OK);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(found->number, 7);
}

static int set_up_path(void **state)
{
    set_up(state);
    path = ptq_join(arena, folder, "x.h5");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found_comes_back), cmocka_unit_test(what_is_not_ours_is_not_opened),
        cmocka_unit_test(what_hdf5_does_not_know),  cmocka_unit_test(however_it_ends),
        cmocka_unit_test(time_is_limited),          cmocka_unit_test(signals_are_the_parents),
        cmocka_unit_test(system_calls_that_fail),   cmocka_unit_test(how_it_begins),
        cmocka_unit_test(streams_are_closed),       cmocka_unit_test(nobody_waits),
    };
    return cmocka_run_group_tests(tests, set_up_path, tear_down);
}
