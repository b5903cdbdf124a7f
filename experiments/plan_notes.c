#include "plan_notes.h"

#include "bootstrap.h"
#include "escape.h"
#include "progress.h"
#include "results.h"

#include <string.h>

/* The first cell of the plan that a table would show beside b, or NULL. */
static const struct ptq_cell *first_beside(const struct ptq_plan *plan, const struct ptq_experiment *e,
                                           const struct ptq_cell *b)
{
    for (const struct ptq_plan_cell *p = plan->cell; p < plan->cell + plan->n; p++)
        if (p->state != PTQ_PLAN_FAILED && (!e->by_text || strcmp(p->cell.text, b->text) == 0)) return &p->cell;
    return NULL;
}

static int note_protocols(const struct ptq_plan *plan, const struct ptq_experiment *e, const struct ptq_cell *b,
                          FILE *out)
{
    const struct ptq_cell *a = first_beside(plan, e, b);
    if (!a || strcmp(a->protocol, b->protocol) == 0) return 0;
    struct ptq_arena *arena = ptq_arena_make("a note");
    ptq_say(
        out,
        "%s: note: no table will show %s %s (%s) beside %s %s (%s), which is measured by another protocol: give each a "
        "file of its own by -o\n",
        e->name, a->model, a->spec, ptq_worded(arena, a->protocol), b->model, b->spec, ptq_worded(arena, b->protocol));
    ptq_arena_free(arena);
    return 1;
}

static void note_twins(const struct ptq_plan *plan, const struct ptq_experiment *e, FILE *out)
{
    static const struct {
        const char *what, *same;
    } says[] = {[PTQ_TWIN_MODEL] = {"", "files"},
                [PTQ_TWIN_TEXT] = {"text ", "bytes"},
                [PTQ_TWIN_CALIB] = {"calibration text ", "windows"}};
    for (const struct ptq_twin *t = plan->twin; t < plan->twin + plan->n_twins; t++)
        ptq_say(out, "%s: note: %s%s is %s again, the same %s: its cells are counted once\n", e->name,
                says[t->kind].what, t->name, t->of, says[t->kind].same);
}

/* Whether an earlier cell of the plan is measured as this one is. */
static int is_seen(const struct ptq_plan *plan, const struct ptq_plan_cell *cell)
{
    for (const struct ptq_plan_cell *p = plan->cell; p < cell; p++)
        if (p->state != PTQ_PLAN_FAILED && strcmp(p->cell.protocol, cell->cell.protocol) == 0) return 1;
    return 0;
}

/* Too few tokens for an interval, which is better known before hours of computing; once for each protocol. */
static void note_units(const struct ptq_plan *plan, const struct ptq_experiment *e, FILE *out)
{
    const struct ptq_bootstrap *how = &ptq_bootstrap_default;
    for (const struct ptq_plan_cell *p = plan->cell; p < plan->cell + plan->n; p++) {
        const struct ptq_cell *c = &p->cell;
        if (p->state == PTQ_PLAN_FAILED || is_seen(plan, p)) continue;
        int64_t units = ptq_bootstrap_units(how, c), each = c->windows ? units / c->windows : 0;
        if (!each || units >= PTQ_BOOTSTRAP_LEAST) continue;
        ptq_say(
            out,
            "%s: too few tokens for intervals: %lld window%s of %lld of %s make%s %lld unit%s of %lld tokens, and it "
            "takes %d; eval.windows %lld would do\n",
            e->name, (long long)c->windows, c->windows == 1 ? "" : "s", (long long)c->window, c->text,
            c->windows == 1 ? "s" : "", (long long)units, units == 1 ? "" : "s",
            (long long)ptq_bootstrap_unit_tokens(how, c), PTQ_BOOTSTRAP_LEAST,
            (long long)((PTQ_BOOTSTRAP_LEAST + each - 1) / each));
    }
}

