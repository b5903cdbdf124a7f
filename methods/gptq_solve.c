/* The column loop of GPTQ, for tiles of rows, since a row's codes depend on no other row.
 *
 * A tile holds its rows [ROWS][K] in the order of the factor's places, and goes through blocks of 128 columns [i1, i2):
 *
 *   groups that begin in the block     scale, zero from the tile as it stands before the block ("stale" for all but
 *                                      the first where G < 128: what the published code does)
 *   kernels feedback                   codes and errors, each column's error fed to the rest of the block
 *   kernels subtract                   W[:, i2:] -= E U[i1:i2, i2:]
 *
 * fresh_groups ends blocks where a group begins: the same mathematics, and no group is stale. */
#include "gptq_solve.h"

#include "grid.h"
#include "ops.h"
#include "pool.h"

#include <math.h>
#include <string.h>

enum { ROWS = 64, LANE_TILES = ROWS / PTQ_LANES, SHRINKS = 80 };

/* ---- a group's grid ---- */

/* sym: the published code leaves the lower end at 0 where no weight is negative, yet puts the zero in the middle. */
static void ends(const struct ptq_grid *grid, float lo, float hi, float *scale, float *zero)
{
    ptq_grid_ends(grid, lo, hi, scale, zero);
    if (grid->sym && grid->range == PTQ_RANGE_GPTQ && lo >= 0 && hi > 0) *scale = hi / (float)((1 << grid->w_bit) - 1);
}

static double shrink_error(const float *w, int64_t n, float scale, float zero, float maxq, double best)
{
    double sum = 0;
    for (int64_t i = 0; i < n && sum < best; i++) {
        float q = rintf(w[i] / scale) + zero;
        q = q < 0 ? 0 : q > maxq ? maxq : q;
        sum += powf(fabsf(scale * (q - zero) - w[i]), 2.4f);
    }
    return sum;
}

int ptq_gptq_fit(const struct ptq_grid *grid, int mse, const float *w, int64_t n, float *scale, float *zero)
{
    float lo, hi, maxq = (float)((1 << grid->w_bit) - 1);
    ptq_ops()->minmax(w, n, &lo, &hi);
    ends(grid, lo, hi, scale, zero);
    double best = HUGE_VAL;
    for (int i = 0; mse && i < SHRINKS; i++) {
        float part = (float)(1 - i / 100.0), some_scale, some_zero;
        ends(grid, part * lo, part * hi, &some_scale, &some_zero);
        double error = shrink_error(w, n, some_scale, some_zero, maxq, best);
        if (error >= best) continue;
        best = error;
        *scale = some_scale;
        *zero = some_zero;
    }
    return lo / *scale + *zero < -0.5f || hi / *scale + *zero > maxq + 0.5f;
}

/* ---- a tile ---- */

struct solve {
    const struct ptq_gptq_factor *factor;
    const struct ptq_gptq_options *options;
    const float *w;
    struct ptq_qmat *q;
    int64_t group_size;
    int32_t *group; /* [K] by place */
    double *loss;
    int32_t *saturated;
    struct tile *tile; /* [threads] */
};

/* One worker's. Transposed arrays hold PTQ_LANES rows side by side, LANE_TILES of them. */
struct tile {
    int64_t first, rows;
    float *w;            /* [ROWS][K] by place */
    float *error;        /* [ROWS][PTQ_GPTQ_BLOCK] */
    float *row;          /* [K] by column */
    float *scale, *zero; /* [LANE_TILES][groups][PTQ_LANES] */
    float *lanes, *lane_error;
    uint8_t *lane_code; /* [PTQ_GPTQ_BLOCK][PTQ_LANES] */
};

static void fit(const struct solve *s, struct tile *t, int64_t row, int64_t group, const float *w, int64_t n)
{
    const struct ptq_qmat *q = s->q;
    int64_t at = (t->first + row) * q->n_groups + group;
    int64_t lane = (row / PTQ_LANES * q->n_groups + group) * PTQ_LANES + row % PTQ_LANES;
    s->saturated[t->first + row] += ptq_gptq_fit(&q->grid, s->options->mse, w, n, &q->scale[at], &q->zero[at]);
    t->scale[lane] = q->scale[at];
    t->zero[lane] = q->zero[at];
}

/* The groups that begin at columns or places [from, to) of w [K], for one row. */
static void fit_groups(const struct solve *s, struct tile *t, int64_t row, const float *w, int64_t from, int64_t to)
{
    int64_t g = s->group_size, k = s->q->k;
    for (int64_t i = (from + g - 1) / g * g; i < to; i += g) fit(s, t, row, i / g, w + i, k - i < g ? k - i : g);
}

/* The tile's rows, dead columns 0, in the order of places; and the grids that are known before the first block: the
 * whole row's (before dead columns are zeroed: so has it the published code), and those of static groups. */
static void load(const struct solve *s, struct tile *t)
{
    const struct ptq_gptq_factor *f = s->factor;
    int64_t k = s->q->k, lanes = LANE_TILES * s->q->n_groups * PTQ_LANES;
    for (int64_t i = 0; i < lanes; i++) t->scale[i] = 1, t->zero[i] = 0;
    for (int64_t row = 0; row < t->rows; row++) {
        memcpy(t->row, s->w + (t->first + row) * k, sizeof *t->row * (size_t)k);
        if (s->q->grid.group_size < 0) fit(s, t, row, 0, t->row, k);
        for (int64_t i = 0; i < k; i++)
            if (f->dead[i]) t->row[i] = 0;
        if (s->options->static_groups && s->q->grid.group_size > 0) fit_groups(s, t, row, t->row, 0, k);
        for (int64_t i = 0; i < k; i++) t->w[row * k + i] = t->row[f->perm ? f->perm[i] : i];
    }
}

