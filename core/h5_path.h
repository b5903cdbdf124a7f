/* Inside h5.c, h5_read.c and h5_write.c: identifiers, and the ways to the objects of a file. Includes hdf5.h, so
 * nothing else may include it. */
#ifndef PTQ_H5_PATH_H
#define PTQ_H5_PATH_H

#include "mapped.h"
#include "status.h"

#include <hdf5.h>
#include <stdint.h>

enum { PTQ_H5_LONGEST_NAME = 4096 };

/* HDF5 hides errno, and calls a disk that fails a damaged file, so it never meets the disk: a file being written lives
 * in memory (its core driver without a backing file) and reaches the disk in one ptq_write_file; one being read is
 * ptq's map, whose SHA-256 was looked at. */
struct ptq_h5 {
    hid_t id;
    char *path;
    uint64_t size;           /* of the file read: no value in it can be larger */
    struct ptq_mapped bytes; /* the file read */
};

/* The bytes of path, looked at as ptq_h5_check does; without the SHA-256 where need_seal is 0. For ptq_unmap. */
enum ptq_status ptq_h5_map(const char *path, int need_seal, struct ptq_mapped *out, struct ptq_error *err);
/* HDF5's view of them. The map is the file's from here on, on failure too. */
enum ptq_status ptq_h5_open_map(const struct ptq_mapped *bytes, struct ptq_h5 **out, struct ptq_error *err);

/* Gives back any identifier; a negative one is fine. */
void ptq_h5_release(hid_t id);
/* Before HDF5 is used. Per thread: no error stack is printed. Per process: no plug-ins, and nothing done at exit. */
void ptq_h5_quieten(void);
/* What the innermost of HDF5's errors says; valid until the next HDF5 call. */
const char *ptq_h5_cause(void);
/* For groups: children keep the order in which they were made, and no time of creation is stored, so equal content is
 * equal bytes. */
void ptq_h5_object_options(hid_t plist);

/* 1 where name is a hard link in group: soft and external links would lead out of the file, or round in circles. */
int ptq_h5_has_link(hid_t group, const char *name);
/* The object at path ("/cells/ID") of an open file, over hard links only; or a negative id. */
hid_t ptq_h5_find(hid_t file, const char *path);
/* The group at path, made with its parents where missing; or a negative id. */
hid_t ptq_h5_need_group(hid_t file, const char *path);

/* Data that claims to be deflated further than this is no data of ours. */
enum { PTQ_H5_MOST_DEFLATION = 64 };

/* 1 where the file's own bytes hold the dataset's `bytes`: no other files, no virtual views, no chunk or deflated data
 * that is out of all proportion to the file, and not only a promise. We write contiguous datasets; h5py's chunked and
 * deflated ones are read too. width: bytes of an element. */
int ptq_h5_is_stored(hid_t dataset, size_t width, uint64_t bytes, uint64_t file_size);

#endif
