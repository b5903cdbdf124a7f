/*   importance_c = mean_t |x_tc|      select=activation
 *                = mean_n |w_nc|      select=weight
 *                = a seeded draw      select=random
 *
 * The AWQ paper does not say which statistic "based on W" is; the mean of |w| is used, as for activations. A random
 * draw depends on the run's seed and the linear's name alone. */
#include "channels.h"

#include "rng.h"

#include <math.h>
#include <stdlib.h>

static enum ptq_select selection(const struct ptq_spec *spec)
{
    return (enum ptq_select)ptq_spec_value(spec, "select");
}

static void weight_importance(const struct ptq_layer *layer, double *importance)
{
    for (int64_t n = 0; n < layer->n; n++)
        for (int64_t k = 0; k < layer->k; k++) importance[k] += fabsf(layer->w[n * layer->k + k]);
}

static void find_importance(const struct ptq_spec *spec, const struct ptq_layer *layer, double *importance)
{
    struct ptq_rng rng = ptq_rng_make(layer->seed, layer->name);
    enum ptq_select by = selection(spec);
    if (by == PTQ_SELECT_WEIGHT) {
        weight_importance(layer, importance);
        return;
    }
    for (int64_t k = 0; k < layer->k; k++)
        importance[k] = by == PTQ_SELECT_ACTIVATION ? layer->stats->absmean[k] : ptq_rng_uniform(&rng);
}

struct channel {
    double importance;
    int32_t index;
};

static int by_importance(const void *a, const void *b)
{
    const struct channel *x = a, *y = b;
    if (x->importance != y->importance) return x->importance < y->importance ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static int by_index(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

unsigned ptq_channels_need(const struct ptq_spec *spec)
{
    static const unsigned needs[] = {[PTQ_SELECT_ACTIVATION] = PTQ_NEED_ABSMEAN,
                                     [PTQ_SELECT_WEIGHT] = PTQ_NEED_NOTHING,
                                     [PTQ_SELECT_RANDOM] = PTQ_NEED_SEED};
    return needs[selection(spec)];
}

enum ptq_status ptq_channels_choose(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                                    int32_t **channel, int64_t *n, struct ptq_error *err)
{
    double *importance = ptq_new(arena, double, layer->k);
    struct channel *sorted = ptq_new(arena, struct channel, layer->k);
    find_importance(spec, layer, importance);
    for (int64_t k = 0; k < layer->k; k++) {
        if (!isfinite(importance[k]))
            return ptq_fail(err, PTQ_ENUMERIC, "input channel %lld: %s are not finite or too large", (long long)k,
                            selection(spec) == PTQ_SELECT_WEIGHT ? "the weights"
                                                                 : "the activations of the calibration text");
        sorted[k] = (struct channel){importance[k], (int32_t)k};
    }
    qsort(sorted, (size_t)layer->k, sizeof *sorted, by_importance);
    *n = (int64_t)fmax(1, rint(ptq_spec_value(spec, "fraction") * (double)layer->k));
    *channel = ptq_new(arena, int32_t, *n);
    for (int64_t i = 0; i < *n; i++) (*channel)[i] = sorted[i].index;
    qsort(*channel, (size_t)*n, sizeof **channel, by_index);
    return PTQ_OK;
}
