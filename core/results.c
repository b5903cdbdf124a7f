#include "results_parts.h"

#include "beside.h"
#include "cell_file.h"
#include "h5.h"
#include "mapped.h"
#include "progress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int by_id(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int is_gone(const char *path)
{
    return access(path, F_OK) && errno == ENOENT;
}

/* The ids of the files FILE.cells/ID.h5, whole or not, sorted; [*n]. */
static enum ptq_status list_cell_files(struct ptq_arena *arena, const char *folder, char (**ids)[PTQ_SHA256_HEX],
                                       int *n, struct ptq_error *err)
{
    char(*found)[PTQ_SHA256_HEX] = NULL, id[PTQ_SHA256_HEX];
    size_t count = 0, room = 0;
    int cause = 0;
    DIR *dir = opendir(folder);
    if (!dir && errno != ENOENT) cause = errno;
    for (struct dirent *entry; dir && (errno = 0, entry = readdir(dir));) {
        if (!ptq_results_id(entry->d_name, ".h5", id)) continue;
        if (count == room) found = ptq_realloc(found, room = 2 * room + 16, sizeof *found, "names of cells");
        memcpy(found[count++], id, sizeof id);
    }
    if (dir) {
        cause = errno;
        closedir(dir);
    }
    *ids = ptq_alloc_array(arena, count, sizeof **ids, "names of cells");
    if (count) {
        memcpy(*ids, found, count * sizeof **ids);
        qsort(*ids, count, sizeof **ids, by_id);
    }
    free(found);
    *n = (int)count;
    return cause ? ptq_fail(err, PTQ_EIO, "%s: cannot be read: %s", folder, strerror(cause)) : PTQ_OK;
}

/* ---- one finished cell ---- */

void ptq_cell_identify(struct ptq_cell *cell)
{
    ptq_sha256(cell->config, strlen(cell->config), cell->id);
}

/* Who joins what others have finished removes the folder where it is empty, between our making it and our first file in
 * it as well: then it is made again. */
static enum ptq_status write_loose(const char *folder, const char *path, const struct ptq_cell *cell,
                                   struct ptq_error *err)
{
    enum { MOST_TRIES = 10 };
    enum ptq_status status = PTQ_EIO;
    for (int i = 0; i < MOST_TRIES && status; i++) {
        PTQ_TRY(ptq_make_own_folder(folder, err));
        status = ptq_cell_file_write(path, cell->experiment ? cell->experiment : "", "", cell, 1, err);
        if (status && !is_gone(folder)) break;
    }
    return status;
}

enum ptq_status ptq_results_put(const char *file, const struct ptq_cell *cell, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("a finished cell");
    const char *folder = ptq_results_cells(arena, file), *path = ptq_format(arena, "%s/%s.h5", folder, cell->id);
    enum ptq_status status = write_loose(folder, path, cell, err);
    if (!status) /* what stays of it, the merge tries to remove again */
        ptq_remove_folder(AT_FDCWD, ptq_results_part(arena, file, cell->id), ptq_remove_name, NULL);
    ptq_arena_free(arena);
    return status;
}

/* ---- sets of cells ---- */

struct cells {
    struct ptq_cell *cell;
    int n, room;
    const char *experiment, *yaml; /* of FILE; NULL where there is none */
};

static void add_cell(struct cells *cells, const struct ptq_cell *cell)
{
    if (cells->n == cells->room) {
        cells->room = 2 * cells->room + 16;
        cells->cell = ptq_realloc(cells->cell, (size_t)cells->room, sizeof *cells->cell, "cells");
    }
    cells->cell[cells->n++] = *cell;
}

static const struct ptq_cell *find_cell(const struct cells *cells, const char *id)
{
    for (int i = 0; i < cells->n; i++)
        if (strcmp(cells->cell[i].id, id) == 0) return &cells->cell[i];
    return NULL;
}

static enum ptq_status read_marks(struct ptq_h5 *h5, const void *path, struct ptq_arena *arena, void **out,
                                  struct ptq_error *err)
{
    struct cells *found = *out = ptq_new(arena, struct cells, 1);
    PTQ_TRY(ptq_cell_file_check(h5, path, err));
    PTQ_TRY(ptq_h5_text(h5, "/", "experiment", arena, &found->experiment, err));
    return ptq_h5_text(h5, "/", "experiment_yaml", arena, &found->yaml, err);
}

static enum ptq_status read_all(struct ptq_h5 *h5, const void *path, struct ptq_arena *arena, void **out,
                                struct ptq_error *err)
{
    const char **id;
    int64_t n;
    PTQ_TRY(read_marks(h5, path, arena, out, err));
    PTQ_TRY(ptq_h5_groups(h5, "/cells", arena, &id, &n, err));
    struct cells *found = *out;
    found->cell = ptq_new(arena, struct ptq_cell, n);
    for (; found->n < n; found->n++) PTQ_TRY(ptq_cell_read(h5, path, id[found->n], arena, &found->cell[found->n], err));
    return PTQ_OK;
}

