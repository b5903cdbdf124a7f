#include "offload.h"

#include "forward_parts.h"
#include "progress.h"

#include <math.h>
#include <string.h>

/* ---- memory ---- */

static int64_t held_bytes, peak_bytes;

int64_t ptq_offload_peak_bytes(void)
{
    return peak_bytes;
}

void *ptq_offload_take(const struct ptq_device *device, size_t bytes)
{
    void *memory = device->take(bytes);
    if (!memory) return NULL;
    held_bytes += (int64_t)bytes;
    if (held_bytes > peak_bytes) peak_bytes = held_bytes;
    return memory;
}

void ptq_offload_give(const struct ptq_device *device, void *memory, size_t bytes)
{
    if (!memory) return;
    device->give(memory);
    held_bytes -= (int64_t)bytes;
}

void *ptq_carve(struct ptq_carve *c, size_t bytes)
{
    void *piece = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 255) / 256 * 256;
    return piece;
}

float *ptq_carve_floats(struct ptq_carve *c, int64_t n)
{
    return ptq_carve(c, sizeof(float) * (size_t)n);
}

static void give_all(void *context)
{
    struct ptq_offload *o = context;
    ptq_offload_settle();
    ptq_offload_give(o->device, o->x, o->x_bytes);
    ptq_offload_give(o->device, o->room, o->room_bytes);
    ptq_offload_give(o->device, o->head.room, o->head.bytes);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        ptq_offload_give(o->device, o->held[input], o->held_bytes[input]);
        o->held[input] = NULL;
    }
    for (int i = 0; i < PTQ_OFFLOAD_ROOMS; i++) {
        ptq_offload_give(o->device, o->extra[i].at, o->extra[i].bytes);
        o->extra[i].at = NULL;
    }
    o->x = NULL;
    o->room = o->head.room = NULL;
}

void ptq_offload_make(struct ptq_arena *arena, struct ptq_forward *f)
{
    f->offload = ptq_new(arena, struct ptq_offload, 1);
    f->offload->device = f->model->device;
    ptq_arena_defer(arena, give_all, f->offload);
}

void ptq_forward_here(struct ptq_forward *f)
{
    ptq_offload_settle();
    if (!f->away) return;
    f->offload->device->download(f->x, f->offload->x,
                                 sizeof(float) * (size_t)(f->windows * f->length * f->model->config.width));
    f->away = 0;
}

/* ---- a block's weights, counted or sent ---- */

static void *send(const struct ptq_offload *o, struct ptq_carve *c, const void *from, size_t bytes)
{
    if (!from) return NULL;
    void *to = ptq_carve(c, bytes);
    if (to) o->device->upload(to, from, bytes);
    return to;
}

static float *send_floats(const struct ptq_offload *o, struct ptq_carve *c, const float *from, int64_t n)
{
    return send(o, c, from, sizeof *from * (size_t)n);
}

/* A stack of float32 rows, in parts; waits for where lo is 0. */
static void send_split(struct ptq_offload *o, struct ptq_carve *c, const float *from, int64_t n, int64_t k,
                       struct ptq_split *out)
{
    uint16_t *room = ptq_carve(c, sizeof *room * (size_t)(PTQ_SPLIT_WEIGHTS * n * k));
    float *state = ptq_carve_floats(c, PTQ_SPLIT_STATE);
    if (!room) return;
    *out = ptq_split_weights(room, state, n, k);
    o->device->upload(o->staging, from, sizeof *from * (size_t)(n * k));
    o->device->solver.split(out, o->staging, k);
    if (o->device->solver.exact(out)) out->lo = NULL;
}

/* Float32 linears of an input are one product, that of the first, as in core/linear.c. */
static void send_input(struct ptq_offload *o, struct ptq_carve *c, const struct ptq_block *block, enum ptq_input input)
{
    struct ptq_offload_product *first = NULL;
    const struct ptq_linear *first_linear = NULL;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *l = &block->linear[role];
        struct ptq_offload_product *p = &o->product[role];
        if (ptq_role_input[role] != input) continue;
        *p = (struct ptq_offload_product){0};
        if (!l->n) continue;
        if (first) {
            first->n += l->n;
            continue;
        }
        *p = (struct ptq_offload_product){.n = l->n, .k = l->k, .is_packed = l->packed != NULL};
        if (l->packed) {
            p->packed = *l->packed;
            const void *image = send(o, c, l->packed->image, l->packed->bytes);
            if (image) ptq_packed_move(&p->packed, image);
            p->b = send_floats(o, c, l->b, l->n);
        } else {
            first = p;
            first_linear = l;
        }
    }
    if (!first) return;
    send_split(o, c, first_linear->w, first->n, first->k, &first->w);
    first->b = send_floats(o, c, first_linear->b, first->n);
}

