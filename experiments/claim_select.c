#include "claim_select.h"

#include "partial_spec.h"
#include "path.h"
#include "replicates.h"
#include "report.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

/* ---- conditions ---- */

static const char *text_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    return ptq_report_short(arena, c->text);
}

static const char *calib_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    return c->calib[0] ? ptq_report_short(arena, c->calib) : "none";
}

static const char *windows_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    return ptq_format(arena, "%lld", (long long)c->calib_windows);
}

static const char *seed_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    return ptq_format(arena, "%lld", (long long)c->seed);
}

static const char *path_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    (void)arena;
    return c->path;
}

static const char *device_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    (void)arena;
    return strcmp(c->device, "cpu") ? "cuda" : "cpu";
}

enum { TEXT, CALIB, WINDOWS, SEED, PATH, DEVICE, N_CONDITIONS, MOST_WORDS = PTQ_N_PATHS };

static const struct condition {
    const char *key, *form; /* form: what it may be, for refusals */
    int is_name;            /* any word will do */
    int64_t least;          /* of a number; -1 where it is none */
    const char *word[MOST_WORDS];
    const char *(*value)(struct ptq_arena *arena, const struct ptq_cell *cell);
} conditions[N_CONDITIONS] = {
    [TEXT] = {"text", "NAME", 1, -1, {0}, text_of},
    [CALIB] = {"calib", "NAME or none", 1, -1, {0}, calib_of},
    [WINDOWS] = {"calib_windows", "N, least or most", 0, 1, {"least", "most"}, windows_of},
    [SEED] = {"seed", "N", 0, 0, {0}, seed_of},
    [PATH] = {"path", PTQ_PATH_WORDS, 0, -1, {PTQ_PATHS(PTQ_PATH_NAME)}, path_of},
    [DEVICE] = {"device", "cpu or cuda", 0, -1, {"cpu", "cuda"}, device_of},
};

/* A selector, taken apart. */
struct wanted {
    const char *spec, *value[N_CONDITIONS]; /* NULL: any */
};

/* ---- reading ---- */

/* The value as the cells' would be written; NULL where the condition takes no such value. */
static const char *read_value(struct ptq_arena *arena, const struct condition *c, const char *value)
{
    int64_t number;
    if (c->is_name) return value;
    for (int i = 0; i < MOST_WORDS && c->word[i]; i++)
        if (strcmp(value, c->word[i]) == 0) return value;
    if (c->least < 0 || !ptq_parse_int(value, c->least, INT64_MAX, &number)) return NULL;
    return ptq_format(arena, "%lld", (long long)number);
}

static enum ptq_status unknown(struct ptq_arena *arena, const char *word, struct ptq_error *err)
{
    const char *known = "";
    for (int i = 0; i < N_CONDITIONS; i++)
        known = ptq_format(arena, "%s%s%s=%s", known, i ? "; " : "", conditions[i].key, conditions[i].form);
    return ptq_fail(err, PTQ_EINPUT, "the condition '%.60s' is not known; known: %s", word, known);
}

static enum ptq_status read_condition(struct ptq_arena *arena, const char *word, struct wanted *w,
                                      struct ptq_error *err)
{
    size_t length = strcspn(word, "=");
    const char *value = NULL;
    for (int i = 0; i < N_CONDITIONS && word[length] && !value; i++)
        if (strlen(conditions[i].key) == length && strncmp(conditions[i].key, word, length) == 0)
            w->value[i] = value = read_value(arena, &conditions[i], word + length + 1);
    return value ? PTQ_OK : unknown(arena, word, err);
}

static enum ptq_status read_selector(struct ptq_arena *arena, const char *selector, struct wanted *w,
                                     struct ptq_error *err)
{
    *w = (struct wanted){0};
    for (const char *at = selector + strspn(selector, " "); *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        const char *word = ptq_strndup(arena, at, length);
        if (!w->spec)
            w->spec = word;
        else
            PTQ_TRY(read_condition(arena, word, w, err));
        at += length;
    }
    return w->spec ? PTQ_OK : ptq_fail(err, PTQ_EINPUT, "a selector is empty");
}

/* ---- agreeing ---- */

/* "least" and "most" are of all cells that agree otherwise. */
static int is_extreme(const char *windows)
{
    return windows && (strcmp(windows, "least") == 0 || strcmp(windows, "most") == 0);
}

