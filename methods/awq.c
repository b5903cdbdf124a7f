/* awq: activation-aware weight quantisation (arXiv:2306.00978), as llm-awq has it.
 *
 *   y = Q(W s) (x / s)        s by groups of linears that read one input (awq_search.h), folded into what comes before
 *                             (awq_groups.h): the model stays plain; behind a GELU the block divides by s
 *   W' = Q(clamp(W s, -bound, bound))     bound by row and group (awq_clip.h), not for q and k
 *
 * In the order of llm-awq auto_scale.py, auto_clip.py and pre_quant.py (commit d6e797a): all groups of a block are
 * searched on its original weights and full-precision inputs; then all scales are applied and the inputs divided by
 * them; then bounds are searched on the scaled weights. The next block sees what the original block gives, so nothing
 * of the calibration is quantised.
 *
 *   loss=module|gram          what a trial is judged by, see awq_search.h
 *   clip=1|0                  with or without bounds
 *   formula=2023-11|2023-05   the scale without or with the weight term, which llm-awq dropped in commit 02c1dd6;
 *          |autoawq           with it as AutoAWQ kept it
 *   vo_average=0|1            1 scales v -> o also where query heads share a v, by what all of them have in the mean;
 *                             llm-awq leaves it out
 *   grid                      ratios i / grid; 1 leaves s = 1
 *
 * Where there are fewer than 512 calibration rows llm-awq's stride of the clip sample is 0 and it stops; here all rows
 * are taken. */
#include "awq.h"

#include "awq_clip.h"
#include "awq_device.h"
#include "awq_groups.h"
#include "awq_search.h"
#include "grid.h"
#include "offload.h"
#include "progress.h"

#include <assert.h>
#include <string.h>

struct ptq_awq_options ptq_awq_options(const struct ptq_spec *spec)
{
    int has_loss = ptq_spec_has(spec, "loss");
    return (struct ptq_awq_options){.loss = has_loss ? (enum ptq_awq_loss)ptq_spec_value(spec, "loss") : PTQ_AWQ_GRAM,
                                    .formula = (enum ptq_awq_formula)ptq_spec_value(spec, "formula"),
                                    .clip = ptq_spec_value(spec, "clip") != 0,
                                    .vo_average = ptq_spec_value(spec, "vo_average") != 0,
                                    .n_ratio = (int)ptq_spec_value(spec, "grid")};
}

/* ---- the transform ---- */

struct transform {
    struct ptq_block_task *task;
    const struct ptq_awq_options *options;
    struct ptq_awq_report *report;
};

static void make_report(struct transform *t, struct ptq_arena *arena)
{
    *t->report = (struct ptq_awq_report){0};
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        struct ptq_awq_choice *c = &t->report->choice[input];
        c->k = ptq_input_width(&t->task->model->config, (enum ptq_input)input);
        c->loss = ptq_new(arena, double, t->options->n_ratio);
        c->scale = ptq_new(arena, float, c->k);
        for (int64_t k = 0; k < c->k; k++) c->scale[k] = 1;
    }
}

static enum ptq_status search_group(struct transform *t, enum ptq_input input, const float *x, const float *middle,
                                    struct ptq_error *err)
{
    struct ptq_awq_choice *choice = &t->report->choice[input];
    PTQ_TRY(ptq_awq_search(t->task, t->options, input, x, middle, choice, err));
    const float *given = t->options->given ? t->options->given[input] : NULL;
    if (choice->searched && given) memcpy(choice->scale, given, sizeof *given * (size_t)choice->k);
    return PTQ_OK;
}

/* loss=module: the calibration rows through the original block, step by step; between the steps the groups that read
 * what is there. in and middle are all that is held of them. */
