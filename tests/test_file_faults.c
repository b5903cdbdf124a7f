/* System calls that fail beneath base/mapped.h, one at a time: what is interrupted is taken up again, everything else
 * is one sentence with its cause, and no temporary file stays. The linker puts the functions below before libc's
 * (--wrap, see CMakeLists.txt); tests/test_faults.sh does the same to whole commands from outside. */
#include "mapped.h"

#include "arena.h"
#include "folder_test.h"
#include "progress.h"
#include "temporaries.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* type, what it gives where it fails, name, parameters, words; CMakeLists.txt has the same names. */
#define CALLS(X)                                                                                                       \
    X(int, -1, fstat, (int a, struct stat *b), (a, b))                                                                 \
    X(void *, MAP_FAILED, mmap, (void *a, size_t b, int c, int d, int e, off_t f), (a, b, c, d, e, f))                 \
    X(ssize_t, -1, read, (int a, void *b, size_t c), (a, b, c))                                                        \
    X(ssize_t, -1, write, (int a, const void *b, size_t c), (a, b, c))                                                 \
    X(int, -1, fsync, (int a), (a))                                                                                    \
    X(int, -1, close, (int a), (a))                                                                                    \
    X(int, -1, rename, (const char *a, const char *b), (a, b))                                                         \
    X(int, -1, kill, (pid_t a, int b), (a, b))                                                                         \
    X(DIR *, NULL, opendir, (const char *a), (a))

/* What is closed in vain is closed all the same, as Linux does it. */
#define MADE_IN_VAIN(call) ((call) == CALL_close)
#include "calls.h"

static enum ptq_status map_it(const char *path, struct ptq_error *err)
{
    struct ptq_mapped file;
    PTQ_TRY(ptq_map(arena, path, &file, err));
    assert_int_equal(file.size, 6);
    assert_memory_equal(file.data, "before", 6);
    ptq_unmap(&file);
    return PTQ_OK;
}

static enum ptq_status read_it(const char *path, struct ptq_error *err)
{
    char *text;
    size_t size;
    PTQ_TRY(ptq_read_file(arena, path, 100, &text, &size, err));
    assert_string_equal(text, "before");
    return PTQ_OK;
}

static enum ptq_status write_it(const char *path, struct ptq_error *err)
{
    return ptq_write_file(path, "after", 5, err);
}

static enum ptq_status copy_it(const char *path, struct ptq_error *err)
{
    struct ptq_mapped file;
    write_test_text(folder, "source", "after");
    assert_int_equal(ptq_map(arena, ptq_join(arena, folder, "source"), &file, err), PTQ_OK);
    enum ptq_status status = ptq_write_mapped(path, &file, err);
    ptq_unmap(&file);
    return status;
}

static const struct row {
    const char *name;
    enum ptq_status (*what)(const char *path, struct ptq_error *err);
    enum call call;
    int n, cause;
    const char *refused; /* NULL: it goes on as if nothing had been */
    const char *content; /* of the file afterwards */
} rows[] = {
    {"stat before a map", map_it, CALL_fstat, 1, EIO, "cannot be opened: Input/output error", "before"},
    {"stat before reading", read_it, CALL_fstat, 1, EOVERFLOW, "cannot be opened: Value too large", "before"},
    {"a map", map_it, CALL_mmap, 1, ENOMEM, "cannot be mapped: Cannot allocate memory", "before"},
    {"an interrupted read", read_it, CALL_read, 1, EINTR, NULL, "before"},
    {"an interrupted end of reading", read_it, CALL_read, 2, EINTR, NULL, "before"},
    {"a read", read_it, CALL_read, 1, EIO, "cannot be read: Input/output error", "before"},
    {"an interrupted write", write_it, CALL_write, 1, EINTR, NULL, "after"},
    {"a write", write_it, CALL_write, 1, ENOSPC, "cannot be written: No space left", "before"},
    {"a copy's write", copy_it, CALL_write, 1, ENOSPC, "cannot be written: No space left", "before"},
    {"an interrupted copy", copy_it, CALL_write, 1, EINTR, NULL, "after"},
    {"closing what was written", write_it, CALL_close, 1, EDQUOT, "cannot be written: Disk quota exceeded", "before"},
    {"syncing a file", write_it, CALL_fsync, 1, EIO, "cannot be written: Input/output error", "before"},
    {"a file of a kind that cannot be synced", write_it, CALL_fsync, 1, EINVAL, "cannot be written: Invalid", "before"},
    {"a rename", write_it, CALL_rename, 1, EXDEV, "cannot be written: Invalid cross-device link", "before"},
    {"syncing a folder", write_it, CALL_fsync, 2, EIO, "folder cannot be synced: Input/output error", "after"},
    {"a file system without", write_it, CALL_fsync, 2, EINVAL, NULL, "after"},
    {"another without", write_it, CALL_fsync, 2, ENOTSUP, NULL, "after"},
};

