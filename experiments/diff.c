#include "diff.h"

#include "bootstrap.h"
#include "escape.h"
#include "progress.h"
#include "results.h"

#include <math.h>
#include <string.h>

struct side {
    const char *path;
    struct ptq_cell *cell;
    int n;
    int *partner; /* index of the cell on the other side, or -1 */
};

/* ---- which cell is which ---- */

static int is_same_id(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return strcmp(a->id, b->id) == 0;
}

static int is_same_question(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->spec, b->spec) == 0 && a->seed == b->seed &&
           strcmp(a->tokens_sha256, b->tokens_sha256) == 0;
}

static int is_same_of_model(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return is_same_question(a, b) && ptq_same_model(a, b);
}

static void pair_cells(struct side *a, struct side *b, int (*same)(const struct ptq_cell *, const struct ptq_cell *))
{
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n && a->partner[i] < 0; j++)
            if (b->partner[j] < 0 && same(&a->cell[i], &b->cell[j])) {
                a->partner[i] = j;
                b->partner[j] = i;
            }
}

static enum ptq_status read_side(struct ptq_arena *arena, const char *path, struct side *side, struct ptq_error *err)
{
    side->path = path;
    PTQ_TRY(ptq_results_read(arena, path, &side->cell, &side->n, err));
    side->partner = ptq_new(arena, int, side->n);
    for (int i = 0; i < side->n; i++) side->partner[i] = -1;
    return PTQ_OK;
}

/* ---- what differs ---- */

/* The fields that were asked for and differ between two cells of one question: "device, calib_sha256". */
static const char *differing_fields(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {
#define FIELD(name) {#name, offsetof(struct ptq_cell, name)}
        FIELD(model_sha256), FIELD(protocol), FIELD(calib_sha256), FIELD(path), FIELD(device)
#undef FIELD
    };
    const char *all = strcmp(a->model_sha256, b->model_sha256) || ptq_same_model(a, b) ? "" : "config.json";
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *x = *(const char *const *)((const char *)a + fields[i].offset);
        const char *y = *(const char *const *)((const char *)b + fields[i].offset);
        if (strcmp(x, y)) all = ptq_format(arena, "%s%s%s", all, *all ? ", " : "", fields[i].name);
    }
    return all;
}

/* Of cells that scored the same tokens; 0 where all are the same, infinite where one alone is no finite number. */
static double largest_difference(const struct ptq_cell *a, const struct ptq_cell *b)
{
    double largest = 0;
    for (int64_t t = 0; t < a->tokens && t < b->tokens; t++) {
        if (memcmp(&a->nll[t], &b->nll[t], sizeof *a->nll) == 0) continue;
        double difference = fabs((double)a->nll[t] - b->nll[t]);
        largest = isnan(difference) ? INFINITY : fmax(largest, difference);
    }
    return largest;
}

static int has_same_nll(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return a->tokens == b->tokens && memcmp(a->nll, b->nll, (size_t)a->tokens * sizeof *a->nll) == 0;
}

/* What the difference of two cells is worth, below the line of a pair that is not the same. */
static void print_worth(const struct ptq_cell *a, const struct ptq_cell *b, FILE *out)
{
    const struct ptq_cell *const pair[] = {a, b};
    struct ptq_estimate e[2];
    struct ptq_error ignored;
    if (ptq_bootstrap(pair, 2, 0, &ptq_bootstrap_default, e, &ignored) || isnan(e[1].p)) return;
    const struct ptq_interval *i = &e[1].difference_interval;
    fprintf(out, "%12s B - A %+.3g, 95 %% interval [%+.3g, %+.3g], p %.2g: %s\n", "", e[1].difference, i->low, i->high,
            e[1].p,
            e[1].p >= 0.05        ? "not told apart by these tokens"
            : e[1].difference < 0 ? "B is lower"
                                  : "B is higher");
}

