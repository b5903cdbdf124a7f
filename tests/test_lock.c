/* One writer at a time, whatever the others do and however they end. */
#include "mapped.h"
#include "results.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lock), cmocka_unit_test(test_lock_race)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
