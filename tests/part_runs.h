/* Cells that are stopped in the middle of a block, each in a process of its own: the method is the registry's, wrapped
 * so that a chosen block kills the process half-way through. */
#ifndef PTQ_TESTS_PART_RUNS_H
#define PTQ_TESTS_PART_RUNS_H

#include "files.h"
#include "mapped.h"
#include "part.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "provenance.h"
#include "session.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

#define MODELS PTQ_FIXTURES "/models/"

enum { WINDOW = 32, BLOCKS = 2, LEFT_OUT = -1, ADDED = -2 };

/* One value of a block's file in place of the one that is written. */
struct forgery {
    const char *name; /* NULL: none */
    int place;        /* LEFT_OUT: it is not written; ADDED: an array that the block has not got */
    double value;
};

/* One process: what it computes, and where it ends. */
struct attempt {
    const char *model, *spec;
    int threads, chunks; /* 2 chunks: the evaluation's windows do not fit at once */
    int stop_at;         /* the block in whose middle it ends, -1: none */
    int signal;          /* SIGKILL: dies there; SIGINT: is asked to stop there, by a user */
    int late;            /* 1: it notices SIGINT when x has left the block's input */
    const char *pause;   /* PTQ_CHECKPOINT_SECONDS */
    const char *version; /* another build's; NULL: this one's */
    struct forgery forged;
};

static char folder[64];
static struct ptq_arena *arena;
static struct ptq_error error;
static const char *file;

/* ---- the method that stops ---- */

static struct attempt now;
static const struct ptq_method *wrapped;
static int n_computed;

static inline enum ptq_status stopping_block(struct ptq_block_task *task, struct ptq_error *err)
{
    n_computed++;
    if (task->index != now.stop_at) return wrapped->block_method(task, err);
    if (now.signal == SIGKILL) {
        memset(task->calib->x, 0, sizeof(float) * 1000); /* half-way, x is neither here nor there */
        raise(SIGKILL);
    }
    if (now.late) PTQ_TRY(wrapped->block_method(task, err));
    raise(now.signal);
    return now.late ? ptq_interrupted(err) : wrapped->block_method(task, err);
}

/* ---- one process ---- */

static inline enum ptq_status run_cell(struct ptq_session *session, struct ptq_arena *where, struct ptq_error *err)
{
    struct ptq_job job = {.model = now.model,
                          .spec = now.spec,
                          .text = MODELS "text.txt",
                          .calib = MODELS "calib.txt",
                          .window = WINDOW,
                          .calib_window = WINDOW,
                          .calib_windows = 8,
                          .max_windows = 8,
                          .bos = PTQ_BOS_NONE};
    struct ptq_cell cell;
    struct ptq_planned plan;
    struct ptq_model_stats stats;
    PTQ_TRY(ptq_cell_plan(session, &job, where, &cell, err));
    PTQ_TRY(ptq_session_plan(session, &job, &plan, err));
    const struct ptq_model *model = &plan.model->model;
    PTQ_TRY(ptq_stats_gather(where, model, &plan.calib->windows, 1, &stats, err));
    ptq_provenance(where, &cell);
    if (now.version) cell.version = now.version;
    cell.part = ptq_results_part(where, file, cell.id);
    if (now.chunks == 2) ptq_chunk_bytes = 4 * WINDOW * 4 * model->config.width;
    wrapped = plan.spec.method;
    struct ptq_method stopping = *wrapped;
    stopping.block_method = stopping_block;
    plan.spec.method = &stopping;
    PTQ_TRY(ptq_evaluate(model, &plan.spec, 0, &stats, &plan.calib->windows, &plan.eval->windows, where, &cell, err));
    return ptq_results_put(file, &cell, err);
}

/* How many blocks were computed, or 100 + the status, or 200 + the signal that ended it. */
static inline int run(struct attempt attempt)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct ptq_error err;
        now = attempt;
        setenv("PTQ_CHECKPOINT_SECONDS", attempt.pause ? attempt.pause : "0", 1);
        ptq_catch_signals();
        ptq_pool_start(attempt.threads ? attempt.threads : 1);
        if (!freopen(ptq_join(arena, folder, "said"), "w", stderr)) _exit(99);
        struct ptq_session *session = ptq_session_make();
        enum ptq_status status = run_cell(session, arena, &err);
        fclose(stderr);
        _exit(status ? 100 + (int)status : n_computed);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    return WIFSIGNALED(how) ? 200 + WTERMSIG(how) : WEXITSTATUS(how);
}

/* ---- what is there afterwards ---- */

static inline const char *said(void)
{
    char *text;
    size_t size;
    assert_int_equal(ptq_read_file(arena, ptq_join(arena, folder, "said"), 1 << 16, &text, &size, &error), PTQ_OK);
    return text;
}

static inline void expect_said(const char *words)
{
    if (!strstr(said(), words)) fail_msg("'%s' is not in '%s'", words, said());
}

static inline struct ptq_cell *result(void)
{
    struct ptq_cell *cell;
    int n;
    if (ptq_results_read(arena, file, &cell, &n, &error)) fail_msg("%s", error.text);
    assert_int_equal(n, 1);
    return cell;
}

static inline void expect_same(const struct ptq_cell *a, const struct ptq_cell *b)
{
    assert_int_equal(a->tokens, b->tokens);
    if (memcmp(a->nll, b->nll, sizeof *a->nll * (size_t)a->tokens)) fail_msg("%s: another nll", a->spec);
    assert_int_equal(a->n_linears, b->n_linears);
    for (int i = 0; i < a->n_linears; i++) {
        assert_string_equal(a->linear[i].name, b->linear[i].name);
#define X(kind, field, ...) assert_memory_equal(&a->linear[i].field, &b->linear[i].field, sizeof a->linear[i].field);
        PTQ_LINEAR_FIELDS(X)
#undef X
    }
    assert_true(a->ppl == b->ppl && a->effective_bits == b->effective_bits);
    assert_int_equal(a->saturated_groups, b->saturated_groups);
}

/* The cell's part: where it is, or was. */
static inline const char *part_of(const struct ptq_cell *cell)
{
    return ptq_results_part(arena, file, cell->id);
}

static inline void forget_result(void)
{
    remove_test_results(file);
}

/* An uninterrupted run's result; nothing of its part is left. */
static inline struct ptq_cell *straight(struct attempt a)
{
    a.stop_at = -1;
    assert_int_equal(run(a), BLOCKS);
    struct ptq_cell *cell = result();
    assert_false(ptq_is_folder(part_of(cell)));
    assert_string_equal(said() + strlen(said()) - 2, "s\n"); /* the stage's line, and before it no note */
    assert_null(strstr(said(), "resumed"));
    forget_result();
    return cell;
}

static inline int setup(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    make_test_folder(folder);
    file = ptq_join(arena, folder, "r.h5");
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    remove_test_folder(folder);
    ptq_arena_free(arena);
    return 0;
}

#endif
