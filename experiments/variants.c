#include "variants.h"

#include "method.h"
#include "only.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PARAMS = 2 * PTQ_MAX_PARAM };

/* One parameter's values, as SPEC has them. */
struct param_list {
    const char *name;
    const char **value;
    int n;
};

struct reader {
    struct ptq_arena *arena;
    struct ptq_variant *variant; /* [room] */
    int n, room, limit;
    struct ptq_error *err;
};

/* "rtn" and "w=3" to "rtn:w=3"; "rtn:w3" and "g64" to "rtn:w3,g64". */
static const char *add_item(struct ptq_arena *arena, const char *spec, const char *item)
{
    return ptq_format(arena, "%s%s%s", spec, strchr(spec, ':') ? "," : ":", item);
}

/* Whether an item is w or g: "w3", "g-1", "w=3". */
static int gives(const char *items, char letter)
{
    for (const char *item = items; *item;) {
        if (item[0] == letter && item[1] && strchr("=-0123456789", item[1])) return 1;
        item += strcspn(item, ",");
        item += *item == ',';
    }
    return 0;
}

/* An error of the SPEC, put where the file has it. */
static enum ptq_status check(const char *text, const struct ptq_yaml *node, struct ptq_spec *spec,
                             struct ptq_error *err)
{
    return ptq_spec_parse(text, spec, err) ? ptq_yaml_within(node, err) : PTQ_OK;
}

static enum ptq_status add_variant(struct reader *r, const char *text, const struct ptq_yaml *node)
{
    struct ptq_spec spec;
    PTQ_TRY(check(text, node, &spec, r->err));
    if (r->n == r->limit) return ptq_yaml_fail(node, r->err, "more than %d methods with their parameters", r->limit);
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 8;
        struct ptq_variant *more = ptq_new(r->arena, struct ptq_variant, r->room);
        if (r->n) memcpy(more, r->variant, sizeof *more * (size_t)r->n);
        r->variant = more;
    }
    const char *colon = strchr(text, ':'), *items = colon ? colon + 1 : "";
    const char *pinned = spec.preset ? spec.preset->items : "";
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    r->variant[r->n++] = (struct ptq_variant){
        .node = node,
        .method = ptq_strndup(r->arena, text, length),
        .items = items,
        .has_w = gives(items, 'w') || gives(pinned, 'w'),
        .has_g = gives(items, 'g') || gives(pinned, 'g'),
        .sample = spec.preset ? spec.preset->sample : PTQ_SAMPLE_AUTO,
        .quantizes = ptq_spec_quantizes(&spec),
    };
    return PTQ_OK;
}

/* only: braces stand for several values each (methods/only.h). */
static enum ptq_status read_only(struct reader *r, const char *base, const struct ptq_yaml *node,
                                 struct param_list *out)
{
    struct stands_for {
        const char **text;
        int n;
    };
    int list = node->kind == PTQ_YAML_SEQUENCE, n = 0;
    struct stands_for *each = ptq_new(r->arena, struct stands_for, list ? node->n : 1), *one = each;
    *out = (struct param_list){.name = "only"};
    for (const struct ptq_yaml *item = list ? node->child : node; item; item = list ? item->next : NULL, one++) {
        struct ptq_spec spec;
        if (item->kind != PTQ_YAML_SCALAR || strpbrk(item->text, ",\n"))
            return ptq_yaml_fail(item, r->err, "only must be a text or a list of texts, without commas");
        if (ptq_only_expand(r->arena, item->text, r->limit - n, &one->text, &one->n, r->err))
            return ptq_yaml_within(item, r->err);
        for (int i = 0; i < one->n; i++)
            PTQ_TRY(
                check(add_item(r->arena, base, ptq_format(r->arena, "only=%s", one->text[i])), item, &spec, r->err));
        n += one->n;
    }
    out->value = ptq_new(r->arena, const char *, n);
    for (const struct stands_for *from = each; from < one; from++)
        for (int i = 0; i < from->n; i++) out->value[out->n++] = from->text[i];
    return PTQ_OK;
}

static enum ptq_status read_param(struct reader *r, const char *base, const struct ptq_yaml *node,
                                  struct param_list *out)
{
    int list = node->kind == PTQ_YAML_SEQUENCE, n = list ? node->n : 1;
    if (node->kind == PTQ_YAML_MAPPING || n == 0)
        return ptq_yaml_fail(node, r->err, "%s is %s; it must be a value or a list of values", node->key,
                             n ? "a mapping" : "an empty list");
    const char *name = strcmp(node->key, "w_bit") == 0 ? "w" : strcmp(node->key, "group_size") == 0 ? "g" : node->key;
    if (strcmp(name, "only") == 0) return read_only(r, base, node, out);
    *out = (struct param_list){.name = name, .value = ptq_new(r->arena, const char *, n), .n = n};
    for (const struct ptq_yaml *item = list ? node->child : node; n-- > 0; item = item->next) {
        struct ptq_spec spec;
        if (item->kind != PTQ_YAML_SCALAR || !*item->text || strpbrk(item->text, ",\n") || strpbrk(name, ",=\n"))
            return ptq_yaml_fail(item, r->err, "%s must be a name with one value or a list of values", node->key);
        const char *one = ptq_format(r->arena, "%s=%s", name, item->text);
        PTQ_TRY(check(add_item(r->arena, base, one), item, &spec, r->err));
        out->value[out->n - n - 1] = item->text;
    }
    return PTQ_OK;
}

