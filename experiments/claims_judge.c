#include "claims.h"

#include "claim_conditions.h"
#include "model_name.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_NOTES = 64 };

const char *ptq_claim_verdict_name(enum ptq_claim_verdict verdict)
{
    static const char *const names[] = {"holds here", "not decided here", "cannot be tested here",
                                        "does not hold here"};
    return names[verdict];
}

/* ---- verdicts ---- */

/* A verdict by a number of which something is missing stands where what is missing would only make it clearer. */
static enum ptq_claim_verdict bounded(const struct ptq_claim_test *t, enum ptq_claim_verdict verdict)
{
    int is_above = isnan(t->above) == (verdict == PTQ_CLAIM_FAILS); /* which side of the threshold it takes */
    if (!t->bound || verdict == PTQ_CLAIM_UNDECIDED || is_above == (t->bound > 0)) return verdict;
    return PTQ_CLAIM_CANNOT;
}

/* Where the number and its interval lie from the threshold. A number that no other text would change decides alone. */
static enum ptq_claim_verdict decide(const struct ptq_claim_test *t)
{
    int wants_above = !isnan(t->above);
    double threshold = wants_above ? t->above : t->below;
    double low = isnan(t->interval.low) ? t->value : t->interval.low;
    double high = isnan(t->interval.high) ? t->value : t->interval.high;
    if (isnan(t->value) || (t->sampled && isnan(t->interval.low))) return PTQ_CLAIM_CANNOT;
    if (wants_above)
        return low > threshold ? PTQ_CLAIM_HOLDS : high <= threshold ? PTQ_CLAIM_FAILS : PTQ_CLAIM_UNDECIDED;
    return high < threshold ? PTQ_CLAIM_HOLDS : low >= threshold ? PTQ_CLAIM_FAILS : PTQ_CLAIM_UNDECIDED;
}

static void run_test(struct ptq_arena *arena, const struct ptq_claims *claims, const struct ptq_claim_cells *cells,
                     struct ptq_claim_test *t)
{
    struct ptq_error err;
    if (t->measure->run(arena, ptq_claims_cells_of(claims, cells, t->experiment), t, &err)) {
        t->value = NAN;
        t->interval = (struct ptq_interval){NAN, NAN};
        t->why = ptq_strdup(arena, err.text);
    }
    t->verdict = bounded(t, decide(t));
    t->specs = ptq_claim_specs(arena, claims, cells, t);
}

/* ---- notes ---- */

static void add_note(struct ptq_claims *claims, const char *note)
{
    for (int i = 0; i < claims->n_notes; i++)
        if (strcmp(claims->note[i], note) == 0) return;
    if (claims->n_notes < MOST_NOTES) claims->note[claims->n_notes++] = note;
}

static int is_of_earlier_model(const struct ptq_claim_cells *cells, int i)
{
    for (int j = 0; j < i; j++)
        if (ptq_same_model(&cells->cell[j], &cells->cell[i])) return 1;
    return 0;
}

/* As it was named, and what tells it from another model of that name. */
static const char *name_of(struct ptq_arena *arena, const struct ptq_claim_cells *cells, int i)
{
    const struct ptq_cell *cell = &cells->cell[i];
    return ptq_format(arena, "%s%s", cell->model, ptq_model_apart(arena, cells->cell, cells->n, cell));
}

/* A selector takes cells of the file's first model alone: that there are others must not go unsaid. */
static void note_other_models(struct ptq_arena *arena, struct ptq_claims *claims, const struct ptq_claim_cells *cells)
{
    const char *others = "";
    for (int i = 1; i < cells->n; i++)
        if (!is_of_earlier_model(cells, i))
            others = ptq_format(arena, "%s%s%s", others, *others ? ", " : "", name_of(arena, cells, i));
    if (*others)
        add_note(claims, ptq_format(arena,
                                    "Only %s is judged, the first model of its results. No verdict is about the others "
                                    "there: %s. make claims MODEL=NAME judges one by itself.",
                                    name_of(arena, cells, 0), others));
}

/* What was measured on what, by whom: of the first cell of every file. */
static void note_cells(struct ptq_arena *arena, struct ptq_claims *claims, const struct ptq_claim_cells *cells)
{
    for (int i = 0; i < claims->n_experiments; i++) {
        if (!cells[i].n) continue;
        const struct ptq_cell *c = &cells[i].cell[0];
        add_note(claims, ptq_format(arena, "Model %s (%s, weights %s, SHA-256 %.12s).", c->model, c->family,
                                    c->source_dtype, c->model_sha256));
        if (c->source_dtype[0] == 'Q')
            add_note(claims, ptq_format(arena,
                                        "%s comes from a checkpoint that was quantised before (%s): what holds "
                                        "of it need not hold of an FP16 release, nor of a larger model.",
                                        c->model, c->source_dtype));
        for (int j = 0; j < cells[i].n; j++) {
            const struct ptq_cell *d = &cells[i].cell[j];
            add_note(claims, ptq_format(arena, "Perplexity of %s: %s.", d->text, ptq_worded(arena, d->protocol)));
            if (d->calib[0])
                add_note(claims,
                         ptq_format(arena, "Calibration on %s: %s.", d->calib, ptq_worded(arena, d->calib_protocol)));
        }
    }
}

