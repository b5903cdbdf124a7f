/* rtn: round to nearest. Every group by itself, no data:
 *
 *   w' = scale * (clamp(rint(w / scale) + zero, 0, maxq) - zero)
 *
 * The grid (which range, symmetric or not) is methods/grid.h. Defaults are llm-awq's: range=awq, asymmetric. The GPTQ
 * papers' RTN is range=gptq with one group a row. */
#include "grid.h"
#include "method.h"

static enum ptq_status quantize(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                                struct ptq_qmat *q, struct ptq_error *err)
{
    (void)spec, (void)arena, (void)err;
    layer->report->saturated = ptq_grid_quantize(q, layer->w);
    return PTQ_OK;
}

extern const struct ptq_method ptq_method_rtn;
const struct ptq_method ptq_method_rtn = {
    .name = "rtn",
    .summary = "round to nearest",
    .cite = "baseline of arXiv:2210.17323 and arXiv:2306.00978",
    .grid = {.w_bit = 3, .group_size = 128},
    .quantize = quantize,
};
