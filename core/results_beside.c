/* The name of a results file and those beside it, looked at before anything is computed for it. */
#include "results.h"

#include "beside.h"
#include "mapped.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum kind { WRITTEN, MADE, FOLDER, CELLS }; /* by way of a temporary; at once; folders, made at once */

static const struct {
    const char *suffix;
    enum kind kind;
} beside[] = {{"", WRITTEN}, {PTQ_FAILED, WRITTEN}, {PTQ_LOCK, MADE}, {PTQ_CELLS, CELLS}, {PTQ_TASKS, FOLDER}};
enum { N_BESIDE = sizeof beside / sizeof *beside };

/* The longest path beneath these folders: FILE.cells/ID.part/ with a block on its way. */
enum {
    DEEPEST = sizeof PTQ_CELLS "/" - 1 + PTQ_SHA256_HEX - 1 + sizeof ".part/block-1000000000.h5" + PTQ_TEMPORARY_ROOM
};

/* How many bytes a name in that folder may have; one that is not there yet is taken for any. */
static size_t longest_in(const char *folder)
{
    long n = pathconf(folder, _PC_NAME_MAX);
    return n > 0 ? (size_t)n : NAME_MAX;
}

static enum ptq_status check_length(const char *file, struct ptq_error *err)
{
    char folder[PATH_MAX];
    size_t length = strlen(ptq_file_name(file)), most = 0;
    if (strlen(file) + DEEPEST > PATH_MAX)
        return ptq_fail(err, PTQ_EUSAGE,
                        "-o %.60s...: this path is too long; at most %d bytes leave room for what is "
                        "kept beside it",
                        file, (int)(PATH_MAX - DEEPEST));
    for (int i = 0; i < N_BESIDE; i++) {
        size_t more = strlen(beside[i].suffix) + (beside[i].kind == WRITTEN ? PTQ_TEMPORARY_ROOM : 0);
        if (more > most) most = more;
    }
    ptq_folder_of(file, folder, sizeof folder);
    if (length + most <= longest_in(folder)) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE,
                    "-o %.60s...: this name is too long; at most %zu bytes leave room for what is kept beside it", file,
                    longest_in(folder) - most);
}

/* ---- folders where files are expected ---- */

/* Where the system cannot say, whoever writes there will. */
static int is_folder(const char *path)
{
    enum ptq_kind kind;
    struct ptq_error ignored;
    return ptq_look_itself(path, &kind, &ignored) == PTQ_OK && kind == PTQ_FOLDER;
}

static enum ptq_status refuse_folder(const char *path, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: is a folder, where ptq writes and removes files alone; move it away, or give another name "
                    "behind -o",
                    path);
}

/* Whether what has that name in FILE.cells is a file of ours, which will be replaced or removed. */
static int is_file_of_cells(const char *name)
{
    char id[PTQ_SHA256_HEX];
    return ptq_results_id(name, ".h5", id) || ptq_is_left_over(name) || !strcmp(name, PTQ_FRESH);
}

static int is_part(const char *name)
{
    char id[PTQ_SHA256_HEX];
    return ptq_results_id(name, ".part", id);
}

/* FILE.cells, or one of its parts, in which all is ours. What is in the way of others' names stays as it is. */
static enum ptq_status check_inside(const char *folder, int of_part, struct ptq_error *err)
{
    enum ptq_status status = PTQ_OK;
    DIR *dir = opendir(folder);
    if (!dir && errno != ENOENT) return ptq_fail(err, PTQ_EIO, "%s: cannot be read: %s", folder, strerror(errno));
    for (struct dirent *entry; dir && !status && (entry = readdir(dir));) {
        char path[PATH_MAX + NAME_MAX + 2];
        const char *name = entry->d_name;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (!strcmp(name, ".") || !strcmp(name, "..") || !is_folder(path)) continue;
        if (of_part || is_file_of_cells(name)) status = refuse_folder(path, err);
        if (!of_part && is_part(name)) status = check_inside(path, 1, err);
    }
    if (dir) closedir(dir);
    return status;
}

enum ptq_status ptq_results_check_beside(const char *file, struct ptq_error *err)
{
    PTQ_TRY(check_length(file, err));
    for (int i = 0; i < N_BESIDE; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s%s", file, beside[i].suffix);
        if (beside[i].kind >= FOLDER)
            PTQ_TRY(ptq_check_own_folder(path, err));
        else if (is_folder(path))
            return refuse_folder(path, err);
        if (beside[i].kind == CELLS) PTQ_TRY(check_inside(path, 0, err));
    }
    return PTQ_OK;
}

/* ---- the name itself ---- */

enum ptq_status ptq_results_check_name(const char *file, struct ptq_error *err)
{
    if (!*file) return ptq_fail(err, PTQ_EUSAGE, "-o is empty; give the name of a results file, such as x.h5");
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(file, &kind, err));
    if (kind == PTQ_FOLDER || file[strlen(file) - 1] == '/')
        return ptq_fail(err, PTQ_EUSAGE, "-o %s: is a folder; give the name of a results file in it, such as x.h5",
                        file);
    if (kind == PTQ_SPECIAL)
        return ptq_fail(err, PTQ_EUSAGE,
                        "-o %s: is no regular file, and is not replaced; give the name of a results file, such as x.h5",
                        file);
    return PTQ_OK;
}

enum ptq_status ptq_results_resolve(struct ptq_arena *arena, const char **file, struct ptq_error *err)
{
    const char *given = *file;
    PTQ_TRY(ptq_results_follow(arena, file, err));
    PTQ_TRY(ptq_results_check_name(given, err));
    return ptq_results_check_name(*file, err);
}
