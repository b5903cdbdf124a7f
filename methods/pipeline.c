#include "pipeline.h"

#include "apply.h"
#include "compare.h"
#include "cost.h"
#include "device.h"
#include "forward.h"
#include "grid.h"
#include "inputs.h"
#include "kept.h"
#include "locate.h"
#include "offload.h"
#include "only.h"
#include "part.h"
#include "path.h"
#include "prefix.h"
#include "progress.h"
#include "provenance.h"
#include "session.h"
#include "stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A cell under way. */
struct run {
    const struct ptq_model *model;
    const struct ptq_spec *spec;
    uint64_t seed;
    const struct ptq_model_stats *stats; /* or NULL */
    const struct ptq_windows *calib;     /* or NULL */
    const struct ptq_windows *eval;
    struct ptq_arena *arena;           /* the cell's, for what is kept */
    struct ptq_arena *work;            /* one chunk's and one block's */
    struct ptq_arena *codes;           /* one block's codes, where they are not kept */
    struct ptq_arena *moments;         /* one block's, until the method has done with them */
    struct ptq_forward travel;         /* the calibration windows on their way, where the method needs them */
    int64_t changed, last;             /* blocks: the first that is not FP16's, the last that quantises something */
    struct ptq_kept *kept;             /* of every block, where the windows need more than one chunk; else NULL */
    struct ptq_part *part;             /* what is finished, on disk; or NULL */
    int64_t resumed, position;         /* blocks that are there from an earlier run; blocks that are finished */
    double earlier;                    /* seconds of seconds_quantize that the earlier run took */
    const struct ptq_block_sink *sink; /* or NULL */
    struct ptq_cell *cell;
    struct ptq_comparison compare;
    struct ptq_progress progress;
    int act_bits; /* the path: of what packed codes are multiplied with; 0: the forward pass computes in float32 */
    double bits, weights; /* stored bits and weights of the quantised linears */
};

/* Of the codes and of what comes with them; norms and biases are not counted, as before quantisation. */
static void count_bits(struct run *r, const struct ptq_block *block, const struct ptq_qmat *q)
{
    if (block->activation_scale) r->bits += 32 * (double)r->model->config.ff;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_packed *packed = block->linear[role].packed;
        double weights = (double)(q[role].n * q[role].k);
        if (!q[role].n) continue;
        r->bits += weights * (packed ? ptq_packed_bits(packed) : ptq_qmat_bits(&q[role]));
        r->weights += weights;
    }
}

/* Codes that a file has for other programs, as they are packed here. What ptq wrote is counted as it lies there. */
static void count_packed(struct run *r, const struct ptq_block *block)
{
    if (ptq_model_has_images(r->model)) return;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_packed *packed = block->linear[role].packed;
        if (!packed) continue;
        r->bits += 8.0 * (double)packed->bytes;
        r->weights += (double)(packed->n * packed->k);
    }
}

/* ---- a block quantised ---- */

static int travels(const struct run *r)
{
    return (ptq_spec_need(r->spec) & PTQ_NEED_WINDOWS) != 0;
}

/* Sets the calibration windows out: all of them, since every block must see what the one before gave for each. They
 * take windows * length * C floats (128 windows of 2048 at C = 4096: 4 GiB) as long as the first chunk lasts. Where an
 * earlier run left them at some block, they are set out there. */
static enum ptq_status start_calibration(struct run *r, struct ptq_error *err)
{
    double started = ptq_seconds();
    ptq_peak_rss_lap(&r->cell->peak_rss_bytes_eval);
    assert(r->calib);
    ptq_forward_make(r->work, r->model, r->calib->id, r->calib->n, r->calib->length, &r->travel);
    if (r->part) r->resumed = r->position = ptq_part_resume(r->part, &r->travel, &r->earlier);
    if (!r->resumed) PTQ_TRY(ptq_forward_embed(&r->travel, err));
    ptq_peak_rss_lap(r->resumed ? NULL : &r->cell->peak_rss_bytes_quantize);
    r->cell->seconds_quantize += r->earlier + ptq_seconds() - started;
    return PTQ_OK;
}

/* The block without the linears that only= leaves alone, whose codes are dropped. As long-lived as the block, since
 * reports point to its names. */
