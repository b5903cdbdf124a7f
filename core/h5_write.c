/* The writing half of h5.h. */
#include "h5.h"
#include "h5_path.h"

#include <string.h>

/* Attributes above 64 KB need HDF5's dense storage, which old versions cannot read. */
enum { LARGEST_ATTRIBUTE = 1 << 15 };

static enum ptq_status put_failed(const struct ptq_h5 *file, const char *group, const char *name, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EIO, "%s: HDF5 cannot store %s of %s: %s", file->path, name, group, ptq_h5_cause());
}

enum ptq_status ptq_h5_put_group(struct ptq_h5 *file, const char *group, struct ptq_error *err)
{
    hid_t made = ptq_h5_need_group(file->id, group);
    enum ptq_status status = made < 0 ? put_failed(file, group, "a group", err) : PTQ_OK;
    ptq_h5_release(made);
    return status;
}

/* On an object that is open, in place of an attribute of that name; 0 where it fails. */
static int write_attribute(hid_t at, const char *name, hid_t stored, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    if (at >= 0 && H5Aexists(at, name) > 0) H5Adelete(at, name);
    hid_t attribute = at < 0 ? at : H5Acreate2(at, name, stored, space, H5P_DEFAULT, H5P_DEFAULT);
    int good = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    ptq_h5_release(attribute);
    ptq_h5_release(space);
    return good;
}

static enum ptq_status put_attribute(struct ptq_h5 *file, const char *group, const char *name, hid_t stored, hid_t type,
                                     const void *value, struct ptq_error *err)
{
    hid_t at = ptq_h5_need_group(file->id, group);
    int good = write_attribute(at, name, stored, type, value);
    enum ptq_status status = good ? PTQ_OK : put_failed(file, group, name, err);
    ptq_h5_release(at);
    return status;
}

static enum ptq_status put_dataset(struct ptq_h5 *file, const char *group, const char *name, hid_t stored, hid_t type,
                                   const void *data, int rank, const hsize_t *dims, struct ptq_error *err)
{
    hid_t at = ptq_h5_need_group(file->id, group), space = H5Screate_simple(rank, dims, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), dataset = H5I_INVALID_HID;
    H5Pset_obj_track_times(create, 0);
    /* All bytes are written at once, so nothing is filled before. */
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    if (at >= 0 && space >= 0) dataset = H5Dcreate2(at, name, stored, space, H5P_DEFAULT, create, H5P_DEFAULT);
    int empty = rank > 0 && (dims[0] == 0 || dims[rank - 1] == 0);
    int good = dataset >= 0 && (empty || H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    enum ptq_status status = good ? PTQ_OK : put_failed(file, group, name, err);
    ptq_h5_release(dataset);
    ptq_h5_release(create);
    ptq_h5_release(space);
    ptq_h5_release(at);
    return status;
}

/* A text of at most size bytes with its NUL: fixed length, since texts of variable length live in HDF5's global heap,
 * which is where its readers were attacked. */
static hid_t text_type(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return type;
    H5Tset_size(type, size);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

enum ptq_status ptq_h5_put_text(struct ptq_h5 *file, const char *group, const char *name, const char *value,
                                struct ptq_error *err)
{
    size_t size = strlen(value) + 1;
    hid_t type = text_type(size);
    enum ptq_status status;
    if (size <= LARGEST_ATTRIBUTE)
        status = put_attribute(file, group, name, type, type, value, err);
    else
        status = put_dataset(file, group, name, type, type, value, 0, NULL, err);
    ptq_h5_release(type);
    return status;
}

enum ptq_status ptq_h5_put_int(struct ptq_h5 *file, const char *group, const char *name, int64_t value,
                               struct ptq_error *err)
{
    return put_attribute(file, group, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value, err);
}

enum ptq_status ptq_h5_put_real(struct ptq_h5 *file, const char *group, const char *name, double value,
                                struct ptq_error *err)
{
    return put_attribute(file, group, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, err);
}

enum ptq_status ptq_h5_put_floats(struct ptq_h5 *file, const char *group, const char *name, const float *data,
                                  int64_t rows, int64_t columns, struct ptq_error *err)
{
    const hsize_t dims[] = {(hsize_t)rows, (hsize_t)columns};
    return put_dataset(file, group, name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, data, 2, dims, err);
}

enum ptq_status ptq_h5_put_reals(struct ptq_h5 *file, const char *group, const char *name, const double *data,
                                 int64_t n, struct ptq_error *err)
{
    const hsize_t dims[] = {(hsize_t)n};
    return put_dataset(file, group, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, data, 1, dims, err);
}

enum ptq_status ptq_h5_put_ints(struct ptq_h5 *file, const char *group, const char *name, const int64_t *data,
                                int64_t n, struct ptq_error *err)
{
    const hsize_t dims[] = {(hsize_t)n};
    return put_dataset(file, group, name, H5T_STD_I64LE, H5T_NATIVE_INT64, data, 1, dims, err);
}

enum ptq_status ptq_h5_put_bytes(struct ptq_h5 *file, const char *group, const char *name, const uint8_t *data,
                                 int64_t rows, int64_t columns, struct ptq_error *err)
{
    const hsize_t dims[] = {(hsize_t)rows, (hsize_t)columns};
    return put_dataset(file, group, name, H5T_STD_U8LE, H5T_NATIVE_UINT8, data, 2, dims, err);
}

enum ptq_status ptq_h5_put_texts(struct ptq_h5 *file, const char *group, const char *name, const char *const *data,
                                 int64_t n, struct ptq_error *err)
{
    const hsize_t dims[] = {(hsize_t)n};
    size_t width = 1;
    for (int64_t i = 0; i < n; i++)
        if (strlen(data[i]) + 1 > width) width = strlen(data[i]) + 1;
    struct ptq_arena *arena = ptq_arena_make("texts for HDF5");
    char *flat = ptq_alloc_array(arena, (size_t)n, width, "texts of one width");
    for (int64_t i = 0; i < n; i++) memcpy(flat + (size_t)i * width, data[i], strlen(data[i]));
    hid_t type = text_type(width);
    enum ptq_status status = put_dataset(file, group, name, type, type, flat, 1, dims, err);
    ptq_h5_release(type);
    ptq_arena_free(arena);
    return status;
}

static int write_text_attribute(hid_t at, const char *name, const char *value)
{
    hid_t type = text_type(strlen(value) + 1);
    int good = write_attribute(at, name, type, type, value);
    ptq_h5_release(type);
    return good;
}

enum ptq_status ptq_h5_describe(struct ptq_h5 *file, const char *group, const char *name, const char *unit,
                                const char *about, struct ptq_error *err)
{
    hid_t at = ptq_h5_need_group(file->id, group), dataset = at < 0 ? at : H5Dopen2(at, name, H5P_DEFAULT);
    int good =
        dataset >= 0 && write_text_attribute(dataset, "unit", unit) && write_text_attribute(dataset, "about", about);
    enum ptq_status status = good ? PTQ_OK : put_failed(file, group, name, err);
    ptq_h5_release(dataset);
    ptq_h5_release(at);
    return status;
}
