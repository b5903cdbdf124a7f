#include "awq_search.h"

#include "awq_device.h"
#include "awq_gram.h"
#include "awq_probe.h"
#include "grid.h"
#include "offload.h"
#include "ops.h"
#include "pool.h"
#include "progress.h"

#include <math.h>
#include <string.h>

/* A trial is left after a wave of tiles (weights) or a batch of windows (outputs): fixed cuts, so that what is left and
 * when does not depend on the threads. */
enum { TILE = 128, WAVE = 4, OUTPUT_TILE = 256 };
/* Sums of one trial beyond the best's by less than this may still be rounding. */
static const double margin = 1 + 1e-6;

/* One worker's room for a tile of trial weights. */
struct tile {
    float *scaled, *delta; /* [TILE][K] */
    float *product;        /* [TILE][PTQ_AWQ_PANEL] */
    struct ptq_qmat q;     /* of TILE rows */
};

struct search {
    struct ptq_block_task *task;
    const struct ptq_awq_options *options;
    const struct ptq_awq_group *group;
    enum ptq_input input;
    int64_t rows, n, k;
    const float *x, *w, *middle;
    const struct ptq_stats *means;
    float *importance;  /* [K] mean |x|; like the next of all heads that share a v */
    float *weight_mean; /* [K] of formula=2023-05 */
    int by_gram;        /* the linears are judged by themselves */
    struct ptq_awq_gram gram;
    struct ptq_awq_there *there; /* the same on a device; or NULL */
    float *trial;                /* [N][K] Q(W s) / s where it is judged by a module */
    float *output;               /* [batch][..] the middle with trial weights */
    struct ptq_awq_probe *probe; /* where the module is the block */
    float **moved;               /* [threads][OUTPUT_TILE][C] */
    struct tile *tile;           /* [threads] */
    double *sum;                 /* of the tiles at work */
    const float *scale;          /* of the trial at work */
    int64_t first;               /* tile or row of a wave's beginning */
    int64_t batch_rows;
};

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- importance and scales ---- */

static enum ptq_status find_importance(struct search *s, struct ptq_error *err)
{
    s->importance = ptq_new(s->task->scratch, float, s->k);
    memcpy(s->importance, s->means->absmean, sizeof(float) * (size_t)s->k);
    for (int64_t k = 0; k < s->k; k++)
        if (!isfinite(s->importance[k]))
            return ptq_fail(err, PTQ_ENUMERIC,
                            "an activation of input channel %lld is not finite; the checkpoint is damaged or overflows",
                            (long long)k);
    ptq_awq_share(&s->task->model->config, s->group, s->importance);
    return PTQ_OK;
}

/* mean over the outputs of |w| / (largest |w| of its group); an all-zero group counts as 0. Channels that are mixed
 * from one row of v are one channel to the formula, which must give them one scale: their mean, as of their importance.
 */
static void find_weight_mean(struct search *s)
{
    const struct ptq_grid *grid = &s->task->spec->grid;
    int64_t g = grid->group_size < 0 ? s->k : grid->group_size;
    double *sum = ptq_new(s->task->scratch, double, s->k);
    s->weight_mean = ptq_new(s->task->scratch, float, s->k);
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t k = 0; k < s->k; k += g) {
            const float *w = s->w + n * s->k + k;
            int64_t columns = min64(g, s->k - k);
            float lo, hi;
            ptq_ops()->minmax(w, columns, &lo, &hi);
            float most = fmaxf(fabsf(lo), fabsf(hi));
            for (int64_t i = 0; most > 0 && i < columns; i++) sum[k + i] += fabsf(w[i]) / most;
        }
    for (int64_t k = 0; k < s->k; k++) s->weight_mean[k] = (float)(sum[k] / (double)s->n);
    ptq_awq_share(&s->task->model->config, s->group, s->weight_mean);
}

/* What a channel's scale is divided by. Where its weights are all 0 the term is left out: the scale changes nothing but
 * must be finite. */
static float weight_term(const struct search *s, int64_t k, double ratio)
{
    float more = s->options->formula == PTQ_AWQ_AUTOAWQ ? 1e-4f : 0;
    if (!s->weight_mean || s->weight_mean[k] == 0) return 1;
    return powf(s->weight_mean[k], (float)(1 - ratio)) + more;
}

static void make_scale(const struct search *s, double ratio, float *scale)
{
    float least = INFINITY, most = 0;
    for (int64_t k = 0; k < s->k; k++) {
        float value = powf(s->importance[k], (float)ratio) / weight_term(s, k, ratio);
        scale[k] = fmaxf(value, 1e-4f);
        least = fminf(least, scale[k]);
        most = fmaxf(most, scale[k]);
    }
    float middle = sqrtf(most * least);
    for (int64_t k = 0; k < s->k; k++) scale[k] /= middle;
}

/* ---- trial weights ---- */

