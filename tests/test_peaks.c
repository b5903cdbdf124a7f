/* Peaks of memory by stage: what a stage holds is in its own peak and in the whole, and in no other's. The weights are
 * held by functions that the linker puts before those of the pipeline (--wrap, CMakeLists.txt has the names), and one
 * is held by the sink, which a block is handed to while it is quantised. */
#include "compare.h"
#include "golden.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODELS PTQ_FIXTURES "/models/"
#define NO_CACHE "/dev/null" /* where nobody makes a folder, not even root */

enum place { LOAD, CALIBRATE, QUANTIZE, EVALUATE, N_STAGES, REFERENCE = N_STAGES, N_PLACES };
static const char *const place_name[] = {"load", "calibrate", "quantise", "evaluate", "reference"};
enum { ALL = (1 << N_STAGES) - 1 };
enum { WEIGHT = 64 << 20, MOST_OTHERS = WEIGHT / 2 };

static enum place heavy;

/* Held for a moment by whoever does the work of `place`. */
static void weigh(enum place place)
{
    if (place != heavy) return;
    struct ptq_arena *weight = ptq_arena_make("a weight");
    memset(ptq_alloc(weight, WEIGHT, "a weight"), 1, WEIGHT);
    ptq_arena_free(weight);
}

/* name, place, parameters, words */
#define STEPS(X)                                                                                                       \
    X(ptq_checkpoint_sha256, LOAD, (const struct ptq_checkpoint *c, char hex[PTQ_SHA256_HEX], struct ptq_error *err),  \
      (c, hex, err))                                                                                                   \
    X(ptq_stats_get, CALIBRATE,                                                                                        \
      (struct ptq_arena * arena, const struct ptq_model *model, const char *identity, const struct ptq_windows *w,     \
       int with_moments, const char *folder, struct ptq_model_stats *out, struct ptq_error *err),                      \
      (arena, model, identity, w, with_moments, folder, out, err))                                                     \
    X(ptq_compare_prepare, REFERENCE,                                                                                  \
      (struct ptq_comparison * c, int64_t first, int64_t windows, struct ptq_error * err), (c, first, windows, err))   \
    X(ptq_compare_score, EVALUATE,                                                                                     \
      (struct ptq_comparison * c, struct ptq_forward * f, int64_t first, struct ptq_arena * work,                      \
       struct ptq_error * err),                                                                                        \
      (c, f, first, work, err))

#define X(name, place, parameters, words)                                                                              \
    enum ptq_status __real_##name parameters;                                                                          \
    enum ptq_status __wrap_##name parameters;                                                                          \
    enum ptq_status __wrap_##name parameters                                                                           \
    {                                                                                                                  \
        weigh(place);                                                                                                  \
        return __real_##name words;                                                                                    \
    }
STEPS(X)
#undef X

static enum ptq_status take_block(void *context, int64_t index, const struct ptq_block *block, const struct ptq_qmat *q,
                                  struct ptq_error *err)
{
    (void)context, (void)index, (void)block, (void)q, (void)err;
    weigh(QUANTIZE);
    return PTQ_OK;
}

/* The kernel counts anew so many times and then no more. */
static int counts_left, counted;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode)
{
    if (strcmp(path, "/proc/self/clear_refs")) return __real_open(path, flags, mode);
    counted++;
    if (counts_left-- > 0) return __real_open(path, flags);
    errno = EACCES;
    return -1;
}

struct check {
    struct golden g;
    struct ptq_session *session;
};
#define OK(call) GOLDEN_OK(&c->g, call)

static void begin(struct check *c)
{
    *c = (struct check){.g = {.name = "llama", .arena = ptq_arena_make("check")}, .session = ptq_session_make()};
    heavy = N_PLACES;
    counted = 0;
    counts_left = 1 << 30;
}

static void end(struct check *c)
{
    ptq_session_free(c->session);
    ptq_arena_free(c->g.arena);
}

static void run_cell(struct check *c, const char *spec, struct ptq_cell *cell)
{
    static const struct ptq_block_sink sink = {take_block, NULL};
    struct ptq_job job = {.model = MODELS "llama",
                          .spec = spec,
                          .text = MODELS "text.txt",
                          .calib = MODELS "calib.txt",
                          .window = 32,
                          .max_windows = 4,
                          .calib_window = 32,
                          .calib_windows = 4,
                          .bos = PTQ_BOS_NONE,
                          .reference = 1,
                          .sink = &sink};
    OK(ptq_cell_plan(c->session, &job, c->g.arena, cell, &c->g.err));
    OK(ptq_cell_run(c->session, &job, c->g.arena, cell, &c->g.err));
}

static void peaks_of(const struct ptq_cell *c, int64_t peak[N_STAGES])
{
    const int64_t all[N_STAGES] = {c->peak_rss_bytes_load, c->peak_rss_bytes_calibrate, c->peak_rss_bytes_quantize,
                                   c->peak_rss_bytes_eval};
    memcpy(peak, all, sizeof all);
}

