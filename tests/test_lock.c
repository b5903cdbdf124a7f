/* One writer at a time, whatever the others do and however they end. */
#include "mapped.h"
#include "progress.h"
#include "results.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static struct ptq_arena *arena;
static struct ptq_error err;
static char folder[] = "/tmp/ptq-lock-XXXXXX";
static const char *file;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

static const char *beside(const char *suffix)
{
    return ptq_format(arena, "%s%s", file, suffix);
}

/* For child processes, whose exit status is their verdict. */
static void need(int holds, int code)
{
    if (!holds) _exit(code);
}

static void hold_lock_and_die(void)
{
    struct ptq_lock lock;
    need(ptq_results_lock(file, &lock, &err) == PTQ_OK, 1);
    raise(SIGKILL);
}

static void test_lock(void **state)
{
    (void)state;
    struct ptq_lock first, second;
    OK(ptq_results_lock(file, &first, &err));
    assert_int_equal(ptq_results_lock(file, &second, &err), PTQ_EIO);
    assert_non_null(strstr(err.text, ptq_format(arena, "process %ld, is writing", (long)getpid())));
    ptq_results_unlock(&first);
    assert_false(ptq_is_file(beside(".lock")));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) hold_lock_and_die();
    waitpid(child, NULL, 0);
    assert_true(ptq_is_file(beside(".lock"))); /* what a killed run leaves does not stop the next */
    OK(ptq_results_lock(file, &first, &err));
    ptq_results_unlock(&first);
    assert_false(ptq_is_file(beside(".lock")));
}

/* A child of this child holds the lock after it for so long. */
static void outlive(struct ptq_lock *lock, int ms)
{
    ptq_results_share_lock(lock);
    need(!(fcntl(lock->fd, F_GETFD) & FD_CLOEXEC), 2);
    if (fork()) raise(SIGKILL);
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
    _exit(0);
}

/* Of a killed run: the next one waits for what it started, and that a zombie has its number does not make it a live
 * one. */
static void test_lock_outlives_its_holder(void **state)
{
    (void)state;
    struct ptq_lock lock;
    siginfo_t info;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        need(ptq_results_lock(file, &lock, &err) == PTQ_OK, 1);
        outlive(&lock, 400);
    }
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_code, CLD_KILLED);
    double started = ptq_seconds();
    OK(ptq_results_lock(file, &lock, &err));
    assert_true(ptq_seconds() - started > 0.2);
    ptq_results_unlock(&lock);
    waitpid(child, NULL, 0);
}

static void hold(const char *holder)
{
    int fd = open(beside(".lock"), O_RDWR | O_CREAT, 0600);
    need(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && write(fd, holder, strlen(holder)) > 0, 1);
    pause();
}

/* A process of another machine cannot be seen: its number means nothing here, and nobody waits a minute for it. */
static void test_lock_of_another_machine(void **state)
{
    (void)state;
    struct ptq_lock lock;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) hold("2000000000 made-up.example\n");
    struct stat written = {0};
    for (int i = 0; i < 500 && !written.st_size; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000L}, NULL);
        stat(beside(".lock"), &written);
    }
    double started = ptq_seconds();
    enum ptq_status status = ptq_results_lock(file, &lock, &err);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(status, PTQ_EIO);
    assert_non_null(strstr(err.text, "process 2000000000, is writing"));
    assert_true(ptq_seconds() - started < 0.9);
    remove(beside(".lock"));
}

static void take_and_give(void)
{
    for (int i = 0; i < 300; i++) {
        struct ptq_lock lock;
        enum ptq_status status = ptq_results_lock(file, &lock, &err);
        if (status) continue;
        int mine = open(beside(".held"), O_CREAT | O_EXCL | O_WRONLY, 0600);
        need(mine >= 0, 3); /* two hold the lock */
        close(mine);
        unlink(beside(".held"));
        ptq_results_unlock(&lock);
    }
}

static void test_lock_race(void **state)
{
    (void)state;
    fflush(stdout);
    pid_t child[3];
    for (int i = 0; i < 3; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            take_and_give();
            _exit(0);
        }
    }
    for (int i = 0; i < 3; i++) {
        int status;
        waitpid(child[i], &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* The name of a lock that can be opened cannot be looked at; the linker puts this before the system's (--wrap, see
 * CMakeLists.txt). */
static int looks_fail;
int __real_stat(const char *path, struct stat *out);
int __wrap_stat(const char *path, struct stat *out);
int __wrap_stat(const char *path, struct stat *out)
{
    if (!looks_fail || strcmp(path, beside(".lock")) != 0) return __real_stat(path, out);
    errno = EIO;
    return -1;
}

static void need_interrupt(void)
{
    struct ptq_lock lock;
    ptq_catch_signals();
    raise(SIGTERM);
    need(ptq_results_lock(file, &lock, &err) == PTQ_EINTERRUPT, 1);
    _exit(0);
}

/* Nobody tries for ever, or without a pause, or deaf to signals. */
static void test_lock_that_cannot_be_looked_at(void **state)
{
    (void)state;
    struct ptq_lock lock;
    int status;
    looks_fail = 1;
    ptq_results_patience_ms = 500;
    alarm(20);
    clock_t before = clock();
    double started = ptq_seconds();
    assert_int_equal(ptq_results_lock(file, &lock, &err), PTQ_EIO);
    assert_non_null(strstr(err.text, "r.h5.lock: what was opened is never what has this name;"));
    assert_true(ptq_seconds() - started >= 0.5);
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 0.25);
    ptq_results_patience_ms = 60000;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) need_interrupt();
    assert_int_equal(waitpid(child, &status, 0), child);
    alarm(0);
    looks_fail = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    OK(ptq_results_lock(file, &lock, &err));
    ptq_results_unlock(&lock);
}

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    if (!mkdtemp(folder)) return -1;
    file = ptq_format(arena, "%s/r.h5", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lock), cmocka_unit_test(test_lock_outlives_its_holder),
                                       cmocka_unit_test(test_lock_of_another_machine), cmocka_unit_test(test_lock_race),
                                       cmocka_unit_test(test_lock_that_cannot_be_looked_at)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