/* Columns [from, to) of one lane tile through the loop; errors by row, codes to where they stay. */
static void feed_lanes(const struct solve *s, struct tile *t, int64_t lane_tile, int64_t from, int64_t to)
{
    const struct ptq_gptq_factor *f = s->factor;
    int64_t k = s->q->k, n = to - from, first = lane_tile * PTQ_LANES;
    int64_t rows = t->rows - first < PTQ_LANES ? t->rows - first : PTQ_LANES;
    for (int64_t i = 0; i < n; i++)
        for (int64_t lane = 0; lane < PTQ_LANES; lane++)
            t->lanes[i * PTQ_LANES + lane] = lane < rows ? t->w[(first + lane) * k + from + i] : 0;
    struct ptq_feedback feedback = {.columns = n,
                                    .maxq = (1 << s->q->grid.w_bit) - 1,
                                    .w = t->lanes,
                                    .u = f->u + from * k + from,
                                    .ldu = k,
                                    .group = s->group + from,
                                    .scale = t->scale + lane_tile * s->q->n_groups * PTQ_LANES,
                                    .zero = t->zero + lane_tile * s->q->n_groups * PTQ_LANES,
                                    .code = t->lane_code,
                                    .error = t->lane_error};
    ptq_ops()->feedback(&feedback);
    for (int64_t lane = 0; lane < rows; lane++) {
        int64_t row = first + lane;
        uint8_t *code = s->q->code + (t->first + row) * k;
        double loss = 0;
        for (int64_t i = 0; i < n; i++) {
            float error = t->lane_error[i * PTQ_LANES + lane];
            t->error[row * PTQ_GPTQ_BLOCK + i] = error;
            code[f->perm ? f->perm[from + i] : from + i] = t->lane_code[i * PTQ_LANES + lane];
            loss += (double)error * error;
        }
        s->loss[t->first + row] += loss / 2;
    }
}

/* Where the block that begins at `from` ends. */
static int64_t block_end(const struct solve *s, int64_t from)
{
    int64_t g = s->group_size, k = s->q->k, to = from + PTQ_GPTQ_BLOCK < k ? from + PTQ_GPTQ_BLOCK : k;
    int64_t next = (from / g + 1) * g;
    return s->options->fresh_groups && !s->options->static_groups && next < to ? next : to;
}

static void solve_tile(void *context, int64_t i, int worker)
{
    const struct solve *s = context;
    struct tile *t = &s->tile[worker];
    int64_t k = s->q->k, left = s->q->n - i * ROWS;
    t->first = i * ROWS;
    t->rows = left < ROWS ? left : ROWS;
    load(s, t);
    int fits = s->q->grid.group_size > 0 && !s->options->static_groups;
    for (int64_t from = 0, to; from < k; from = to) {
        to = block_end(s, from);
        for (int64_t row = 0; fits && row < t->rows; row++) fit_groups(s, t, row, t->w + row * k, from, to);
        for (int64_t lanes = 0; lanes * PTQ_LANES < t->rows; lanes++) feed_lanes(s, t, lanes, from, to);
        if (to < k)
            ptq_ops()->subtract(t->w + to, k, t->error, PTQ_GPTQ_BLOCK, s->factor->u + from * k + to, k, t->rows,
                                k - to, to - from);
    }
}

static struct tile *make_tiles(struct ptq_arena *arena, int64_t k, int64_t n_groups)
{
    struct tile *tile = ptq_new(arena, struct tile, ptq_pool_size());
    for (int i = 0; i < ptq_pool_size(); i++) {
        struct tile *t = &tile[i];
        t->w = ptq_new(arena, float, ROWS *k);
        t->error = ptq_new(arena, float, ROWS *PTQ_GPTQ_BLOCK);
        t->row = ptq_new(arena, float, k);
        t->scale = ptq_new(arena, float, ROWS *n_groups);
        t->zero = ptq_new(arena, float, ROWS *n_groups);
        t->lanes = ptq_new(arena, float, PTQ_GPTQ_BLOCK *PTQ_LANES);
        t->lane_error = ptq_new(arena, float, PTQ_GPTQ_BLOCK *PTQ_LANES);
        t->lane_code = ptq_new(arena, uint8_t, PTQ_GPTQ_BLOCK * PTQ_LANES);
    }
    return tile;
}

void ptq_gptq_solve(const struct ptq_gptq_factor *factor, const struct ptq_gptq_options *options, const float *w,
                    struct ptq_arena *arena, struct ptq_arena *scratch, struct ptq_qmat *q, double *loss,
                    int32_t *saturated)
{
    int64_t k = q->k, g = q->grid.group_size < 0 ? k : q->grid.group_size;
    int by_column = options->static_groups && factor->perm;
    if (factor->perm && !options->static_groups && q->n_groups > 1) {
        q->perm = ptq_new(arena, int32_t, k);
        memcpy(q->perm, factor->perm, sizeof *q->perm * (size_t)k);
    }
    struct ptq_mark mark = ptq_arena_mark(scratch);
    struct solve s = {.factor = factor, .options = options, .w = w, .q = q, .group_size = g};
    s.loss = loss;
    s.saturated = saturated;
    s.group = ptq_new(scratch, int32_t, k);
    for (int64_t i = 0; i < k; i++) s.group[i] = (int32_t)((by_column ? factor->perm[i] : i) / g);
    s.tile = make_tiles(scratch, k, q->n_groups);
    ptq_parallel_for((q->n + ROWS - 1) / ROWS, solve_tile, &s);
    ptq_arena_rewind(scratch, mark);
}
