#include "h5.h"

#include "h5_image.h"
#include "h5_path.h"
#include "mapped.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct ptq_h5 *new_file(const char *path)
{
    struct ptq_h5 *file = ptq_realloc(NULL, 1, sizeof *file, "an HDF5 file");
    size_t length = strlen(path) + 1;
    *file = (struct ptq_h5){.id = H5I_INVALID_HID, .path = ptq_realloc(NULL, length, 1, "a file's name")};
    memcpy(file->path, path, length);
    return file;
}

static void free_file(struct ptq_h5 *file)
{
    if (file->id >= 0) H5Fclose(file->id);
    ptq_unmap(&file->bytes);
    free(file->path);
    free(file);
}

/* HDF5 tells files in memory apart by their names, and refuses to open one where a file has that name on disk. */
enum { MEMORY_NAME = 64 };
static void memory_name(const struct ptq_h5 *file, char name[MEMORY_NAME])
{
    snprintf(name, MEMORY_NAME, "/dev/null/ptq-%p", (const void *)file);
}

enum ptq_status ptq_h5_create(const char *path, struct ptq_h5 **out, struct ptq_error *err)
{
    ptq_h5_quieten();
    struct ptq_h5 *file = new_file(path);
    char name[MEMORY_NAME];
    memory_name(file, name);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_fapl_core(access, 1 << 20, 0);
    /* The format of 1.8, whose metadata carries checksums. */
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    ptq_h5_object_options(create);
    file->id = H5Fcreate(name, H5F_ACC_EXCL, create, access);
    enum ptq_status status = PTQ_OK;
    if (file->id < 0)
        status = ptq_fail(err, PTQ_EIO, "%s: HDF5 cannot make a file in memory: %s", path, ptq_h5_cause());
    ptq_h5_release(access);
    ptq_h5_release(create);
    if (status) free_file(file);
    *out = status ? NULL : file;
    return status;
}

enum ptq_status ptq_h5_commit(struct ptq_h5 *file, struct ptq_error *err)
{
    enum ptq_status status;
    ssize_t size = H5Fflush(file->id, H5F_SCOPE_LOCAL) < 0 ? -1 : H5Fget_file_image(file->id, NULL, 0);
    void *image = size > 0 ? ptq_realloc(NULL, (size_t)size + PTQ_H5_SEAL, 1, "an HDF5 file") : NULL;
    if (image && H5Fget_file_image(file->id, image, (size_t)size) == size) {
        ptq_h5_mend(image, (size_t)size);
        ptq_h5_seal(image, (size_t)size);
        status = ptq_write_file(file->path, image, (size_t)size + PTQ_H5_SEAL, err);
    } else {
        status = ptq_fail(err, PTQ_EIO, "%s: HDF5 cannot make its image: %s", file->path, ptq_h5_cause());
    }
    free(image);
    free_file(file);
    return status;
}

void ptq_h5_abandon(struct ptq_h5 *file)
{
    free_file(file);
}

static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

enum ptq_status ptq_h5_begins(const char *path, int *bytes, struct ptq_error *err)
{
    struct ptq_mapped file = {0};
    enum ptq_kind kind;
    *bytes = -1;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK; /* to open a FIFO waits for its writer */
    struct ptq_arena *arena = ptq_arena_make("the first bytes of a file");
    enum ptq_status status = ptq_map(arena, path, &file, err);
    size_t n = file.size < sizeof signature ? file.size : sizeof signature;
    if (!status && (!n || memcmp(file.data, signature, n) == 0)) *bytes = (int)n;
    ptq_unmap(&file);
    ptq_arena_free(arena);
    return status;
}

/* What HDF5 itself would say in its own way, or not notice. */
static enum ptq_status check_bytes(const struct ptq_mapped *file, int need_seal, struct ptq_error *err)
{
    if (!file->size) return ptq_fail(err, PTQ_EINPUT, "%s: is empty (0 bytes), so it is no HDF5 file", file->path);
    if (file->size < sizeof signature || memcmp(file->data, signature, sizeof signature))
        return ptq_fail(err, PTQ_EINPUT, "%s: is no HDF5 file (its first 8 bytes are not HDF5's)", file->path);
    int sealed = ptq_h5_check_seal(file->data, file->size);
    if (!sealed)
        return ptq_fail(err, PTQ_EINPUT, "%s: is damaged: its bytes are not those that were written (SHA-256)",
                        file->path);
    if (ptq_h5_left_open(file->data, file->size))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: byte 11: its writer never closed it, or has it open; close it there, or make it again",
                        file->path);
    if (sealed > 0 || !need_seal) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: is HDF5, but not as ptq wrote it (its SHA-256 is missing at the end of %llu bytes); was it "
                    "changed or cut short?",
                    file->path, (unsigned long long)file->size);
}

