/* Writing checkpoints: the tensors are planned first, so that headers and offsets are known; then the files are made
 * (ptq_safetensors_open, ptq_gguf_open); then tensors are written in any order, piece by piece. Nothing is held. */
#ifndef PTQ_TENSOR_WRITER_H
#define PTQ_TENSOR_WRITER_H

#include "arena.h"
#include "dtype.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

struct ptq_tensor_writer;

struct ptq_tensor_writer *ptq_tensor_writer_make(struct ptq_arena *arena);
/* One more tensor: rows [columns], or a vector where columns < 0. Rows are whole blocks of the dtype. */
void ptq_tensor_plan(struct ptq_tensor_writer *writer, const char *name, enum ptq_dtype dtype, int64_t rows,
                     int64_t columns);
/* A vector of U8 that begins at a multiple of PTQ_TENSOR_ALIGN in its file (safetensors only); so is its size. */
enum { PTQ_TENSOR_ALIGN = 64 };
void ptq_tensor_plan_aligned(struct ptq_tensor_writer *writer, const char *name, size_t bytes);
/* The next bytes of a planned tensor; all of it, in one or more calls. */
enum ptq_status ptq_tensor_write(struct ptq_tensor_writer *writer, const char *name, const void *data, size_t bytes,
                                 struct ptq_error *err);
/* The same of n floats as FP16; one that FP16 cannot hold is PTQ_ENUMERIC. */
enum ptq_status ptq_tensor_write_f16(struct ptq_tensor_writer *writer, const char *name, const float *x, int64_t n,
                                     struct ptq_error *err);
/* The same in the type that was planned: F16, BF16 or F32. Asserts that it holds every one of them. */
enum ptq_status ptq_tensor_write_exact(struct ptq_tensor_writer *writer, const char *name, const float *x, int64_t n,
                                       struct ptq_error *err);
/* The smallest of these types that holds everything which was looked at: begins with 0 and is told of one piece of a
 * tensor after the other. */
struct ptq_exact_type {
    int no_f16, no_bf16;
};
void ptq_exact_type_look(struct ptq_exact_type *type, const float *x, int64_t n);
enum ptq_dtype ptq_exact_type(const struct ptq_exact_type *type);
/* Asserts that every planned byte was written; the files are whole and closed. */
enum ptq_status ptq_tensor_writer_finish(struct ptq_tensor_writer *writer, struct ptq_error *err);
/* Closes what is open; files stay as they are. NULL is fine, and so is one that is finished. */
void ptq_tensor_writer_abandon(struct ptq_tensor_writer *writer);

#endif
