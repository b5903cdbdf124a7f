/* The linears of a block inside the forward pass: float32 products, or packed codes on activations of 16 or 8 bits.
 */
#include "forward.h"
#include "forward_parts.h"

#include "ops.h"
#include "pool.h"

#include <string.h>

/* Outputs that a thread takes at a time where few rows are cut by outputs: as many for any number of threads. */
enum { SPLIT_OUTPUTS = 64, SPLIT_TILES = SPLIT_OUTPUTS / PTQ_PACK_ROWS };

/* ---- packing ---- */

enum ptq_status ptq_block_pack(struct ptq_arena *arena, const struct ptq_qmat *q, struct ptq_block *block,
                               struct ptq_error *err)
{
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &block->linear[role];
        if (!l->n || !q[role].n) continue; /* no codes: float32 */
        struct ptq_packed *p = ptq_new(arena, struct ptq_packed, 1);
        if (ptq_pack(arena, &q[role], p, err)) return ptq_within(err, "%s", l->name);
        l->packed = p;
    }
    return PTQ_OK;
}

void ptq_block_room(struct ptq_arena *arena, struct ptq_block *block, int64_t n, int act_bits)
{
    size_t most = 0;
    for (int64_t i = 0; i < n * PTQ_N_ROLE; i++) {
        const struct ptq_packed *p = block[i / PTQ_N_ROLE].linear[i % PTQ_N_ROLE].packed;
        size_t bytes = p ? ptq_acts_bytes(p, PTQ_TILE_ROWS, act_bits) : 0;
        most = bytes > most ? bytes : most;
    }
    if (!most) return;
    void **acts = ptq_new(arena, void *, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++) acts[i] = ptq_alloc(arena, most, "activations");
    for (int64_t i = 0; i < n; i++) block[i].acts = acts, block[i].act_bits = act_bits;
}

/* ---- one linear, whole or cut by outputs ---- */

struct linear_task {
    const struct ptq_linear *linear;
    const struct ptq_tile *tile;
    const struct ptq_acts *acts; /* of a packed one */
    float *y;                    /* at the linear's first output */
    int64_t n;                   /* outputs: of a packed linear its own, of float32 ones all that lie stacked */
};

static void packed_tiles(const struct linear_task *t, int64_t first, int64_t tiles)
{
    const struct ptq_packed *w = t->linear->packed;
    ptq_ops()->packed(t->y, t->tile->ldy, t->acts, w, t->linear->b, t->tile->accumulate, first,
                      min64(tiles, w->tiles - first));
}

static void float_outputs(const struct linear_task *t, int64_t first, int64_t n)
{
    const struct ptq_linear *l = t->linear;
    ptq_ops()->linear(t->y + first, t->tile->ldy, t->tile->x, t->tile->ldx, l->w + first * l->k,
                      l->b ? l->b + first : NULL, t->tile->accumulate, t->tile->rows, min64(n, t->n - first), l->k);
}

static void split_task(void *context, int64_t i, int worker)
{
    struct linear_task *t = context;
    (void)worker;
    if (t->linear->packed)
        packed_tiles(t, i * SPLIT_TILES, SPLIT_TILES);
    else
        float_outputs(t, i * SPLIT_OUTPUTS, SPLIT_OUTPUTS);
}

static void run_linear(const struct ptq_forward *f, struct linear_task *t)
{
    if (f->split)
        ptq_parallel_for((t->n + SPLIT_OUTPUTS - 1) / SPLIT_OUTPUTS, split_task, t);
    else if (t->linear->packed)
        packed_tiles(t, 0, t->linear->packed->tiles);
    else
        float_outputs(t, 0, t->n);
}

/* Activations are made once for linears that see them alike. */
static void packed_group(const struct ptq_forward *f, const struct ptq_block *block, enum ptq_input input,
                         const struct ptq_tile *tile, int worker)
{
    const struct ptq_packed *made = NULL;
    struct ptq_acts acts;
    struct linear_task t = {.tile = tile, .acts = &acts, .y = tile->y};
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_linear *l = &block->linear[role];
        if (!l->n || ptq_role_input[role] != input) continue;
        if (!made || !ptq_acts_serve(block->act_bits, made, l->packed)) {
            ptq_acts_make(&acts, l->packed, tile->rows, block->act_bits, block->acts[worker]);
            ptq_ops()->acts(&acts, l->packed, tile->x, tile->ldx);
            made = l->packed;
        }
        t.linear = l;
        t.n = l->n;
        run_linear(f, &t);
        t.y += l->n;
    }
}

void ptq_tile_linear(const struct ptq_forward *f, const struct ptq_block *block, enum ptq_input input,
                     const struct ptq_tile *tile, int worker)
{
    struct linear_task t = {.tile = tile, .y = tile->y};
    for (int role = PTQ_N_ROLE - 1; role >= 0; role--)
        if (block->linear[role].n && ptq_role_input[role] == input) {
            t.linear = &block->linear[role]; /* in the end the first, behind whose weights the others' lie */
            t.n += block->linear[role].n;
        }
    if (t.linear->packed)
        packed_group(f, block, input, tile, worker);
    else
        run_linear(f, &t);
}