static void send_block(struct ptq_offload *o, struct ptq_carve *c, const struct ptq_config *config,
                       const struct ptq_block *block)
{
    const float *norm[4] = {block->norm1_w, block->norm1_b, block->norm2_w, block->norm2_b};
    for (int input = 0; input < PTQ_N_INPUT; input++) send_input(o, c, block, (enum ptq_input)input);
    for (int i = 0; i < 4; i++) o->norm[i] = send_floats(o, c, norm[i], config->width);
    o->divisor = send_floats(o, c, block->activation_scale, config->ff);
}

/* The largest stack of float32 rows. */
static int64_t staging_floats(const struct ptq_block *block)
{
    int64_t floats[PTQ_N_INPUT] = {0}, most = 0;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *l = &block->linear[role];
        int64_t *sum = &floats[ptq_role_input[role]];
        if (!l->n || l->packed) continue;
        *sum += l->n * l->k;
        most = *sum > most ? *sum : most;
    }
    return most;
}

static size_t block_bytes(const struct ptq_offload *o, const struct ptq_config *config, const struct ptq_block *block)
{
    struct ptq_offload count = {.device = o->device};
    struct ptq_carve c = {0};
    send_block(&count, &c, config, block);
    return c.used;
}

/* ---- the room of a batch ---- */

