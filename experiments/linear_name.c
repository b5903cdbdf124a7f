#include "linear_name.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BLOCKS = 10000, MOST_ROLES = 64 };

int ptq_linear_block(struct ptq_arena *arena, const char *name, const char **role)
{
    for (const char *at = name; at; at = strchr(at, '.')) {
        at += *at == '.';
        size_t digits = strspn(at, "0123456789");
        if (!digits || digits > 6 || (at[digits] != '.' && at[digits])) continue;
        const char *last = strrchr(at, '.');
        *role = ptq_strdup(arena, last ? last + 1 : at);
        return (int)strtol(at, NULL, 10);
    }
    *role = name;
    return -1;
}

static int role_of(struct ptq_linear_grid *g, const char *role)
{
    for (int r = 0; r < g->n_roles; r++)
        if (strcmp(g->role[r], role) == 0) return r;
    if (g->n_roles == MOST_ROLES) return -1;
    g->role[g->n_roles] = role;
    return g->n_roles++;
}

int ptq_linear_grid_make(struct ptq_arena *arena, const struct ptq_cell *cell, struct ptq_linear_grid *out)
{
    int n = cell->n_linears, *block = ptq_new(arena, int, n), *role = ptq_new(arena, int, n);
    const char *name;
    *out = (struct ptq_linear_grid){.role = ptq_new(arena, const char *, MOST_ROLES)};
    for (int i = 0; i < n; i++) {
        block[i] = ptq_linear_block(arena, cell->linear[i].name, &name);
        role[i] = block[i] < 0 || block[i] >= MOST_BLOCKS ? -1 : role_of(out, name);
        if (role[i] >= 0 && block[i] >= out->blocks) out->blocks = block[i] + 1;
    }
    if (!out->n_roles) return 0;
    out->linear = ptq_new(arena, const struct ptq_linear_report *, (int64_t)out->blocks * out->n_roles);
    for (int i = 0; i < n; i++)
        if (role[i] >= 0) out->linear[block[i] * out->n_roles + role[i]] = &cell->linear[i];
    return 1;
}
