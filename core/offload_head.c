/* The end of a pass on a device: final norm, projection, and the vocabulary tile by tile, of which only the rows' sums
 * come back. */
#include "offload.h"

#include "forward_parts.h"
#include "progress.h"

static int64_t all_rows(const struct ptq_forward *f)
{
    return f->windows * f->length;
}

static void lay_out(struct ptq_offload_head *h, struct ptq_carve *c, const struct ptq_forward *f, int project,
                    int with_mean)
{
    const struct ptq_config *k = &f->model->config;
    int64_t rows = all_rows(f), e = k->embed_width;
    h->w = ptq_carve_floats(c, PTQ_VOCAB_ROWS * e);
    h->logits = ptq_carve_floats(c, h->rows * PTQ_VOCAB_ROWS);
    h->state = ptq_carve(c, sizeof *h->state * (size_t)rows);
    h->target = ptq_carve(c, sizeof *h->target * (size_t)rows);
    h->norm_w = ptq_carve_floats(c, k->width);
    h->norm_b = ptq_carve_floats(c, k->width);
    h->project = project ? ptq_carve_floats(c, e * k->width) : NULL;
    h->x = project ? ptq_carve_floats(c, rows * e) : f->offload->x;
    h->mean = with_mean ? ptq_carve_floats(c, rows * e) : NULL;
}

/* The blocks' room is given back for it; fewer rows go together where that is too little. */
static int take(struct ptq_forward *f, int project, int with_mean)
{
    struct ptq_offload *o = f->offload;
    struct ptq_offload_head *h = &o->head;
    if (!o->x || !o->resident) return 0;
    ptq_offload_give(o->device, o->room, o->room_bytes);
    o->room = NULL;
    for (h->rows = min64(f->batch_windows * f->length, all_rows(f)); h->rows && !h->room; h->rows /= 2) {
        struct ptq_carve count = {0};
        lay_out(h, &count, f, project, with_mean);
        h->bytes = count.used;
        h->room = ptq_offload_take(o->device, h->bytes);
        if (h->room) break;
    }
    if (!h->room) return 0;
    struct ptq_carve c = {.base = h->room};
    lay_out(h, &c, f, project, with_mean);
    return 1;
}

static void send(const struct ptq_forward *f, void *to, const void *from, size_t bytes)
{
    if (from) f->offload->device->upload(to, from, bytes);
}

static void finish_rows(const struct ptq_forward *f, const float *project)
{
    const struct ptq_config *c = &f->model->config;
    const struct ptq_offload *o = f->offload;
    const struct ptq_offload_head *h = &o->head;
    size_t width = sizeof(float) * (size_t)c->width;
    if (c->final_norm) {
        send(f, h->norm_w, f->model->final_norm_w, width);
        send(f, h->norm_b, f->model->final_norm_b, width);
        ptq_offload_norm(f, o->x, o->x, h->norm_w, h->norm_b, all_rows(f));
    }
    if (!project) return;
    send(f, h->project, project, width * (size_t)c->embed_width);
    o->device->ops.linear(h->x, c->embed_width, o->x, c->width, h->project, NULL, 0, all_rows(f), c->embed_width,
                          c->width);
}

int ptq_offload_head_begin(struct ptq_forward *f, const float *project, const struct ptq_lse *state,
                           const int32_t *target, const float *mean)
{
    const struct ptq_config *c = &f->model->config;
    struct ptq_offload_head *h = &f->offload->head;
    size_t rows = (size_t)all_rows(f);
    ptq_offload_settle();
    if (!take(f, project != NULL, mean != NULL)) {
        static int said;
        if (!said++)
            ptq_progress_note("%s: little memory is free; the head is computed on the CPU", f->offload->device->name);
        return 0;
    }
    if (!f->away) send(f, f->offload->x, f->x, sizeof(float) * rows * (size_t)c->width);
    f->away = 1;
    finish_rows(f, project);
    send(f, h->state, state, sizeof *state * rows);
    send(f, h->target, target, sizeof *target * rows);
    send(f, h->mean, mean, sizeof(float) * rows * (size_t)c->embed_width);
    return 1;
}

void ptq_offload_head_tile(struct ptq_forward *f, const float *w, int64_t first, int64_t n)
{
    const struct ptq_offload_head *h = &f->offload->head;
    const struct ptq_ops *ops = &f->offload->device->ops;
    int64_t e = f->model->config.embed_width, all = all_rows(f);
    send(f, h->w, w, sizeof *w * (size_t)(n * e));
    for (int64_t row = 0; row < all; row += h->rows) {
        int64_t m = min64(h->rows, all - row);
        const float *x = h->x + row * e;
        if (h->mean)
            ops->lse_mean(h->state + row, h->mean + row * e, x, h->w, h->target + row, first, m, n, e, h->logits);
        else
            ops->lse(h->state + row, x, h->w, h->target + row, first, m, n, e, h->logits);
    }
}

enum ptq_status ptq_offload_head_end(struct ptq_forward *f, struct ptq_lse *state, float *x, float *mean,
                                     struct ptq_error *err)
{
    struct ptq_offload *o = f->offload;
    struct ptq_offload_head *h = &o->head;
    size_t rows = (size_t)all_rows(f), floats = sizeof(float) * rows * (size_t)f->model->config.embed_width;
    o->device->download(state, h->state, sizeof *state * rows);
    if (x) o->device->download(x, h->x, floats);
    if (mean) o->device->download(mean, h->mean, floats);
    ptq_offload_give(o->device, h->room, h->bytes);
    h->room = NULL;
    f->away = 0;
    return ptq_offload_failed(f, err) ? ptq_within(err, "the head") : PTQ_OK;
}
