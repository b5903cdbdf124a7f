/* The linears of a block inside the forward pass: float32 products, or packed codes on 16-bit activations. */
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
        if (!l->n) continue;
        struct ptq_packed *p = ptq_new(arena, struct ptq_packed, 1);
        if (ptq_pack(arena, &q[role], p, err)) return ptq_within(err, "%s", l->name);
        l->packed = p;
    }
    return PTQ_OK;
}

void ptq_block_room(struct ptq_arena *arena, struct ptq_block *block, int64_t n)
{
    size_t most = 0;
    for (int64_t i = 0; i < n * PTQ_N_ROLE; i++) {
        const struct ptq_packed *p = block[i / PTQ_N_ROLE].linear[i % PTQ_N_ROLE].packed;
        size_t bytes = p ? ptq_acts_bytes(p, PTQ_TILE_ROWS) : 0;
        most = bytes > most ? bytes : most;
    }
    if (!most) return;
    void **acts = ptq_new(arena, void *, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++) acts[i] = ptq_alloc(arena, most, "activations");
    for (int64_t i = 0; i < n; i++) block[i].acts = acts;
}

/* ---- one linear, whole or cut by outputs ---- */

struct linear_task {
    const struct ptq_linear *linear;
    const struct ptq_tile *tile;
    const struct ptq_acts *acts; /* of a packed one */
    float *y;                    /* at the linear's first output */
    int64_t n;                   /* outputs: of a packed linear its own, of float32 ones all that lie stacked */
    int wide;                    /* float32 weights, sums in float64 */
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
    (t->wide ? ptq_ops()->linear_wide : ptq_ops()->linear)(
        t->y + first, t->tile->ldy, t->tile->x, t->tile->ldx, l->w + first * l->k, l->b ? l->b + first : NULL,
        t->tile->accumulate, t->tile->rows, min64(n, t->n - first), l->k);
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
        if (!made || !ptq_packed_alike(made, l->packed)) {
            ptq_acts_make(&acts, l->packed, tile->rows, block->acts[worker]);
            ptq_ops()->acts(&acts, l->packed, tile->x, tile->ldx);
            made = l->packed;
        }
        t.linear = l;
        t.n = l->n;
        run_linear(f, &t);
        t.y += l->n;
    }
}

/* ---- rows with a massive activation ----
 *
 * The first tokens of a window can hold an activation that is thousands of times its neighbours (arXiv:2402.17762): the
 * products of one column then outweigh all others, whose sums in float32 are rounded at its size. The residual that
 * they make is taken back blocks later, and what is left is no larger than that rounding: logits of such a token are
 * off by several 1e-3. These rows, a few of a window, are summed in float64. */

static double sum_of_squares(const float *x, int64_t n)
{
    double lane[8] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++) lane[l] += (double)x[i + l] * x[i + l];
    for (; i < n; i++) sum += (double)x[i] * x[i];
    for (int l = 0; l < 8; l++) sum += lane[l];
    return sum;
}

/* Whether the largest entry is over twice the norm of all others together; an ordinary row is known for one after a few
 * of its entries. */
static int massive(const float *x, int64_t k)
{
    float low, high;
    ptq_ops()->minmax(x, k, &low, &high);
    double most = -low > high ? -low : high, squares = 0, limit = most * most * 5 / 4;
    for (int64_t i = 0; i < k && squares < limit; i += 64) squares += sum_of_squares(x + i, min64(64, k - i));
    return squares < limit;
}

static int keep_massive(const struct linear_task *t, unsigned char *found)
{
    const struct ptq_tile *tile = t->tile;
    int any = 0;
    for (int64_t i = 0; i < tile->rows; i++) {
        found[i] = (unsigned char)massive(tile->x + i * tile->ldx, t->linear->k);
        if (found[i]) memcpy(tile->kept + i * t->n, tile->y + i * tile->ldy, sizeof *tile->y * (size_t)t->n);
        any |= found[i];
    }
    return any;
}

static void redo_massive(const struct ptq_forward *f, const struct linear_task *t, const unsigned char *found)
{
    for (int64_t i = 0; i < t->tile->rows; i++) {
        if (!found[i]) continue;
        struct ptq_tile row = *t->tile;
        struct linear_task again = *t;
        row.x += i * row.ldx;
        row.y += i * row.ldy;
        row.rows = 1;
        memcpy(row.y, row.kept + i * t->n, sizeof *row.y * (size_t)t->n);
        again.tile = &row;
        again.y = row.y;
        again.wide = 1;
        run_linear(f, &again);
    }
}

/* The product of all rows is made first, and massive rows are made again: the others' bytes are those of any tile. */
static void accumulate_float(const struct ptq_forward *f, struct linear_task *t)
{
    unsigned char found[PTQ_TILE_ROWS];
    int any = keep_massive(t, found);
    run_linear(f, t);
    if (any) redo_massive(f, t, found);
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
    else if (tile->kept)
        accumulate_float(f, &t);
    else
        run_linear(f, &t);
}
