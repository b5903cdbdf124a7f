/* What a layout pools without saying so: cells of one slot that differ in more than a seed. */
#include "pivot.h"

#include <stddef.h>
#include <string.h>

enum { MOST_DIFFERENCES = 9 }; /* the method, and the texts of struct ptq_common */

/* One sentence: what its slots are means over, and the methods of their cells; NULL where those are what is pooled. */
struct sentence {
    const char *over, *methods;
};

struct notes {
    struct ptq_arena *arena;
    struct sentence *sentence;
    int n;
};

static const struct ptq_common of_method = {"method", NULL, offsetof(struct ptq_cell, spec),
                                            offsetof(struct ptq_cell, spec)};

/* "2 calibration texts: a; b", in the order in which the slot's cells came. */
static const char *over(struct ptq_arena *arena, const struct ptq_common *common, const struct ptq_pivot_slot *slot)
{
    const char *list = "";
    int n = 0;
    for (const struct ptq_pivot_fallen *f = slot->last; f; f = f->before) {
        int seen = 0;
        for (const struct ptq_pivot_fallen *g = f->before; g && !seen; g = g->before)
            seen = !ptq_common_differs(common, f->row->cell, g->row->cell);
        if (seen) continue;
        list = ptq_format(arena, "%s%s%s", ptq_common_text(common, f->row->cell), n ? "; " : "", list);
        n++;
    }
    return ptq_format(arena, "%d %ss: %s", n, common->what, list);
}

/* Whether the list, whose entries are parted by ", ", has this one. */
static int has(const char *list, const char *entry)
{
    size_t length = strlen(entry);
    for (const char *at = list; (at = strstr(at, entry)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ',' || !at[length])) return 1;
    return 0;
}

static void add(struct notes *notes, const struct ptq_common *common, const struct ptq_pivot_slot *slot)
{
    const char *text = over(notes->arena, common, slot), *method = ptq_report_label(notes->arena, slot->row->cell);
    int s = 0;
    while (s < notes->n && strcmp(notes->sentence[s].over, text)) s++;
    struct sentence *sentence = &notes->sentence[s];
    if (s == notes->n) {
        *sentence = (struct sentence){.over = text, .methods = common == &of_method ? NULL : method};
        notes->n++;
    } else if (sentence->methods && !has(sentence->methods, method)) {
        sentence->methods = ptq_format(notes->arena, "%s, %s", sentence->methods, method);
    }
}

/* What any cell of the slot differs in from its first, each once. */
static void add_slot(struct notes *notes, const struct ptq_pivot_slot *slot)
{
    const struct ptq_common *of[MOST_DIFFERENCES];
    int n = 0;
    for (const struct ptq_pivot_fallen *f = slot->last; f && f->before; f = f->before) {
        const struct ptq_cell *first = slot->row->cell, *cell = f->row->cell;
        const struct ptq_common *both[] = {ptq_common_differs(&of_method, first, cell) ? &of_method : NULL,
                                           ptq_cells_apart(first, cell)};
        for (int b = 0; b < 2; b++) {
            int seen = !both[b];
            for (int i = 0; i < n && !seen; i++) seen = of[i] == both[b];
            if (!seen && n < MOST_DIFFERENCES) of[n++] = both[b];
        }
    }
    for (int i = 0; i < n; i++) add(notes, of[i], slot);
}

const char **ptq_pivot_notes(struct ptq_arena *arena, const struct ptq_pivot *pivot, int *n)
{
    int n_slots = pivot->n_rows * pivot->n_columns, n_pooled = 0;
    struct notes notes = {.arena = arena};
    for (int i = 0; i < n_slots; i++) n_pooled += pivot->slot[i].last && pivot->slot[i].last->before;
    notes.sentence = ptq_new(arena, struct sentence, n_pooled * MOST_DIFFERENCES);
    for (int i = 0; i < n_slots; i++) add_slot(&notes, &pivot->slot[i]);
    const char **note = ptq_new(arena, const char *, notes.n);
    for (int s = 0; s < notes.n; s++) {
        const char *methods = notes.sentence[s].methods;
        note[s] = ptq_format(arena, "%s%s are means over %s.", methods ? "Slots of " : "Some slots",
                             methods ? methods : "", notes.sentence[s].over);
    }
    *n = notes.n;
    return note;
}
