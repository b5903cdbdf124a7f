/* The names beside a results file, looked at before anything is computed for it. */
#include "results.h"

#include "beside.h"
#include "mapped.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum kind { WRITTEN, MADE, FOLDER }; /* by way of a temporary; at once; a folder, made at once */

static const struct {
    const char *suffix;
    enum kind kind;
} beside[] = {{"", WRITTEN}, {PTQ_FAILED, WRITTEN}, {PTQ_LOCK, MADE}, {PTQ_CELLS, FOLDER}, {PTQ_TASKS, FOLDER}};
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

enum ptq_status ptq_results_check_beside(const char *file, struct ptq_error *err)
{
    PTQ_TRY(check_length(file, err));
    for (int i = 0; i < N_BESIDE; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s%s", file, beside[i].suffix);
        if (beside[i].kind == FOLDER) PTQ_TRY(ptq_check_own_folder(path, err));
    }
    return PTQ_OK;
}
