/* salient: round to nearest, but the most important input channels keep their FP16 weights (AWQ, section 3.1, Table 1).
 *
 *   importance_c = mean_t |x_tc|      select=activation
 *                = mean_n |w_nc|      select=weight
 *                = a seeded draw      select=random
 *   keep         = the max(1, rint(fraction * K)) channels of largest importance; of equal ones the first
 *   W'           = RTN(W) with W'[:, keep] = FP16(W[:, keep])
 *
 * The groups' minimum and maximum are found with the salient weights in place: only their columns are put back. The
 * paper does not say which statistic "based on W" is; the mean of |w| is used, as for activations. A random draw
 * depends on the run's seed and the linear's name alone. */
#include "dtype.h"
#include "grid.h"
#include "method.h"
#include "rng.h"

#include <math.h>
#include <stdlib.h>

enum select { ACTIVATION, WEIGHT, RANDOM };

static enum select selection(const struct ptq_spec *spec)
{
    return (enum select)ptq_spec_value(spec, "select");
}

static void weight_importance(const struct ptq_layer *layer, double *importance)
{
    for (int64_t n = 0; n < layer->n; n++)
        for (int64_t k = 0; k < layer->k; k++) importance[k] += fabsf(layer->w[n * layer->k + k]);
}

static void find_importance(const struct ptq_spec *spec, const struct ptq_layer *layer, double *importance)
{
    struct ptq_rng rng = ptq_rng_make(layer->seed, layer->name);
    switch (selection(spec)) {
    case ACTIVATION:
        for (int64_t k = 0; k < layer->k; k++) importance[k] = layer->stats->absmean[k];
        break;
    case WEIGHT:
        weight_importance(layer, importance);
        break;
    case RANDOM:
        for (int64_t k = 0; k < layer->k; k++) importance[k] = ptq_rng_uniform(&rng);
        break;
    }
}

struct channel {
    double importance;
    int32_t index;
};

static int by_importance(const void *a, const void *b)
{
    const struct channel *x = a, *y = b;
    if (x->importance != y->importance) return x->importance < y->importance ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_index(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* keep[0..n_keep), ascending, in arena. */
static void choose(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                   struct ptq_qmat *q)
{
    double *importance = ptq_new(arena, double, layer->k);
    struct channel *channel = ptq_new(arena, struct channel, layer->k);
    find_importance(spec, layer, importance);
    for (int64_t k = 0; k < layer->k; k++) channel[k] = (struct channel){importance[k], (int32_t)k};
    qsort(channel, (size_t)layer->k, sizeof *channel, by_importance);
    q->n_keep = (int64_t)fmax(1, rint(ptq_spec_value(spec, "fraction") * (double)layer->k));
    q->keep = ptq_new(arena, int32_t, q->n_keep);
    for (int64_t i = 0; i < q->n_keep; i++) q->keep[i] = channel[i].index;
    qsort(q->keep, (size_t)q->n_keep, sizeof *q->keep, by_index);
}

static enum ptq_status quantize(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                                struct ptq_qmat *q, struct ptq_error *err)
{
    layer->report->saturated = ptq_grid_quantize(q, layer->w);
    choose(spec, layer, arena, q);
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

static unsigned need(const struct ptq_spec *spec)
{
    static const unsigned needs[] = {
        [ACTIVATION] = PTQ_NEED_ABSMEAN, [WEIGHT] = PTQ_NEED_NOTHING, [RANDOM] = PTQ_NEED_SEED};
    return needs[selection(spec)];
}

static const struct ptq_param params[] = {
    {.name = "select",
     .words = "activation|weight|random",
     .max = 2,
     .doc = "what tells a channel's importance",
     .always = 1},
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
    .need = need,
    .quantize = quantize,
};
