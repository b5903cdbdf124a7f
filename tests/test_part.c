/* A cell that is stopped in the middle of a block goes on there, and gives what an uninterrupted run gives: nll and
 * reports bit for bit. Each run is a process of its own; the method is the registry's, wrapped so that a chosen block
 * kills the process half-way through. */
#include "files.h"
#include "h5.h"
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

static enum ptq_status stopping_block(struct ptq_block_task *task, struct ptq_error *err)
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

/* ---- blocks that are forged on their way into the file, by the linker's --wrap (CMakeLists.txt has the names) ---- */

/* name, type of a value, parameters, words without the values, how many there are */
#define AT struct ptq_h5 *h5, const char *at, const char *name
#define PUTS(X)                                                                                                        \
    X(put_ints, int64_t, (AT, const int64_t *v, int64_t n, struct ptq_error *err), (h5, at, name, v, n, err), n)       \
    X(put_reals, double, (AT, const double *v, int64_t n, struct ptq_error *err), (h5, at, name, v, n, err), n)        \
    X(put_floats, float, (AT, const float *v, int64_t n, int64_t m, struct ptq_error *err),                            \
      (h5, at, name, v, n, m, err), n *m)                                                                              \
    X(put_bytes, uint8_t, (AT, const uint8_t *v, int64_t n, int64_t m, struct ptq_error *err),                         \
      (h5, at, name, v, n, m, err), n *m)

static int is_forged(const char *name)
{
    return now.forged.name && strcmp(now.forged.name, name) == 0;
}

#define X(call, type, parameters, words, count)                                                                        \
    enum ptq_status __real_ptq_h5_##call parameters;                                                                   \
    enum ptq_status __wrap_ptq_h5_##call parameters;
PUTS(X)
#undef X

/* Beside numbers: columns 5 and `value` that are kept, or values of them. Beside norm0: another norm. */
static enum ptq_status add_array(struct ptq_h5 *h5, const char *at, const char *beside, int64_t n,
                                 struct ptq_error *err)
{
    const int64_t keep[] = {5, is_forged("keep") ? (int64_t)now.forged.value : 6};
    float *value = ptq_new(arena, float, 2 * n);
    for (int64_t i = 0; i < 2 * n; i++) value[i] = is_forged("keep") ? 1 : (float)now.forged.value;
    if (strcmp(beside, "norm0") == 0) return __real_ptq_h5_put_floats(h5, at, now.forged.name, value, 1, n, err);
    PTQ_TRY(__real_ptq_h5_put_ints(h5, at, "keep", keep, 2, err));
    return __real_ptq_h5_put_floats(h5, at, "kept", value, n, 2, err);
}

#define X(call, type, parameters, words, count)                                                                        \
    enum ptq_status __wrap_ptq_h5_##call parameters                                                                    \
    {                                                                                                                  \
        type *copy = ptq_new(arena, type, (count) + 1);                                                                \
        if ((count) > 0) memcpy(copy, v, sizeof *v *(size_t)(count));                                                  \
        v = copy;                                                                                                      \
        int keeps = is_forged("keep") || is_forged("kept");                                                            \
        if (is_forged(name) && now.forged.place == LEFT_OUT) return PTQ_OK;                                            \
        if (is_forged(name)) copy[now.forged.place] = (type)now.forged.value;                                          \
        if (keeps && strcmp(name, "numbers") == 0) {                                                                   \
            PTQ_TRY(add_array(h5, at, name, (int64_t)copy[0], err));                                                   \
            copy[7] = 2;                                                                                               \
        }                                                                                                              \
        if (!keeps && now.forged.place == ADDED && strcmp(name, "norm0") == 0)                                         \
            PTQ_TRY(add_array(h5, at, name, count, err));                                                              \
        return __real_ptq_h5_##call words;                                                                             \
    }
PUTS(X)
#undef X

enum ptq_status __real_ptq_h5_put_texts(AT, const char *const *v, int64_t n, struct ptq_error *err);
enum ptq_status __wrap_ptq_h5_put_texts(AT, const char *const *v, int64_t n, struct ptq_error *err);
enum ptq_status __wrap_ptq_h5_put_texts(AT, const char *const *v, int64_t n, struct ptq_error *err)
{
    const char **copy = ptq_new(arena, const char *, n);
    memcpy(copy, v, sizeof *v * (size_t)n);
    if (is_forged(name)) copy[now.forged.place] = "another.linear";
    return __real_ptq_h5_put_texts(h5, at, name, copy, n, err);
}

/* ---- one process ---- */

static enum ptq_status run_cell(struct ptq_session *session, struct ptq_arena *where, struct ptq_error *err)
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
static int run(struct attempt attempt)
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

