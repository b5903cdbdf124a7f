#include "gguf.h"

#include "gguf_parse.h"
#include "unicode.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lookup ---- */

static int key_order(const void *key, const void *value)
{
    return strcmp(key, ((const struct ptq_gguf_value *)value)->key);
}

static const struct ptq_gguf_value *lookup(const struct ptq_gguf *g, const char *key)
{
    return g->n_kv ? bsearch(key, g->kv, g->n_kv, sizeof *g->kv, key_order) : NULL;
}

static enum ptq_status find(const struct ptq_gguf *g, const char *key, const struct ptq_gguf_value **out,
                            struct ptq_error *err)
{
    *out = lookup(g, key);
    return *out ? PTQ_OK : ptq_fail(err, PTQ_EINPUT, "%s: metadata key '%s' is missing", g->path, key);
}

/* "u32", "array of string": what a key holds, for errors. */
static enum ptq_status wrong(const struct ptq_gguf *g, const struct ptq_gguf_value *v, const char *wanted,
                             struct ptq_error *err)
{
    int array = v->type == PTQ_GGUF_ARRAY;
    return ptq_fail(err, PTQ_EINPUT, "%s: metadata key '%s' must be %s; it is %s%s", g->path, v->key, wanted,
                    array ? "an array of " : "", ptq_gguf_types[array ? v->element : v->type].name);
}

int ptq_gguf_has(const struct ptq_gguf *g, const char *key)
{
    return lookup(g, key) != NULL;
}

/* ---- numbers ---- */

/* An integer of any width at p; 0 when the type is none. A u64 above INT64_MAX is no int64: *fits 0. */
static int load_int(uint32_t type, const unsigned char *p, int64_t *out, int *fits)
{
    *fits = 1;
    switch (type) {
    case PTQ_GGUF_U8:
        *out = p[0];
        return 1;
    case PTQ_GGUF_I8:
        *out = (int8_t)p[0];
        return 1;
    case PTQ_GGUF_U16:
        *out = p[0] | p[1] << 8;
        return 1;
    case PTQ_GGUF_I16:
        *out = (int16_t)(p[0] | p[1] << 8);
        return 1;
    case PTQ_GGUF_U32:
        *out = ptq_gguf_u32(p);
        return 1;
    case PTQ_GGUF_I32:
        *out = (int32_t)ptq_gguf_u32(p);
        return 1;
    case PTQ_GGUF_U64:
    case PTQ_GGUF_I64:
        *out = (int64_t)ptq_gguf_u64(p);
        *fits = type == PTQ_GGUF_I64 || *out >= 0;
        return 1;
    default:
        return 0;
    }
}

/* A number of any kind at p as double; 0 when the type is none. */
static int load_real(uint32_t type, const unsigned char *p, double *out)
{
    if (type == PTQ_GGUF_F32) {
        float value;
        memcpy(&value, p, 4);
        *out = (double)value;
        return 1;
    }
    if (type == PTQ_GGUF_F64) {
        memcpy(out, p, 8);
        return 1;
    }
    int64_t n;
    int fits;
    if (!load_int(type, p, &n, &fits)) return 0;
    *out = fits ? (double)n : (double)ptq_gguf_u64(p);
    return 1;
}

enum ptq_status ptq_gguf_int(const struct ptq_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                             struct ptq_error *err)
{
    const struct ptq_gguf_value *v;
    int64_t n;
    int fits;
    PTQ_TRY(find(g, key, &v, err));
    if (!load_int(v->type, v->data, &n, &fits)) return wrong(g, v, "a whole number", err);
    if (!fits || n < min || n > max)
        return ptq_fail(err, PTQ_EINPUT, "%s: metadata key '%s' must be from %lld to %lld; it is %s%lld", g->path, key,
                        (long long)min, (long long)max, fits ? "" : "above ", fits ? (long long)n : INT64_MAX);
    *out = n;
    return PTQ_OK;
}

enum ptq_status ptq_gguf_real(const struct ptq_gguf *g, const char *key, double *out, struct ptq_error *err)
{
    const struct ptq_gguf_value *v;
    double x;
    PTQ_TRY(find(g, key, &v, err));
    if (!load_real(v->type, v->data, &x)) return wrong(g, v, "a number", err);
    if (!isfinite(x))
        return ptq_fail(err, PTQ_EINPUT, "%s: metadata key '%s' is %g; it must be finite", g->path, key, x);
    *out = x;
    return PTQ_OK;
}

enum ptq_status ptq_gguf_bool(const struct ptq_gguf *g, const char *key, int *out, struct ptq_error *err)
{
    const struct ptq_gguf_value *v;
    PTQ_TRY(find(g, key, &v, err));
    if (v->type != PTQ_GGUF_BOOL) return wrong(g, v, "a bool", err);
    *out = v->data[0];
    return PTQ_OK;
}

/* ---- strings and arrays ---- */

enum ptq_status ptq_gguf_text(const struct ptq_gguf *g, const char *key, struct ptq_span *out, struct ptq_error *err)
{
    const struct ptq_gguf_value *v;
    PTQ_TRY(find(g, key, &v, err));
    if (v->type != PTQ_GGUF_STRING) return wrong(g, v, "a string", err);
    *out = (struct ptq_span){.data = (const char *)v->data, .size = (size_t)v->n};
    return PTQ_OK;
}

