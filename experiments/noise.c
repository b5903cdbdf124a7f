#include "noise.h"

#include "home.h"
#include "replicates.h"
#include "tsv.h"
#include "words.h"

#include <float.h>
#include <string.h>

static const char header[] = "model_sha256\tmodel\tspec\ttext\torders\tlowest\thighest\tcommit";

static enum ptq_status parse_row(const char *path, const struct ptq_tsv_row *row, struct ptq_noise *out,
                                 struct ptq_error *err)
{
    char *const *column = row->column;
    struct ptq_spec spec;
    *out = (struct ptq_noise){.model_sha256 = column[0], .spec = column[2], .text = column[3]};
    if (ptq_spec_parse(out->spec, &spec, err))
        return ptq_fail(err, PTQ_EINPUT, "%s:%d: '%s' is no SPEC", path, row->line, out->spec);
    out->method = spec.method;
    out->w_bit = spec.grid.w_bit;
    out->group_size = spec.grid.group_size;
    if (!ptq_parse_int(column[4], 2, INT32_MAX, &out->orders))
        return ptq_fail(err, PTQ_EINPUT, "%s:%d: '%s' is no number of orders", path, row->line, column[4]);
    if (!ptq_parse_double(column[5], 1, DBL_MAX, &out->lowest) ||
        !ptq_parse_double(column[6], out->lowest, DBL_MAX, &out->highest))
        return ptq_fail(err, PTQ_EINPUT, "%s:%d: %s to %s is no range of perplexities", path, row->line, column[5],
                        column[6]);
    return PTQ_OK;
}

enum ptq_status ptq_noise_read(struct ptq_arena *arena, const char *path, struct ptq_noise_floor *out,
                               struct ptq_error *err)
{
    struct ptq_tsv table;
    if (!path) path = ptq_home_path(arena, "experiments/noise.tsv");
    PTQ_TRY(ptq_tsv_read(arena, path, header, &table, err));
    struct ptq_noise *lines = ptq_new(arena, struct ptq_noise, table.n);
    *out = (struct ptq_noise_floor){lines, table.n};
    for (int i = 0; i < table.n; i++) PTQ_TRY(parse_row(path, &table.row[i], &lines[i], err));
    return PTQ_OK;
}

enum ptq_noise_of ptq_noise_concerns(struct ptq_arena *arena, const struct ptq_noise *line, const struct ptq_cell *cell)
{
    if (strcmp(line->model_sha256, cell->model_sha256) || strcmp(line->method->name, cell->method) ||
        line->w_bit != cell->w_bit || line->group_size != cell->group_size)
        return PTQ_NOISE_ELSEWHERE;
    return strcmp(line->spec, ptq_without_order(arena, cell->spec)) ? PTQ_NOISE_NEAR : PTQ_NOISE_OF_SPEC;
}
