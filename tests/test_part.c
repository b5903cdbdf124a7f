/* A cell that is stopped in the middle of a block goes on there, and gives what an uninterrupted run gives: nll and
 * reports bit for bit. Each run is a process of its own; the method is the registry's, wrapped so that a chosen block
 * kills the process half-way through. */
#include "part_runs.h"

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
    /* Putting the codes back is no quantising: of that this process knows nothing. */
    assert_int_equal(result()->peak_rss_bytes_quantize, 0);
    assert_true((result()->peak_rss_bytes_eval > 0) == (want->peak_rss_bytes_quantize > 0));
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
    assert_int_equal(ptq_results_start_over(file, (const char(*)[PTQ_SHA256_HEX])want->id, 1, &error), PTQ_OK);
    assert_false(ptq_is_folder(part_of(unfinished)));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_killed),  TEST(test_all_methods), TEST(test_interrupted),     TEST(test_pause),   TEST(test_damaged),
        TEST(test_foreign), TEST(test_disk),        TEST(test_all_blocks_done), TEST(test_results),
    };
    setenv("PTQ_CACHE", "/nonexistent", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
