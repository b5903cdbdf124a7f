#include "results.h"

#include "beside.h"
#include "mapped.h"
#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 10, NAMELESS_MS = 1000, SAID_AFTER_MS = 300 };

int ptq_results_patience_ms = 60000;

/* Who wrote itself into a lock's file; all 0 where nobody has yet. */
struct holder {
    long process;
    char host[PTQ_HOST_SIZE];
};

/* ---- the lock's file ---- */

static enum ptq_status make_parent(const char *file, struct ptq_error *err)
{
    const char *slash = strrchr(file, '/');
    if (!slash || slash == file) return PTQ_OK;
    struct ptq_arena *arena = ptq_arena_make("a folder's name");
    enum ptq_status status = ptq_make_folder(ptq_strndup(arena, file, (size_t)(slash - file)), err);
    ptq_arena_free(arena);
    return status;
}

/* 1 where path still names the open file: whoever held the lock before us may have removed it while we waited. */
static int is_same_file(int fd, const char *path)
{
    struct stat open_file, named;
    return fstat(fd, &open_file) == 0 && stat(path, &named) == 0 && open_file.st_dev == named.st_dev &&
           open_file.st_ino == named.st_ino;
}

static struct holder holder_of(int fd)
{
    struct holder holder = {0};
    char text[96] = "";
    if (pread(fd, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%ld %64s", &holder.process, holder.host) != 2)
        return (struct holder){0};
    return holder;
}

/* Who reads this says whom it waits for, and whether that one has died. */
static void write_holder(int fd)
{
    char host[PTQ_HOST_SIZE];
    ptq_host_name(host);
    if (ftruncate(fd, 0) == 0) dprintf(fd, "%ld %s\n", (long)getpid(), *host ? host : "?");
}

/* ---- whoever holds it now ---- */

/* Processes of another machine are not seen from here, and count as alive. */
static int is_alive(const struct holder *holder)
{
    char host[PTQ_HOST_SIZE];
    ptq_host_name(host);
    if (strcmp(holder->host, host) != 0) return 1;
    return ptq_process_lives(holder->process);
}

static enum ptq_status fail_locked(const struct holder *holder, const char *file, struct ptq_error *err)
{
    char named[48] = "";
    if (holder->process > 0) snprintf(named, sizeof named, ", process %ld,", holder->process);
    return ptq_fail(err, PTQ_EIO, "%s: another run%s is writing to it; wait for it to end, or give another -o FILE",
                    file, named);
}

/* A run that was killed is outlived by its children, which have its lock (ptq_results_share_lock, h5_read.c): they end
 * at their next safe point, and what they finish until then counts. */
static enum ptq_status outwait(const struct holder *holder, const char *file, int waited_ms, struct ptq_error *err)
{
    int is_named = holder->process > 0;
    if (is_named ? is_alive(holder) : waited_ms >= NAMELESS_MS) return fail_locked(holder, file, err);
    if (waited_ms >= ptq_results_patience_ms)
        return ptq_fail(err, PTQ_EIO,
                        "%s: what a killed run, process %ld, had started writes to it still, after %d s; wait "
                        "for it to end, or give another -o FILE",
                        file, holder->process, ptq_results_patience_ms / 1000);
    if (waited_ms == SAID_AFTER_MS && is_named)
        ptq_progress_note("%s: waits for what a killed run, process %ld, had started to end", file, holder->process);
    return PTQ_OK;
}

/* Whoever had the lock may have removed its file and made it anew, or its name cannot be looked at. */
static enum ptq_status outwait_name(const char *path, int waited_ms, struct ptq_error *err)
{
    if (waited_ms < ptq_results_patience_ms) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO,
                    "%s: what was opened is never what has this name; see what replaces it, or give another "
                    "-o FILE",
                    path);
}

static enum ptq_status wait_a_little(struct ptq_error *err)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    return ptq_interrupted(err);
}

static enum ptq_status take_lock(const char *file, struct ptq_lock *lock, struct ptq_error *err)
{
    int cause = 0;
    for (int waited_ms = 0;; waited_ms += LOOK_MS) {
        lock->fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (lock->fd < 0) return ptq_fail(err, PTQ_EIO, "%s: cannot be made: %s", lock->path, strerror(errno));
        cause = flock(lock->fd, LOCK_EX | LOCK_NB) ? errno : 0;
        if (cause != EWOULDBLOCK && (cause || is_same_file(lock->fd, lock->path))) break;
        struct holder holder = holder_of(lock->fd);
        close(lock->fd);
        PTQ_TRY(cause ? outwait(&holder, file, waited_ms, err) : outwait_name(lock->path, waited_ms, err));
        PTQ_TRY(wait_a_little(err));
    }
    if (cause)
        ptq_progress_note("%s: its file system cannot lock it (%s), so a second run on it would not be noticed", file,
                          strerror(cause));
    write_holder(lock->fd);
    return PTQ_OK;
}

enum ptq_status ptq_results_lock(const char *file, struct ptq_lock *out, struct ptq_error *err)
{
    PTQ_TRY(make_parent(file, err));
    size_t size = strlen(file) + sizeof PTQ_LOCK;
    *out = (struct ptq_lock){.fd = -1, .path = ptq_realloc(NULL, size, 1, "a lock's name")};
    snprintf(out->path, size, "%s" PTQ_LOCK, file);
    enum ptq_status status = take_lock(file, out, err);
    if (status) free(out->path);
    return status;
}

void ptq_results_share_lock(const struct ptq_lock *lock)
{
    fcntl(lock->fd, F_SETFD, 0);
}

void ptq_results_unlock(struct ptq_lock *lock)
{
    unlink(lock->path); /* before the lock is given back: see is_same_file */
    close(lock->fd);
    free(lock->path);
}