/* "0123456789ab+1234", of a stranger's file as it is. */
static const char *short_commit(struct ptq_arena *arena, const char *commit)
{
    enum { DIGITS = 12 };
    const char *plus = strchr(commit, '+');
    return plus ? ptq_format(arena, "%.*s%s", plus - commit < DIGITS ? (int)(plus - commit) : DIGITS, commit, plus)
                : ptq_format(arena, "%.*s", DIGITS, commit);
}

/* Cells that another build than this one measured, where one of the two is of a changed tree: an id holds what was
 * asked for, and no code. Builds of two commits are told by the commits that a table names. */
static void note_builds(struct ptq_arena *arena, const struct ptq_plan *plan, const struct ptq_experiment *e,
                        const struct ptq_cell *stored, int n, FILE *out)
{
    const char *ours = NULL, *theirs = NULL;
    int n_others = 0;
    for (int i = 0; i < n; i++) {
        const struct ptq_plan_cell *planned = ptq_plan_find(plan, stored[i].id);
        if (!planned || strcmp(planned->cell.commit, stored[i].commit) == 0) continue;
        if (!strchr(planned->cell.commit, '+') && !strchr(stored[i].commit, '+')) continue;
        ours = planned->cell.commit, theirs = stored[i].commit;
        n_others++;
    }
    if (!n_others) return;
    ptq_say(out,
            "%s: note: %d cell%s done %s of another build (%s) than this one (%s), and a tree that was changed is not "
            "known by its commit: where the code of a method or model has changed since, --fresh measures %s again\n",
            e->name, n_others, n_others == 1 ? " that is" : "s that are", n_others == 1 ? "is" : "are",
            short_commit(arena, theirs), short_commit(arena, ours), n_others == 1 ? "it" : "them");
}

/* What the file holds beside the plan's cells. */
static void note_others(const struct ptq_plan *plan, const struct ptq_experiment *e, const char *file,
                        const struct ptq_cell *stored, int n, FILE *out)
{
    const struct ptq_cell *other = NULL;
    int n_others = 0;
    for (int i = 0; i < n; i++) {
        if (ptq_plan_find_same(plan, &stored[i])) continue;
        if (note_protocols(plan, e, &stored[i], out)) return;
        if (!n_others++) other = &stored[i];
    }
    if (!other) return;
    ptq_say(out,
            "%s: note: %s holds %d cell%s more that this experiment does not have, such as %s %s, and its tables show "
            "%s, too; -o another file, or --fresh, which computes all anew, leaves %s out\n",
            e->name, file, n_others, n_others == 1 ? "" : "s", other->model, other->spec, n_others == 1 ? "it" : "them",
            n_others == 1 ? "it" : "them");
}

static enum ptq_status note_stored(struct ptq_arena *arena, const struct ptq_plan *plan, const struct ptq_experiment *e,
                                   const char *file, FILE *out, struct ptq_error *err)
{
    struct ptq_cell *stored;
    int n;
    PTQ_TRY(ptq_results_finished(arena, file, &stored, &n, err));
    note_builds(arena, plan, e, stored, n, out);
    note_others(plan, e, file, stored, n, out);
    return PTQ_OK;
}

enum ptq_status ptq_plan_notes(const struct ptq_plan *plan, const struct ptq_experiment *e, const char *file, FILE *out,
                               struct ptq_error *err)
{
    note_twins(plan, e, out);
    note_units(plan, e, out);
    for (int i = 0, noted = 0; i < plan->n && !noted; i++)
        if (plan->cell[i].state != PTQ_PLAN_FAILED) noted = note_protocols(plan, e, &plan->cell[i].cell, out);
    if (!file || ptq_plan_count(plan, PTQ_PLAN_FAILED) == plan->n) return PTQ_OK;
    struct ptq_arena *arena = ptq_arena_make("results");
    enum ptq_status status = note_stored(arena, plan, e, file, out, err);
    ptq_arena_free(arena);
    return status;
}
