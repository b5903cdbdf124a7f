/* HDF5 files that other programs could make, and what they claim: sizes that no file holds, shapes and names that we
 * have no use for. Each is made here, by HDF5 itself, and refused in one sentence. */
#include "folder_test.h"
#include "h5.h"
#include "mapped.h"

#include <hdf5.h>

/* A dataset "x" of that type and shape, in chunks where there are any, otherwise contiguous. */
static hid_t make_x(hid_t file, hid_t type, int rank, const hsize_t *dims, const hsize_t *chunk, int deflated)
{
    hsize_t most[3] = {H5S_UNLIMITED, H5S_UNLIMITED, H5S_UNLIMITED};
    hid_t space = H5Screate_simple(rank, dims, chunk ? most : NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    if (chunk) H5Pset_chunk(create, rank, chunk);
    if (deflated) H5Pset_deflate(create, 9);
    hid_t x = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    H5Sclose(space);
    H5Pclose(create);
    assert_true(x >= 0);
    return x;
}

/* Writes the first n elements of x, of rank 1, as zeros. */
static void write_zeros(hid_t x, hsize_t n)
{
    float *zero = calloc(n, sizeof *zero);
    hsize_t from = 0;
    hid_t space = H5Dget_space(x), memory = H5Screate_simple(1, &n, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &from, NULL, &n, NULL);
    assert_true(H5Dwrite(x, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, zero) >= 0);
    H5Sclose(space);
    H5Sclose(memory);
    free(zero);
}

static void fill_null(hid_t file)
{
    hid_t space = H5Screate(H5S_NULL);
    H5Dclose(H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
}

/* 2^60 elements of 32 bytes */
static void fill_many_bytes(hid_t file)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 32);
    H5Dclose(make_x(file, type, 1, (hsize_t[]){((hsize_t)1 << 60) - 1}, (hsize_t[]){1}, 0));
    H5Tclose(type);
}

static void fill_cube(hid_t file)
{
    hid_t x = make_x(file, H5T_IEEE_F32LE, 3, (hsize_t[]){2, 2, 1}, (hsize_t[]){2, 2, 1}, 0);
    float zero[4] = {0};
    assert_true(H5Dwrite(x, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zero) >= 0);
    H5Dclose(x);
}

/* 64 MB of zeros in one chunk, which zlib makes 64 KB. */
static void fill_large_chunk(hid_t file)
{
    hid_t x = make_x(file, H5T_IEEE_F32LE, 1, (hsize_t[]){16}, (hsize_t[]){1 << 24}, 1);
    write_zeros(x, 16);
    H5Dclose(x);
}

/* The same as one wide row. */
static void fill_wide_chunk(hid_t file)
{
    const float zero[4] = {0};
    hid_t x = make_x(file, H5T_IEEE_F32LE, 2, (hsize_t[]){2, 2}, (hsize_t[]){2, 1 << 23}, 1);
    assert_true(H5Dwrite(x, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zero) >= 0);
    H5Dclose(x);
}

/* One chunk of 4 KB, where 64 times that is claimed and as much again; what makes the file large is another dataset. */
static void fill_few_chunks(hid_t file)
{
    static const char padding[64 << 10];
    hid_t x = make_x(file, H5T_IEEE_F32LE, 1, (hsize_t[]){2 * 64 * 1024}, (hsize_t[]){1024}, 0);
    write_zeros(x, 1024);
    H5Dclose(x);
    hsize_t n = sizeof padding;
    hid_t space = H5Screate_simple(1, &n, NULL);
    x = H5Dcreate2(file, "padding", H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(x, H5T_NATIVE_UCHAR, H5S_ALL, H5S_ALL, H5P_DEFAULT, padding);
    H5Sclose(space);
    H5Dclose(x);
}

static const struct {
    const char *name;
    void (*fill)(hid_t file);
    int text; /* read as texts; otherwise as floats */
} rows[] = {
    {"no dataspace", fill_null, 0},      {"2^65 bytes", fill_many_bytes, 1},
    {"a chunk of rank 3", fill_cube, 0}, {"a chunk of 64 MB", fill_large_chunk, 0},
    {"a wide one", fill_wide_chunk, 0},  {"1 of 128 chunks", fill_few_chunks, 0},
};

static struct ptq_h5 *made(void (*fill)(hid_t file))
{
    const char *path = ptq_join(arena, folder, "x.h5");
    struct ptq_error err;
    struct ptq_h5 *file;
    hid_t id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    fill(id);
    H5Fclose(id);
    if (ptq_h5_open_foreign(path, &file, &err)) fail_msg("%s", err.text);
    return file;
}

static void claims_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        struct ptq_h5 *file = made(rows[i].fill);
        const char **texts;
        float *data;
        int64_t n, m;
        enum ptq_status status = rows[i].text ? ptq_h5_texts(file, "/", "x", arena, &texts, &n, &err)
                                              : ptq_h5_floats(file, "/", "x", arena, &data, &n, &m, &err);
        assert_refused(rows[i].name, status, &err, "x.h5: x of / has the wrong type or shape, or claims more data");
        ptq_h5_close(file);
    }
}

/* A group whose name is longer than any of ours is none of ours; nor is what a link leads to. */
static void fill_groups(hid_t file)
{
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Lcreate_soft("/short", file, "link", H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "short", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void test_long_names(void **state)
{
    (void)state;
    struct ptq_error err;
    struct ptq_h5 *file = made(fill_groups);
    const char **names;
    int64_t n;
    assert_int_equal(ptq_h5_groups(file, "/", arena, &names, &n, &err), PTQ_EINPUT);
    assert_non_null(strstr(err.text, "is no group with a name of at most 4095 bytes"));
    ptq_h5_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(claims_are_refused), cmocka_unit_test(test_long_names)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
