#include "plan_notes.h"

#include "escape.h"
#include "progress.h"
#include "results.h"

#include <string.h>

static int note_protocols(const struct ptq_experiment *e, const struct ptq_cell *a, const struct ptq_cell *b, FILE *out)
{
    if (e->by_text || strcmp(a->protocol, b->protocol) == 0) return 0;
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

static const struct ptq_cell *first_planned(const struct ptq_plan *plan)
{
    for (int i = 0; i < plan->n; i++)
        if (plan->cell[i].state != PTQ_PLAN_FAILED) return &plan->cell[i].cell;
    return NULL;
}

static enum ptq_status note_stored(struct ptq_arena *arena, const struct ptq_plan *plan, const struct ptq_experiment *e,
                                   const char *file, FILE *out, struct ptq_error *err)
{
    char(*id)[PTQ_SHA256_HEX];
    struct ptq_cell *stored, *other = NULL;
    int n, n_others = 0;
    PTQ_TRY(ptq_results_ids(arena, file, &id, &n, err));
    for (int i = 0; i < n; i++) n_others += !ptq_plan_has(plan, id[i]);
    if (!n_others) return PTQ_OK;
    PTQ_TRY(ptq_results_finished(arena, file, &stored, &n, err));
    for (int i = n - 1; i >= 0; i--)
        if (!ptq_plan_has(plan, stored[i].id)) other = &stored[i];
    if (!other || note_protocols(e, first_planned(plan), other, out)) return PTQ_OK;
    ptq_say(out,
            "%s: note: %s holds %d cell%s more that this experiment does not have, such as %s %s, and its tables show "
            "%s, too; -o another file, or --fresh, which computes all anew, leaves %s out\n",
            e->name, file, n_others, n_others == 1 ? "" : "s", other->model, other->spec, n_others == 1 ? "it" : "them",
            n_others == 1 ? "it" : "them");
    return PTQ_OK;
}

enum ptq_status ptq_plan_notes(const struct ptq_plan *plan, const struct ptq_experiment *e, const char *file, FILE *out,
                               struct ptq_error *err)
{
    const struct ptq_cell *first = first_planned(plan);
    note_twins(plan, e, out);
    for (int i = 0, noted = 0; i < plan->n && !noted; i++)
        if (plan->cell[i].state != PTQ_PLAN_FAILED) noted = note_protocols(e, first, &plan->cell[i].cell, out);
    if (!file || !first) return PTQ_OK;
    struct ptq_arena *arena = ptq_arena_make("results");
    enum ptq_status status = note_stored(arena, plan, e, file, out, err);
    ptq_arena_free(arena);
    return status;
}
