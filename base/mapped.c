#include "mapped.h"

#include "beside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPIED_AT_ONCE = 1 << 20 };

static enum ptq_status open_regular(const char *path, int *fd, struct stat *info, struct ptq_error *err)
{
    /* O_NONBLOCK so that a FIFO does not hang the open; it means nothing for regular files. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd < 0) return ptq_fail(err, PTQ_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    int unknown = fstat(*fd, info), cause = errno;
    if (!unknown && S_ISREG(info->st_mode)) return PTQ_OK;
    close(*fd);
    if (unknown) return ptq_fail(err, PTQ_EIO, "%s: cannot be opened: %s", path, strerror(cause));
    int folder = S_ISDIR(info->st_mode);
    return ptq_fail(err, PTQ_EINPUT, "%s: is %s; a regular file is needed", path,
                    folder ? "a folder" : "no regular file");
}

/* ---- what is mapped ---- */

enum { MOST_NOTED = 512, PATH_NOTED = 512 };

/* Read by a signal handler: begin is written last and cleared first, and TAKEN while the rest is filled in. */
#define TAKEN UINTPTR_MAX
static struct noted {
    atomic_uintptr_t begin; /* 0: free */
    size_t size;
    char path[PATH_NOTED];
} noted[MOST_NOTED];

/* The place whose begin is `from`, which it then has as `to`; NULL where there is none. */
static struct noted *change_noted(uintptr_t from, uintptr_t to)
{
    for (int i = 0; i < MOST_NOTED; i++) {
        uintptr_t wanted = from;
        if (atomic_compare_exchange_strong(&noted[i].begin, &wanted, to)) return &noted[i];
    }
    return NULL;
}

static void note(const struct ptq_mapped *file)
{
    struct noted *n = change_noted(0, TAKEN);
    if (!n) return;
    size_t length = strlen(file->path), room = sizeof n->path - 1;
    const char *shown = length > room ? file->path + length - room : file->path; /* its end says more */
    memcpy(n->path, shown, strlen(shown) + 1);
    ptq_blunt(n->path);
    n->size = file->size;
    atomic_store(&n->begin, (uintptr_t)file->data);
}

const char *ptq_mapped_at(const void *address)
{
    for (int i = 0; i < MOST_NOTED; i++) {
        uintptr_t begin = atomic_load(&noted[i].begin);
        if (begin && (uintptr_t)address >= begin && (uintptr_t)address - begin < noted[i].size) return noted[i].path;
    }
    return NULL;
}

/* ---- maps ---- */

enum ptq_status ptq_map(struct ptq_arena *arena, const char *path, struct ptq_mapped *out, struct ptq_error *err)
{
    int fd;
    struct stat info;
    PTQ_TRY(open_regular(path, &fd, &info, err));
    *out = (struct ptq_mapped){.path = ptq_strdup(arena, path), .size = (size_t)info.st_size};
    if (out->size) {
        void *data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            int cause = errno;
            close(fd);
            return ptq_fail(err, PTQ_EIO, "%s: cannot be mapped: %s", path, strerror(cause));
        }
        out->data = data;
        note(out);
    }
    close(fd);
    return PTQ_OK;
}

void ptq_unmap(struct ptq_mapped *file)
{
    if (file->data) {
        change_noted((uintptr_t)file->data, 0);
        munmap((void *)file->data, file->size);
    }
    file->data = NULL;
    file->size = 0;
}

static enum ptq_status read_all(int fd, const char *path, size_t limit, struct ptq_arena *arena, char **text,
                                size_t *size, struct ptq_error *err)
{
    size_t room = 1 << 16, used = 0;
    char *data = ptq_realloc(NULL, room, 1, path);
    for (;;) {
        ssize_t got = read(fd, data + used, room - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            int cause = errno;
            free(data);
            return ptq_fail(err, PTQ_EIO, "%s: cannot be read: %s", path, strerror(cause));
        }
        if (got == 0) break;
        used += (size_t)got;
        if (used > limit) {
            free(data);
            return ptq_fail(err, PTQ_EINPUT, "%s: is larger than the %zu bytes that are taken here", path, limit);
        }
        if (used == room) data = ptq_realloc(data, room *= 2, 1, path);
    }
    *text = ptq_strndup(arena, data, used);
    *size = used;
    free(data);
    return PTQ_OK;
}

enum ptq_status ptq_read_file(struct ptq_arena *arena, const char *path, size_t limit, char **text, size_t *size,
                              struct ptq_error *err)
{
    if (strcmp(path, "-") == 0) return read_all(STDIN_FILENO, "standard input", limit, arena, text, size, err);
    int fd;
    struct stat info;
    PTQ_TRY(open_regular(path, &fd, &info, err));
    enum ptq_status status = read_all(fd, path, limit, arena, text, size, err);
    close(fd);
    return status;
}

