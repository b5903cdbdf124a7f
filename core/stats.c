#include "stats.h"

#include "forward.h"
#include "mapped.h"
#include "ops.h"
#include "pool.h"
#include "progress.h"
#include "stats_cache.h"
#include "stats_parts.h"

#include <math.h>
#include <string.h>

enum { CHANNELS_A_TASK = 64, GRAM_COLUMNS = 128, LEVELS = PTQ_STATS_LEVELS };
/* Raised whenever what is gathered changes its meaning, so that no old cache is taken for it. */
static const char stats_version[] = "ptq-stats-2";

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- sums ---- */

int ptq_stats_level_power(int64_t rows)
{
    int log = 0;
    while ((int64_t)1 << log < rows) log++;
    return log / LEVELS > 4 ? log / LEVELS : 4;
}

/* After row number `at`: every level that is full goes into the next one. */
static void carry(const struct ptq_watched *w, int64_t at, int power, int64_t first, int64_t n)
{
    for (int level = 1; level < LEVELS; level++) {
        for (int64_t k = first; k < first + n; k++) {
            w->level[level][k] += w->level[level - 1][k];
            w->level[level - 1][k] = 0;
        }
        if (at & ((((int64_t)1 << power) - 1) << level * power)) return;
    }
}

struct input_task {
    const struct ptq_watched *w;
    const float *x;
    int64_t rows;
};

static void sum_channels(void *context, int64_t i, int worker)
{
    const struct input_task *t = context;
    int64_t k = t->w->means->k, first = i * CHANNELS_A_TASK, n = min64(CHANNELS_A_TASK, k - first), run;
    int power = ptq_stats_level_power(t->w->means->rows);
    (void)worker;
    for (int64_t row = 0; row < t->rows; row += run) {
        int64_t step = (int64_t)1 << power, at = t->w->seen + row;
        run = min64(step - at % step, t->rows - row);
        ptq_ops()->abssum(t->w->level[0] + first, t->x + row * k + first, k, run, n);
        if ((at + run) % step == 0) carry(t->w, at + run, power, first, n);
    }
}

/* The last columns are the longest: they are started first. */
static void gram_columns(void *context, int64_t i, int worker)
{
    const struct input_task *t = context;
    int64_t k = t->w->means->k, tiles = (k + GRAM_COLUMNS - 1) / GRAM_COLUMNS, first = (tiles - 1 - i) * GRAM_COLUMNS;
    (void)worker;
    ptq_ops()->gram(t->w->moments->gram, k, 1, t->x, k, t->rows, first, min64(GRAM_COLUMNS, k - first));
}

int64_t ptq_moments_stride(int64_t rows)
{
    return rows < PTQ_STATS_ROWS ? 1 : rows / PTQ_STATS_ROWS;
}

int64_t ptq_moments_rows(int64_t rows)
{
    return (rows + ptq_moments_stride(rows) - 1) / ptq_moments_stride(rows);
}

void ptq_stats_sample(const struct ptq_stats *s, const float *x, int64_t first, int64_t rows)
{
    for (int64_t i = 0; i < s->n_sample; i++) {
        int64_t row = i * s->rows / s->n_sample - first;
        if (row >= 0 && row < rows) memcpy(s->sample + i * s->k, x + row * s->k, sizeof *x * (size_t)s->k);
    }
}

static void copy_rows(const struct ptq_watched *w, const float *x, int64_t rows)
{
    int64_t k = w->means->k, stride = ptq_moments_stride(w->means->rows);
    ptq_stats_sample(w->means, x, w->seen, rows);
    for (int64_t i = (w->seen + stride - 1) / stride; w->moments && i * stride < w->seen + rows; i++)
        memcpy(w->moments->row + i * k, x + (i * stride - w->seen) * k, sizeof *x * (size_t)k);
}

static void seen(void *context, int64_t first_row, int64_t rows)
{
    struct ptq_watch *watch = context;
    (void)first_row;
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        struct ptq_watched *w = &watch->input[input];
        struct input_task task = {w, watch->tap->x[input], rows};
        ptq_parallel_for((w->means->k + CHANNELS_A_TASK - 1) / CHANNELS_A_TASK, sum_channels, &task);
        if (w->moments) ptq_parallel_for((w->means->k + GRAM_COLUMNS - 1) / GRAM_COLUMNS, gram_columns, &task);
        copy_rows(w, task.x, rows);
        w->seen += rows;
    }
}

/* ---- one block ---- */

static void make_means(struct ptq_arena *arena, const struct ptq_config *config, int64_t rows,
                       struct ptq_stats out[PTQ_N_INPUT])
{
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        struct ptq_stats *s = &out[input];
        s->k = ptq_input_width(config, (enum ptq_input)input);
        s->rows = rows;
        s->n_sample = min64(rows, PTQ_STATS_SAMPLE);
        s->absmean = ptq_new(arena, float, s->k);
        s->sample = ptq_new(arena, float, s->n_sample * s->k);
    }
}

