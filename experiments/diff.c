#include "diff.h"

#include "bootstrap.h"
#include "escape.h"
#include "model_name.h"
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

typedef int is_same(const struct ptq_cell *a, const struct ptq_cell *b);

static int is_same_id(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return strcmp(a->id, b->id) == 0;
}

static int is_same_question(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return strcmp(a->spec, b->spec) == 0 && a->seed == b->seed && strcmp(a->tokens_sha256, b->tokens_sha256) == 0;
}

static int is_same_of_model(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return is_same_question(a, b) && ptq_same_model(a, b);
}

static int is_same_of_weights(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return is_same_question(a, b) && strcmp(a->model_sha256, b->model_sha256) == 0;
}

static int is_same_of_name(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return is_same_question(a, b) && strcmp(a->model, b->model) == 0;
}

static void pair_cells(struct side *a, struct side *b, is_same *same)
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

/* Linear i of both sides, where both files know its codes; files before 2026-11-28 do not. */
static int knows_codes(const struct ptq_cell *a, const struct ptq_cell *b, int i)
{
    const struct ptq_linear_report *x = &a->linear[i], *y = &b->linear[i];
    return x->code_digest && y->code_digest && strcmp(x->name, y->name) == 0;
}

/* Whether the numbers differ because the codes do, or because the same codes were evaluated otherwise. */
static void print_codes(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b, FILE *out)
{
    int known = 0, other = 0;
    const char *first = NULL;
    if (!a->n_linears || a->n_linears != b->n_linears) return;
    for (int i = 0; i < a->n_linears; i++) {
        known += knows_codes(a, b, i);
        if (!knows_codes(a, b, i) || a->linear[i].code_digest == b->linear[i].code_digest) continue;
        if (!other++) first = ptq_escape(arena, PTQ_TABLE_TEXT, a->linear[i].name);
    }
    if (known < a->n_linears) return;
    fprintf(out, "%12s ", "");
    if (other)
        fprintf(out, "the codes of %d of %s differ, first of %s\n", other, ptq_counted(arena, known, "linear"), first);
    else
        fprintf(out, "the same codes in %s: only their evaluation differs\n", ptq_counted(arena, known, "linear"));
}

/* "s1 (config 2c26b46b) and s2 (config fcde2b2e) have the same weights and differ in config.json." */
static const char *model_difference(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b)
{
    const char *note = strcmp(a->model_sha256, b->model_sha256)
                           ? ptq_format(arena, "%s (%.8s) and %s (%.8s) have other weights.", a->model, a->model_sha256,
                                        b->model, b->model_sha256)
                           : ptq_model_note(arena, a, b);
    return ptq_escape(arena, PTQ_TABLE_TEXT, note);
}

static const char *both_names(struct ptq_arena *arena, const char *a, const char *b)
{
    return ptq_escape(arena, PTQ_TABLE_TEXT, strcmp(a, b) ? ptq_format(arena, "%s and %s", a, b) : a);
}

static void print_pair(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b, FILE *out)
{
    const char *fields = differing_fields(arena, a, b);
    double difference = b->ppl - a->ppl;
    fprintf(out, "%12.6f %12.6f %+12.3g %12.3g  %s  %s%s%s%s\n", a->ppl, b->ppl, isnan(difference) ? 0 : difference,
            largest_difference(a, b), both_names(arena, a->model, b->model), ptq_escape(arena, PTQ_TABLE_TEXT, a->spec),
            *fields ? "  (other " : "", fields, *fields ? ")" : "");
    if (has_same_nll(a, b)) return;
    print_worth(a, b, out);
    print_codes(arena, a, b, out);
}

static void print_missing(struct ptq_arena *arena, const struct side *side, FILE *out)
{
    for (int i = 0; i < side->n; i++)
        if (side->partner[i] < 0)
            fprintf(out, "only in %s: %s  %s  ppl %.6f\n", side->path,
                    ptq_escape(arena, PTQ_TABLE_TEXT, side->cell[i].model),
                    ptq_escape(arena, PTQ_TABLE_TEXT, side->cell[i].spec), side->cell[i].ppl);
}

/* ---- cells without a partner ---- */

/* A checkpoint of codes, evaluated as it is: its method quantises nothing. */
static int is_of_codes(const struct ptq_cell *c)
{
    return c->w_bit < 16 && (strcmp(c->method, "fp16") == 0 || strcmp(c->method, "exact") == 0);
}

/* Whether one may be what the other was exported as, by what results files hold: no codes, and no word of whose they
 * are. */
