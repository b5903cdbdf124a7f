#include "awq_device.h"

#include "awq_groups.h"
#include "offload.h"

enum { MOST_K = 1 << 15 };

int ptq_awq_grid_there(const struct ptq_grid *grid, int64_t k)
{
    return !grid->scale_f16 && k <= MOST_K;
}

static enum ptq_status no_room(const struct ptq_device *device, size_t bytes, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EDEVICE,
                    "%s: awq needs %zu bytes of device memory, and %zu bytes are free; calibrate on less, or take "
                    "--device cpu",
                    device->name, bytes, device->room());
}

/* ---- scales ---- */

struct ptq_awq_there {
    const struct ptq_device *device;
    struct ptq_device_awq task; /* its arrays are there */
    float *w, *d, *scale;
    uint16_t *c;
    double *loss; /* [N], here */
    unsigned char *room;
    size_t bytes;
};

static void lay_out(struct ptq_awq_there *t, struct ptq_carve *c)
{
    int64_t n = t->task.n, k = t->task.k;
    t->w = ptq_carve_floats(c, n * k);
    t->d = ptq_carve_floats(c, k);
    t->scale = ptq_carve_floats(c, k);
    t->c = ptq_carve(c, sizeof *t->c * (size_t)(k * k));
    t->task.delta = ptq_carve(c, sizeof *t->task.delta * (size_t)(n * k));
    t->task.factor = ptq_carve_floats(c, n);
    t->task.product = ptq_carve_floats(c, n * k);
    t->task.loss = ptq_carve(c, sizeof *t->task.loss * (size_t)n);
}

enum ptq_status ptq_awq_there_make(struct ptq_block_task *task, enum ptq_input input, const float *w, int64_t n,
                                   int64_t k, struct ptq_awq_there **out, struct ptq_error *err)
{
    const struct ptq_moments *m = &task->moments[input];
    const struct ptq_grid *grid = &task->spec->grid;
    struct ptq_awq_there *t = ptq_new(task->scratch, struct ptq_awq_there, 1);
    struct ptq_carve c = {0};
    t->device = m->pass->offload->device;
    t->task = (struct ptq_device_awq){.n = n, .k = k, .grid = *grid, .n_groups = ptq_n_groups(k, grid->group_size)};
    t->task.group_size = t->task.n_groups == 1 ? k : grid->group_size;
    lay_out(t, &c);
    t->bytes = c.used;
    t->room = ptq_offload_room(m->pass, PTQ_ROOM_SOLVER, t->bytes);
    if (!t->room) return no_room(t->device, t->bytes, err);
    c = (struct ptq_carve){.base = t->room};
    lay_out(t, &c);
    t->task.w = t->w;
    t->task.d = t->d;
    t->task.c = t->c;
    t->task.scale = t->scale;
    t->loss = ptq_new(task->scratch, double, n);
    const struct ptq_split *there = ptq_offload_weights(m->pass, input);
    if (there->lo || there->m != n || there->k != k)
        t->device->upload(t->w, w, sizeof *w * (size_t)(n * k));
    else
        t->device->solver.join(t->w, there);
    t->device->solver.awq_begin(t->c, t->d, m->there, k);
    *out = t;
    return PTQ_OK;
}

double ptq_awq_there_loss(struct ptq_awq_there *t, const float *scale)
{
    double sum = 0;
    t->device->upload(t->scale, scale, sizeof *scale * (size_t)t->task.k);
    t->device->solver.awq_trial(&t->task);
    t->device->download(t->loss, t->task.loss, sizeof *t->loss * (size_t)t->task.n);
    for (int64_t i = 0; i < t->task.n; i++) sum += t->loss[i];
    return sum;
}

/* ---- bounds and codes ---- */

int ptq_awq_can_there(const struct ptq_block_task *task, int role)
{
    const struct ptq_moments *m = &task->moments[ptq_role_input[role]];
    const struct ptq_grid *grid = &task->spec->grid;
    int64_t g = grid->group_size < 0 || grid->group_size > m->k ? m->k : grid->group_size;
    return m->there && ptq_awq_grid_there(grid, m->k) && g <= PTQ_DEVICE_COLUMNS && g <= m->n_row;
}

/* One linear under way. */
struct linear_there {
    const struct ptq_device *device;
    struct ptq_device_clip task;
    float *w, *sample, *columns, *rows;
    unsigned char *room;
    size_t bytes;
};

static void lay_out_linear(struct linear_there *t, struct ptq_carve *c, int clipped)
{
    struct ptq_device_clip *k = &t->task;
    int64_t groups = k->n * k->n_groups;
    t->w = ptq_carve_floats(c, k->n * k->k);
    t->columns = ptq_carve_floats(c, k->k);
    t->rows = ptq_carve_floats(c, k->n);
    k->code = ptq_carve(c, (size_t)(k->n * k->k));
    k->scale = ptq_carve_floats(c, groups);
    k->zero = ptq_carve_floats(c, groups);
    k->saturated = ptq_carve(c, sizeof *k->saturated * (size_t)k->n);
    if (!clipped) return;
    t->sample = ptq_carve_floats(c, k->n_sample * k->k);
    k->measure = ptq_carve_floats(c, k->n_groups * k->group_size * k->group_size);
    k->max = ptq_carve_floats(c, groups);
    k->best = ptq_carve(c, (size_t)groups);
}

