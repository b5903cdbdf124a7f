#include "safetensors.h"

#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000, NAME_SHOWN = 100, MAX_NAME = 4096 };

/* A tensor and where its data lies, before the whole is checked. */
struct entry {
    struct ptq_tensor tensor;
    uint64_t begin, end;
};

/* ---- one entry ---- */

static enum ptq_status check_name(const char *path, const char *name, struct ptq_error *err)
{
    if (!*name) return ptq_fail(err, PTQ_EINPUT, "%s: header: a tensor's name is empty", path);
    size_t length = strlen(name);
    if (length > MAX_NAME)
        return ptq_fail(err, PTQ_EINPUT, "%s: header: the name %.*s... has %zu bytes; at most %d are read", path,
                        (int)NAME_SHOWN, name, length, (int)MAX_NAME);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return ptq_fail(err, PTQ_EINPUT, "%s: header: a tensor's name holds the control character 0x%02x", path,
                            (unsigned char)*c);
    return PTQ_OK;
}

/* value as a whole number from 0 up; 0 when it is something else. */
static int take_count(const json_t *value, uint64_t *out)
{
    if (!ptq_json_is(value, JSON_INTEGER) || json_integer_value(value) < 0) return 0;
    *out = (uint64_t)json_integer_value(value);
    return 1;
}

static enum ptq_status take_shape(const char *path, const json_t *shape, struct ptq_tensor *t, struct ptq_error *err)
{
    if (!ptq_json_is(shape, JSON_ARRAY))
        return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.shape must be an array", path, (int)NAME_SHOWN, t->name);
    if (json_array_size(shape) > PTQ_MAX_RANK)
        return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.shape has %zu dimensions; at most %d are read", path,
                        (int)NAME_SHOWN, t->name, json_array_size(shape), (int)PTQ_MAX_RANK);
    t->rank = (int)json_array_size(shape);
    t->count = 1;
    for (int i = 0; i < t->rank; i++) {
        uint64_t n;
        if (!take_count(json_array_get(shape, (size_t)i), &n))
            return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.shape[%d] must be a whole number from 0 up", path,
                            (int)NAME_SHOWN, t->name, i);
        t->shape[i] = (int64_t)n;
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count))
            return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.shape: the product of the dimensions is too large", path,
                            (int)NAME_SHOWN, t->name);
    }
    return PTQ_OK;
}

static enum ptq_status take_dtype(const char *path, const json_t *dtype, struct ptq_tensor *t, struct ptq_error *err)
{
    const char *name = json_string_value(dtype);
    if (!name)
        return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.dtype must be a string", path, (int)NAME_SHOWN, t->name);
    for (int i = 0; i < PTQ_N_DTYPE; i++)
        if (ptq_dtypes[i].safetensors && strcmp(ptq_dtypes[i].safetensors, name) == 0) {
            t->dtype = (enum ptq_dtype)i;
            return PTQ_OK;
        }
    return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.dtype '%.20s' is not known; ptq reads F32, F16 and BF16", path,
                    (int)NAME_SHOWN, t->name, name);
}

static enum ptq_status take_offsets(const char *path, const json_t *offsets, struct entry *e, struct ptq_error *err)
{
    const char *name = e->tensor.name;
    if (json_array_size(offsets) != 2 || !take_count(json_array_get(offsets, 0), &e->begin) ||
        !take_count(json_array_get(offsets, 1), &e->end))
        return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.data_offsets must be two whole numbers from 0 up", path,
                        (int)NAME_SHOWN, name);
    if (e->begin > e->end)
        return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s.data_offsets: begin %llu is behind end %llu", path,
                        (int)NAME_SHOWN, name, (unsigned long long)e->begin, (unsigned long long)e->end);
    return PTQ_OK;
}

static enum ptq_status take_entry(const char *path, const json_t *json, struct entry *e, struct ptq_error *err)
{
    struct ptq_tensor *t = &e->tensor;
    if (!ptq_json_is(json, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: header: %.*s must be an object with dtype, shape and data_offsets", path,
                        (int)NAME_SHOWN, t->name);
    PTQ_TRY(take_dtype(path, json_object_get(json, "dtype"), t, err));
    PTQ_TRY(take_shape(path, json_object_get(json, "shape"), t, err));
    PTQ_TRY(take_offsets(path, json_object_get(json, "data_offsets"), e, err));
    uint64_t bytes; /* the safetensors dtypes that are known have blocks of one element */
    if (__builtin_mul_overflow((uint64_t)t->count, (uint64_t)ptq_dtypes[t->dtype].block_bytes, &bytes) ||
        bytes != e->end - e->begin)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: header: %.*s: %lld elements of %s do not take the %llu bytes of its data_offsets", path,
                        (int)NAME_SHOWN, t->name, (long long)t->count, ptq_dtypes[t->dtype].name,
                        (unsigned long long)(e->end - e->begin));
    return PTQ_OK;
}

/* ---- the header ---- */

static enum ptq_status check_metadata(const char *path, const json_t *metadata, struct ptq_error *err)
{
    const char *key;
    json_t *value;
    if (ptq_json_is(metadata, JSON_NULL)) return PTQ_OK;
    if (!ptq_json_is(metadata, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: header: __metadata__ must be an object of strings", path);
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!ptq_json_is(value, JSON_STRING))
            return ptq_fail(err, PTQ_EINPUT, "%s: header: __metadata__ must hold strings only", path);
    }
    return PTQ_OK;
}

