#include "prefix.h"

#include <string.h>

int64_t ptq_prefix_bytes = 256 << 20;

struct ptq_prefix {
    struct ptq_arena *arena;
    int64_t floats, stride;
    float **x; /* [blocks] or NULL where it is not kept */
};

struct ptq_prefix *ptq_prefix_make(struct ptq_arena *arena, const struct ptq_model *model, int64_t rows)
{
    struct ptq_prefix *p = ptq_new(arena, struct ptq_prefix, 1);
    int64_t bytes = rows * model->config.width * (int64_t)sizeof(float);
    p->arena = arena;
    p->floats = rows * model->config.width;
    p->x = ptq_new(arena, float *, model->config.blocks);
    p->stride = (model->config.blocks * bytes + ptq_prefix_bytes - 1) / ptq_prefix_bytes;
    if (bytes > ptq_prefix_bytes)
        p->stride = model->config.blocks; /* not even one fits: none, since block 0's is not */
    return p;
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
