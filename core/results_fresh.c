/* --fresh: a file of results is computed anew, and stays what it was until the new one takes its place.
 *
 *   FILE.h5               as it was; who reads results reads this one alone
 *   FILE.h5.cells/fresh   the ids of the cells that are computed anew, one a line: while it and FILE are there, what is
 *                         finished is what lies beside it, and nothing of FILE
 *   FILE.h5.cells/ID.h5   a finished cell of the new one
 *
 * When all that it names is finished, the new file is renamed over FILE, then the mark goes, then the cells go. A kill
 * before the rename leaves the old file, and one behind it the new one, with a mark whose cells are all there yet. */
#include "results_parts.h"

#include "beside.h"
#include "mapped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = PTQ_SHA256_HEX, LIMIT = 1 << 24 }; /* an id and its newline */

static char *mark_of(struct ptq_arena *arena, const char *file)
{
    return ptq_format(arena, "%s/" PTQ_FRESH, ptq_results_cells(arena, file));
}

enum ptq_status ptq_results_is_fresh(struct ptq_arena *arena, const char *file, int *fresh, struct ptq_error *err)
{
    int there;
    enum ptq_kind kind;
    *fresh = 0;
    PTQ_TRY(ptq_results_follow(arena, &file, err));
    PTQ_TRY(ptq_look_itself(mark_of(arena, file), &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_results_look_for(file, &there, err));
    *fresh = there;
    return PTQ_OK;
}

static enum ptq_status write_mark(struct ptq_arena *arena, const char *file, const char (*id)[PTQ_SHA256_HEX], int n,
                                  struct ptq_error *err)
{
    size_t size = (size_t)n * LINE;
    char *text = ptq_new(arena, char, size);
    for (int i = 0; i < n; i++) {
        memcpy(text + (size_t)i * LINE, id[i], LINE - 1);
        text[(size_t)i * LINE + LINE - 1] = '\n';
    }
    PTQ_TRY(ptq_make_own_folder(ptq_results_cells(arena, file), err));
    return ptq_write_file(mark_of(arena, file), text, size, err);
}

static enum ptq_status read_mark(struct ptq_arena *arena, const char *file, char (**id)[PTQ_SHA256_HEX], int *n,
                                 struct ptq_error *err)
{
    const char *path = mark_of(arena, file);
    char *text;
    size_t size;
    PTQ_TRY(ptq_read_file(arena, path, LIMIT, &text, &size, err));
    int good = size > 0 && size % LINE == 0;
    for (size_t at = 0; good && at < size; at += LINE)
        good = ptq_is_sha256(text + at, LINE - 1) && text[at + LINE - 1] == '\n';
    if (!good) return ptq_fail(err, PTQ_EINPUT, "%s: is not what --fresh wrote there; start over with --fresh", path);
    for (size_t at = 0; at < size; at += LINE) text[at + LINE - 1] = 0;
    *id = (void *)text;
    *n = (int)(size / LINE);
    return PTQ_OK;
}

enum ptq_status ptq_results_remove_mark(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    const char *path = mark_of(arena, file);
    if (unlink(path) == 0) return ptq_sync_folder_of(path, err);
    if (errno == ENOENT || errno == ENOTDIR) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO, "%s: cannot be removed: %s", path, strerror(errno));
}

static int by_id(const void *a, const void *b)
{
    return strcmp(a, b);
}

enum ptq_status ptq_results_awaited(struct ptq_arena *arena, const char *file, char (**id)[PTQ_SHA256_HEX], int *n,
                                    struct ptq_error *err)
{
    char(*finished)[PTQ_SHA256_HEX];
    int fresh, n_named = 0, n_finished = 0;
    *n = 0;
    PTQ_TRY(ptq_results_is_fresh(arena, file, &fresh, err));
    if (!fresh) return PTQ_OK;
    PTQ_TRY(read_mark(arena, file, id, &n_named, err));
    PTQ_TRY(ptq_results_ids(arena, file, &finished, &n_finished, err));
    for (int i = 0; i < n_named; i++)
        if (!n_finished || !bsearch((*id)[i], finished, (size_t)n_finished, sizeof *finished, by_id))
            memmove((*id)[(*n)++], (*id)[i], sizeof **id);
    return PTQ_OK;
}

/* A kill between any two steps loses no finished cell: those of a run that was interrupted are in FILE by then. Those
 * of an earlier --fresh go first, while the mark still says that they are no cells of FILE. */
static enum ptq_status start_over(struct ptq_arena *arena, const char *file, const char (*id)[PTQ_SHA256_HEX], int n,
                                  struct ptq_error *err)
{
    int fresh, there;
    PTQ_TRY(ptq_results_check_replaceable(file, err));
    PTQ_TRY(ptq_results_is_fresh(arena, file, &fresh, err));
    enum ptq_status status = fresh ? PTQ_OK : ptq_results_join(arena, file, err);
    if (status && status != PTQ_EINPUT) return status; /* cells beside a file that nobody can read go */
    PTQ_TRY(ptq_results_look_for(file, &there, err));
    if (!there) PTQ_TRY(ptq_results_remove_mark(arena, file, err)); /* of a FILE that was moved away */
    PTQ_TRY(ptq_results_empty_cells(arena, file, err));
    return there ? write_mark(arena, file, id, n, err) : PTQ_OK;
}

enum ptq_status ptq_results_start_over(const char *file, const char (*id)[PTQ_SHA256_HEX], int n, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("starting over");
    enum ptq_status status = start_over(arena, file, id, n, err);
    ptq_arena_free(arena);
    return status;
}
