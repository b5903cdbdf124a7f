#include "method.h"

#include "words.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SPEC = 400, MAX_NAMES = 64 };
#define PRESET "preset="

/* ---- the parameters that every quantising method shares: its grid ---- */

static const struct ptq_param grid_params[] = {
    {.name = "w", .min = 2, .max = 8, .doc = "bits of a code (w_bit)"},
    {.name = "g", .min = -1, .max = 1 << 20, .doc = "inputs that share a scale (group_size), not 0; -1: the whole row"},
    {.name = "range", .words = "awq|gptq", .max = 1, .doc = "awq: min..max as they are; gptq: stretched to hold 0"},
    {.name = "sym", .max = 1, .doc = "1: symmetric grid"},
    {.name = "scale_dtype", .words = "fp32|fp16", .max = 1, .doc = "arithmetic of the grid; gptq, obq: fp32 alone"},
    {.name = "only", .text = 1, .doc = "quantise these linears alone: 3.down, a role, a block, a pattern; a|b"},
    {0},
};

const struct ptq_param *ptq_grid_params(void)
{
    return grid_params;
}

static double grid_get(const struct ptq_grid *g, int i)
{
    const double value[] = {g->w_bit, (double)g->group_size, g->range, g->sym, g->scale_f16};
    return value[i];
}

static void grid_set(struct ptq_grid *g, int i, double value)
{
    double all[] = {g->w_bit, (double)g->group_size, g->range, g->sym, g->scale_f16};
    assert(i >= 0 && i < (int)(sizeof all / sizeof *all));
    all[i] = value;
    g->w_bit = (int)all[0];
    g->group_size = (int64_t)all[1];
    g->range = (enum ptq_range)all[2];
    g->sym = (int)all[3];
    g->scale_f16 = (int)all[4];
}

static int param_count(const struct ptq_param *param)
{
    int n = 0;
    while (param && param[n].name) n++;
    return n;
}

static int param_find(const struct ptq_param *param, const char *name)
{
    for (int i = 0; i < param_count(param); i++)
        if (strcmp(param[i].name, name) == 0) return i;
    return -1;
}

/* ---- reading ---- */

static int word_index(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (int i = 0; words; i++) {
        size_t here = strcspn(words, "|");
        if (here == length && memcmp(words, word, length) == 0) return i;
        words = words[here] ? words + here + 1 : NULL;
    }
    return -1;
}

static int is_integer(const struct ptq_param *p)
{
    const double all[] = {p->min, p->max, p->fallback};
    int whole = !p->real;
    for (int i = 0; i < 3; i++) whole &= all[i] == rint(all[i]);
    return whole;
}

static enum ptq_status read_value(const struct ptq_param *p, const char *text, double *out, struct ptq_error *err)
{
    if (p->words) {
        int i = word_index(p->words, text);
        if (i < 0) return ptq_fail(err, PTQ_EUSAGE, "%s=%s is not known; known: %s", p->name, text, p->words);
        *out = i;
        return PTQ_OK;
    }
    int64_t integer;
    int whole = is_integer(p);
    if (whole ? ptq_parse_int(text, (int64_t)p->min, (int64_t)p->max, &integer)
              : ptq_parse_double(text, p->min, p->max, out)) {
        if (whole) *out = (double)integer;
        return PTQ_OK;
    }
    return ptq_fail(err, PTQ_EUSAGE, "%s is '%s'; it must be %s from %.10g to %.10g", p->name, text,
                    whole ? "an integer" : "a number", p->min, p->max);
}

static enum ptq_status unknown_key(const struct ptq_method *method, const char *key, struct ptq_error *err)
{
    const char *names[sizeof grid_params / sizeof *grid_params + PTQ_MAX_PARAM + 1];
    size_t n = 0;
    struct ptq_buffer list = {0};
    for (int pass = 0; pass < 2; pass++)
        for (const struct ptq_param *p = pass ? method->param : grid_params; p && p->name; p++) names[n++] = p->name;
    if (ptq_preset_any(method->name)) names[n++] = "preset";
    for (size_t i = 0; i < n; i++) ptq_buffer_add(&list, "%s%s", i ? ", " : "", names[i]);
    const char *near = ptq_nearest(key, names, n);
    enum ptq_status status = ptq_fail(err, PTQ_EUSAGE, "%s has no parameter '%s'%s%s%s; it has %s", method->name, key,
                                      near ? ", did you mean '" : "", near ? near : "", near ? "'" : "", list.data);
    free(list.data);
    return status;
}

/* Which keys were given, by their places: no key is given twice. */
struct seen {
    unsigned grid, own;
};

