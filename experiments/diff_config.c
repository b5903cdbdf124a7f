#include "diff_config.h"

#include "escape.h"
#include "gguf.h"
#include "json.h"
#include "mapped.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE_LIMIT = 1 << 24, VALUE_SHOWN = 60 };
/* Nothing that a cut could part. */
enum { SHOWN = JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII };

/* One file of both folders. */
struct pair {
    struct ptq_arena *arena;
    const char *name;
    json_t *side[2];
    FILE *out;
};

/* A value as it is in the file, cut where it is long. */
static const char *shown(const struct pair *p, const json_t *value)
{
    char *text = ptq_json_dump(value, SHOWN);
    const char *line = ptq_escape(p->arena, PTQ_TABLE_TEXT, text ? text : "what JSON cannot say");
    free(text);
    return strlen(line) <= VALUE_SHOWN ? line : ptq_format(p->arena, "%.*s...", VALUE_SHOWN, line);
}

static void print_key(const struct pair *p, const char *key)
{
    const json_t *a = json_object_get(p->side[0], key), *b = json_object_get(p->side[1], key);
    const char *name = ptq_format(p->arena, "%s: %s", p->name, ptq_escape(p->arena, PTQ_TABLE_TEXT, key));
    if (a && b)
        fprintf(p->out, "%-56s %s and %s\n", name, shown(p, a), shown(p, b));
    else
        fprintf(p->out, "%-56s only in %s: %s\n", name, a ? "A" : "B", shown(p, a ? a : b));
}

/* Returns how many keys differ. */
static int print_keys(const struct pair *p)
{
    int n = 0;
    for (int s = 0; s < 2; s++) {
        void *i = json_object_iter(p->side[s]);
        for (; i; i = json_object_iter_next(p->side[s], i)) {
            const json_t *other = json_object_get(p->side[!s], json_object_iter_key(i));
            if (other && (s || json_equal(json_object_iter_value(i), other))) continue;
            print_key(p, json_object_iter_key(i));
            n++;
        }
    }
    return n;
}

/* NULL in *json where it is not there. */
static enum ptq_status load(struct ptq_arena *arena, const char *folder, const char *name, json_t **json,
                            struct ptq_error *err)
{
    const char *path = ptq_join(arena, folder, name);
    enum ptq_kind kind;
    *json = NULL;
    PTQ_TRY(ptq_look(path, &kind, err));
    return kind == PTQ_FILE ? ptq_json_load(path, SIZE_LIMIT, json, err) : PTQ_OK;
}

/* *n grows by what differs. */
static enum ptq_status diff_file(struct pair *p, const char *const folder[2], int *n, struct ptq_error *err)
{
    enum ptq_status status = PTQ_OK;
    for (int s = 0; s < 2 && !status; s++) status = load(p->arena, folder[s], p->name, &p->side[s], err);
    if (!status && p->side[0] && p->side[1]) {
        *n += print_keys(p);
    } else if (!status && (p->side[0] || p->side[1])) {
        fprintf(p->out, "%-56s only in %s\n", p->name, p->side[0] ? "A" : "B");
        ++*n;
    }
    for (int s = 0; s < 2; s++) json_decref(p->side[s]);
    return status;
}

/* ---- a GGUF's metadata ---- */

/* Key i of the one, j of the other; a side that has no such key is NULL. */
static void print_metadata(struct ptq_arena *arena, const struct ptq_gguf *a, size_t i, const struct ptq_gguf *b,
                           size_t j, FILE *out)
{
    char value[2][VALUE_SHOWN];
    const char *key = a ? ptq_gguf_key(a, i, value[0], VALUE_SHOWN) : NULL;
    if (b) key = ptq_gguf_key(b, j, value[1], VALUE_SHOWN);
    const char *name = ptq_escape(arena, PTQ_TABLE_TEXT, key), *first = ptq_escape(arena, PTQ_TABLE_TEXT, value[!a]);
    if (!a || !b)
        fprintf(out, "%-56s only in %s: %s\n", name, a ? "A" : "B", first);
    else if (strcmp(value[0], value[1]) == 0)
        fprintf(out, "%-56s two values of %s\n", name, first);
    else
        fprintf(out, "%-56s %s and %s\n", name, first, ptq_escape(arena, PTQ_TABLE_TEXT, value[1]));
}

/* Which key comes first: below 0 where it is i of a. */
static int order_of(const struct ptq_gguf *a, size_t i, const struct ptq_gguf *b, size_t j)
{
    char ignored[VALUE_SHOWN];
    if (i == ptq_gguf_n_keys(a)) return 1;
    if (j == ptq_gguf_n_keys(b)) return -1;
    return strcmp(ptq_gguf_key(a, i, ignored, sizeof ignored), ptq_gguf_key(b, j, ignored, sizeof ignored));
}

/* Both lists are sorted by key. Returns whether all is the same. */
static int diff_metadata(struct ptq_arena *arena, const struct ptq_gguf *a, const struct ptq_gguf *b, FILE *out)
{
    int same = 1;
    for (size_t i = 0, j = 0; i < ptq_gguf_n_keys(a) || j < ptq_gguf_n_keys(b);) {
        int order = order_of(a, i, b, j);
        if (order || !ptq_gguf_same(a, i, b, j)) {
            print_metadata(arena, order <= 0 ? a : NULL, i, order >= 0 ? b : NULL, j, out);
            same = 0;
        }
        i += order <= 0;
        j += order >= 0;
    }
    return same;
}

enum ptq_status ptq_diff_configs(struct ptq_arena *arena, const struct ptq_checkpoint *a,
                                 const struct ptq_checkpoint *b, FILE *out, int *same, struct ptq_error *err)
{
    static const char *const names[] = {"config.json", "quantize_config.json", "quant_config.json"};
    const char *const folder[] = {a->folder, b->folder};
    char hex[2][PTQ_SHA256_HEX];
    int n = 0;
    *same = 1;
    if (a->gguf && b->gguf) *same = diff_metadata(arena, a->gguf, b->gguf, out);
    if (!folder[0] || !folder[1]) return PTQ_OK;
    PTQ_TRY(ptq_checkpoint_config_sha256(a, hex[0], err));
    PTQ_TRY(ptq_checkpoint_config_sha256(b, hex[1], err));
    if (strcmp(hex[0], hex[1]) == 0) return PTQ_OK;
    *same = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct pair p = {.arena = arena, .name = names[i], .out = out};
        PTQ_TRY(diff_file(&p, folder, &n, err));
    }
    if (n == 0) fprintf(out, "%-56s differs in how it is written, and in no value\n", names[0]);
    return PTQ_OK;
}
