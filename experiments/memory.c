/* Memory that cannot be had ends the process with one sentence (arena.h), whoever asked for it: HDF5, jansson, OpenBLAS
 * and libc carry on with half a structure, or with another error than the true one, when they are told that there is
 * none (docs/reliability.md has what that gave). So the command's own malloc and its kin stand before glibc's. Not in
 * builds with a sanitizer, which has an allocator of its own. */
#include "arena.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* glibc's, under the names that nothing replaces. */
void *__libc_malloc(size_t bytes);                     // NOLINT: not ours to name
void *__libc_calloc(size_t count, size_t size);        // NOLINT
void *__libc_realloc(void *old, size_t bytes);         // NOLINT
void *__libc_memalign(size_t alignment, size_t bytes); // NOLINT

static void *had(void *memory, size_t bytes)
{
    if (!memory && bytes) ptq_out_of_memory(bytes, "a part of this program", "its work");
    return memory;
}

void *malloc(size_t bytes)
{
    return had(__libc_malloc(bytes), bytes);
}

void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) bytes = (size_t)-1;
    return had(__libc_calloc(count, size), bytes);
}

void *realloc(void *old, size_t bytes)
{
    return had(__libc_realloc(old, bytes), bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    return had(__libc_memalign(alignment, bytes), bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (alignment % sizeof(void *) || !alignment || (alignment & (alignment - 1))) return EINVAL;
    *out = memalign(alignment, bytes);
    return 0;
}
