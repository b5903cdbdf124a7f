#include "schema.h"

#include "method.h"
#include "path.h"
#include "words.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 4096, MAX_NAMES = 2 * PTQ_N_SETTINGS + 2 };

static const struct ptq_key keys[PTQ_N_SETTINGS] = {
    [PTQ_SET_TITLE] = {.name = "title", .kind = PTQ_KEY_TEXT, .fallback = "untitled", .doc = "one line for people"},
    [PTQ_SET_MODELS] = {.name = "models",
                        .kind = PTQ_KEY_TEXT,
                        .axis = 1,
                        .fallback = "smollm2-135m-instruct",
                        .doc = "folders, GGUF files or names"},
    [PTQ_SET_METHODS] = {.name = "methods",
                         .kind = PTQ_KEY_METHODS,
                         .axis = 1,
                         .doc = "names, SPECs, or a name with lists of parameters"},
    [PTQ_SET_W_BIT] = {.name = "w_bit",
                       .kind = PTQ_KEY_INT,
                       .axis = 1,
                       .quantized = 1,
                       .fallback = "3",
                       .grid = "w",
                       .doc = "bits of a code"},
    [PTQ_SET_GROUP_SIZE] = {.name = "group_size",
                            .kind = PTQ_KEY_INT,
                            .axis = 1,
                            .quantized = 1,
                            .fallback = "64",
                            .grid = "g",
                            .doc = "inputs that share a scale; -1: the whole row"},
    [PTQ_SET_CALIB_TEXT] = {.name = "calib.text",
                            .flat = "calib",
                            .kind = PTQ_KEY_TEXT,
                            .axis = 1,
                            .quantized = 1,
                            .fallback = "perl-doc",
                            .doc = "calibration text, a file or a name; none: see below"},
    [PTQ_SET_CALIB_WINDOWS] = {.name = "calib.windows",
                               .flat = "calib_windows",
                               .kind = PTQ_KEY_INT,
                               .axis = 1,
                               .quantized = 1,
                               .fallback = "64",
                               .min = 1,
                               .max = 1 << 20,
                               .doc = "how many calibration windows"},
    [PTQ_SET_CALIB_WINDOW] = {.name = "calib.window",
                              .flat = "calib_window",
                              .kind = PTQ_KEY_INT,
                              .axis = 1,
                              .quantized = 1,
                              .fallback = "512",
                              .min = 1,
                              .max = 1 << 20,
                              .doc = "tokens in a calibration window"},
    [PTQ_SET_CALIB_SAMPLE] = {.name = "calib.sample",
                              .flat = "calib_sample",
                              .kind = PTQ_KEY_WORD,
                              .axis = 1,
                              .quantized = 1,
                              .fallback = "auto",
                              .words = "auto|first|random|gptq|awq",
                              .doc = "which windows: see below; auto: the preset's, else first"},
    [PTQ_SET_EVAL_TEXT] = {.name = "eval.text",
                           .flat = "text",
                           .kind = PTQ_KEY_TEXT,
                           .axis = 1,
                           .fallback = "anarchism",
                           .doc = "evaluation text, a file or a name"},
    [PTQ_SET_EVAL_WINDOW] = {.name = "eval.window",
                             .flat = "window",
                             .protocol = 1,
                             .kind = PTQ_KEY_INT,
                             .fallback = "auto",
                             .min = 2,
                             .max = 1 << 20,
                             .words = "auto",
                             .doc = "tokens in a window; auto: 2048, less where the model's positions end before"},
    [PTQ_SET_EVAL_WINDOWS] = {.name = "eval.windows",
                              .flat = "windows",
                              .protocol = 1,
                              .kind = PTQ_KEY_INT,
                              .fallback = "8",
                              .min = 1,
                              .max = 1 << 30,
                              .words = "all",
                              .doc = "how many windows, from the start of the text"},
    [PTQ_SET_EVAL_BOS] = {.name = "eval.bos",
                          .flat = "bos",
                          .protocol = 1,
                          .kind = PTQ_KEY_WORD,
                          .fallback = "stream",
                          .words = "stream|none|window",
                          .doc = "the tokenizer's first token: once before the text, nowhere, before each window"},
    [PTQ_SET_EVAL_REFERENCE] = {.name = "eval.reference",
                                .flat = "reference",
                                .kind = PTQ_KEY_INT,
                                .fallback = "1",
                                .max = 1,
                                .doc = "1: compare each quantised cell with FP16, token by token (KL divergence)"},
    [PTQ_SET_SEED] = {.name = "seed",
                      .kind = PTQ_KEY_INT,
                      .axis = 1,
                      .quantized = 1,
                      .fallback = "0",
                      .max = INT64_MAX,
                      .doc = "of everything that is drawn at random"},
    [PTQ_SET_DEVICE] =
        {.name = "device", .kind = PTQ_KEY_WORD, .fallback = "cpu", .words = "cpu|cuda", .doc = "of forward passes"},
    [PTQ_SET_PATH] = {.name = "path",
                      .kind = PTQ_KEY_WORD,
                      .fallback = "fp32",
                      .words = PTQ_PATH_CHOICES,
                      .doc = "how codes are evaluated: dequantised, or as they are packed; what has none is fp32"},
    [PTQ_SET_EXCLUDE] = {.name = "exclude",
                         .kind = PTQ_KEY_CELLS,
                         .axis = 1,
                         .fallback = "none",
                         .doc = "cells that are left out of the cross: see below"},
    [PTQ_SET_INCLUDE] = {.name = "include",
                         .kind = PTQ_KEY_CELLS,
                         .axis = 1,
                         .fallback = "none",
                         .doc = "cells beside the cross: see below"},
};