enum ptq_status ptq_h5_map(const char *path, int need_seal, struct ptq_mapped *out, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("the check of an HDF5 file");
    *out = (struct ptq_mapped){0};
    enum ptq_status status = ptq_map(arena, path, out, err);
    if (!status) status = check_bytes(out, need_seal, err);
    if (status) ptq_unmap(out);
    out->path = path;
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_h5_check(const char *path, struct ptq_error *err)
{
    struct ptq_mapped bytes;
    PTQ_TRY(ptq_h5_map(path, 1, &bytes, err));
    ptq_unmap(&bytes);
    return PTQ_OK;
}

/* ---- a map as HDF5's file in memory: it asks for room, copies the bytes there and gives it back, three times a file,
 * and gets the map each time ---- */

static void *the_map(size_t size, H5FD_file_image_op_t op, void *map)
{
    (void)size, (void)op;
    return map;
}

static void *not_copied(void *to, const void *from, size_t size, H5FD_file_image_op_t op, void *map)
{
    (void)from, (void)size, (void)op, (void)map;
    return to;
}

static herr_t not_freed(void *room, H5FD_file_image_op_t op, void *map)
{
    (void)room, (void)op, (void)map;
    return 0;
}

static void *same_map(void *map)
{
    return map;
}

static herr_t map_stays(void *map)
{
    (void)map;
    return 0;
}

static hid_t access_to(const struct ptq_mapped *bytes)
{
    void *map = (void *)bytes->data;
    H5FD_file_image_callbacks_t calls = {the_map, not_copied, NULL, not_freed, same_map, map_stays, map};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, 1 << 20, 0);
    H5Pset_file_image_callbacks(access, &calls);
    H5Pset_file_image(access, map, bytes->size);
    return access;
}

enum ptq_status ptq_h5_open_map(const struct ptq_mapped *bytes, struct ptq_h5 **out, struct ptq_error *err)
{
    ptq_h5_quieten();
    struct ptq_h5 *file = new_file(bytes->path);
    char name[MEMORY_NAME];
    memory_name(file, name);
    file->bytes = *bytes;
    file->size = bytes->size;
    hid_t access = access_to(bytes);
    file->id = H5Fopen(name, H5F_ACC_RDONLY, access);
    enum ptq_status status = PTQ_OK;
    if (file->id < 0)
        status = ptq_fail(err, PTQ_EINPUT, "%s: is a damaged or truncated HDF5 file of %zu bytes: %s", file->path,
                          bytes->size, ptq_h5_cause());
    ptq_h5_release(access);
    if (status) free_file(file);
    *out = status ? NULL : file;
    return status;
}

static enum ptq_status open_file(const char *path, int need_seal, struct ptq_h5 **out, struct ptq_error *err)
{
    struct ptq_mapped bytes;
    PTQ_TRY(ptq_h5_map(path, need_seal, &bytes, err));
    return ptq_h5_open_map(&bytes, out, err);
}

enum ptq_status ptq_h5_open(const char *path, struct ptq_h5 **out, struct ptq_error *err)
{
    return open_file(path, 1, out, err);
}

enum ptq_status ptq_h5_open_foreign(const char *path, struct ptq_h5 **out, struct ptq_error *err)
{
    return open_file(path, 0, out, err);
}

void ptq_h5_close(struct ptq_h5 *file)
{
    free_file(file);
}

int ptq_h5_exists(struct ptq_h5 *file, const char *path)
{
    hid_t object = ptq_h5_find(file->id, path);
    ptq_h5_release(object);
    return object >= 0;
}

int ptq_h5_has_value(struct ptq_h5 *file, const char *group, const char *name)
{
    hid_t at = ptq_h5_find(file->id, group);
    int has = H5Aexists(at, name) > 0 || ptq_h5_has_link(at, name); /* below 0 where there is no such group */
    ptq_h5_release(at);
    return has;
}

/* ---- reading ---- */

/* A value that was found: an attribute or a dataset, checked against the file's size. */
struct value {
    hid_t id, type;
    int is_attribute;
    int64_t rows, columns; /* a scalar is 1 x 1, a vector 1 x n */
    size_t width;          /* bytes of an element in the file */
};

static void close_value(struct value *value)
{
    ptq_h5_release(value->type);
    ptq_h5_release(value->id);
}