static const char *said(void)
{
    char *text;
    size_t size;
    assert_int_equal(ptq_read_file(arena, ptq_join(arena, folder, "said"), 1 << 16, &text, &size, &error), PTQ_OK);
    return text;
}

static void expect_said(const char *words)
{
    if (!strstr(said(), words)) fail_msg("'%s' is not in '%s'", words, said());
}

static struct ptq_cell *result(void)
{
    struct ptq_cell *cell;
    int n;
    if (ptq_results_read(arena, file, &cell, &n, &error)) fail_msg("%s", error.text);
    assert_int_equal(n, 1);
    return cell;
}

static void expect_same(const struct ptq_cell *a, const struct ptq_cell *b)
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
static const char *part_of(const struct ptq_cell *cell)
{
    return ptq_results_part(arena, file, cell->id);
}

static void forget_result(void)
{
    assert_int_equal(ptq_results_remove(file, &error), PTQ_OK);
}

/* An uninterrupted run's result; nothing of its part is left. */
static struct ptq_cell *straight(struct attempt a)
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

static int setup(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    make_test_folder(folder);
    file = ptq_join(arena, folder, "r.h5");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_test_folder(folder);
    ptq_arena_free(arena);
    return 0;
}

/* ---- tests ---- */

/* Every block method, on every kind of block, killed in the middle of the second block. */
static void test_killed(void **state)
{
    (void)state;
    static const char *const specs[] = {"gptq:w3,g32", "gptq:w3,g32,act_order=1,true_sequential=1", "awq:w3,g32",
                                        "awq:w3,g32,clip=0"};
    static const char *const models[] = {MODELS "llama", MODELS "opt", MODELS "llama-gqa/model.gguf", MODELS "gpt2"};
    for (int m = 0; m < 4; m++)
        for (int s = 0; s < 4; s++)
            for (int threads = 1; threads <= 2; threads++) {
                struct attempt a = {.model = models[m], .spec = specs[s], .threads = threads, .chunks = threads};
                struct ptq_cell *want = straight(a);
                a.stop_at = 1;
                a.signal = SIGKILL;
                assert_int_equal(run(a), 200 + SIGKILL);
                assert_true(ptq_is_folder(part_of(want)));
                a.stop_at = -1;
                a.threads = 3 - threads; /* of no account */
                assert_int_equal(run(a), BLOCKS - 1);
                expect_said(": resumed at block 2 of 2\n");
                expect_same(want, result());
                assert_false(ptq_is_folder(part_of(want)));
                forget_result();
            }
}

/* No block method that is plugged in is left out above. */
static void test_all_methods(void **state)
{
    (void)state;
    for (int i = 0; i < ptq_n_methods; i++) {
        struct ptq_spec spec;
        assert_int_equal(ptq_spec_parse(ptq_methods[i]->name, &spec, &error), PTQ_OK);
        if (!ptq_methods[i]->block_method || !(ptq_spec_need(&spec) & PTQ_NEED_WINDOWS)) continue;
        struct attempt a = {.model = MODELS "llama", .spec = ptq_methods[i]->name};
        struct ptq_cell *want = straight(a);
        a.stop_at = 1;
        a.signal = SIGKILL;
        assert_int_equal(run(a), 200 + SIGKILL);
        a.stop_at = -1;
        assert_int_equal(run(a), BLOCKS - 1);
        expect_same(want, result());
        forget_result();
    }
}

/* Ctrl-C while the second block is under way: what is finished goes to disk, however long the pause is. */
static void test_interrupted(void **state)
{
    (void)state;
    static const char *const specs[] = {"gptq:w3,g32", "gptq:w3,g32,true_sequential=1", "awq:w3,g32"};
    for (int s = 0; s < 3; s++) {
        struct attempt a = {.model = MODELS "llama", .spec = specs[s], .pause = "3600"};
        struct ptq_cell *want = straight(a);
        a.signal = SIGINT;
        a.stop_at = 0;
        assert_int_equal(run(a), 100 + PTQ_EINTERRUPT);
        assert_false(ptq_is_folder(part_of(want))); /* nothing is finished, so nothing is made */
        a.stop_at = 1;
        assert_int_equal(run(a), 100 + PTQ_EINTERRUPT);
        a.stop_at = -1;
        assert_int_equal(run(a), BLOCKS - 1);
        expect_same(want, result());
        forget_result();
        a.stop_at = a.late = 1;
        assert_int_equal(run(a), 100 + PTQ_EINTERRUPT);
        /* Where x has left the last block's input it is no block's input; gptq in one-shot order leaves it there. */
        int moved = s > 0;
        assert_int_equal(ptq_is_file(ptq_join(arena, part_of(want), "next.x")), !moved);
        a.stop_at = -1;
        assert_int_equal(run(a), moved ? BLOCKS : BLOCKS - 1);
        expect_same(want, result());
        forget_result();
    }
}