/* The ids of a file's cells. */
struct names {
    const char **id;
    int64_t n;
};

static enum ptq_status read_file(const char *path, struct ptq_arena *arena, struct cells *cells, struct ptq_error *err)
{
    void *out;
    PTQ_TRY(ptq_h5_read(path, read_all, path, arena, &out, sizeof *cells, err));
    const struct cells *found = out;
    cells->experiment = found->experiment;
    cells->yaml = found->yaml;
    for (int i = 0; i < found->n; i++) add_cell(cells, &found->cell[i]);
    return PTQ_OK;
}

/* FILE and what lies beside it. FILE.cells is read first: a merge in between moves cells from it to FILE, and so none
 * is missed. */
struct stored {
    struct cells merged, loose;
    struct cells damaged; /* ids alone: files of FILE.cells whose bytes are not those that were written */
};

/* While --fresh computes FILE anew (results_fresh.c), who writes has what is finished of the new one, and who reads the
 * old one. */
enum side { TO_WRITE, TO_READ };

/* One file of FILE.cells. Where its seal does not hold it counts as not finished, and one that is gone since was
 * joined. Any other failure may be the system's, today's alone: a cell must not be taken for damaged by it, since it
 * would be computed again and its file removed. */
static enum ptq_status read_loose(struct ptq_arena *arena, const char *path, const char *id, struct stored *s,
                                  struct ptq_error *err)
{
    struct cells one = {0};
    struct ptq_cell broken = {0};
    struct ptq_error second;
    int there = 1;
    enum ptq_status status = ptq_h5_check(path, err);
    if (status == PTQ_EINPUT) {
        memcpy(broken.id, id, sizeof broken.id);
        add_cell(&s->damaged, &broken);
        return PTQ_OK;
    }
    if (!status) status = read_file(path, arena, &one, err);
    if (!status && (one.n != 1 || strcmp(one.cell[0].id, id)))
        status = ptq_fail(err, PTQ_EINPUT, "%s: does not hold the cell that its name says", path);
    if (!status) add_cell(&s->loose, &one.cell[0]);
    free(one.cell);
    return status && !ptq_results_look_for(path, &there, &second) && !there ? PTQ_OK : status;
}

static enum ptq_status read_folder(const char *folder, struct ptq_arena *arena, struct stored *s, struct ptq_error *err)
{
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    PTQ_TRY(list_cell_files(arena, folder, &ids, &n, err));
    for (int i = 0; i < n; i++)
        PTQ_TRY(read_loose(arena, ptq_format(arena, "%s/%s.h5", folder, ids[i]), ids[i], s, err));
    return PTQ_OK;
}

static void free_stored(struct stored *s)
{
    free(s->merged.cell);
    free(s->loose.cell);
    free(s->damaged.cell);
}

enum ptq_status ptq_results_one(struct ptq_arena *arena, const char *file, const char *id, struct ptq_cell **cell,
                                struct ptq_error *err)
{
    struct stored s = {0};
    *cell = NULL;
    PTQ_TRY(read_loose(arena, ptq_format(arena, "%s/%s.h5", ptq_results_cells(arena, file), id), id, &s, err));
    if (s.loose.n) *cell = ptq_new(arena, struct ptq_cell, 1);
    if (s.loose.n) **cell = s.loose.cell[0];
    free_stored(&s);
    return PTQ_OK;
}

/* What who would write FILE can do about one that cannot be read. Fresh results replace only what HDF5 wrote. */
static enum ptq_status hint_writer(const char *file, struct ptq_error *err)
{
    size_t used = strlen(err->text);
    struct ptq_error ignored; /* what cannot be looked at now is not to be removed */
    int replaceable;
    ptq_results_is_replaceable(file, &replaceable, &ignored);
    snprintf(err->text + used, sizeof err->text - used, "; move it away, or %s",
             replaceable ? "start over with --fresh" : "give another name behind -o");
    return err->status;
}

static enum ptq_status read_stored(struct ptq_arena *arena, const char *file, enum side side, struct stored *s,
                                   struct ptq_error *err)
{
    *s = (struct stored){0};
    int there = 0, fresh;
    PTQ_TRY(ptq_results_is_fresh(arena, file, &fresh, err));
    enum ptq_status status = PTQ_OK;
    if (!fresh || side == TO_WRITE) status = read_folder(ptq_results_cells(arena, file), arena, s, err);
    if (!status) status = ptq_results_look_for(file, &there, err);
    if (there && !(fresh && side == TO_WRITE)) status = read_file(file, arena, &s->merged, err);
    if (status) free_stored(s);
    return status;
}

