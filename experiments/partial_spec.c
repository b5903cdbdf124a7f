#include "partial_spec.h"

#include <string.h>

/* Whether a canonical SPEC has the item ("w3", "s=2"). */
static int has_item(const char *spec, const char *item, size_t length)
{
    for (const char *at = strpbrk(spec, ":,"); at; at = strpbrk(at + 1, ","))
        if (strcspn(at + 1, ",") == length && strncmp(at + 1, item, length) == 0) return 1;
    return 0;
}

int ptq_partial_spec_agrees(const char *spec, const char *said)
{
    size_t method = strcspn(said, ":");
    if (strcspn(spec, ":") != method || strncmp(spec, said, method)) return 0;
    for (const char *at = strpbrk(said, ":,"); at; at = strpbrk(at + 1, ","))
        if (!has_item(spec, at + 1, strcspn(at + 1, ","))) return 0;
    return 1;
}