static void print_pair(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b, FILE *out)
{
    const char *fields = differing_fields(arena, a, b);
    double difference = b->ppl - a->ppl;
    fprintf(out, "%12.6f %12.6f %+12.3g %12.3g  %s  %s%s%s%s\n", a->ppl, b->ppl, isnan(difference) ? 0 : difference,
            largest_difference(a, b), ptq_escape(arena, PTQ_TABLE_TEXT, a->model),
            ptq_escape(arena, PTQ_TABLE_TEXT, a->spec), *fields ? "  (other " : "", fields, *fields ? ")" : "");
    if (!has_same_nll(a, b)) print_worth(a, b, out);
}

static void print_missing(struct ptq_arena *arena, const struct side *side, FILE *out)
{
    for (int i = 0; i < side->n; i++)
        if (side->partner[i] < 0)
            fprintf(out, "only in %s: %s  %s  ppl %.6f\n", side->path,
                    ptq_escape(arena, PTQ_TABLE_TEXT, side->cell[i].model),
                    ptq_escape(arena, PTQ_TABLE_TEXT, side->cell[i].spec), side->cell[i].ppl);
}

/* Where one cell alone is left on each side, and both scored the same tokens, the question is which method is better.
 */
static void print_methods(struct ptq_arena *arena, const struct side *a, const struct side *b, FILE *out)
{
    const struct ptq_cell *left[2] = {NULL, NULL};
    const struct side *side[] = {a, b};
    for (int s = 0; s < 2; s++)
        for (int i = 0, n = 0; i < side[s]->n; i++)
            if (side[s]->partner[i] < 0) left[s] = n++ ? NULL : &side[s]->cell[i];
    if (!left[0] || !left[1] || strcmp(left[0]->tokens_sha256, left[1]->tokens_sha256)) return;
    fprintf(out, "A %s and B %s:\n", ptq_escape(arena, PTQ_TABLE_TEXT, left[0]->spec),
            ptq_escape(arena, PTQ_TABLE_TEXT, left[1]->spec));
    print_worth(left[0], left[1], out);
}

static enum ptq_status print_all(struct ptq_arena *arena, const struct side *a, const struct side *b, FILE *out,
                                 int *equal, struct ptq_error *err)
{
    int pairs = 0, same = 0;
    for (int i = 0; i < a->n; i++) {
        if (a->partner[i] < 0) continue;
        PTQ_TRY(ptq_interrupted(err));
        const struct ptq_cell *other = &b->cell[a->partner[i]];
        if (!pairs++) fprintf(out, "%12s %12s %12s %12s\n", "ppl A", "ppl B", "B - A", "largest nll");
        same += has_same_nll(&a->cell[i], other);
        print_pair(arena, &a->cell[i], other, out);
    }
    print_missing(arena, a, out);
    print_missing(arena, b, out);
    print_methods(arena, a, b, out);
    if (pairs - same > 1)
        fprintf(out, "each p is of one pair: of %d that differ in nothing, one in twenty has p < 0.05 all the same\n",
                pairs - same);
    fprintf(out, "%d cell%s in both, %d of them the same in every token; %d only in A, %d only in B\n", pairs,
            pairs == 1 ? "" : "s", same, a->n - pairs, b->n - pairs);
    *equal = same == a->n && same == b->n;
    return ptq_interrupted(err); /* of a pair whose worth was not found for it */
}

enum ptq_status ptq_diff_results(const char *a, const char *b, FILE *out, int *equal, struct ptq_error *err)
{
    struct side left, right;
    struct ptq_arena *arena = ptq_arena_make("diff");
    enum ptq_status status = read_side(arena, a, &left, err);
    if (!status) status = read_side(arena, b, &right, err);
    if (!status) {
        pair_cells(&left, &right, is_same_id);
        pair_cells(&left, &right, is_same_of_model);
        pair_cells(&left, &right, is_same_question);
        status = print_all(arena, &left, &right, out, equal, err);
    }
    ptq_arena_free(arena);
    return status;
}