static struct ptq_block *chosen(const struct run *r, int64_t index, const struct ptq_block *block, struct ptq_qmat *q)
{
    struct ptq_block *some = ptq_new(r->work, struct ptq_block, 1);
    *some = *block;
    unsigned roles = ptq_only_roles(r->spec->only, r->model, index);
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (!(roles >> role & 1)) {
            some->linear[role].n = 0;
            q[role] = (struct ptq_qmat){0};
        }
    return some;
}

static enum ptq_status quantize_block(struct run *r, int64_t index, struct ptq_block *block, struct ptq_qmat *q,
                                      struct ptq_error *err)
{
    const struct ptq_stats *stats = r->stats ? r->stats->input[index] : NULL;
    struct ptq_arena *arena = r->kept ? r->arena : r->codes;
    struct ptq_linear_report report[PTQ_N_ROLE] = {0};
    int *n = &r->cell->n_linears;
    struct ptq_moments moments[PTQ_N_INPUT];
    int with_moments = (ptq_spec_need(r->spec) & PTQ_NEED_MOMENTS) != 0;
    ptq_device_lap(r->model->device, "load");
    if (with_moments) PTQ_TRY(ptq_stats_moments(r->stats, index, r->moments, moments, err));
    if (!r->spec->method->block_method)
        return ptq_apply(r->spec, r->seed, stats, chosen(r, index, block, q), arena, r->work, q, r->cell->linear, n,
                         err);
    struct ptq_block_task task = {.spec = r->spec,
                                  .model = r->model,
                                  .index = index,
                                  .seed = r->seed,
                                  .block = block,
                                  .calib = travels(r) ? &r->travel : NULL,
                                  .moments = with_moments ? moments : NULL,
                                  .moments_memory = r->moments,
                                  .stats = stats,
                                  .arena = arena,
                                  .scratch = r->work,
                                  .q = q,
                                  .report = report};
    ptq_device_lap(r->model->device, "load");
    PTQ_TRY(r->spec->method->block_method(&task, err));
    ptq_arena_rewind(r->moments, (struct ptq_mark){0});
    PTQ_TRY(ptq_stats_go_on(r->stats, err));
    if (travels(r)) ptq_progress_step(&r->progress, (double)r->calib->n);
    ptq_device_lap(r->model->device, "forward");
    PTQ_TRY(ptq_apply_codes(task.stats, q, report, chosen(r, index, block, q), r->work, r->cell->linear, n, err));
    ptq_device_lap(r->model->device, "reports");
    ptq_device_laps_told(r->model->device, index);
    return PTQ_OK;
}

/* The block as an earlier run of this cell left it. */
static enum ptq_status restore_block(struct run *r, int64_t index, struct ptq_block *block, struct ptq_qmat *q,
                                     struct ptq_error *err)
{
    struct ptq_kept kept;
    struct ptq_linear_report *report;
    int n;
    PTQ_TRY(ptq_part_get(r->part, index, r->kept ? r->arena : r->codes, &kept, &report, &n, err));
    if (!ptq_kept_fits(&kept, block))
        return ptq_fail(err, PTQ_EINPUT, "%s: holds another model's blocks; remove this folder", r->cell->part);
    memcpy(q, kept.q, sizeof kept.q);
    memcpy(r->cell->linear + r->cell->n_linears, report, sizeof *report * (size_t)n);
    r->cell->n_linears += n;
    ptq_kept_put_back(&kept, &r->model->config, block);
    /* The block still needs it when codes that are not kept are gone. */
    block->activation_scale = ptq_copy_floats(r->work, kept.activation_scale, r->model->config.ff);
    ptq_progress_step(&r->progress, (double)r->calib->n);
    return PTQ_OK;
}

/* A block is finished: what of it goes to disk. */
static void save_block(struct run *r, int64_t index, const struct ptq_kept *now, int from, double started)
{
    r->travel.moved = 0;
    r->position = index + 1;
    if (!r->part) return;
    ptq_part_put(r->part, index, now, r->cell->linear + from, r->cell->n_linears - from);
    ptq_part_move(r->part, r->position, &r->travel, r->cell->seconds_quantize + ptq_seconds() - started, 0);
}

