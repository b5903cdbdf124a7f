#include "stages.h"

#include "method.h"

#include <string.h>

void ptq_stages_of(const struct ptq_cell *c, struct ptq_stage out[PTQ_N_STAGES])
{
    out[0] = (struct ptq_stage){"load", "load", c->seconds_load, c->peak_rss_bytes_load};
    out[1] = (struct ptq_stage){"calibrate", "calibrate", c->seconds_calibrate, c->peak_rss_bytes_calibrate};
    out[2] = (struct ptq_stage){"quantise", "quantize", c->seconds_quantize, c->peak_rss_bytes_quantize};
    out[3] = (struct ptq_stage){"evaluate", "eval", c->seconds_eval, c->peak_rss_bytes_eval};
}

double ptq_stages_statistics(const struct ptq_cell *cell, const struct ptq_cell *cells, int n)
{
    struct ptq_spec spec;
    struct ptq_error err;
    double most = 0;
    if (ptq_spec_parse(cell->spec, &spec, &err)) return -1; /* of a method that this build does not know */
    if (!(ptq_spec_need(&spec) & (PTQ_NEED_ABSMEAN | PTQ_NEED_MOMENTS))) return -1;
    for (int i = 0; i < n; i++)
        if (strcmp(cells[i].calib_sha256, cell->calib_sha256) == 0 && cells[i].seconds_calibrate > most)
            most = cells[i].seconds_calibrate;
    return most;
}

const char *ptq_stages_peaks(struct ptq_arena *arena, const struct ptq_cell *cell)
{
    struct ptq_stage stage[PTQ_N_STAGES];
    const char *all = "";
    ptq_stages_of(cell, stage);
    for (int s = 0; s < PTQ_N_STAGES; s++)
        if (stage[s].peak)
            all = ptq_format(arena, "%s%s%s %.0f", all, *all ? ", " : " (", stage[s].name,
                             (double)stage[s].peak / (1 << 20));
    return ptq_format(arena, "peak %.0f MiB%s%s", (double)cell->peak_rss_bytes / (1 << 20), all, *all ? ")" : "");
}