const struct ptq_key *ptq_setting_key(enum ptq_setting_id id)
{
    return &keys[id];
}

/* ---- what a key takes ---- */

static void bounds(const struct ptq_key *key, int64_t *min, int64_t *max)
{
    *min = key->min, *max = key->max;
    for (const struct ptq_param *p = ptq_grid_params(); key->grid && p->name; p++)
        if (strcmp(p->name, key->grid) == 0) *min = (int64_t)p->min, *max = (int64_t)p->max;
}

static void add_wants(struct ptq_buffer *text, const struct ptq_key *key)
{
    int64_t min, max;
    bounds(key, &min, &max);
    static const char *const wants[] = {[PTQ_KEY_TEXT] = "a text",
                                        [PTQ_KEY_INT] = "an integer from",
                                        [PTQ_KEY_WORD] = "one of",
                                        [PTQ_KEY_METHODS] = "a method",
                                        [PTQ_KEY_CELLS] = "a mapping of axes to values"};
    ptq_buffer_add(text, "%s", wants[key->kind]);
    if (key->kind == PTQ_KEY_INT) ptq_buffer_add(text, " %lld to %lld", (long long)min, (long long)max);
    if (key->kind == PTQ_KEY_INT && key->grid && min < 0) ptq_buffer_add(text, " other than 0");
    if (key->words) ptq_buffer_add(text, "%s %s", key->kind == PTQ_KEY_WORD ? "" : " or", key->words);
    if (key->axis) ptq_buffer_add(text, ", or a list of them");
}

/* "KEY <is what is wrong>; it must be <what it takes>". */
static enum ptq_status refuse(const struct ptq_yaml *node, const struct ptq_key *key, const char *wrong,
                              struct ptq_error *err)
{
    struct ptq_buffer wants = {0};
    add_wants(&wants, key);
    enum ptq_status status = ptq_yaml_fail(node, err, "%s is %s; it must be %s", key->name, wrong, wants.data);
    free(wants.data);
    return status;
}

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

static int read_number(const struct ptq_key *key, const char *text, int64_t *out)
{
    int64_t min, max;
    bounds(key, &min, &max);
    if (key->kind == PTQ_KEY_WORD || (key->words && strcmp(key->words, text) == 0)) {
        *out = word_index(key->words, text);
        return *out >= 0;
    }
    return ptq_parse_int(text, min, max, out) && !(key->grid && *out == 0);
}