static enum ptq_status search_travelling(struct transform *t, struct ptq_error *err)
{
    struct ptq_forward *f = t->task->calib;
    const struct ptq_block *b = t->task->block;
    const struct ptq_config *c = &t->task->model->config;
    int64_t heads = ptq_input_width(c, PTQ_ATTN_OUT), all = f->windows, rows = all * f->length;
    float *in = ptq_new(t->task->scratch, float, rows * c->width);
    float *middle = ptq_new(t->task->scratch, float, rows *(heads > c->ff ? heads : c->ff));
    ptq_forward_step(f, b, PTQ_ATTN_IN_STEP, 0, all, NULL, in);
    for (int64_t window = 0; window < all; window += f->batch_windows) {
        int64_t row = window * f->length, n = all - window < f->batch_windows ? all - window : f->batch_windows;
        ptq_forward_step(f, b, PTQ_ATTENTION_STEP, window, n, in + row * c->width, middle + row * heads);
    }
    PTQ_TRY(search_group(t, PTQ_ATTN_IN, in, middle, err));
    PTQ_TRY(search_group(t, PTQ_ATTN_OUT, NULL, NULL, err));
    ptq_forward_step(f, b, PTQ_ATTN_OUT_STEP, 0, all, middle, NULL);
    ptq_forward_step(f, b, PTQ_MLP_IN_STEP, 0, all, NULL, in);
    ptq_forward_step(f, b, PTQ_MLP_STEP, 0, all, in, middle);
    PTQ_TRY(search_group(t, PTQ_MLP_IN, in, middle, err));
    PTQ_TRY(search_group(t, PTQ_MLP_OUT, NULL, NULL, err));
    ptq_forward_step(f, b, PTQ_MLP_OUT_STEP, 0, all, middle, NULL);
    return PTQ_OK;
}

/* loss=gram: the moments are all that is needed. */
static enum ptq_status search_standing(struct transform *t, struct ptq_error *err)
{
    for (int input = 0; input < PTQ_N_INPUT; input++) PTQ_TRY(search_group(t, (enum ptq_input)input, NULL, NULL, err));
    return PTQ_OK;
}

static void divide_columns(float *x, int64_t rows, int64_t k, const float *s)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < k; j++) x[i * k + j] /= s[j];
}

float *ptq_awq_divided_copy(struct ptq_arena *arena, const float *x, int64_t rows, int64_t k, const float *s)
{
    float *to = ptq_new(arena, float, rows *k);
    memcpy(to, x, sizeof *x * (size_t)(rows * k));
    divide_columns(to, rows, k, s);
    return to;
}

/* Means as the scaled block's inputs have them; the original ones are shared by other cells and stay. */
static void rescale_stats(struct transform *t)
{
    const struct ptq_stats *from = t->task->stats;
    struct ptq_stats *to = ptq_new(t->task->scratch, struct ptq_stats, PTQ_N_INPUT);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const float *s = t->report->choice[input].scale;
        int64_t k = from[input].k;
        to[input] = from[input];
        to[input].absmean = ptq_awq_divided_copy(t->task->scratch, from[input].absmean, 1, k, s);
        to[input].sample = ptq_awq_divided_copy(t->task->scratch, from[input].sample, from[input].n_sample, k, s);
    }
    t->task->stats = to;
}

enum ptq_status ptq_awq_transform(struct ptq_block_task *task, const struct ptq_awq_options *options,
                                  struct ptq_arena *arena, struct ptq_awq_report *report, struct ptq_error *err)
{
    const struct ptq_config *config = &task->model->config;
    struct transform t = {.task = task, .options = options, .report = report};
    const struct ptq_awq_family *family;
    PTQ_TRY(ptq_awq_family(config, &family, err));
    assert(task->stats && task->moments);
    make_report(&t, arena);
    struct ptq_mark mark = ptq_arena_mark(task->scratch);
    PTQ_TRY((options->loss == PTQ_AWQ_GRAM ? search_standing : search_travelling)(&t, err));
    ptq_device_lap(task->model->device, "search");
    ptq_arena_rewind(task->scratch, mark);
    for (int input = 0; input < PTQ_N_INPUT; input++)
        if (report->choice[input].searched)
            ptq_awq_apply_scale(config, task->block, &family->group[input], report->choice[input].scale);
    rescale_stats(&t);
    ptq_device_lap(task->model->device, "scaled");
    return PTQ_OK;
}

/* ---- the method ---- */