/* Killed before the pause is over: no next.x, so it starts at its first block, without a word. */
static void test_pause(void **state)
{
    (void)state;
    struct attempt a = {.model = MODELS "opt", .spec = "gptq:w3,g32", .pause = "3600", .signal = SIGKILL};
    struct ptq_cell *want = straight(a);
    a.stop_at = 1;
    assert_int_equal(run(a), 200 + SIGKILL);
    assert_true(ptq_is_file(ptq_join(arena, part_of(want), "block-0000.h5")));
    assert_false(ptq_is_file(ptq_join(arena, part_of(want), "next.x")));
    a.stop_at = -1;
    assert_int_equal(run(a), BLOCKS);
    expect_same(want, result());
    static const char *const bad[] = {"-1", "soon", "nan", "1x"};
    for (int i = 0; i < 4; i++) {
        a.pause = bad[i];
        assert_int_equal(run(a), 100 + PTQ_EUSAGE);
    }
}

/* What a part may have become. */
static void spoil(const char *path, int how)
{
    char *data;
    size_t size;
    assert_int_equal(ptq_read_file(arena, path, 1 << 26, &data, &size, &error), PTQ_OK);
    if (how == 'f') data[size / 2] ^= 1;
    if (how == 'h') data[20] ^= 1;
    if (how == 's') { /* the head's seconds, and the hash anew */
        const double no_number = NAN;
        char digest[PTQ_SHA256_HEX];
        memcpy(data + 112, &no_number, sizeof no_number);
        ptq_sha256(data, size - PTQ_SHA256_HEX + 1, digest);
        memcpy(data + size - PTQ_SHA256_HEX + 1, digest, PTQ_SHA256_HEX - 1);
    }
    if (how == 't') size -= 100;
    if (how == '0') size = 0;
    if (how == 'u')
        unlink(path);
    else
        assert_int_equal(ptq_write_file(path, data, size, &error), PTQ_OK);
}

static void test_damaged(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int how, computed;
        const char *said;
    } table[] = {
        {"next.x", 't', BLOCKS, "is damaged (SHA-256)"},
        {"next.x", 'f', BLOCKS, "is damaged (SHA-256)"},
        {"next.x", 'h', BLOCKS, "is damaged (SHA-256)"},
        {"next.x", '0', BLOCKS, "next.x: is cut short"},
        {"next.x", 's', BLOCKS, "next.x: says that it took no time that can be"},
        {"next.x", 'u', BLOCKS, ""},
        {"block-0000.h5", 'f', BLOCKS, "block-0000.h5: is damaged"},
        {"block-0000.h5", 't', BLOCKS, "not as ptq wrote it"},
        {"block-0000.h5", '0', BLOCKS, "is empty"},
        {"block-0000.h5", 'u', BLOCKS, "block-0000.h5"},
        {"block-0001.h5", 'u', BLOCKS - 1, "resumed at block 2 of 2"},
    };
    struct attempt a = {.model = MODELS "llama", .spec = "gptq:w3,g32", .signal = SIGKILL};
    struct ptq_cell *want = straight(a);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        a.stop_at = 1;
        assert_int_equal(run(a), 200 + SIGKILL);
        const char *path = ptq_join(arena, part_of(want), table[i].name);
        if (ptq_is_file(path)) spoil(path, table[i].how);
        a.stop_at = -1;
        assert_int_equal(run(a), table[i].computed);
        expect_said(table[i].said);
        expect_same(want, result());
        forget_result();
    }
}

