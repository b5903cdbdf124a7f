/* The column loop of GPTQ, for tiles of rows, since a row's codes depend on no other row.
 *
 * With H + damp = R R^T (gptq_factor.c) and e = q - w, the codes less the original weights, of the columns before p:
 * the other columns make e good best where they are
 *
 *   w_j - (e R[<p, >=p] R[>=p, >=p]^-1)_j      the right side of H's normal equations, solved forwards
 *
 * which is what the published code reaches by subtracting each column's error times a row of U = R^-1 (arXiv:2507.18553
 * shows it). So nothing but the diagonal blocks of U is needed, and products have long sums in place of long updates.
 *
 * A tile holds e transposed, [K][ROWS], w where nothing is coded yet, and goes through spans of columns, and each span
 * through blocks of at most 128 columns [from, to):
 *
 *   span    t = -e[<span] R[<span, span]
 *   block   now = w + t R[from.., from..]^-1       the weights as they stand before the block
 *           groups that begin in the block         scale, zero from now: "stale" for all but the first where G < 128,
 *                                                  as in the published code
 *           kernels feedback                       codes and errors, each column's error fed to the rest of the block
 *           t -= e[block] R[block, rest of the span]
 *
 * fresh_groups ends blocks where a group begins: the same mathematics, and no group is stale. */
#include "gptq_solve.h"

#include "grid.h"
#include "ops.h"
#include "pool.h"

#include <assert.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

/* SPAN columns are enough for long products and few enough for t to stay in cache. LD is no multiple of a page. */
enum { ROWS = 256, LD = ROWS + 16, LANE_TILES = ROWS / PTQ_LANES, SPAN = 512, SHRINKS = 80 };

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

/* ---- blocks ---- */

struct block {
    int64_t from, to; /* columns */
    int64_t reach;    /* end of the last group that begins in it, or to */
    float *u;         /* [to - from][PTQ_GPTQ_BLOCK]: R[from..to, from..to]^-1 */
};

struct solve {
    const struct ptq_gptq_factor *factor;
    const struct ptq_gptq_options *options;
    const float *w;
    struct ptq_qmat *q;
    int64_t group_size;
    int fits;        /* grids come from weights with errors fed back */
    int32_t *group;  /* [K] by place */
    int32_t *column; /* [K] by place: factor->perm, or the place itself */
    struct block *block;
    int64_t n_blocks;
    double *loss;
    int32_t *saturated;
    struct tile *tile; /* [threads] */
};

int64_t ptq_gptq_block_end(const struct ptq_gptq_options *options, int64_t group_size, int64_t k, int64_t from)
{
    int64_t to = from + PTQ_GPTQ_BLOCK < k ? from + PTQ_GPTQ_BLOCK : k, next = (from / group_size + 1) * group_size;
    return options->fresh_groups && !options->static_groups && next < to ? next : to;
}

static int64_t block_end(const struct solve *s, int64_t from)
{
    return ptq_gptq_block_end(s->options, s->group_size, s->q->k, from);
}

/* One block's part of U, in float64. */
static void invert_block(void *context, int64_t i, int worker)
{
    const struct solve *s = context;
    const struct block *b = &s->block[i];
    int64_t n = b->to - b->from;
    double inverse[PTQ_GPTQ_BLOCK * PTQ_GPTQ_BLOCK];
    (void)worker;
    for (int64_t p = 0; p < n; p++)
        memcpy(inverse + p * n + p, s->factor->band + (b->from + p) * PTQ_GPTQ_BLOCK,
               sizeof *inverse * (size_t)(n - p));
    /* Row-major upper is LAPACK's lower: nothing is transposed. */
    int64_t bad = LAPACKE_dtrtri(LAPACK_COL_MAJOR, 'L', 'N', (lapack_int)n, inverse, (lapack_int)n);
    assert(bad == 0); /* the diagonal of a Cholesky factor holds no 0 */
    (void)bad;
    for (int64_t p = 0; p < n; p++)
        for (int64_t q = p; q < n; q++) b->u[p * PTQ_GPTQ_BLOCK + q] = (float)inverse[p * n + q];
}

