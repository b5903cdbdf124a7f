#include "home.h"

#include "version.h"

#include <stdlib.h>

const char *ptq_home_path(struct ptq_arena *arena, const char *name)
{
    const char *home = getenv("PTQ_HOME");
    return ptq_format(arena, "%s/%s", home && *home ? home : ptq_source_folder, name);
}
