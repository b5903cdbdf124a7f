#include "model_name.h"

#include "report.h"

#include <string.h>

static const char *config_of(struct ptq_arena *arena, const struct ptq_cell *cell)
{
    char hex[PTQ_SHA256_HEX];
    ptq_cell_model_config(cell, hex);
    return *hex ? ptq_format(arena, "config %.8s", hex) : "config not recorded";
}

const char *ptq_model_apart(struct ptq_arena *arena, const struct ptq_cell *cells, int n, const struct ptq_cell *cell)
{
    const char *name = ptq_report_short(arena, cell->model);
    int by_weights = 0, by_config = 0;
    for (int i = 0; i < n && !(by_weights && by_config); i++) {
        if (ptq_same_model(&cells[i], cell) || strcmp(ptq_report_short(arena, cells[i].model), name)) continue;
        int weights_differ = strcmp(cells[i].model_sha256, cell->model_sha256) != 0;
        by_weights |= weights_differ;
        by_config |= !weights_differ;
    }
    if (by_weights && by_config) return ptq_format(arena, " (%.8s, %s)", cell->model_sha256, config_of(arena, cell));
    if (by_weights) return ptq_format(arena, " (%.8s)", cell->model_sha256);
    return by_config ? ptq_format(arena, " (%s)", config_of(arena, cell)) : "";
}

const char *ptq_model_name(struct ptq_arena *arena, const struct ptq_cell *cells, int n, const struct ptq_cell *cell)
{
    return ptq_format(arena, "%s%s", ptq_report_short(arena, cell->model), ptq_model_apart(arena, cells, n, cell));
}

const char *ptq_model_note(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b)
{
    char config[2][PTQ_SHA256_HEX];
    ptq_cell_model_config(a, config[0]);
    ptq_cell_model_config(b, config[1]);
    return ptq_format(arena, "%s (%s) and %s (%s) have the same weights and %s in config.json.", a->model,
                      config_of(arena, a), b->model, config_of(arena, b),
                      *config[0] && *config[1] ? "differ" : "may differ");
}
