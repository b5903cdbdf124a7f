#include "claim_conditions.h"

#include "claim_select.h"
#include "escape.h"
#include "method.h"
#include "report.h"

#include <math.h>
#include <string.h>

enum { MOST_GROUPS = 3 * PTQ_CLAIM_SIDE, MOST_TESTS = PTQ_CLAIM_SIDE }; /* of one test; of one comparison */

/* What a test selects of one experiment, as far as it is there: how many groups. */
static int groups_of(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const struct ptq_claim_test *t,
                     struct ptq_group *group)
{
    const char *const *side[] = {t->of, t->to, t->from};
    const int n_side[] = {t->n_of, t->n_to, t->n_from};
    struct ptq_error err;
    int n = 0;
    for (int s = 0; s < 3 && cells; s++)
        for (int i = 0; i < n_side[s]; i++)
            if (!ptq_claim_select(arena, cells, side[s][i], &group[n], &err)) n++;
    return n;
}

/* ---- lists of words ---- */

struct words {
    const char **word;
    int n;
};

static struct words words_make(struct ptq_arena *arena, int room)
{
    return (struct words){.word = ptq_new(arena, const char *, room)};
}

static void add_once(struct words *w, const char *word)
{
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->word[i], word) == 0) return;
    w->word[w->n++] = word;
}

static const char *joined(struct ptq_arena *arena, const struct words *w, const char *separator)
{
    const char *text = "";
    for (int i = 0; i < w->n; i++) text = ptq_format(arena, "%s%s%s", text, i ? separator : "", w->word[i]);
    return text;
}

/* ---- conditions: a row each ---- */

static const char *windows(struct ptq_arena *arena, int64_t n, int64_t length, const char *text)
{
    return ptq_format(arena, "%lld window%s of %lld tokens of %s", (long long)n, n == 1 ? "" : "s", (long long)length,
                      ptq_report_short(arena, text));
}

static const char *grid_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    return c->w_bit == 16
               ? NULL
               : ptq_section_settings(arena, &(struct ptq_section){.w_bit = c->w_bit, .group_size = c->group_size});
}

static const char *calib_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    return ptq_reads_calib(c) ? windows(arena, c->calib_windows, c->calib_window, c->calib) : NULL;
}

static const char *eval_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    return windows(arena, c->windows, c->window, c->text);
}

static const char *machine_of(struct ptq_arena *arena, const struct ptq_cell *c)
{
    if (strcmp(c->device, "cpu")) return c->device;
    return ptq_format(arena, "%s of %s", ptq_counted(arena, c->threads, "thread"), c->cpu);
}

static const struct condition {
    unsigned bit;
    const char *before;
    const char *(*of)(struct ptq_arena *arena, const struct ptq_cell *cell); /* NULL: the cell has none */
} conditions[] = {
    {PTQ_CLAIM_GRID, "", grid_of},
    {PTQ_CLAIM_CALIB, "calibrated on ", calib_of},
    {PTQ_CLAIM_EVAL, "perplexity of ", eval_of},
    {PTQ_CLAIM_MACHINE, "on ", machine_of},
};
enum { N_CONDITIONS = sizeof conditions / sizeof *conditions };

static void add_conditions(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const struct ptq_claim_test *t,
                           struct words *list)
{
    struct ptq_group group[MOST_GROUPS];
    int n = groups_of(arena, cells, t, group);
    for (int g = 0; g < n; g++)
        for (int c = 0; c < N_CONDITIONS; c++) {
            const char *word = conditions[c].of(arena, group[g].cell[0]);
            if (word && (t->measure->depends_on & conditions[c].bit)) add_once(&list[c], word);
        }
}

const char *ptq_claim_conditions(struct ptq_arena *arena, const struct ptq_claims *claims,
                                 const struct ptq_claim_cells *cells, const struct ptq_claim_test *test, int n)
{
    struct words list[N_CONDITIONS], all = words_make(arena, N_CONDITIONS + 1);
    struct words reports = words_make(arena, n * PTQ_CLAIM_SIDE);
    for (int c = 0; c < N_CONDITIONS; c++) list[c] = words_make(arena, n * MOST_GROUPS);
    for (int t = 0; t < n; t++) {
        add_conditions(arena, ptq_claims_cells_of(claims, cells, test[t].experiment), &test[t], list);
        for (int f = 0; f < test[t].n_file; f++) add_once(&reports, test[t].file[f]);
    }
    for (int c = 0; c < N_CONDITIONS; c++)
        if (list[c].n)
            add_once(&all, ptq_format(arena, "%s%s", conditions[c].before, joined(arena, &list[c], " and ")));
    if (reports.n) add_once(&all, ptq_counted(arena, reports.n, "benchmark report"));
    return joined(arena, &all, "; ");
}