/* The scaled weights: made there from the original ones where those are exact, step by step as they were here. */
static void put_scaled(const struct linear_there *t, struct ptq_block_task *task, int role,
                       const struct ptq_awq_family *family, const struct ptq_awq_choice choice[PTQ_N_INPUT])
{
    const struct ptq_linear *linear = &task->block->linear[role];
    enum ptq_input input = ptq_role_input[role];
    const struct ptq_split *stack = ptq_offload_weights(task->moments[input].pass, input);
    int64_t first = 0;
    if (!stack || stack->lo) {
        t->device->upload(t->w, linear->w, sizeof(float) * (size_t)(linear->n * linear->k));
        return;
    }
    for (int before = 0; before < role; before++)
        if (ptq_role_input[before] == input) first += task->block->linear[before].n;
    struct ptq_split original = *stack;
    original.m = linear->n;
    original.hi += first * stack->ld;
    float *rows = ptq_new(task->scratch, float, linear->n);
    for (int64_t n = 0; n < linear->n; n++) rows[n] = 1;
    for (int i = 0; i < PTQ_N_INPUT; i++)
        if (choice[i].searched)
            ptq_awq_row_divisors(&task->model->config, &family->group[i], role, choice[i].scale, rows);
    t->device->upload(t->columns, choice[input].scale, sizeof(float) * (size_t)linear->k);
    t->device->upload(t->rows, rows, sizeof(float) * (size_t)linear->n);
    t->device->solver.join(t->w, &original);
    t->device->solver.rescale(t->w, t->columns, t->rows, linear->n, linear->k);
}

static void search_bounds(struct linear_there *t, struct ptq_block_task *task, const struct ptq_moments *m,
                          const struct ptq_awq_choice *choice, struct ptq_arena *arena, struct ptq_awq_clip *clip)
{
    const struct ptq_device_clip *k = &t->task;
    int64_t groups = k->n * k->n_groups;
    *clip = (struct ptq_awq_clip){.n = k->n, .n_groups = k->n_groups, .max = ptq_new(arena, float, groups)};
    uint8_t *best = ptq_new(task->scratch, uint8_t, groups);
    const float *sample = ptq_awq_divided_copy(task->scratch, m->row, m->n_row, m->k, choice->scale);
    t->device->upload(t->sample, sample, sizeof *sample * (size_t)(m->n_row * m->k));
    t->device->solver.awq_clip(k);
    t->device->download(clip->max, k->max, sizeof *clip->max * (size_t)groups);
    t->device->download(best, k->best, (size_t)groups);
    for (int64_t i = 0; i < groups; i++) clip->at[best[i]]++;
}

static void code(struct linear_there *t, struct ptq_block_task *task, int role)
{
    const struct ptq_device_clip *k = &t->task;
    struct ptq_qmat *q = &task->q[role];
    size_t groups = sizeof(float) * (size_t)(k->n * k->n_groups);
    int32_t *saturated = ptq_new(task->scratch, int32_t, k->n);
    t->device->solver.awq_code(k);
    t->device->download(q->code, k->code, (size_t)(k->n * k->k));
    t->device->download(q->scale, k->scale, groups);
    t->device->download(q->zero, k->zero, groups);
    t->device->download(saturated, k->saturated, sizeof *saturated * (size_t)k->n);
    for (int64_t i = 0; i < k->n; i++) task->report[role].saturated += saturated[i];
}

enum ptq_status ptq_awq_linear_there(struct ptq_block_task *task, int role, int with_clip,
                                     const struct ptq_awq_choice choice[PTQ_N_INPUT], struct ptq_arena *arena,
                                     struct ptq_awq_clip *clip, struct ptq_error *err)
{
    const struct ptq_moments *m = &task->moments[ptq_role_input[role]];
    const struct ptq_linear *linear = &task->block->linear[role];
    const struct ptq_grid *grid = &task->spec->grid;
    const struct ptq_awq_family *family;
    struct linear_there t = {.device = m->pass->offload->device};
    PTQ_TRY(ptq_awq_family(&task->model->config, &family, err));
    int clipped = with_clip && (family->clipped >> role & 1);
    t.task = (struct ptq_device_clip){.n = linear->n,
                                      .k = linear->k,
                                      .grid = *grid,
                                      .n_sample = m->n_row,
                                      .n_groups = ptq_n_groups(linear->k, grid->group_size)};
    t.task.group_size = t.task.n_groups == 1 ? linear->k : grid->group_size;
    struct ptq_carve c = {0};
    lay_out_linear(&t, &c, clipped);
    t.bytes = c.used;
    t.room = ptq_offload_room(m->pass, PTQ_ROOM_SOLVER, t.bytes);
    if (!t.room) return no_room(t.device, t.bytes, err);
    c = (struct ptq_carve){.base = t.room};
    lay_out_linear(&t, &c, clipped);
    t.task.w = t.w;
    t.task.sample = t.sample;
    struct ptq_mark mark = ptq_arena_mark(task->scratch);
    put_scaled(&t, task, role, family, choice);
    if (clipped) search_bounds(&t, task, m, &choice[ptq_role_input[role]], arena, clip);
    code(&t, task, role);
    if (arena != task->scratch) ptq_arena_rewind(task->scratch, mark);
    ptq_device_lap(t.device, "bounds and codes");
    return ptq_offload_failed(m->pass, err);
}