static enum ptq_status hand_over(const struct run *r, int64_t index, const struct ptq_block *block,
                                 const struct ptq_qmat *q, struct ptq_error *err)
{
    return r->sink ? r->sink->take(r->sink->context, index, block, q, err) : PTQ_OK;
}

static enum ptq_status pack(struct run *r, const struct ptq_qmat *q, struct ptq_block *block, struct ptq_error *err)
{
    if (!r->act_bits) return PTQ_OK;
    PTQ_TRY(ptq_block_pack(r->work, q, block, err));
    ptq_block_room(r->work, block, 1, r->act_bits);
    return PTQ_OK;
}

/* The block as the cell wants it: quantised where it is met for the first time, its codes put in place afterwards. */
static enum ptq_status prepare_block(struct run *r, int64_t index, int first_chunk, struct ptq_block *block,
                                     struct ptq_error *err)
{
    struct ptq_qmat here[PTQ_N_ROLE] = {0};
    if (!ptq_spec_quantizes(r->spec)) {
        ptq_block_room(r->work, block, 1, r->act_bits); /* of a model that is packed already */
        if (!first_chunk) return PTQ_OK;
        count_packed(r, block);
        return hand_over(r, index, block, here, err);
    }
    if (index > r->last) return PTQ_OK;
    if (*r->spec->only && !travels(r) && !ptq_only_roles(r->spec->only, r->model, index)) return PTQ_OK;
    if (!first_chunk) {
        ptq_kept_put_back(&r->kept[index], &r->model->config, block);
        return pack(r, r->kept[index].q, block, err);
    }
    double started = ptq_seconds();
    ptq_peak_rss_lap(&r->cell->peak_rss_bytes_eval);
    int from = r->cell->n_linears;
    struct ptq_mark mark = ptq_arena_mark(r->codes);
    int again = index < r->resumed;
    if (again ? restore_block(r, index, block, here, err) : quantize_block(r, index, block, here, err))
        return ptq_within(err, "%s: layer %lld", r->model->name, (long long)index);
    for (int i = from; i < r->cell->n_linears; i++) {
        r->cell->linear[i].name = ptq_strdup(r->arena, r->cell->linear[i].name);
        r->cell->saturated_groups += r->cell->linear[i].saturated;
    }
    PTQ_TRY(pack(r, here, block, err));
    count_bits(r, block, here);
    struct ptq_kept now = ptq_kept_view(block, here);
    if (r->kept) r->kept[index] = ptq_kept_copy(r->arena, &now, &r->model->config);
    if (!again) save_block(r, index, &now, from, started);
    PTQ_TRY(hand_over(r, index, block, here, err));
    ptq_arena_rewind(r->codes, mark);
    ptq_peak_rss_lap(again ? NULL : &r->cell->peak_rss_bytes_quantize); /* restored is what an earlier run quantised */
    r->cell->seconds_quantize += ptq_seconds() - started;
    return PTQ_OK;
}

static enum ptq_status run_chunk(struct run *r, int64_t first, int64_t windows, struct ptq_error *err)
{
    const struct ptq_model *model = r->model;
    const struct ptq_windows *eval = r->eval;
    struct ptq_forward f;
    ptq_peak_rss_lap(&r->cell->peak_rss_bytes_eval);
    PTQ_TRY(ptq_compare_prepare(&r->compare, first, windows, err));
    ptq_peak_rss_lap(NULL);
    ptq_forward_make(r->work, model, eval->id + first * eval->length, windows, eval->length, &f);
    int64_t from = r->cell->prefix ? ptq_prefix_fetch(r->cell->prefix, r->changed, &f) : -1;
    if (from < 0) PTQ_TRY(ptq_forward_embed(&f, err));
    if (first == 0 && travels(r)) PTQ_TRY(start_calibration(r, err));
    for (int64_t b = travels(r) || from < 0 ? 0 : from; b < model->config.blocks; b++) {
        struct ptq_mark mark = ptq_arena_mark(r->work);
        struct ptq_block block;
        PTQ_TRY(ptq_interrupted(err));
        PTQ_TRY(ptq_block_load(model, b, r->work, &block, err));
        PTQ_TRY(prepare_block(r, b, first == 0, &block, err));
        if (r->cell->prefix && b >= from && b <= r->changed) ptq_prefix_keep(r->cell->prefix, b, &f);
        if (b >= from) PTQ_TRY(ptq_forward_block(&f, &block, b, NULL, err));
        ptq_arena_rewind(r->work, mark);
        ptq_progress_step(&r->progress, (double)windows);
    }
    return ptq_compare_score(&r->compare, &f, first, r->work, err);
}

