#include "awq_clip.h"

#include "awq_gram.h"
#include "grid.h"
#include "ops.h"
#include "pool.h"

#include <math.h>
#include <string.h>

enum { ROWS_A_TASK = 16, TRIALS = ROWS_A_TASK * PTQ_AWQ_CLIPS };

/* One worker's room for the trials of one group of ROWS_A_TASK rows. */
struct room {
    float *cut, *error; /* [TRIALS][G] */
    float *product;     /* [TRIALS][max(G, samples)] */
    struct ptq_qmat q;  /* [TRIALS][G], one group a row */
};

struct clip_task {
    const struct ptq_grid *grid;
    const struct ptq_linear *linear;
    int64_t g, n_sample;
    int by_gram;    /* measure[group] is H_g [G][G]; else the sample's columns [n_sample][G] */
    float *measure; /* [n_groups] of those */
    struct room *room;
    struct ptq_awq_clip *out;
    int *best; /* [N][n_groups] */
};

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- what tells an error, by group ---- */

static int64_t measure_size(const struct clip_task *t)
{
    return (t->by_gram ? t->g : t->n_sample) * t->g;
}

/* By group [G'][G'] or [n_sample][G'], G' <= G where the last group is shorter. */
static void make_measure(struct clip_task *t, const float *sample, struct ptq_arena *scratch)
{
    int64_t k = t->linear->k, groups = t->out->n_groups;
    t->measure = ptq_new(scratch, float, groups *measure_size(t));
    for (int64_t group = 0; group < groups; group++) {
        int64_t first = group * t->g, columns = min64(t->g, k - first);
        float *to = t->measure + group * measure_size(t);
        if (t->by_gram) {
            ptq_ops()->gram(to, columns, 1, sample + first, k, t->n_sample, 0, columns);
            ptq_awq_mirror(to, columns);
        } else {
            for (int64_t i = 0; i < t->n_sample; i++)
                memcpy(to + i * columns, sample + i * k + first, sizeof *to * (size_t)columns);
        }
    }
}

/* ---- trials ---- */

static float largest(const float *w, int64_t n)
{
    float lo, hi;
    ptq_ops()->minmax(w, n, &lo, &hi);
    return fmaxf(fabsf(lo), fabsf(hi));
}

static float bound(float most, int i)
{
    return most * (float)(1 - i / 20.0);
}

static float cut(float w, float limit)
{
    return w < -limit ? -limit : w > limit ? limit : w;
}

/* product[trial] = what each trial's error gives: H e, or X e. */
static void weigh(const struct clip_task *t, struct room *room, int64_t group, int64_t columns, int64_t trials)
{
    int64_t n = t->by_gram ? columns : t->n_sample;
    ptq_ops()->linear(room->product, n, room->error, columns, t->measure + group * measure_size(t), NULL, 0, trials, n,
                      columns);
}

static double trial_loss(const struct clip_task *t, const struct room *room, int64_t trial, int64_t columns)
{
    if (t->by_gram) return ptq_awq_dot(room->error + trial * columns, room->product + trial * columns, columns);
    const float *y = room->product + trial * t->n_sample;
    return ptq_awq_dot(y, y, t->n_sample);
}

/* Task i: ROWS_A_TASK rows of one group, the groups of the same rows one after the other. */
static void clip_rows(void *context, int64_t i, int worker)
{
    const struct clip_task *t = context;
    struct room *room = &t->room[worker];
    int64_t groups = t->out->n_groups, k = t->linear->k, group = i % groups, first = i / groups * ROWS_A_TASK;
    int64_t columns = min64(t->g, k - group * t->g), rows = min64(ROWS_A_TASK, t->linear->n - first);
    int64_t trials = rows * PTQ_AWQ_CLIPS;
    const float *w = t->linear->w + first * k + group * t->g;
    for (int64_t r = 0; r < rows; r++) {
        float most = largest(w + r * k, columns);
        for (int c = 0; c < PTQ_AWQ_CLIPS; c++)
            for (int64_t j = 0; j < columns; j++)
                room->cut[(r * PTQ_AWQ_CLIPS + c) * columns + j] = cut(w[r * k + j], bound(most, c));
    }
    room->q.k = columns;
    ptq_grid_quantize_rows(&room->q, room->cut, 0, trials);
    ptq_ops()->dequantize(room->error, &room->q, 0, trials);
    for (int64_t trial = 0; trial < trials; trial++)
        for (int64_t j = 0; j < columns; j++) room->error[trial * columns + j] -= w[trial / PTQ_AWQ_CLIPS * k + j];
    weigh(t, room, group, columns, trials);
    for (int64_t r = 0; r < rows; r++) {
        int best = 0;
        double least = trial_loss(t, room, r * PTQ_AWQ_CLIPS, columns);
        for (int c = 1; c < PTQ_AWQ_CLIPS; c++) {
            double loss = trial_loss(t, room, r * PTQ_AWQ_CLIPS + c, columns);
            if (loss < least) least = loss, best = c;
        }
        t->out->max[(first + r) * groups + group] = bound(largest(w + r * k, columns), best);
        t->best[(first + r) * groups + group] = best;
    }
}

static struct room *make_rooms(const struct clip_task *t, struct ptq_arena *scratch)
{
    struct room *room = ptq_new(scratch, struct room, ptq_pool_size());
    struct ptq_grid whole = *t->grid;
    whole.group_size = -1;
    for (int i = 0; i < ptq_pool_size(); i++) {
        room[i].cut = ptq_new(scratch, float, TRIALS * t->g);
        room[i].error = ptq_new(scratch, float, TRIALS * t->g);
        room[i].product = ptq_new(scratch, float, TRIALS *(t->by_gram ? t->g : t->n_sample));
        ptq_qmat_make(scratch, &whole, TRIALS, t->g, &room[i].q);
    }
    return room;
}

void ptq_awq_clip_search(const struct ptq_grid *grid, const struct ptq_linear *linear, const float *sample,
                         int64_t n_sample, struct ptq_arena *arena, struct ptq_arena *scratch, struct ptq_awq_clip *out)
{
    int64_t groups = ptq_n_groups(linear->k, grid->group_size);
    *out = (struct ptq_awq_clip){.n = linear->n, .n_groups = groups, .max = ptq_new(arena, float, linear->n *groups)};
    struct ptq_mark mark = ptq_arena_mark(scratch);
    struct clip_task t = {.grid = grid, .linear = linear, .n_sample = n_sample, .out = out};
    t.g = groups == 1 ? linear->k : grid->group_size;
    t.by_gram = t.g <= n_sample;
    make_measure(&t, sample, scratch);
    t.room = make_rooms(&t, scratch);
    t.best = ptq_new(scratch, int, linear->n *groups);
    ptq_parallel_for((linear->n + ROWS_A_TASK - 1) / ROWS_A_TASK * groups, clip_rows, &t);
    for (int64_t i = 0; i < linear->n * groups; i++) out->at[t.best[i]]++;
    ptq_arena_rewind(scratch, mark);
}

void ptq_awq_clamp(const struct ptq_linear *linear, const struct ptq_awq_clip *clip, int64_t group_size, float *to)
{
    int64_t k = linear->k, g = group_size < 0 ? k : group_size;
    memcpy(to, linear->w, sizeof *to * (size_t)(linear->n * k));
    for (int64_t n = 0; clip->max && n < linear->n; n++)
        for (int64_t j = 0; j < k; j++) to[n * k + j] = cut(to[n * k + j], clip->max[n * clip->n_groups + j / g]);
}