static size_t scratch_bytes(const struct ptq_offload *o, const struct ptq_forward *f, const struct ptq_block *block,
                            int64_t rows)
{
    struct ptq_attention shape = ptq_attention_shape(f->model, block);
    size_t most = o->device->solver.attention_bytes(&shape, f->length);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_packed *p = block->linear[role].n ? block->linear[role].packed : NULL;
        size_t bytes = p ? o->device->packed_scratch(p, rows) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Sets the pieces of the room out; c->base NULL: counts them. */
static void lay_out(struct ptq_offload *o, struct ptq_carve *c, const struct ptq_forward *f,
                    const struct ptq_block *block)
{
    const struct ptq_config *k = &f->model->config;
    int64_t rows = o->windows * f->length, half = f->cosine ? k->head_size / 2 : 0, widest = k->width;
    int gated = k->activation == PTQ_SILU_GATED;
    o->weight_bytes = block_bytes(o, k, block);
    o->scratch_bytes = scratch_bytes(o, f, block, rows);
    for (int input = 0; input < PTQ_N_INPUT; input++) {
        int64_t width = ptq_input_width(k, (enum ptq_input)input);
        widest = width > widest ? width : widest;
    }
    o->weights = ptq_carve(c, o->weight_bytes);
    o->staging_bytes = sizeof(float) * (size_t)staging_floats(block);
    o->staging = ptq_carve(c, o->staging_bytes);
    o->copy = ptq_carve_floats(c, rows * k->width);
    o->in_room = ptq_carve(c, sizeof *o->in_room * (size_t)(PTQ_SPLIT_ROWS * rows * widest));
    o->in_state = ptq_carve_floats(c, PTQ_SPLIT_STATE);
    o->normed = ptq_carve_floats(c, rows * k->width);
    o->wide = ptq_carve_floats(c, rows * (gated && k->ff > ptq_qkv_width(k) ? k->ff : ptq_qkv_width(k)));
    o->mixed = ptq_carve_floats(c, rows * k->heads * k->head_size);
    o->mlp = ptq_carve_floats(c, rows * k->ff * (gated ? 2 : 1));
    o->cosine = ptq_carve_floats(c, rows * half);
    o->sine = ptq_carve_floats(c, rows * half);
    o->slope = ptq_carve_floats(c, k->heads);
    o->finite = ptq_carve_floats(c, 1);
    o->scratch = ptq_carve(c, o->scratch_bytes);
}

/* One try with o->windows and o->resident; 0 where there is no room. *need: the bytes. */
static int take(struct ptq_offload *o, const struct ptq_forward *f, const struct ptq_block *block, size_t *need)
{
    struct ptq_carve count = {0};
    int64_t all = f->windows > f->batch_windows ? f->windows : f->batch_windows;
    o->x_rows = (o->resident ? all : o->windows) * f->length;
    o->x_bytes = sizeof(float) * (size_t)(o->x_rows * f->model->config.width);
    lay_out(o, &count, f, block);
    o->room_bytes = count.used;
    *need = o->x_bytes + o->room_bytes;
    o->x = ptq_offload_take(o->device, o->x_bytes);
    if (o->x) o->room = ptq_offload_take(o->device, o->room_bytes);
    if (o->x && o->room) {
        struct ptq_carve c = {.base = o->room};
        lay_out(o, &c, f, block);
        return 1;
    }
    give_all(o);
    return 0;
}

/* Rotations of each row of a batch, and ALiBi's slopes: the same for all blocks. */
static void send_positions(const struct ptq_forward *f)
{
    const struct ptq_offload *o = f->offload;
    size_t bytes = sizeof(float) * (size_t)(f->length * (f->model->config.head_size / 2));
    for (int64_t w = 0; f->cosine && w < o->windows; w++) {
        o->device->upload((unsigned char *)o->cosine + (size_t)w * bytes, f->cosine, bytes);
        o->device->upload((unsigned char *)o->sine + (size_t)w * bytes, f->sine, bytes);
    }
    if (f->model->alibi_slope)
        o->device->upload(o->slope, f->model->alibi_slope, sizeof(float) * (size_t)f->model->config.heads);
}

/* Once for each size that is come down to. */
static void say_halved(const struct ptq_forward *f)
{
    static int64_t said;
    const struct ptq_offload *o = f->offload;
    if (o->windows == f->batch_windows && o->resident) return;
    int64_t rows = (o->resident ? 1 : -1) * o->windows * f->length;
    if (rows == said) return;
    said = rows;
    ptq_progress_note("%s: little memory is free; %lld of %lld rows go through a block together%s", o->device->name,
                      (long long)(o->windows * f->length), (long long)(f->batch_windows * f->length),
                      o->resident ? "" : ", and they travel for each block");
}

enum ptq_status ptq_offload_check_heads(const struct ptq_model *model, struct ptq_error *err)
{
    if (model->config.head_size <= PTQ_DEVICE_HEAD) return PTQ_OK;
    return ptq_fail(err, PTQ_EDEVICE, "%s: %s has heads of %lld, and attention there holds %d; take --device cpu",
                    model->device->name, model->name, (long long)model->config.head_size, PTQ_DEVICE_HEAD);
}

/* Windows that the fast attention does not take have no scratch of it. */
static enum ptq_status check_attention(const struct ptq_forward *f, const struct ptq_block *block,
                                       struct ptq_error *err)
{
    struct ptq_attention shape = ptq_attention_shape(f->model, block);
    if (f->offload->device->solver.attention_bytes(&shape, f->length)) return PTQ_OK;
    return ptq_offload_check_heads(f->model, err);
}

/* Room for this block and all that are not larger. */
static enum ptq_status take_room(struct ptq_forward *f, const struct ptq_block *block, struct ptq_error *err)
{
    struct ptq_offload *o = f->offload;
    size_t need = 0;
    if (o->room && (!o->resident || f->windows * f->length <= o->x_rows) &&
        block_bytes(o, &f->model->config, block) <= o->weight_bytes &&
        sizeof(float) * (size_t)staging_floats(block) <= o->staging_bytes &&
        scratch_bytes(o, f, block, o->windows * f->length) <= o->scratch_bytes)
        return PTQ_OK;
    PTQ_TRY(check_attention(f, block, err));
    ptq_forward_here(f);
    give_all(o);
    for (o->resident = 1; o->resident >= 0; o->resident--)
        for (o->windows = f->batch_windows; o->windows; o->windows /= 2)
            if (take(o, f, block, &need)) {
                say_halved(f);
                send_positions(f);
                return PTQ_OK;
            }
    return ptq_fail(
        err, PTQ_EDEVICE,
        "%s: a window of %lld tokens needs %zu bytes of device memory, and %zu bytes are free; take shorter "
        "windows, or --device cpu",
        o->device->name, (long long)f->length, need, o->device->room());
}

/* ---- a block's beginning and end ---- */

enum ptq_status ptq_offload_failed(const struct ptq_forward *f, struct ptq_error *err)
{
    ptq_offload_settle();
    const char *failure = f->offload->device->error();
    if (!failure) return PTQ_OK;
    return ptq_fail(err, PTQ_EDEVICE, "%s: %s; --device cpu computes the same", f->offload->device->name, failure);
}

static int all_finite(const struct ptq_forward *f)
{
    float flag;
    f->offload->device->download(&flag, f->offload->finite, sizeof flag);
    return isfinite(flag);
}

static enum ptq_status find_bad_row(struct ptq_forward *f, int64_t index, struct ptq_error *err)
{
    int64_t width = f->model->config.width, rows = f->windows * f->length;
    ptq_forward_here(f);
    for (int64_t i = 0; i < rows * width; i++)
        if (!isfinite(f->x[i])) return ptq_bad_row(f, index, i / width, err);
    return PTQ_OK;
}

enum ptq_status ptq_offload_begin(struct ptq_forward *f, const struct ptq_block *block, struct ptq_error *err)
{
    struct ptq_offload *o = f->offload;
    int64_t width = f->model->config.width;
    ptq_offload_settle();
    if (o->unchecked) {
        int64_t before = o->unchecked - 1;
        o->unchecked = 0;
        PTQ_TRY(ptq_offload_end(f, before, err));
    }
    PTQ_TRY(take_room(f, block, err));
    struct ptq_carve weights = {.base = o->weights};
    send_block(o, &weights, &f->model->config, block);
    o->device->solver.clear(o->finite, sizeof(float));
    if (o->resident && !f->away)
        o->device->upload(o->x, f->x, sizeof(float) * (size_t)(f->windows * f->length * width));
    f->away = o->resident;
    return PTQ_OK;
}

enum ptq_status ptq_offload_end(struct ptq_forward *f, int64_t index, struct ptq_error *err)
{
    ptq_offload_settle();
    int finite = all_finite(f);
    if (ptq_offload_failed(f, err)) return ptq_within(err, "layer %lld", (long long)index);
    return finite ? PTQ_OK : find_bad_row(f, index, err);
}

enum ptq_status ptq_offload_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                  const struct ptq_tap *tap, struct ptq_error *err)
{
    PTQ_TRY(ptq_offload_begin(f, block, err));
    ptq_offload_parts(f, block, PTQ_PART_ATTN_IN, PTQ_PART_END, 0, tap);
    return ptq_offload_end(f, index, err);
}

