#include "report_parts.h"

#include "model_name.h"

#include <stddef.h>
#include <string.h>

/* The cells of cells[first]'s protocol, or 0 where an earlier cell has it too. */
static int cells_of_protocol(const struct ptq_cell *cells, int n, int first, struct ptq_cell *out)
{
    int found = 0;
    for (int i = 0; i < first; i++)
        if (strcmp(cells[i].protocol, cells[first].protocol) == 0) return 0;
    for (int i = first; i < n; i++)
        if (strcmp(cells[i].protocol, cells[first].protocol) == 0) out[found++] = cells[i];
    return found;
}

static void add_notes(struct ptq_report *to, const struct ptq_report *part)
{
    for (int i = 0; i < part->n_notes; i++) {
        int seen = 0;
        for (int j = 0; j < to->n_notes && !seen; j++) seen = strcmp(to->note[j], part->note[i]) == 0;
        if (!seen) to->note[to->n_notes++] = part->note[i];
    }
}

static void join(struct ptq_arena *arena, struct ptq_report *to, const struct ptq_report *part)
{
    for (int s = 0; s < part->n_sections; s++) {
        struct ptq_section *section = &to->section[to->n_sections++];
        *section = part->section[s];
        section->model = ptq_model_name(arena, to->cell, to->n_cells, section->row[0]->cell);
        section->text = ptq_report_apart(arena, to, section->row[0]->cell, offsetof(struct ptq_cell, text));
    }
    memcpy(to->row + to->n_rows, part->row, (size_t)part->n_rows * sizeof *part->row);
    to->n_rows += part->n_rows;
    add_notes(to, part);
}

enum ptq_status ptq_report_parts(struct ptq_arena *arena, const struct ptq_table_layout *layout,
                                 const struct ptq_cell *cells, int n, struct ptq_report *out, struct ptq_error *err)
{
    struct ptq_report *part = ptq_new(arena, struct ptq_report, n);
    int n_parts = 0, rows = 0, sections = 0, notes = 0;
    if (n < 1 || !layout || !ptq_table_layout_has(layout, "text")) return ptq_report_make(arena, cells, n, out, err);
    PTQ_TRY(ptq_report_check(arena, cells, n, 1, err));
    for (int i = 0; i < n; i++) {
        struct ptq_cell *chosen = ptq_new(arena, struct ptq_cell, n);
        int n_chosen = cells_of_protocol(cells, n, i, chosen);
        if (!n_chosen) continue;
        PTQ_TRY(ptq_report_make(arena, chosen, n_chosen, &part[n_parts], err));
        rows += part[n_parts].n_rows;
        sections += part[n_parts].n_sections;
        notes += part[n_parts++].n_notes;
    }
    *out = part[0];
    if (n_parts == 1) return PTQ_OK;
    *out = (struct ptq_report){.title = part[0].title, .cell = cells, .n_cells = n, .bootstrap = part[0].bootstrap};
    out->row = ptq_new(arena, struct ptq_report_row, rows);
    out->section = ptq_new(arena, struct ptq_section, sections);
    out->note = ptq_new(arena, const char *, notes);
    for (int i = 0; i < n_parts; i++) join(arena, out, &part[i]);
    return PTQ_OK;
}
