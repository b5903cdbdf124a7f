/* Files in and out: read-only maps, and writes that appear whole or not at all. */
#ifndef PTQ_MAPPED_H
#define PTQ_MAPPED_H

#include "arena.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

/* A file mapped read-only. Lives until ptq_unmap. */
struct ptq_mapped {
    const char *path; /* in the arena given to ptq_map */
    const unsigned char *data;
    size_t size; /* may be 0, data is then NULL */
};

/* Fails with PTQ_EIO when path cannot be opened, with PTQ_EINPUT when it is no regular file. */
enum ptq_status ptq_map(struct ptq_arena *arena, const char *path, struct ptq_mapped *out, struct ptq_error *err);
void ptq_unmap(struct ptq_mapped *file);
/* The path of the mapped file that address belongs to, with nothing in it that a terminal would obey, or NULL. For a
 * handler of SIGBUS, which is what reading behind the end of a file that was made shorter gives: it takes no lock and
 * no memory. Of more than 512 files that are mapped at once, 512 are known. */
const char *ptq_mapped_at(const void *address);

/* A whole text file of at most limit bytes in memory with a NUL behind it (*size does not count it).
 * path "-" reads standard input. */
enum ptq_status ptq_read_file(struct ptq_arena *arena, const char *path, size_t limit, char **text, size_t *size,
                              struct ptq_error *err);

/* Writes bytes to path through a temporary file in the same folder, fsync and rename. On failure path is what it was
 * before and no temporary file is left; what killed runs left of theirs is swept. */
enum ptq_status ptq_write_file(const char *path, const void *data, size_t bytes, struct ptq_error *err);
/* The same of several pieces, one behind the other, so that what is large need not be copied to stand beside its head.
 */
struct ptq_piece {
    const void *data;
    size_t bytes;
};
enum ptq_status ptq_write_pieces(const char *path, const struct ptq_piece *piece, int n, struct ptq_error *err);
/* The same of a mapped file, which is in memory a piece at a time. */
enum ptq_status ptq_write_mapped(const char *path, const struct ptq_mapped *file, struct ptq_error *err);

/* The end of a temporary file's life (beside.h): fsync, rename, fsync of the folder; what is there and no regular file
 * (a device, a FIFO) is not replaced. For writers that cannot go through ptq_write_file (gnuplot). */
enum ptq_status ptq_publish(const char *temporary, const char *path, struct ptq_error *err);
/* fsync of the folder that path is in, where its file system has that: what was renamed to path stays so. */
enum ptq_status ptq_sync_folder_of(const char *path, struct ptq_error *err);

/* mkdir -p */
enum ptq_status ptq_make_folder(const char *path, struct ptq_error *err);
/* What a name is, links followed. Nothing: also a link that leads nowhere, or a name beneath what is no folder.
 * Special: a FIFO or a device, which a rename would put a file in the place of. */
enum ptq_kind { PTQ_NOTHING, PTQ_FILE, PTQ_FOLDER, PTQ_SPECIAL, PTQ_LINK };
/* PTQ_EIO where the system cannot say: what is there must not pass for nothing. */
enum ptq_status ptq_look(const char *path, enum ptq_kind *kind, struct ptq_error *err);
/* The same of the name itself: a link is a link, wherever it leads. */
enum ptq_status ptq_look_itself(const char *path, enum ptq_kind *kind, struct ptq_error *err);
/* Also 0 where the system cannot say: for those to whom that is the same, by a word there why. */
int ptq_is_folder(const char *path);
int ptq_is_file(const char *path);
/* Whether two names lead to one thing; 0 where that cannot be seen. */
int ptq_is_same(const char *a, const char *b);
/* What stands behind the last '/' of path, or all of it. */
const char *ptq_file_name(const char *path);
/* What stands before it: "a/b" -> "a", "/b" -> "/", "b" -> ".". */
void ptq_folder_of(const char *path, char *folder, size_t size);
/* "a/b" in the arena; just b where b is absolute. */
char *ptq_join(struct ptq_arena *arena, const char *a, const char *b);

#endif