static enum ptq_status read_to_write(struct ptq_arena *arena, const char *file, struct stored *s, struct ptq_error *err)
{
    enum ptq_status status = read_stored(arena, file, TO_WRITE, s, err);
    return status == PTQ_EINPUT ? hint_writer(file, err) : status;
}

/* A cell of FILE.cells is newer than one of the same id in FILE. */
static const struct ptq_cell *newest(const struct stored *s, const char *id)
{
    const struct ptq_cell *loose = find_cell(&s->loose, id);
    return loose ? loose : find_cell(&s->merged, id);
}

enum ptq_status ptq_results_ids(struct ptq_arena *arena, const char *file, char (**ids)[PTQ_SHA256_HEX], int *n,
                                struct ptq_error *err)
{
    struct ptq_cell *cell;
    *n = 0;
    struct ptq_arena *scratch = ptq_arena_make("finished cells");
    struct stored s;
    enum ptq_status status = read_to_write(scratch, file, &s, err);
    if (!status) {
        *ids = ptq_alloc_array(arena, (size_t)(s.merged.n + s.loose.n), sizeof **ids, "ids of finished cells");
        for (int i = 0; i < s.merged.n + s.loose.n; i++) {
            cell = i < s.merged.n ? &s.merged.cell[i] : &s.loose.cell[i - s.merged.n];
            if (i < s.merged.n || !find_cell(&s.merged, cell->id)) memcpy((*ids)[(*n)++], cell->id, sizeof cell->id);
        }
        qsort(*ids, (size_t)*n, sizeof **ids, by_id);
        free_stored(&s);
    }
    ptq_arena_free(scratch);
    return status;
}

static enum ptq_status read_names(struct ptq_h5 *h5, const void *path, struct ptq_arena *arena, void **out,
                                  struct ptq_error *err)
{
    struct names *names = *out = ptq_new(arena, struct names, 1);
    PTQ_TRY(ptq_cell_file_check(h5, path, err));
    return ptq_h5_groups(h5, "/cells", arena, &names->id, &names->n, err);
}

/* In FILE, where it counts. */
static enum ptq_status has_merged(struct ptq_arena *arena, const char *file, const char *id, int *has,
                                  struct ptq_error *err)
{
    int fresh, there;
    void *out;
    PTQ_TRY(ptq_results_is_fresh(arena, file, &fresh, err));
    PTQ_TRY(ptq_results_look_for(file, &there, err));
    if (fresh || !there) return PTQ_OK;
    PTQ_TRY(ptq_h5_read(file, read_names, file, arena, &out, sizeof(struct names), err));
    const struct names *names = out;
    for (int64_t i = 0; i < names->n; i++) *has |= strcmp(names->id[i], id) == 0;
    return PTQ_OK;
}

enum ptq_status ptq_results_has(const char *file, const char *id, int *has, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("a finished cell");
    struct ptq_cell *cell;
    enum ptq_status status = ptq_results_one(arena, file, id, &cell, err);
    *has = !status && cell;
    if (!status && !*has) status = has_merged(arena, file, id, has, err);
    if (status == PTQ_EINPUT) hint_writer(file, err);
    ptq_arena_free(arena);
    return status;
}

/* All cells once: first those of keep that are finished, then FILE's others, then FILE.cells' others. */
static void put_in_order(const struct stored *s, const char (*keep)[PTQ_SHA256_HEX], int n_keep, struct cells *out)
{
    *out = (struct cells){0};
    for (int i = 0; i < n_keep; i++) {
        const struct ptq_cell *cell = newest(s, keep[i]);
        if (cell && !find_cell(out, keep[i])) add_cell(out, cell);
    }
    for (int i = 0; i < s->merged.n; i++)
        if (!find_cell(out, s->merged.cell[i].id)) add_cell(out, newest(s, s->merged.cell[i].id));
    for (int i = 0; i < s->loose.n; i++)
        if (!find_cell(out, s->loose.cell[i].id)) add_cell(out, &s->loose.cell[i]);
}

static enum ptq_status read_cells(struct ptq_arena *arena, const char *file, enum side side, struct ptq_cell **cells,
                                  int *n, struct ptq_error *err)
{
    struct stored s;
    struct cells all;
    PTQ_TRY(read_stored(arena, file, side, &s, err));
    put_in_order(&s, NULL, 0, &all);
    *n = all.n;
    *cells = ptq_new(arena, struct ptq_cell, all.n);
    if (all.n) memcpy(*cells, all.cell, (size_t)all.n * sizeof **cells);
    free(all.cell);
    free_stored(&s);
    return PTQ_OK;
}

enum ptq_status ptq_results_finished(struct ptq_arena *arena, const char *file, struct ptq_cell **cells, int *n,
                                     struct ptq_error *err)
{
    return read_cells(arena, file, TO_WRITE, cells, n, err);
}