const char *ptq_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void ptq_folder_of(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(folder, size, ".");
    else
        snprintf(folder, size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int bad = fsync(fd);
    int cause = errno;
    close(fd);
    errno = cause;
    /* Some file systems cannot sync a folder; that is no failure of the data. */
    return bad && !((flags & O_DIRECTORY) && (errno == EINVAL || errno == ENOTSUP)) ? -1 : 0;
}

enum ptq_status ptq_sync_folder_of(const char *path, struct ptq_error *err)
{
    char folder[PATH_MAX];
    ptq_folder_of(path, folder, sizeof folder);
    if (sync_path(folder, O_DIRECTORY))
        return ptq_fail(err, PTQ_EIO, "%s: folder cannot be synced: %s", folder, strerror(errno));
    return PTQ_OK;
}

enum ptq_status ptq_publish(const char *temporary, const char *path, struct ptq_error *err)
{
    enum ptq_kind kind;
    enum ptq_status status = ptq_look(path, &kind, err);
    if (!status && kind == PTQ_SPECIAL)
        status = ptq_fail(err, PTQ_EINPUT, "%s: is no regular file, and is not replaced; give another name", path);
    if (status) {
        unlink(temporary);
        return status;
    }
    if (sync_path(temporary, O_NOFOLLOW) || rename(temporary, path)) {
        int cause = errno;
        unlink(temporary);
        return ptq_fail(err, PTQ_EIO, "%s: cannot be written: %s", path, strerror(cause));
    }
    return ptq_sync_folder_of(path, err);
}

static int write_all(int fd, const unsigned char *data, size_t bytes)
{
    while (bytes) {
        ssize_t wrote = write(fd, data, bytes);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return -1;
        data += wrote;
        bytes -= (size_t)wrote;
    }
    return 0;
}

/* What writes `what` to fd: -1 and errno where it cannot. */
typedef int put_function(int fd, const void *what);

static enum ptq_status write_by(const char *path, put_function *put, const void *what, struct ptq_error *err)
{
    char temporary[PATH_MAX + NAME_MAX];
    ptq_sweep_temporaries(path);
    ptq_temporary_name(path, temporary, sizeof temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) return ptq_fail(err, PTQ_EIO, "%s: cannot be written: %s", path, strerror(errno));
    int bad = put(fd, what), cause = errno;
    if (bad)
        close(fd);
    else if (close(fd))
        bad = 1, cause = errno;
    if (bad) {
        unlink(temporary);
        return ptq_fail(err, PTQ_EIO, "%s: cannot be written: %s", path, strerror(cause));
    }
    return ptq_publish(temporary, path, err);
}

struct pieces {
    const struct ptq_piece *piece;
    int n;
};

static int put_pieces(int fd, const void *what)
{
    const struct pieces *p = what;
    for (int i = 0; i < p->n; i++)
        if (write_all(fd, p->piece[i].data, p->piece[i].bytes)) return -1;
    return 0;
}

enum ptq_status ptq_write_pieces(const char *path, const struct ptq_piece *piece, int n, struct ptq_error *err)
{
    return write_by(path, put_pieces, &(struct pieces){piece, n}, err);
}

static int put_mapped(int fd, const void *what)
{
    const struct ptq_mapped *file = what;
    for (size_t at = 0; at < file->size; at += COPIED_AT_ONCE) {
        size_t bytes = file->size - at < COPIED_AT_ONCE ? file->size - at : COPIED_AT_ONCE;
        if (write_all(fd, file->data + at, bytes)) return -1;
        madvise((void *)(file->data + at), bytes, MADV_DONTNEED);
    }
    return 0;
}

enum ptq_status ptq_write_mapped(const char *path, const struct ptq_mapped *file, struct ptq_error *err)
{
    return write_by(path, put_mapped, file, err);
}

enum ptq_status ptq_write_file(const char *path, const void *data, size_t bytes, struct ptq_error *err)
{
    return ptq_write_pieces(path, &(struct ptq_piece){data, bytes}, 1, err);
}

enum ptq_status ptq_make_folder(const char *path, struct ptq_error *err)
{
    char text[4096];
    if ((size_t)snprintf(text, sizeof text, "%s", path) >= sizeof text)
        return ptq_fail(err, PTQ_EINPUT, "%.60s...: this path is too long", path);
    for (char *c = text + 1;; c++) {
        if (*c && *c != '/') continue;
        char kept = *c;
        *c = 0;
        if (mkdir(text, 0777) && errno != EEXIST)
            return ptq_fail(err, PTQ_EIO, "%s: cannot be made: %s", text, strerror(errno));
        *c = kept;
        if (!kept) break;
    }
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    return kind == PTQ_FOLDER ? PTQ_OK : ptq_fail(err, PTQ_EIO, "%s: exists and is no folder", path);
}

static enum ptq_status look(int (*ask)(const char *, struct stat *), const char *path, enum ptq_kind *kind,
                            struct ptq_error *err)
{
    struct stat info;
    *kind = PTQ_NOTHING;
    if (ask(path, &info) == 0)
        *kind = S_ISREG(info.st_mode)   ? PTQ_FILE
                : S_ISDIR(info.st_mode) ? PTQ_FOLDER
                : S_ISLNK(info.st_mode) ? PTQ_LINK
                                        : PTQ_SPECIAL;
    else if (errno != ENOENT && errno != ENOTDIR)
        return ptq_fail(err, PTQ_EIO, "%s: cannot be looked for: %s", path, strerror(errno));
    return PTQ_OK;
}

enum ptq_status ptq_look(const char *path, enum ptq_kind *kind, struct ptq_error *err)
{
    return look(stat, path, kind, err);
}

enum ptq_status ptq_look_itself(const char *path, enum ptq_kind *kind, struct ptq_error *err)
{
    return look(lstat, path, kind, err);
}

int ptq_is_folder(const char *path)
{
    enum ptq_kind kind;
    struct ptq_error ignored;
    return ptq_look(path, &kind, &ignored) == PTQ_OK && kind == PTQ_FOLDER;
}

int ptq_is_file(const char *path)
{
    enum ptq_kind kind;
    struct ptq_error ignored;
    return ptq_look(path, &kind, &ignored) == PTQ_OK && kind == PTQ_FILE;
}

int ptq_is_same(const char *a, const char *b)
{
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

char *ptq_join(struct ptq_arena *arena, const char *a, const char *b)
{
    return b[0] == '/' ? ptq_strdup(arena, b) : ptq_format(arena, "%s/%s", a, b);
}
