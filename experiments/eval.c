#include "eval.h"

#include "escape.h"
#include "idle_options.h"
#include "json.h"
#include "launch.h"
#include "offload.h"
#include "path.h"
#include "pipeline.h"
#include "progress.h"
#include "session.h"
#include "stages.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What was measured on a text; null where the cell had none (ptq quantize), since 0 would be a perplexity. */
static json_t *measured(const struct ptq_cell *c, double value)
{
    return c->tokens ? json_real(value) : json_null();
}

/* Bytes; null where they are not known. */
static json_t *peaks(const struct ptq_cell *c)
{
    struct ptq_stage stage[PTQ_N_STAGES];
    json_t *json = json_object();
    ptq_stages_of(c, stage);
    for (int s = 0; s < PTQ_N_STAGES; s++)
        json_object_set_new(json, stage[s].key, stage[s].peak ? json_integer(stage[s].peak) : json_null());
    return json;
}

char *ptq_eval_json(const struct ptq_cell *c)
{
    json_t *json = json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:f, s:f, s:f, s:f}, s:o, s:I, s:s, s:I, s:I, s:s}",
        "ppl", measured(c, c->ppl), "nll_mean", measured(c, c->nll_mean), "tokens", (json_int_t)c->tokens, "windows",
        (json_int_t)c->windows, "window", (json_int_t)c->window, "protocol", c->protocol, "method", c->spec, "model",
        c->model, "model_sha256", c->model_sha256, "tokens_sha256", c->tokens_sha256, "calib_sha256", c->calib_sha256,
        "seconds", "load", c->seconds_load, "calibrate", c->seconds_calibrate, "quantize", c->seconds_quantize, "eval",
        c->seconds_eval, "tokens_per_second", measured(c, c->tokens_per_second), "peak_rss_bytes",
        (json_int_t)c->peak_rss_bytes, "device", c->device, "threads", (json_int_t)c->threads, "seed",
        (json_int_t)c->seed, "version", c->version);
    json_object_set_new(json, "peak_rss_by_stage", peaks(c));
    json_object_set_new(json, "device_peak_bytes", json_integer(ptq_offload_peak_bytes()));
    json_object_set_new(json, "path", json_string(c->path));
    json_object_set_new(json, "commit", json_string(c->commit));
    json_object_set_new(json, "effective_bits", json_real(c->effective_bits));
    json_object_set_new(json, "saturated_groups", json_integer(c->saturated_groups));
    json_object_set_new(json, "source_dtype", json_string(c->source_dtype));
    json_object_set_new(json, "path", json_string(c->path));
#define X(kind, name, ...) json_object_set_new(json, #name, c->kl ? json_real(c->name) : json_null());
    PTQ_AGAINST_FIELDS(X)
#undef X
    char *text = ptq_json_dump(json, JSON_ENSURE_ASCII | JSON_INDENT(1));
    json_decref(json);
    return text;
}

enum ptq_status ptq_eval_print_json(const struct ptq_cell *c, struct ptq_error *err)
{
    char *text = ptq_eval_json(c);
    if (!text) return ptq_fail(err, PTQ_EINPUT, "JSON holds no name that is not UTF-8; call without --json");
    puts(text);
    free(text);
    return PTQ_OK;
}

static void print_cell(struct ptq_arena *arena, const struct ptq_cell *c)
{
    ptq_say(stdout, "%s  %s  ppl %.4f  (%s in %s of %lld)\n", c->model, c->spec, c->ppl,
            ptq_counted(arena, c->tokens, "token"), ptq_counted(arena, c->windows, "window"), (long long)c->window);
    printf("protocol: %s\n", ptq_worded(arena, c->protocol));
    ptq_say(stdout, "weights in the file: %s; computed by path %s\n", c->source_dtype, c->path);
    if (c->calib[0])
        ptq_say(stdout, "calibration: %s, %s%s\n", c->calib, ptq_worded(arena, c->calib_protocol),
                ptq_spec_text_needs_calib(c->spec) ? "" : ", for output errors alone");
    if (c->kl)
        printf("against FP16: KL divergence %.4g nat (median %.3g, 95 %% below %.3g, 99 %% below %.3g), same top-1 "
               "%.2f %%, RMS change of p %.2f %%\n",
               c->kl_mean, c->kl_median, c->kl_p95, c->kl_p99, 100 * c->same_top, 100 * c->delta_p_rms);
    if (c->n_linears)
        printf("quantised: %s, %.3f bits a weight%s, %s\n", ptq_counted(arena, c->n_linears, "linear"),
               c->effective_bits, ptq_path_act_bits(c->path) ? " as packed, padding included" : "",
               ptq_counted(arena, c->saturated_groups, "saturated group"));
    if (ptq_path_is_coarse(c->path))
        printf("path %s: activations are rounded to %d bits, too, so this is no perplexity of the weights alone\n",
               c->path, ptq_path_act_bits(c->path));
    printf("seconds: load %.1f, calibrate %.1f, quantise %.1f, evaluate %.1f (%.0f tokens/s, %s); %s\n",
           c->seconds_load, c->seconds_calibrate, c->seconds_quantize, c->seconds_eval, c->tokens_per_second,
           ptq_counted(arena, c->threads, "thread"), ptq_stages_peaks(arena, c));
    if (ptq_offload_peak_bytes())
        printf("forward passes on %s, at most %.0f MiB of its memory\n", c->device,
               (double)ptq_offload_peak_bytes() / 1048576);
}

