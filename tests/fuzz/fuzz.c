#include "fuzz.h"

#include "mapped.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define X(name, largest, about) {#name, about, largest, ptq_fuzz_##name},
const struct ptq_fuzz_target ptq_fuzz_targets[] = {PTQ_FUZZ_TARGETS(X)};
#undef X
const int ptq_n_fuzz_targets = sizeof ptq_fuzz_targets / sizeof *ptq_fuzz_targets;

const struct ptq_fuzz_target *ptq_fuzz_find(const char *name)
{
    for (int i = 0; i < ptq_n_fuzz_targets; i++)
        if (strcmp(ptq_fuzz_targets[i].name, name) == 0) return &ptq_fuzz_targets[i];
    return NULL;
}

void ptq_fuzz_require(int holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "fuzz: does not hold: %s\n", what);
    abort();
}

void ptq_fuzz_fill(struct ptq_fuzz_bytes *from, void *to, size_t bytes)
{
    size_t there = from->size < bytes ? from->size : bytes;
    memset(to, 0, bytes);
    if (there) memcpy(to, from->data, there);
    from->data += there;
    from->size -= there;
}

uint32_t ptq_fuzz_byte(struct ptq_fuzz_bytes *from)
{
    uint8_t value;
    ptq_fuzz_fill(from, &value, 1);
    return value;
}

uint32_t ptq_fuzz_below(struct ptq_fuzz_bytes *from, uint32_t n)
{
    uint32_t value = 0;
    ptq_fuzz_fill(from, &value, n > 256 ? 4 : 1);
    return value % n;
}

/* ---- a folder ---- */

static char folder[64];
static pid_t owner; /* a child that a target makes must not remove it */

static void remove_all(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char inner[400];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner)) remove_all(inner);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

static void remove_folder(void)
{
    if (owner == getpid()) remove_all(folder);
}

const char *ptq_fuzz_folder(void)
{
    if (*folder) return folder;
    snprintf(folder, sizeof folder, "%s/ptq-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    ptq_fuzz_require(mkdtemp(folder) != NULL, "a folder can be made");
    owner = getpid();
    atexit(remove_folder);
    return folder;
}

const char *ptq_fuzz_file(struct ptq_arena *arena, const char *name, const void *data, size_t size)
{
    const char *path = ptq_join(arena, ptq_fuzz_folder(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ptq_fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file can be written");
    close(fd);
    return path;
}