#define SEVERAL_PROTOCOLS "a list, and a table never mixes protocols (another experiment may have another)"

static enum ptq_status read_value(const struct ptq_key *key, const struct ptq_yaml *node, struct ptq_value *out,
                                  struct ptq_error *err)
{
    if (node->kind != PTQ_YAML_SCALAR) return refuse(node, key, ptq_yaml_kind_name(node), err);
    if (!*node->text) return refuse(node, key, "empty", err);
    if (strlen(node->text) > MAX_TEXT) return refuse(node, key, "longer than 4096 bytes", err);
    if (strchr(node->text, '\n')) return refuse(node, key, "of several lines", err);
    *out = (struct ptq_value){.text = node->text, .node = node};
    if (key->kind == PTQ_KEY_TEXT || read_number(key, node->text, &out->number)) return PTQ_OK;
    if (key->protocol && strchr(node->text, ',')) return refuse(node, key, SEVERAL_PROTOCOLS, err);
    char wrong[80];
    snprintf(wrong, sizeof wrong, "'%.60s'", node->text);
    return refuse(node, key, wrong, err);
}

static enum ptq_status read_setting(struct ptq_arena *arena, const struct ptq_key *key, const struct ptq_yaml *node,
                                    struct ptq_setting *out, struct ptq_error *err)
{
    int list = node->kind == PTQ_YAML_SEQUENCE;
    out->node = node;
    if (list && key->protocol) return refuse(node, key, SEVERAL_PROTOCOLS, err);
    if (list && !key->axis) return refuse(node, key, "a list", err);
    if (key->kind == PTQ_KEY_CELLS) return node->kind == PTQ_YAML_SCALAR ? refuse(node, key, "a text", err) : PTQ_OK;
    if (list && node->n == 0) return refuse(node, key, "an empty list", err);
    if (key->kind == PTQ_KEY_METHODS)
        return node->kind == PTQ_YAML_MAPPING ? refuse(node, key, "a mapping", err) : PTQ_OK;
    out->n = list ? node->n : 1;
    out->value = ptq_new(arena, struct ptq_value, out->n);
    const struct ptq_yaml *item = list ? node->child : node;
    for (int i = 0; i < out->n; i++, item = item->next) PTQ_TRY(read_value(key, item, &out->value[i], err));
    return PTQ_OK;
}

/* ---- which keys there are ---- */

/* The key, or the section of keys, that is called name[0..length) below a section's prefix ("" or "eval."). */
static int is_known(const char *prefix, const char *name, int *is_section)
{
    size_t skip = strlen(prefix), length = strlen(name);
    for (int i = 0; i < PTQ_N_SETTINGS && !strchr(name, '.'); i++) {
        if (strncmp(keys[i].name, prefix, skip) != 0) continue;
        const char *rest = keys[i].name + skip;
        if (strncmp(rest, name, length) != 0) continue;
        *is_section = rest[length] == '.';
        if (*is_section || !rest[length]) return 1;
    }
    return 0;
}

/* The words that may stand below prefix, each once; in arena. */
static size_t names_below(struct ptq_arena *arena, const char *prefix, const char **names)
{
    size_t n = 0, skip = strlen(prefix);
    for (int i = 0; i < PTQ_N_SETTINGS; i++) {
        if (strncmp(keys[i].name, prefix, skip) != 0) continue;
        const char *rest = keys[i].name + skip;
        const char *name = ptq_strndup(arena, rest, strcspn(rest, "."));
        if (n == 0 || strcmp(names[n - 1], name) != 0) names[n++] = name;
    }
    return n;
}

/* A name that --set takes ("windows", "eval.windows") and a file does not: how the file has it, in arena. */
static const char *in_file(struct ptq_arena *arena, const char *word)
{
    for (int i = 0; i < PTQ_N_SETTINGS; i++) {
        const char *name = keys[i].name, *dot = strchr(name, '.');
        if (!dot || (strcmp(name, word) != 0 && strcmp(keys[i].flat, word) != 0)) continue;
        return ptq_format(arena, "%.*s: {%s: ...}", (int)(dot - name), name, dot + 1);
    }
    return NULL;
}

