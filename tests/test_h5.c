/* The door to HDF5: what goes in comes out, equal content is equal bytes, and no foreign file gets through it. */
#include "h5.h"
#include "h5_image.h"
#include "mapped.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static struct ptq_arena *arena;
static struct ptq_error err;
static char folder[] = "/tmp/ptq-h5-XXXXXX";

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.text);                                                                            \
    } while (0)

static const char *at(const char *name)
{
    return ptq_format(arena, "%s/%s", folder, name);
}

static void refuse(enum ptq_status status, const char *part)
{
    assert_int_equal(status, PTQ_EINPUT);
    if (!strstr(err.text, part)) fail_msg("no '%s' in: %s", part, err.text);
}

static const float floats[6] = {1, -2.5f, 3e-30f, 0, 5, 6};

static void write_sample(const char *path)
{
    struct ptq_h5 *file;
    const double reals[3] = {1e300, -1e-300, 0.1};
    const int64_t ints[2] = {INT64_MIN, INT64_MAX};
    const char *const texts[3] = {"", "q_proj", "größer"};
    char *large = ptq_alloc(arena, 40001, "a large text");
    memset(large, 'x', 40000);
    OK(ptq_h5_create(path, &file, &err));
    OK(ptq_h5_put_text(file, "/", "empty", "", &err));
    OK(ptq_h5_put_text(file, "/", "large", large, &err));
    OK(ptq_h5_put_int(file, "/b", "int", -7, &err));
    OK(ptq_h5_put_int(file, "/b", "int", -8, &err));
    OK(ptq_h5_put_real(file, "/b", "real", 0.1, &err));
    OK(ptq_h5_put_floats(file, "/b/z/deep", "floats", floats, 2, 3, &err));
    OK(ptq_h5_put_reals(file, "/b/a", "reals", reals, 3, &err));
    OK(ptq_h5_put_ints(file, "/b/a", "ints", ints, 2, &err));
    OK(ptq_h5_put_texts(file, "/b/a", "texts", texts, 3, &err));
    OK(ptq_h5_put_floats(file, "/b/a", "nothing", floats, 0, 3, &err));
    OK(ptq_h5_put_group(file, "/empty", &err));
    OK(ptq_h5_commit(file, &err));
}

static void test_round_trip(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    const char *text, **texts;
    int64_t n, rows, columns, *ints;
    double *reals, real;
    float *data;
    write_sample(at("round.h5"));
    OK(ptq_h5_open(at("round.h5"), &file, &err));
    OK(ptq_h5_text(file, "/", "empty", arena, &text, &err));
    assert_string_equal(text, "");
    OK(ptq_h5_text(file, "/", "large", arena, &text, &err));
    assert_int_equal(strspn(text, "x"), 40000);
    OK(ptq_h5_int(file, "/b", "int", &n, &err));
    assert_int_equal(n, -8);
    OK(ptq_h5_real(file, "/b", "real", &real, &err));
    assert_true(real == 0.1);
    OK(ptq_h5_floats(file, "/b/z/deep", "floats", arena, &data, &rows, &columns, &err));
    assert_int_equal(rows, 2);
    assert_int_equal(columns, 3);
    assert_memory_equal(data, floats, sizeof floats);
    OK(ptq_h5_reals(file, "/b/a", "reals", arena, &reals, &n, &err));
    assert_true(n == 3 && reals[0] == 1e300 && reals[1] == -1e-300 && reals[2] == 0.1);
    OK(ptq_h5_ints(file, "/b/a", "ints", arena, &ints, &n, &err));
    assert_true(n == 2 && ints[0] == INT64_MIN && ints[1] == INT64_MAX);
    OK(ptq_h5_texts(file, "/b/a", "texts", arena, &texts, &n, &err));
    assert_int_equal(n, 3);
    assert_string_equal(texts[0], "");
    assert_string_equal(texts[1], "q_proj");
    assert_string_equal(texts[2], "größer");
    OK(ptq_h5_floats(file, "/b/a", "nothing", arena, &data, &rows, &columns, &err));
    assert_true(rows == 0 && columns == 3);
    ptq_h5_close(file);
}

