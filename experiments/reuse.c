#include "reuse.h"

#include "mapped.h"
#include "progress.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum ptq_status take_from(struct ptq_plan *plan, const char *from, const char *file, int put, int *n,
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
            if (put) status = ptq_results_put(file, &cell[c], err);
            if (!status) ptq_plan_finish(plan, planned, &cell[c]), ++*n;
        }
    }
    ptq_arena_free(arena);
    return status;
}

/* The length of the results file's name in "x.h5", or in "x.h5.cells", which a run under way or a stopped one leaves; 0
 * in others. */
static size_t results_name(const char *name)
{
    static const char cells[] = ".cells";
    size_t length = strlen(name), skip = sizeof cells - 1;
    if (length > skip && strcmp(name + length - skip, cells) == 0) length -= skip;
    return name[0] != '.' && length > 3 && strncmp(name + length - 3, ".h5", 3) == 0 ? length : 0;
}

static int is_results(const struct dirent *entry)
{
    return results_name(entry->d_name) != 0;
}

/* The file's name where it lies in that folder, whatever both are called, else NULL. */
static const char *name_in_folder(const char *file, const char *folder)
{
    char parent[PATH_MAX];
    ptq_folder_of(file, parent, sizeof parent);
    /* Where nobody can say, FILE's own cells are looked at too, of which none is missing. */
    return ptq_is_same(parent, folder) ? ptq_file_name(file) : NULL;
}

static enum ptq_status take_from_folder(struct ptq_plan *plan, const char *folder, const char *file, int put, int *n,
                                        struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("results files of a folder");
    struct dirent **entry = NULL;
    int n_entries = scandir(folder, &entry, is_results, alphasort);
    enum ptq_status status = PTQ_OK;
    if (n_entries < 0) status = ptq_fail(err, PTQ_EIO, "%s: cannot be read: %s", folder, strerror(errno));
    const char *ours = name_in_folder(file, folder);
    for (int i = 0; i < n_entries; i++) {
        const char *name = ptq_strndup(arena, entry[i]->d_name, results_name(entry[i]->d_name));
        if (!status && !(ours && strcmp(name, ours) == 0))
            status = take_from(plan, ptq_join(arena, folder, name), file, put, n, err);
        if (status == PTQ_EINPUT) { /* no results file, or a damaged one */
            ptq_progress_note("passed over: %s", err->text);
            status = PTQ_OK;
        }
        free(entry[i]);
    }
    free(entry);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_reuse(struct ptq_plan *plan, const char *from, const char *file, int put, int *n,
                          struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("a name");
    int there;
    enum ptq_kind kind;
    enum ptq_status status = ptq_results_are_there(arena, from, &there, err);
    ptq_arena_free(arena);
    *n = there ? 0 : PTQ_REUSE_NOT_THERE;
    if (status || !there) return status;
    PTQ_TRY(ptq_look(from, &kind, err));
    return kind == PTQ_FOLDER ? take_from_folder(plan, from, file, put, n, err)
                              : take_from(plan, from, file, put, n, err);
}

/* FILE.cells is told by FILE's own name, since FILE need not be there; from is one of its files, or it. */
static int is_removed(struct ptq_arena *arena, const char *from, const char *file)
{
    char parent[PATH_MAX];
    const char *cells = ptq_format(arena, "%s" PTQ_CELLS, file);
    ptq_folder_of(from, parent, sizeof parent);
    return ptq_is_same(file, from) || ptq_is_same(cells, ptq_format(arena, "%s" PTQ_CELLS, from)) ||
           ptq_is_same(cells, from) || ptq_is_same(cells, parent);
}

enum ptq_status ptq_reuse_check(const char *from, const char *file, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("a name");
    const char *target = from;
    enum ptq_status status = ptq_results_follow(arena, &target, err);
    if (!status && is_removed(arena, target, file))
        status = ptq_fail(err, PTQ_EUSAGE,
                          "--reuse %s: is the results file that --fresh computes anew; leave one of the two out", from);
    ptq_arena_free(arena);
    return status;
}
