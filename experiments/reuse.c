#include "reuse.h"

#include "mapped.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum ptq_status take_from(struct ptq_plan *plan, const char *from, const char *file, int *n,
                                 struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("cells of another file");
    struct ptq_cell *cell = NULL;
    int n_cells = 0;
    enum ptq_status status = ptq_results_read(arena, from, &cell, &n_cells, err);
    for (int i = 0; i < plan->n && !status; i++) {
        struct ptq_plan_cell *planned = &plan->cell[i];
        for (int c = 0; c < n_cells && planned->state == PTQ_PLAN_MISSING && !status; c++) {
            if (strcmp(cell[c].id, planned->cell.id)) continue;
            status = ptq_results_put(file, &cell[c], err);
            if (!status) ptq_plan_done(plan, planned, cell[c].seconds_quantize + cell[c].seconds_eval), ++*n;
        }
    }
    ptq_arena_free(arena);
    return status;
}

static int is_h5(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return entry->d_name[0] != '.' && dot && strcmp(dot, ".h5") == 0;
}

static enum ptq_status take_from_folder(struct ptq_plan *plan, const char *folder, const char *file, int *n,
                                        struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("results files of a folder");
    struct dirent **entry = NULL;
    int n_entries = scandir(folder, &entry, is_h5, alphasort);
    enum ptq_status status = PTQ_OK;
    for (int i = 0; i < n_entries; i++) {
        const char *path = ptq_join(arena, folder, entry[i]->d_name);
        char *here = realpath(path, NULL), *ours = realpath(file, NULL);
        int same = here && ours && strcmp(here, ours) == 0;
        if (!status && !same) status = take_from(plan, path, file, n, err);
        if (status == PTQ_EINPUT) status = PTQ_OK; /* no results file, or a damaged one */
        free(here);
        free(ours);
        free(entry[i]);
    }
    free(entry);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_reuse(struct ptq_plan *plan, const char *from, const char *file, int *n, struct ptq_error *err)
{
    *n = 0;
    if (!ptq_plan_count(plan, PTQ_PLAN_MISSING) || access(from, F_OK)) return PTQ_OK;
    return ptq_is_folder(from) ? take_from_folder(plan, from, file, n, err) : take_from(plan, from, file, n, err);
}
