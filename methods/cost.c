#include "cost.h"

#include "forward.h"
#include "hessian.h"
#include "ops.h"
#include "pool.h"
#include "prefix.h"
#include "progress.h"
#include "reference.h"
#include "session.h"

#include <string.h>

/* Trials of AWQ's scale search, and of its clip search with the rows that it looks at. */
enum { SCALE_TRIALS = 20, CLIP_TRIALS = 10, CLIP_ROWS = 700 };
/* Rounding a weight and measuring its error, in operations of a matrix product that take as long. */
enum { ROUNDING = 200 };
enum { BLAS_BYTES = 16 << 20 }; /* what OpenBLAS takes for itself, for each thread */

/* Sums over the linears of a block. */
struct sums {
    double weights;   /* N K */
    double solve;     /* N K^2 */
    double gram;      /* K^2 over the inputs */
    int64_t widest;   /* K */
    double attention; /* operations a token and position */
};

static void add_linear(struct sums *s, int64_t n, int64_t k)
{
    s->weights += (double)n * (double)k;
    s->solve += (double)n * (double)k * (double)k;
}

static struct sums sum_up(const struct ptq_config *c)
{
    struct sums s = {.attention = 2 * (double)(c->heads * c->head_size)};
    int64_t heads = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    add_linear(&s, heads + 2 * kv, c->width);
    add_linear(&s, c->width, heads);
    add_linear(&s, c->family->activation == PTQ_SILU_GATED ? 2 * c->ff : c->ff, c->width);
    add_linear(&s, c->width, c->ff);
    for (int i = 0; i < PTQ_N_INPUT; i++) {
        int64_t k = ptq_input_width(c, (enum ptq_input)i);
        s.gram += (double)k * (double)k;
        s.widest = k > s.widest ? k : s.widest;
    }
    return s;
}

/* One block over tokens in windows of a length. */
static double block_flop(const struct sums *s, double tokens, int64_t length)
{
    return tokens * (2 * s->weights + s->attention * (double)length);
}

/* AWQ with loss=module, whose windows travel for its trials' sake; of other methods they do for the Hessians'. */
static int runs_modules(unsigned need)
{
    return need & PTQ_NEED_MOMENTS && need & PTQ_NEED_WINDOWS && !(need & PTQ_NEED_GRAM_ANYWHERE);
}