static void test_groups(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    const char **names;
    int64_t n;
    write_sample(at("groups.h5"));
    OK(ptq_h5_open(at("groups.h5"), &file, &err));
    OK(ptq_h5_groups(file, "/b", arena, &names, &n, &err));
    assert_int_equal(n, 2); /* in the order in which they were made */
    assert_string_equal(names[0], "z");
    assert_string_equal(names[1], "a");
    OK(ptq_h5_groups(file, "/empty", arena, &names, &n, &err));
    assert_int_equal(n, 0);
    assert_true(ptq_h5_exists(file, "/b/a/reals"));
    assert_false(ptq_h5_exists(file, "/b/a/reals/x"));
    assert_false(ptq_h5_exists(file, "/c"));
    refuse(ptq_h5_groups(file, "/c", arena, &names, &n, &err), "has no group /c");
    ptq_h5_close(file);
}

static void test_same_bytes(void **state)
{
    (void)state;
    char *a, *b;
    size_t size_a, size_b;
    write_sample(at("first.h5"));
    sleep(1); /* a time of creation would differ now */
    write_sample(at("second.h5"));
    OK(ptq_read_file(arena, at("first.h5"), 1 << 24, &a, &size_a, &err));
    OK(ptq_read_file(arena, at("second.h5"), 1 << 24, &b, &size_b, &err));
    assert_int_equal(size_a, size_b);
    assert_memory_equal(a, b, size_a);
}

static void test_abandoned(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    OK(ptq_h5_create(at("abandoned.h5"), &file, &err));
    OK(ptq_h5_put_int(file, "/", "x", 1, &err));
    ptq_h5_abandon(file);
    assert_false(ptq_is_file(at("abandoned.h5")));
    OK(ptq_h5_create(at("no/such/folder.h5"), &file, &err));
    assert_int_equal(ptq_h5_commit(file, &err), PTQ_EIO);
    assert_non_null(strstr(err.text, "No such file or directory"));
}

/* Cut anywhere, a file is refused or, where the cut lies behind what is read, read right; it never crashes. */
static void test_truncated(void **state)
{
    (void)state;
    char *whole;
    size_t size;
    write_sample(at("whole.h5"));
    OK(ptq_read_file(arena, at("whole.h5"), 1 << 24, &whole, &size, &err));
    for (size_t cut = 0; cut < size; cut += cut < 2048 ? 64 : 1024) {
        struct ptq_h5 *file;
        OK(ptq_write_file(at("cut.h5"), whole, cut, &err));
        assert_int_equal(ptq_h5_open(at("cut.h5"), &file, &err), PTQ_EINPUT);
        assert_non_null(strstr(err.text, "cut.h5"));
    }
}

/* Any byte changed is noticed; one of the seal's own first word makes a file without one. */
static void test_changed_bytes(void **state)
{
    (void)state;
    char *whole;
    size_t size;
    int opened = 0, tried = 0;
    write_sample(at("good.h5"));
    OK(ptq_read_file(arena, at("good.h5"), 1 << 24, &whole, &size, &err));
    for (size_t i = 0; i < size; i += i < 600 || i + 200 > size ? 1 : 101) {
        struct ptq_h5 *file;
        char kept = whole[i];
        whole[i] = (char)~kept;
        FILE *out = fopen(at("changed.h5"), "wb");
        assert_int_equal(fwrite(whole, 1, size, out), size);
        fclose(out);
        whole[i] = kept;
        tried++;
        refuse(ptq_h5_open(at("changed.h5"), &file, &err), i < 8 ? "is no HDF5 file" : "SHA-256");
        if (ptq_h5_open_foreign(at("changed.h5"), &file, &err)) continue;
        opened++;
        ptq_h5_close(file);
    }
    assert_true(tried > 1000);
    assert_int_equal(opened, strlen("_ptq-sha256_"));
}

static void test_no_hdf5(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    OK(ptq_write_file(at("empty.h5"), "", 0, &err));
    refuse(ptq_h5_open(at("empty.h5"), &file, &err), "is empty");
    OK(ptq_write_file(at("text.h5"), "not HDF5 at all", 15, &err));
    refuse(ptq_h5_open(at("text.h5"), &file, &err), "is no HDF5 file");
    refuse(ptq_h5_open(folder, &file, &err), "is a folder");
    assert_int_equal(mkfifo(at("fifo.h5"), 0600), 0);
    refuse(ptq_h5_open(at("fifo.h5"), &file, &err), "no regular file");
    assert_int_equal(ptq_h5_open(at("missing.h5"), &file, &err), PTQ_EIO);
}

static struct ptq_h5 *fixture(const char *name)
{
    struct ptq_h5 *file;
    OK(ptq_h5_open_foreign(ptq_format(arena, "%s/h5/%s.h5", PTQ_FIXTURES, name), &file, &err));
    return file;
}