void ptq_moments_make(struct ptq_arena *arena, const struct ptq_stats like[PTQ_N_INPUT], int without_gram,
                      struct ptq_moments out[PTQ_N_INPUT])
{
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        int64_t k = like[input].k;
        out[input] = (struct ptq_moments){.k = k, .n_row = ptq_moments_rows(like[input].rows)};
        if (!without_gram) out[input].gram = ptq_new(arena, float, k *k);
        out[input].row = ptq_new(arena, float, out[input].n_row *k);
    }
}

void ptq_watch_begin(struct ptq_arena *arena, struct ptq_stats means[PTQ_N_INPUT], struct ptq_watch *out)
{
    *out = (struct ptq_watch){0};
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        out->input[input].means = &means[input];
        for (int level = 0; level < LEVELS; level++)
            out->input[input].level[level] = ptq_new(arena, float, means[input].k);
    }
}

void ptq_watch_end(struct ptq_watch *watch)
{
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        struct ptq_watched *w = &watch->input[input];
        int64_t size = w->means->k;
        for (int64_t k = 0; k < size; k++) {
            for (int level = 1; level < LEVELS; level++) w->level[0][k] += w->level[level][k];
            w->means->absmean[k] = w->level[0][k] / (float)w->means->rows;
        }
        /* The tiles write a little below the diagonal. */
        for (int64_t i = 1; w->moments && w->moments->gram && i < size; i++)
            memset(w->moments->gram + i * size, 0, sizeof(float) * (size_t)i);
    }
}

static void make_tap(struct ptq_arena *arena, const struct ptq_forward *f, struct ptq_tap *tap)
{
    *tap = (struct ptq_tap){.seen = seen};
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        int64_t k = ptq_input_width(&f->model->config, (enum ptq_input)input);
        tap->x[input] = ptq_new(arena, float, f->batch_windows * f->length * k);
    }
}

static enum ptq_status watch_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                   struct ptq_tap *tap, struct ptq_watch *watch, struct ptq_moments *moments,
                                   struct ptq_error *err)
{
    for (int input = 0; input < PTQ_N_INPUT; input++) watch->input[input].moments = moments ? &moments[input] : NULL;
    if (f->offload && !ptq_offload_checks()) return ptq_far_block(f, block, index, watch, err);
    tap->context = watch;
    watch->tap = tap;
    return ptq_forward_block(f, block, index, tap, err);
}

enum ptq_status ptq_stats_block(struct ptq_arena *arena, struct ptq_forward *f, const struct ptq_block *block,
                                int64_t index, struct ptq_stats means[PTQ_N_INPUT],
                                struct ptq_moments moments[PTQ_N_INPUT], struct ptq_error *err)
{
    struct ptq_tap tap;
    struct ptq_watch watch;
    make_means(arena, &f->model->config, f->windows * f->length, means);
    ptq_moments_make(arena, means, 0, moments);
    ptq_watch_begin(arena, means, &watch);
    make_tap(arena, f, &tap);
    PTQ_TRY(watch_block(f, block, index, &tap, &watch, moments, err));
    ptq_watch_end(&watch);
    return PTQ_OK;
}

/* ---- the model ---- */

struct gather {
    const struct ptq_model *model;
    const struct ptq_windows *windows;
    int with_moments;
    struct ptq_arena *arena, *work;
    struct ptq_watch *watch; /* [blocks] */
    struct ptq_model_stats *out;
    struct ptq_progress progress;
};

/* The block's moments to where they stay: a file, or, where none can be written, memory. */
static void keep_moments(struct gather *g, int64_t b, const struct ptq_moments *moments)
{
    struct ptq_error cache;
    if (g->out->folder && ptq_moments_store(g->out->folder, b, moments, &cache) == PTQ_OK) return;
    struct ptq_moments *kept = g->out->moments[b];
    ptq_moments_make(g->arena, g->out->input[b], 0, kept);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        int64_t k = kept[input].k;
        memcpy(kept[input].gram, moments[input].gram, sizeof(float) * (size_t)(k * k));
        memcpy(kept[input].row, moments[input].row, sizeof(float) * (size_t)(kept[input].n_row * k));
    }
}

static enum ptq_status gather_block(struct gather *g, struct ptq_forward *f, int64_t b, int last, struct ptq_tap *tap,
                                    struct ptq_error *err)
{
    struct ptq_block block;
    struct ptq_moments moments[PTQ_N_INPUT];
    PTQ_TRY(ptq_interrupted(err));
    PTQ_TRY(ptq_block_load(g->model, b, g->work, &block, err));
    if (g->with_moments) ptq_moments_make(g->work, g->out->input[b], 0, moments);
    PTQ_TRY(watch_block(f, &block, b, tap, &g->watch[b], g->with_moments ? moments : NULL, err));
    if (last) ptq_watch_end(&g->watch[b]);
    if (g->with_moments) keep_moments(g, b, moments);
    ptq_progress_step(&g->progress, (double)f->windows);
    return PTQ_OK;
}

/* Sums are kept from one chunk of windows to the next. Moments are too large for that: with them there is one chunk,
 * whose activations take windows * length * C floats, as they do for GPTQ. */
