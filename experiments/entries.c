#include "entries.h"

#include <string.h>

/* ---- reading ---- */

static enum ptq_status read_methods(struct ptq_arena *arena, struct ptq_entry *entry, struct ptq_error *err)
{
    PTQ_TRY(ptq_variants_read(arena, entry->setting[PTQ_SET_METHODS].node, PTQ_MAX_VARIANTS, &entry->variant,
                              &entry->n_variants, err));
    entry->pattern = ptq_new(arena, struct ptq_spec, entry->n_variants);
    for (int i = 0; i < entry->n_variants; i++) {
        const struct ptq_variant *v = &entry->variant[i];
        const char *text = *v->items ? ptq_format(arena, "%s:%s", v->method, v->items) : v->method;
        if (ptq_spec_parse(text, &entry->pattern[i], err)) return ptq_yaml_within(v->node, err);
    }
    return PTQ_OK;
}

static enum ptq_status read_entry(struct ptq_arena *arena, enum ptq_setting_id id, struct ptq_entry *entry,
                                  struct ptq_error *err)
{
    int any = 0;
    PTQ_TRY(ptq_settings_entry(arena, id, entry->node, entry->setting, entry->given, err));
    if (entry->given[PTQ_SET_METHODS]) PTQ_TRY(read_methods(arena, entry, err));
    for (int i = 0; i < PTQ_N_SETTINGS; i++) {
        any |= entry->given[i];
        int values = i == PTQ_SET_METHODS ? entry->n_variants : entry->setting[i].n;
        if (entry->given[i]) entry->used[i] = memset(ptq_new(arena, char, values), 0, (size_t)values);
    }
    return any ? PTQ_OK : ptq_yaml_fail(entry->node, err, "an entry of %s names no axis", ptq_setting_key(id)->name);
}

enum ptq_status ptq_entries_read(struct ptq_arena *arena, enum ptq_setting_id id, const struct ptq_setting *base,
                                 struct ptq_variant *variant, int n_variants, struct ptq_entry **out, int *n,
                                 struct ptq_error *err)
{
    const struct ptq_yaml *node = base[id].node;
    *out = NULL;
    *n = 0;
    if (!node) return PTQ_OK;
    int list = node->kind == PTQ_YAML_SEQUENCE;
    *out = ptq_new(arena, struct ptq_entry, list ? node->n : 1);
    for (const struct ptq_yaml *at = list ? node->child : node; at; at = list ? at->next : NULL) {
        struct ptq_entry *entry = &(*out)[(*n)++];
        *entry = (struct ptq_entry){.node = at};
        memcpy(entry->setting, base, sizeof entry->setting);
        if (id == PTQ_SET_INCLUDE) entry->variant = variant, entry->n_variants = n_variants;
        PTQ_TRY(read_entry(arena, id, entry, err));
    }
    return PTQ_OK;
}

/* ---- exclude ---- */

/* What the job has on an axis: a text, or NULL and a number. */
static const char *on_axis(enum ptq_setting_id id, const struct ptq_job *job, const struct ptq_spec *spec,
                           int64_t *number)
{
    switch (id) {
    case PTQ_SET_MODELS:
        return job->model;
    case PTQ_SET_CALIB_TEXT:
        return job->calib;
    case PTQ_SET_EVAL_TEXT:
        return job->text;
    case PTQ_SET_W_BIT:
        *number = spec->grid.w_bit;
        return NULL;
    case PTQ_SET_GROUP_SIZE:
        *number = spec->grid.group_size;
        return NULL;
    case PTQ_SET_CALIB_WINDOWS:
        *number = job->calib_windows;
        return NULL;
    case PTQ_SET_CALIB_WINDOW:
        *number = job->calib_window;
        return NULL;
    case PTQ_SET_CALIB_SAMPLE:
        *number = (int64_t)job->calib_sample;
        return NULL;
    case PTQ_SET_SEED:
        *number = (int64_t)job->seed;
        return NULL;
    default:
        return "";
    }
}

static int has_value(enum ptq_setting_id id, const struct ptq_value *value, const struct ptq_job *job,
                     const struct ptq_spec *spec)
{
    int64_t number = 0;
    const char *text = on_axis(id, job, spec, &number);
    return text ? strcmp(text, value->text) == 0 : number == value->number;
}

static int is_value(const struct ptq_entry *entry, enum ptq_setting_id id, int i, const struct ptq_job *job,
                    const struct ptq_spec *spec)
{
    if (id == PTQ_SET_METHODS) return ptq_spec_agrees(&entry->pattern[i], spec);
    if (ptq_setting_key(id)->quantized && !ptq_spec_quantizes(spec)) return 0;
    return has_value(id, &entry->setting[id].value[i], job, spec);
}

static int values_of(const struct ptq_entry *entry, int id)
{
    return id == PTQ_SET_METHODS ? entry->n_variants : entry->setting[id].n;
}

int ptq_entry_drops(struct ptq_entry *entry, const struct ptq_job *job, const struct ptq_spec *spec)
{
    for (int id = 0; id < PTQ_N_SETTINGS; id++) {
        int any = !entry->given[id];
        for (int i = 0; !any && i < values_of(entry, id); i++)
            any = is_value(entry, (enum ptq_setting_id)id, i, job, spec);
        if (!any) return 0;
    }
    for (int id = 0; id < PTQ_N_SETTINGS; id++)
        for (int i = 0; entry->given[id] && i < values_of(entry, id); i++)
            entry->used[id][i] |= (char)is_value(entry, (enum ptq_setting_id)id, i, job, spec);
    return 1;
}

static enum ptq_status unused(const struct ptq_entry *entry, int id, int i, struct ptq_error *err)
{
    const char *key = ptq_setting_key((enum ptq_setting_id)id)->name;
    if (id != PTQ_SET_METHODS)
        return ptq_yaml_fail(entry->setting[id].value[i].node, err,
                             "exclude: %s %.60s drops no cell; name what the axes make, or leave it out", key,
                             entry->setting[id].value[i].text);
    const struct ptq_variant *v = &entry->variant[i];
    return ptq_yaml_fail(v->node, err,
                         "exclude: method %s%s%.60s drops no cell; name what the axes make, or leave it out", v->method,
                         *v->items ? ":" : "", v->items);
}

enum ptq_status ptq_entry_check_used(const struct ptq_entry *entry, struct ptq_error *err)
{
    for (int id = 0; id < PTQ_N_SETTINGS; id++)
        for (int i = 0; entry->given[id] && i < values_of(entry, id); i++)
            if (!entry->used[id][i]) return unused(entry, id, i, err);
    return PTQ_OK;
}