static void make_blocks(struct solve *s, struct ptq_arena *arena)
{
    int64_t k = s->q->k, g = s->group_size;
    for (int64_t from = 0; from < k; from = block_end(s, from)) s->n_blocks++;
    s->block = ptq_new(arena, struct block, s->n_blocks);
    for (int64_t i = 0, from = 0; i < s->n_blocks; i++, from = s->block[i - 1].to) {
        struct block *b = &s->block[i];
        *b = (struct block){.from = from, .to = block_end(s, from)};
        int64_t group_end = ((b->to - 1) / g + 1) * g, last_begins = group_end - g >= from;
        b->reach = s->fits && last_begins && group_end > b->to ? group_end < k ? group_end : k : b->to;
        b->u = ptq_new(arena, float, (b->to - from) * PTQ_GPTQ_BLOCK);
    }
    ptq_parallel_for(s->n_blocks, invert_block, s);
}

/* ---- a tile ---- */

/* One worker's. Transposed arrays hold a column's rows side by side, those of the lanes PTQ_LANES of them. */
struct tile {
    int64_t first, rows, lanes; /* lanes: rows rounded up; what is behind rows is 0 and stays of no account */
    float *e;                   /* [K][LD] by place: the codes' values less the weights; before that, the weights */
    float *t, *now;             /* [columns of a span and the groups that reach beyond it][LD] */
    float *row;                 /* [K] by column */
    float *group;               /* [PTQ_LANES][G] */
    float *scale, *zero;        /* [LANE_TILES][groups][PTQ_LANES] */
    float *lane_w, *lane_error, *lane_back;
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

/* Grids that are known before the first block: the whole row's (before dead columns are zeroed: so has it the published
 * code), and those of static groups. */
static void fit_row(const struct solve *s, struct tile *t, int64_t row)
{
    int64_t k = s->q->k, g = s->group_size;
    const float *w = s->w + (t->first + row) * k;
    if (s->q->grid.group_size < 0) {
        fit(s, t, row, 0, w, k);
        return;
    }
    for (int64_t i = 0; i < k; i++) t->row[i] = s->factor->dead[i] ? 0 : w[i];
    for (int64_t i = 0; i < k; i += g) fit(s, t, row, i / g, t->row + i, k - i < g ? k - i : g);
}

/* The tile's rows, transposed, dead columns 0, in the order of places. A few columns at a time, so that a line of w is
 * read once. */
static void load(const struct solve *s, struct tile *t)
{
    enum { SOME = 16 };
    int64_t k = s->q->k, scales = LANE_TILES * s->q->n_groups * PTQ_LANES;
    for (int64_t i = 0; i < scales; i++) t->scale[i] = 1, t->zero[i] = 0;
    for (int64_t row = 0; !s->fits && row < t->rows; row++) fit_row(s, t, row);
    for (int64_t p = 0; p < k; p += SOME) {
        int64_t n = k - p < SOME ? k - p : SOME;
        for (int64_t row = 0; row < t->rows; row++) {
            const float *w = s->w + (t->first + row) * k;
            float *e = t->e + p * LD + row;
            for (int64_t i = 0; i < n; i++) e[i * LD] = w[s->column[p + i]];
        }
        for (int64_t i = p; i < p + n; i++) {
            int64_t from = s->factor->dead[s->column[i]] ? 0 : t->rows;
            memset(t->e + i * LD + from, 0, sizeof *t->e * (size_t)(t->lanes - from));
        }
    }
}

/* The groups that begin in a block, for all rows. */
static void fit_groups(const struct solve *s, struct tile *t, const struct block *b)
{
    int64_t g = s->group_size, k = s->q->k;
    for (int64_t i = (b->from + g - 1) / g * g; i < b->to; i += g)
        for (int64_t first = 0; first < t->rows; first += PTQ_LANES) {
            int64_t n = k - i < g ? k - i : g;
            const float *now = t->now + (i - b->from) * LD + first;
            for (int64_t j = 0; j < n; j++)
                for (int64_t lane = 0; lane < PTQ_LANES; lane++) t->group[lane * n + j] = now[j * LD + lane];
            for (int64_t lane = 0; lane < PTQ_LANES && first + lane < t->rows; lane++)
                fit(s, t, first + lane, i / g, t->group + lane * n, n);
        }
}

/* What the feedback has left of some lanes: codes and losses by row, e by place. */
static void store_lanes(const struct solve *s, struct tile *t, const struct block *b, int64_t first)
{
    const int32_t *column = s->column + b->from;
    int64_t k = s->q->k, n = b->to - b->from, rows = t->rows - first < PTQ_LANES ? t->rows - first : PTQ_LANES;
    double loss[PTQ_LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        const float *error = t->lane_error + i * PTQ_LANES, *back = t->lane_back + i * PTQ_LANES;
        float *e = t->e + (b->from + i) * LD + first;
        for (int64_t lane = 0; lane < PTQ_LANES; lane++) {
            loss[lane] += (double)error[lane] * error[lane];
            e[lane] = back[lane] - e[lane];
        }
    }
    for (int64_t lane = 0; lane < rows; lane++) {
        int64_t row = t->first + first + lane;
        uint8_t *code = s->q->code + row * k;
        s->loss[row] += loss[lane] / 2;
        for (int64_t i = 0; i < n; i++) code[column[i]] = t->lane_code[i * PTQ_LANES + lane];
    }
}

static void feed_lanes(const struct solve *s, struct tile *t, const struct block *b, int64_t first)
{
    int64_t n = b->to - b->from, scales = first / PTQ_LANES * s->q->n_groups * PTQ_LANES;
    for (int64_t i = 0; i < n; i++)
        memcpy(t->lane_w + i * PTQ_LANES, t->now + i * LD + first, sizeof *t->now * PTQ_LANES);
    struct ptq_feedback feedback = {.columns = n,
                                    .maxq = (1 << s->q->grid.w_bit) - 1,
                                    .w = t->lane_w,
                                    .u = b->u,
                                    .ldu = PTQ_GPTQ_BLOCK,
                                    .group = s->group + b->from,
                                    .scale = t->scale + scales,
                                    .zero = t->zero + scales,
                                    .code = t->lane_code,
                                    .back = t->lane_back,
                                    .error = t->lane_error};
    ptq_ops()->feedback(&feedback);
    store_lanes(s, t, b, first);
}

/* now = now R[from.., from..]^-1, block by block: from `b` to where its groups reach. */
static void substitute(const struct solve *s, struct tile *t, const struct block *b)
{
    const float *r = s->factor->r;
    int64_t k = s->q->k;
    for (const struct block *at = b; at < s->block + s->n_blocks && at->from < b->reach; at++) {
        int64_t n = (at->to < b->reach ? at->to : b->reach) - at->from, next = at->from + n;
        float *now = t->now + (at->from - b->from) * LD;
        ptq_ops()->triangle(now, LD, at->u, PTQ_GPTQ_BLOCK, n, t->lanes);
        if (next < b->reach)
            ptq_ops()->subtract(now + n * LD, LD, r + at->from * k + next, k, now, LD, b->reach - next, t->lanes, n);
    }
}

/* to: t at the block's first column. */
static void solve_block(const struct solve *s, struct tile *t, const struct block *b, const float *to)
{
    int64_t n = b->reach - b->from;
    if (b->from) {
        memcpy(t->now, to, sizeof *to * (size_t)(n * LD));
        substitute(s, t, b);
    } else {
        memset(t->now, 0, sizeof *to * (size_t)(n * LD));
    }
    for (int64_t i = 0; i < n; i++) {
        const float *w = t->e + (b->from + i) * LD;
        float *now = t->now + i * LD;
        for (int64_t lane = 0; lane < t->lanes; lane++) now[lane] += w[lane];
    }
    if (s->fits) fit_groups(s, t, b);
    for (int64_t first = 0; first < t->lanes; first += PTQ_LANES) feed_lanes(s, t, b, first);
}

/* Where the span that begins at a block ends: *cover is the last column that its blocks look at. */
static int64_t span_end(const struct solve *s, int64_t first, int64_t *cover)
{
    int64_t end = first;
    *cover = 0;
    for (; end < s->n_blocks && s->block[end].to - s->block[first].from <= SPAN; end++)
        if (s->block[end].reach > *cover) *cover = s->block[end].reach;
    return end;
}

static void solve_tile(void *context, int64_t i, int worker)
{
    const struct solve *s = context;
    struct tile *t = &s->tile[worker];
    int64_t k = s->q->k, left = s->q->n - i * ROWS;
    const float *r = s->factor->r;
    t->first = i * ROWS;
    t->rows = left < ROWS ? left : ROWS;
    t->lanes = (t->rows + PTQ_LANES - 1) / PTQ_LANES * PTQ_LANES;
    load(s, t);
    for (int64_t block = 0, end, cover; block < s->n_blocks; block = end) {
        int64_t span = s->block[block].from;
        end = span_end(s, block, &cover);
        memset(t->t, 0, sizeof *t->t * (size_t)((cover - span) * LD));
        if (span) ptq_ops()->subtract(t->t, LD, r + span, k, t->e, LD, cover - span, t->lanes, span);
        for (int64_t at = block; at < end; at++) {
            const struct block *b = &s->block[at];
            solve_block(s, t, b, t->t + (b->from - span) * LD);
            if (b->to < cover)
                ptq_ops()->subtract(t->t + (b->to - span) * LD, LD, r + b->from * k + b->to, k, t->e + b->from * LD, LD,
                                    cover - b->to, t->lanes, b->to - b->from);
        }
    }
}

static struct tile *make_tiles(const struct solve *s, struct ptq_arena *arena)
{
    struct tile *tile = ptq_new(arena, struct tile, ptq_pool_size());
    int64_t k = s->q->k, n_groups = s->q->n_groups, g = s->group_size, room = 0;
    for (int64_t block = 0, end, cover; block < s->n_blocks; block = end) {
        end = span_end(s, block, &cover);
        if (cover - s->block[block].from > room) room = cover - s->block[block].from;
    }
    for (int i = 0; i < ptq_pool_size(); i++) {
        struct tile *t = &tile[i];
        t->e = ptq_new(arena, float, k *LD);
        t->t = ptq_new(arena, float, room *LD);
        t->now = ptq_new(arena, float, room *LD);
        t->row = ptq_new(arena, float, k);
        t->group = ptq_new(arena, float, PTQ_LANES *(g < k ? g : k));
        t->scale = ptq_new(arena, float, ROWS *n_groups);
        t->zero = ptq_new(arena, float, ROWS *n_groups);
        t->lane_w = ptq_new(arena, float, PTQ_GPTQ_BLOCK *PTQ_LANES);
        t->lane_error = ptq_new(arena, float, PTQ_GPTQ_BLOCK *PTQ_LANES);
        t->lane_back = ptq_new(arena, float, PTQ_GPTQ_BLOCK *PTQ_LANES);
        t->lane_code = ptq_new(arena, uint8_t, PTQ_GPTQ_BLOCK * PTQ_LANES);
    }
    return tile;
}

void ptq_gptq_places(const struct ptq_gptq_options *options, const int32_t *perm, int64_t group_size, int64_t k,
                     int32_t *column, int32_t *group)
{
    int by_column = options->static_groups && perm;
    for (int64_t i = 0; i < k; i++) {
        column[i] = perm ? perm[i] : (int32_t)i;
        group[i] = (int32_t)((by_column ? column[i] : i) / group_size);
    }
}

void ptq_gptq_keep_order(const struct ptq_gptq_options *options, const int32_t *perm, struct ptq_arena *arena,
                         struct ptq_qmat *q)
{
    if (!perm || options->static_groups || q->n_groups == 1) return;
    q->perm = ptq_new(arena, int32_t, q->k);
    memcpy(q->perm, perm, sizeof *q->perm * (size_t)q->k);
}

void ptq_gptq_solve(const struct ptq_gptq_factor *factor, const struct ptq_gptq_options *options, const float *w,
                    struct ptq_arena *arena, struct ptq_arena *scratch, struct ptq_qmat *q, double *loss,
                    int32_t *saturated)
{
    int64_t k = q->k, g = q->grid.group_size < 0 ? k : q->grid.group_size;
    ptq_gptq_keep_order(options, factor->perm, arena, q);
    struct ptq_mark mark = ptq_arena_mark(scratch);
    struct solve s = {.factor = factor, .options = options, .w = w, .q = q, .group_size = g};
    s.fits = q->grid.group_size > 0 && !options->static_groups;
    s.loss = loss;
    s.saturated = saturated;
    s.group = ptq_new(scratch, int32_t, k);
    s.column = ptq_new(scratch, int32_t, k);
    ptq_gptq_places(options, factor->perm, g, k, s.column, s.group);
    make_blocks(&s, scratch);
    s.tile = make_tiles(&s, scratch);
    ptq_parallel_for((q->n + ROWS - 1) / ROWS, solve_tile, &s);
    ptq_arena_rewind(scratch, mark);
}
