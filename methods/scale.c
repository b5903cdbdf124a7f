/* scale: the salient input channels times a fixed s before rounding (AWQ, section 3.2, Table 2).
 *
 *   salient      = the max(1, rint(fraction K)) channels of largest importance (methods/channels.c)
 *   V            = W, V[:, salient] = s W[:, salient]            no re-normalisation
 *   W'           = RTN(V), W'[:, salient] /= s                   s = 1 is RTN, bit for bit
 *
 * The paper folds 1 / s into what comes before the linear. Here s is chosen linear by linear, and q, k and v share one
 * input, so the division stays with the linear: the codes are those of V, and struct ptq_qmat divides the columns.
 *
 * What Table 2 prints is reported by linear. With Delta the scale of a group of W and Delta' that of the group of V:
 *
 *   delta_changed = share of groups with Delta' != Delta
 *   delta_ratio   = mean of Delta' / Delta
 *   delta_over_s  = mean of (Delta' / Delta) / s
 *
 * all over ALL groups of the linear, whether or not they hold a salient channel. The paper does not name its
 * population. Its third line is its second over s, so the two share one; and of the first it says "of the channels",
 * none left out. SmolLM2-135M at w3, g128 (71 % of its groups hold a salient channel), s = 1.25, 1.5, 2, 4, over all
 * groups: mean ratio 1.004, 1.010, 1.030, 1.181 where the paper has 1.005, 1.013, 1.038, 1.213 for OPT-6.7B; over the
 * groups that hold one it would be 1.25 at s = 4. Figures for the groups that hold a salient channel alone
 * (salient_groups is their share) follow: a group without one has Delta' = Delta, so they are delta_changed /
 * salient_groups and 1 + (delta_ratio - 1) / salient_groups. Means over linears weigh each by its groups. */
#include "channels.h"
#include "dtype.h"
#include "grid.h"
#include "method.h"

#include <math.h>

static enum ptq_status check_weights(const struct ptq_qmat *q, const float *w, const float *scaled, double s,
                                     struct ptq_error *err)
{
    for (int64_t i = 0; i < q->n * q->k; i++)
        if (!isfinite(scaled[i]))
            return ptq_fail(err, PTQ_ENUMERIC, "weight [%lld, %lld] is %g, too large to be multiplied by s=%g",
                            (long long)(i / q->k), (long long)(i % q->k), (double)w[i], s);
    return PTQ_OK;
}

/* V; rounded to FP16 where the scale arithmetic is FP16. */
static float *multiply(const struct ptq_qmat *q, const float *w, struct ptq_arena *arena)
{
    float *scaled = ptq_new(arena, float, q->n * q->k);
    for (int64_t i = 0; i < q->n * q->k; i++) scaled[i] = w[i];
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t i = 0; i < q->n_divided; i++) {
            float *at = &scaled[n * q->k + q->divided[i]];
            *at *= q->divisor[i];
            if (q->grid.scale_f16) *at = ptq_f16_round(*at);
        }
    return scaled;
}

/* Delta' (q's scales) against Delta (of w), over all groups. */
static void report_deltas(const struct ptq_qmat *q, const float *w, double s, const int32_t *salient, int64_t n_salient,
                          struct ptq_linear_report *report)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size, changed = 0, holding = 0;
    double ratio = 0, groups = (double)q->n * (double)q->n_groups;
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t k = 0, at = n * q->n_groups; k < q->k; k += g, at++) {
            float scale, zero;
            ptq_grid_fit(&q->grid, w + n * q->k + k, q->k - k < g ? q->k - k : g, &scale, &zero);
            changed += q->scale[at] != scale;
            ratio += (double)q->scale[at] / scale;
        }
    for (int64_t i = 0; i < n_salient; i++) holding += !i || salient[i] / g != salient[i - 1] / g;
    report->salient_groups = (double)holding / (double)q->n_groups;
    report->delta_changed = (double)changed / groups;
    report->delta_ratio = ratio / groups;
    report->delta_over_s = ratio / groups / s;
}

static enum ptq_status quantize(const struct ptq_spec *spec, const struct ptq_layer *layer, struct ptq_arena *arena,
                                struct ptq_qmat *q, struct ptq_error *err)
{
    double s = ptq_spec_value(spec, "s");
    int32_t *salient;
    int64_t n_salient;
    PTQ_TRY(ptq_channels_choose(spec, layer, arena, &salient, &n_salient, err));
    if (s != 1) { /* nothing is divided by 1, and nothing stored for it */
        q->divided = salient;
        q->n_divided = n_salient;
        q->divisor = ptq_new(arena, float, n_salient);
        for (int64_t i = 0; i < n_salient; i++) q->divisor[i] = (float)s;
    }
    struct ptq_mark mark = ptq_arena_mark(arena);
    float *scaled = multiply(q, layer->w, arena);
    PTQ_TRY(check_weights(q, layer->w, scaled, s, err));
    layer->report->saturated = ptq_grid_quantize(q, scaled);
    ptq_arena_rewind(arena, mark);
    report_deltas(q, layer->w, s, salient, n_salient, layer->report);
    return PTQ_OK;
}

static const struct ptq_param params[] = {
    {PTQ_SELECT_PARAM},
    {.name = "fraction",
     .fallback = 0.01,
     .min = 0,
     .max = 1,
     .doc = "of the input channels multiplied by s",
     .always = 1},
    {.name = "s",
     .fallback = 2,
     .min = 0.01,
     .max = 1000,
     .doc = "what salient channels are multiplied by",
     .always = 1},
    {0},
};

extern const struct ptq_method ptq_method_scale;
const struct ptq_method ptq_method_scale = {
    .name = "scale",
    .summary = "round to nearest, salient channels scaled by a fixed s",
    .cite = "arXiv:2306.00978, section 3.2 and Table 2",
    .param = params,
    .grid = {.w_bit = 3, .group_size = 128},
    .need = ptq_channels_need,
    .quantize = quantize,
};