/* What another process took away cannot get its final name. */
static void nothing_to_publish(void **state)
{
    (void)state;
    struct ptq_error err;
    assert_refused("gone", ptq_publish(ptq_join(arena, folder, "gone"), ptq_join(arena, folder, "out"), &err), &err,
                   "out: cannot be written: No such file");
}

static int temporaries(void);

/* What nobody can say anything of, such as a link to itself, is neither nothing nor replaced. */
static void what_cannot_be_looked_at(void **state)
{
    (void)state;
    struct ptq_error err;
    enum ptq_kind kind;
    const char *path = ptq_join(arena, folder, "round");
    assert_int_equal(symlink("round", path), 0);
    assert_refused("a look", ptq_look(path, &kind, &err), &err, "round: cannot be looked for: Too many levels");
    assert_int_equal(err.status, PTQ_EIO);
    assert_false(ptq_is_file(path) || ptq_is_folder(path));
    assert_refused("a file", ptq_write_file(path, "x", 1, &err), &err, "round: cannot be looked for");
    assert_int_equal(temporaries(), 0);
    assert_refused("a folder", ptq_make_folder(path, &err), &err, "round: cannot be looked for");
    assert_int_equal(ptq_look(ptq_join(arena, folder, "none"), &kind, &err) || kind != PTQ_NOTHING, 0);
    write_test_text(folder, "file", "x");
    assert_int_equal(ptq_look(ptq_join(arena, folder, "file/none"), &kind, &err) || kind != PTQ_NOTHING, 0);
}

/* What stands under the name and is no regular file stays what it is. */
static void what_is_not_replaced(void **state)
{
    (void)state;
    struct ptq_error err;
    struct stat info;
    const char *path = ptq_join(arena, folder, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused("a FIFO", ptq_write_file(path, "x", 1, &err), &err, "fifo: is no regular file, and is not replaced");
    assert_true(stat(path, &info) == 0 && S_ISFIFO(info.st_mode));
    assert_int_equal(temporaries(), 0);
    assert_int_equal(ptq_make_folder(ptq_join(arena, folder, "under it"), &err), PTQ_OK);
    assert_refused("a folder", ptq_write_file(ptq_join(arena, folder, "under it"), "x", 1, &err), &err,
                   "cannot be written: Is a directory");
}

static int temporaries(void)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) n += strncmp(entry->d_name, ".tmp", 4) == 0;
    closedir(dir);
    return n;
}

static void calls_that_fail(void **state)
{
    (void)state;
    const char *path = ptq_join(arena, folder, "file");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct ptq_error err;
        struct ptq_mapped file;
        write_test_text(folder, "file", "before");
        failing = row->call, fail_at = row->n, cause = row->cause;
        enum ptq_status status = row->what(path, &err);
        failing = NONE;
        if (fail_at > 0) fail_msg("%s: the call was never made", row->name);
        if (!row->refused && status) fail_msg("%s: %s", row->name, err.text);
        if (row->refused) assert_refused(row->name, status, &err, row->refused);
        if (row->refused && !strstr(err.text, folder)) fail_msg("%s: names no file: %s", row->name, err.text);
        assert_int_equal(ptq_map(arena, path, &file, &err), PTQ_OK);
        if (file.size != strlen(row->content) || memcmp(file.data, row->content, file.size))
            fail_msg("%s: the file is '%.*s'", row->name, (int)file.size, (const char *)file.data);
        ptq_unmap(&file);
        if (temporaries()) fail_msg("%s: a temporary file stays", row->name);
    }
}

