/* A folder of files that appears under its name when all of it is there, and the files in it that are too large to be
 * held in memory. */
#ifndef PTQ_NEW_FOLDER_H
#define PTQ_NEW_FOLDER_H

#include "arena.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

struct ptq_new_folder {
    const char *path;      /* its name in the end */
    const char *temporary; /* where it is until then, beside it */
};

/* Refuses a path that exists, or of which the system cannot say. Makes the temporary folder, and removes those that
 * killed processes left of path. */
enum ptq_status ptq_new_folder_begin(struct ptq_arena *arena, const char *path, struct ptq_new_folder *out,
                                     struct ptq_error *err);
/* All files are closed: path is the folder now, or nothing is left. */
enum ptq_status ptq_new_folder_publish(struct ptq_new_folder *folder, struct ptq_error *err);
/* Removes it with its files, as if it had never been begun. */
void ptq_new_folder_discard(struct ptq_new_folder *folder);

/* A new file of that many bytes, all zero, whose space is taken at once: a disk that is too small says so before the
 * work. *fd is the caller's. */
enum ptq_status ptq_file_create(const char *path, uint64_t bytes, int *fd, struct ptq_error *err);
enum ptq_status ptq_file_write_at(int fd, const char *path, uint64_t offset, const void *data, size_t bytes,
                                  struct ptq_error *err);
/* fsync and close. */
enum ptq_status ptq_file_finish(int fd, const char *path, struct ptq_error *err);

#endif
