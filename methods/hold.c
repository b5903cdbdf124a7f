#include "hold.h"

#include "kept.h"
#include "path.h"
#include "progress.h"
#include "session.h"

#include <string.h>

struct holding {
    struct ptq_arena *arena;
    struct ptq_held *held;
};

/* Weights (unless they are packed) and biases of one input's linears, one behind the other as they were. */
static void copy_input(struct ptq_arena *arena, enum ptq_input input, int packed, struct ptq_block *b)
{
    int64_t weights = 0, outputs = 0;
    struct ptq_linear *first = NULL;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &b->linear[role];
        if (!l->n || ptq_role_input[role] != input) continue;
        if (!first) first = l;
        weights += l->n * l->k;
        outputs += l->n;
    }
    float *w = packed ? NULL : ptq_copy_floats(arena, first->w, weights),
          *bias = ptq_copy_floats(arena, first->b, outputs);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &b->linear[role];
        if (!l->n || ptq_role_input[role] != input) continue;
        l->w = w;
        l->b = bias;
        if (w) w += l->n * l->k;
        if (bias) bias += l->n;
    }
}

/* Images of the model's file as the decoder keeps them: in memory of its own, which has larger pages than a file, and
 * which nobody cuts short. */
static void copy_images(struct ptq_arena *arena, struct ptq_block *b)
{
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &b->linear[role];
        if (!l->n) continue;
        struct ptq_packed *p = ptq_new(arena, struct ptq_packed, 1);
        void *image = ptq_alloc(arena, l->packed->bytes, "a packed linear");
        memcpy(image, l->packed->image, l->packed->bytes);
        *p = *l->packed;
        ptq_packed_move(p, image);
        l->packed = p;
    }
}

/* The sink of the pipeline: block and q are in passing memory. */
static enum ptq_status take_block(void *context, int64_t index, const struct ptq_block *block, const struct ptq_qmat *q,
                                  struct ptq_error *err)
{
    struct holding *h = context;
    const struct ptq_config *c = &h->held->model->config;
    struct ptq_block *b = &h->held->block[index];
    int packed = ptq_path_act_bits(h->held->path) != 0;
    *b = *block;
    float **norm[] = {&b->norm1_w, &b->norm1_b, &b->norm2_w, &b->norm2_b};
    for (int i = 0; i < 4; i++) *norm[i] = ptq_copy_floats(h->arena, *norm[i], c->width);
    b->activation_scale = ptq_copy_floats(h->arena, block->activation_scale, c->ff);
    for (int input = 0; input < PTQ_N_INPUT; input++) copy_input(h->arena, (enum ptq_input)input, packed, b);
    if (h->held->model->path)
        copy_images(h->arena, b);
    else if (packed)
        PTQ_TRY(ptq_block_pack(h->arena, q, b, err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        double weights = (double)(b->linear[role].n * b->linear[role].k);
        h->held->weights += weights;
        h->held->bytes += b->linear[role].packed ? (double)b->linear[role].packed->bytes : 4 * weights;
    }
    return PTQ_OK;
}

enum ptq_status ptq_hold_plan(struct ptq_session *session, const struct ptq_job *job, struct ptq_planned *plan,
                              struct ptq_held *out, struct ptq_error *err)
{
    struct ptq_block_sink sink = {take_block, NULL};
    struct ptq_job with = *job;
    with.sink = &sink;
    with.text = NULL;
    PTQ_TRY(ptq_session_plan(session, &with, plan, err));
    *out = (struct ptq_held){.model = &plan->model->model, .tokenizer = plan->model->tokenizer, .path = plan->path};
    return PTQ_OK;
}

enum ptq_status ptq_hold(struct ptq_session *session, const struct ptq_job *job, struct ptq_arena *arena,
                         struct ptq_held *out, struct ptq_error *err)
{
    struct ptq_planned plan;
    struct holding holding = {arena, out};
    struct ptq_block_sink sink = {take_block, &holding};
    struct ptq_job with = *job;
    struct ptq_cell cell;
    with.sink = &sink;
    with.text = NULL;
    PTQ_TRY(ptq_session_plan(session, &with, &plan, err));
    PTQ_TRY(ptq_cell_plan(session, &with, arena, &cell, err));
    *out = (struct ptq_held){.model = &plan.model->model, .tokenizer = plan.model->tokenizer};
    out->spec = cell.spec;
    out->path = cell.path;
    out->block = ptq_new(arena, struct ptq_block, out->model->config.blocks);
    PTQ_TRY(ptq_cell_run(session, &with, arena, &cell, err));
    ptq_block_room(arena, out->block, out->model->config.blocks, ptq_path_act_bits(out->path));
    out->seconds_load = cell.seconds_load;
    out->seconds_calibrate = cell.seconds_calibrate;
    out->seconds_quantize = cell.seconds_quantize;
    return PTQ_OK;
}