/* ---- for quantisation ---- */

void ptq_offload_end_later(struct ptq_forward *f, int64_t index)
{
    f->offload->unchecked = index + 1;
}

unsigned char *ptq_offload_room(struct ptq_forward *f, int number, size_t bytes)
{
    struct ptq_offload *o = f->offload;
    ptq_offload_settle();
    if (o->extra[number].at && o->extra[number].bytes >= bytes) return o->extra[number].at;
    ptq_offload_give(o->device, o->extra[number].at, o->extra[number].bytes);
    o->extra[number].bytes = bytes;
    return o->extra[number].at = ptq_offload_take(o->device, bytes);
}

void ptq_offload_hold(struct ptq_forward *f)
{
    struct ptq_offload *o = f->offload;
    static const enum ptq_input inputs[] = {PTQ_ATTN_OUT, PTQ_MLP_OUT};
    for (int i = 0; i < 2; i++) {
        enum ptq_input input = inputs[i];
        if (o->held[input]) continue;
        o->held_bytes[input] =
            sizeof(float) * (size_t)(f->windows * f->length * ptq_input_width(&f->model->config, input));
        o->held[input] = ptq_offload_take(o->device, o->held_bytes[input]);
    }
}

static struct ptq_offload_product *product_of(struct ptq_forward *f, enum ptq_input input)
{
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (ptq_role_input[role] == input && f->offload->product[role].n) return &f->offload->product[role];
    return NULL;
}

struct ptq_split *ptq_offload_weights(struct ptq_forward *f, enum ptq_input input)
{
    struct ptq_offload_product *product = product_of(f, input);
    return product ? &product->w : NULL;
}

void ptq_offload_replace(struct ptq_forward *f, enum ptq_input input, const float *w)
{
    struct ptq_split *to = &product_of(f, input)->w;
    *to = ptq_split_weights(to->hi, to->state, to->m, to->k); /* none of them exact */
    f->offload->device->solver.split(to, w, to->k);
}
