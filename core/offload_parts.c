/* A block on a device, batch of windows after batch, in the parts that offload.h names. */
#include "offload.h"

#include "forward_parts.h"

/* ---- a batch through a block ---- */

struct batch {
    struct ptq_forward *f;
    const struct ptq_block *block;
    const struct ptq_tap *tap;
    float *x;               /* [rows][C] there */
    int64_t at, windows;    /* the first row in the tap's arrays; windows of the batch */
    int64_t row;            /* the first row in all of x */
    const float *in;        /* [rows][K] of the input that was entered last, */
    enum ptq_input entered; /* or PTQ_N_INPUT */
};

static int64_t rows_of(const struct batch *b)
{
    return b->windows * b->f->length;
}

static void look(const struct batch *b, enum ptq_input input, const float *x)
{
    const struct ptq_tap *tap = b->tap;
    int64_t k = ptq_input_width(&b->f->model->config, input);
    if (!tap) return;
    if (tap->there)
        tap->there(tap->context, input, x, &b->f->offload->in);
    else
        b->f->offload->device->download(tap->x[input] + b->at * k, x, sizeof *x * (size_t)(rows_of(b) * k));
}

/* x [rows][K] is what the linears of this input read. */
static void enter(struct batch *b, enum ptq_input input, const float *x)
{
    struct ptq_offload *o = b->f->offload;
    int in_parts = b->tap && b->tap->there;
    for (int role = 0; role < PTQ_N_ROLE; role++)
        in_parts |= ptq_role_input[role] == input && o->product[role].n && !o->product[role].is_packed;
    b->in = x;
    b->entered = input;
    o->in = ptq_split_rows(o->in_room, o->in_state, rows_of(b), ptq_input_width(&b->f->model->config, input));
    if (in_parts) o->device->solver.split(&o->in, x, o->in.k);
}

/* The linears of the input that was entered. */
static void multiply(const struct batch *b, float *y, int64_t ldy, int accumulate)
{
    const struct ptq_offload *o = b->f->offload;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_offload_product *p = &o->product[role];
        if (!p->n || ptq_role_input[role] != b->entered) continue;
        if (p->is_packed)
            o->device->packed(y, ldy, b->in, p->k, &p->packed, p->b, accumulate, rows_of(b), o->scratch,
                              PTQ_PACKED_BEST);
        else
            o->device->solver.product(y, ldy, &o->in, &p->w, p->b, accumulate);
        y += p->n;
    }
}

void ptq_offload_norm(const struct ptq_forward *f, float *y, const float *x, const float *w, const float *b,
                      int64_t rows)
{
    const struct ptq_config *c = &f->model->config;
    const struct ptq_ops *ops = &f->offload->device->ops;
    if (c->family->norm == PTQ_RMSNORM)
        ops->rmsnorm(y, x, w, (float)c->norm_eps, rows, c->width);
    else
        ops->layernorm(y, x, w, b, (float)c->norm_eps, rows, c->width);
}

/* What attention (which = 0) or MLP (1) reads. */
static const float *norm_before(const struct batch *b, int which)
{
    const struct ptq_offload *o = b->f->offload;
    if (b->f->model->config.post_norm) return b->x;
    ptq_offload_norm(b->f, o->normed, b->x, o->norm[2 * which], o->norm[2 * which + 1], rows_of(b));
    return o->normed;
}

/* Attention's (0) or the MLP's (1) last linear, added to x. */
static void add(const struct batch *b, int which)
{
    const struct ptq_offload *o = b->f->offload;
    multiply(b, b->x, b->f->model->config.width, 1);
    if (b->f->model->config.post_norm)
        ptq_offload_norm(b->f, b->x, b->x, o->norm[2 * which], o->norm[2 * which + 1], rows_of(b));
}

static void attend(const struct batch *b, float *mixed)
{
    const struct ptq_offload *o = b->f->offload;
    const struct ptq_config *c = &b->f->model->config;
    int64_t ld = ptq_qkv_width(c), width = c->heads * c->head_size, length = b->f->length;
    struct ptq_attention shape = ptq_attention_shape(b->f->model, b->block);
    if (shape.slope) shape.slope = o->slope;
    if (b->f->cosine)
        o->device->ops.rope(o->wide, ld, o->cosine, o->sine, rows_of(b), c->heads + c->kv_heads, c->head_size);
    for (int64_t w = 0; w < b->windows; w++) {
        const float *q = o->wide + w * length * ld, *k = q + width;
        o->device->solver.attention(mixed + w * length * width, width, q, k, k + c->kv_heads * c->head_size, ld, &shape,
                                    length, o->scratch);
    }
}

