#include "stats.h"

#include "forward.h"
#include "h5.h"
#include "mapped.h"
#include "ops.h"
#include "pool.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHANNELS_A_TASK = 64 };
/* Raised whenever what is gathered changes its meaning, so that no old cache is taken for it. */
static const char stats_version[] = "ptq-stats-1";

struct gather {
    const struct ptq_config *config;
    struct ptq_stats *stats;  /* [PTQ_N_INPUT] of the block in work */
    double *sum[PTQ_N_INPUT]; /* [K] */
    const struct ptq_tap *tap;
    int64_t chunk_first, batch_first, rows, total; /* rows: of the batch; total: of the calibration */
};

struct sum_task {
    const struct gather *g;
    int input;
};

static void sum_channels(void *context, int64_t i, int worker)
{
    const struct sum_task *t = context;
    const struct ptq_stats *s = &t->g->stats[t->input];
    int64_t first = i * CHANNELS_A_TASK, n = s->k - first < CHANNELS_A_TASK ? s->k - first : CHANNELS_A_TASK;
    (void)worker;
    ptq_ops()->absmean(t->g->sum[t->input] + first, t->g->tap->x[t->input] + first, s->k, t->g->rows, n);
}

/* Sample i is row floor(i * total / n_sample) of the whole calibration. */
static void copy_samples(const struct gather *g, int input)
{
    struct ptq_stats *s = &g->stats[input];
    int64_t first = g->chunk_first + g->batch_first;
    for (int64_t i = 0; i < s->n_sample; i++) {
        int64_t row = i * g->total / s->n_sample - first;
        if (row < 0 || row >= g->rows) continue;
        memcpy(s->sample + i * s->k, g->tap->x[input] + row * s->k, sizeof(float) * (size_t)s->k);
    }
}

static void seen(void *context, int64_t first_row, int64_t rows)
{
    struct gather *g = context;
    g->batch_first = first_row;
    g->rows = rows;
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        struct sum_task task = {g, input};
        ptq_parallel_for((g->stats[input].k + CHANNELS_A_TASK - 1) / CHANNELS_A_TASK, sum_channels, &task);
        copy_samples(g, input);
    }
}

static void make_stats(struct ptq_arena *arena, const struct ptq_model *model, int64_t rows,
                       struct ptq_model_stats *out)
{
    out->blocks = model->config.blocks;
    out->from_cache = 0;
    out->input = ptq_alloc_array(arena, (size_t)out->blocks, sizeof *out->input, "statistics");
    for (int64_t b = 0; b < out->blocks; b++)
        for (int input = 0; input < PTQ_N_INPUT; input++) {
            struct ptq_stats *s = &out->input[b][input];
            s->k = ptq_input_width(&model->config, input);
            s->rows = rows;
            s->n_sample = rows < PTQ_STATS_SAMPLE ? rows : PTQ_STATS_SAMPLE;
            s->absmean = ptq_new(arena, float, s->k);
            s->sample = ptq_new(arena, float, s->n_sample * s->k);
        }
}

/* One chunk of windows through all blocks; sums are kept for the next chunk. */
static enum ptq_status gather_chunk(struct ptq_arena *work, const struct ptq_model *model, struct ptq_forward *f,
                                    struct gather *g, double *(*sum)[PTQ_N_INPUT], struct ptq_model_stats *out,
                                    struct ptq_progress *progress, struct ptq_error *err)
{
    struct ptq_tap tap = {.seen = seen, .context = g};
    for (int input = 0; input < PTQ_N_INPUT; input++)
        tap.x[input] = ptq_new(work, float, f->batch_windows * f->length * ptq_input_width(g->config, input));
    g->tap = &tap;
    PTQ_TRY(ptq_forward_embed(f, err));
    for (int64_t b = 0; b < out->blocks; b++) {
        struct ptq_mark mark = ptq_arena_mark(work);
        struct ptq_block block;
        PTQ_TRY(ptq_interrupted(err));
        PTQ_TRY(ptq_block_load(model, b, work, &block, err));
        g->stats = out->input[b];
        memcpy(g->sum, sum[b], sizeof g->sum);
        PTQ_TRY(ptq_forward_block(f, &block, b, &tap, err));
        ptq_arena_rewind(work, mark);
        ptq_progress_step(progress, (double)f->windows);
    }
    return PTQ_OK;
}