const char *ptq_claim_specs(struct ptq_arena *arena, const struct ptq_claims *claims,
                            const struct ptq_claim_cells *cells, const struct ptq_claim_test *test)
{
    struct ptq_group group[MOST_GROUPS];
    int n = groups_of(arena, ptq_claims_cells_of(claims, cells, test->experiment), test, group);
    struct words specs = words_make(arena, MOST_GROUPS);
    for (int g = 0; g < n; g++) add_once(&specs, ptq_without_order(arena, group[g].cell[0]->spec));
    return joined(arena, &specs, "; ");
}

/* ---- beside the baseline ---- */

/* A method's cells, and the baseline's beside them. */
struct beside {
    const struct ptq_claim_cells *cells; /* the experiment's */
    struct ptq_group group;
    const char *label;
    const struct ptq_cell *baseline; /* NULL: not measured */
    struct ptq_claim_test ratio;     /* of their perplexities */
};

struct ptq_claim_weak {
    struct beside *one;
    int n;
};

struct ptq_claim_weak *ptq_claim_weak_make(struct ptq_arena *arena, int n_tests)
{
    struct ptq_claim_weak *weak = ptq_new(arena, struct ptq_claim_weak, 1);
    weak->one = ptq_new(arena, struct beside, n_tests * MOST_GROUPS);
    return weak;
}

static int is_like(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return a->w_bit == b->w_bit && a->group_size == b->group_size && a->windows == b->windows && ptq_same_task(a, b) &&
           strcmp(a->device, b->device) == 0 && strcmp(a->path, b->path) == 0;
}

/* The best cell of the baseline that is like c in all but its method: of several grids the one that is hardest to beat.
 */
static const struct ptq_cell *find_baseline(const struct ptq_claim_cells *cells, const struct ptq_cell *c,
                                            const char *method)
{
    const struct ptq_cell *best = NULL;
    for (int i = 0; i < cells->n; i++) {
        const struct ptq_cell *b = &cells->cell[i];
        if (strcmp(b->method, method) == 0 && is_like(b, c) && (!best || b->ppl < best->ppl)) best = b;
    }
    return best;
}

static double first_over_second(const double *nll, const void *context)
{
    (void)context;
    return exp(nll[0] - nll[1]);
}

static double perplexity(const struct ptq_group *g)
{
    double nll = 0;
    for (int i = 0; i < g->n; i++) nll += g->cell[i]->nll_mean / g->n;
    return exp(nll);
}

/* Whether it is no better than the baseline, or nobody knows. */
static int is_weak(struct beside *b)
{
    struct ptq_error err;
    struct ptq_group pair[] = {b->group, {.cell = &b->baseline, .n = 1}};
    if (!b->baseline) return 1;
    b->ratio = (struct ptq_claim_test){.measure = ptq_claim_measure("ratio"), .sampled = 1, .runs = b->group.n};
    if (ptq_contrast(pair, 2, &ptq_bootstrap_default, first_over_second, NULL, &b->ratio.value, &b->ratio.interval,
                     &err))
        return 0;
    return b->ratio.interval.high >= 1; /* and not where there is no interval: then nothing was judged either */
}

/* The groups of perplexities in test[n], if they are of several methods and the baseline is none of them. */
static int compared(struct ptq_arena *arena, const struct ptq_claims *claims, const struct ptq_claim_cells *cells,
                    const struct ptq_claim_test *test, int n, struct beside *out)
{
    int n_out = 0, several = 0;
    for (int t = 0; t < n; t++) {
        struct ptq_group group[MOST_GROUPS];
        const struct ptq_claim_cells *here = ptq_claims_cells_of(claims, cells, test[t].experiment);
        int n_groups = test[t].sampled && !isnan(test[t].value) ? groups_of(arena, here, &test[t], group) : 0;
        for (int g = 0; g < n_groups; g++) {
            const struct ptq_cell *c = group[g].cell[0];
            if (c->w_bit == 16) continue;
            if (strcmp(c->method, claims->baseline) == 0) return 0;
            several |= n_out && strcmp(c->method, out[0].group.cell[0]->method) != 0;
            out[n_out++] = (struct beside){here, group[g], ptq_report_label(arena, c), NULL, {0}};
        }
    }
    return several ? n_out : 0;
}

static int is_in(const struct ptq_claim_weak *weak, const struct ptq_cell *cell)
{
    for (int i = 0; i < weak->n; i++)
        if (weak->one[i].group.cell[0] == cell) return 1;
    return 0;
}