static enum ptq_status floats_of(const char *name, const char *group, const char *dataset)
{
    struct ptq_h5 *file = fixture(name);
    float *data;
    int64_t rows, columns;
    enum ptq_status status = ptq_h5_floats(file, group, dataset, arena, &data, &rows, &columns, &err);
    ptq_h5_close(file);
    return status;
}

static void test_foreign_refused(void **state)
{
    (void)state;
    const char *text;
    refuse(floats_of("external_link", "/", "nll"), "has no nll");
    refuse(floats_of("external_link", "/group", "nll"), "has no nll");
    refuse(floats_of("external_storage", "/", "nll"), "wrong type or shape");
    refuse(floats_of("virtual", "/", "nll"), "wrong type or shape");
    refuse(floats_of("soft_loop", "/a/b/a", "nll"), "has no nll");
    refuse(floats_of("soft_loop", "/", "nll"), "has no nll");
    refuse(floats_of("bomb", "/", "nll"), "claims more data");
    refuse(floats_of("huge", "/", "chunked"), "claims more data");
    refuse(floats_of("huge", "/", "wide_chunk"), "claims more data");
    refuse(floats_of("huge", "/", "contiguous"), "claims more data");
    refuse(floats_of("huge", "/", "overflow"), "claims more data");
    refuse(floats_of("huge", "/", "promise"), "claims more data");
    refuse(floats_of("plain", "/", "cube"), "wrong type or shape");
    refuse(floats_of("plain", "/", "pairs"), "wrong type or shape");
    refuse(floats_of("plain", "/", "lzf"), "wrong type or shape");
    struct ptq_h5 *file = fixture("text");
    refuse(ptq_h5_text(file, "/", "variable", arena, &text, &err), "wrong type");
    refuse(ptq_h5_text(file, "/", "number", arena, &text, &err), "wrong type");
    OK(ptq_h5_text(file, "/", "fixed", arena, &text, &err));
    assert_string_equal(text, "four"); /* which has no NUL in the file */
    ptq_h5_close(file);
}

/* A name that no group can have, a dataset where a group is needed. */
static void test_paths(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    const char **names;
    int64_t n;
    char *long_name = ptq_alloc(arena, 5000, "a name");
    memset(long_name, 'n', 4999);
    write_sample(at("good.h5"));
    OK(ptq_h5_open(at("good.h5"), &file, &err));
    assert_false(ptq_h5_exists(file, ptq_format(arena, "/b/%s", long_name)));
    assert_int_equal(ptq_h5_int(file, ptq_format(arena, "/%s", long_name), "int", &n, &err), PTQ_EINPUT);
    refuse(ptq_h5_int(file, "/b/a/reals", "int", &n, &err), "/b/a/reals has no int");
    refuse(ptq_h5_groups(file, "/b/a/reals", arena, &names, &n, &err), "has no group /b/a/reals");
    ptq_h5_close(file);
    OK(ptq_h5_create(at("no.h5"), &file, &err));
    assert_int_equal(ptq_h5_put_int(file, ptq_format(arena, "/%s", long_name), "int", 1, &err), PTQ_EIO);
    ptq_h5_abandon(file);
}

/* Only an image with HDF5's superblock of version 2 or 3 and offsets of 8 bytes gets its checksum. */
static void test_mended_images(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        unsigned char version, offset_size;
        int mended;
    } rows[] = {{48, 2, 8, 1}, {48, 3, 8, 1}, {47, 2, 8, 0}, {48, 1, 8, 0}, {48, 4, 8, 0}, {48, 2, 4, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char *image = calloc(rows[i].size, 1);
        image[8] = rows[i].version;
        image[9] = rows[i].offset_size;
        ptq_h5_mend(image, rows[i].size);
        int changed = 0;
        for (size_t b = 44; b < rows[i].size; b++) changed |= image[b] != 0;
        assert_int_equal(changed, rows[i].mended);
        free(image);
    }
}

/* The flags are byte 11 of a superblock of version 2 or more; byte 11 of an older one is something else. */
static void test_flags(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        unsigned char version, flags;
        int open;
    } rows[] = {{12, 2, 1, 1}, {12, 3, 4, 1}, {12, 2, 0, 0}, {12, 1, 1, 0}, {12, 0, 1, 0}, {11, 2, 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char image[12] = {[8] = rows[i].version, [11] = rows[i].flags};
        assert_int_equal(ptq_h5_left_open(image, rows[i].size), rows[i].open);
    }
}