static int measure(const struct ptq_h5 *file, struct value *value)
{
    hsize_t dims[3] = {1, 1, 1}; /* [n][m][1] is [n][m] */
    hid_t space = value->is_attribute ? H5Aget_space(value->id) : H5Dget_space(value->id);
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    int good = rank >= 0 && rank <= 3 && H5Sget_simple_extent_type(space) != H5S_NULL;
    if (good && rank) good = H5Sget_simple_extent_dims(space, rank == 1 ? dims + 1 : dims, NULL) >= 0 && dims[2] == 1;
    ptq_h5_release(space);
    uint64_t bytes, count;
    value->width = H5Tget_size(value->type);
    if (!good || !value->width || __builtin_mul_overflow(dims[0], dims[1], &count) || count > INT64_MAX / 8 ||
        dims[0] > INT64_MAX || dims[1] > INT64_MAX || __builtin_mul_overflow(count, value->width, &bytes) ||
        bytes / PTQ_H5_MOST_DEFLATION > file->size || (value->is_attribute && bytes > file->size))
        return 0;
    value->rows = (int64_t)dims[0];
    value->columns = (int64_t)dims[1];
    return value->is_attribute || ptq_h5_is_stored(value->id, value->width, bytes, file->size);
}

static int fits_kind(hid_t type, H5T_class_t kind)
{
    H5T_class_t found = H5Tget_class(type);
    if (kind == H5T_FLOAT) return found == H5T_FLOAT || found == H5T_INTEGER;
    return found == kind && (kind != H5T_STRING || !H5Tis_variable_str(type));
}

static hid_t open_value(hid_t group, const char *name, int *is_attribute)
{
    if (group < 0) return H5I_INVALID_HID;
    *is_attribute = H5Aexists(group, name) > 0;
    if (*is_attribute) return H5Aopen(group, name, H5P_DEFAULT);
    if (H5Iget_type(group) != H5I_GROUP || !ptq_h5_has_link(group, name)) return H5I_INVALID_HID;
    return H5Dopen2(group, name, H5P_DEFAULT);
}

/* Opens attribute or dataset `name` of `group`: of kind, and of one element where scalar is set. */
static enum ptq_status find_value(const struct ptq_h5 *file, const char *group, const char *name, H5T_class_t kind,
                                  int scalar, struct value *out, struct ptq_error *err)
{
    *out = (struct value){.type = H5I_INVALID_HID};
    hid_t at = ptq_h5_find(file->id, group);
    out->id = open_value(at, name, &out->is_attribute);
    ptq_h5_release(at);
    if (out->id < 0)
        return ptq_fail(err, PTQ_EINPUT, "%s: %s has no %s; the file is damaged or of another kind", file->path, group,
                        name);
    out->type = out->is_attribute ? H5Aget_type(out->id) : H5Dget_type(out->id);
    if (out->type >= 0 && fits_kind(out->type, kind) && measure(file, out) &&
        (!scalar || out->rows * out->columns == 1))
        return PTQ_OK;
    close_value(out);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: %s of %s has the wrong type or shape, or claims more data than the file's %llu bytes hold",
                    file->path, name, group, (unsigned long long)file->size);
}