static enum ptq_status run_cell(const struct ptq_options *o, struct ptq_session *session, struct ptq_arena *arena,
                                struct ptq_cell *cell, struct ptq_error *err)
{
    struct ptq_job job;
    struct ptq_planned plan;
    PTQ_TRY(ptq_options_job(o, &job, err));
    job.model = o->operand[0];
    PTQ_TRY(ptq_cell_plan(session, &job, arena, cell, err));
    PTQ_TRY(ptq_session_plan(session, &job, &plan, err)); /* of what is loaded now */
    PTQ_TRY(ptq_idle_options("eval", o, &plan, err));
    PTQ_TRY(ptq_options_check_path(o, cell->path, cell->model, cell->source_dtype, err));
    if (o->out) cell->part = ptq_results_part(arena, o->out, cell->id);
    return ptq_cell_run(session, &job, arena, cell, err);
}

/* The cell joins what FILE holds; an experiment's name and text in it stay. */
static enum ptq_status store_cell(const char *file, const char *experiment, const char *yaml,
                                  const struct ptq_cell *cell, struct ptq_error *err)
{
    PTQ_TRY(ptq_results_put(file, cell, err));
    return ptq_results_merge(file, *experiment ? experiment : "eval", yaml, (const char(*)[PTQ_SHA256_HEX])cell->id, 1,
                             err);
}

/* The file is looked at before the work, so that one which cannot take the cell is told at once. */
static enum ptq_status run_and_store(const struct ptq_options *o, struct ptq_session *session, struct ptq_arena *arena,
                                     struct ptq_cell *cell, struct ptq_error *err)
{
    const char *experiment = "", *yaml = "";
    int fresh;
    PTQ_TRY(ptq_slurm_check_idle(arena, o->out, err));
    PTQ_TRY(ptq_results_is_fresh(arena, o->out, &fresh, err));
    if (fresh)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: ptq run --fresh began to compute it anew and has not ended; go on with that run, without "
                        "--fresh, or give another name behind -o",
                        o->out);
    PTQ_TRY(ptq_results_experiment(arena, o->out, &experiment, &yaml, err));
    PTQ_TRY(run_cell(o, session, arena, cell, err));
    return store_cell(o->out, experiment, yaml, cell, err);
}

static enum ptq_status run(const struct ptq_options *o, struct ptq_session *session, struct ptq_arena *arena,
                           struct ptq_cell *cell, struct ptq_error *err)
{
    struct ptq_options resolved = *o;
    struct ptq_lock lock;
    if (!o->out) return run_cell(o, session, arena, cell, err);
    PTQ_TRY(ptq_results_resolve(arena, &resolved.out, err));
    PTQ_TRY(ptq_results_check_beside(resolved.out, err));
    PTQ_TRY(ptq_results_lock(resolved.out, &lock, err));
    enum ptq_status status = run_and_store(&resolved, session, arena, cell, err);
    if (status) rmdir(ptq_format(arena, "%s" PTQ_CELLS, resolved.out)); /* empty, it is read as a run under way */
    ptq_results_unlock(&lock);
    return status;
}

enum ptq_status ptq_eval(const struct ptq_options *options, struct ptq_error *err)
{
    PTQ_TRY(ptq_options_check_model(options, "eval", err));
    if (!options->text) return ptq_fail(err, PTQ_EUSAGE, "eval needs --text FILE");
    struct ptq_arena *arena = ptq_arena_make("eval");
    struct ptq_session *session = ptq_session_make();
    struct ptq_cell cell;
    enum ptq_status status = run(options, session, arena, &cell, err);
    if (!status && options->json) {
        status = ptq_eval_print_json(&cell, err);
    } else if (!status) {
        print_cell(arena, &cell);
    }
    ptq_session_free(session);
    ptq_arena_free(arena);
    return status;
}
