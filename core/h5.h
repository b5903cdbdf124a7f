/* The only door to HDF5: h5.c, h5_read.c and h5_write.c (with h5_path.c) alone include hdf5.h, so nothing else can leak
 * an id or meet its error stack. Files are read with plug-ins off; soft and external links, external storage, virtual
 * datasets, unknown filters and texts of variable length are refused, and no value is larger than its file can hold. */
#ifndef PTQ_H5_H
#define PTQ_H5_H

#include "arena.h"
#include "status.h"

#include <stdint.h>

struct ptq_h5; /* an open file */

/* A new file, built in memory; ptq_h5_commit writes it to path, whole or not at all. Equal content is equal bytes.
 * Behind HDF5's own bytes stands their SHA-256, without which nothing opens it. */
enum ptq_status ptq_h5_create(const char *path, struct ptq_h5 **out, struct ptq_error *err);
enum ptq_status ptq_h5_commit(struct ptq_h5 *file, struct ptq_error *err); /* frees file, on failure too */
void ptq_h5_abandon(struct ptq_h5 *file);
/* Read-only, in this process: for files that are the user's own (the cache). */
enum ptq_status ptq_h5_open(const char *path, struct ptq_h5 **out, struct ptq_error *err);
/* Also without the SHA-256: for tests, whose fixtures other programs wrote. */
enum ptq_status ptq_h5_open_foreign(const char *path, struct ptq_h5 **out, struct ptq_error *err);
void ptq_h5_close(struct ptq_h5 *file);
/* With how many of HDF5's first 8 bytes a regular file begins: fewer than 8 where it ends there, -1 where it begins
 * otherwise, or is none. HDF5 is not asked. PTQ_EIO where the system cannot say. */
enum ptq_status ptq_h5_begins(const char *path, int *bytes, struct ptq_error *err);
/* What can be said of a file without HDF5: its first bytes, its size, and its SHA-256. PTQ_EINPUT: the bytes are not
 * right; PTQ_EIO: they cannot be had. */
enum ptq_status ptq_h5_check(const char *path, struct ptq_error *err);

/* What reads a file for ptq_h5_read: everything that it finds is in arena, *out too. */
typedef enum ptq_status ptq_h5_reader(struct ptq_h5 *file, const void *context, struct ptq_arena *arena, void **out,
                                      struct ptq_error *err);

/* The way to read files that may come from a stranger. HDF5 is no safe reader of what it did not write, so a child with
 * limits of memory and time opens path and calls read(file, context, ...); what it finds comes back in arena, *out of
 * `bytes` first, and what it refuses in its words. HDF5 never sees the file in this process. PTQ_EINPUT also where the
 * child crashed, took too long or wanted more memory than such a file can need; PTQ_EIO where the system had no process
 * or no memory for it, or did not give the file's bytes. */
enum ptq_status ptq_h5_read(const char *path, ptq_h5_reader *read, const void *context, struct ptq_arena *arena,
                            void **out, size_t bytes, struct ptq_error *err);

/* Where: a group path ("/", "/cells/ID"), made with its parents where missing. A scalar becomes an attribute (and
 * replaces one of that name; a text above 32 KB becomes a dataset), an array a dataset, whose name must be new. */
enum ptq_status ptq_h5_put_text(struct ptq_h5 *file, const char *group, const char *name, const char *value,
                                struct ptq_error *err);
enum ptq_status ptq_h5_put_int(struct ptq_h5 *file, const char *group, const char *name, int64_t value,
                               struct ptq_error *err);
enum ptq_status ptq_h5_put_real(struct ptq_h5 *file, const char *group, const char *name, double value,
                                struct ptq_error *err);
enum ptq_status ptq_h5_put_floats(struct ptq_h5 *file, const char *group, const char *name, const float *data,
                                  int64_t rows, int64_t columns, struct ptq_error *err);
enum ptq_status ptq_h5_put_reals(struct ptq_h5 *file, const char *group, const char *name, const double *data,
                                 int64_t n, struct ptq_error *err);
enum ptq_status ptq_h5_put_ints(struct ptq_h5 *file, const char *group, const char *name, const int64_t *data,
                                int64_t n, struct ptq_error *err);
enum ptq_status ptq_h5_put_bytes(struct ptq_h5 *file, const char *group, const char *name, const uint8_t *data,
                                 int64_t rows, int64_t columns, struct ptq_error *err);
enum ptq_status ptq_h5_put_texts(struct ptq_h5 *file, const char *group, const char *name, const char *const *data,
                                 int64_t n, struct ptq_error *err);

/* Says of a dataset that is there what it is, for those who read the file with other programs: texts `unit` and `about`
 * on it. */
enum ptq_status ptq_h5_describe(struct ptq_h5 *file, const char *group, const char *name, const char *unit,
                                const char *about, struct ptq_error *err);

/* Readers: attribute or dataset of the right kind, of one element for a scalar and of rank 2 at most for an array
 * ([1][n] where it has one dimension; reals, ints, bytes and texts come flat), else PTQ_EINPUT. Memory from arena. */
enum ptq_status ptq_h5_text(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                            const char **out, struct ptq_error *err);
enum ptq_status ptq_h5_int(struct ptq_h5 *file, const char *group, const char *name, int64_t *out,
                           struct ptq_error *err);
enum ptq_status ptq_h5_real(struct ptq_h5 *file, const char *group, const char *name, double *out,
                            struct ptq_error *err);
enum ptq_status ptq_h5_floats(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                              float **out, int64_t *rows, int64_t *columns, struct ptq_error *err);
enum ptq_status ptq_h5_reals(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                             double **out, int64_t *n, struct ptq_error *err);
enum ptq_status ptq_h5_ints(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                            int64_t **out, int64_t *n, struct ptq_error *err);
enum ptq_status ptq_h5_bytes(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                             uint8_t **out, int64_t *n, struct ptq_error *err);
enum ptq_status ptq_h5_texts(struct ptq_h5 *file, const char *group, const char *name, struct ptq_arena *arena,
                             const char ***out, int64_t *n, struct ptq_error *err);

/* The group, with its parents, where missing. */
enum ptq_status ptq_h5_put_group(struct ptq_h5 *file, const char *group, struct ptq_error *err);

int ptq_h5_exists(struct ptq_h5 *file, const char *path);
/* Whether group has that attribute or dataset, of whatever kind. */
int ptq_h5_has_value(struct ptq_h5 *file, const char *group, const char *name);
/* Names of the groups in a group, in creation order. PTQ_EINPUT where it holds anything else. */
enum ptq_status ptq_h5_groups(struct ptq_h5 *file, const char *group, struct ptq_arena *arena, const char ***out,
                              int64_t *n, struct ptq_error *err);

#endif