/* calib=none is what reads none, also where a text gave it its output errors. */
static int is_without_calib(const struct wanted *w, int condition, const struct ptq_cell *c)
{
    return condition == CALIB && strcmp(w->value[CALIB], "none") == 0 && !ptq_reads_calib(c);
}

/* A path that rounds activations, too, is meant where it is named. */
static int agrees(struct ptq_arena *arena, const struct wanted *w, const struct ptq_cell *c)
{
    if (!ptq_partial_spec_agrees(c->spec, w->spec)) return 0;
    if (!w->value[PATH] && ptq_path_is_coarse(c->path)) return 0;
    for (int i = 0; i < N_CONDITIONS; i++) {
        if (!w->value[i] || (i == WINDOWS && is_extreme(w->value[i])) || is_without_calib(w, i, c)) continue;
        if (strcmp(conditions[i].value(arena, c), w->value[i])) return 0;
    }
    return 1;
}

/* Leaves the cells with the least or the most calibration windows. */
static void keep_extreme(const struct ptq_cell **cell, int *n, int least)
{
    int64_t extreme = *n ? cell[0]->calib_windows : 0;
    int kept = 0;
    for (int i = 0; i < *n; i++)
        if (least ? cell[i]->calib_windows < extreme : cell[i]->calib_windows > extreme)
            extreme = cell[i]->calib_windows;
    for (int i = 0; i < *n; i++)
        if (cell[i]->calib_windows == extreme) cell[kept++] = cell[i];
    *n = kept;
}

/* Of a cell that comes once more, since it reads none of two calibration texts, the first stays. */
static void drop_repeats(const struct ptq_cell **cell, int *n)
{
    int kept = 0;
    for (int i = 0; i < *n; i++) {
        int again = 0;
        for (int k = 0; k < kept && !again; k++) again = ptq_is_repeat(cell[k], cell[i]);
        if (!again) cell[kept++] = cell[i];
    }
    *n = kept;
}

/* ---- replicates ---- */

/* What would tell the two cells apart. */
static const char *advice(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b)
{
    for (int i = 0; i < N_CONDITIONS; i++)
        if (i != SEED && strcmp(conditions[i].value(arena, a), conditions[i].value(arena, b)))
            return ptq_format(arena, "say more: %s=", conditions[i].key);
    return "each needs a results file of its own";
}

static enum ptq_status check_pair(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const char *selector,
                                  const struct ptq_cell *a, const struct ptq_cell *b, struct ptq_error *err)
{
    static const char several[] = "'%s' means several cells of %s, of %s %s and %s; %s";
    const struct ptq_common *apart = ptq_cells_apart(a, b);
    if (strcmp(ptq_without_order(arena, a->spec), ptq_without_order(arena, b->spec)))
        return ptq_fail(err, PTQ_EINPUT, several, selector, cells->experiment, "SPEC", a->spec, b->spec, "say more");
    if (!apart) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, several, selector, cells->experiment, apart->what, ptq_common_text(apart, a),
                    ptq_common_text(apart, b), advice(arena, a, b));
}

static enum ptq_status check(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const char *selector,
                             const struct ptq_cell *const *cell, int n, struct ptq_error *err)
{
    if (n == 0) return ptq_fail(err, PTQ_EINPUT, "%s has no cell '%s'", cells->experiment, selector);
    for (int i = 1; i < n; i++) PTQ_TRY(check_pair(arena, cells, selector, cell[0], cell[i], err));
    return PTQ_OK;
}

enum ptq_status ptq_claim_select(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const char *selector,
                                 struct ptq_group *out, struct ptq_error *err)
{
    struct wanted w;
    PTQ_TRY(read_selector(arena, selector, &w, err));
    if (cells->missing)
        return ptq_fail(err, PTQ_EINPUT, "%s; make table NAME=%s runs it", cells->missing, cells->experiment);
    const struct ptq_cell **cell = ptq_new(arena, const struct ptq_cell *, cells->n);
    int n = 0;
    for (int i = 0; i < cells->n; i++) {
        const struct ptq_cell *c = &cells->cell[i];
        if (ptq_same_model(c, &cells->cell[0]) && agrees(arena, &w, c)) cell[n++] = c;
    }
    if (is_extreme(w.value[WINDOWS])) keep_extreme(cell, &n, strcmp(w.value[WINDOWS], "least") == 0);
    drop_repeats(cell, &n);
    *out = (struct ptq_group){.cell = cell, .n = n};
    return check(arena, cells, selector, cell, n, err);
}
