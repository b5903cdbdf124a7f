#include "gguf_parse.h"

#include "unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above these counts a file is damaged or an attack; both bound what is allocated before the entries are seen. */
enum { MAX_KEYS = 1 << 16, MAX_TENSORS = 1 << 18, MAX_NAME = 63, MAX_KEY = 255, MAX_DIMS = 4, DEFAULT_ALIGNMENT = 32 };

const struct ptq_gguf_type_info ptq_gguf_types[PTQ_N_GGUF_TYPE] = {
    [PTQ_GGUF_U8] = {"u8", 1},       [PTQ_GGUF_I8] = {"i8", 1},     [PTQ_GGUF_U16] = {"u16", 2},
    [PTQ_GGUF_I16] = {"i16", 2},     [PTQ_GGUF_U32] = {"u32", 4},   [PTQ_GGUF_I32] = {"i32", 4},
    [PTQ_GGUF_F32] = {"f32", 4},     [PTQ_GGUF_BOOL] = {"bool", 1}, [PTQ_GGUF_STRING] = {"string", 0},
    [PTQ_GGUF_ARRAY] = {"array", 0}, [PTQ_GGUF_U64] = {"u64", 8},   [PTQ_GGUF_I64] = {"i64", 8},
    [PTQ_GGUF_F64] = {"f64", 8},
};

/* Element types of ggml that ptq does not read; those that it reads are in base/dtype.h. */
static const struct {
    uint32_t id;
    const char *name;
} other_types[] = {
    {4, "Q4_2 (removed from ggml)"},
    {5, "Q4_3 (removed from ggml)"},
    {6, "Q5_0"},
    {7, "Q5_1"},
    {9, "Q8_1"},
    {10, "Q2_K"},
    {11, "Q3_K"},
    {12, "Q4_K"},
    {13, "Q5_K"},
    {14, "Q6_K"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS"},
    {29, "IQ1_M"},
    {31, "Q4_0_4_4 (removed from ggml)"},
    {32, "Q4_0_4_8 (removed from ggml)"},
    {33, "Q4_0_8_8 (removed from ggml)"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {36, "IQ4_NL_4_4 (removed from ggml)"},
    {37, "IQ4_NL_4_8 (removed from ggml)"},
    {38, "IQ4_NL_8_8 (removed from ggml)"},
    {39, "MXFP4"},
    {40, "NVFP4"},
};

uint32_t ptq_gguf_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t ptq_gguf_u64(const unsigned char *p)
{
    return ptq_gguf_u32(p) | (uint64_t)ptq_gguf_u32(p + 4) << 32;
}

/* ---- a cursor that cannot leave the file ---- */

struct cursor {
    const struct ptq_mapped *file;
    size_t at;
    const char *subject; /* the key or tensor that is being read, for messages, and where it begins */
    size_t start;
    struct ptq_error *err;
};

static size_t left(const struct cursor *c)
{
    return c->file->size - c->at;
}

static enum ptq_status take(struct cursor *c, uint64_t bytes, const char *what, const unsigned char **out)
{
    *out = NULL;
    if (bytes > left(c))
        return ptq_fail(c->err, PTQ_EINPUT,
                        "%s: byte %zu: '%s': %s needs %llu bytes and the file has %zu more; it is cut short or damaged",
                        c->file->path, c->at, c->subject, what, (unsigned long long)bytes, left(c));
    *out = c->file->data + c->at;
    c->at += (size_t)bytes;
    return PTQ_OK;
}

static enum ptq_status take_u32(struct cursor *c, const char *what, uint32_t *out)
{
    const unsigned char *p;
    PTQ_TRY(take(c, 4, what, &p));
    *out = ptq_gguf_u32(p);
    return PTQ_OK;
}

static enum ptq_status take_u64(struct cursor *c, const char *what, uint64_t *out)
{
    const unsigned char *p;
    PTQ_TRY(take(c, 8, what, &p));
    *out = ptq_gguf_u64(p);
    return PTQ_OK;
}

/* A name that may appear in messages and in lookups: 1 to limit bytes of UTF-8, no control characters. In the arena. */
static enum ptq_status take_name(struct cursor *c, struct ptq_arena *arena, const char *what, size_t limit,
                                 const char **out)
{
    size_t start = c->at;
    uint64_t length;
    const unsigned char *p;
    PTQ_TRY(take_u64(c, what, &length));
    if (length == 0 || length > limit)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: %s has %llu bytes; 1 to %zu are allowed", c->file->path,
                        start, what, (unsigned long long)length, limit);
    PTQ_TRY(take(c, length, what, &p));
    for (size_t i = 0; i < length; i++)
        if (p[i] < 0x20 || p[i] == 0x7f)
            return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: %s holds the control character 0x%02x", c->file->path,
                            start + 8 + i, what, p[i]);
    if (ptq_utf8_check((const char *)p, (size_t)length) < length)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: %s is not UTF-8", c->file->path, start + 8, what);
    *out = ptq_strndup(arena, (const char *)p, (size_t)length);
    c->subject = *out;
    c->start = start;
    return PTQ_OK;
}