/* Who forges a block renews its seal. Each value in turn out of its range: computed again, like what is damaged. */
static void test_forged(void **state)
{
    (void)state;
    enum { N_NUMBERS = 7 }; /* without the last, n_keep */
    static const char llama[] = MODELS "llama", opt[] = MODELS "opt", gpt2[] = MODELS "gpt2";
    static const char gptq[] = "gptq:w3,g32,act_order=1", awq[] = "awq:w3,g32";
    static const struct {
        const char *model, *spec;
        struct forgery forged;
        const char *said; /* NULL: NAME: value PLACE is */
    } table[] = {
        {llama, gptq, {"code", 7, 8}, NULL},
        {llama, gptq, {"code", 7, 255}, NULL},
        {llama, gptq, {"scale", 1, NAN}, NULL},
        {llama, gptq, {"scale", 1, INFINITY}, NULL},
        {llama, gptq, {"scale", 0, 0}, NULL},
        {llama, gptq, {"scale", 0, -1}, NULL},
        {llama, gptq, {"scale", LEFT_OUT, 0}, "an array of /0 is missing"},
        {llama, gptq, {"zero", 1, NAN}, NULL},
        {llama, gptq, {"zero", 1, -1}, NULL},
        {llama, gptq, {"zero", 1, 0.5}, NULL},
        {llama, gptq, {"zero", 1, 1e9}, NULL},
        {llama, gptq, {"perm", 0, -1}, NULL},
        {llama, gptq, {"perm", 3, 100000000}, NULL},
        {llama, gptq, {"perm", 3, 0x1p32 + 3}, NULL},
        {llama, gptq, {"perm", 3, 0x1p62}, NULL},
        {llama, gptq, {"perm", 3, 64}, NULL},
        {llama, gptq, {"perm", 0, 0}, "/perm: value "}, /* twice */
        {llama, gptq, {"keep", ADDED, 5}, "/keep: value 1 is 5"},
        {llama, gptq, {"keep", ADDED, 4}, "/keep: value 1 is 4"},
        {llama, gptq, {"keep", ADDED, -1}, "/keep: value 1 is -1"},
        {llama, gptq, {"keep", ADDED, 64}, "/keep: value 1 is 64"},
        {llama, gptq, {"kept", ADDED, NAN}, "/kept: value 0 is nan"},
        {llama, gptq, {"kept", ADDED, 1.0001}, "/kept: value 0 is 1.0001"},
        {llama, gptq, {"numbers", 3, 0}, NULL}, /* groups of none */
        {llama, gptq, {"numbers", 7, -1}, NULL},
        {llama, gptq, {"numbers", 7, 65}, NULL},
        {llama, gptq, {"numbers", 7, 64}, "an array of /0 is missing"},
        {llama, gptq, {"norm0", 9, INFINITY}, NULL},
        {llama, gptq, {"norm2", 0, NAN}, NULL},
        {opt, gptq, {"norm1", 0, NAN}, NULL},
        {opt, gptq, {"norm3", 0, NAN}, NULL},
        {opt, gptq, {"bias", 2, NAN}, NULL},
        {gpt2, awq, {"activation_scale", 0, 0}, NULL},
        {gpt2, awq, {"activation_scale", 5, NAN}, NULL},
        {llama, gptq, {"name", 1, 0}, "/reports: number 1 is not of model.layers.0."},
    };
    static const double numbers[] = {-1, 0x1p62};
    struct attempt a = {.signal = SIGKILL};
    struct ptq_cell *want = NULL;
    const size_t n = sizeof table / sizeof *table, n_bad = sizeof numbers / sizeof *numbers;
    for (size_t i = 0; i < n + N_NUMBERS * n_bad; i++) {
        const size_t at = i < n ? i : 0, number = (i - n) / n_bad;
        if (!want || a.model != table[at].model || a.spec != table[at].spec) {
            a.model = table[at].model;
            a.spec = table[at].spec;
            want = straight(a);
        }
        struct attempt forging = a;
        forging.stop_at = 1;
        forging.forged = i < n ? table[i].forged : (struct forgery){"numbers", (int)number, numbers[(i - n) % n_bad]};
        assert_int_equal(run(forging), 200 + SIGKILL);
        a.stop_at = -1;
        const char *words = ptq_format(arena, "/%s: value %d is", forging.forged.name, forging.forged.place);
        int computed = run(a);
        if (computed != BLOCKS) fail_msg("%s, %g: %d", words, forging.forged.value, computed);
        expect_said("starts at its first block, since what is kept of it cannot be used: ");
        expect_said(i < n && table[i].said ? table[i].said : words);
        expect_same(want, result());
        forget_result();
    }
}

/* What only the model's own block shows: a sentence. */
static void test_another_models(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        struct forgery forged;
    } table[] = {{MODELS "opt", {"bias", LEFT_OUT, 0}},
                 {MODELS "opt", {"norm1", LEFT_OUT, 0}},
                 {MODELS "llama", {"norm1", ADDED, 1}},
                 {MODELS "llama", {"norm0", LEFT_OUT, 0}}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct attempt a = {.model = table[i].model, .spec = "gptq:w3,g32", .signal = SIGKILL, .stop_at = 1};
        struct ptq_cell *want = straight(a);
        a.forged = table[i].forged;
        assert_int_equal(run(a), 200 + SIGKILL);
        a.forged.name = NULL;
        a.stop_at = -1;
        assert_int_equal(run(a), 100 + PTQ_EINPUT);
        remove_test_folder(part_of(want));
    }
}

