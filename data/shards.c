#include "shards.h"

#include "json.h"
#include "locate.h"
#include "mapped.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 4096, MAX_CONFIG = 1 << 24 };

/* ---- folders without an index ---- */

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

struct contents {
    int safetensors, gguf, bin, index;
    char one[256];      /* the name of one safetensors that is there, */
    char a_gguf[256];   /* of one GGUF */
    char snapshot[256]; /* of a folder of the Hugging Face cache */
    char folder[256];   /* of one that could be the model's */
};

/* The name of the first folder of `folder` that holds a model, "" where none does. */
static void find_model(const char *folder, char name[256])
{
    struct ptq_arena *arena = ptq_arena_make("a look for models");
    struct dirent **entry = NULL;
    int n = scandir(folder, &entry, NULL, alphasort);
    *name = 0;
    for (int i = 0; i < n; i++) {
        const char *one = entry[i]->d_name, *path = ptq_join(arena, folder, one);
        /* Only for a hint: what cannot be looked at is none. */
        int found = ptq_is_bare_name(one) && (ptq_is_file(ptq_join(arena, path, PTQ_ONE_FILE)) ||
                                              ptq_is_file(ptq_join(arena, path, PTQ_INDEX_FILE)));
        if (found && !*name) memcpy(name, one, strlen(one) + 1);
        free(entry[i]);
    }
    free(entry);
    ptq_arena_free(arena);
}

static enum ptq_status look(const char *folder, struct contents *out, struct ptq_error *err)
{
    *out = (struct contents){0};
    DIR *dir = opendir(folder);
    if (!dir) return ptq_fail(err, PTQ_EIO, "%s: this folder cannot be read", folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *name = entry->d_name;
        int safetensors = ends_with(name, ".safetensors"), gguf = ends_with(name, ".gguf");
        out->safetensors += safetensors;
        out->gguf += gguf;
        out->index += strcmp(name, PTQ_INDEX_FILE) == 0;
        out->bin += strncmp(name, "pytorch_model", 13) == 0 && ends_with(name, ".bin");
        if ((safetensors || gguf) && ptq_is_bare_name(name))
            memcpy(gguf ? out->a_gguf : out->one, name, strlen(name) + 1);
    }
    closedir(dir);
    struct ptq_arena *arena = ptq_arena_make("a look for models");
    find_model(ptq_join(arena, folder, "snapshots"), out->snapshot);
    find_model(folder, out->folder);
    ptq_arena_free(arena);
    return PTQ_OK;
}

static enum ptq_status no_index(const char *folder, struct ptq_error *err)
{
    struct contents in;
    PTQ_TRY(look(folder, &in, err));
    if (in.gguf)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: has neither " PTQ_ONE_FILE " nor " PTQ_INDEX_FILE "; give its GGUF by its path%s%s%s%s",
                        folder, *in.a_gguf ? ", such as " : "", *in.a_gguf ? folder : "", *in.a_gguf ? "/" : "",
                        in.a_gguf);
    if (in.safetensors)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: has neither " PTQ_ONE_FILE " nor " PTQ_INDEX_FILE
                        ", and nothing says which of its other .safetensors the model is; a single one is to be "
                        "called " PTQ_ONE_FILE ", and shards need " PTQ_INDEX_FILE,
                        folder);
    if (*in.snapshot)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: is a model of the Hugging Face cache; give one of its snapshots, such as "
                        "%s/snapshots/%s, or its name ORG/NAME",
                        folder, folder, in.snapshot);
    if (*in.folder)
        return ptq_fail(err, PTQ_EINPUT, "%s: holds no model itself, but folders; give the model's, such as %s/%s",
                        folder, folder, in.folder);
    if (in.bin)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: has only pickled weights (pytorch_model*.bin), which ptq never reads; make safetensors "
                        "of them: python3 data/convert_bin.py %s",
                        folder, folder);
    return ptq_fail(err, PTQ_EINPUT, "%s: holds no model: neither " PTQ_ONE_FILE " nor " PTQ_INDEX_FILE, folder);
}

/* ---- one file by another name ---- */

/* As AutoGPTQ writes the name, without .safetensors; model_basename is older. */
static enum ptq_status named_file(struct ptq_arena *arena, const char *folder, const json_t *json, const char *what,
                                  const char **name, struct ptq_error *err)
{
    const char *base;
    PTQ_TRY(ptq_json_text_or(json, "model_basename", what, NULL, &base, err));
    PTQ_TRY(ptq_json_text_or(json, "model_file_base_name", what, base, &base, err));
    const char *file = base ? ptq_format(arena, "%s.safetensors", base) : NULL;
    if (file && ptq_is_bare_name(file) && ptq_is_file(ptq_join(arena, folder, file))) *name = file;
    return PTQ_OK;
}