/* The nearest key of the section that a dotted word begins with ("eval.windos"), as a file has it; NULL where there is
 * no such section, or nothing like it there. */
static const char *near_in_section(struct ptq_arena *arena, const char *word, const char *dot)
{
    const char *names[MAX_NAMES], *section = ptq_strndup(arena, word, (size_t)(dot + 1 - word));
    const char *near = ptq_nearest(dot + 1, names, names_below(arena, section, names));
    return near ? ptq_format(arena, "%.*s: {%s: ...}", (int)(dot - word), word, near) : NULL;
}

static void add_names(struct ptq_buffer *text, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) ptq_buffer_add(text, "%s%s", i ? ", " : "", names[i]);
}

/* Keys that set nothing: how the cells are shown (table_layout.h), and what --set quick=1 lays over the file. */
static const char *const no_settings[] = {"layout", "quick"};
enum { N_NO_SETTINGS = sizeof no_settings / sizeof *no_settings };

static int is_no_setting(const char *key)
{
    for (int i = 0; i < N_NO_SETTINGS; i++)
        if (strcmp(key, no_settings[i]) == 0) return 1;
    return 0;
}

static enum ptq_status unknown_key(struct ptq_arena *arena, const char *prefix, const struct ptq_yaml *node,
                                   struct ptq_error *err)
{
    const char *names[MAX_NAMES], *near = in_file(arena, node->key), *dot = strchr(node->key, '.');
    size_t n = names_below(arena, prefix, names);
    for (int i = 0; i < N_NO_SETTINGS && !*prefix; i++) names[n++] = no_settings[i];
    struct ptq_buffer known = {0};
    add_names(&known, names, n);
    if (!near) near = dot ? near_in_section(arena, node->key, dot) : ptq_nearest(node->key, names, n);
    enum ptq_status status =
        ptq_yaml_fail(node, err, "unknown key '%s%.60s'%s%s%s; known%s%.*s: %s", prefix, node->key,
                      near ? ", did you mean '" : "", near ? near : "", near ? "'" : "", *prefix ? " in " : "",
                      *prefix ? (int)strlen(prefix) - 1 : 0, prefix, known.data);
    free(known.data);
    return status;
}

static enum ptq_status check_section(struct ptq_arena *arena, const char *prefix, const struct ptq_yaml *section,
                                     struct ptq_error *err)
{
    for (const struct ptq_yaml *node = section->child; node; node = node->next) {
        int is_section = 0;
        if (!*prefix && is_no_setting(node->key)) continue;
        if (!is_known(prefix, node->key, &is_section)) return unknown_key(arena, prefix, node, err);
        if (!is_section) continue;
        const char *names[MAX_NAMES], *below = ptq_format(arena, "%s%s.", prefix, node->key);
        struct ptq_buffer known = {0};
        add_names(&known, names, names_below(arena, below, names));
        enum ptq_status status = node->kind == PTQ_YAML_MAPPING
                                     ? check_section(arena, below, node, err)
                                     : ptq_yaml_fail(node, err, "%s is %s; it must be a mapping of %s", node->key,
                                                     ptq_yaml_kind_name(node), known.data);
        free(known.data);
        PTQ_TRY(status);
    }
    return PTQ_OK;
}

static const struct ptq_yaml *find_node(const struct ptq_yaml *root, const char *name)
{
    const char *dot = strchr(name, '.');
    char section[32];
    if (!dot) return ptq_yaml_get(root, name);
    snprintf(section, sizeof section, "%.*s", (int)(dot - name), name);
    return ptq_yaml_get(ptq_yaml_get(root, section), dot + 1);
}

/* ---- --set ---- */