/* Every stage is known but those that it had none of; the one with the weight stands out, and the whole is the most. */
static void expect_peaks(const char *spec, const struct ptq_cell *cell, unsigned stages)
{
    int64_t peak[N_STAGES], light = 0;
    peaks_of(cell, peak);
    for (int s = 0; s < N_STAGES; s++) {
        if ((peak[s] > 0) != (stages >> s & 1))
            fail_msg("%s: %s took %lld bytes", spec, place_name[s], (long long)peak[s]);
        if (peak[s] > cell->peak_rss_bytes) fail_msg("%s: the whole is less than %s", spec, place_name[s]);
        if (s != (int)heavy && peak[s] > light) light = peak[s];
    }
    if (heavy == N_PLACES) return;
    int64_t most = heavy < N_STAGES ? peak[heavy] : cell->peak_rss_bytes;
    assert_int_equal(cell->peak_rss_bytes, most);
    if (most < light + WEIGHT - MOST_OTHERS)
        fail_msg("%s: %s took %lld bytes, and another stage %lld", spec, place_name[heavy], (long long)most,
                 (long long)light);
}

static void test_each_stage_has_its_own(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        unsigned stages;
    } rows[] = {{"fp16", ALL & ~(1U << CALIBRATE | 1U << QUANTIZE)},
                {"gptq:w3,g32", ALL & ~(1U << CALIBRATE)}, /* its pass over the calibration windows is quantising */
                {"rtn:w3,g32", ALL},                       /* statistics for the errors of outputs */
                {"awq:w3,g32,loss=gram", ALL}};
    if (access("/proc/self/clear_refs", W_OK)) skip();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int place = 0; place < N_PLACES; place++) {
            struct check check, *c = &check;
            struct ptq_cell cell;
            if (place < N_STAGES && !(rows[i].stages >> place & 1)) continue;
            begin(c);
            heavy = (enum place)place;
            run_cell(c, rows[i].spec, &cell);
            expect_peaks(rows[i].spec, &cell, rows[i].stages);
            end(c);
        }
}

/* As its seconds are, what cells share is the first one's. */
static void test_shared(void **state)
{
    (void)state;
    struct check check, *c = &check;
    struct ptq_cell cell;
    if (access("/proc/self/clear_refs", W_OK)) skip();
    begin(c);
    run_cell(c, "fp16", &cell);
    expect_peaks("fp16", &cell, ALL & ~(1U << CALIBRATE | 1U << QUANTIZE));
    run_cell(c, "salient:w3,g32", &cell); /* reads the calibration text, which nobody had */
    expect_peaks("the first", &cell, ALL);
    run_cell(c, "salient:w4,g32", &cell);
    expect_peaks("the second", &cell, ALL & ~(1U << LOAD | 1U << CALIBRATE));
    assert_true(cell.seconds_calibrate == 0);
    end(c);
}

/* Statistics from the cache are of no stage. */
static void test_cached(void **state)
{
    (void)state;
    char folder[] = "/tmp/ptq-cache-XXXXXX";
    if (access("/proc/self/clear_refs", W_OK)) skip();
    assert_non_null(mkdtemp(folder));
    setenv("PTQ_CACHE", folder, 1);
    for (int run = 0; run < 2; run++) {
        struct check check, *c = &check;
        struct ptq_cell cell;
        begin(c);
        heavy = CALIBRATE;
        run_cell(c, "salient:w3,g32", &cell);
        if (run) heavy = REFERENCE; /* what the whole has, and no stage */
        expect_peaks(run ? "cached" : "measured", &cell, run ? ALL & ~(1U << CALIBRATE) : ALL);
        end(c);
    }
    setenv("PTQ_CACHE", NO_CACHE, 1);
}

/* A cell whose evaluation has the weight, where the kernel counts anew so many times. */
static void run_counted(int counts, struct ptq_cell *cell)
{
    struct check check, *c = &check;
    begin(c);
    heavy = EVALUATE;
    counts_left = counts;
    run_cell(c, "salient:w3,g32", cell);
    end(c);
}

/* Where the kernel does not count anew, or stops to, a stage's peak is its own or not known, never another's. */
static void test_not_counted(void **state)
{
    (void)state;
    struct ptq_cell cell;
    int known = 0;
    if (access("/proc/self/clear_refs", W_OK)) skip();
    run_counted(1 << 30, &cell);
    const int n = counted;
    assert_true(n > 10);
    for (int counts = 0; counts < n; counts++) {
        int64_t peak[N_STAGES];
        run_counted(counts, &cell);
        peaks_of(&cell, peak);
        assert_true(cell.peak_rss_bytes > WEIGHT);
        assert_true(!peak[EVALUATE] || peak[EVALUATE] > WEIGHT);
        for (int s = 0; s < EVALUATE; s++) assert_true(peak[s] < cell.peak_rss_bytes - MOST_OTHERS);
        for (int s = 0; s < N_STAGES && counts == 0; s++) assert_int_equal(peak[s], 0);
        known += peak[QUANTIZE] > 0;
    }
    assert_true(known > 0 && known < n / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_stage_has_its_own),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_cached),
        cmocka_unit_test(test_not_counted),
    };
    setenv("PTQ_CACHE", NO_CACHE, 1);
    ptq_progress_quiet(PTQ_QUIET);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
