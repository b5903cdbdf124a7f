#include "failures.h"

#include "beside.h"
#include "escape.h"
#include "json.h"
#include "mapped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE_LIMIT = 16 << 20 };

static const char *path_of(struct ptq_arena *arena, const char *file)
{
    return ptq_format(arena, "%s" PTQ_FAILED, file);
}

/* Names are bytes, and JSON wants UTF-8. */
static json_t *text_json(struct ptq_arena *arena, const char *text)
{
    return json_string(ptq_escape(arena, PTQ_TABLE_TEXT, text ? text : ""));
}

static json_t *failures_json(struct ptq_arena *arena, const struct ptq_plan *plan)
{
    json_t *root = json_object(), *list = json_array();
    for (int i = 0; i < plan->n; i++) {
        const struct ptq_plan_cell *cell = &plan->cell[i];
        if (cell->state != PTQ_PLAN_FAILED) continue;
        json_t *failure = json_object();
        json_object_set_new(failure, "cell", text_json(arena, cell->label));
        json_object_set_new(failure, "model", text_json(arena, cell->job->model));
        json_object_set_new(failure, "why", text_json(arena, cell->why));
        json_array_append_new(list, failure);
    }
    json_object_set_new(root, "failed", list);
    return root;
}

static enum ptq_status write_list(struct ptq_arena *arena, const char *path, const struct ptq_plan *plan,
                                  struct ptq_error *err)
{
    json_t *root = failures_json(arena, plan);
    char *text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    if (!text) ptq_out_of_memory(0, "failed cells", "JSON");
    enum ptq_status status = ptq_write_file(path, text, strlen(text), err);
    free(text);
    return status;
}

static enum ptq_status remove_list(const char *path, struct ptq_error *err)
{
    ptq_sweep_temporaries(path);
    if (unlink(path) && errno != ENOENT)
        return ptq_fail(err, PTQ_EIO, "%s: cannot be removed: %s", path, strerror(errno));
    return PTQ_OK;
}

enum ptq_status ptq_failures_write(const char *file, const struct ptq_plan *plan, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("failed cells");
    const char *path = path_of(arena, file);
    int n = plan ? ptq_plan_count(plan, PTQ_PLAN_FAILED) : 0;
    enum ptq_status status = n ? write_list(arena, path, plan, err) : remove_list(path, err);
    ptq_arena_free(arena);
    return status;
}

static const char *member(struct ptq_arena *arena, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? ptq_strdup(arena, text) : "";
}

static enum ptq_status read_list(struct ptq_arena *arena, const json_t *root, const char *path,
                                 struct ptq_failure **out, int *n, struct ptq_error *err)
{
    const json_t *list = json_object_get(root, "failed");
    if (!ptq_json_is(list, JSON_ARRAY))
        return ptq_fail(err, PTQ_EINPUT, "%s: is no list of failed cells; remove it", path);
    *out = ptq_new(arena, struct ptq_failure, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *failure = json_array_get(list, i);
        (*out)[(*n)++] = (struct ptq_failure){.cell = member(arena, failure, "cell"),
                                              .model = member(arena, failure, "model"),
                                              .why = member(arena, failure, "why")};
    }
    return PTQ_OK;
}

enum ptq_status ptq_failures_read(struct ptq_arena *arena, const char *file, struct ptq_failure **out, int *n,
                                  struct ptq_error *err)
{
    char *text;
    size_t size;
    *n = 0;
    *out = NULL;
    PTQ_TRY(ptq_results_follow(arena, &file, err));
    const char *path = path_of(arena, file);
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_read_file(arena, path, SIZE_LIMIT, &text, &size, err));
    json_t *root;
    PTQ_TRY(ptq_json_parse(text, size, path, &root, err));
    enum ptq_status status = read_list(arena, root, path, out, n, err);
    json_decref(root);
    return status;
}
