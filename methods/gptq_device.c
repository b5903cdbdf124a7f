/* The factor is float64, as the CPU's: cuSOLVER takes 0.1 s for the widest linear of an 8B model, and nearly singular
 * Hessians do not forgive less. The column loop is float32 (kernels/cuda/gptq.cu). */
#include "gptq_device.h"

#include "offload.h"

#include <string.h>

int ptq_gptq_can_there(const struct ptq_gptq_options *options, const struct ptq_grid *grid)
{
    return !options->mse && (grid->group_size < 0 || options->static_groups || PTQ_GPTQ_BLOCK % grid->group_size == 0);
}

/* One problem under way. */
struct solve {
    const struct ptq_gptq_options *options;
    struct ptq_hessian_problem *p;
    const struct ptq_device *device;
    struct ptq_device_gptq task; /* all pointers but block are there */
    float *w, *r, *diagonal;
    double *a;
    int32_t *column, *group;
    uint8_t *dead;
    int64_t *where;
    unsigned char *room;
    size_t bytes;
};

static void lay_out(struct solve *s, struct ptq_carve *c)
{
    struct ptq_device_gptq *t = &s->task;
    int64_t n = t->n, k = t->k, inverse = t->n_blocks * PTQ_DEVICE_COLUMNS * PTQ_DEVICE_COLUMNS;
    s->a = ptq_carve(c, sizeof *s->a * (size_t)(k * k));
    s->r = ptq_carve_floats(c, k * k);
    s->w = ptq_carve_floats(c, n * k);
    s->diagonal = ptq_carve_floats(c, k);
    s->column = ptq_carve(c, sizeof *s->column * (size_t)k);
    s->group = ptq_carve(c, sizeof *s->group * (size_t)k);
    s->dead = ptq_carve(c, (size_t)k);
    s->where = ptq_carve(c, sizeof *s->where * (size_t)(t->n_blocks + 1));
    t->code = ptq_carve(c, (size_t)(n * k));
    t->back = ptq_carve_floats(c, n * k);
    t->scale = ptq_carve_floats(c, n * t->n_groups);
    t->zero = ptq_carve_floats(c, n * t->n_groups);
    t->loss = ptq_carve(c, sizeof *t->loss * (size_t)n);
    t->saturated = ptq_carve(c, sizeof *t->saturated * (size_t)n);
    t->t = ptq_carve_floats(c, n * k);
    t->error = ptq_carve_floats(c, n * PTQ_DEVICE_COLUMNS);
    t->u = ptq_carve_floats(c, inverse);
}

static enum ptq_status take(struct solve *s, struct ptq_error *err)
{
    struct ptq_carve c = {0};
    lay_out(s, &c);
    s->bytes = c.used;
    s->room = ptq_offload_room(s->p->there, PTQ_ROOM_SOLVER, s->bytes);
    if (!s->room)
        return ptq_fail(err, PTQ_EDEVICE,
                        "%s: gptq needs %zu bytes of device memory, and %zu bytes are free; calibrate on less, or take "
                        "--device cpu",
                        s->device->name, s->bytes, s->device->room());
    c = (struct ptq_carve){.base = s->room};
    lay_out(s, &c);
    return PTQ_OK;
}

static int64_t attempt(void *context, double damp)
{
    struct solve *s = context;
    return s->device->solver.factor(s->a, s->p->h, s->column, s->diagonal, damp, s->task.k);
}

