/* base/: errors, arenas, threads, random numbers, files, words. */
#include "arena.h"
#include "mapped.h"
#include "pool.h"
#include "progress.h"
#include "rng.h"
#include "said.h"
#include "sha256.h"
#include "status.h"
#include "temporaries.h"
#include "words.h"

#include <fcntl.h>
#include <pthread.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void test_errors_grow(void **state)
{
    (void)state;
    struct ptq_error err;
    assert_int_equal(ptq_fail(&err, PTQ_ENUMERIC, "pivot %d is %g", 17, -0.5), PTQ_ENUMERIC);
    assert_int_equal(ptq_within(&err, "layer %d", 3), PTQ_ENUMERIC);
    assert_string_equal(err.text, "layer 3: pivot 17 is -0.5");
    assert_string_equal(strrchr(err.file, '/') + 1, "test_base.c");
    ptq_fail(&err, PTQ_EINPUT, "name \x1b[31m\n");
    assert_string_equal(err.text, "name ?[31m?"); /* nothing from a file drives the terminal */
    ptq_fail(&err, PTQ_EINPUT, "a\x9b[31m\u200e\u00e9\xc3");
    assert_string_equal(err.text, "a?[31m???\u00e9?");
    char *long_text = malloc(5000);
    memset(long_text, 'x', 4999);
    long_text[4999] = 0;
    ptq_fail(&err, PTQ_EINPUT, "%s", long_text);
    ptq_within(&err, "%s", long_text);
    assert_true(strlen(err.text) < sizeof err.text);
    free(long_text);
}

static void test_arena(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    char *kept = ptq_strdup(arena, "kept");
    struct ptq_mark mark = ptq_arena_mark(arena);
    for (size_t size = 1; size < 4u << 20; size *= 3) {
        unsigned char *p = ptq_alloc(arena, size, "bytes");
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < size; i += 97) assert_int_equal(p[i], 0);
        memset(p, 0xff, size);
    }
    ptq_arena_rewind(arena, mark);
    unsigned char *again = ptq_alloc(arena, 1000, "bytes");
    for (int i = 0; i < 1000; i++) assert_int_equal(again[i], 0); /* zeroed, though it was written before */
    assert_string_equal(kept, "kept");
    assert_string_equal(ptq_format(arena, "%s %d", "a", 7), "a 7");
    ptq_arena_free(arena);
    ptq_arena_free(NULL);
}

struct call {
    int *count, number;
};

static void note_call(void *context)
{
    struct call *c = context;
    *c->count = 10 * *c->count + c->number;
}

/* What was deferred after a mark is called by its rewind, the last first; the rest at the end. */
static void test_deferred(void **state)
{
    (void)state;
    int count = 0;
    struct call calls[] = {{&count, 1}, {&count, 2}, {&count, 3}};
    struct ptq_arena *arena = ptq_arena_make("test");
    ptq_arena_defer(arena, note_call, &calls[0]);
    struct ptq_mark mark = ptq_arena_mark(arena);
    ptq_arena_defer(arena, note_call, &calls[1]);
    ptq_alloc(arena, 1 << 20, "another chunk");
    ptq_arena_defer(arena, note_call, &calls[2]);
    ptq_arena_rewind(arena, mark);
    assert_int_equal(count, 32);
    ptq_arena_rewind(arena, mark);
    assert_int_equal(count, 32);
    ptq_arena_free(arena);
    assert_int_equal(count, 321);
}

/* Memory that cannot be had: one sentence with who, how much and what for; exit 1. */
static void test_out_of_memory(void **state)
{
    (void)state;
    int ends[2], status;
    char said[500] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        struct ptq_arena *arena = ptq_arena_make("block");
        ptq_alloc_array(arena, SIZE_MAX / 4, 8, "codes");
        _exit(0);
    }
    close(ends[1]);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    close(ends[0]);
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_non_null(strstr(said, "block asked for"));
    assert_non_null(strstr(said, "for codes"));
}

static void square(void *context, int64_t i, int worker)
{
    int64_t *out = context;
    assert_true(worker >= 0 && worker < ptq_pool_size());
    out[i] += i * i;
}

static void test_pool(void **state)
{
    (void)state;
    static int64_t out[1000];
    for (int threads = 1; threads <= 5; threads++) {
        ptq_pool_start(threads);
        assert_int_equal(ptq_pool_size(), threads);
        for (int64_t n = 0; n <= 1000; n = 3 * n + 1) {
            memset(out, 0, sizeof out);
            for (int repeat = 0; repeat < 20; repeat++) ptq_parallel_for(n, square, out);
            for (int64_t i = 0; i < 1000; i++) assert_int_equal(out[i], i < n ? 20 * i * i : 0); /* each once a loop */
        }
    }
    ptq_pool_stop();
    assert_int_equal(ptq_pool_size(), 1);
}

