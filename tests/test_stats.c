/* Statistics: the same bytes from memory, from files and for any chunks and threads; what a damaged file does. */
#include "stats.h"

#include "files.h"
#include "forward.h"
#include "mapped.h"
#include "pool.h"
#include "progress.h"

enum { WINDOWS = 5, LENGTH = 24 };

static struct ptq_arena *arena;
static struct ptq_model model;
static struct ptq_windows windows;
static struct ptq_error err;
static char folder[64];

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    OK(ptq_model_open(arena, PTQ_FIXTURES "/models/llama-gqa/model.gguf", "llama-gqa", &model, &err));
    windows = (struct ptq_windows){.id = ptq_new(arena, int32_t, WINDOWS * LENGTH), .n = WINDOWS, .length = LENGTH};
    for (int i = 0; i < WINDOWS * LENGTH; i++) windows.id[i] = (int32_t)((i * 37 + i / 7) % model.config.vocab);
    make_test_folder(folder);
    memset(windows.sha256, '1', sizeof windows.sha256 - 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_test_folder(folder);
    ptq_model_close(&model);
    ptq_arena_free(arena);
    return 0;
}

static void expect_same(const struct ptq_model_stats *a, const struct ptq_model_stats *b, int with_moments)
{
    for (int64_t i = 0; i < a->blocks; i++) {
        struct ptq_moments m[PTQ_N_INPUT], n[PTQ_N_INPUT];
        if (with_moments) OK(ptq_stats_moments(a, i, arena, m, &err));
        if (with_moments) OK(ptq_stats_moments(b, i, arena, n, &err));
        for (int input = 0; input < PTQ_N_INPUT; input++) {
            const struct ptq_stats *x = &a->input[i][input], *y = &b->input[i][input];
            size_t k = (size_t)x->k;
            assert_memory_equal(x->absmean, y->absmean, sizeof(float) * k);
            assert_memory_equal(x->sample, y->sample, sizeof(float) * k * (size_t)x->n_sample);
            if (!with_moments) continue;
            assert_int_equal(m[input].n_row, n[input].n_row);
            assert_memory_equal(m[input].gram, n[input].gram, sizeof(float) * k * k);
            assert_memory_equal(m[input].row, n[input].row, sizeof(float) * k * (size_t)m[input].n_row);
        }
    }
}

static void test_cache(void **state)
{
    struct ptq_model_stats memory, first, second, means;
    (void)state;
    OK(ptq_stats_gather(arena, &model, &windows, 1, &memory, &err));
    OK(ptq_stats_get(arena, &model, "it", &windows, 0, folder, &means, &err));
    OK(ptq_stats_get(arena, &model, "it", &windows, 1, folder, &first, &err));
    assert_false(first.from_cache); /* it held the means alone */
    OK(ptq_stats_get(arena, &model, "it", &windows, 1, folder, &second, &err));
    assert_true(second.from_cache);
    assert_null(second.moments[0][0].gram); /* in files, read when they are asked for */
    expect_same(&memory, &means, 0);
    expect_same(&memory, &first, 1);
    expect_same(&memory, &second, 1);
}

/* One sentence, and the next run measures anew. */
static void test_damaged(void **state)
{
    struct ptq_model_stats stats;
    struct ptq_moments m[PTQ_N_INPUT];
    (void)state;
    OK(ptq_stats_get(arena, &model, "it", &windows, 1, folder, &stats, &err));
    const char *path = ptq_format(arena, "%s/block0001.h5", stats.folder);
    assert_true(ptq_is_file(path));
    OK(ptq_write_file(path, "no statistics", 13, &err));
    assert_int_equal(ptq_stats_moments(&stats, 1, arena, m, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "block0001.h5"));
    assert_non_null(strstr(err.text, "run again"));
    assert_false(ptq_is_file(path));
    assert_int_equal(symlink(ptq_file_name(path), path), 0); /* what the system does not give is not removed for it */
    assert_int_equal(ptq_stats_moments(&stats, 1, arena, m, &err), PTQ_EIO);
    assert_int_equal(unlink(path), 0);
    OK(ptq_stats_get(arena, &model, "it", &windows, 1, folder, &stats, &err));
    assert_false(stats.from_cache);
    OK(ptq_stats_moments(&stats, 1, arena, m, &err));
}

/* A folder that cannot be made is no error: moments stay in memory. */
static void test_no_folder(void **state)
{
    struct ptq_model_stats memory, stats;
    (void)state;
    const char *file = ptq_format(arena, "%s/file", folder), *below = ptq_format(arena, "%s/below", file);
    OK(ptq_write_file(file, "x", 1, &err));
    OK(ptq_stats_gather(arena, &model, &windows, 1, &memory, &err));
    OK(ptq_stats_get(arena, &model, "it", &windows, 1, below, &stats, &err));
    assert_non_null(stats.moments[0][0].gram);
    expect_same(&memory, &stats, 1);
}

static void test_chunks_and_threads(void **state)
{
    struct ptq_model_stats one, other;
    int64_t usual = ptq_chunk_bytes;
    (void)state;
    OK(ptq_stats_gather(arena, &model, &windows, 1, &one, &err));
    ptq_pool_stop();
    ptq_pool_start(3);
    OK(ptq_stats_gather(arena, &model, &windows, 1, &other, &err));
    expect_same(&one, &other, 1);
    ptq_chunk_bytes = 1; /* a window at a time, which moments cannot be gathered in */
    OK(ptq_stats_gather(arena, &model, &windows, 0, &other, &err));
    ptq_chunk_bytes = usual;
    for (int64_t b = 0; b < one.blocks; b++)
        for (int input = 0; input < PTQ_N_INPUT; input++)
            for (int64_t k = 0; k < one.input[b][input].k; k++) {
                float x = one.input[b][input].absmean[k], y = other.input[b][input].absmean[k];
                if (!(x - y <= 1e-5f * x && y - x <= 1e-5f * x)) fail_msg("%g and %g", (double)x, (double)y);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cache, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chunks_and_threads, set_up, tear_down),
    };
    ptq_progress_quiet(PTQ_QUIET);
    ptq_pool_start(2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ptq_pool_stop();
    return failed;
}
