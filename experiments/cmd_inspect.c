#include "cmd_inspect.h"

#include "checkpoint.h"
#include "escape.h"
#include "gguf.h"
#include "json.h"
#include "mapped.h"
#include "progress.h"

#include <string.h>

enum { VALUE_SHOWN = 200, VALUE_COLUMN = 80 };

/* How many tensors of a dtype there are, and how large they are. */
struct sum {
    long long tensors, elements, bytes;
};

static void add_up(const struct ptq_checkpoint *c, struct sum of[PTQ_N_DTYPE], struct sum *total)
{
    for (int i = 0; i < c->n_tensors; i++) {
        const struct ptq_tensor *t = &c->tensor[i];
        struct sum *both[] = {&of[t->dtype], total};
        for (int j = 0; j < 2; j++) {
            both[j]->tensors++;
            both[j]->elements += t->count;
            both[j]->bytes += (long long)t->bytes;
        }
    }
}

static const char *format_name(const struct ptq_checkpoint *c)
{
    return c->gguf ? "GGUF" : "safetensors";
}

/* ---- for people ---- */

/* Names come from a stranger, and a terminal obeys control characters. */
static const char *shown(struct ptq_arena *arena, const char *name)
{
    return ptq_escape(arena, PTQ_TABLE_TEXT, name);
}

static void print_tensors(struct ptq_arena *arena, const struct ptq_checkpoint *c, FILE *out)
{
    int widest = 6;
    for (int i = 0; i < c->n_tensors; i++) {
        int length = (int)strlen(c->tensor[i].name);
        if (length > widest && length <= 80) widest = length;
    }
    fprintf(out, "\n%-*s  %-7s %14s  shape\n", widest, "tensor", "dtype", "bytes");
    for (int i = 0; i < c->n_tensors; i++) {
        const struct ptq_tensor *t = &c->tensor[i];
        fprintf(out, "%-*s  %-7s %14zu  [", widest, shown(arena, t->name), ptq_dtypes[t->dtype].name, t->bytes);
        for (int j = 0; j < t->rank; j++) fprintf(out, "%s%lld", j ? ", " : "", (long long)t->shape[j]);
        fprintf(out, "]\n");
    }
}

static void print_metadata(struct ptq_arena *arena, const struct ptq_gguf *g, FILE *out)
{
    char value[VALUE_COLUMN];
    fprintf(out, "\n");
    for (size_t i = 0; i < ptq_gguf_n_keys(g); i++) {
        const char *key = ptq_gguf_key(g, i, value, sizeof value);
        fprintf(out, "%s = %s\n", shown(arena, key), shown(arena, value));
    }
}

static void print_all(struct ptq_arena *arena, const struct ptq_checkpoint *c, const struct sum of[PTQ_N_DTYPE],
                      const struct sum *total, FILE *out)
{
    ptq_say(out, "%s: %s, %d file%s\n", c->path, format_name(c), c->n_files, c->n_files == 1 ? "" : "s");
    for (int i = 0; i < c->n_files; i++)
        ptq_say(out, "  %s  %zu bytes\n", ptq_file_name(c->file[i].path), c->file[i].size);
    if (c->gguf) print_metadata(arena, c->gguf, out);
    print_tensors(arena, c, out);
    fprintf(out, "\n");
    for (int i = 0; i < PTQ_N_DTYPE; i++)
        if (of[i].tensors)
            fprintf(out, "%-7s %6lld tensors %14lld elements %14lld bytes\n", ptq_dtypes[i].name, of[i].tensors,
                    of[i].elements, of[i].bytes);
    fprintf(out, "%-7s %6lld tensors %14lld elements %14lld bytes\n", "all", total->tensors, total->elements,
            total->bytes);
}

/* ---- as JSON ---- */

static json_t *json_sum(const struct sum *sum)
{
    return json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)sum->tensors, "elements", (json_int_t)sum->elements,
                     "bytes", (json_int_t)sum->bytes);
}

static json_t *json_tensor(const struct ptq_tensor *t)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++) json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "dtype", ptq_dtypes[t->dtype].name, "shape", shape,
                     "bytes", (json_int_t)t->bytes);
}

/* A value in its own kind where JSON has it, else as it is shown to people. */
static json_t *json_value(const struct ptq_gguf *g, const char *key, const char *shown)
{
    struct ptq_error ignored;
    int64_t whole;
    double real;
    int truth;
    if (!ptq_gguf_bool(g, key, &truth, &ignored)) return json_boolean(truth);
    if (!ptq_gguf_int(g, key, INT64_MIN, INT64_MAX, &whole, &ignored)) return json_integer(whole);
    if (!ptq_gguf_real(g, key, &real, &ignored)) return json_real(real);
    return json_string(shown);
}

static json_t *json_metadata(const struct ptq_gguf *g)
{
    char value[VALUE_SHOWN];
    json_t *object = json_object();
    for (size_t i = 0; i < ptq_gguf_n_keys(g); i++) {
        const char *key = ptq_gguf_key(g, i, value, sizeof value);
        json_object_set_new(object, key, json_value(g, key, value));
    }
    return object;
}

static json_t *json_all(const struct ptq_checkpoint *c, const struct sum of[PTQ_N_DTYPE], const struct sum *total)
{
    json_t *files = json_array(), *tensors = json_array(), *dtypes = json_object();
    for (int i = 0; i < c->n_files; i++)
        json_array_append_new(files, json_pack("{s:s, s:I}", "name", ptq_file_name(c->file[i].path), "bytes",
                                               (json_int_t)c->file[i].size));
    for (int i = 0; i < c->n_tensors; i++) json_array_append_new(tensors, json_tensor(&c->tensor[i]));
    for (int i = 0; i < PTQ_N_DTYPE; i++)
        if (of[i].tensors) json_object_set_new(dtypes, ptq_dtypes[i].name, json_sum(&of[i]));
    json_t *path = json_string(c->path); /* NULL where the path is not UTF-8 */
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "path", path ? path : json_null(), "format", format_name(c),
                     "files", files, "metadata", c->gguf ? json_metadata(c->gguf) : json_object(), "tensors", tensors,
                     "dtypes", dtypes, "total", json_sum(total));
}

static enum ptq_status print_json(const struct ptq_checkpoint *c, const struct sum of[PTQ_N_DTYPE],
                                  const struct sum *total, FILE *out, struct ptq_error *err)
{
    json_t *root = json_all(c, of, total);
    int bad = ptq_json_show(root, JSON_COMPACT, out);
    json_decref(root);
    return bad ? ptq_fail(err, PTQ_EIO, "%s: the description cannot be written", c->path) : PTQ_OK;
}

enum ptq_status ptq_inspect_checkpoint(const char *path, int json, FILE *out, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("inspect");
    struct ptq_checkpoint c = {0};
    struct sum of[PTQ_N_DTYPE] = {{0}}, total = {0};
    enum ptq_status status = ptq_checkpoint_open(arena, path, &c, err);
    if (!status) add_up(&c, of, &total);
    if (!status && json) status = print_json(&c, of, &total, out, err);
    if (!status && !json) print_all(arena, &c, of, &total, out);
    ptq_checkpoint_close(&c);
    ptq_arena_free(arena);
    return status;
}
