#include "tensor_writer_parts.h"

#include "new_folder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { F16_STEP = 4096 };

struct ptq_tensor_writer *ptq_tensor_writer_make(struct ptq_arena *arena)
{
    struct ptq_tensor_writer *w = ptq_new(arena, struct ptq_tensor_writer, 1);
    w->arena = arena;
    return w;
}

void ptq_tensor_plan(struct ptq_tensor_writer *w, const char *name, enum ptq_dtype dtype, int64_t rows, int64_t columns)
{
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 256;
        w->tensor = ptq_realloc(w->tensor, w->room, sizeof *w->tensor, "planned tensors");
    }
    const struct ptq_dtype_info *type = &ptq_dtypes[dtype];
    uint64_t count = (uint64_t)rows * (uint64_t)(columns < 0 ? 1 : columns);
    w->tensor[w->n++] =
        (struct ptq_planned){.name = ptq_strdup(w->arena, name),
                             .dtype = dtype,
                             .rows = rows,
                             .columns = columns,
                             .file = w->made,
                             .bytes = count / (uint64_t)type->block_elements * (uint64_t)type->block_bytes};
}

void ptq_tensor_plan_aligned(struct ptq_tensor_writer *w, const char *name, size_t bytes)
{
    assert(bytes % PTQ_TENSOR_ALIGN == 0);
    ptq_tensor_plan(w, name, PTQ_U8, (int64_t)bytes, -1);
    w->tensor[w->n - 1].aligned = 1;
}

/* ---- for those who lay out ---- */

void ptq_tensor_writer_files(struct ptq_tensor_writer *w, int n)
{
    w->file = ptq_new(w->arena, struct ptq_out_file, n);
    for (int i = 0; i < n; i++) w->file[i].fd = -1;
    w->n_files = n;
}

enum ptq_status ptq_tensor_writer_create(struct ptq_out_file *file, const void *header, struct ptq_error *err)
{
    int fd;
    PTQ_TRY(ptq_file_create(file->path, file->header + file->data, &fd, err));
    file->fd = fd;
    return ptq_file_write_at(fd, file->path, 0, header, (size_t)file->header, err);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct ptq_planned *)left)->name, ((const struct ptq_planned *)right)->name);
}

void ptq_tensor_writer_sort(struct ptq_tensor_writer *w)
{
    qsort(w->tensor, w->n, sizeof *w->tensor, by_name);
}

/* ---- for those who write ---- */

enum ptq_status ptq_tensor_write(struct ptq_tensor_writer *w, const char *name, const void *data, size_t bytes,
                                 struct ptq_error *err)
{
    struct ptq_planned key = {.name = name}, *t = bsearch(&key, w->tensor, w->n, sizeof key, by_name);
    assert(t && t->done + bytes <= t->bytes);
    const struct ptq_out_file *file = &w->file[t->file];
    PTQ_TRY(ptq_file_write_at(file->fd, file->path, file->header + t->begin + t->done, data, bytes, err));
    t->done += bytes;
    return PTQ_OK;
}

enum ptq_status ptq_tensor_write_f16(struct ptq_tensor_writer *w, const char *name, const float *x, int64_t n,
                                     struct ptq_error *err)
{
    uint16_t half[F16_STEP];
    for (int64_t i = 0; i < n; i += F16_STEP) {
        int64_t step = n - i < F16_STEP ? n - i : F16_STEP;
        for (int64_t j = 0; j < step; j++) {
            half[j] = ptq_f16_encode(x[i + j]);
            if ((half[j] & 0x7c00) == 0x7c00)
                return ptq_fail(err, PTQ_ENUMERIC, "tensor '%s': element %lld is %g, which FP16 cannot hold", name,
                                (long long)(i + j), (double)x[i + j]);
        }
        PTQ_TRY(ptq_tensor_write(w, name, half, (size_t)step * 2, err));
    }
    return PTQ_OK;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

void ptq_exact_type_look(struct ptq_exact_type *type, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        type->no_f16 |= bits_of(ptq_f16_round(x[i])) != bits_of(x[i]);
        type->no_bf16 |= (bits_of(x[i]) & 0xffff) != 0;
    }
}

enum ptq_dtype ptq_exact_type(const struct ptq_exact_type *type)
{
    return !type->no_f16 ? PTQ_F16 : !type->no_bf16 ? PTQ_BF16 : PTQ_F32;
}

static enum ptq_status write_bf16(struct ptq_tensor_writer *w, const char *name, const float *x, int64_t n,
                                  struct ptq_error *err)
{
    uint16_t half[F16_STEP];
    for (int64_t i = 0; i < n; i += F16_STEP) {
        int64_t step = n - i < F16_STEP ? n - i : F16_STEP;
        for (int64_t j = 0; j < step; j++) half[j] = (uint16_t)(bits_of(x[i + j]) >> 16);
        PTQ_TRY(ptq_tensor_write(w, name, half, (size_t)step * 2, err));
    }
    return PTQ_OK;
}

enum ptq_status ptq_tensor_write_exact(struct ptq_tensor_writer *w, const char *name, const float *x, int64_t n,
                                       struct ptq_error *err)
{
    struct ptq_planned key = {.name = name}, *t = bsearch(&key, w->tensor, w->n, sizeof key, by_name);
    struct ptq_exact_type type = {0};
    ptq_exact_type_look(&type, x, n);
    assert(t && !(t->dtype == PTQ_F16 && type.no_f16) && !(t->dtype == PTQ_BF16 && type.no_bf16));
    if (t->dtype == PTQ_F16) return ptq_tensor_write_f16(w, name, x, n, err);
    return t->dtype == PTQ_BF16 ? write_bf16(w, name, x, n, err) : ptq_tensor_write(w, name, x, (size_t)n * 4, err);
}

enum ptq_status ptq_tensor_writer_finish(struct ptq_tensor_writer *w, struct ptq_error *err)
{
    enum ptq_status status = PTQ_OK;
    for (size_t i = 0; i < w->n; i++) assert(w->tensor[i].done == w->tensor[i].bytes);
    for (int i = 0; i < w->n_files && !status; i++) {
        int fd = w->file[i].fd;
        w->file[i].fd = -1;
        status = ptq_file_finish(fd, w->file[i].path, err);
    }
    ptq_tensor_writer_abandon(w);
    return status;
}

void ptq_tensor_writer_abandon(struct ptq_tensor_writer *w)
{
    if (!w) return;
    for (int i = 0; i < w->n_files; i++)
        if (w->file[i].fd >= 0) close(w->file[i].fd);
    w->n_files = 0;
    free(w->tensor);
    w->tensor = NULL;
    w->n = w->room = 0;
}