/* H times 2 / n, dead columns, order, damping, R. */
static enum ptq_status factorize(struct solve *s, struct ptq_gptq_factor *f, struct ptq_error *err)
{
    struct ptq_arena *scratch = s->p->scratch;
    const struct ptq_device *d = s->device;
    int64_t k = f->k;
    size_t floats = sizeof(float) * (size_t)k;
    double mean, *diagonal = ptq_new(scratch, double, k);
    float *host = ptq_new(scratch, float, k);
    int32_t *column = ptq_new(scratch, int32_t, k), *group = ptq_new(scratch, int32_t, k);
    f->dead = ptq_new(scratch, uint8_t, k);
    if (s->options->act_order) f->perm = ptq_new(scratch, int32_t, k);
    d->solver.scale(s->p->h, k, (float)(2.0 / (double)s->p->there->windows), s->diagonal);
    d->download(host, s->diagonal, floats);
    PTQ_TRY(ptq_gptq_diagonal(host, 1, k, diagonal, f->dead, &mean, err));
    if (f->perm) ptq_gptq_order(diagonal, k, scratch, f->perm);
    for (int64_t i = 0; i < k; i++) host[i] = (float)diagonal[i];
    ptq_gptq_places(s->options, f->perm, s->task.group_size, k, column, group);
    d->upload(s->diagonal, host, floats);
    d->upload(s->column, column, sizeof *column * (size_t)k);
    d->upload(s->group, group, sizeof *group * (size_t)k);
    d->upload(s->dead, f->dead, (size_t)k);
    PTQ_TRY(ptq_gptq_climb(attempt, s, mean, s->options->percdamp, f, err));
    d->solver.turn(s->r, s->a, k);
    return PTQ_OK;
}

/* The original weights: FP16 ones are there already, without loss. */
static void put_weights(const struct solve *s)
{
    const struct ptq_split *w = ptq_offload_weights(s->p->there, s->p->input);
    if (w->lo)
        s->device->upload(s->w, s->p->w, sizeof(float) * (size_t)(w->m * w->k));
    else
        s->device->solver.join(s->w, w);
}

static void fetch(const struct solve *s)
{
    const struct ptq_device *d = s->device;
    const struct ptq_device_gptq *t = &s->task;
    struct ptq_qmat *q = s->p->q;
    size_t n = (size_t)q->n, groups = sizeof(float) * n * (size_t)q->n_groups;
    d->download(q->code, t->code, n * (size_t)q->k);
    d->download(q->scale, t->scale, groups);
    d->download(q->zero, t->zero, groups);
    d->download(s->p->loss, t->loss, sizeof(double) * n);
    d->download(s->p->saturated, t->saturated, sizeof(int32_t) * n);
}

static int64_t *make_blocks(const struct solve *s, int64_t *n_blocks)
{
    int64_t k = s->task.k, n = 0, *block = ptq_new(s->p->scratch, int64_t, k + 1);
    for (int64_t from = 0; from < k; from = ptq_gptq_block_end(s->options, s->task.group_size, k, from))
        block[n++] = from;
    block[n] = k;
    *n_blocks = n;
    return block;
}

static enum ptq_status solve(struct solve *s, struct ptq_error *err)
{
    struct ptq_gptq_factor factor = {.k = s->task.k};
    PTQ_TRY(factorize(s, &factor, err));
    s->p->percdamp = factor.percdamp;
    ptq_device_lap(s->device, "factor");
    put_weights(s);
    s->task.w = s->w;
    s->task.r = s->r;
    s->task.a = s->a;
    s->task.column = s->column;
    s->task.group = s->group;
    s->task.dead = s->dead;
    s->task.where = s->where;
    s->device->upload(s->where, s->task.block, sizeof *s->where * (size_t)(s->task.n_blocks + 1));
    s->device->solver.gptq(&s->task);
    ptq_device_lap(s->device, "solve");
    fetch(s);
    ptq_device_lap(s->device, "codes");
    ptq_gptq_keep_order(s->options, factor.perm, s->p->arena, s->p->q);
    ptq_offload_replace(s->p->there, s->p->input, s->task.back);
    ptq_device_lap(s->device, "weights");
    return ptq_offload_failed(s->p->there, err);
}

enum ptq_status ptq_gptq_solve_there(const void *options, struct ptq_hessian_problem *p, struct ptq_error *err)
{
    const struct ptq_qmat *q = p->q;
    struct solve s = {.options = options, .p = p, .device = p->there->offload->device};
    s.task = (struct ptq_device_gptq){.n = q->n, .k = q->k, .n_groups = q->n_groups, .grid = q->grid};
    s.task.group_size = q->grid.group_size < 0 ? q->k : q->grid.group_size;
    s.task.fits = q->grid.group_size > 0 && !s.options->static_groups;
    s.task.with_dead = q->grid.group_size < 0;
    s.task.block = make_blocks(&s, &s.task.n_blocks);
    PTQ_TRY(take(&s, err));
    return solve(&s, err);
}
