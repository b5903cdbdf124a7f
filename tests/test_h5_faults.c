/* Calls of HDF5 that fail, one at a time: writing and reading a results file then ends with one sentence that names the
 * file, with nothing under the file's name and nothing of HDF5's left open. HDF5 itself fails for want of memory or on
 * files that only it can damage, so the linker puts the functions below before its own (--wrap, see CMakeLists.txt). */
#include "cell_file.h"
#include "cells.h"
#include "files.h"
#include "mapped.h"

#include <hdf5.h>

/* type, what it gives where it fails, name, parameters, words; CMakeLists.txt has the same names. */
#define CALLS(X)                                                                                                       \
    X(herr_t, -1, H5Awrite, (hid_t a, hid_t b, const void *c), (a, b, c))                                              \
    X(herr_t, -1, H5Dwrite, (hid_t a, hid_t b, hid_t c, hid_t d, hid_t e, const void *f), (a, b, c, d, e, f))          \
    X(hid_t, -1, H5Acreate2, (hid_t a, const char *b, hid_t c, hid_t d, hid_t e, hid_t f), (a, b, c, d, e, f))         \
    X(hid_t, -1, H5Dcreate2, (hid_t a, const char *b, hid_t c, hid_t d, hid_t e, hid_t f, hid_t g),                    \
      (a, b, c, d, e, f, g))                                                                                           \
    X(hid_t, -1, H5Screate_simple, (int a, const hsize_t *b, const hsize_t *c), (a, b, c))                             \
    X(hid_t, -1, H5Gcreate2, (hid_t a, const char *b, hid_t c, hid_t d, hid_t e), (a, b, c, d, e))                     \
    X(hid_t, -1, H5Gopen2, (hid_t a, const char *b, hid_t c), (a, b, c))                                               \
    X(hid_t, -1, H5Tcopy, (hid_t a), (a))                                                                              \
    X(hid_t, -1, H5Fcreate, (const char *a, unsigned b, hid_t c, hid_t d), (a, b, c, d))                               \
    X(herr_t, -1, H5Fflush, (hid_t a, H5F_scope_t b), (a, b))                                                          \
    X(ssize_t, -1, H5Fget_file_image, (hid_t a, void *b, size_t c), (a, b, c))                                         \
    X(herr_t, -1, H5Aread, (hid_t a, hid_t b, void *c), (a, b, c))                                                     \
    X(herr_t, -1, H5Dread, (hid_t a, hid_t b, hid_t c, hid_t d, hid_t e, void *f), (a, b, c, d, e, f))                 \
    X(hid_t, -1, H5Aget_type, (hid_t a), (a))                                                                          \
    X(hid_t, -1, H5Dget_type, (hid_t a), (a))                                                                          \
    X(hid_t, large_space(), H5Aget_space, (hid_t a), (a))                                                              \
    X(hid_t, -1, H5Dget_space, (hid_t a), (a))                                                                         \
    X(int, large_sizes(b), H5Sget_simple_extent_dims, (hid_t a, hsize_t * b, hsize_t * c), (a, b, c))                  \
    X(int, -1, H5Pget_nfilters, (hid_t a), (a))                                                                        \
    X(herr_t, many_links(b), H5Gget_info, (hid_t a, H5G_info_t * b), (a, b))                                           \
    X(ssize_t, -1, H5Lget_name_by_idx,                                                                                 \
      (hid_t a, const char *b, H5_index_t c, H5_iter_order_t d, hsize_t e, char *f, size_t g, hid_t h),                \
      (a, b, c, d, e, f, g, h))                                                                                        \
    X(size_t, 0, H5Tget_size, (hid_t a), (a))                                                                          \
    X(int, -1, H5Pget_chunk, (hid_t a, int b, hsize_t *c), (a, b, c))                                                  \
    X(herr_t, -1, H5Lget_info, (hid_t a, const char *b, H5L_info_t *c, hid_t d), (a, b, c, d))                         \
    X(hid_t, -1, H5Oopen, (hid_t a, const char *b, hid_t c), (a, b, c))