/* ---- keys and values ---- */

static enum ptq_status check_bools(struct cursor *c, const struct ptq_gguf_value *v)
{
    for (uint64_t i = 0; i < v->n; i++)
        if (v->data[i] > 1)
            return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: metadata key '%s': a bool is %d; it must be 0 or 1",
                            c->file->path, (size_t)(v->data + i - c->file->data), v->key, v->data[i]);
    return PTQ_OK;
}

static enum ptq_status take_string(struct cursor *c, struct ptq_gguf_value *v)
{
    PTQ_TRY(take_u64(c, "the length of a string", &v->n));
    return take(c, v->n, "a string", &v->data);
}

/* n values of fixed size. */
static enum ptq_status take_scalars(struct cursor *c, uint32_t type, uint64_t n, struct ptq_gguf_value *v)
{
    uint64_t bytes;
    const char *name = ptq_gguf_types[type].name;
    if (__builtin_mul_overflow(n, (uint64_t)ptq_gguf_types[type].size, &bytes))
        return ptq_fail(c->err, PTQ_EINPUT,
                        "%s: byte %zu: '%s': %llu values of %s are more than any file has; it is damaged",
                        c->file->path, c->at, c->subject, (unsigned long long)n, name);
    v->n = n;
    PTQ_TRY(take(c, bytes, name, &v->data));
    return type == PTQ_GGUF_BOOL ? check_bools(c, v) : PTQ_OK;
}

static enum ptq_status take_array(struct cursor *c, struct ptq_gguf_value *v)
{
    size_t start = c->at;
    uint64_t n;
    PTQ_TRY(take_u32(c, "the type of an array", &v->element));
    PTQ_TRY(take_u64(c, "the size of an array", &n));
    if (v->element >= PTQ_N_GGUF_TYPE || v->element == PTQ_GGUF_ARRAY)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: metadata key '%s': an array of type %u is not known",
                        c->file->path, start, v->key, v->element);
    if (v->element != PTQ_GGUF_STRING) return take_scalars(c, v->element, n, v);
    struct ptq_gguf_value item = {.key = v->key};
    const unsigned char *first = c->file->data + c->at;
    for (uint64_t i = 0; i < n; i++) PTQ_TRY(take_string(c, &item));
    v->data = first;
    v->n = n;
    return PTQ_OK;
}

static enum ptq_status take_kv(struct cursor *c, struct ptq_arena *arena, struct ptq_gguf_value *v)
{
    PTQ_TRY(take_name(c, arena, "a metadata key", MAX_KEY, &v->key));
    size_t start = c->at;
    PTQ_TRY(take_u32(c, "a value's type", &v->type));
    if (v->type >= PTQ_N_GGUF_TYPE)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: metadata key '%s': value type %u is not known",
                        c->file->path, start, v->key, v->type);
    if (v->type == PTQ_GGUF_STRING) return take_string(c, v);
    return v->type == PTQ_GGUF_ARRAY ? take_array(c, v) : take_scalars(c, v->type, 1, v);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct ptq_gguf_value *)a)->key, ((const struct ptq_gguf_value *)b)->key);
}

static enum ptq_status take_all_kv(struct cursor *c, struct ptq_arena *arena, struct ptq_gguf *g)
{
    g->kv = ptq_new(arena, struct ptq_gguf_value, g->n_kv);
    for (size_t i = 0; i < g->n_kv; i++) PTQ_TRY(take_kv(c, arena, &g->kv[i]));
    qsort(g->kv, g->n_kv, sizeof *g->kv, by_key);
    for (size_t i = 1; i < g->n_kv; i++)
        if (strcmp(g->kv[i - 1].key, g->kv[i].key) == 0)
            return ptq_fail(c->err, PTQ_EINPUT, "%s: metadata key '%s' is there twice", g->path, g->kv[i].key);
    return PTQ_OK;
}