static enum ptq_status run_chunks(struct run *r, struct ptq_error *err)
{
    const struct ptq_model *model = r->model;
    const struct ptq_windows *eval = r->eval;
    int64_t chunk = ptq_forward_chunk(model, eval->length), blocks = model->config.blocks;
    PTQ_TRY(ptq_only_blocks(r->spec->only, model, &r->changed, &r->last, err));
    if (eval->n > chunk) r->cell->prefix = NULL; /* it holds windows that go together */
    r->cell->windows = eval->n;
    r->cell->window = eval->length;
    r->cell->tokens = eval->n * (eval->length - 1);
    ptq_compare_begin(r->cell, ptq_spec_quantizes(r->spec), r->arena, &r->compare);
    if (ptq_spec_quantizes(r->spec)) {
        r->cell->linear = ptq_new(r->arena, struct ptq_linear_report, blocks * PTQ_N_ROLE);
        if (eval->n > chunk) r->kept = ptq_new(r->arena, struct ptq_kept, blocks);
    }
    int64_t travelling = travels(r) ? r->calib->n : 0;
    ptq_progress_begin(&r->progress, r->cell->spec, (double)((eval->n + travelling) * blocks));
    for (int64_t first = 0; first == 0 || first < eval->n; first += chunk) { /* once without any window, too */
        struct ptq_mark mark = ptq_arena_mark(r->work);
        PTQ_TRY(run_chunk(r, first, eval->n - first < chunk ? eval->n - first : chunk, err));
        ptq_arena_rewind(r->work, mark);
    }
    ptq_progress_end(&r->progress);
    return PTQ_OK;
}

/* All of it, with what is finished on disk. Who stops it while x is at a block's input wants to go on there. */
static enum ptq_status run_with_part(struct run *r, struct ptq_error *err)
{
    if (travels(r) && !*r->spec->only) PTQ_TRY(ptq_part_open(r->work, r->cell, r->spec, r->model, &r->part, err));
    enum ptq_status status = run_chunks(r, err);
    if (status == PTQ_EINTERRUPT && r->part && !r->travel.moved)
        ptq_part_move(r->part, r->position, &r->travel, r->cell->seconds_quantize, 1);
    return status;
}

/* Sums in float64, token after token. */
static enum ptq_status summarise(struct run *r, struct ptq_error *err)
{
    struct ptq_cell *c = r->cell;
    double sum = 0;
    for (int64_t i = 0; i < c->tokens; i++) sum += c->nll[i];
    c->nll_mean = c->tokens ? sum / (double)c->tokens : 0;
    c->ppl = c->tokens ? exp(c->nll_mean) : 0;
    c->effective_bits = r->weights > 0 ? r->bits / r->weights : r->model->source_bits;
    c->peak_rss_bytes = ptq_peak_rss_bytes();
    if (c->peak_rss_bytes < c->peak_rss_bytes_load) c->peak_rss_bytes = c->peak_rss_bytes_load;
    c->tokens_per_second = c->seconds_eval > 0 ? (double)(c->windows * c->window) / c->seconds_eval : 0;
    if (!isfinite(c->ppl))
        return ptq_fail(err, PTQ_ENUMERIC, "%s: the perplexity is not finite (mean nll %g)", c->model, c->nll_mean);
    return ptq_cell_check(c, err);
}

