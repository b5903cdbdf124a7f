#include "path.h"

#include <string.h>

#define KIND(id, name, act_bits, device, doc) [id] = {name, act_bits, device, doc},
const struct ptq_path_kind ptq_paths[PTQ_N_PATHS] = {PTQ_PATHS(KIND)};
#undef KIND

int ptq_path_find(const char *name)
{
    for (int i = 0; name && i < PTQ_N_PATHS; i++)
        if (strcmp(ptq_paths[i].name, name) == 0) return i;
    return -1;
}

int ptq_path_act_bits(const char *name)
{
    int path = ptq_path_find(name);
    return path < 0 ? 0 : ptq_paths[path].act_bits;
}

int ptq_path_is_coarse(const char *name)
{
    int bits = ptq_path_act_bits(name);
    return bits > 0 && bits < 16;
}