/* where: what the word stands in, for people. */
static enum ptq_status find_set_key(const char *where, const char *word, int *out, struct ptq_error *err)
{
    const char *names[MAX_NAMES];
    size_t n = 0;
    struct ptq_buffer known = {0};
    for (int i = 0; i < PTQ_N_SETTINGS; i++) {
        names[n++] = keys[i].flat ? keys[i].flat : keys[i].name;
        *out = i;
        if (strcmp(word, keys[i].name) == 0 || strcmp(word, names[n - 1]) == 0) return PTQ_OK;
    }
    add_names(&known, names, n);
    const char *near = ptq_nearest(word, names, n);
    enum ptq_status status = ptq_fail(err, PTQ_EUSAGE, "%s: unknown key '%s'%s%s%s; known: %s", where, word,
                                      near ? ", did you mean '" : "", near ? near : "", near ? "'" : "", known.data);
    free(known.data);
    return status;
}

/* "3,4" as the list [3, 4]. Texts are not split: a path may hold a comma. */
static struct ptq_yaml *split_list(struct ptq_arena *arena, const char *file, const char *text)
{
    struct ptq_yaml *list = ptq_yaml_scalar(arena, file, NULL), **tail = &list->child;
    list->kind = PTQ_YAML_SEQUENCE;
    for (;;) {
        size_t length = strcspn(text, ",");
        *tail = ptq_yaml_scalar(arena, file, ptq_strndup(arena, text, length));
        tail = &(*tail)->next;
        list->n++;
        if (!text[length]) return list;
        text += length + 1;
    }
}

/* The quick form: every key of the file's section quick, by the name that --set takes, over the file's own. */
static enum ptq_status lay_quick(const struct ptq_yaml *root, const struct ptq_yaml **nodes, struct ptq_error *err)
{
    const struct ptq_yaml *quick = ptq_yaml_get(root, "quick");
    int id;
    if (!quick)
        return ptq_fail(err, PTQ_EUSAGE,
                        "--set quick=1: %s has no section quick; write one, such as "
                        "quick: {windows: 2}, or leave it out",
                        root->file);
    for (const struct ptq_yaml *node = quick->child; node; node = node->next) {
        if (find_set_key("quick", node->key, &id, err)) return ptq_yaml_within(node, err);
        nodes[id] = node;
    }
    return PTQ_OK;
}

static enum ptq_status check_quick(const struct ptq_yaml *root, struct ptq_error *err)
{
    const struct ptq_yaml *quick = ptq_yaml_get(root, "quick"), *unused[PTQ_N_SETTINGS];
    if (!quick) return PTQ_OK;
    if (quick->kind != PTQ_YAML_MAPPING)
        return ptq_yaml_fail(quick, err, "quick is %s; it must be a mapping of what --set takes, such as windows: 2",
                             ptq_yaml_kind_name(quick));
    return lay_quick(root, unused, err);
}