static void note_method(struct ptq_arena *arena, struct ptq_claims *claims)
{
    const struct ptq_bootstrap *b = &ptq_bootstrap_default;
    add_note(
        claims,
        ptq_format(arena,
                   "Intervals: %g %%, paired bootstrap over units of %lld tokens (of a window each, where windows "
                   "are shorter), %lld replicates, seed %llu, the tables' draws; of several calibration draws or "
                   "orders of sums (t, n = so many), Student's t of both variances, the tokens' and theirs. Of seconds "
                   "and of a benchmark's ratios (least .. most) of the runs where there are several.",
                   100 * b->level, (long long)b->block, (long long)b->replicates, (unsigned long long)b->seed));
    add_note(
        claims,
        "The order of GPTQ's sums, which differs by machine and BLAS kernel, is in the intervals where the experiment "
        "has several (order), or several draws, which move its sums too; where it has one of each, a verdict on GPTQ "
        "near its threshold may be another one elsewhere (experiments/noise.tsv).");
    add_note(claims, ptq_format(arena,
                                "A test holds where its whole interval is on the claimed side of the threshold, does "
                                "not where it is on the other, "
                                "is not decided where the threshold is inside, and cannot be tested where a text of "
                                "fewer than %d units gives no "
                                "interval. A claim is as good as its worst test.",
                                PTQ_BOOTSTRAP_LEAST));
    if (claims->baseline)
        add_note(claims,
                 ptq_format(arena,
                            "Where methods are compared, each is held against %s at the same bits and groups in "
                            "the same results: it is better where the whole interval of its perplexity over "
                            "that one's is below 1. A verdict keeps its word where one is not, and says so.",
                            claims->baseline));
}

/* ---- all ---- */

static void judge_claim(struct ptq_arena *arena, const struct ptq_claims *claims, const struct ptq_claim_cells *cells,
                        struct ptq_claim *claim)
{
    struct ptq_claim_weak *weak = ptq_claim_weak_make(arena, claim->n_tests);
    claim->verdict = PTQ_CLAIM_HOLDS;
    for (int i = 0; i < claim->n_tests; i++) {
        struct ptq_claim_test *t = &claim->test[i];
        run_test(arena, claims, cells, t);
        if (t->verdict > claim->verdict) claim->verdict = t->verdict;
        const char *ratios = ptq_claim_weigh(arena, claims, cells, t, 1, weak);
        if (ratios) t->why = ptq_format(arena, "%s%s%s", t->why ? t->why : "", t->why ? "; " : "", ratios);
    }
    claim->conditions = ptq_claim_conditions(arena, claims, cells, claim->test, claim->n_tests);
    claim->but = ptq_claim_weak_text(arena, claims, weak);
}

static void fill_comparison(struct ptq_arena *arena, struct ptq_claims *claims, const struct ptq_claim_cells *cells)
{
    struct ptq_claim_weak *weak = ptq_claim_weak_make(arena, claims->n_rows * claims->n_sides);
    for (int r = 0; r < claims->n_rows; r++) {
        struct ptq_claim_row *row = &claims->row[r];
        for (int s = 0; s < claims->n_sides; s++) run_test(arena, claims, cells, &row->side[s]);
        ptq_claim_weigh(arena, claims, cells, row->side, claims->n_sides, weak);
        row->conditions = ptq_claim_conditions(arena, claims, cells, row->side, claims->n_sides);
    }
    claims->but = ptq_claim_weak_text(arena, claims, weak);
}

void ptq_claims_judge(struct ptq_arena *arena, struct ptq_claims *claims, const struct ptq_claim_cells *cells)
{
    for (int i = 0; i < claims->n; i++) judge_claim(arena, claims, cells, &claims->claim[i]);
    fill_comparison(arena, claims, cells);
    claims->note = ptq_new(arena, const char *, MOST_NOTES);
    claims->n_notes = 0;
    for (int i = 0; i < claims->n_experiments; i++) note_other_models(arena, claims, &cells[i]);
    note_method(arena, claims);
    note_cells(arena, claims, cells);
}