enum call {
#define X(type, bad, name, ...) CALL_##name,
    CALLS(X) N_CALLS
#undef X
};
static const char *const call_name[] = {
#define X(type, bad, name, ...) #name,
    CALLS(X)
#undef X
};

static enum call failing;
static int tried;
static int64_t fail_at, seen, dragged; /* the call that fails, from 1; how many were made; how many fail after it */

static int fails(enum call call)
{
    if (call != failing || !fail_at) return 0;
    seen++;
    return seen >= fail_at && seen <= fail_at + dragged;
}

/* A call that does not fail outright, but says what cannot be. */
static hsize_t lie; /* 0: it fails */
static int lie_at;  /* the dimension that has it, beside one of 0 */

static hid_t large_space(void)
{
    return lie ? H5Screate_simple(1, &lie, NULL) : -1;
}

static int large_sizes(hsize_t *dims)
{
    dims[lie_at] = lie;
    dims[!lie_at] = 0;
    return lie ? 2 : -1;
}

static herr_t many_links(H5G_info_t *info)
{
    info->nlinks = lie;
    return lie ? 0 : -1;
}

#define X(type, bad, name, parameters, words)                                                                          \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        return fails(CALL_##name) ? (bad) : __real_##name words;                                                       \
    }
CALLS(X)
#undef X

static struct ptq_arena *arena;
static struct ptq_error err;
static char folder[] = "/tmp/ptq-h5-faults-XXXXXX";
static const char *path;
static struct ptq_cell cell;

static enum ptq_status fill(struct ptq_h5 *file)
{
    PTQ_TRY(ptq_cell_file_begin(file, "eval", "title: x\n", &err));
    PTQ_TRY(ptq_cell_write(file, &cell, &err));
    static const uint8_t byte[2] = {1, 2};
    return ptq_h5_put_bytes(file, "/", "bytes", byte, 1, 2, &err);
}

static enum ptq_status write_whole(void)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_create(path, &file, &err));
    enum ptq_status status = fill(file);
    if (!status) return ptq_h5_commit(file, &err);
    ptq_h5_abandon(file);
    return status;
}

static enum ptq_status write_cells(void)
{
    return ptq_cell_file_write(path, "eval", "title: x\n", &cell, 1, &err);
}

static enum ptq_status read_parts(struct ptq_h5 *file, struct ptq_arena *into)
{
    struct ptq_cell back;
    const char **id;
    uint8_t *byte;
    int64_t n;
    PTQ_TRY(ptq_cell_file_check(file, path, &err));
    PTQ_TRY(ptq_h5_groups(file, "/cells", into, &id, &n, &err));
    if (n != 1) fail_msg("%lld cells", (long long)n);
    PTQ_TRY(ptq_cell_read(file, path, id[0], into, &back, &err));
    PTQ_TRY(ptq_h5_bytes(file, "/", "bytes", into, &byte, &n, &err));
    assert_true(n == 2 && byte[0] == 1 && byte[1] == 2);
    return PTQ_OK;
}

static enum ptq_status read_whole(void)
{
    struct ptq_arena *into = ptq_arena_make("what is read");
    struct ptq_h5 *file;
    enum ptq_status status = ptq_h5_open(path, &file, &err);
    if (!status) {
        status = read_parts(file, into);
        ptq_h5_close(file);
    }
    ptq_arena_free(into);
    return status;
}

/* The n-th call fails; the status of the whole, and nothing of HDF5's is left open. */
static enum ptq_status with_fault(enum ptq_status (*whole)(void), enum call call, int64_t n)
{
    ssize_t before = H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL);
    failing = call, fail_at = n, seen = 0;
    tried++;
    enum ptq_status status = whole();
    fail_at = 0;
    if (H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) != before)
        fail_msg("%s, call %lld: something stays open", call_name[call], (long long)n);
    return status;
}