static enum ptq_status gather_all(struct ptq_arena *work, const struct ptq_model *model, const struct ptq_windows *w,
                                  struct ptq_model_stats *out, struct ptq_error *err)
{
    double *(*sum)[PTQ_N_INPUT] = ptq_alloc_array(work, (size_t)out->blocks, sizeof *sum, "sums");
    for (int64_t b = 0; b < out->blocks; b++)
        for (int input = 0; input < PTQ_N_INPUT; input++) sum[b][input] = ptq_new(work, double, out->input[b][input].k);
    struct gather g = {.config = &model->config, .total = w->n * w->length};
    struct ptq_progress progress;
    ptq_progress_begin(&progress, "calibration", (double)(w->n * out->blocks));
    int64_t chunk = ptq_forward_chunk(model, w->length);
    for (int64_t first = 0; first < w->n; first += chunk) {
        struct ptq_mark mark = ptq_arena_mark(work);
        struct ptq_forward f;
        int64_t n = w->n - first < chunk ? w->n - first : chunk;
        g.chunk_first = first * w->length;
        ptq_forward_make(work, model, w->id + first * w->length, n, w->length, &f);
        PTQ_TRY(gather_chunk(work, model, &f, &g, sum, out, &progress, err));
        ptq_arena_rewind(work, mark);
    }
    ptq_progress_end(&progress);
    for (int64_t b = 0; b < out->blocks; b++)
        for (int input = 0; input < PTQ_N_INPUT; input++) {
            struct ptq_stats *s = &out->input[b][input];
            for (int64_t k = 0; k < s->k; k++) s->absmean[k] = (float)(sum[b][input][k] / (double)s->rows);
        }
    return PTQ_OK;
}

enum ptq_status ptq_stats_gather(struct ptq_arena *arena, const struct ptq_model *model,
                                 const struct ptq_windows *windows, struct ptq_model_stats *out, struct ptq_error *err)
{
    make_stats(arena, model, windows->n * windows->length, out);
    struct ptq_arena *work = ptq_arena_make("calibration");
    enum ptq_status status = gather_all(work, model, windows, out, err);
    ptq_arena_free(work);
    return status ? ptq_within(err, "calibration") : PTQ_OK;
}

/* ---- the cache ---- */

static void group_name(char out[64], int64_t block, int input)
{
    snprintf(out, 64, "/block%lld/%s", (long long)block, ptq_input_name[input]);
}

static enum ptq_status store(const char *path, const struct ptq_model_stats *stats, struct ptq_error *err)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_create(path, &file, err));
    enum ptq_status status = PTQ_OK;
    for (int64_t b = 0; !status && b < stats->blocks; b++)
        for (int input = 0; !status && input < PTQ_N_INPUT; input++) {
            const struct ptq_stats *s = &stats->input[b][input];
            char group[64];
            group_name(group, b, input);
            status = ptq_h5_put_floats(file, group, "absmean", s->absmean, 1, s->k, err);
            if (!status) status = ptq_h5_put_floats(file, group, "sample", s->sample, s->n_sample, s->k, err);
        }
    if (!status) return ptq_h5_commit(file, err);
    ptq_h5_abandon(file);
    return status;
}

static enum ptq_status fetch_floats(struct ptq_h5 *file, const char *group, const char *name, float *out, int64_t rows,
                                    int64_t columns, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("cached statistics");
    float *data;
    int64_t r, c;
    enum ptq_status status = ptq_h5_floats(file, group, name, arena, &data, &r, &c, err);
    if (!status && r * c != rows * columns) status = ptq_fail(err, PTQ_EINPUT, "%s/%s has another size", group, name);
    for (int64_t i = 0; !status && i < rows * columns; i++) {
        if (!isfinite(data[i])) status = ptq_fail(err, PTQ_EINPUT, "%s/%s is not finite", group, name);
        out[i] = data[i];
    }
    ptq_arena_free(arena);
    return status;
}

static enum ptq_status fetch(const char *path, struct ptq_model_stats *out, struct ptq_error *err)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_open(path, &file, err));
    enum ptq_status status = PTQ_OK;
    for (int64_t b = 0; !status && b < out->blocks; b++)
        for (int input = 0; !status && input < PTQ_N_INPUT; input++) {
            struct ptq_stats *s = &out->input[b][input];
            char group[64];
            group_name(group, b, input);
            status = fetch_floats(file, group, "absmean", s->absmean, 1, s->k, err);
            if (!status) status = fetch_floats(file, group, "sample", s->sample, s->n_sample, s->k, err);
        }
    ptq_h5_close(file);
    return status;
}

enum ptq_status ptq_stats_get(struct ptq_arena *arena, const struct ptq_model *model, const char *identity,
                              const struct ptq_windows *windows, const char *folder, struct ptq_model_stats *out,
                              struct ptq_error *err)
{
    if (!folder) return ptq_stats_gather(arena, model, windows, out, err);
    char key[PTQ_SHA256_HEX];
    /* Other kernels or another BLAS sum in another order: theirs is another cache entry. */
    const char *what = ptq_format(arena, "%s %s %s %lldx%lld %s %s", stats_version, identity, windows->sha256,
                                  (long long)windows->n, (long long)windows->length, ptq_ops()->name, ptq_blas_name());
    ptq_sha256(what, strlen(what), key);
    const char *path = ptq_format(arena, "%s/%s.h5", folder, key);
    struct ptq_error cache;
    make_stats(arena, model, windows->n * windows->length, out);
    if (ptq_is_file(path) && fetch(path, out, &cache) == PTQ_OK) {
        out->from_cache = 1;
        return PTQ_OK;
    }
    PTQ_TRY(ptq_stats_gather(arena, model, windows, out, err));
    if (ptq_make_folder(folder, &cache) == PTQ_OK) store(path, out, &cache);
    return PTQ_OK;
}
