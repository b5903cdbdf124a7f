/* salient: round to nearest, but the most important input channels keep their FP16 weights (AWQ, section 3.1, Table 1).
 *
 *   keep = the max(1, rint(fraction * K)) channels of largest importance (methods/channels.c)
 *   W'   = RTN(W) with W'[:, keep] = FP16(W[:, keep])
 *
 * The groups' minimum and maximum are found with the salient weights in place: only their columns are put back. */
#include "channels.h"
#include "dtype.h"
#include "grid.h"
#include "method.h"

#include <math.h>

static enum ptq_status quantize(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                                struct ptq_qmat *q, struct ptq_error *err)
{
    layer->report->saturated = ptq_grid_quantize(q, layer->w);
    PTQ_TRY(ptq_channels_choose(spec, layer, arena, &q->keep, &q->n_keep, err));
    q->kept = ptq_new(arena, float, q->n * q->n_keep);
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t i = 0; i < q->n_keep; i++) {
            float value = ptq_f16_round(layer->w[n * q->k + q->keep[i]]);
            if (!isfinite(value))
                return ptq_fail(err, PTQ_ENUMERIC, "weight [%lld, %d] is %g, too large for FP16", (long long)n,
                                q->keep[i], (double)layer->w[n * q->k + q->keep[i]]);
            q->kept[n * q->n_keep + i] = value;
        }
    return PTQ_OK;
}

static const struct ptq_param params[] = {
    {PTQ_SELECT_PARAM, .always = 1},
    {.name = "fraction",
     .fallback = 0.01,
     .min = 0,
     .max = 1,
     .doc = "of the input channels kept in FP16",
     .always = 1},
    {0},
};

extern const struct ptq_method ptq_method_salient;
const struct ptq_method ptq_method_salient = {
    .name = "salient",
    .summary = "round to nearest, salient channels kept in FP16",
    .cite = "arXiv:2306.00978, section 3.1 and Table 1",
    .param = params,
    .grid = {.w_bit = 3, .group_size = 128},
    .need = ptq_channels_need,
    .quantize = quantize,
};
