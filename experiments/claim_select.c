#include "claim_select.h"

#include "replicates.h"
#include "report.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

enum { ANY = -1, LEAST = -2, MOST = -3 };

/* A selector, taken apart. */
struct wanted {
    const char *spec, *text, *calib;
    int64_t windows, seed; /* or ANY, LEAST, MOST */
};

/* ---- reading ---- */

static enum ptq_status read_condition(struct ptq_arena *arena, const char *word, struct wanted *w,
                                      struct ptq_error *err)
{
    const char *equals = strchr(word, '='), *value = equals ? equals + 1 : "";
    size_t length = equals ? (size_t)(equals - word) : 0;
    const char *key = ptq_strndup(arena, word, length);
    if (strcmp(key, "text") == 0)
        w->text = value;
    else if (strcmp(key, "calib") == 0)
        w->calib = value;
    else if (strcmp(key, "seed") == 0 && ptq_parse_int(value, 0, INT64_MAX, &w->seed))
        ;
    else if (strcmp(key, "calib_windows") == 0 && strcmp(value, "least") == 0)
        w->windows = LEAST;
    else if (strcmp(key, "calib_windows") == 0 && strcmp(value, "most") == 0)
        w->windows = MOST;
    else if (strcmp(key, "calib_windows") != 0 || !ptq_parse_int(value, 1, INT64_MAX, &w->windows))
        return ptq_fail(
            err, PTQ_EINPUT,
            "the condition '%.60s' is not known; known: text=, calib=, seed=N, calib_windows=N, least, most", word);
    return PTQ_OK;
}

static enum ptq_status read_selector(struct ptq_arena *arena, const char *selector, struct wanted *w,
                                     struct ptq_error *err)
{
    *w = (struct wanted){.windows = ANY, .seed = ANY};
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

/* Whether a canonical SPEC has the item ("w3", "s=2"). */
static int has_item(const char *spec, const char *item, size_t length)
{
    for (const char *at = strpbrk(spec, ":,"); at; at = strpbrk(at + 1, ","))
        if (strcspn(at + 1, ",") == length && strncmp(at + 1, item, length) == 0) return 1;
    return 0;
}

static int agrees_with_spec(const char *spec, const char *pattern)
{
    size_t method = strcspn(pattern, ":");
    if (strcspn(spec, ":") != method || strncmp(spec, pattern, method)) return 0;
    for (const char *at = strpbrk(pattern, ":,"); at; at = strpbrk(at + 1, ","))
        if (!has_item(spec, at + 1, strcspn(at + 1, ","))) return 0;
    return 1;
}

static int agrees(struct ptq_arena *arena, const struct wanted *w, const struct ptq_cell *c)
{
    if (!agrees_with_spec(c->spec, w->spec)) return 0;
    if (w->text && strcmp(ptq_report_short(arena, c->text), w->text)) return 0;
    if (w->calib && strcmp(ptq_report_short(arena, c->calib), w->calib)) return 0;
    if (w->windows >= 0 && c->calib_windows != w->windows) return 0;
    return w->seed < 0 || c->seed == w->seed;
}

/* Leaves the cells with the least or the most calibration windows. */
static void keep_extreme(const struct ptq_cell **cell, int *n, int64_t which)
{
    int64_t extreme = *n ? cell[0]->calib_windows : 0;
    int kept = 0;
    for (int i = 0; i < *n; i++)
        if (which == LEAST ? cell[i]->calib_windows < extreme : cell[i]->calib_windows > extreme)
            extreme = cell[i]->calib_windows;
    for (int i = 0; i < *n; i++)
        if (cell[i]->calib_windows == extreme) cell[kept++] = cell[i];
    *n = kept;
}

static enum ptq_status check(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const char *selector,
                             const struct ptq_cell *const *cell, int n, struct ptq_error *err)
{
    if (n == 0) return ptq_fail(err, PTQ_EINPUT, "%s has no cell '%s'", cells->experiment, selector);
    for (int i = 1; i < n; i++)
        if (strcmp(ptq_without_order(arena, cell[0]->spec), ptq_without_order(arena, cell[i]->spec)))
            return ptq_fail(err, PTQ_EINPUT, "'%s' means several cells of %s, %s and %s; say more", selector,
                            cells->experiment, cell[0]->spec, cell[i]->spec);
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
        if (strcmp(c->model_sha256, cells->cell[0].model_sha256) == 0 && agrees(arena, &w, c)) cell[n++] = c;
    }
    if (w.windows == LEAST || w.windows == MOST) keep_extreme(cell, &n, w.windows);
    *out = (struct ptq_group){.cell = cell, .n = n};
    return check(arena, cells, selector, cell, n, err);
}