static enum ptq_status evaluate(struct run *r, struct ptq_error *err)
{
    struct ptq_cell *cell = r->cell;
    double started = ptq_seconds();
    r->act_bits = r->eval->n > 0 ? ptq_path_act_bits(cell->path) : 0;
    cell->seconds_quantize = 0;
    cell->peak_rss_bytes_quantize = cell->peak_rss_bytes_eval = 0;
    ptq_peak_rss_lap(NULL);
    cell->saturated_groups = cell->n_linears = cell->n_inputs = 0;
    r->work = ptq_arena_make("cell");
    r->codes = ptq_arena_make("codes");
    r->moments = ptq_arena_make("moments");
    enum ptq_status status = run_with_part(r, err);
    ptq_arena_free(r->moments);
    ptq_arena_free(r->codes);
    ptq_arena_free(r->work);
    if (status) return status;
    ptq_peak_rss_lap(&cell->peak_rss_bytes_eval);
    cell->seconds_eval = ptq_seconds() - started - (cell->seconds_quantize - r->earlier) - r->compare.seconds;
    if (r->stats) ptq_inputs_report(r->arena, r->stats, cell);
    ptq_compare_end(&r->compare, cell);
    return summarise(r, err);
}

enum ptq_status ptq_evaluate(const struct ptq_model *model, const struct ptq_spec *spec, uint64_t seed,
                             const struct ptq_model_stats *stats, const struct ptq_windows *calib,
                             const struct ptq_windows *eval, struct ptq_arena *arena, struct ptq_cell *cell,
                             struct ptq_error *err)
{
    struct run r = {.model = model,
                    .spec = spec,
                    .seed = seed,
                    .stats = stats,
                    .calib = calib,
                    .eval = eval,
                    .arena = arena,
                    .cell = cell};
    return evaluate(&r, err);
}

/* Moments on the device are as large as the weights: they are measured with the cell, and not kept. */
static int travel_with_cell(const struct ptq_planned *plan)
{
    return plan->model->model.device && !ptq_offload_checks() &&
           (ptq_spec_need(&plan->spec) & PTQ_NEED_GRAM_ANYWHERE) != 0;
}

/* Chunks of windows as the session's budget has room for. */
static enum ptq_status keep_budget(struct ptq_session *s, const struct ptq_job *job, const struct ptq_spec *spec,
                                   struct ptq_error *err)
{
    struct ptq_cost cost;
    int64_t peak;
    s->prefix_room = ptq_prefix_bytes;
    if (!s->budget) return PTQ_OK;
    /* Once, so that a cell's number does not depend on those before it: BLAS keeps buffers that are counted already. */
    if (!s->at_rest) s->at_rest = ptq_memory_in_use();
    PTQ_TRY(ptq_cell_cost(s, job, &cost, err));
    int64_t windows = ptq_cost_chunk(&cost, s->at_rest, s->budget, &peak);
    if (!windows)
        return ptq_fail(err, PTQ_EINPUT,
                        "needs about %lld MiB, and --memory allows %lld MiB; allow more, or calibrate on less",
                        (long long)(peak >> 20) + 1, (long long)s->budget >> 20);
    if (windows < cost.windows && *spec->only && spec->method->block_method)
        return ptq_fail(
            err, PTQ_EINPUT,
            "%s with only= needs its %lld evaluation windows at once, and --memory allows %lld; allow more, "
            "or evaluate on fewer",
            spec->method->name, (long long)cost.windows, (long long)windows);
    if (windows == cost.windows) windows = (windows + cost.batch - 1) / cost.batch * cost.batch; /* one chunk */
    ptq_chunk_bytes = windows * cost.window;
    s->prefix_room = ptq_cost_prefix(&cost, s->at_rest, s->budget);
    return PTQ_OK;
}

/* What all cells of one model and one evaluation text are compared with; of codes alone there is no full precision. */
static struct ptq_reference *reference_of(struct ptq_session *s, const struct ptq_planned *plan)
{
    struct ptq_shared_windows *eval = plan->eval;
    if (plan->model->model.quantization) return NULL;
    const char *folder = ptq_format(s->arena, "%s/reference", ptq_cache_folder(s->arena));
    const char *identity = ptq_session_identity(s->arena, plan->model);
    if (!eval->reference)
        eval->reference = ptq_reference_make(s->arena, &plan->model->model, identity, &eval->windows, folder);
    return eval->reference;
}

/* Where cells that leave the first blocks alone start; none where the cell does not. One that has less room than those
 * before it keeps them anew. */