/* Combination number `index` of the parameters, the last one fastest. */
static const char *combine(struct ptq_arena *arena, const char *base, const struct param_list *param, int n_params,
                           int64_t index)
{
    const char *chosen[MAX_PARAMS];
    for (int i = n_params - 1; i >= 0; i--) {
        chosen[i] = param[i].value[index % param[i].n];
        index /= param[i].n;
    }
    const char *text = base;
    for (int i = 0; i < n_params; i++)
        text = add_item(arena, text, ptq_format(arena, "%s=%s", param[i].name, chosen[i]));
    return text;
}

/* A mapping: {salient: {select: [...], fraction: [...]}}. */
static enum ptq_status read_mapping(struct reader *r, const struct ptq_yaml *node)
{
    const struct ptq_yaml *entry = node->child;
    struct param_list param[MAX_PARAMS];
    struct ptq_spec spec;
    if (node->n != 1 || entry->kind != PTQ_YAML_MAPPING)
        return ptq_yaml_fail(node, r->err,
                             "a method is one name with its parameters below it, further in: "
                             "'- salient: {fraction: [0.01, 0.03]}'");
    PTQ_TRY(check(entry->key, entry, &spec, r->err));
    if (entry->n > MAX_PARAMS)
        return ptq_yaml_fail(entry, r->err, "%s has more than %d parameters", entry->key, MAX_PARAMS);
    uint64_t product = 1;
    int n = 0;
    for (const struct ptq_yaml *child = entry->child; child; child = child->next, n++) {
        PTQ_TRY(read_param(r, entry->key, child, &param[n]));
        if (__builtin_mul_overflow(product, (uint64_t)param[n].n, &product)) product = UINT64_MAX;
    }
    if (product > (uint64_t)(r->limit - r->n))
        return ptq_yaml_fail(entry, r->err, "the parameters of %s make %llu combinations; at most %d are taken",
                             entry->key, (unsigned long long)product, r->limit);
    for (uint64_t i = 0; i < product; i++)
        PTQ_TRY(add_variant(r, combine(r->arena, entry->key, param, n, (int64_t)i), entry));
    return PTQ_OK;
}

/* In a flow list, a SPEC's comma parts it: [rtn:w3,g64] is two. */
static enum ptq_status read_scalar(struct reader *r, const struct ptq_yaml *node)
{
    if (!*node->text) return ptq_yaml_fail(node, r->err, "an empty method; write its name");
    int is_item =
        !strchr(node->text, ':') && (strchr(node->text, '=') || gives(node->text, 'w') || gives(node->text, 'g'));
    if (is_item)
        return ptq_yaml_fail(node, r->err, "'%.60s' is no method; put a SPEC that has commas in quotes", node->text);
    return add_variant(r, node->text, node);
}

enum ptq_status ptq_variants_read(struct ptq_arena *arena, const struct ptq_yaml *methods, int limit,
                                  struct ptq_variant **out, int *n, struct ptq_error *err)
{
    struct reader r = {.arena = arena, .limit = limit, .err = err};
    int list = methods->kind == PTQ_YAML_SEQUENCE;
    for (const struct ptq_yaml *node = list ? methods->child : methods; node; node = list ? node->next : NULL) {
        if (node->kind == PTQ_YAML_SEQUENCE) return ptq_yaml_fail(node, err, "a list in the list of methods");
        PTQ_TRY(node->kind == PTQ_YAML_SCALAR ? read_scalar(&r, node) : read_mapping(&r, node));
    }
    *out = r.variant;
    *n = r.n;
    return PTQ_OK;
}

enum ptq_status ptq_variant_spec(struct ptq_arena *arena, const struct ptq_variant *variant, int64_t w_bit,
                                 int64_t group_size, const char **out, struct ptq_error *err)
{
    const char *text = variant->method;
    struct ptq_spec spec;
    if (variant->quantizes && !variant->has_w)
        text = add_item(arena, text, ptq_format(arena, "w%lld", (long long)w_bit));
    if (variant->quantizes && !variant->has_g)
        text = add_item(arena, text, ptq_format(arena, "g%lld", (long long)group_size));
    if (*variant->items) text = add_item(arena, text, variant->items);
    PTQ_TRY(check(text, variant->node, &spec, err));
    *out = ptq_spec_format(&spec, arena);
    return PTQ_OK;
}