enum { LOOPS = 200, TASKS = 64 };

static void mark(void *context, int64_t i, int worker)
{
    int *seen = context;
    (void)worker;
    seen[i]++;
}

/* Every loop's tasks ran once each, and in nobody else's loop. */
static void count_loops(int *wrong)
{
    for (int loop = 0; loop < LOOPS; loop++) {
        int seen[TASKS] = {0};
        ptq_parallel_for(TASKS, mark, seen);
        for (int i = 0; i < TASKS; i++) *wrong += seen[i] != 1;
    }
}

static void *count_apart(void *wrong)
{
    ptq_pool_leave();
    count_loops(wrong);
    return NULL;
}

static void test_pool_left(void **state)
{
    (void)state;
    pthread_t thread;
    int here = 0, there = 0;
    ptq_pool_start(4);
    assert_int_equal(pthread_create(&thread, NULL, count_apart, &there), 0);
    count_loops(&here);
    assert_int_equal(pthread_join(thread, NULL), 0);
    ptq_pool_stop();
    assert_int_equal(here, 0);
    assert_int_equal(there, 0);
}

static void test_rng(void **state)
{
    (void)state;
    struct ptq_rng a = ptq_rng_make(1, "x"), b = ptq_rng_make(1, "x"), c = ptq_rng_make(1, "y"),
                   d = ptq_rng_make(2, "x");
    uint64_t first = ptq_rng_next(&a);
    assert_true(first == ptq_rng_next(&b));
    assert_true(first != ptq_rng_next(&c));
    assert_true(first != ptq_rng_next(&d));
    double sum = 0;
    int seen[7] = {0};
    for (int i = 0; i < 70000; i++) {
        double u = ptq_rng_uniform(&a);
        assert_true(u >= 0 && u < 1);
        sum += u;
        seen[ptq_rng_below(&a, 7)]++;
    }
    assert_true(fabs(sum / 70000 - 0.5) < 0.01);
    for (int i = 0; i < 7; i++) assert_true(abs(seen[i] - 10000) < 500);
    int32_t order[100], there[100] = {0}, moved = 0;
    ptq_rng_permutation(&a, order, 100);
    for (int i = 0; i < 100; i++) there[order[i]]++, moved += order[i] != i;
    for (int i = 0; i < 100; i++) assert_int_equal(there[i], 1);
    assert_true(moved > 50);
}

static void test_sha256(void **state)
{
    (void)state;
    char hex[PTQ_SHA256_HEX];
    ptq_sha256("abc", 3, hex); /* FIPS 180-2, appendix B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(ptq_is_sha256(hex, 64));
    assert_false(ptq_is_sha256(hex, 63) || ptq_is_sha256("BA7816", 6));
    hex[63] = 'D';
    assert_false(ptq_is_sha256(hex, 64));
}

static void test_files(void **state)
{
    (void)state;
    struct ptq_error err;
    struct ptq_arena *arena = ptq_arena_make("test");
    char folder[] = "/tmp/ptq-base-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *path = ptq_join(arena, folder, "a/b/file");
    assert_int_equal(ptq_make_folder(ptq_join(arena, folder, "a/b"), &err), PTQ_OK);
    assert_int_equal(ptq_write_file(path, "hello", 5, &err), PTQ_OK);
    struct ptq_mapped map;
    assert_int_equal(ptq_map(arena, path, &map, &err), PTQ_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    ptq_unmap(&map);
    char *text;
    size_t size;
    assert_int_equal(ptq_read_file(arena, path, 4, &text, &size, &err), PTQ_EINPUT); /* larger than allowed */
    assert_int_equal(ptq_read_file(arena, path, 5, &text, &size, &err), PTQ_OK);
    assert_string_equal(text, "hello");
    assert_int_equal(ptq_map(arena, folder, &map, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "is a folder"));
    assert_int_equal(ptq_map(arena, "/nowhere/x", &map, &err), PTQ_EIO);
    assert_int_equal(ptq_write_file(ptq_join(arena, folder, "none/x"), "y", 1, &err), PTQ_EIO);
    /* What a killed run left is swept; what a living one writes is not. */
    char *dead = temporary_of(arena, path, "4194399"), *alive = temporary_of(arena, path, "1");
    assert_int_equal(ptq_write_file(dead, "", 0, &err), PTQ_OK);
    assert_int_equal(ptq_write_file(alive, "", 0, &err), PTQ_OK);
    ptq_sweep_temporaries(path);
    assert_false(ptq_is_file(dead));
    assert_true(ptq_is_file(alive));
    assert_true(ptq_is_file(path));
    unlink(alive), unlink(path);
    rmdir(ptq_join(arena, folder, "a/b")), rmdir(ptq_join(arena, folder, "a")), rmdir(folder);
    ptq_arena_free(arena);
}

