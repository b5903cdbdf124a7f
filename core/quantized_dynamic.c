/* GPTQModel's `dynamic`, settings by the names of linears: the first expression that matches from a name's beginning on
 * counts. "-:EXPRESSION" leaves linears as they were; "+:EXPRESSION", or the expression alone, gives settings of their
 * own, which here may only be those of all. */
#include "pattern.h"
#include "quantized_parts.h"

#include <string.h>

enum { MAX_EXPRESSIONS = 1024 };

/* Settings of some linears must be those of the config around them. */
static enum ptq_status check_settings(const json_t *all, const char *expression, json_t *settings, const char *what,
                                      struct ptq_error *err)
{
    const char *key;
    json_t *value;
    if (!ptq_json_is(settings, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: dynamic: '%.60s' must be an object", what, expression);
    json_object_foreach(settings, key, value)
    {
        if (!json_equal(value, json_object_get(all, key)))
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: dynamic: '%.60s' has a %.40s of its own; settings that differ between linears are not "
                            "read",
                            what, expression, key);
    }
    return PTQ_OK;
}

enum ptq_status ptq_dynamic_read(struct ptq_arena *arena, const json_t *json, const char *what,
                                 struct ptq_quantization *q, struct ptq_error *err)
{
    json_t *dynamic = json_object_get(json, "dynamic"), *settings;
    const char *expression;
    if (!ptq_json_given(dynamic)) return PTQ_OK;
    if (!ptq_json_is(dynamic, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: dynamic must be an object of expressions and settings", what);
    if (json_object_size(dynamic) > MAX_EXPRESSIONS)
        return ptq_fail(err, PTQ_EINPUT, "%s: dynamic has more than %d expressions", what, (int)MAX_EXPRESSIONS);
    q->dynamic = ptq_new(arena, struct ptq_dynamic, json_object_size(dynamic));
    json_object_foreach(dynamic, expression, settings)
    {
        int leaves = strncmp(expression, "-:", 2) == 0, prefixed = leaves || strncmp(expression, "+:", 2) == 0;
        if (!leaves) PTQ_TRY(check_settings(json, expression, settings, what, err));
        q->dynamic[q->n_dynamic++] =
            (struct ptq_dynamic){.expression = ptq_strdup(arena, expression + 2 * prefixed), .leaves = leaves};
    }
    return PTQ_OK;
}

static enum ptq_status check_name(const struct ptq_quantization *q, struct ptq_pattern *const *pattern,
                                  struct ptq_pattern_budget *budget, const struct ptq_tensor *codes, size_t size,
                                  struct ptq_error *err)
{
    for (int i = 0; i < q->n_dynamic; i++) {
        size_t start, end;
        PTQ_TRY(ptq_pattern_check(pattern[i], budget, err));
        PTQ_TRY(ptq_pattern_find(pattern[i], budget, codes->name, size, 0, &start, &end, err));
        if (start) continue;
        if (!q->dynamic[i].leaves) return PTQ_OK;
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: tensor '%s' is there, but by dynamic ('-:%.60s') that linear is not quantised; one of "
                        "them belongs to another model",
                        codes->file->path, codes->name, q->dynamic[i].expression);
    }
    return PTQ_OK;
}

static enum ptq_status check_names(const struct ptq_quantization *q, const struct ptq_checkpoint *c,
                                   struct ptq_pattern *const *pattern, struct ptq_error *err)
{
    struct ptq_pattern_budget budget;
    ptq_pattern_begin(&budget);
    for (int i = 0; i < c->n_tensors; i++) {
        size_t size = strlen(c->tensor[i].name), tail = strlen(".qweight");
        if (size < tail || strcmp(c->tensor[i].name + size - tail, ".qweight")) continue;
        ptq_pattern_allow(&budget, size);
        PTQ_TRY(check_name(q, pattern, &budget, &c->tensor[i], size - tail, err));
    }
    return PTQ_OK;
}

enum ptq_status ptq_dynamic_check(const struct ptq_quantization *q, const struct ptq_checkpoint *c,
                                  struct ptq_arena *arena, struct ptq_error *err)
{
    struct ptq_pattern **pattern = ptq_new(arena, struct ptq_pattern *, q->n_dynamic);
    enum ptq_status status = PTQ_OK;
    for (int i = 0; i < q->n_dynamic && !status; i++) {
        const char *where = ptq_format(arena, "%s: dynamic: '%.60s'", q->source, q->dynamic[i].expression);
        status = ptq_pattern_compile(arena, q->dynamic[i].expression, where, &pattern[i], err);
    }
    if (!status && q->n_dynamic) status = check_names(q, c, pattern, err);
    for (int i = 0; i < q->n_dynamic; i++) ptq_pattern_free(pattern[i]);
    return status;
}