enum ptq_status ptq_gguf_texts(const struct ptq_gguf *g, const char *key, struct ptq_arena *arena,
                               struct ptq_span **out, size_t *n, struct ptq_error *err)
{
    const struct ptq_gguf_value *v;
    PTQ_TRY(find(g, key, &v, err));
    if (v->type != PTQ_GGUF_ARRAY || v->element != PTQ_GGUF_STRING) return wrong(g, v, "an array of strings", err);
    *n = (size_t)v->n;
    *out = ptq_new(arena, struct ptq_span, *n);
    const unsigned char *p = v->data;
    for (size_t i = 0; i < *n; i++) {
        size_t size = (size_t)ptq_gguf_u64(p); /* the reader has walked the array once: all of it is in the file */
        (*out)[i] = (struct ptq_span){.data = (const char *)p + 8, .size = size};
        p += 8 + size;
    }
    return PTQ_OK;
}

enum ptq_status ptq_gguf_ints(const struct ptq_gguf *g, const char *key, struct ptq_arena *arena, int32_t **out,
                              size_t *n, struct ptq_error *err)
{
    const struct ptq_gguf_value *v;
    int64_t item = 0;
    int fits = 0;
    PTQ_TRY(find(g, key, &v, err));
    int integers = v->type == PTQ_GGUF_ARRAY && v->element != PTQ_GGUF_STRING && v->element != PTQ_GGUF_BOOL &&
                   v->element != PTQ_GGUF_F32 && v->element != PTQ_GGUF_F64;
    if (!integers) return wrong(g, v, "an array of whole numbers", err);
    *n = (size_t)v->n;
    *out = ptq_new(arena, int32_t, *n);
    for (size_t i = 0; i < *n; i++) {
        load_int(v->element, v->data + i * ptq_gguf_types[v->element].size, &item, &fits);
        if (!fits || item < INT32_MIN || item > INT32_MAX)
            return ptq_fail(err, PTQ_EINPUT, "%s: metadata key '%s': item %zu does not fit 32 bits", g->path, key, i);
        (*out)[i] = (int32_t)item;
    }
    return PTQ_OK;
}

enum ptq_status ptq_gguf_reals(const struct ptq_gguf *g, const char *key, struct ptq_arena *arena, float **out,
                               size_t *n, struct ptq_error *err)
{
    const struct ptq_gguf_value *v;
    double item = 0;
    PTQ_TRY(find(g, key, &v, err));
    if (v->type != PTQ_GGUF_ARRAY || (v->element != PTQ_GGUF_F32 && v->element != PTQ_GGUF_F64))
        return wrong(g, v, "an array of numbers", err);
    *n = (size_t)v->n;
    *out = ptq_new(arena, float, *n);
    for (size_t i = 0; i < *n; i++) {
        load_real(v->element, v->data + i * ptq_gguf_types[v->element].size, &item);
        (*out)[i] = (float)item;
    }
    return PTQ_OK;
}

/* ---- for people ---- */

size_t ptq_gguf_n_keys(const struct ptq_gguf *g)
{
    return g->n_kv;
}

/* A string's beginning, as much as has room, with what is not printable or not UTF-8 replaced. */
static void show_text(const struct ptq_gguf_value *v, char *out, size_t size)
{
    int cut = v->n > size - 1;
    size_t n = cut ? size - 4 : (size_t)v->n, bad;
    for (size_t i = 0; i < n; i++) out[i] = (char)(v->data[i] < 0x20 || v->data[i] == 0x7f ? ' ' : v->data[i]);
    while ((bad = ptq_utf8_check(out, n)) < n) out[bad] = '?';
    snprintf(out + n, 4, "%s", cut ? "..." : "");
}

const char *ptq_gguf_key(const struct ptq_gguf *g, size_t i, char *value, size_t size)
{
    assert(size >= 8);
    const struct ptq_gguf_value *v = &g->kv[i];
    int64_t n;
    int fits;
    double x = 0;
    if (v->type == PTQ_GGUF_STRING)
        show_text(v, value, size);
    else if (v->type == PTQ_GGUF_ARRAY)
        snprintf(value, size, "[%llu %ss]", (unsigned long long)v->n, ptq_gguf_types[v->element].name);
    else if (v->type == PTQ_GGUF_BOOL)
        snprintf(value, size, "%s", v->data[0] ? "true" : "false");
    else if (load_int(v->type, v->data, &n, &fits) && fits)
        snprintf(value, size, "%lld", (long long)n);
    else
        load_real(v->type, v->data, &x), snprintf(value, size, "%.9g", x);
    return v->key;
}

/* Of an array of strings they are walked, as the reader did once. */
static size_t value_bytes(const struct ptq_gguf_value *v)
{
    const unsigned char *p = v->data;
    if (v->type == PTQ_GGUF_STRING) return (size_t)v->n;
    if (v->type != PTQ_GGUF_ARRAY) return ptq_gguf_types[v->type].size;
    if (v->element != PTQ_GGUF_STRING) return (size_t)v->n * ptq_gguf_types[v->element].size;
    for (uint64_t i = 0; i < v->n; i++) p += 8 + ptq_gguf_u64(p);
    return (size_t)(p - v->data);
}

int ptq_gguf_same(const struct ptq_gguf *a, size_t i, const struct ptq_gguf *b, size_t j)
{
    const struct ptq_gguf_value *x = &a->kv[i], *y = &b->kv[j];
    size_t bytes = value_bytes(x); /* of both, since a file may end behind the shorter one */
    return x->type == y->type && x->element == y->element && x->n == y->n && bytes == value_bytes(y) &&
           memcmp(x->data, y->data, bytes) == 0;
}