/* Another build's part, and another cell's under this one's name, are not gone on from. */
static void test_foreign(void **state)
{
    (void)state;
    struct attempt a = {.model = MODELS "llama", .spec = "gptq:w3,g32", .signal = SIGKILL, .stop_at = 1};
    struct attempt other = a;
    struct ptq_cell *want = straight(a), *wrong;
    a.version = "0.0.9";
    assert_int_equal(run(a), 200 + SIGKILL);
    a.version = NULL;
    a.stop_at = -1;
    assert_int_equal(run(a), BLOCKS);
    expect_said("starts at its first block, since what is kept of it cannot be used: ");
    expect_said("next.x: is another cell's, or was made by another build or other kernels");
    expect_same(want, result());
    forget_result();
    other.spec = "gptq:w4,g32";
    wrong = straight(other);
    assert_int_equal(run(other), 200 + SIGKILL);
    assert_int_equal(rename(part_of(wrong), part_of(want)), 0);
    assert_int_equal(run(a), BLOCKS);
    expect_said("is another cell's");
    expect_same(want, result());
}

/* Stopped behind the last block, in the evaluation: no block is computed again. */
static void test_all_blocks_done(void **state)
{
    (void)state;
    struct attempt a = {.model = MODELS "llama", .spec = "awq:w3,g32", .chunks = 2, .pause = "3600", .signal = SIGKILL};
    struct ptq_cell *want = straight(a);
    /* The result cannot be put where its name is a folder's, which is the nearest that a test gets to dying there. */
    const char *name = ptq_format(arena, "%s.cells/%s.h5", file, want->id);
    assert_int_equal(ptq_make_folder(ptq_format(arena, "%s/in the way", name), &error), PTQ_OK);
    a.stop_at = -1;
    assert_int_equal(run(a), 100 + PTQ_EIO);
    remove_test_folder(name);
    assert_int_equal(run(a), 0);
    expect_said(": resumed behind its last block, number 2\n");
    expect_same(want, result());
}

/* The disk does not take a part: one line, and the run goes on. */
static void test_disk(void **state)
{
    (void)state;
    struct attempt a = {.model = MODELS "llama", .spec = "gptq:w3,g32"};
    struct ptq_cell *want = straight(a);
    assert_int_equal(ptq_make_folder(ptq_format(arena, "%s/next.x/in the way", part_of(want)), &error), PTQ_OK);
    a.stop_at = -1;
    assert_int_equal(run(a), BLOCKS);
    expect_said("goes on, but were it killed it could not be resumed from here on: ");
    expect_same(want, result());
    remove_test_folder(part_of(want));
}

/* Parts are no cells; --fresh removes all of them, joining only those of cells that are finished. */
static void test_results(void **state)
{
    (void)state;
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    struct attempt a = {.model = MODELS "llama", .spec = "gptq:w3,g32", .signal = SIGKILL};
    struct attempt other = {.model = MODELS "llama", .spec = "gptq:w4,g32", .signal = SIGKILL, .stop_at = 1};
    struct ptq_cell *want = straight(a), *unfinished = straight(other);
    a.stop_at = 1;
    assert_int_equal(run(a), 200 + SIGKILL);
    assert_int_equal(run(other), 200 + SIGKILL);
    assert_int_equal(ptq_results_ids(arena, file, &ids, &n, &error), PTQ_OK);
    assert_int_equal(n, 0);
    a.stop_at = -1;
    assert_int_equal(run(a), BLOCKS - 1);
    /* A kill between the cell and its part. */
    assert_int_equal(ptq_make_folder(part_of(want), &error), PTQ_OK);
    write_test_text(part_of(want), "next.x", "left over");
    assert_true(ptq_is_folder(part_of(unfinished)));
    assert_int_equal(ptq_results_merge(file, "eval", "", (const char(*)[PTQ_SHA256_HEX])want->id, 1, &error), PTQ_OK);
    assert_false(ptq_is_folder(part_of(want)));
    assert_true(ptq_is_folder(part_of(unfinished)));
    expect_same(want, result());
    assert_int_equal(ptq_results_remove(file, &error), PTQ_OK);
    assert_false(ptq_is_folder(ptq_format(arena, "%s.cells", file)));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_killed),  TEST(test_all_methods),     TEST(test_interrupted),    TEST(test_pause),
        TEST(test_damaged), TEST(test_forged),          TEST(test_another_models), TEST(test_foreign),
        TEST(test_disk),    TEST(test_all_blocks_done), TEST(test_results),
    };
    setenv("PTQ_CACHE", "/nonexistent", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