static enum ptq_status read_only(struct ptq_spec *spec, const char *text, struct ptq_error *err)
{
    if (!*text || strlen(text) >= sizeof spec->only || strpbrk(text, "{} \t\n"))
        return ptq_fail(err, PTQ_EUSAGE,
                        "only is '%.40s'; it must be a linear such as 3.down, a role, a block or a pattern, of fewer "
                        "than %d characters without spaces and braces",
                        text, PTQ_MAX_ONLY);
    snprintf(spec->only, sizeof spec->only, "%s", text);
    return PTQ_OK;
}

/* One item: "w3", "g-1" or "key=value". */
static enum ptq_status read_item(struct ptq_spec *spec, const char *item, struct seen *seen, struct ptq_error *err)
{
    const char *equals = strchr(item, '='), *value = equals ? equals + 1 : item + 1;
    char name[MAX_SPEC];
    if (!equals && strchr("wg", item[0] ? item[0] : '?') == NULL) return unknown_key(spec->method, item, err);
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - item) : 1, item);
    int i = param_find(grid_params, name), own = param_find(spec->method->param, name);
    unsigned *given = i >= 0 ? &seen->grid : &seen->own;
    int place = i >= 0 ? i : own;
    if (place < 0) return unknown_key(spec->method, name, err);
    if (*given >> place & 1) return ptq_fail(err, PTQ_EUSAGE, "%s is given twice", name);
    *given |= 1u << place;
    if (i >= 0 && grid_params[i].text) return read_only(spec, value, err);
    double number;
    PTQ_TRY(read_value(i >= 0 ? &grid_params[i] : &spec->method->param[own], value, &number, err));
    if (i == 1 && number == 0)
        return ptq_fail(err, PTQ_EUSAGE, "g is 0; a group holds at least 1 weight, or -1 for the row");
    if (i >= 0)
        grid_set(&spec->grid, i, number);
    else
        spec->value[own] = number;
    return PTQ_OK;
}

/* The preset's name where the item is "preset=NAME", else NULL. */
static const char *preset_name(const char *item)
{
    return strncmp(item, PRESET, strlen(PRESET)) == 0 ? item + strlen(PRESET) : NULL;
}

/* "a,b,c", each item but the preset by itself; text is cut up. */
static enum ptq_status read_items(struct ptq_spec *spec, char *text, struct ptq_error *err)
{
    struct seen seen = {0};
    while (text) {
        char *comma = strchr(text, ',');
        if (comma) *comma = 0;
        if (!preset_name(text)) PTQ_TRY(read_item(spec, text, &seen, err));
        text = comma ? comma + 1 : NULL;
    }
    spec->given_grid |= seen.grid;
    spec->given_own |= seen.own;
    return PTQ_OK;
}

/* The preset among the items of text, if there is one: its keys are set before all others. */
static enum ptq_status read_preset(struct ptq_spec *spec, const char *text, struct ptq_error *err)
{
    for (const char *comma; text; text = comma ? comma + 1 : NULL) {
        char name[MAX_SPEC], items[MAX_SPEC];
        comma = strchr(text, ',');
        const char *start = preset_name(text);
        if (!start) continue;
        if (spec->preset) return ptq_fail(err, PTQ_EUSAGE, "preset is given twice");
        snprintf(name, sizeof name, "%.*s", (int)strcspn(start, ","), start);
        PTQ_TRY(ptq_preset_find(name, spec->method->name, &spec->preset, err));
        snprintf(items, sizeof items, "%s", spec->preset->items);
        PTQ_TRY(read_items(spec, items, err)); /* no test: our own presets, which are right */
    }
    return PTQ_OK;
}

enum ptq_status ptq_method_find(const char *name, const struct ptq_method **out, struct ptq_error *err)
{
    *out = NULL;
    const char *names[MAX_NAMES];
    struct ptq_buffer list = {0};
    assert(ptq_n_methods <= MAX_NAMES);
    for (int i = 0; i < ptq_n_methods; i++) {
        names[i] = ptq_methods[i]->name;
        ptq_buffer_add(&list, "%s%s", i ? ", " : "", names[i]);
        if (strcmp(names[i], name) == 0) *out = ptq_methods[i];
    }
    const char *near = ptq_nearest(name, names, (size_t)ptq_n_methods);
    enum ptq_status status = PTQ_OK;
    if (!*out)
        status = ptq_fail(err, PTQ_EUSAGE, "method '%.60s' is not known%s%s%s; known: %s", name,
                          near ? ", did you mean '" : "", near ? near : "", near ? "'" : "", list.data);
    free(list.data);
    return status;
}

/* rest is what stands behind the method's colon, or NULL. */
static enum ptq_status read_rest(char *rest, struct ptq_spec *out, struct ptq_error *err)
{
    out->grid = out->method->grid;
    assert(param_count(out->method->param) <= PTQ_MAX_PARAM);
    for (int i = 0; i < param_count(out->method->param); i++) out->value[i] = out->method->param[i].fallback;
    if (rest && !ptq_spec_quantizes(out)) return ptq_fail(err, PTQ_EUSAGE, "%s takes no parameters", out->method->name);
    PTQ_TRY(read_preset(out, rest, err));
    return read_items(out, rest, err);
}