/* image, sealed anew, as path. */
static void reseal(const char *path, char *image, size_t size)
{
    ptq_h5_seal((unsigned char *)image, size - PTQ_H5_SEAL);
    OK(ptq_write_file(path, image, size, &err));
}

/* A file that is whole, with all its checksums and its seal, but for the flag of one that is open for writing. */
static void test_left_open(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    char *image;
    size_t size;
    write_sample(at("open.h5"));
    OK(ptq_read_file(arena, at("open.h5"), 1 << 20, &image, &size, &err));
    for (int flags = 1; flags >= 0; flags--) {
        image[11] = (char)flags;
        ptq_h5_mend((unsigned char *)image, size - PTQ_H5_SEAL);
        reseal(at("open.h5"), image, size);
        if (flags) refuse(ptq_h5_open(at("open.h5"), &file, &err), "open.h5: byte 11: its writer never closed it");
    }
    OK(ptq_h5_open(at("open.h5"), &file, &err));
    ptq_h5_close(file);
    image[36] ^= 1; /* where the root is, and its checksum as it was: a seal that holds says nothing of HDF5's part */
    reseal(at("open.h5"), image, size);
    refuse(ptq_h5_open(at("open.h5"), &file, &err), "open.h5: is a damaged or truncated HDF5 file of");
    OK(ptq_write_file(at("open.h5"), "\x89HDF\r\n\x1a\n\3\x8\x8\1", 12, &err));
    refuse(ptq_h5_open_foreign(at("open.h5"), &file, &err), "byte 11");
}

static void test_foreign_read(void **state)
{
    (void)state;
    struct ptq_h5 *file = fixture("plain");
    float *data;
    int64_t rows, columns, n, *ints;
    OK(ptq_h5_floats(file, "/", "nll", arena, &data, &rows, &columns, &err));
    assert_true(rows == 1 && columns == 4 && data[3] == 3);
    OK(ptq_h5_floats(file, "/", "deflated", arena, &data, &rows, &columns, &err));
    assert_true(rows == 8 && columns == 64 && data[511] == 511);
    OK(ptq_h5_ints(file, "/", "ints", arena, &ints, &n, &err));
    assert_true(n == 6 && ints[5] == 5);
    refuse(ptq_h5_int(file, "/", "ints", &n, &err), "wrong type or shape");
    ptq_h5_close(file);
    const char **names;
    file = fixture("hard_loop");
    OK(ptq_h5_groups(file, "/a/a/a", arena, &names, &n, &err));
    assert_int_equal(n, 1);
    ptq_h5_close(file);
}

static int next_descriptor(void)
{
    int fd = dup(STDIN_FILENO);
    close(fd);
    return fd;
}

/* HDF5 calls a disk that fails a damaged file, and crashes at exit over a descriptor that does not close: it has none,
 * and copies nothing. A file that is replaced while it is open stays what it was. */
static void test_hdf5_has_no_file(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    int64_t n;
    write_sample(at("close.h5"));
    int descriptor = next_descriptor();
    OK(ptq_h5_open(at("close.h5"), &file, &err));
    assert_int_equal(next_descriptor(), descriptor);
    assert_int_equal(rename(at("close.h5"), at("first.h5")), 0);
    OK(ptq_h5_int(file, "/b", "int", &n, &err));
    assert_int_equal(n, -8);
    ptq_h5_close(file);
    assert_int_equal(next_descriptor(), descriptor);
}

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ptq_arena_free(arena);
    if (chdir(folder)) return -1;
    const char *const names[] = {"round.h5", "groups.h5", "first.h5",   "second.h5", "whole.h5", "cut.h5", "empty.h5",
                                 "text.h5",  "fifo.h5",   "changed.h5", "good.h5",   "close.h5", "open.h5"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(names[i]);
    return rmdir(folder); /* fails where anything else was left, a temporary file for one */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_groups),
        cmocka_unit_test(test_same_bytes),      cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_truncated),       cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_paths),           cmocka_unit_test(test_mended_images),
        cmocka_unit_test(test_flags),           cmocka_unit_test(test_left_open),
        cmocka_unit_test(test_no_hdf5),         cmocka_unit_test(test_foreign_read),
        cmocka_unit_test(test_foreign_refused), cmocka_unit_test(test_hdf5_has_no_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
