#include "table_layout.h"

#include "words.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 64 };

/* ---- reading ---- */

static enum ptq_status unknown(const struct ptq_yaml *node, const char *what, const char *const *names, size_t n,
                               struct ptq_error *err)
{
    const char *word = node->text ? node->text : node->key, *near = ptq_nearest(word, names, n);
    struct ptq_buffer known = {0};
    for (size_t i = 0; i < n; i++) ptq_buffer_add(&known, "%s%s", i ? ", " : "", names[i]);
    enum ptq_status status =
        ptq_yaml_fail(node, err, "layout: unknown %s '%.40s'%s%s%s; known: %s", what, word,
                      near ? ", did you mean '" : "", near ? near : "", near ? "'" : "", known.data);
    free(known.data);
    return status;
}

static enum ptq_status one_word(const struct ptq_yaml *list, const struct ptq_yaml *item, struct ptq_error *err)
{
    if (item->kind == PTQ_YAML_SCALAR && *item->text) return PTQ_OK;
    return ptq_yaml_fail(item, err, "layout: %s holds %s; each of its entries must be a word", list->key,
                         item->kind == PTQ_YAML_SCALAR ? "nothing" : ptq_yaml_kind_name(item));
}

/* The first entry of a list, or the one word that stands for a list of it; *n: how many. */
static enum ptq_status entries(const struct ptq_yaml *list, int most, const struct ptq_yaml **first, int *n,
                               struct ptq_error *err)
{
    int is_list = list->kind == PTQ_YAML_SEQUENCE;
    *first = is_list ? list->child : list;
    *n = is_list ? list->n : 1;
    if (list->kind == PTQ_YAML_MAPPING || *n < 1 || *n > most)
        return ptq_yaml_fail(list, err, "layout: %s must be a list of 1 to %d words", list->key, most);
    return PTQ_OK;
}

static enum ptq_status read_keys(struct ptq_arena *arena, const struct ptq_yaml *list,
                                 const struct ptq_table_layout_key **out, int *n_out, struct ptq_error *err)
{
    const struct ptq_yaml *item;
    const char *names[MOST_NAMES];
    int n;
    PTQ_TRY(entries(list, PTQ_TABLE_LAYOUT_KEYS, &item, &n, err));
    for (int i = 0; i < n; i++, item = item->next) {
        PTQ_TRY(one_word(list, item, err));
        out[i] = ptq_table_layout_key(arena, item->text);
        if (!out[i]) return unknown(item, "key", names, ptq_table_layout_key_names(names, MOST_NAMES), err);
    }
    *n_out = n;
    return PTQ_OK;
}

static enum ptq_status read_values(const struct ptq_yaml *list, struct ptq_table_layout *out, struct ptq_error *err)
{
    const struct ptq_yaml *item;
    const char *names[MOST_NAMES];
    int n;
    PTQ_TRY(entries(list, PTQ_TABLE_LAYOUT_VALUES, &item, &n, err));
    for (int i = 0; i < n; i++, item = item->next) {
        PTQ_TRY(one_word(list, item, err));
        out->value[i] = ptq_table_layout_value(item->text);
        if (!out->value[i]) return unknown(item, "value", names, ptq_table_layout_value_names(names, MOST_NAMES), err);
    }
    out->n_values = n;
    return PTQ_OK;
}

static int count_key(const struct ptq_table_layout *layout, const char *key)
{
    int n = 0;
    for (int i = 0; i < layout->n_rows; i++) n += strcmp(layout->row[i]->name, key) == 0;
    for (int i = 0; i < layout->n_columns; i++) n += strcmp(layout->column[i]->name, key) == 0;
    return n;
}

/* No key twice; several values have a place. */
static enum ptq_status finish(struct ptq_arena *arena, const struct ptq_yaml *node, struct ptq_table_layout *out,
                              struct ptq_error *err)
{
    if (!out->n_rows || !out->n_columns || !out->n_values)
        return ptq_yaml_fail(node, err,
                             "layout needs rows, columns and values, such as "
                             "{rows: [method], columns: [model], values: [ppl]}");
    for (int i = 0; i < out->n_rows + out->n_columns; i++) {
        const struct ptq_table_layout_key *key = i < out->n_rows ? out->row[i] : out->column[i - out->n_rows];
        if (count_key(out, key->name) > 1)
            return ptq_yaml_fail(node, err, "layout: key '%s' stands twice; leave one out", key->name);
    }
    if (out->n_values > 1 && !count_key(out, "value"))
        out->column[out->n_columns++] = ptq_table_layout_key(arena, "value");
    return PTQ_OK;
}

enum ptq_status ptq_table_layout_read(struct ptq_arena *arena, const struct ptq_yaml *node,
                                      struct ptq_table_layout *out, struct ptq_error *err)
{
    static const char *const parts[] = {"rows", "columns", "values"};
    *out = (struct ptq_table_layout){0};
    if (node->kind != PTQ_YAML_MAPPING)
        return ptq_yaml_fail(node, err, "layout is %s; it must be a mapping of rows, columns, values",
                             ptq_yaml_kind_name(node));
    for (const struct ptq_yaml *part = node->child; part; part = part->next) {
        if (strcmp(part->key, "rows") == 0)
            PTQ_TRY(read_keys(arena, part, out->row, &out->n_rows, err));
        else if (strcmp(part->key, "columns") == 0)
            PTQ_TRY(read_keys(arena, part, out->column, &out->n_columns, err));
        else if (strcmp(part->key, "values") == 0)
            PTQ_TRY(read_values(part, out, err));
        else {
            struct ptq_yaml named = *part;
            named.text = NULL;
            return unknown(&named, "part", parts, 3, err);
        }
    }
    return finish(arena, node, out, err);
}

enum ptq_status ptq_table_layout_of_yaml(struct ptq_arena *arena, const char *file, const char *yaml,
                                         struct ptq_table_layout *out, int *found, struct ptq_error *err)
{
    struct ptq_yaml *root;
    *found = 0;
    if (!*yaml) return PTQ_OK;
    PTQ_TRY(ptq_yaml_parse(arena, file, yaml, strlen(yaml), &root, err));
    const struct ptq_yaml *node = ptq_yaml_get(root, "layout");
    if (!node) return PTQ_OK;
    *found = 1;
    PTQ_TRY(ptq_table_layout_read(arena, node, out, err));
    const struct ptq_yaml *title = ptq_yaml_get(root, "title");
    out->title = title ? title->text : NULL;
    return PTQ_OK;
}

void ptq_table_layout_of_cells(struct ptq_arena *arena, const struct ptq_cell *cells, int n,
                               struct ptq_table_layout *out, int *found)
{
    static const char table1[] = "layout: {rows: [model, bits], columns: [select, fraction], values: [ppl]}";
    struct ptq_error err;
    *found = 0;
    *out = (struct ptq_table_layout){0};
    int kept = 0, others = 0; /* of others this arrangement would leave some out */
    for (int i = 0; i < n; i++) {
        const char *method = cells[i].method;
        kept |= strcmp(method, "salient") == 0;
        others |= strcmp(method, "salient") && strcmp(method, "rtn") && strcmp(method, "fp16");
    }
    if (kept && !others) *found = !ptq_table_layout_of_yaml(arena, "table 1", table1, out, found, &err);
    out->plain = *found;
}

int ptq_table_layout_has(const struct ptq_table_layout *layout, const char *key)
{
    return count_key(layout, key) > 0;
}