static void test_words(void **state)
{
    (void)state;
    const char *const names[] = {"group_size", "w_bit", "seed"};
    assert_string_equal(ptq_nearest("group-size", names, 3), "group_size");
    assert_string_equal(ptq_nearest("wbits", names, 3), "w_bit");
    assert_null(ptq_nearest("zzzzzz", names, 3));
    int64_t i = 5;
    double d = 5;
    assert_true(ptq_parse_int("-12", -12, 12, &i) && i == -12);
    assert_false(ptq_parse_int("13", -12, 12, &i) || ptq_parse_int("", 0, 9, &i) || ptq_parse_int("1x", 0, 9, &i));
    assert_false(ptq_parse_int("18446744073709551616", 0, INT64_MAX, &i) || ptq_parse_int(" 1", 0, 9, &i));
    assert_true(ptq_parse_double("1e-2", 0, 1, &d) && d == 0.01);
    assert_false(ptq_parse_double("nan", 0, 1, &d) || ptq_parse_double("1e999", 0, 1e300, &d) ||
                 ptq_parse_double("", 0, 1, &d));
    struct ptq_buffer buffer = {0};
    for (int n = 0; n < 500; n++) ptq_buffer_add(&buffer, "%d,", n % 10);
    assert_int_equal(buffer.size, 1000);
    assert_int_equal(strlen(buffer.data), 1000);
    free(buffer.data);
}

/* ---- progress and signals ---- */

static void step(void *progress)
{
    ptq_progress_step(progress, 0);
}

/* Of a stage that lasts, a line after half a minute, and then when twice the time has passed. */
static void test_slow_stage(void **state)
{
    (void)state;
    static const struct {
        double later;
        enum ptq_quiet quiet;
        const char *begin; /* of the one line, whose seconds a busy machine may add to; NULL: none */
    } rows[] = {{1, PTQ_LOUD, NULL},
                {10, PTQ_LOUD, NULL},
                {20, PTQ_QUIET, NULL},
                {0, PTQ_NOTES_ONLY, "stage: 25 % after 3"},
                {0, PTQ_LOUD, NULL},
                {20, PTQ_LOUD, NULL},
                {29, PTQ_LOUD, "stage: 25 % after 8"}};
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_progress progress;
    ptq_progress_begin(&progress, "stage", 4);
    progress.done = 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        progress.started -= rows[i].later;
        if (progress.shown) progress.shown -= rows[i].later;
        ptq_progress_quiet(rows[i].quiet);
        const char *said = said_by(arena, step, &progress), *begin = rows[i].begin ? rows[i].begin : "";
        if (strncmp(said, begin, strlen(begin)) != 0 || !rows[i].begin != !*said) fail_msg("row %zu: '%s'", i, said);
        if (*said) assert_string_equal(said + strlen(said) - 8, " s left\n");
    }
    ptq_progress_quiet(PTQ_LOUD);
    ptq_arena_free(arena);
}

/* Two signals to a process whose standard error is `end`; what it says there is read from `from`. */
static void expect_said_at_signals(int from, int end, const char *wanted)
{
    char text[1000];
    size_t n = 0;
    pid_t child = fork();
    if (child == 0) {
        dup2(end, STDERR_FILENO);
        ptq_catch_signals();
        raise(SIGINT);
        raise(SIGINT);
        _exit(1);
    }
    close(end);
    for (ssize_t got = 1; n < sizeof text - 1 && (got = read(from, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got; /* of a terminal that nobody has any more EIO is the end */
    close(from);
    text[n] = 0;
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 130);
    assert_string_equal(text, wanted);
}

/* Of a child whose name holds what parts the fields. */
static void test_process_seconds(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_NAME, "a) S 1 (b) 9");
        double at_first = ptq_process_seconds(), started = ptq_seconds();
        usleep(60 * 1000);
        double waited = ptq_seconds() - started, counted = ptq_process_seconds() - at_first;
        _exit(at_first > 5 || fabs(counted - waited) > 0.05);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define AT_ONCE "ptq: stopped at once by a second signal; finished files are kept"

static void test_two_signals(void **state)
{
    (void)state;
    int ends[2], terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_int_equal(pipe(ends), 0);
    expect_said_at_signals(ends[0], ends[1], AT_ONCE "\n");
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(end >= 0);
    expect_said_at_signals(terminal, end,
                           "ptq: stopping at the end of this step; again to stop at once\r\n" AT_ONCE "\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_grow),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_deferred),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_left),
        cmocka_unit_test(test_rng),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_slow_stage),
        cmocka_unit_test(test_two_signals),
        cmocka_unit_test(test_process_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