static void expect_sentence(enum call call, int64_t n, enum ptq_status status, enum ptq_status wanted)
{
    const char *name = call_name[call];
    if (status == PTQ_OK) fail_msg("%s, call %lld: its failure was not noticed", name, (long long)n);
    if (status != wanted) fail_msg("%s, call %lld: status %d: %s", name, (long long)n, (int)status, err.text);
    if (strncmp(err.text, path, strlen(path)) != 0 || strchr(err.text, '\n'))
        fail_msg("%s, call %lld: no sentence that names the file: %s", name, (long long)n, err.text);
}

/* How often `whole` makes the call where nothing fails. */
static int64_t count(enum ptq_status (*whole)(void), enum call call)
{
    if (with_fault(whole, call, INT64_MAX)) fail_msg("%s", err.text);
    if (!seen) fail_msg("%s is never called", call_name[call]);
    return seen;
}

/* Each call fails in turn; of those that a value makes several times over, or none of its own, every step-th. */
static void each_fails(enum ptq_status (*whole)(void), enum call call, int64_t step, enum ptq_status wanted)
{
    int64_t n = count(whole, call);
    for (int64_t i = 1; i <= n; i += i + step <= n || i == n ? step : n - i) {
        if (whole != read_whole) unlink(path);
        expect_sentence(call, i, with_fault(whole, call, i), wanted);
        if (whole != read_whole && ptq_is_file(path)) fail_msg("%s: a file has its name", call_name[call]);
    }
}

static void writing(void **state)
{
    (void)state;
    each_fails(write_whole, CALL_H5Awrite, 1, PTQ_EIO);
    each_fails(write_whole, CALL_H5Dwrite, 1, PTQ_EIO);
    each_fails(write_whole, CALL_H5Acreate2, 17, PTQ_EIO);
    each_fails(write_whole, CALL_H5Dcreate2, 7, PTQ_EIO);
    each_fails(write_whole, CALL_H5Screate_simple, 7, PTQ_EIO);
    each_fails(write_whole, CALL_H5Gcreate2, 1, PTQ_EIO);
    each_fails(write_whole, CALL_H5Gopen2, 17, PTQ_EIO);
    each_fails(write_whole, CALL_H5Tcopy, 17, PTQ_EIO);
    each_fails(write_whole, CALL_H5Fcreate, 1, PTQ_EIO);
    each_fails(write_whole, CALL_H5Fflush, 1, PTQ_EIO);
    each_fails(write_whole, CALL_H5Fget_file_image, 1, PTQ_EIO);
    each_fails(write_cells, CALL_H5Gcreate2, 1, PTQ_EIO);
    each_fails(write_cells, CALL_H5Fcreate, 1, PTQ_EIO);
}

static void reading(void **state)
{
    (void)state;
    if (write_whole()) fail_msg("%s", err.text);
    each_fails(read_whole, CALL_H5Aread, 1, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Dread, 1, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Aget_type, 17, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Dget_type, 5, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Aget_space, 17, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Dget_space, 5, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Sget_simple_extent_dims, 5, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Pget_nfilters, 5, PTQ_EINPUT);
    each_fails(read_whole, CALL_H5Gget_info, 1, PTQ_EINPUT);
}