static int may_be_export(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return is_of_codes(a) != is_of_codes(b) && a->w_bit == b->w_bit && a->group_size == b->group_size &&
           strcmp(a->family, b->family) == 0 && strcmp(a->tokens_sha256, b->tokens_sha256) == 0;
}

/* "rtn:w4,g32"; of another model than other's with its name, and what its file holds. */
static const char *lone_name(struct ptq_arena *arena, const struct ptq_cell *c, const struct ptq_cell *other)
{
    if (ptq_same_model(c, other)) return ptq_escape(arena, PTQ_TABLE_TEXT, c->spec);
    const char *holds = is_of_codes(c) ? "a checkpoint of codes, " : "";
    return ptq_escape(arena, PTQ_TABLE_TEXT,
                      ptq_format(arena, "%s  %s (%s%s)", c->model, c->spec, holds, c->source_dtype));
}

/* Two cells that are not the same, of the same tokens: how near their numbers are. */
static void print_different(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b, FILE *out)
{
    fprintf(out, "A %s and B %s:\n", lone_name(arena, a, b), lone_name(arena, b, a));
    fprintf(out, "%12s different cells, ppl %.6f and %.6f, ", "", a->ppl, b->ppl);
    if (has_same_nll(a, b))
        fprintf(out, "the same in every token\n");
    else
        fprintf(out, "largest nll apart by %.3g\n", largest_difference(a, b));
    print_worth(a, b, out);
}

/* A checkpoint of codes beside each cell of the other file that it may have been made of. Returns how many. */
static int print_exports(struct ptq_arena *arena, const struct side *a, const struct side *b, FILE *out)
{
    int n = 0;
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n && a->partner[i] < 0; j++)
            if (b->partner[j] < 0 && may_be_export(&a->cell[i], &b->cell[j])) {
                print_different(arena, &a->cell[i], &b->cell[j], out);
                n++;
            }
    if (n) fprintf(out, "%12s no results file holds codes; ptq diff of two exported folders compares those\n", "");
    return n;
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
    print_different(arena, left[0], left[1], out);
}

/* ---- all ---- */

/* Whether an earlier pair is of the same two models as pair i of A. */
static int is_said(const struct side *a, const struct side *b, int i)
{
    for (int j = 0; j < i; j++)
        if (a->partner[j] >= 0 && ptq_same_model(&a->cell[j], &a->cell[i]) &&
            ptq_same_model(&b->cell[a->partner[j]], &b->cell[a->partner[i]]))
            return 1;
    return 0;
}

/* A line for each two models whose cells stand in one line above, since they have one name, or the same weights.
 * Returns how many pairs are of two models: those are not the same cell, whatever their numbers are. */
static int print_two_models(struct ptq_arena *arena, const struct side *a, const struct side *b, FILE *out)
{
    int n = 0;
    for (int i = 0; i < a->n; i++) {
        if (a->partner[i] < 0) continue;
        const struct ptq_cell *x = &a->cell[i], *y = &b->cell[a->partner[i]];
        if (ptq_same_model(x, y)) continue;
        n++;
        if (!is_said(a, b, i)) fprintf(out, "two models: %s\n", model_difference(arena, x, y));
    }
    return n;
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
    if (!print_exports(arena, a, b, out)) print_methods(arena, a, b, out);
    if (pairs - same > 1)
        fprintf(out, "each p is of one pair: of %d that differ in nothing, one in twenty has p < 0.05 all the same\n",
                pairs - same);
    int of_two_models = print_two_models(arena, a, b, out);
    fprintf(out, "%s in both, %d of them the same in every token", ptq_counted(arena, pairs, "cell"), same);
    if (of_two_models) fprintf(out, ", %d of two models", of_two_models);
    fprintf(out, "; %d only in A, %d only in B\n", a->n - pairs, b->n - pairs);
    *equal = same == a->n && same == b->n && !of_two_models;
    return ptq_interrupted(err); /* of a pair whose worth was not found for it */
}

enum ptq_status ptq_diff_results(const char *a, const char *b, FILE *out, int *equal, struct ptq_error *err)
{
    static is_same *const kinds[] = {is_same_id, is_same_of_model, is_same_of_weights, is_same_of_name};
    struct side left, right;
    struct ptq_arena *arena = ptq_arena_make("diff");
    enum ptq_status status = read_side(arena, a, &left, err);
    if (!status) status = read_side(arena, b, &right, err);
    if (!status) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) pair_cells(&left, &right, kinds[i]);
        status = print_all(arena, &left, &right, out, equal, err);
    }
    ptq_arena_free(arena);
    return status;
}
