#include "gguf_write.h"

#include "gguf_parse.h"
#include "tensor_writer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, VERSION = 3 };

/* ---- metadata ---- */

static void put_u32(struct ptq_buffer *b, uint32_t value)
{
    ptq_buffer_bytes(b, &value, 4);
}

static void put_u64(struct ptq_buffer *b, uint64_t value)
{
    ptq_buffer_bytes(b, &value, 8);
}

static void put_string(struct ptq_buffer *b, const char *text, size_t size)
{
    put_u64(b, size);
    ptq_buffer_bytes(b, text, size);
}

static void begin_key(struct ptq_gguf_keys *k, const char *key, enum ptq_gguf_type type)
{
    put_string(&k->bytes, key, strlen(key));
    put_u32(&k->bytes, type);
    k->n++;
}

void ptq_gguf_put_int(struct ptq_gguf_keys *k, const char *key, int64_t value)
{
    begin_key(k, key, PTQ_GGUF_U32);
    put_u32(&k->bytes, (uint32_t)value);
}

void ptq_gguf_put_real(struct ptq_gguf_keys *k, const char *key, double value)
{
    float single = (float)value;
    begin_key(k, key, PTQ_GGUF_F32);
    ptq_buffer_bytes(&k->bytes, &single, 4);
}

void ptq_gguf_put_bool(struct ptq_gguf_keys *k, const char *key, int value)
{
    unsigned char byte = value != 0;
    begin_key(k, key, PTQ_GGUF_BOOL);
    ptq_buffer_bytes(&k->bytes, &byte, 1);
}

void ptq_gguf_put_text(struct ptq_gguf_keys *k, const char *key, const char *text)
{
    begin_key(k, key, PTQ_GGUF_STRING);
    put_string(&k->bytes, text, strlen(text));
}

static void begin_array(struct ptq_gguf_keys *k, const char *key, enum ptq_gguf_type item, size_t n)
{
    begin_key(k, key, PTQ_GGUF_ARRAY);
    put_u32(&k->bytes, item);
    put_u64(&k->bytes, n);
}

void ptq_gguf_put_texts(struct ptq_gguf_keys *k, const char *key, const struct ptq_span *text, size_t n)
{
    begin_array(k, key, PTQ_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) put_string(&k->bytes, text[i].data, text[i].size);
}

void ptq_gguf_put_ints(struct ptq_gguf_keys *k, const char *key, const int32_t *value, size_t n)
{
    begin_array(k, key, PTQ_GGUF_I32, n);
    ptq_buffer_bytes(&k->bytes, value, 4 * n);
}

void ptq_gguf_put_reals(struct ptq_gguf_keys *k, const char *key, const float *value, size_t n)
{
    begin_array(k, key, PTQ_GGUF_F32, n);
    ptq_buffer_bytes(&k->bytes, value, 4 * n);
}

/* Bytes of a value behind its type (and, of an array, its item type and count; of a string, its length). */
static size_t value_bytes(const struct ptq_gguf_value *v)
{
    if (v->type == PTQ_GGUF_STRING) return (size_t)v->n;
    if (v->type != PTQ_GGUF_ARRAY) return ptq_gguf_types[v->type].size;
    if (v->element != PTQ_GGUF_STRING) return (size_t)v->n * ptq_gguf_types[v->element].size;
    const unsigned char *p = v->data;
    for (uint64_t i = 0; i < v->n; i++) p += 8 + ptq_gguf_u64(p);
    return (size_t)(p - v->data);
}

static void put_value(struct ptq_gguf_keys *k, const struct ptq_gguf_value *v)
{
    if (v->type == PTQ_GGUF_ARRAY)
        begin_array(k, v->key, (enum ptq_gguf_type)v->element, (size_t)v->n);
    else
        begin_key(k, v->key, (enum ptq_gguf_type)v->type);
    if (v->type == PTQ_GGUF_STRING) put_u64(&k->bytes, v->n);
    ptq_buffer_bytes(&k->bytes, v->data, value_bytes(v));
}

void ptq_gguf_put_all(struct ptq_gguf_keys *k, const struct ptq_gguf *from, const char *but)
{
    for (size_t i = 0; i < from->n_kv; i++)
        if (strcmp(from->kv[i].key, but) && strcmp(from->kv[i].key, "general.alignment")) put_value(k, &from->kv[i]);
}

/* ---- the file ---- */

static void pad(struct ptq_buffer *b)
{
    static const char zeros[ALIGNMENT];
    ptq_buffer_bytes(b, zeros, (ALIGNMENT - b->size % ALIGNMENT) % ALIGNMENT);
}

static uint64_t aligned(uint64_t size)
{
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* name | rank | dims, fastest first | type | offset */
static void put_info(struct ptq_buffer *b, const struct ptq_planned *t)
{
    put_string(b, t->name, strlen(t->name));
    put_u32(b, t->columns < 0 ? 1 : 2);
    if (t->columns >= 0) put_u64(b, (uint64_t)t->columns);
    put_u64(b, (uint64_t)t->rows);
    put_u32(b, (uint32_t)ptq_dtypes[t->dtype].gguf);
    put_u64(b, t->begin);
}

enum ptq_status ptq_gguf_open(struct ptq_tensor_writer *w, const char *path, const struct ptq_gguf_keys *keys,
                              struct ptq_error *err)
{
    struct ptq_buffer header = {0};
    ptq_tensor_writer_files(w, 1);
    struct ptq_out_file *file = &w->file[0];
    file->path = ptq_strdup(w->arena, path);
    ptq_buffer_bytes(&header, "GGUF", 4);
    put_u32(&header, VERSION);
    put_u64(&header, w->n);
    put_u64(&header, keys->n);
    ptq_buffer_bytes(&header, keys->bytes.data, keys->bytes.size);
    for (size_t i = 0; i < w->n; i++) {
        w->tensor[i].begin = file->data;
        file->data += aligned(w->tensor[i].bytes);
        put_info(&header, &w->tensor[i]);
    }
    pad(&header);
    file->header = header.size;
    enum ptq_status status = ptq_tensor_writer_create(file, header.data, err);
    free(header.data);
    ptq_tensor_writer_sort(w);
    return status;
}