enum ptq_status ptq_spec_parse(const char *text, struct ptq_spec *out, struct ptq_error *err)
{
    char copy[MAX_SPEC];
    *out = (struct ptq_spec){0};
    size_t length = strlen(text);
    if (length >= sizeof copy)
        return ptq_fail(err, PTQ_EUSAGE, "method '%.40s...' is longer than %d characters", text, MAX_SPEC);
    memcpy(copy, text, length + 1);
    char *colon = strchr(copy, ':'), *rest = colon ? colon + 1 : NULL;
    if (colon) *colon = 0;
    PTQ_TRY(ptq_method_find(copy, &out->method, err));
    return read_rest(rest, out, err) ? ptq_within(err, "method '%s'", text) : PTQ_OK;
}

/* ---- writing ---- */

static void add_value(struct ptq_buffer *text, const struct ptq_param *p, double value)
{
    if (!p->words) {
        ptq_buffer_add(text, "%.10g", value);
        return;
    }
    const char *word = p->words;
    for (int i = 0; i < (int)value; i++) word += strcspn(word, "|") + 1;
    ptq_buffer_add(text, "%.*s", (int)strcspn(word, "|"), word);
}

const char *ptq_spec_format(const struct ptq_spec *spec, struct ptq_arena *arena)
{
    const struct ptq_method *m = spec->method;
    struct ptq_buffer text = {0};
    ptq_buffer_add(&text, "%s", m->name);
    if (ptq_spec_quantizes(spec)) {
        ptq_buffer_add(&text, ":w%d,g%lld", spec->grid.w_bit, (long long)spec->grid.group_size);
        for (int i = 2; grid_params[i].name; i++) {
            if (grid_params[i].text || grid_get(&spec->grid, i) == grid_get(&m->grid, i)) continue;
            ptq_buffer_add(&text, ",%s=", grid_params[i].name);
            add_value(&text, &grid_params[i], grid_get(&spec->grid, i));
        }
        for (int i = 0; i < param_count(m->param); i++) {
            if (!m->param[i].always && spec->value[i] == m->param[i].fallback) continue;
            ptq_buffer_add(&text, ",%s=", m->param[i].name);
            add_value(&text, &m->param[i], spec->value[i]);
        }
    }
    if (*spec->only) ptq_buffer_add(&text, ",only=%s", spec->only);
    const char *result = ptq_strdup(arena, text.data);
    free(text.data);
    return result;
}

double ptq_spec_value(const struct ptq_spec *spec, const char *name)
{
    int i = param_find(spec->method->param, name);
    assert(i >= 0);
    return spec->value[i];
}

double ptq_spec_value_or(const struct ptq_spec *spec, const char *name, double fallback)
{
    int i = param_find(spec->method->param, name);
    return i < 0 ? fallback : spec->value[i];
}

int ptq_spec_has(const struct ptq_spec *spec, const char *name)
{
    return param_find(spec->method->param, name) >= 0;
}

int ptq_spec_agrees(const struct ptq_spec *pattern, const struct ptq_spec *spec)
{
    if (pattern->method != spec->method) return 0;
    if (*pattern->only && strcmp(pattern->only, spec->only) != 0) return 0;
    for (int i = 0; !grid_params[i].text; i++)
        if (pattern->given_grid >> i & 1 && grid_get(&pattern->grid, i) != grid_get(&spec->grid, i)) return 0;
    for (int i = 0; i < param_count(spec->method->param); i++)
        if (pattern->given_own >> i & 1 && pattern->value[i] != spec->value[i]) return 0;
    return 1;
}

int ptq_spec_quantizes(const struct ptq_spec *spec)
{
    return spec->method->quantize != NULL || spec->method->block_method != NULL;
}

unsigned ptq_spec_need(const struct ptq_spec *spec)
{
    return spec->method->need ? spec->method->need(spec) : PTQ_NEED_NOTHING;
}

int ptq_spec_needs_calib(const struct ptq_spec *spec)
{
    return (ptq_spec_need(spec) & (PTQ_NEED_ABSMEAN | PTQ_NEED_WINDOWS | PTQ_NEED_MOMENTS)) != 0;
}

int ptq_spec_text_needs_calib(const char *text)
{
    struct ptq_spec spec;
    struct ptq_error ignored;
    return ptq_spec_parse(text, &spec, &ignored) != PTQ_OK || ptq_spec_needs_calib(&spec);
}

int ptq_spec_reads_stats(const struct ptq_spec *spec)
{
    unsigned need = ptq_spec_need(spec);
    return need & (PTQ_NEED_ABSMEAN | PTQ_NEED_MOMENTS) || !(need & PTQ_NEED_WINDOWS);
}