enum ptq_status ptq_results_read(struct ptq_arena *arena, const char *file, struct ptq_cell **cells, int *n,
                                 struct ptq_error *err)
{
    int there;
    PTQ_TRY(ptq_results_are_there(arena, file, &there, err));
    PTQ_TRY(ptq_results_follow(arena, &file, err));
    if (!there) return ptq_fail(err, PTQ_EIO, "%s: there is no such results file, and no finished cell of it", file);
    return read_cells(arena, file, TO_READ, cells, n, err);
}

enum ptq_status ptq_results_experiment(struct ptq_arena *arena, const char *file, const char **experiment,
                                       const char **yaml, struct ptq_error *err)
{
    void *out;
    int there;
    *experiment = *yaml = "";
    PTQ_TRY(ptq_results_look_for(file, &there, err));
    if (!there) return PTQ_OK;
    PTQ_TRY(ptq_h5_read(file, read_marks, file, arena, &out, sizeof(struct cells), err));
    const struct cells *found = out;
    *experiment = found->experiment;
    *yaml = found->yaml;
    return PTQ_OK;
}

/* ---- joining ---- */

/* 1 where FILE already is what a merge would write. */
static int is_merged(const struct stored *s, const char *experiment, const char *yaml, const struct cells *all)
{
    const struct cells *old = &s->merged;
    if (s->loose.n || old->n != all->n || !old->yaml || strcmp(old->yaml, yaml) || strcmp(old->experiment, experiment))
        return 0;
    for (int i = 0; i < all->n; i++)
        if (strcmp(old->cell[i].id, all->cell[i].id)) return 0;
    return 1;
}

/* Whether a name of FILE.cells is that of a cell in one of the sets; joined NULL: of any cell. */
static int is_spent(const char *name, const char *suffix, const struct cells *joined, const struct cells *damaged)
{
    char id[PTQ_SHA256_HEX];
    if (!ptq_results_id(name, suffix, id)) return 0;
    return !joined || find_cell(joined, id) || (damaged && find_cell(damaged, id));
}

/* What of FILE.cells may go: cells that are joined and those that are damaged; joined NULL: all. */
struct spent {
    const struct cells *joined, *damaged;
};

/* A task of another process may be writing its cell here. */
static int remove_spent(int folder, const char *name, const void *context)
{
    const struct spent *s = context;
    if (is_spent(name, ".h5", s->joined, s->damaged) || ptq_is_left_over(name))
        return ptq_remove_name(folder, name, NULL);
    if (!is_spent(name, ".part", s->joined, NULL)) return 0;
    int cause = ptq_remove_folder(folder, name, ptq_remove_name, NULL);
    return cause == ENOTDIR ? ptq_remove_name(folder, name, NULL) : cause; /* a link, say */
}

/* Removes those from FILE.cells, and the folder where nothing else is in it: another cell may come back for its part,
 * and what nobody has read is nobody's to remove. */
static enum ptq_status remove_folder(const char *folder, const struct cells *joined, const struct cells *damaged,
                                     struct ptq_error *err)
{
    PTQ_TRY(ptq_check_own_folder(folder, err));
    int cause = ptq_remove_folder(AT_FDCWD, folder, remove_spent, &(struct spent){joined, damaged});
    if (!cause || cause == ENOTEMPTY) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO, "%s: cannot be removed: %s", folder, strerror(cause));
}

enum ptq_status ptq_results_merge(const char *file, const char *experiment, const char *yaml,
                                  const char (*keep)[PTQ_SHA256_HEX], int n_keep, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("joining results");
    struct stored s;
    struct cells all;
    enum ptq_status status = read_to_write(arena, file, &s, err);
    if (!status) {
        put_in_order(&s, keep, n_keep, &all);
        if (all.n && !is_merged(&s, experiment, yaml, &all))
            status = ptq_cell_file_write(file, experiment, yaml, all.cell, all.n, err);
        if (!status) status = ptq_results_remove_mark(arena, file, err);
        if (!status) status = remove_folder(ptq_results_cells(arena, file), &all, &s.damaged, err);
        free(all.cell);
        free_stored(&s);
    }
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_results_join(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    char(*ids)[PTQ_SHA256_HEX];
    int n;
    const char *experiment, *yaml;
    PTQ_TRY(list_cell_files(arena, ptq_results_cells(arena, file), &ids, &n, err));
    if (!n) return PTQ_OK;
    PTQ_TRY(ptq_results_experiment(arena, file, &experiment, &yaml, err));
    return ptq_results_merge(file, experiment, yaml, NULL, 0, err);
}

enum ptq_status ptq_results_empty_cells(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    return remove_folder(ptq_results_cells(arena, file), NULL, NULL, err);
}