/* "gptq:w4,g64,act_order=0 over rtn:w4,g64: 1.073 times [1.019, 1.127]" from the first-th on, NULL where there is none.
 */
static const char *ratios_of(struct ptq_arena *arena, const struct ptq_claim_weak *weak, int first)
{
    struct words ratios = words_make(arena, weak->n);
    for (int i = first; i < weak->n; i++) {
        const struct beside *b = &weak->one[i];
        if (b->baseline)
            add_once(&ratios, ptq_format(arena, "%s over %s: %s", ptq_without_order(arena, b->group.cell[0]->spec),
                                         b->baseline->spec, ptq_claim_number(arena, &b->ratio)));
    }
    return ratios.n ? joined(arena, &ratios, "; ") : NULL;
}

const char *ptq_claim_weigh(struct ptq_arena *arena, const struct ptq_claims *claims,
                            const struct ptq_claim_cells *cells, const struct ptq_claim_test *test, int n,
                            struct ptq_claim_weak *weak)
{
    struct beside found[MOST_TESTS * MOST_GROUPS];
    int n_found = claims->baseline ? compared(arena, claims, cells, test, n, found) : 0, before = weak->n;
    for (int i = 0; i < n_found; i++) {
        const struct ptq_cell *cell = found[i].group.cell[0];
        if (is_in(weak, cell)) continue;
        found[i].baseline = find_baseline(found[i].cells, cell, claims->baseline);
        if (is_weak(&found[i])) weak->one[weak->n++] = found[i];
    }
    return ratios_of(arena, weak, before);
}

/* ---- in words ---- */

enum { WORSE, NOT_BETTER, UNKNOWN };

static int kind_of(const struct beside *b)
{
    return !b->baseline ? UNKNOWN : b->ratio.interval.low > 1 ? WORSE : NOT_BETTER;
}

static const char *baseline_name(struct ptq_arena *arena, const struct ptq_claims *claims)
{
    return ptq_report_label(arena, &(struct ptq_cell){.method = claims->baseline, .spec = claims->baseline});
}

/* "31.24 against 29.12 (gptq:w4,g64,act_order=0)" of all of one kind and label. */
static const char *numbers_of(struct ptq_arena *arena, const struct ptq_claim_weak *weak, int kind, const char *label)
{
    struct words numbers = words_make(arena, weak->n);
    for (int i = 0; i < weak->n; i++) {
        const struct beside *b = &weak->one[i];
        if (kind_of(b) == kind && strcmp(b->label, label) == 0)
            add_once(&numbers, ptq_format(arena, "%.2f against %.2f (%s)", perplexity(&b->group), b->baseline->ppl,
                                          ptq_without_order(arena, b->group.cell[0]->spec)));
    }
    return joined(arena, &numbers, ", ");
}

static struct words labels_of(struct ptq_arena *arena, const struct ptq_claim_weak *weak, int kind)
{
    struct words labels = words_make(arena, weak->n);
    for (int i = 0; i < weak->n; i++)
        if (kind_of(&weak->one[i]) == kind) add_once(&labels, weak->one[i].label);
    return labels;
}

/* Which are of unknown worth, and where. */
static const char *unmeasured(struct ptq_arena *arena, const struct ptq_claim_weak *weak, const char *baseline)
{
    struct words labels = labels_of(arena, weak, UNKNOWN), where = words_make(arena, weak->n);
    for (int i = 0; i < weak->n; i++)
        if (kind_of(&weak->one[i]) == UNKNOWN) add_once(&where, weak->one[i].cells->experiment);
    if (!labels.n) return NULL;
    return ptq_format(arena, "whether %s %s better than %s was not measured in %s", joined(arena, &labels, " and "),
                      labels.n == 1 ? "is" : "are", baseline, joined(arena, &where, " and "));
}

const char *ptq_claim_weak_text(struct ptq_arena *arena, const struct ptq_claims *claims,
                                const struct ptq_claim_weak *weak)
{
    static const char *const is[] = {[WORSE] = "is worse than", [NOT_BETTER] = "is not shown to be better than"};
    if (!weak->n) return NULL; /* as where no baseline is named */
    const char *baseline = baseline_name(arena, claims), *unknown = unmeasured(arena, weak, baseline);
    struct words all = words_make(arena, weak->n + 1);
    for (int kind = WORSE; kind < UNKNOWN; kind++) {
        struct words labels = labels_of(arena, weak, kind);
        for (int l = 0; l < labels.n; l++)
            add_once(&all, ptq_format(arena, "%s itself %s %s here: %s", labels.word[l], is[kind], baseline,
                                      numbers_of(arena, weak, kind, labels.word[l])));
    }
    if (unknown) add_once(&all, unknown);
    return joined(arena, &all, "; ");
}