static enum ptq_status ask_config(struct ptq_arena *arena, const char *folder, const char **name, struct ptq_error *err)
{
    const char *path = ptq_join(arena, folder, "quantize_config.json");
    enum ptq_kind kind;
    json_t *json;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_json_load(path, MAX_CONFIG, &json, err));
    enum ptq_status status = named_file(arena, folder, json, path, name, err);
    json_decref(json);
    return status;
}

enum ptq_status ptq_other_file(struct ptq_arena *arena, const char *folder, const char **name, struct ptq_error *err)
{
    struct contents in;
    *name = NULL;
    PTQ_TRY(look(folder, &in, err));
    if (in.index) return PTQ_OK;
    if (in.safetensors > 1) return ask_config(arena, folder, name, err);
    if (*in.one) *name = ptq_strdup(arena, in.one);
    return PTQ_OK;
}

/* ---- the index ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum ptq_status take_names(struct ptq_arena *arena, json_t *map, struct ptq_shards *s, struct ptq_error *err)
{
    const char *tensor, **name = ptq_new(arena, const char *, json_object_size(map));
    json_t *value;
    size_t n = 0;
    json_object_foreach(map, tensor, value)
    {
        const char *file = json_string_value(value);
        if (!file) return ptq_fail(err, PTQ_EINPUT, "%s: weight_map: '%.100s' must be a file name", s->path, tensor);
        if (!ptq_is_bare_name(file))
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: weight_map: the file of '%.100s' must be a bare name of letters, digits, '.', '_' "
                            "and '-' in the same folder",
                            s->path, tensor);
        name[n++] = file;
    }
    qsort(name, n, sizeof *name, by_text);
    s->name = name; /* in place: each name once, as a copy that outlives the JSON */
    for (size_t i = 0; i < n; i++) {
        if (s->n && strcmp(name[i], s->name[s->n - 1]) == 0) continue;
        if (s->n == MAX_SHARDS) return ptq_fail(err, PTQ_EINPUT, "%s: more than %d shards", s->path, (int)MAX_SHARDS);
        s->name[s->n++] = ptq_strdup(arena, name[i]);
    }
    return PTQ_OK;
}

static void take_entries(struct ptq_arena *arena, json_t *map, struct ptq_shards *s)
{
    const char *tensor;
    json_t *value;
    s->entry = ptq_new(arena, struct ptq_shard_entry, json_object_size(map));
    json_object_foreach(map, tensor, value)
    {
        const char *file = json_string_value(value);
        const char **found = bsearch(&file, s->name, (size_t)s->n, sizeof *s->name, by_text);
        s->entry[s->n_entries++] =
            (struct ptq_shard_entry){.tensor = ptq_strdup(arena, tensor), .shard = (int)(found - s->name)};
    }
}

static enum ptq_status load_index(struct ptq_arena *arena, const char *folder, json_t **json, struct ptq_error *err)
{
    struct ptq_mapped file;
    PTQ_TRY(ptq_map_member(arena, folder, PTQ_INDEX_FILE, &file, err));
    enum ptq_status status = ptq_json_parse((const char *)file.data, file.size, file.path, json, err);
    ptq_unmap(&file);
    return status;
}

enum ptq_status ptq_shards_read(struct ptq_arena *arena, const char *folder, struct ptq_shards *out,
                                struct ptq_error *err)
{
    const char *path = ptq_join(arena, folder, PTQ_INDEX_FILE);
    *out = (struct ptq_shards){.path = path};
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE) return no_index(folder, err);
    json_t *json;
    PTQ_TRY(load_index(arena, folder, &json, err));
    json_t *map = json_object_get(json, "weight_map");
    enum ptq_status status = PTQ_OK;
    if (!ptq_json_is(map, JSON_OBJECT) || !json_object_size(map))
        status = ptq_fail(err, PTQ_EINPUT, "%s: weight_map must be an object of tensor names and file names", path);
    if (!status) status = take_names(arena, map, out, err);
    if (!status) take_entries(arena, map, out);
    json_t *size = json_object_get(json_object_get(json, "metadata"), "total_size");
    out->total_size = ptq_json_is(size, JSON_INTEGER) ? json_integer_value(size) : -1;
    json_decref(json);
    return status;
}