/* out[rows][K] = Q(W s) / s of rows from first on, or how far that is from W. */
static void requantize(const struct search *s, struct tile *tile, int64_t first, int64_t rows, int error, float *out)
{
    const float *w = s->w + first * s->k, *scale = s->scale;
    int64_t columns = s->k;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < columns; k++) tile->scaled[i * columns + k] = w[i * columns + k] * scale[k];
    ptq_grid_quantize_rows(&tile->q, tile->scaled, 0, rows);
    ptq_ops()->dequantize(out, &tile->q, 0, rows);
    for (int64_t i = 0; i < rows; i++, w += columns, out += columns)
        if (error)
            for (int64_t k = 0; k < columns; k++) out[k] = out[k] / scale[k] - w[k];
        else
            for (int64_t k = 0; k < columns; k++) out[k] /= scale[k];
}

/* ---- loss by the Gram matrix ---- */

static void gram_tile(void *context, int64_t i, int worker)
{
    const struct search *s = context;
    struct tile *tile = &s->tile[worker];
    int64_t first = (s->first + i) * TILE, rows = min64(TILE, s->n - first);
    requantize(s, tile, first, rows, 1, tile->delta);
    s->sum[i] = ptq_awq_gram_loss(&s->gram, tile->delta, rows, tile->product);
}

static double gram_loss(struct search *s, double limit)
{
    if (s->there) return ptq_awq_there_loss(s->there, s->scale);
    int64_t tiles = (s->n + TILE - 1) / TILE;
    double sum = 0;
    for (s->first = 0; s->first < tiles && !(sum > limit); s->first += WAVE) {
        int64_t n = min64(WAVE, tiles - s->first);
        ptq_parallel_for(n, gram_tile, s);
        for (int64_t i = 0; i < n; i++) sum += s->sum[i];
    }
    return sum;
}

/* ---- loss by what the module gives ---- */

static const struct ptq_linear *last_linear(const struct search *s)
{
    return &s->task->block->linear[s->group->module == PTQ_AWQ_ATTENTION ? PTQ_O : PTQ_DOWN];
}

static void trial_tile(void *context, int64_t i, int worker)
{
    const struct search *s = context;
    requantize(s, &s->tile[worker], i * TILE, min64(TILE, s->n - i * TILE), 0, s->trial + i * TILE * s->k);
}

/* The module's last linear is not on trial, so the difference goes through it: o(a) - o(b) = o(a - b). */
static void output_tile(void *context, int64_t i, int worker)
{
    const struct search *s = context;
    const struct ptq_linear *last = last_linear(s);
    int64_t first = i * OUTPUT_TILE, rows = min64(OUTPUT_TILE, s->batch_rows - first);
    float *difference = s->output + first * last->k, *y = s->moved[worker];
    const float *original = s->middle + (s->first + first) * last->k;
    for (int64_t j = 0; j < rows * last->k; j++) difference[j] -= original[j];
    ptq_ops()->linear(y, last->n, difference, last->k, last->w, NULL, 0, rows, last->n, last->k);
    s->sum[i] = ptq_awq_dot(y, y, rows * last->n);
}

static double module_loss(struct search *s, double limit)
{
    struct ptq_forward *f = s->task->calib;
    struct ptq_block block = *s->task->block;
    float *w = s->trial;
    for (int role = (int)s->group->first; role <= (int)s->group->last; role++) {
        block.linear[role].w = w;
        w += block.linear[role].n * s->k;
    }
    ptq_parallel_for((s->n + TILE - 1) / TILE, trial_tile, s);
    if (s->probe) return ptq_awq_probe_loss(s->probe, &block, limit);
    enum ptq_step step = s->group->module == PTQ_AWQ_ATTENTION ? PTQ_ATTENTION_STEP : PTQ_MLP_STEP;
    double sum = 0;
    for (int64_t window = 0; window < f->windows && !(sum > limit); window += f->batch_windows) {
        int64_t n = min64(f->batch_windows, f->windows - window), tiles;
        s->first = window * f->length;
        s->batch_rows = n * f->length;
        ptq_forward_step(f, &block, step, window, n, s->x + s->first * s->k, s->output);
        tiles = (s->batch_rows + OUTPUT_TILE - 1) / OUTPUT_TILE;
        ptq_parallel_for(tiles, output_tile, s);
        for (int64_t i = 0; i < tiles; i++) sum += s->sum[i];
    }
    return sum;
}

/* ---- the search ---- */

static void make_tiles(struct search *s)
{
    struct ptq_arena *a = s->task->scratch;
    s->tile = ptq_new(a, struct tile, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++) {
        struct tile *tile = &s->tile[i];
        tile->scaled = ptq_new(a, float, TILE * s->k);
        if (s->by_gram) {
            tile->delta = ptq_new(a, float, TILE * s->k);
            tile->product = ptq_new(a, float, TILE *PTQ_AWQ_PANEL);
        }
        ptq_qmat_make(a, &s->task->spec->grid, TILE, s->k, &tile->q);
    }
}