/* A group that keeps no order of creation is listed by name; one whose names cannot be had at all has none. */
static void listing(void **state)
{
    (void)state;
    struct ptq_h5 *file;
    const char **names;
    int64_t n;
    if (write_whole() || ptq_h5_open(path, &file, &err)) fail_msg("%s", err.text);
    for (dragged = 0; dragged < 2; dragged++) {
        failing = CALL_H5Lget_name_by_idx, fail_at = 1, seen = 0;
        assert_int_equal(ptq_h5_groups(file, "/cells", arena, &names, &n, &err), dragged ? PTQ_EINPUT : PTQ_OK);
        if (!dragged) assert_true(n == 1 && strcmp(names[0], cell.id) == 0);
    }
    fail_at = dragged = 0;
    failing = CALL_H5Oopen, fail_at = 1, seen = 0; /* the group that holds them; then one of them */
    assert_int_equal(ptq_h5_groups(file, "/cells", arena, &names, &n, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "has no group /cells"));
    fail_at = 2, seen = 0;
    assert_int_equal(ptq_h5_groups(file, "/cells", arena, &names, &n, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "child 0 of /cells is no group"));
    fail_at = 0;
    ptq_h5_close(file);
}

static enum ptq_status read_schema(struct ptq_h5 *file)
{
    int64_t *schema, n;
    return ptq_h5_ints(file, "/", "schema", arena, &schema, &n, &err);
}

static enum ptq_status read_chunks(struct ptq_h5 *file)
{
    float *data;
    int64_t rows, columns;
    return ptq_h5_floats(file, "/", "deflated", arena, &data, &rows, &columns, &err);
}

static enum ptq_status read_bytes(struct ptq_h5 *file)
{
    uint8_t *byte;
    int64_t n;
    return ptq_h5_bytes(file, "/", "bytes", arena, &byte, &n, &err);
}

static enum ptq_status read_groups(struct ptq_h5 *file)
{
    const char **names;
    int64_t n;
    return ptq_h5_groups(file, "/cells", arena, &names, &n, &err);
}

/* An attribute that is larger than the file, of elements of no bytes; more links than bytes. */
static void lies(void **state)
{
    (void)state;
    struct stat info;
    if (write_whole() || stat(path, &info)) fail_msg("%s", err.text);
    const char *plain = PTQ_FIXTURES "/h5/plain.h5";
    const struct {
        const char *path;
        enum call call;
        enum ptq_status (*read)(struct ptq_h5 *file);
        hsize_t lie;
        const char *words;
        int lie_at;
    } rows[] = {
        {path, CALL_H5Aget_space, read_schema, (hsize_t)info.st_size / 2, "schema of /;claims more data", 0},
        {path, CALL_H5Sget_simple_extent_dims, read_bytes, UINT64_MAX, "bytes of /;claims more data", 0},
        {path, CALL_H5Sget_simple_extent_dims, read_bytes, UINT64_MAX, "bytes of /;claims more data", 1},
        {path, CALL_H5Tget_size, read_schema, 1, "schema of /;wrong type or shape", 0},
        {path, CALL_H5Gget_info, read_groups, (hsize_t)info.st_size + 1, "has no group /cells", 0},
        {path, CALL_H5Lget_info, read_groups, 1, "has no group /cells", 0},
        {plain, CALL_H5Pget_chunk, read_chunks, 1, "deflated of /;wrong type or shape", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_h5 *file;
        if (ptq_h5_open_foreign(rows[i].path, &file, &err) || rows[i].read(file)) fail_msg("%s", err.text);
        lie_at = rows[i].lie_at, lie = rows[i].lie, failing = rows[i].call, fail_at = 1, seen = 0;
        enum ptq_status status = rows[i].read(file);
        lie = 0, fail_at = 0;
        assert_refused(call_name[rows[i].call], status, &err, rows[i].words);
        ptq_h5_close(file);
        tried++;
    }
    print_message("%d calls that fail\n", tried);
}

static int set_up(void **state)
{
    (void)state;
    arena = ptq_arena_make("test");
    if (!mkdtemp(folder)) return -1;
    path = ptq_join(arena, folder, "cell.h5");
    cell = make_whole_cell(arena);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    ptq_arena_free(arena);
    return rmdir(folder); /* fails where a temporary file was left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(writing), cmocka_unit_test(reading), cmocka_unit_test(listing),
                                       cmocka_unit_test(lies)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