/* A copy takes the memory of a piece, however large the file is; and none of a file of no bytes. */
static void a_copy_takes_little_memory(void **state)
{
    (void)state;
    enum { LARGE = 32 << 20, MOST_KIB = 8 << 10 };
    static const off_t size[] = {0, LARGE + 5};
    const char *from = ptq_join(arena, folder, "large"), *to = ptq_join(arena, folder, "copy");
    for (int i = 0; i < 2; i++) {
        struct ptq_error err;
        struct ptq_mapped file, copy;
        struct rusage before, after;
        write_test_text(folder, "large", "");
        assert_int_equal(truncate(from, size[i]), 0);
        assert_int_equal(ptq_map(arena, from, &file, &err), PTQ_OK);
        getrusage(RUSAGE_SELF, &before);
        assert_int_equal(ptq_write_mapped(to, &file, &err), PTQ_OK);
        getrusage(RUSAGE_SELF, &after);
        if (after.ru_maxrss - before.ru_maxrss > MOST_KIB)
            fail_msg("a copy of %zu bytes took %ld KiB", file.size, after.ru_maxrss - before.ru_maxrss);
        assert_int_equal(ptq_map(arena, to, &copy, &err), PTQ_OK);
        assert_true(copy.size == file.size && (!copy.size || memcmp(copy.data, file.data, copy.size) == 0));
        ptq_unmap(&file);
        ptq_unmap(&copy);
    }
}

static void one_thing_by_two_names(void **state)
{
    (void)state;
    const char *a = ptq_join(arena, folder, "a"), *b = ptq_join(arena, folder, "b");
    write_test_text(folder, "a", "x");
    write_test_text(folder, "b", "x");
    assert_true(ptq_is_same(a, ptq_join(arena, folder, "./a")) && ptq_is_same(folder, ptq_join(arena, folder, ".")));
    assert_false(ptq_is_same(a, b) || ptq_is_same("/proc", folder));
    unlink(b);
    assert_false(ptq_is_same(a, b) || ptq_is_same(b, a));
    unlink(a);
}

/* The number of a process that has ended and that nobody has asked how. */
static pid_t zombie(void)
{
    siginfo_t info;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    return child;
}

/* A temporary file goes where its process is gone, or all but gone; one of another file, of a living process, or that
 * only looks like one, stays. */
static void what_is_swept(void **state)
{
    (void)state;
    pid_t ended = zombie();
    const char *path = ptq_join(arena, folder, "out"), *dead = ptq_file_name(temporary_of(arena, path, "999999999"));
    const struct {
        const char *name;
        int stays;
    } files[] = {
        {dead, 0},
        {ptq_file_name(temporary_of(arena, path, ptq_format(arena, "%ld", (long)ended))), 0},
        {ptq_file_name(ptq_temporary_path(arena, path)), 0}, /* our own number: whose we have it from is dead */
        {ptq_file_name(temporary_of(arena, path, "1")), 1},
        {ptq_file_name(temporary_of(arena, path, "12x")), 1},
        {ptq_file_name(temporary_of(arena, path, "")), 1},
        {ptq_file_name(temporary_of(arena, path, "-5")), 1},
        {ptq_file_name(temporary_of(arena, path, "99999999999999")), 1},
        {ptq_file_name(temporary_of(arena, ptq_join(arena, folder, "other"), "999999999")), 1},
        {ptq_file_name(temporary_of(arena, ptq_join(arena, folder, "out.h5"), "999999999")), 1},
        {".tmp.out.0123abcd.999999999", 1}, /* of another machine */
        {".tmp.out.999999999", 1},
        {".tmp.999999999", 1}};
    enum { N = sizeof files / sizeof *files };
    for (int i = 0; i < N; i++) write_test_text(folder, files[i].name, "x");
    ptq_sweep_temporaries(path);
    for (int i = 0; i < N; i++)
        if (ptq_is_file(ptq_join(arena, folder, files[i].name)) != files[i].stays)
            fail_msg("%s %s", files[i].name, files[i].stays ? "is gone" : "is there");
    for (int i = 0; i < N; i++) unlink(ptq_join(arena, folder, files[i].name));
    char name[400];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    ptq_sweep_temporaries(ptq_join(arena, folder, name)); /* no such name can be there */
    failing = CALL_opendir, fail_at = 1, cause = EMFILE;
    ptq_sweep_temporaries(path);
    write_test_text(folder, dead, "x"); /* of a process that is not ours to ask after */
    failing = CALL_kill, fail_at = 1, cause = EPERM;
    ptq_sweep_temporaries(path);
    failing = NONE;
    assert_true(ptq_is_file(ptq_join(arena, folder, dead)));
    ptq_sweep_temporaries(path);
    assert_false(ptq_is_file(ptq_join(arena, folder, dead)));
    waitpid(ended, NULL, 0);
}

