/* Statistics of a pass on a device: rows stay there, sums are made there; what comes back is small, but for the Gram
 * matrices of those who want them here. */
#include "forward.h"
#include "progress.h"
#include "stats_parts.h"

#include <string.h>

/* ---- one block ---- */

static void lay_out(struct ptq_far *far, struct ptq_carve *c)
{
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const struct ptq_watched *w = &far->watch->input[input];
        int64_t k = w->means->k;
        far->input[input].level = ptq_carve_floats(c, PTQ_STATS_LEVELS * k);
        far->input[input].sample = ptq_carve_floats(c, w->means->n_sample * k);
        far->input[input].row = w->moments ? ptq_carve_floats(c, w->moments->n_row * k) : NULL;
        far->input[input].gram = w->moments ? ptq_carve_floats(c, k * k) : NULL;
    }
}

/* Room where there is none yet, and what the watch knows already. */
static enum ptq_status take(struct ptq_far *far, struct ptq_error *err)
{
    struct ptq_carve c = {0};
    if (!far->room) {
        lay_out(far, &c);
        far->bytes = c.used;
        far->room = ptq_offload_take(far->device, far->bytes);
    }
    if (!far->room)
        return ptq_fail(err, PTQ_EDEVICE,
                        "%s: statistics of a block need %zu bytes of device memory, and %zu bytes are free; calibrate "
                        "with --device cpu",
                        far->device->name, far->bytes, far->device->room());
    c = (struct ptq_carve){.base = far->room};
    lay_out(far, &c);
    far->device->solver.clear(far->room, far->bytes);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const struct ptq_watched *w = &far->watch->input[input];
        far->input[input].first = w->seen;
        for (int level = 0; w->seen && level < PTQ_STATS_LEVELS; level++)
            far->device->upload(far->input[input].level + level * w->means->k, w->level[level],
                                sizeof(float) * (size_t)w->means->k);
    }
    return PTQ_OK;
}

static void give(struct ptq_far *far)
{
    ptq_offload_give(far->device, far->room, far->bytes);
    far->room = NULL;
}

static int64_t sample_row(const struct ptq_stats *s, int64_t i)
{
    return i * s->rows / s->n_sample;
}

/* Some rows of x, those that are sample and those that are moments'. */
static void copy_rows(const struct ptq_far *far, enum ptq_input input, const float *x, int64_t rows)
{
    const struct ptq_watched *w = &far->watch->input[input];
    int64_t k = w->means->k, stride = ptq_moments_stride(w->means->rows);
    size_t bytes = sizeof *x * (size_t)k;
    void (*copy)(void *, const void *, size_t) = far->device->solver.copy;
    for (int64_t i = 0; i < w->means->n_sample; i++) {
        int64_t row = sample_row(w->means, i) - w->seen;
        if (row >= 0 && row < rows) copy(far->input[input].sample + i * k, x + row * k, bytes);
    }
    for (int64_t i = (w->seen + stride - 1) / stride; w->moments && i * stride < w->seen + rows; i++)
        copy(far->input[input].row + i * k, x + (i * stride - w->seen) * k, bytes);
}

static void look(void *context, enum ptq_input input, const float *x, const struct ptq_split *parts)
{
    struct ptq_far *far = context;
    struct ptq_watched *w = &far->watch->input[input];
    const struct ptq_device_solver *solver = &far->device->solver;
    solver->absmean(far->input[input].level, PTQ_STATS_LEVELS, ptq_stats_level_power(w->means->rows), w->seen, x,
                    parts->m, parts->k);
    if (w->moments) {
        ptq_device_lap(far->device, "forward");
        solver->gram(far->input[input].gram, parts);
        ptq_device_lap(far->device, "gram");
    }
    copy_rows(far, input, x, parts->m);
    w->seen += parts->m;
}

/* What was seen, to the host; Gram matrices where it has room for them. */
static void fetch(const struct ptq_far *far)
{
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const struct ptq_watched *w = &far->watch->input[input];
        const struct ptq_stats *s = w->means;
        size_t row = sizeof(float) * (size_t)s->k;
        for (int level = 0; level < PTQ_STATS_LEVELS; level++)
            far->device->download(w->level[level], far->input[input].level + level * s->k, row);
        int64_t begin = 0, end;
        while (begin < s->n_sample && sample_row(s, begin) < far->input[input].first) begin++;
        for (end = begin; end < s->n_sample && sample_row(s, end) < w->seen;) end++;
        far->device->download(s->sample + begin * s->k, far->input[input].sample + begin * s->k,
                              row * (size_t)(end - begin));
        if (!w->moments) continue;
        far->device->download(w->moments->row, far->input[input].row, row * (size_t)w->moments->n_row);
        if (w->moments->gram) far->device->download(w->moments->gram, far->input[input].gram, row * (size_t)s->k);
    }
}

