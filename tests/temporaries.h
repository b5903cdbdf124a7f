/* The temporary name that a file has while another process of this machine writes it. */
#ifndef PTQ_TEST_TEMPORARIES_H
#define PTQ_TEST_TEMPORARIES_H

#include "beside.h"

#include <string.h>

static inline char *temporary_of(struct ptq_arena *into, const char *path, const char *process)
{
    const char *own = ptq_temporary_path(into, path);
    return ptq_format(into, "%.*s%s", (int)(strrchr(own, '.') + 1 - own), own, process);
}

#endif