/* What somebody else put under a temporary's name is removed as a name: never what a link leads to. */
static void what_is_no_file(void **state)
{
    (void)state;
    struct ptq_error err;
    struct stat info;
    const char *path = ptq_join(arena, folder, "out"), *own = ptq_temporary_path(arena, path);
    write_test_text(folder, "theirs/file", "theirs");
    const char *theirs = ptq_join(arena, folder, "theirs"), *file = ptq_join(arena, theirs, "file");
    for (int kind = 0; kind < 4; kind++) {
        if (kind == 0) assert_int_equal(symlink(theirs, own), 0);
        if (kind == 1) assert_int_equal(symlink(file, own), 0);
        if (kind == 2) assert_int_equal(mkfifo(own, 0600), 0);
        if (kind == 3) write_test_text(folder, ptq_format(arena, "%s/x", ptq_file_name(own)), "of a killed export");
        if (kind == 3) assert_int_equal(symlink(theirs, ptq_join(arena, own, "link")), 0);
        assert_int_equal(ptq_write_file(path, "after", 5, &err), PTQ_OK);
        assert_true(lstat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 5);
        assert_true(lstat(own, &info) != 0);
        assert_true(stat(file, &info) == 0 && info.st_size == 6);
    }
    const char *link = ptq_join(arena, folder, "link");
    assert_int_equal(symlink(theirs, link), 0);
    assert_int_equal(ptq_remove_folder(AT_FDCWD, link, ptq_remove_name, NULL), ENOTDIR);
    assert_refused("a link", ptq_make_own_folder(link, &err), &err, "link: is a link, through which nothing is");
    assert_true(ptq_is_file(file));
    char name[300] = {0};
    memset(name, 'n', sizeof name - 1);
    assert_refused("nobody can say", ptq_check_own_folder(ptq_join(arena, folder, name), &err), &err,
                   "nnn: cannot be looked for: File name too long");
    assert_int_equal(ptq_check_own_folder(ptq_join(arena, file, "x"), &err), PTQ_OK);
    assert_int_equal(ptq_remove_folder(AT_FDCWD, theirs, ptq_remove_name, NULL), 0);
    assert_int_equal(ptq_remove_folder(AT_FDCWD, theirs, ptq_remove_name, NULL), 0); /* it is not there */
    assert_true(stat(theirs, &info) != 0);
    write_test_text(folder, "theirs/under/it", "x");
    assert_int_equal(ptq_remove_folder(AT_FDCWD, theirs, ptq_remove_name, NULL), EISDIR);
}

static void expect_temporary(const char *path, const char *prefix)
{
    const char *name = ptq_temporary_path(arena, path), *behind = name + strlen(prefix);
    if (strncmp(name, prefix, strlen(prefix)) || strspn(behind, "0123456789abcdef") != 8)
        fail_msg("%s is written as %s", path, name);
    assert_string_equal(behind + 8, ptq_format(arena, ".%ld", (long)getpid()));
}