enum ptq_status ptq_far_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                              struct ptq_watch *watch, struct ptq_error *err)
{
    struct ptq_far far = {.device = f->offload->device, .watch = watch};
    struct ptq_tap tap = {.there = look, .context = &far};
    PTQ_TRY(take(&far, err));
    enum ptq_status status = ptq_forward_block(f, block, index, &tap, err);
    if (!status) fetch(&far);
    give(&far);
    return status;
}

/* ---- block after block, as they are asked for ---- */

struct ptq_stats_travel {
    const struct ptq_model *model;
    struct ptq_model_stats *stats;
    struct ptq_arena *blocks, *work; /* a loaded block; what one block's sums take here */
    struct ptq_forward f;
    struct ptq_far far;
    struct ptq_watch watch;
    struct ptq_moments moments[PTQ_N_INPUT];
    struct ptq_block block;
    int64_t loaded, queued, next; /* blocks: in `block` or -1; on its way or -1; the one that x is at the input of */
};

static void free_travel(void *context)
{
    struct ptq_stats_travel *t = context;
    ptq_offload_settle();
    give(&t->far);
    ptq_arena_free(t->blocks);
    ptq_arena_free(t->work);
}

void ptq_stats_travel(struct ptq_arena *arena, const struct ptq_model *model, const struct ptq_windows *windows,
                      struct ptq_model_stats *out)
{
    struct ptq_stats_travel *t = ptq_new(arena, struct ptq_stats_travel, 1);
    ptq_stats_make(arena, model, windows->n * windows->length, 1, out);
    out->travel = t;
    t->model = model;
    t->stats = out;
    t->blocks = ptq_arena_make("a block of the calibration");
    t->work = ptq_arena_make("calibration");
    ptq_forward_make(arena, model, windows->id, windows->n, windows->length, &t->f);
    t->far.device = model->device;
    t->far.watch = &t->watch;
    t->loaded = t->queued = -1;
    t->next = out->blocks; /* nothing is embedded yet */
    ptq_arena_defer(arena, free_travel, t);
}

static enum ptq_status load(struct ptq_stats_travel *t, int64_t block, struct ptq_error *err)
{
    if (t->loaded == block || block >= t->stats->blocks) return PTQ_OK;
    ptq_arena_free(t->blocks);
    t->blocks = ptq_arena_make("a block of the calibration");
    t->loaded = -1;
    PTQ_TRY(ptq_block_load(t->model, block, t->blocks, &t->block, err));
    t->loaded = block;
    return PTQ_OK;
}

/* Queues the block that is next. */
static enum ptq_status start(struct ptq_stats_travel *t, struct ptq_error *err)
{
    struct ptq_tap tap = {.there = look, .context = &t->far};
    PTQ_TRY(ptq_interrupted(err));
    PTQ_TRY(load(t, t->next, err));
    ptq_arena_free(t->work);
    t->work = ptq_arena_make("calibration");
    ptq_watch_begin(t->work, t->stats->input[t->next], &t->watch);
    ptq_moments_make(t->work, t->stats->input[t->next], 1, t->moments);
    for (int input = 0; input < PTQ_N_INPUT; input++) t->watch.input[input].moments = &t->moments[input];
    PTQ_TRY(take(&t->far, err));
    PTQ_TRY(ptq_offload_begin(&t->f, &t->block, err));
    ptq_offload_parts_later(&t->f, &t->block, PTQ_PART_ATTN_IN, PTQ_PART_END, &tap);
    t->queued = t->next++;
    return PTQ_OK;
}

static enum ptq_status finish(struct ptq_stats_travel *t, struct ptq_error *err)
{
    int64_t block = t->queued;
    t->queued = -1;
    PTQ_TRY(ptq_offload_end(&t->f, block, err));
    fetch(&t->far);
    ptq_watch_end(&t->watch);
    return PTQ_OK;
}

enum ptq_status ptq_travel_moments(const struct ptq_model_stats *stats, int64_t block,
                                   struct ptq_moments out[PTQ_N_INPUT], struct ptq_error *err)
{
    struct ptq_stats_travel *t = stats->travel;
    if (t->queued != block && t->next > block) {
        ptq_offload_settle();
        t->queued = -1;
        t->next = 0;
        PTQ_TRY(ptq_forward_embed(&t->f, err));
    }
    for (;;) {
        if (t->queued < 0) PTQ_TRY(start(t, err));
        if (t->queued == block) break;
        PTQ_TRY(finish(t, err));
    }
    PTQ_TRY(load(t, block + 1, err)); /* while the device works */
    PTQ_TRY(finish(t, err));
    ptq_device_lap(t->far.device, "forward");
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        out[input] = t->moments[input];
        out[input].there = t->far.input[input].gram;
        out[input].pass = &t->f;
    }
    return PTQ_OK;
}

enum ptq_status ptq_stats_go_on(const struct ptq_model_stats *stats, struct ptq_error *err)
{
    struct ptq_stats_travel *t = stats ? stats->travel : NULL;
    return t && t->queued < 0 && t->next < stats->blocks ? start(t, err) : PTQ_OK;
}
