#include "safetensors_write.h"

#include "json.h"
#include "mapped.h"
#include "shards.h"
#include "tensor_writer_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Shards are filled in the order of planning. */
static int assign_files(struct ptq_tensor_writer *w, uint64_t shard_bytes)
{
    uint64_t used = 0;
    int file = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (used && used + w->tensor[i].bytes > shard_bytes) used = 0, file++;
        w->tensor[i].file = file;
        used += w->tensor[i].bytes;
    }
    return file + 1;
}

/* By file, what asks for its own alignment first, then the wider types (so that all are aligned), then by name. */
static int by_place(const void *left, const void *right)
{
    const struct ptq_planned *a = left, *b = right;
    if (a->file != b->file) return a->file - b->file;
    if (a->aligned != b->aligned) return b->aligned - a->aligned;
    int wider = ptq_dtypes[b->dtype].block_bytes - ptq_dtypes[a->dtype].block_bytes;
    return wider ? wider : strcmp(a->name, b->name);
}

static json_t *describe(const struct ptq_planned *t)
{
    json_t *shape = json_array();
    json_array_append_new(shape, json_integer(t->rows));
    if (t->columns >= 0) json_array_append_new(shape, json_integer(t->columns));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", ptq_dtypes[t->dtype].safetensors, "shape", shape, "data_offsets",
                     (json_int_t)t->begin, (json_int_t)(t->begin + t->bytes));
}

/* The header of tensors [0, n), which are one file's, with its length before it; padded to 8 bytes, or to
 * what the first of them asks for. malloc memory. */
static char *make_header(struct ptq_planned *t, size_t n, struct ptq_out_file *file)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    file->data = 0;
    for (size_t i = 0; i < n; i++) {
        t[i].begin = file->data;
        file->data += t[i].bytes;
        json_object_set_new(header, t[i].name, describe(&t[i]));
    }
    char *json = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    uint64_t align = n && t[0].aligned ? PTQ_TENSOR_ALIGN : 8;
    file->header = (8 + strlen(json) + align - 1) / align * align;
    uint64_t length = file->header - 8;
    char *text = ptq_realloc(NULL, (size_t)file->header, 1, "safetensors header");
    memcpy(text, &length, 8);
    memset(text + 8, ' ', (size_t)length);
    memcpy(text + 8, json, strlen(json));
    free(json);
    return text;
}

/* ---- files ---- */

static enum ptq_status make_file(struct ptq_planned *t, size_t n, struct ptq_out_file *file, struct ptq_error *err)
{
    char *header = make_header(t, n, file);
    enum ptq_status status = ptq_tensor_writer_create(file, header, err);
    free(header);
    return status;
}

static enum ptq_status write_index(const struct ptq_tensor_writer *w, const char *folder, struct ptq_error *err)
{
    json_t *map = json_object();
    uint64_t total = 0;
    for (size_t i = 0; i < w->n; i++) {
        total += w->tensor[i].bytes;
        json_object_set_new(map, w->tensor[i].name, json_string(w->file[w->tensor[i].file].name));
    }
    json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = json_dumps(index, JSON_INDENT(2));
    json_decref(index);
    enum ptq_status status = ptq_write_file(ptq_join(w->arena, folder, PTQ_INDEX_FILE), text, strlen(text), err);
    free(text);
    return status;
}

static void name_file(struct ptq_tensor_writer *w, const char *folder, int i)
{
    struct ptq_out_file *file = &w->file[i];
    file->name =
        w->n_files == 1 ? PTQ_ONE_FILE : ptq_format(w->arena, "model-%05d-of-%05d.safetensors", i + 1, w->n_files);
    file->path = ptq_join(w->arena, folder, file->name);
}

enum ptq_status ptq_safetensors_open(struct ptq_tensor_writer *w, const char *folder, uint64_t shard_bytes,
                                     struct ptq_error *err)
{
    int n = assign_files(w, shard_bytes);
    qsort(w->tensor, w->n, sizeof *w->tensor, by_place);
    ptq_tensor_writer_files(w, n);
    for (size_t i = 0, first = 0; i < (size_t)n; i++) {
        size_t end = first;
        while (end < w->n && w->tensor[end].file == (int)i) end++;
        name_file(w, folder, (int)i);
        PTQ_TRY(make_file(w->tensor + first, end - first, &w->file[i], err));
        first = end;
    }
    ptq_tensor_writer_sort(w);
    return n > 1 ? write_index(w, folder, err) : PTQ_OK;
}

/* ---- file after file ---- */

void ptq_safetensors_expect(struct ptq_tensor_writer *w, int n_files)
{
    ptq_tensor_writer_files(w, n_files);
}

enum ptq_status ptq_safetensors_next(struct ptq_tensor_writer *w, const char *folder, struct ptq_error *err)
{
    size_t first = 0;
    assert(w->made < w->n_files);
    qsort(w->tensor, w->n, sizeof *w->tensor, by_place);
    while (first < w->n && w->tensor[first].file < w->made) first++;
    name_file(w, folder, w->made);
    enum ptq_status status = make_file(w->tensor + first, w->n - first, &w->file[w->made], err);
    ptq_tensor_writer_sort(w);
    w->made++;
    return status;
}

enum ptq_status ptq_safetensors_index(const struct ptq_tensor_writer *w, const char *folder, struct ptq_error *err)
{
    assert(w->made == w->n_files);
    return write_index(w, folder, err);
}
