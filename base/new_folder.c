#include "new_folder.h"

#include "beside.h"
#include "mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum ptq_status ptq_new_folder_begin(struct ptq_arena *arena, const char *path, struct ptq_new_folder *out,
                                     struct ptq_error *err)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    out->path = ptq_strndup(arena, path, length);
    enum ptq_kind kind;
    PTQ_TRY(ptq_look_itself(out->path, &kind, err));
    if (kind != PTQ_NOTHING)
        return ptq_fail(err, PTQ_EUSAGE, "%s: is there already; take another name, or remove it", out->path);
    out->temporary = ptq_temporary_path(arena, out->path);
    ptq_sweep_temporaries(out->path);
    if (mkdir(out->temporary, 0777))
        return ptq_fail(err, PTQ_EIO, "%s: cannot be made: %s", out->path, strerror(errno));
    return PTQ_OK;
}

enum ptq_status ptq_new_folder_publish(struct ptq_new_folder *folder, struct ptq_error *err)
{
    int bad = renameat2(AT_FDCWD, folder->temporary, AT_FDCWD, folder->path, RENAME_NOREPLACE);
    if (bad && errno == EINVAL)
        bad = rename(folder->temporary, folder->path); /* not every file system knows the flag */
    if (!bad) return ptq_sync_folder_of(folder->path, err);
    int cause = errno;
    ptq_new_folder_discard(folder);
    return ptq_fail(err, PTQ_EIO, "%s: cannot be written: %s", folder->path, strerror(cause));
}

void ptq_new_folder_discard(struct ptq_new_folder *folder)
{
    ptq_remove_folder(AT_FDCWD, folder->temporary, ptq_remove_name, NULL);
}

static enum ptq_status cannot_write(const char *path, int cause, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EIO, "%s: cannot be written: %s", path, strerror(cause));
}

enum ptq_status ptq_file_create(const char *path, uint64_t bytes, int *fd, struct ptq_error *err)
{
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*fd < 0) return cannot_write(path, errno, err);
    int cause = bytes ? posix_fallocate(*fd, 0, (off_t)bytes) : 0;
    if (cause == EOPNOTSUPP || cause == EINVAL) cause = ftruncate(*fd, (off_t)bytes) ? errno : 0;
    if (!cause) return PTQ_OK;
    close(*fd);
    return cannot_write(path, cause, err);
}

enum ptq_status ptq_file_write_at(int fd, const char *path, uint64_t offset, const void *data, size_t bytes,
                                  struct ptq_error *err)
{
    const unsigned char *from = data;
    while (bytes) {
        ssize_t wrote = pwrite(fd, from, bytes, (off_t)offset);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return cannot_write(path, errno, err);
        from += wrote;
        offset += (uint64_t)wrote;
        bytes -= (size_t)wrote;
    }
    return PTQ_OK;
}

enum ptq_status ptq_file_finish(int fd, const char *path, struct ptq_error *err)
{
    int bad = fsync(fd), cause = errno;
    if (close(fd) && !bad) bad = 1, cause = errno;
    return bad ? cannot_write(path, cause, err) : PTQ_OK;
}