static enum ptq_status find_alignment(struct cursor *c, struct ptq_gguf *g)
{
    g->alignment = DEFAULT_ALIGNMENT;
    struct ptq_gguf_value wanted = {.key = "general.alignment"};
    const struct ptq_gguf_value *v = g->n_kv ? bsearch(&wanted, g->kv, g->n_kv, sizeof *g->kv, by_key) : NULL;
    if (!v) return PTQ_OK;
    g->alignment = v->type == PTQ_GGUF_U32 ? ptq_gguf_u32(v->data) : 0;
    if (g->alignment && !(g->alignment & (g->alignment - 1))) return PTQ_OK;
    return ptq_fail(c->err, PTQ_EINPUT, "%s: metadata key 'general.alignment' must be a u32 that is a power of two",
                    g->path);
}

/* ---- tensors ---- */

static const char *other_type_name(uint32_t id)
{
    for (size_t i = 0; i < sizeof other_types / sizeof *other_types; i++)
        if (other_types[i].id == id) return other_types[i].name;
    return NULL;
}

static enum ptq_status find_dtype(struct cursor *c, const char *name, uint32_t id, enum ptq_dtype *out)
{
    for (int i = 0; i < PTQ_N_DTYPE; i++)
        if (ptq_dtypes[i].gguf >= 0 && (uint32_t)ptq_dtypes[i].gguf == id) {
            *out = (enum ptq_dtype)i;
            return PTQ_OK;
        }
    char readable[128] = "";
    size_t used = 0;
    for (int i = 0; i < PTQ_N_DTYPE && used < sizeof readable - 16; i++)
        if (ptq_dtypes[i].gguf >= 0 && ptq_dtypes[i].to_f32)
            used += (size_t)snprintf(readable + used, sizeof readable - used, " %s", ptq_dtypes[i].name);
    const char *other = other_type_name(id);
    if (other)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: tensor '%s' is %s, which ptq does not read; readable are:%s",
                        c->file->path, c->start, name, other, readable);
    return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: tensor '%s' has the unknown type %u; readable are:%s",
                    c->file->path, c->start, name, id, readable);
}

static enum ptq_status take_shape(struct cursor *c, struct ptq_tensor *t)
{
    uint32_t rank;
    PTQ_TRY(take_u32(c, "a tensor's rank", &rank));
    if (rank < 1 || rank > MAX_DIMS)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: tensor '%s' has rank %u; 1 to %d are allowed", c->file->path,
                        c->start, t->name, rank, (int)MAX_DIMS);
    t->rank = (int)rank;
    t->count = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        uint64_t n;
        PTQ_TRY(take_u64(c, "a tensor's shape", &n));
        if (n < 1 || n > INT64_MAX || __builtin_mul_overflow(t->count, (int64_t)n, &t->count))
            return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: tensor '%s': dimension %llu is not possible here",
                            c->file->path, c->start, t->name, (unsigned long long)n);
        t->shape[i] = (int64_t)n;
    }
    return PTQ_OK;
}

/* Behind `bytes` from start and the gap that the next one needs; UINT64_MAX where that is beyond all numbers. */
static uint64_t padded_end(uint64_t start, uint64_t bytes, uint32_t alignment)
{
    uint64_t end;
    if (__builtin_add_overflow(start, bytes, &end)) return UINT64_MAX;       /* no test: 2^18 tensors of 64 TB each */
    if (__builtin_add_overflow(end, alignment - 1, &end)) return UINT64_MAX; /* no test: as above */
    return end & ~(uint64_t)(alignment - 1);
}

/* *expected: where the data of this tensor must begin, as every writer lays it out; moved behind it. */
static enum ptq_status take_tensor(struct cursor *c, struct ptq_arena *arena, uint32_t alignment, uint64_t *expected,
                                   uint64_t *offset, struct ptq_tensor *t)
{
    uint32_t id;
    uint64_t bytes;
    PTQ_TRY(take_name(c, arena, "a tensor's name", MAX_NAME, &t->name));
    PTQ_TRY(take_shape(c, t));
    PTQ_TRY(take_u32(c, "a tensor's type", &id));
    PTQ_TRY(take_u64(c, "a tensor's offset", offset));
    PTQ_TRY(find_dtype(c, t->name, id, &t->dtype));
    const struct ptq_dtype_info *type = &ptq_dtypes[t->dtype];
    if (t->shape[t->rank - 1] % type->block_elements)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: tensor '%s' is %s: rows of %lld are no multiple of %d",
                        c->file->path, c->start, t->name, type->name, (long long)t->shape[t->rank - 1],
                        type->block_elements);
    if (*offset != *expected)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: tensor '%s' begins at data byte %llu; it must begin at %llu",
                        c->file->path, c->start, t->name, (unsigned long long)*offset, (unsigned long long)*expected);
    uint64_t blocks = (uint64_t)t->count / (uint64_t)type->block_elements;
    if (__builtin_mul_overflow(blocks, (uint64_t)type->block_bytes, &bytes) || bytes > c->file->size)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: tensor '%s' is larger than the whole file", c->file->path,
                        c->start, t->name);
    t->bytes = (size_t)bytes;
    *expected = padded_end(*offset, bytes, alignment);
    return PTQ_OK;
}