static enum ptq_status gather_all(struct gather *g, struct ptq_error *err)
{
    const struct ptq_windows *w = g->windows;
    int64_t chunk = g->with_moments ? w->n : ptq_forward_chunk(g->model, w->length);
    g->watch = ptq_new(g->work, struct ptq_watch, g->out->blocks);
    for (int64_t b = 0; b < g->out->blocks; b++) ptq_watch_begin(g->work, g->out->input[b], &g->watch[b]);
    ptq_progress_begin(&g->progress, "calibration", (double)(w->n * g->out->blocks));
    for (int64_t first = 0; first < w->n; first += chunk) {
        struct ptq_mark mark = ptq_arena_mark(g->work);
        struct ptq_forward f;
        struct ptq_tap tap;
        ptq_forward_make(g->work, g->model, w->id + first * w->length, min64(chunk, w->n - first), w->length, &f);
        make_tap(g->work, &f, &tap);
        PTQ_TRY(ptq_forward_embed(&f, err));
        for (int64_t b = 0; b < g->out->blocks; b++) {
            struct ptq_mark inner = ptq_arena_mark(g->work);
            PTQ_TRY(gather_block(g, &f, b, first + chunk >= w->n, &tap, err));
            ptq_arena_rewind(g->work, inner);
        }
        ptq_arena_rewind(g->work, mark);
    }
    ptq_progress_end(&g->progress);
    return PTQ_OK;
}

void ptq_stats_make(struct ptq_arena *arena, const struct ptq_model *model, int64_t rows, int with_moments,
                    struct ptq_model_stats *out)
{
    *out = (struct ptq_model_stats){.blocks = model->config.blocks, .has_moments = with_moments};
    out->input = ptq_alloc_array(arena, (size_t)out->blocks, sizeof *out->input, "statistics");
    out->moments = ptq_alloc_array(arena, (size_t)out->blocks, sizeof *out->moments, "moments");
    for (int64_t b = 0; b < out->blocks; b++) make_means(arena, &model->config, rows, out->input[b]);
}

static enum ptq_status gather(struct ptq_arena *arena, const struct ptq_model *model, const struct ptq_windows *windows,
                              struct ptq_model_stats *out, struct ptq_error *err)
{
    struct gather g = {.model = model, .windows = windows, .arena = arena, .out = out};
    g.with_moments = out->has_moments;
    g.work = ptq_arena_make("calibration");
    enum ptq_status status = gather_all(&g, err);
    ptq_arena_free(g.work);
    return status ? ptq_within(err, "calibration") : PTQ_OK;
}

enum ptq_status ptq_stats_gather(struct ptq_arena *arena, const struct ptq_model *model,
                                 const struct ptq_windows *windows, int with_moments, struct ptq_model_stats *out,
                                 struct ptq_error *err)
{
    ptq_stats_make(arena, model, windows->n * windows->length, with_moments, out);
    return gather(arena, model, windows, out, err);
}

int ptq_stats_stand(const struct ptq_model_stats *stats)
{
    int there = 1;
    for (int64_t b = 0; stats->has_moments && there && b < stats->blocks; b++)
        there = stats->moments[b][0].gram || ptq_moments_are_there(stats->folder, b);
    return there;
}

enum ptq_status ptq_stats_moments(const struct ptq_model_stats *stats, int64_t block, struct ptq_arena *arena,
                                  struct ptq_moments out[PTQ_N_INPUT], struct ptq_error *err)
{
    if (stats->travel) return ptq_travel_moments(stats, block, out, err);
    if (!stats->moments[block][0].gram)
        return ptq_moments_fetch(stats->folder, block, stats->input[block], arena, out, err);
    memcpy(out, stats->moments[block], sizeof *out * PTQ_N_INPUT);
    return PTQ_OK;
}

enum ptq_status ptq_stats_get(struct ptq_arena *arena, const struct ptq_model *model, const char *identity,
                              const struct ptq_windows *windows, int with_moments, const char *folder,
                              struct ptq_model_stats *out, struct ptq_error *err)
{
    if (!folder) return ptq_stats_gather(arena, model, windows, with_moments, out, err);
    char key[PTQ_SHA256_HEX];
    /* Other kernels or another BLAS sum in another order: theirs is another cache entry. */
    const char *what = ptq_format(arena, "%s %s %s %lldx%lld %s %s", stats_version, identity, windows->sha256,
                                  (long long)windows->n, (long long)windows->length, ptq_ops()->name, ptq_blas_name());
    ptq_sha256(what, strlen(what), key);
    const char *path = ptq_format(arena, "%s/%s.h5", folder, key);
    struct ptq_error cache;
    ptq_stats_make(arena, model, windows->n * windows->length, with_moments, out);
    out->folder = ptq_format(arena, "%s/%s.blocks", folder, key);
    /* What cannot be had of the cache is measured again. */
    if (ptq_is_file(path) && ptq_means_fetch(path, out, &cache) == PTQ_OK && ptq_stats_stand(out)) {
        out->from_cache = 1;
        return PTQ_OK;
    }
    PTQ_TRY(gather(arena, model, windows, out, err));
    if (ptq_make_folder(folder, &cache) == PTQ_OK) ptq_means_store(path, out, &cache);
    return PTQ_OK;
}
