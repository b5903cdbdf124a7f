/* hessian.c on the device of the calibration's passes: x stays there, and so do the Gram matrices and the weights as
 * they are quantised. What comes back are codes and a few rows.
 *
 * Sums are those of the CPU in another order: X^T X of batch after batch, times 2 / n at the end. */
#include "hessian.h"

#include "offload.h"
#include "progress.h"

#include <string.h>

/* One block under way. */
struct there {
    struct ptq_block_task *task;
    struct ptq_forward *f;
    const struct ptq_hessian_solver *solver;
    const struct ptq_device *device;
    struct ptq_stats *saw;      /* [PTQ_N_INPUT], the host's */
    float *h[PTQ_N_INPUT];      /* [K][K] there */
    float *sample[PTQ_N_INPUT]; /* [n_sample][K] there */
    int64_t seen[PTQ_N_INPUT];  /* rows in h */
    unsigned char *room;
    size_t bytes;
};

static void lay_out(struct there *t, struct ptq_carve *c)
{
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        const struct ptq_stats *s = &t->saw[input];
        t->h[input] = ptq_carve_floats(c, s->k * s->k);
        t->sample[input] = ptq_carve_floats(c, s->n_sample * s->k);
    }
}

static enum ptq_status take(struct there *t, struct ptq_error *err)
{
    struct ptq_carve c = {0};
    lay_out(t, &c);
    t->bytes = c.used;
    t->room = ptq_offload_room(t->f, PTQ_ROOM_SUMS, t->bytes);
    if (!t->room)
        return ptq_fail(
            err, PTQ_EDEVICE,
            "%s: the Hessians of a block need %zu bytes of device memory, and %zu bytes are free; calibrate "
            "on less, or take --device cpu",
            t->device->name, t->bytes, t->device->room());
    c = (struct ptq_carve){.base = t->room};
    lay_out(t, &c);
    t->device->solver.clear(t->room, t->bytes);
    return PTQ_OK;
}

static void look(void *context, enum ptq_input input, const float *x, const struct ptq_split *parts)
{
    struct there *t = context;
    const struct ptq_stats *s = &t->saw[input];
    size_t row_bytes = sizeof *x * (size_t)s->k;
    ptq_device_lap(t->device, "forward");
    t->device->solver.gram(t->h[input], parts);
    ptq_device_lap(t->device, "gram");
    for (int64_t i = 0; i < s->n_sample; i++) { /* as ptq_stats_sample */
        int64_t row = i * s->rows / s->n_sample - t->seen[input];
        if (row >= 0 && row < parts->m) t->device->solver.copy(t->sample[input] + i * s->k, x + row * s->k, row_bytes);
    }
    t->seen[input] += parts->m;
}

static enum ptq_status quantize(struct there *t, enum ptq_input input, struct ptq_error *err)
{
    struct ptq_hessian_problem p;
    const struct ptq_linear *top = ptq_hessian_stack(t->task, input, &p);
    const struct ptq_stats *s = &t->saw[input];
    p.h = t->h[input];
    p.there = t->f;
    PTQ_TRY(ptq_interrupted(err));
    ptq_device_lap(t->device, "forward");
    t->device->download(s->sample, t->sample[input], sizeof(float) * (size_t)(s->n_sample * s->k));
    struct ptq_mark mark = ptq_arena_mark(t->task->scratch);
    if (t->solver->solve_there(t->solver->options, &p, err)) return ptq_within(err, "%s", top->name);
    ptq_arena_rewind(t->task->scratch, mark);
    ptq_hessian_share(t->task, input, &p);
    return PTQ_OK;
}

static enum ptq_status one_shot(struct there *t, const struct ptq_tap *tap, struct ptq_error *err)
{
    ptq_offload_parts(t->f, t->task->block, PTQ_PART_ATTN_IN, PTQ_PART_MLP_OUT, 1, tap);
    for (int input = PTQ_N_INPUT - 1; input >= 0; input--)
        if (ptq_hessian_wants(t->task, (enum ptq_input)input)) PTQ_TRY(quantize(t, (enum ptq_input)input, err));
    if (t->task->index + 1 == t->f->model->config.blocks) return PTQ_OK;
    t->f->moved = 1;
    ptq_offload_parts_later(t->f, t->task->block, PTQ_PART_ATTN_IN, PTQ_PART_END, NULL);
    return PTQ_OK;
}

static enum ptq_status staged(struct there *t, const struct ptq_tap *tap, struct ptq_error *err)
{
    ptq_offload_hold(t->f);
    t->f->moved = 1;
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        ptq_offload_parts(t->f, t->task->block, (enum ptq_offload_part)input, (enum ptq_offload_part)input, 0, tap);
        PTQ_TRY(quantize(t, (enum ptq_input)input, err));
    }
    if (t->task->index + 1 < t->f->model->config.blocks)
        ptq_offload_parts_later(t->f, t->task->block, PTQ_PART_END, PTQ_PART_END, NULL);
    return PTQ_OK;
}

enum ptq_status ptq_hessian_block_there(struct ptq_block_task *task, const struct ptq_hessian_solver *solver,
                                        struct ptq_error *err)
{
    struct there t = {.task = task, .f = task->calib, .solver = solver, .device = task->calib->offload->device};
    struct ptq_tap tap = {.there = look, .context = &t};
    t.saw = ptq_hessian_samples(task);
    PTQ_TRY(ptq_offload_begin(t.f, task->block, err));
    ptq_device_lap(t.device, "weights");
    enum ptq_status status = take(&t, err);
    if (!status) status = (solver->true_sequential ? staged : one_shot)(&t, &tap, err);
    if (status) return status;
    if (task->index + 1 == t.f->model->config.blocks) return ptq_offload_end(t.f, task->index, err);
    ptq_offload_end_later(t.f, task->index);
    return PTQ_OK;
}