static enum ptq_status read_set(struct ptq_arena *arena, const char *set, const struct ptq_yaml *root,
                                const struct ptq_yaml **nodes, struct ptq_error *err)
{
    const char *equals = strchr(set, '=');
    int id;
    for (const char *c = set; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return ptq_fail(err, PTQ_EUSAGE, "--set %.40s: holds a control character; leave it out", set);
    if (!equals || equals == set)
        return ptq_fail(err, PTQ_EUSAGE, "--set %.80s: must be KEY=VALUE, such as w_bit=3,4", set);
    if (strcmp(set, "quick=1") == 0) return lay_quick(root, nodes, err);
    PTQ_TRY(find_set_key("--set", ptq_strndup(arena, set, (size_t)(equals - set)), &id, err));
    const char *value = equals + 1, *file = ptq_format(arena, "--set %.*s", (int)(equals - set), set);
    if ((keys[id].axis || keys[id].protocol) && *value == '[') {
        struct ptq_yaml *list;
        PTQ_TRY(ptq_yaml_parse(arena, file, value, strlen(value), &list, err));
        nodes[id] = list;
        return PTQ_OK;
    }
    nodes[id] = keys[id].axis && keys[id].kind == PTQ_KEY_INT ? split_list(arena, file, value)
                                                              : ptq_yaml_scalar(arena, file, value);
    return PTQ_OK;
}

enum ptq_status ptq_settings_read(struct ptq_arena *arena, const char *file, const struct ptq_yaml *root,
                                  const char *const *sets, int n_sets, struct ptq_setting *out, struct ptq_error *err)
{
    const struct ptq_yaml *from_set[PTQ_N_SETTINGS] = {0};
    if (root->kind != PTQ_YAML_MAPPING)
        return ptq_yaml_fail(root, err, "the file is %s; it must be a mapping of keys", ptq_yaml_kind_name(root));
    PTQ_TRY(check_section(arena, "", root, err));
    PTQ_TRY(check_quick(root, err));
    for (int i = 0; i < n_sets; i++) PTQ_TRY(read_set(arena, sets[i], root, from_set, err));
    for (int i = 0; i < PTQ_N_SETTINGS; i++) {
        const struct ptq_yaml *node = from_set[i] ? from_set[i] : find_node(root, keys[i].name);
        if (!node && !keys[i].fallback)
            return ptq_fail(err, PTQ_EINPUT, "%s: key '%s' is missing: %s", file, keys[i].name, keys[i].doc);
        out[i] = (struct ptq_setting){0};
        if (!node && keys[i].kind == PTQ_KEY_CELLS) continue;
        out[i].given = node != NULL;
        if (!node) node = ptq_yaml_scalar(arena, "default", keys[i].fallback);
        PTQ_TRY(read_setting(arena, &keys[i], node, &out[i], err));
    }
    return PTQ_OK;
}

/* ---- exclude and include ---- */

static enum ptq_status no_axis(enum ptq_setting_id id, const struct ptq_yaml *node, int key, struct ptq_error *err)
{
    struct ptq_buffer axes = {0};
    for (int i = 0; i < PTQ_N_SETTINGS; i++)
        if (keys[i].axis && keys[i].kind != PTQ_KEY_CELLS)
            ptq_buffer_add(&axes, "%s%s", axes.data ? ", " : "", keys[i].name);
    enum ptq_status status =
        ptq_yaml_fail(node, err, "%s takes no %s%s; it takes %s", keys[id].name, keys[key].name,
                      keys[key].protocol ? ", because a table never mixes protocols" : "", axes.data);
    free(axes.data);
    return status;
}

enum ptq_status ptq_settings_entry(struct ptq_arena *arena, enum ptq_setting_id id, const struct ptq_yaml *entry,
                                   struct ptq_setting *out, int *given, struct ptq_error *err)
{
    if (entry->kind != PTQ_YAML_MAPPING || entry->n == 0)
        return ptq_yaml_fail(entry, err, "an entry of %s is %s; it must be a mapping of axes to values, such as %s",
                             keys[id].name, entry->kind == PTQ_YAML_MAPPING ? "empty" : ptq_yaml_kind_name(entry),
                             "{methods: rtn, w_bit: [2, 3]}");
    PTQ_TRY(check_section(arena, "", entry, err));
    for (int i = 0; i < PTQ_N_SETTINGS; i++) {
        const struct ptq_yaml *node = find_node(entry, keys[i].name);
        given[i] = node != NULL;
        if (!node) continue;
        if (!keys[i].axis || keys[i].kind == PTQ_KEY_CELLS) return no_axis(id, node, i, err);
        out[i] = (struct ptq_setting){.given = 1};
        PTQ_TRY(read_setting(arena, &keys[i], node, &out[i], err));
    }
    return PTQ_OK;
}

void ptq_settings_print(FILE *out)
{
    fprintf(out, "| key | `--set` | default | values | what it is |\n|---|---|---|---|---|\n");
    for (int i = 0; i < PTQ_N_SETTINGS; i++) {
        const struct ptq_key *key = &keys[i];
        struct ptq_buffer wants = {0};
        add_wants(&wants, key);
        for (char *bar = wants.data; (bar = strchr(bar, '|'));) *bar = '/';
        fprintf(out, "| `%s` | `%s` | %s%s%s | %s | %s |\n", key->name, key->flat ? key->flat : key->name,
                key->fallback ? "`" : "", key->fallback ? key->fallback : "must be given", key->fallback ? "`" : "",
                wants.data, key->doc);
        free(wants.data);
    }
}