/* A block's quantisation, by what the method asks for. */
static double quantize_flop(const struct sums *s, unsigned need, double tokens, int64_t length)
{
    double search = SCALE_TRIALS * s->solve + 2.0 * CLIP_TRIALS * CLIP_ROWS * s->weights +
                    (SCALE_TRIALS + CLIP_TRIALS) * ROUNDING * s->weights;
    double flop = ROUNDING * s->weights;
    if (need & PTQ_NEED_MOMENTS) flop += search;
    if (runs_modules(need)) return flop + SCALE_TRIALS * block_flop(s, tokens, length);
    if (need & PTQ_NEED_WINDOWS) flop += 2 * block_flop(s, tokens, length) + tokens * s->gram + s->solve;
    return flop;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Floats a token that the steps of a block write. */
static int64_t step_floats(const struct ptq_config *c)
{
    return 2 * c->width + larger(c->heads * c->head_size, c->ff);
}

static int64_t quantize_bytes(const struct sums *s, const struct ptq_spec *spec, int64_t tokens, int64_t batch,
                              const struct ptq_config *c)
{
    unsigned need = ptq_spec_need(spec);
    int64_t square = s->widest * s->widest;
    int64_t bytes = batch * step_floats(c) * 4 + (int64_t)BLAS_BYTES * ptq_pool_size();
    /* moments are gathered from all calibration windows at once (core/stats.c); windows that travel are kept */
    if (need & PTQ_NEED_MOMENTS) bytes += tokens * c->width * 4 + (int64_t)s->gram * 4 + 3 * square * 4;
    if (need & PTQ_NEED_WINDOWS) bytes += tokens * c->width * 4;
    if (runs_modules(need)) return bytes + tokens * step_floats(c) * 4 + (int64_t)s->weights * 4;
    if (!(need & PTQ_NEED_WINDOWS)) return bytes;
    /* Hessians; of the widest, which comes first, float64 and its factors, or the block's quantised copy */
    bytes += (int64_t)s->gram * 4 + larger(square * 16, (int64_t)s->weights * 4);
    if (ptq_spec_has(spec, "true_sequential") && ptq_spec_value(spec, "true_sequential") == 1)
        bytes += ptq_hessian_held(tokens, c->width, s->widest) * 4;
    return bytes;
}

static void estimate_calibration(const struct ptq_planned *plan, const struct sums *s, struct ptq_cost *out)
{
    const struct ptq_config *c = &plan->model->model.config;
    const struct ptq_windows *w = &plan->calib->windows;
    double tokens = (double)(w->n * w->length), blocks = (double)c->blocks;
    int64_t rows = larger(PTQ_BATCH_ROWS, w->length);
    unsigned need = ptq_spec_need(&plan->spec);
    out->quantize = blocks * quantize_flop(s, need, tokens, w->length);
    out->fixed += quantize_bytes(s, &plan->spec, w->n * w->length, rows, c);
    if (!ptq_spec_reads_stats(&plan->spec)) return;
    out->calibrate = blocks * block_flop(s, tokens, w->length);
    if (need & PTQ_NEED_MOMENTS) out->calibrate += blocks * tokens * s->gram;
    for (int i = 0; i < PTQ_N_INPUT; i++) /* means and samples of all blocks */
        out->fixed += c->blocks * ptq_input_width(c, (enum ptq_input)i) * (PTQ_STATS_SAMPLE + 1) * 4;
}

/* What is kept to compare cells with, of a text that has nothing of it yet (core/reference.h). */
static int64_t reference_bytes(const struct ptq_job *job, const struct ptq_planned *plan)
{
    const struct ptq_windows *w = &plan->eval->windows;
    int64_t bytes = w->n * w->length * (4 * plan->model->model.config.embed_width + 16);
    if (!job->reference || plan->eval->reference || plan->model->model.quantization) return 0;
    return bytes < ptq_reference_bytes ? bytes : ptq_reference_bytes;
}

enum ptq_status ptq_cell_cost(struct ptq_session *session, const struct ptq_job *job, struct ptq_cost *out,
                              struct ptq_error *err)
{
    struct ptq_planned plan;
    PTQ_TRY(ptq_session_plan(session, job, &plan, err));
    const struct ptq_config *c = &plan.model->model.config;
    const struct ptq_windows *w = &plan.eval->windows;
    struct sums s = sum_up(c);
    double tokens = (double)(w->n * w->length);
    *out = (struct ptq_cost){.windows = w->n, .window = w->length * c->width * 4};
    out->batch = w->length < PTQ_BATCH_ROWS ? PTQ_BATCH_ROWS / w->length : 1;
    out->evaluate =
        (double)c->blocks * block_flop(&s, tokens, w->length) + tokens * 2 * (double)c->vocab * (double)c->embed_width;
    /* the block in float32 and its codes; the head's tile; the pass's own scratch */
    out->fixed = (int64_t)(s.weights * 5) + PTQ_VOCAB_ROWS * c->embed_width * 4 +
                 ptq_forward_bytes(&plan.model->model, w->length) + reference_bytes(job, &plan);
    if (!ptq_spec_quantizes(&plan.spec)) return PTQ_OK;
    out->codes = (int64_t)(s.weights * 1.15) * c->blocks;
    out->quantize = (double)c->blocks * ROUNDING * s.weights;
    if (plan.calib) estimate_calibration(&plan, &s, out);
    if (ptq_session_keeps_prefix(&plan))
        out->prefix = ptq_prefix_most(&plan.model->model, w->n * w->length, ptq_prefix_bytes);
    return PTQ_OK;
}

int64_t ptq_cost_prefix(const struct ptq_cost *e, int64_t in_use, int64_t budget)
{
    int64_t whole = e->windows * e->window;
    int64_t room = budget ? budget - in_use - e->fixed - whole : whole > ptq_chunk_bytes ? 0 : e->prefix;
    return room < 0 ? 0 : room < e->prefix ? room : e->prefix;
}

int64_t ptq_cost_chunk(const struct ptq_cost *e, int64_t in_use, int64_t budget, int64_t *peak)
{
    int64_t least = e->batch < e->windows ? e->batch : e->windows;
    int64_t base = in_use + e->fixed, room = budget ? budget - base : ptq_chunk_bytes;
    int64_t fit = room / e->window < e->windows ? room / e->window : e->windows;
    if (fit < e->windows && budget) fit = (room - e->codes) / e->window;
    int64_t kept = fit < e->windows ? e->codes : 0;
    if (fit < least && budget) {
        int64_t parts = least < e->windows ? e->codes + least * e->window : INT64_MAX, whole = e->windows * e->window;
        *peak = base + (parts < whole ? parts : whole); /* of all windows at once no codes are kept */
        return 0;
    }
    fit = fit < least ? least : fit;
    *peak = base + kept + fit * e->window + ptq_cost_prefix(e, in_use, budget);
    return fit;
}

int64_t ptq_memory_in_use(void)
{
    return ptq_status_bytes("RssAnon");
}

/* ---- the machine ---- */

enum { ROWS = 512, COLUMNS = 768, TILES = 8 };

struct product {
    float *x, *w, *y;
};

static void multiply(void *context, int64_t i, int worker)
{
    const struct product *p = context;
    (void)worker;
    ptq_ops()->linear(p->y + i * ROWS * COLUMNS, COLUMNS, p->x, COLUMNS, p->w, NULL, 0, ROWS, COLUMNS, COLUMNS);
}

double ptq_machine_pace(void)
{
    struct ptq_arena *arena = ptq_arena_make("the machine's pace");
    struct product p = {.x = ptq_new(arena, float, ROWS *COLUMNS),
                        .w = ptq_new(arena, float, COLUMNS *COLUMNS),
                        .y = ptq_new(arena, float, TILES *ROWS *COLUMNS)};
    for (int64_t i = 0; i < ROWS * COLUMNS; i++) p.x[i] = 0.5F;
    for (int64_t i = 0; i < COLUMNS * COLUMNS; i++) p.w[i] = 0.25F;
    ptq_parallel_for(TILES, multiply, &p); /* pages and caches */
    double started = ptq_seconds(), seconds, flop = 0;
    do {
        ptq_parallel_for(TILES, multiply, &p);
        flop += 2.0 * TILES * ROWS * COLUMNS * COLUMNS;
        seconds = ptq_seconds() - started;
    } while (seconds < 0.2);
    ptq_arena_free(arena);
    return seconds / flop;
}