static void folders_that_cannot_be_made(void **state)
{
    (void)state;
    struct ptq_error err;
    char name[4200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_refused("a long name", ptq_make_folder(name, &err), &err, "nnn...;too long");
    write_test_text(folder, "file", "x");
    assert_refused("a file", ptq_make_folder(ptq_join(arena, folder, "file"), &err), &err,
                   "file: exists and is no folder");
    assert_refused("beneath", ptq_make_folder(ptq_join(arena, folder, "file/x"), &err), &err, "file/x: cannot be made");
    assert_int_equal(ptq_make_folder(ptq_join(arena, folder, "a/b"), &err), PTQ_OK);
    assert_true(ptq_is_folder(ptq_join(arena, folder, "a/b")) && !ptq_is_file(ptq_join(arena, folder, "a/b")));
    assert_string_equal(ptq_join(arena, "a", "/b"), "/b");
    expect_temporary("/b", "//.tmp.b.");
    expect_temporary("b", "./.tmp.b.");
}

/* ---- a file that becomes shorter while it is mapped ---- */

static void touch_it(const char *path)
{
    struct ptq_mapped file;
    struct ptq_error err;
    if (ptq_map(arena, path, &file, &err) || truncate(path, 0)) _exit(3);
    _exit(*(const volatile unsigned char *)file.data == 0 ? 4 : 5);
}

/* Nobody's file: no handler has a word to say. */
static void touch_another(const char *path)
{
    int fd = open(path, O_RDONLY);
    const volatile unsigned char *data = mmap(NULL, 6, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED || truncate(path, 0)) _exit(3);
    _exit(*data == 0 ? 4 : 5);
}

static void be_told(const char *path)
{
    struct ptq_mapped file;
    struct ptq_error err;
    if (ptq_map(arena, path, &file, &err)) _exit(3);
    raise(SIGBUS);
    _exit(4);
}

/* How a child ends that does it, and what it says. */
static int end_of(void (*what)(const char *path), const char *path, char said[4096])
{
    int ends[2], end;
    size_t used = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGBUS, SIG_DFL); /* cmocka and sanitizers have handlers of their own */
        dup2(ends[1], STDERR_FILENO);
        ptq_catch_signals();
        what(path);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], said + used, 4095 - used)) > 0;) used += (size_t)got;
    said[used] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &end, 0), child);
    return end;
}

static void a_file_that_becomes_shorter(void **state)
{
    (void)state;
    char said[4096];
    const char *path = ptq_join(arena, folder, "e\033[31m\xc2\x9bx");
    write_test_text(folder, ptq_file_name(path), "before");
    int end = end_of(touch_it, path, said);
    assert_true(WIFEXITED(end) && WEXITSTATUS(end) == 1);
    assert_string_equal(said, ptq_format(arena,
                                         "ptq: %s/e?[31m??x: became shorter or could not be read while it was in use; "
                                         "run the command again once the file is whole\n",
                                         folder));
    void (*others[])(const char *path) = {touch_another, be_told};
    for (int i = 0; i < 2; i++) {
        write_test_text(folder, "file", "before");
        end = end_of(others[i], ptq_join(arena, folder, "file"), said);
        if (!WIFSIGNALED(end) || WTERMSIG(end) != SIGBUS || *said) fail_msg("%d: it ended as %d: %s", i, end, said);
    }
}

/* Whose an address is: known while a file is mapped, of as many files as there are places for. */
static void whose_an_address_is(void **state)
{
    (void)state;
    enum { N = 513 };
    static struct ptq_mapped file[N];
    struct ptq_error err;
    char name[201];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    const char *deep = ptq_format(arena, "%s/%s/%s", name, name, name);
    assert_int_equal(ptq_make_folder(ptq_join(arena, folder, deep), &err), PTQ_OK);
    deep = ptq_join(arena, deep, "end");
    write_test_text(folder, deep, "before");
    const char *path = ptq_join(arena, folder, deep);
    for (int i = 0; i < N; i++) assert_int_equal(ptq_map(arena, path, &file[i], &err), PTQ_OK);
    const unsigned char *first = file[0].data;
    assert_string_equal(ptq_mapped_at(first + 5), path + strlen(path) - 511);
    assert_null(ptq_mapped_at(first + 6));
    assert_null(ptq_mapped_at(NULL));
    assert_null(ptq_mapped_at(file[N - 1].data));
    for (int i = 0; i < N; i++) ptq_unmap(&file[i]);
    assert_null(ptq_mapped_at(first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(calls_that_fail),
                                       cmocka_unit_test(a_copy_takes_little_memory),
                                       cmocka_unit_test(nothing_to_publish),
                                       cmocka_unit_test(what_cannot_be_looked_at),
                                       cmocka_unit_test(what_is_not_replaced),
                                       cmocka_unit_test(one_thing_by_two_names),
                                       cmocka_unit_test(what_is_swept),
                                       cmocka_unit_test(what_is_no_file),
                                       cmocka_unit_test(folders_that_cannot_be_made),
                                       cmocka_unit_test(a_file_that_becomes_shorter),
                                       cmocka_unit_test(whose_an_address_is)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
