/* What a results file and those beside it are called, and whether they are there. */
#include "results_parts.h"

#include "h5.h"
#include "mapped.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

char *ptq_results_cells(struct ptq_arena *arena, const char *file)
{
    return ptq_format(arena, "%s" PTQ_CELLS, file);
}

char *ptq_results_part(struct ptq_arena *arena, const char *file, const char *id)
{
    return ptq_format(arena, "%s" PTQ_CELLS "/%s.part", file, id);
}

enum ptq_status ptq_results_follow(struct ptq_arena *arena, const char **file, struct ptq_error *err)
{
    enum { MAX_LINKS = 40 }; /* as the kernel has it */
    char target[4096];
    const char *path = *file;
    ssize_t n;
    for (int i = 0; (n = readlink(path, target, sizeof target)) >= 0; i++) {
        if (i == MAX_LINKS || n == sizeof target)
            return ptq_fail(err, PTQ_EINPUT, "%s: is a symbolic link that leads nowhere", *file);
        int in_folder = *target == '/' ? 0 : (int)(ptq_file_name(path) - path); /* its name, with the '/' */
        path = ptq_format(arena, "%.*s%.*s", in_folder, path, (int)n, target);
    }
    if (errno != EINVAL && errno != ENOENT && errno != ENOTDIR) /* no link; nothing */
        return ptq_fail(err, PTQ_EIO, "%s: cannot be looked for: %s", path, strerror(errno));
    *file = path;
    return PTQ_OK;
}

int ptq_results_id(const char *name, const char *suffix, char id[PTQ_SHA256_HEX])
{
    size_t length = PTQ_SHA256_HEX - 1;
    if (strlen(name) != length + strlen(suffix) || !ptq_is_sha256(name, length) || strcmp(name + length, suffix))
        return 0;
    memcpy(id, name, length);
    id[length] = 0;
    return 1;
}

enum ptq_status ptq_results_is_replaceable(const char *file, int *replaceable, struct ptq_error *err)
{
    enum ptq_kind kind;
    int bytes;
    *replaceable = 0;
    PTQ_TRY(ptq_look(file, &kind, err));
    PTQ_TRY(ptq_h5_begins(file, &bytes, err));
    *replaceable = kind == PTQ_NOTHING || bytes >= 0;
    return PTQ_OK;
}

enum ptq_status ptq_results_look_for(const char *path, int *there, struct ptq_error *err)
{
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    *there = kind != PTQ_NOTHING;
    return PTQ_OK;
}

enum ptq_status ptq_results_are_there(struct ptq_arena *arena, const char *file, int *there, struct ptq_error *err)
{
    PTQ_TRY(ptq_results_follow(arena, &file, err));
    PTQ_TRY(ptq_results_look_for(file, there, err));
    return *there ? PTQ_OK : ptq_results_look_for(ptq_results_cells(arena, file), there, err);
}

enum ptq_status ptq_results_check_replaceable(const char *file, struct ptq_error *err)
{
    int replaceable;
    PTQ_TRY(ptq_results_is_replaceable(file, &replaceable, err));
    if (replaceable) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: is no results file, and is not removed; give another name behind -o", file);
}