/* Reads and closes. */
static enum ptq_status read_value(const struct ptq_h5 *file, const char *group, const char *name, struct value *value,
                                  hid_t type, void *out, struct ptq_error *err)
{
    herr_t bad = 0;
    if (value->rows > 0 && value->columns > 0)
        bad = value->is_attribute ? H5Aread(value->id, type, out)
                                  : H5Dread(value->id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
    enum ptq_status status = PTQ_OK;
    if (bad < 0)
        status = ptq_fail(err, PTQ_EINPUT, "%s: %s of %s cannot be read: %s", file->path, name, group, ptq_h5_cause());
    close_value(value);
    return status;
}

enum ptq_status ptq_h5_int(struct ptq_h5 *file, const char *group, const char *name, int64_t *out,
                           struct ptq_error *err)
{
    struct value value;
    PTQ_TRY(find_value(file, group, name, H5T_INTEGER, 1, &value, err));
    return read_value(file, group, name, &value, H5T_NATIVE_INT64, out, err);
}

enum ptq_status ptq_h5_real(struct ptq_h5 *file, const char *group, const char *name, double *out,
                            struct ptq_error *err)
{
    struct value value;
    PTQ_TRY(find_value(file, group, name, H5T_FLOAT, 1, &value, err));
    return read_value(file, group, name, &value, H5T_NATIVE_DOUBLE, out, err);
}

enum ptq_status ptq_h5_floats(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                              float **out, int64_t *rows, int64_t *columns, struct ptq_error *err)
{
    struct value value;
    PTQ_TRY(find_value(file, group, name, H5T_FLOAT, 0, &value, err));
    *rows = value.rows;
    *columns = value.columns;
    *out = ptq_new(arena, float, value.rows *value.columns);
    return read_value(file, group, name, &value, H5T_NATIVE_FLOAT, *out, err);
}

enum ptq_status ptq_h5_reals(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                             double **out, int64_t *n, struct ptq_error *err)
{
    struct value value;
    PTQ_TRY(find_value(file, group, name, H5T_FLOAT, 0, &value, err));
    *n = value.rows * value.columns;
    *out = ptq_new(arena, double, *n);
    return read_value(file, group, name, &value, H5T_NATIVE_DOUBLE, *out, err);
}

enum ptq_status ptq_h5_ints(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                            int64_t **out, int64_t *n, struct ptq_error *err)
{
    struct value value;
    PTQ_TRY(find_value(file, group, name, H5T_INTEGER, 0, &value, err));
    *n = value.rows * value.columns;
    *out = ptq_new(arena, int64_t, *n);
    return read_value(file, group, name, &value, H5T_NATIVE_INT64, *out, err);
}

enum ptq_status ptq_h5_bytes(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                             uint8_t **out, int64_t *n, struct ptq_error *err)
{
    struct value value;
    PTQ_TRY(find_value(file, group, name, H5T_INTEGER, 0, &value, err));
    *n = value.rows * value.columns;
    *out = ptq_new(arena, uint8_t, *n);
    return read_value(file, group, name, &value, H5T_NATIVE_UINT8, *out, err);
}

/* n texts of width bytes each, not necessarily with a NUL in the file. */
static enum ptq_status read_texts(const struct ptq_h5 *file, const char *group, const char *name, int scalar,
                                  struct ptq_arena *arena, char **flat, int64_t *n, size_t *width,
                                  struct ptq_error *err)
{
    struct value value;
    PTQ_TRY(find_value(file, group, name, H5T_STRING, scalar, &value, err));
    *n = value.rows * value.columns;
    *width = value.width + 1;
    *flat = ptq_alloc_array(arena, (size_t)*n, *width, "texts");
    hid_t type = H5Tcopy(value.type); /* HDF5 converts sizes and padding, but not between character sets */
    H5Tset_size(type, *width);
    H5Tset_strpad(type, H5T_STR_NULLTERM);
    enum ptq_status status = read_value(file, group, name, &value, type, *flat, err);
    ptq_h5_release(type);
    return status;
}

enum ptq_status ptq_h5_text(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                            const char **out, struct ptq_error *err)
{
    char *flat;
    int64_t n;
    size_t width;
    PTQ_TRY(read_texts(file, group, name, 1, arena, &flat, &n, &width, err));
    *out = flat;
    return PTQ_OK;
}

enum ptq_status ptq_h5_texts(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                             const char ***out, int64_t *n, struct ptq_error *err)
{
    char *flat;
    size_t width;
    PTQ_TRY(read_texts(file, group, name, 0, arena, &flat, n, &width, err));
    *out = ptq_new(arena, const char *, *n);
    for (int64_t i = 0; i < *n; i++) (*out)[i] = flat + (size_t)i * width;
    return PTQ_OK;
}

/* ---- groups ---- */

/* The name of child i where that is a group, else NULL: in creation order where the file keeps one, else by name. */
static char *group_name(hid_t group, hsize_t i, struct ptq_arena *arena)
{
    char name[PTQ_H5_LONGEST_NAME];
    ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_CRT_ORDER, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
    if (length < 0)
        length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
    if (length <= 0 || (size_t)length >= sizeof name || !ptq_h5_has_link(group, name)) return NULL;
    hid_t child = H5Oopen(group, name, H5P_DEFAULT);
    int is_group = child >= 0 && H5Iget_type(child) == H5I_GROUP;
    ptq_h5_release(child);
    return is_group ? ptq_strdup(arena, name) : NULL;
}

/* A child that is no group, or that HDF5 could not look at just now, must not pass for none: a cell would be lost. */
static enum ptq_status group_names(const struct ptq_h5 *file, const char *group, hid_t at, struct ptq_arena *arena,
                                   const char ***out, int64_t *n, struct ptq_error *err)
{
    H5G_info_t info;
    /* A link takes some bytes, so there are not more of them than bytes. */
    int good = at >= 0 && H5Iget_type(at) == H5I_GROUP && H5Gget_info(at, &info) >= 0 && info.nlinks <= file->size;
    if (!good)
        return ptq_fail(err, PTQ_EINPUT, "%s: has no group %s; the file is damaged or of another kind", file->path,
                        group);
    *out = ptq_new(arena, const char *, info.nlinks);
    for (*n = 0; *n < (int64_t)info.nlinks; (*n)++)
        if (!((*out)[*n] = group_name(at, (hsize_t)*n, arena)))
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: child %lld of %s is no group with a name of at most %d bytes, or cannot be read; the "
                            "file is damaged or of another kind",
                            file->path, (long long)*n, group, PTQ_H5_LONGEST_NAME - 1);
    return PTQ_OK;
}

enum ptq_status ptq_h5_groups(struct ptq_h5 *file, const char *group, struct ptq_arena *arena, const char ***out,
                              int64_t *n, struct ptq_error *err)
{
    hid_t at = ptq_h5_find(file->id, group);
    enum ptq_status status = group_names(file, group, at, arena, out, n, err);
    ptq_h5_release(at);
    return status;
}