static enum ptq_status take_all_tensors(struct cursor *c, struct ptq_arena *arena, uint32_t alignment, size_t n,
                                        struct ptq_tensor *tensor)
{
    uint64_t expected = 0, *offset = ptq_new(arena, uint64_t, n);
    for (size_t i = 0; i < n; i++) PTQ_TRY(take_tensor(c, arena, alignment, &expected, &offset[i], &tensor[i]));
    uint64_t start = (c->at + (uint64_t)(alignment - 1)) & ~(uint64_t)(alignment - 1);
    for (size_t i = 0; i < n; i++) {
        struct ptq_tensor *t = &tensor[i];
        /* No overflow: the tensor before ends in the file, and this one has no more bytes than the file. */
        uint64_t end = start + offset[i] + t->bytes;
        if (end > c->file->size)
            return ptq_fail(c->err, PTQ_EINPUT,
                            "%s: tensor '%s' ends at byte %llu and the file at %zu; it is cut short or damaged",
                            c->file->path, t->name, (unsigned long long)end, c->file->size);
        t->data = c->file->data + start + offset[i];
        t->file = c->file;
    }
    return PTQ_OK;
}

/* ---- the whole ---- */

static enum ptq_status check_version(struct cursor *c, uint32_t version)
{
    if (version == 2 || version == 3) return PTQ_OK;
    if (version && !(version & 0xffff))
        return ptq_fail(c->err, PTQ_EINPUT, "%s: is a big-endian GGUF; ptq reads little-endian ones", c->file->path);
    return ptq_fail(c->err, PTQ_EINPUT, "%s: byte 4: GGUF version %u is not known; 2 and 3 are", c->file->path,
                    version);
}

/* How many entries there are: no more than limit, nor than bytes left, at entry_bytes each at the least. */
static enum ptq_status take_count(struct cursor *c, const char *what, size_t limit, size_t entry_bytes, size_t *out)
{
    uint64_t n;
    size_t start = c->at;
    PTQ_TRY(take_u64(c, what, &n));
    if (n > limit || n > left(c) / entry_bytes)
        return ptq_fail(c->err, PTQ_EINPUT, "%s: byte %zu: %s is %llu, more than such a file can hold", c->file->path,
                        start, what, (unsigned long long)n);
    *out = (size_t)n;
    return PTQ_OK;
}

int ptq_gguf_is(const struct ptq_mapped *file)
{
    return file->size >= 4 && memcmp(file->data, "GGUF", 4) == 0;
}

enum ptq_status ptq_gguf_read(struct ptq_arena *arena, const struct ptq_mapped *file, struct ptq_gguf **out,
                              struct ptq_tensor **tensor, size_t *n, struct ptq_error *err)
{
    struct cursor c = {.file = file, .at = 4, .subject = "header", .err = err};
    struct ptq_gguf *g = ptq_new(arena, struct ptq_gguf, 1);
    g->path = file->path;
    if (!ptq_gguf_is(file)) return ptq_fail(err, PTQ_EINPUT, "%s: does not begin with GGUF", file->path);
    PTQ_TRY(take_u32(&c, "the version", &g->version));
    PTQ_TRY(check_version(&c, g->version));
    PTQ_TRY(take_count(&c, "the number of tensors", MAX_TENSORS, 8 + 1 + 4 + 8 + 4 + 8, n));
    PTQ_TRY(take_count(&c, "the number of metadata keys", MAX_KEYS, 8 + 1 + 4 + 1, &g->n_kv));
    PTQ_TRY(take_all_kv(&c, arena, g));
    PTQ_TRY(find_alignment(&c, g));
    *tensor = ptq_new(arena, struct ptq_tensor, *n);
    PTQ_TRY(take_all_tensors(&c, arena, g->alignment, *n, *tensor));
    *out = g;
    return PTQ_OK;
}