static struct ptq_prefix *prefix_of(struct ptq_session *s, const struct ptq_planned *plan)
{
    struct ptq_shared_windows *eval = plan->eval;
    if (!ptq_session_keeps_prefix(plan)) return NULL;
    if (eval->prefix && ptq_prefix_limit(eval->prefix) > s->prefix_room) ptq_session_forget_prefix(s, NULL);
    if (eval->prefix) return eval->prefix;
    int64_t rows = eval->windows.n * eval->windows.length;
    s->prefixes = ptq_arena_make("inputs of blocks");
    s->begun = eval;
    return eval->prefix = ptq_prefix_make(s->prefixes, &plan->model->model, rows, s->prefix_room);
}

static enum ptq_status evaluate_travelling(struct run *r, struct ptq_error *err)
{
    struct ptq_arena *there = ptq_arena_make("calibration on a device");
    struct ptq_model_stats stats;
    ptq_stats_travel(there, r->model, r->calib, &stats);
    r->stats = &stats;
    enum ptq_status status = evaluate(r, err);
    ptq_arena_free(there);
    return status;
}

/* A planned cell whose statistics are there. */
static enum ptq_status evaluate_planned(const struct ptq_planned *plan, const struct ptq_job *job,
                                        struct ptq_arena *arena, struct ptq_cell *cell, struct ptq_error *err)
{
    static const struct ptq_windows nothing = {.length = 1};
    struct run r = {.model = &plan->model->model,
                    .spec = &plan->spec,
                    .seed = job->seed,
                    .stats = plan->calib && ptq_spec_reads_stats(&plan->spec) ? plan->calib->stats : NULL,
                    .calib = plan->calib ? &plan->calib->windows : NULL,
                    .eval = plan->eval ? &plan->eval->windows : &nothing,
                    .arena = arena,
                    .sink = job->sink,
                    .cell = cell};
    return travel_with_cell(plan) ? evaluate_travelling(&r, err) : evaluate(&r, err);
}

/* Why it failed: moments that were damaged, which are removed then, or whose folder somebody emptied. A sink has had
 * blocks already, and is not given them twice. */
static int lost_statistics(const struct ptq_planned *plan, const struct ptq_job *job)
{
    const struct ptq_model_stats *stats = plan->calib ? plan->calib->stats : NULL;
    return stats && !job->sink && !ptq_stats_stand(stats);
}

static enum ptq_status run_cell(struct ptq_session *session, const struct ptq_job *job, struct ptq_arena *arena,
                                struct ptq_cell *cell, struct ptq_error *err)
{
    struct ptq_planned plan;
    ptq_peak_rss_restart();
    ptq_provenance(arena, cell); /* `started` is this cell's, not the plan's */
    PTQ_TRY(ptq_session_plan(session, job, &plan, err));
    PTQ_TRY(ptq_session_device(job, &plan.model->model, arena, cell, err));
    plan.model->model.path = PTQ_PATH_FP32;
    if (ptq_model_packs(&plan.model->model)) plan.model->model.path = ptq_path_find(cell->path);
    /* Who reads none is counted without them; whoever asks next has them from the cache. */
    ptq_session_forget(session, ptq_spec_reads_stats(&plan.spec) ? plan.calib : NULL);
    ptq_session_forget_prefix(session, ptq_session_keeps_prefix(&plan) ? plan.eval : NULL);
    PTQ_TRY(keep_budget(session, job, &plan.spec, err));
    cell->seconds_calibrate = 0;
    cell->peak_rss_bytes_calibrate = 0;
    if (!travel_with_cell(&plan)) PTQ_TRY(ptq_session_calibrate(session, &plan, cell, err));
    cell->reference = job->reference ? reference_of(session, &plan) : NULL;
    cell->prefix = prefix_of(session, &plan);
    enum ptq_status status = evaluate_planned(&plan, job, arena, cell, err);
    if (!status || !lost_statistics(&plan, job)) return status;
    ptq_progress_note("%s: statistics of the calibration were damaged or are gone; they are measured again",
                      cell->spec);
    PTQ_TRY(ptq_session_calibrate(session, &plan, cell, err));
    return evaluate_planned(&plan, job, arena, cell, err);
}

enum ptq_status ptq_cell_run(struct ptq_session *session, const struct ptq_job *job, struct ptq_arena *arena,
                             struct ptq_cell *cell, struct ptq_error *err)
{
    return run_cell(session, job, arena, cell, err) ? ptq_within(err, "%s", cell->spec) : PTQ_OK;
}
