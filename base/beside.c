#include "beside.h"

#include "mapped.h"
#include "sha256.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- who is still at work ---- */

/* A process that was killed is there until its memory is freed and its parent has asked for its status, for ever if
 * need be: the kernel says that it is a zombie (Z, X) or on its way to become one (PF_EXITING, 4). */
static int is_ending(long process)
{
    char path[48], text[512] = "", state = 0;
    unsigned flags = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", process);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *behind_name = n > 0 ? strrchr(text, ')') : NULL; /* "1234 (any name) S ..." */
    if (!behind_name || sscanf(behind_name, ") %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2) return 0;
    return state == 'Z' || state == 'X' || (flags & 4);
}

int ptq_process_lives(long process)
{
    return (kill((pid_t)process, 0) == 0 || errno != ESRCH) && !is_ending(process);
}

/* ---- temporary names ---- */

enum { WHERE = 8 };

static const char mark[] = ".tmp.";
static char where[WHERE + 1];

void ptq_host_name(char host[PTQ_HOST_SIZE])
{
    if (gethostname(host, PTQ_HOST_SIZE)) *host = 0;
    host[PTQ_HOST_SIZE - 1] = 0;
}

static void find_where(void)
{
    char host[PTQ_HOST_SIZE], space[64], text[PTQ_HOST_SIZE + sizeof space], digest[PTQ_SHA256_HEX];
    ptq_host_name(host);
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[n > 0 ? n : 0] = 0;
    int length = snprintf(text, sizeof text, "%s %s", host, space);
    ptq_sha256(text, (size_t)length, digest);
    memcpy(where, digest, WHERE);
}

static const char *here(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_where);
    return where;
}

void ptq_temporary_name(const char *path, char *out, size_t size)
{
    char folder[PATH_MAX];
    ptq_folder_of(path, folder, sizeof folder);
    snprintf(out, size, "%s/%s%s.%s.%ld", folder, mark, ptq_file_name(path), here(), (long)getpid());
}

char *ptq_temporary_path(struct ptq_arena *arena, const char *path)
{
    char text[PATH_MAX + NAME_MAX];
    ptq_temporary_name(path, text, sizeof text);
    return ptq_strdup(arena, text);
}

int ptq_is_left_over(const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t first = sizeof mark - 1;
    char *end;
    if (!dot || (size_t)(dot - name) < first + WHERE + 1 || strncmp(name, mark, first) || dot[-WHERE - 1] != '.' ||
        memcmp(dot - WHERE, here(), WHERE))
        return 0;
    long pid = dot[1] >= '0' && dot[1] <= '9' ? strtol(dot + 1, &end, 10) : 0;
    if (pid <= 0 || pid > INT_MAX || *end) return 0;
    return pid == (long)getpid() || !ptq_process_lives(pid);
}

void ptq_sweep_temporaries(const char *path)
{
    char folder[PATH_MAX], prefix[NAME_MAX];
    ptq_folder_of(path, folder, sizeof folder);
    size_t length = (size_t)snprintf(prefix, sizeof prefix, "%s%s.%s.", mark, ptq_file_name(path), here());
    if (length >= sizeof prefix) return;
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (strncmp(name, prefix, length) || strchr(name + length, '.') || !ptq_is_left_over(name)) continue;
        if (ptq_remove_name(dirfd(dir), name, NULL) == EISDIR)
            ptq_remove_folder(dirfd(dir), name, ptq_remove_name, NULL);
    }
    closedir(dir);
}

/* ---- folders ---- */

enum ptq_status ptq_check_own_folder(const char *path, struct ptq_error *err)
{
    enum ptq_kind kind;
    PTQ_TRY(ptq_look_itself(path, &kind, err));
    if (kind == PTQ_LINK)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: is a link, through which nothing is written or removed; remove it, or give another name "
                        "behind -o",
                        path);
    return PTQ_OK;
}

enum ptq_status ptq_make_own_folder(const char *path, struct ptq_error *err)
{
    PTQ_TRY(ptq_check_own_folder(path, err));
    return ptq_make_folder(path, err);
}

int ptq_remove_name(int folder, const char *name, const void *context)
{
    (void)context;
    return unlinkat(folder, name, 0) && errno != ENOENT ? errno : 0;
}

int ptq_remove_folder(int parent, const char *name, ptq_remove_function *remove, const void *context)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), cause = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        cause = errno;
        if (fd >= 0) close(fd);
        return cause == ENOENT ? 0 : cause;
    }
    for (struct dirent *entry; errno = 0, entry = readdir(dir), entry;) {
        int is_own = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
        int bad = is_own ? 0 : remove(dirfd(dir), entry->d_name, context);
        if (bad) cause = bad;
    }
    if (!cause) cause = errno; /* what could not be listed is not removed either */
    closedir(dir);
    if (!cause && unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOENT) cause = errno == EEXIST ? ENOTEMPTY : errno;
    return cause;
}