/* Returns the activation [rows][F], in `held` where that is not NULL. */
static const float *activate(const struct batch *b, float *held)
{
    const struct ptq_offload *o = b->f->offload;
    const struct ptq_ops *ops = &o->device->ops;
    const struct ptq_config *c = &b->f->model->config;
    void (*const plain[PTQ_N_ACTIVATION])(float *, int64_t, int64_t, int64_t) = {
        [PTQ_RELU] = ops->relu, [PTQ_GELU_TANH] = ops->gelu_tanh, [PTQ_GELU_ERF] = ops->gelu_erf};
    float *out = o->mlp;
    if (c->activation == PTQ_SILU_GATED)
        ops->silu_mul(out = held ? held : o->wide, c->ff, o->mlp, o->mlp + c->ff, 2 * c->ff, rows_of(b), c->ff);
    else
        plain[c->activation](out, c->ff, rows_of(b), c->ff);
    if (o->divisor) ops->divide(out, c->ff, o->divisor, rows_of(b), c->ff);
    if (held && out != held) o->device->solver.copy(held, out, sizeof *out * (size_t)(rows_of(b) * c->ff));
    return out;
}

/* Where an input's rows are held, or NULL. */
static float *held_rows(const struct batch *b, enum ptq_input input)
{
    float *all = b->f->offload->held[input];
    return all ? all + b->row * ptq_input_width(&b->f->model->config, input) : NULL;
}

/* What is missing for a part whose input was not entered in this call. */
static void catch_up(struct batch *b, enum ptq_input input);

static void enter_attention(struct batch *b)
{
    enter(b, PTQ_ATTN_IN, norm_before(b, 0));
}

static void enter_mixed(struct batch *b)
{
    float *mixed = held_rows(b, PTQ_ATTN_OUT);
    const struct ptq_offload *o = b->f->offload;
    catch_up(b, PTQ_ATTN_IN);
    multiply(b, o->wide, ptq_qkv_width(&b->f->model->config), 0);
    attend(b, mixed = mixed ? mixed : o->mixed);
    enter(b, PTQ_ATTN_OUT, mixed);
}

static void enter_mlp(struct batch *b)
{
    catch_up(b, PTQ_ATTN_OUT);
    add(b, 0);
    enter(b, PTQ_MLP_IN, norm_before(b, 1));
}

static void enter_activation(struct batch *b)
{
    const struct ptq_config *c = &b->f->model->config;
    catch_up(b, PTQ_MLP_IN);
    multiply(b, b->f->offload->mlp, c->activation == PTQ_SILU_GATED ? 2 * c->ff : c->ff, 0);
    enter(b, PTQ_MLP_OUT, activate(b, held_rows(b, PTQ_MLP_OUT)));
}

static void catch_up(struct batch *b, enum ptq_input input)
{
    const float *held = held_rows(b, input);
    if (b->entered == input) return;
    if (held)
        enter(b, input, held);
    else if (input == PTQ_ATTN_IN)
        enter_attention(b);
    else if (input == PTQ_ATTN_OUT)
        enter_mixed(b);
    else if (input == PTQ_MLP_IN) /* o is in x already */
        enter(b, PTQ_MLP_IN, norm_before(b, 1));
    else
        enter_activation(b);
}

static void run_parts(struct batch *b, enum ptq_offload_part first, enum ptq_offload_part last)
{
    static void (*const part[PTQ_N_INPUT])(struct batch *) = {enter_attention, enter_mixed, enter_mlp,
                                                              enter_activation};
    const struct ptq_offload *o = b->f->offload;
    int64_t width = b->f->model->config.width;
    b->entered = PTQ_N_INPUT;
    for (int p = first; p <= (int)last && p < PTQ_N_INPUT; p++) {
        part[p](b);
        look(b, (enum ptq_input)p, b->in);
    }
    if (last < PTQ_PART_END) return;
    catch_up(b, PTQ_MLP_OUT);
    add(b, 1);
    o->device->solver.finite(o->finite, b->x, rows_of(b), width);
}

/* ---- all batches ---- */

void ptq_offload_parts(struct ptq_forward *f, const struct ptq_block *block, enum ptq_offload_part first,
                       enum ptq_offload_part last, int look_only, const struct ptq_tap *tap)
{
    const struct ptq_offload *o = f->offload;
    int64_t c = f->model->config.width;
    for (int64_t window = 0, n; window < f->windows; window += n) {
        n = min64(f->batch_windows, f->windows - window);
        struct batch b = {.f = f, .block = block, .tap = tap};
        for (int64_t w = 0; w < n; w += o->windows) {
            b.at = w * f->length;
            b.windows = min64(o->windows, n - w);
            b.row = (window + w) * f->length;
            size_t bytes = sizeof(float) * (size_t)(rows_of(&b) * c);
            b.x = o->resident ? o->x + b.row * c : o->x;
            if (!o->resident) o->device->upload(b.x, f->x + b.row * c, bytes);
            if (look_only && o->resident) o->device->solver.copy(o->copy, b.x, bytes);
            if (look_only && o->resident) b.x = o->copy;
            run_parts(&b, first, last);
            if (!o->resident && !look_only) o->device->download(f->x + b.row * c, b.x, bytes);
        }
        if (tap && !tap->there) tap->seen(tap->context, window * f->length, n * f->length);
    }
}
