#include "awq_probe.h"

#include "awq_gram.h"
#include "pool.h"

#include <math.h>
#include <string.h>

enum { TILE = 256 };

struct ptq_awq_probe {
    struct ptq_forward f; /* of one batch */
    int64_t index, windows, batch;
    const float *x;
    float *original; /* [rows][C] */
    double *sum;     /* of a batch's tiles */
    int64_t first;   /* row of the batch at work */
};

/* One batch through block, from the probe's own input. */
static enum ptq_status run(struct ptq_awq_probe *p, const struct ptq_block *block, int64_t window,
                           struct ptq_error *err)
{
    int64_t c = p->f.model->config.width;
    p->f.windows = p->windows - window < p->batch ? p->windows - window : p->batch;
    p->first = window * p->f.length;
    memcpy(p->f.x, p->x + p->first * c, sizeof(float) * (size_t)(p->f.windows * p->f.length * c));
    p->f.away = 0;
    PTQ_TRY(ptq_forward_block(&p->f, block, p->index, NULL, err));
    ptq_forward_here(&p->f);
    return PTQ_OK;
}

enum ptq_status ptq_awq_probe_make(struct ptq_arena *arena, const struct ptq_block_task *task, const float *x,
                                   struct ptq_awq_probe **out, struct ptq_error *err)
{
    const struct ptq_forward *calib = task->calib;
    int64_t c = task->model->config.width, rows = calib->windows * calib->length;
    struct ptq_awq_probe *p = *out = ptq_new(arena, struct ptq_awq_probe, 1);
    *p = (struct ptq_awq_probe){.index = task->index, .windows = calib->windows, .batch = calib->batch_windows, .x = x};
    ptq_forward_make(arena, task->model, NULL, p->batch, calib->length, &p->f);
    p->original = ptq_new(arena, float, rows *c);
    p->sum = ptq_new(arena, double, p->batch * calib->length / TILE + 1);
    for (int64_t window = 0; window < p->windows; window += p->batch) {
        PTQ_TRY(run(p, task->block, window, err));
        memcpy(p->original + p->first * c, p->f.x, sizeof(float) * (size_t)(p->f.windows * p->f.length * c));
    }
    return PTQ_OK;
}

static void compare_tile(void *context, int64_t i, int worker)
{
    struct ptq_awq_probe *p = context;
    int64_t c = p->f.model->config.width, rows = p->f.windows * p->f.length - i * TILE;
    float *y = p->f.x + i * TILE * c;
    const float *original = p->original + (p->first + i * TILE) * c;
    (void)worker;
    if (rows > TILE) rows = TILE;
    for (int64_t j = 0; j < rows * c; j++) y[j] -= original[j];
    p->sum[i] = ptq_awq_dot(y, y, rows * c);
}

double ptq_awq_probe_loss(struct ptq_awq_probe *p, const struct ptq_block *block, double limit)
{
    double sum = 0;
    for (int64_t window = 0; window < p->windows && !(sum > limit); window += p->batch) {
        struct ptq_error err;
        if (run(p, block, window, &err)) return INFINITY;
        int64_t tiles = (p->f.windows * p->f.length + TILE - 1) / TILE;
        ptq_parallel_for(tiles, compare_tile, p);
        for (int64_t i = 0; i < tiles; i++) sum += p->sum[i];
    }
    return sum;
}
