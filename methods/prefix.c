#include "prefix.h"

#include <string.h>

int64_t ptq_prefix_bytes = 256 << 20;

struct ptq_prefix {
    struct ptq_arena *arena;
    int64_t floats, stride, limit;
    float **x; /* [blocks] or NULL where it is not kept */
};

static int64_t input_bytes(const struct ptq_model *model, int64_t rows)
{
    return rows * model->config.width * (int64_t)sizeof(float);
}

/* Every so manieth block's is kept, but for block 0's. */
static int64_t stride_of(const struct ptq_model *model, int64_t rows, int64_t room)
{
    int64_t bytes = input_bytes(model, rows), blocks = model->config.blocks;
    return bytes > room ? blocks : (blocks * bytes + room - 1) / room;
}

int64_t ptq_prefix_most(const struct ptq_model *model, int64_t rows, int64_t room)
{
    return (model->config.blocks - 1) / stride_of(model, rows, room) * input_bytes(model, rows);
}

struct ptq_prefix *ptq_prefix_make(struct ptq_arena *arena, const struct ptq_model *model, int64_t rows, int64_t room)
{
    struct ptq_prefix *p = ptq_new(arena, struct ptq_prefix, 1);
    p->arena = arena;
    p->floats = rows * model->config.width;
    p->x = ptq_new(arena, float *, model->config.blocks);
    p->stride = stride_of(model, rows, room);
    p->limit = ptq_prefix_most(model, rows, room);
    return p;
}

int64_t ptq_prefix_limit(const struct ptq_prefix *p)
{
    return p->limit;
}

int64_t ptq_prefix_fetch(const struct ptq_prefix *p, int64_t block, struct ptq_forward *f)
{
    while (block >= 0 && !p->x[block]) block--;
    if (block >= 0) memcpy(f->x, p->x[block], sizeof *f->x * (size_t)p->floats);
    return block;
}

/* The embedding is made as fast as it is copied. */
void ptq_prefix_keep(struct ptq_prefix *p, int64_t block, struct ptq_forward *f)
{
    if (block == 0 || p->x[block] || block % p->stride) return;
    ptq_forward_here(f);
    p->x[block] = ptq_new(p->arena, float, p->floats);
    memcpy(p->x[block], f->x, sizeof *f->x * (size_t)p->floats);
}