static void quantize_linear(struct ptq_block_task *task, int role, const struct ptq_awq_clip *clip)
{
    const struct ptq_linear *linear = &task->block->linear[role];
    const struct ptq_grid *grid = &task->spec->grid;
    struct ptq_mark mark = ptq_arena_mark(task->scratch);
    float *w = ptq_new(task->scratch, float, linear->n * linear->k);
    ptq_awq_clamp(linear, clip, grid->group_size, w);
    task->report[role].saturated = ptq_grid_quantize(&task->q[role], w);
    ptq_arena_rewind(task->scratch, mark);
}

void ptq_awq_describe(const struct ptq_awq_options *options, const struct ptq_awq_choice *choice,
                      const struct ptq_awq_clip *clip, struct ptq_linear_report *report)
{
    double sum = 0;
    for (int i = 0; clip->max && i < PTQ_AWQ_CLIPS; i++) sum += (double)clip->at[i] * (1 - i / 20.0);
    report->alpha = choice->searched ? (double)choice->ratio / options->n_ratio : -1;
    report->clip = clip->max ? sum / (double)(clip->n * clip->n_groups) : 1;
}

void ptq_awq_clip_linear(struct ptq_block_task *task, int role, const struct ptq_awq_choice *choice,
                         struct ptq_arena *arena, struct ptq_awq_clip *clip)
{
    const struct ptq_awq_family *family;
    struct ptq_error err;
    if (ptq_awq_family(&task->model->config, &family, &err) || !(family->clipped >> role & 1)) return;
    const struct ptq_moments *m = &task->moments[ptq_role_input[role]];
    float *sample = ptq_awq_divided_copy(task->scratch, m->row, m->n_row, m->k, choice->scale);
    ptq_awq_clip_search(&task->spec->grid, &task->block->linear[role], sample, m->n_row, arena, task->scratch, clip);
}

enum ptq_status ptq_awq_block(struct ptq_block_task *task, const struct ptq_awq_options *options,
                              struct ptq_arena *arena, struct ptq_awq_report *report, struct ptq_error *err)
{
    PTQ_TRY(ptq_awq_transform(task, options, arena, report, err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_awq_choice *choice = &report->choice[ptq_role_input[role]];
        struct ptq_awq_clip *clip = &report->clip[role];
        if (!task->block->linear[role].n) continue;
        PTQ_TRY(ptq_interrupted(err));
        ptq_qmat_make(task->arena, &task->spec->grid, task->block->linear[role].n, choice->k, &task->q[role]);
        if (ptq_awq_can_there(task, role)) {
            PTQ_TRY(ptq_awq_linear_there(task, role, options->clip, report->choice, arena, clip, err));
        } else {
            if (options->clip) ptq_awq_clip_linear(task, role, choice, arena, clip);
            quantize_linear(task, role, clip);
        }
        ptq_awq_describe(options, choice, clip, &task->report[role]);
    }
    return PTQ_OK;
}

/* The moments of the calibration tell everything but what a module gives: for that the windows travel along. */
static unsigned need(const struct ptq_spec *spec)
{
    int module = (enum ptq_awq_loss)ptq_spec_value(spec, "loss") == PTQ_AWQ_MODULE;
    return PTQ_NEED_MOMENTS | (module ? PTQ_NEED_WINDOWS : PTQ_NEED_GRAM_ANYWHERE);
}

static enum ptq_status block_method(struct ptq_block_task *task, struct ptq_error *err)
{
    struct ptq_awq_options options = ptq_awq_options(task->spec);
    struct ptq_awq_report report;
    return ptq_awq_block(task, &options, task->scratch, &report, err);
}

static const struct ptq_param params[] = {
    {.name = "loss",
     .words = "module|gram",
     .max = 1,
     .doc = "a trial's error: of attention and MLP, or of each linear"},
    {.name = "clip", .fallback = 1, .max = 1, .doc = "1: weights are clipped to searched bounds"},
    PTQ_AWQ_SCALE_PARAMS,
    PTQ_ORDER_PARAM,
    {0},
};

extern const struct ptq_method ptq_method_awq;
const struct ptq_method ptq_method_awq = {
    .name = "awq",
    .summary = "activation-aware scales and clipping",
    .cite = "arXiv:2306.00978; llm-awq d6e797a",
    .param = params,
    .grid = {.w_bit = 3, .group_size = 128},
    .check = ptq_awq_check,
    .need = need,
    .block_method = block_method,
};