static enum ptq_status take_entries(struct ptq_arena *arena, const struct ptq_mapped *file, json_t *header,
                                    struct entry *entry, size_t *n, struct ptq_error *err)
{
    const char *name;
    json_t *value;
    *n = 0;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            PTQ_TRY(check_metadata(file->path, value, err));
            continue;
        }
        PTQ_TRY(check_name(file->path, name, err));
        struct entry *e = &entry[(*n)++];
        e->tensor.name = ptq_strdup(arena, name);
        e->tensor.file = file;
        PTQ_TRY(take_entry(file->path, value, e, err));
    }
    return PTQ_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

/* Each byte of the data belongs to exactly one tensor; data of size bytes begins at byte start of the file. */
static enum ptq_status place(const struct ptq_mapped *file, size_t start, struct entry *entry, size_t n,
                             struct ptq_error *err)
{
    uint64_t at = 0, size = file->size - start;
    qsort(entry, n, sizeof *entry, by_offset);
    for (size_t i = 0; i < n; i++) {
        struct entry *e = &entry[i];
        if (e->begin != at)
            return ptq_fail(err, PTQ_EINPUT, "%s: %.*s begins at data byte %llu, %s the tensor before it ends (%llu)",
                            file->path, (int)NAME_SHOWN, e->tensor.name, (unsigned long long)e->begin,
                            e->begin < at ? "before" : "behind where", (unsigned long long)at);
        if (e->end > size)
            return ptq_fail(
                err, PTQ_EINPUT, "%s: %.*s ends at data byte %llu and the file holds %llu; it is cut short or damaged",
                file->path, (int)NAME_SHOWN, e->tensor.name, (unsigned long long)e->end, (unsigned long long)size);
        e->tensor.data = file->data + start + e->begin;
        e->tensor.bytes = (size_t)(e->end - e->begin);
        at = e->end;
    }
    if (at != size)
        return ptq_fail(err, PTQ_EINPUT, "%s: %llu bytes behind the last tensor belong to nothing (from byte %llu)",
                        file->path, (unsigned long long)(size - at), (unsigned long long)(start + at));
    return PTQ_OK;
}

static enum ptq_status read_header(struct ptq_arena *arena, const struct ptq_mapped *file, size_t start, json_t *header,
                                   struct ptq_tensor **tensor, size_t *n, struct ptq_error *err)
{
    if (!ptq_json_is(header, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: header: must be an object of tensors", file->path);
    struct entry *entry = ptq_new(arena, struct entry, json_object_size(header));
    PTQ_TRY(take_entries(arena, file, header, entry, n, err));
    PTQ_TRY(place(file, start, entry, *n, err));
    *tensor = ptq_new(arena, struct ptq_tensor, *n);
    for (size_t i = 0; i < *n; i++) (*tensor)[i] = entry[i].tensor;
    return PTQ_OK;
}

/* ---- the file ---- */

static int begins_with(const struct ptq_mapped *file, const char *text, size_t size)
{
    return file->size >= size && memcmp(file->data, text, size) == 0;
}

/* What people have instead of a safetensors file, by its first bytes. */
static enum ptq_status check_kind(const struct ptq_mapped *file, struct ptq_error *err)
{
    if (begins_with(file, "<!DOCTYPE", 9) || begins_with(file, "<!doctype", 9) || begins_with(file, "<html", 5))
        return ptq_fail(err, PTQ_EINPUT, "%s: is a web page, not the file itself; fetch it again", file->path);
    if (begins_with(file, "version https://git-lfs", 23))
        return ptq_fail(err, PTQ_EINPUT, "%s: is a Git LFS pointer, not the file itself; run `git lfs pull` there",
                        file->path);
    if (begins_with(file, "PK\3\4", 4) || begins_with(file, "\x80\x02", 2))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: is a pickled PyTorch file, which ptq never reads; `python3 data/convert_bin.py FOLDER` "
                        "makes safetensors of a folder of them",
                        file->path);
    return PTQ_OK;
}

static uint64_t load_u64(const unsigned char *p)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | p[i];
    return n;
}

enum ptq_status ptq_safetensors_read(struct ptq_arena *arena, const struct ptq_mapped *file, struct ptq_tensor **tensor,
                                     size_t *n, struct ptq_error *err)
{
    PTQ_TRY(check_kind(file, err));
    if (file->size < 8)
        return ptq_fail(err, PTQ_EINPUT, "%s: has %zu bytes, too few for safetensors or GGUF", file->path, file->size);
    uint64_t length = load_u64(file->data);
    if (length > MAX_HEADER || length > file->size - 8)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: byte 0: a header of %llu bytes does not fit (file: %zu bytes, limit: %d); the file is cut "
                        "short, damaged, or neither safetensors nor GGUF",
                        file->path, (unsigned long long)length, file->size, (int)MAX_HEADER);
    json_t *header;
    if (ptq_json_parse((const char *)file->data + 8, (size_t)length, "header", &header, err))
        return ptq_within(err, "%s", file->path);
    enum ptq_status status = read_header(arena, file, 8 + (size_t)length, header, tensor, n, err);
    json_decref(header);
    return status;
}