/* The Gram matrix, fetched where it lies on a device. */
static const float *gram_here(const struct search *s)
{
    const struct ptq_moments *m = &s->task->moments[s->input];
    if (m->gram) return m->gram;
    float *h = ptq_new(s->task->scratch, float, s->k * s->k);
    m->pass->offload->device->download(h, m->there, sizeof *h * (size_t)(s->k * s->k));
    return h;
}

/* Room, and what all trials share. */
static enum ptq_status prepare(struct search *s, struct ptq_error *err)
{
    struct ptq_arena *a = s->task->scratch;
    PTQ_TRY(find_importance(s, err));
    if (s->options->formula != PTQ_AWQ_2023_11) find_weight_mean(s);
    s->by_gram = s->group->module == PTQ_AWQ_SELF || s->options->loss == PTQ_AWQ_GRAM;
    s->there = NULL;
    if (s->by_gram && s->task->moments[s->input].there && ptq_awq_grid_there(&s->task->spec->grid, s->k)) {
        PTQ_TRY(ptq_awq_there_make(s->task, s->input, s->w, s->n, s->k, &s->there, err));
    } else if (s->by_gram) {
        s->gram = ptq_awq_gram_make(a, gram_here(s), s->k);
        s->sum = ptq_new(a, double, WAVE);
    } else if (s->group->module == PTQ_AWQ_BLOCK) {
        s->trial = ptq_new(a, float, s->n * s->k);
        PTQ_TRY(ptq_awq_probe_make(a, s->task, s->x, &s->probe, err));
    } else {
        const struct ptq_linear *last = last_linear(s);
        int64_t batch = s->task->calib->batch_windows * s->task->calib->length;
        s->trial = ptq_new(a, float, s->n * s->k);
        s->output = ptq_new(a, float, batch * last->k);
        s->sum = ptq_new(a, double, (batch + OUTPUT_TILE - 1) / OUTPUT_TILE);
        s->moved = ptq_new(a, float *, ptq_pool_size());
        for (int i = 0; i < ptq_pool_size(); i++) s->moved[i] = ptq_new(a, float, OUTPUT_TILE * last->n);
    }
    if (!s->there) make_tiles(s);
    return PTQ_OK;
}

/* 0, which is plain rounding and the bound for the rest, then from the middle outwards, where the best mostly is: a
 * small sum met early lets the others be left early. */
static void visiting_order(int *order, int n)
{
    int at = 0, middle = n / 2;
    order[at++] = 0;
    for (int d = 0; d <= n; d++) {
        if (d && middle - d > 0) order[at++] = middle - d;
        if (middle + d > 0 && middle + d < n) order[at++] = middle + d;
    }
}

static enum ptq_status try_ratios(struct search *s, struct ptq_awq_choice *choice, struct ptq_error *err)
{
    int n = s->options->n_ratio, *order = ptq_new(s->task->scratch, int, n);
    int64_t outputs = s->by_gram ? s->n : last_linear(s)->n;
    float *scale = ptq_new(s->task->scratch, float, s->k);
    double best = INFINITY;
    s->scale = scale;
    choice->ratio = -1;
    visiting_order(order, n);
    for (int i = 0; i < n; i++) {
        PTQ_TRY(ptq_interrupted(err));
        make_scale(s, order[i] / (double)n, scale);
        double limit = s->options->every_loss ? INFINITY : best * margin;
        double sum = s->by_gram ? gram_loss(s, limit) : module_loss(s, limit);
        choice->loss[order[i]] = sum / ((double)s->rows * (double)outputs);
        if (!(sum < best || (sum == best && order[i] < choice->ratio))) continue;
        best = sum;
        choice->ratio = order[i];
        memcpy(choice->scale, scale, sizeof *scale * (size_t)s->k);
    }
    if (choice->ratio >= 0) return PTQ_OK;
    return ptq_fail(err, PTQ_ENUMERIC, "no scale gives a finite error; the weights or activations are too large");
}

enum ptq_status ptq_awq_search(struct ptq_block_task *task, const struct ptq_awq_options *options, enum ptq_input input,
                               const float *x, const float *middle, struct ptq_awq_choice *choice,
                               struct ptq_error *err)
{
    const struct ptq_awq_family *family;
    PTQ_TRY(ptq_awq_family(&task->model->config, &family, err));
    const struct ptq_awq_group *group = &family->group[input];
    const struct ptq_linear *first = &task->block->linear[group->first];
    if (!ptq_awq_scalable(&task->model->config, group, options->vo_average)) return PTQ_OK;
    struct ptq_mark mark = ptq_arena_mark(task->scratch);
    struct search s = {.task = task,
                       .options = options,
                       .group = group,
                       .input = input,
                       .means = &task->stats[input],
                       .rows = task->stats[input].rows,
                       .n = ptq_awq_outputs(task->block, group),
                       .k = first->k,
                       .x = x,
                       .w = first->w,
                       .middle = middle};
    if (prepare(&s, err) || try_ratios(&s, choice, err)) return ptq_within(err, "%s", first->name);
    choice->searched = 1;
    ptq_arena_rewind(task->scratch, mark);
    return PTQ_OK;
}
