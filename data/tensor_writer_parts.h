/* Inside the writers of tensors: what safetensors_write.c and gguf_write.c lay out, and tensor_writer.c fills. */
#ifndef PTQ_TENSOR_WRITER_PARTS_H
#define PTQ_TENSOR_WRITER_PARTS_H

#include "tensor_writer.h"

struct ptq_planned {
    const char *name;
    enum ptq_dtype dtype;
    int64_t rows, columns;       /* columns < 0: a vector */
    int file;                    /* which of the writer's */
    int aligned;                 /* 1: ptq_tensor_plan_aligned */
    uint64_t bytes, begin, done; /* begin: in its file's data */
};

struct ptq_out_file {
    const char *path, *name;
    int fd;
    uint64_t header, data; /* bytes */
};

struct ptq_tensor_writer {
    struct ptq_arena *arena;
    struct ptq_planned *tensor; /* in malloc memory; in the order of planning, sorted by name once open */
    size_t n, room;
    struct ptq_out_file *file;
    int n_files, made; /* made: of files that are made one at a time, how many are there */
};

/* n files without a name yet. */
void ptq_tensor_writer_files(struct ptq_tensor_writer *writer, int n);
/* Makes a file of header and data bytes, and writes its header. */
enum ptq_status ptq_tensor_writer_create(struct ptq_out_file *file, const void *header, struct ptq_error *err);
/* Layout is done: tensors are found by name from here on. */
void ptq_tensor_writer_sort(struct ptq_tensor_writer *writer);

#endif
