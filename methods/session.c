/* What the cells of one run share, and the planning of a cell from it. */
#include "session.h"

#include "device.h"
#include "locate.h"
#include "mapped.h"
#include "only.h"
#include "path.h"
#include "progress.h"
#include "provenance.h"
#include "sampling.h"
#include "stats.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_WINDOW = 2048, DEFAULT_CALIB_WINDOW = 512, DEFAULT_CALIB_WINDOWS = 64 };

struct ptq_session *ptq_session_make(void)
{
    struct ptq_arena *arena = ptq_arena_make("run");
    struct ptq_session *session = ptq_new(arena, struct ptq_session, 1);
    session->arena = arena;
    return session;
}

void ptq_session_budget(struct ptq_session *session, int64_t bytes)
{
    session->budget = bytes;
}

void ptq_session_forget(struct ptq_session *session, const struct ptq_shared_windows *keep)
{
    if (keep && session->measured == keep) return;
    if (session->measured) session->measured->stats = NULL;
    ptq_arena_free(session->statistics);
    session->measured = NULL;
    session->statistics = NULL;
    malloc_trim(0); /* glibc keeps what is in the middle of its heap: 49 MiB of SmolLM2's statistics */
}

int ptq_session_keeps_prefix(const struct ptq_planned *plan)
{
    unsigned scales = PTQ_NEED_WINDOWS | PTQ_NEED_MOMENTS;
    return *plan->spec.only && (ptq_spec_need(&plan->spec) & scales) != scales;
}

void ptq_session_forget_prefix(struct ptq_session *session, const struct ptq_shared_windows *keep)
{
    if (keep && session->begun == keep) return;
    if (session->begun) session->begun->prefix = NULL;
    ptq_arena_free(session->prefixes);
    session->begun = NULL;
    session->prefixes = NULL;
}

const char *ptq_session_identity(struct ptq_arena *arena, const struct ptq_shared_model *m)
{
    const struct ptq_device *device = m->model.device;
    return ptq_format(arena, "%s %s%s%s%s%s", m->sha256, m->config_sha256, m->model.exact ? " exact" : "",
                      m->model.path ? ptq_format(arena, " %s", ptq_paths[m->model.path].name) : "", device ? " " : "",
                      device ? device->name : "");
}

enum ptq_status ptq_session_calibrate(struct ptq_session *s, const struct ptq_planned *plan, struct ptq_cell *cell,
                                      struct ptq_error *err)
{
    struct ptq_shared_windows *calib = plan->calib;
    if (!calib || !ptq_spec_reads_stats(&plan->spec)) return PTQ_OK;
    if (calib->stats && calib->stats->has_moments >= calib->with_moments && ptq_stats_stand(calib->stats))
        return PTQ_OK;
    double started = ptq_seconds();
    ptq_peak_rss_lap(NULL);
    ptq_session_forget(s, NULL);
    s->statistics = ptq_arena_make("statistics");
    const char *folder = ptq_format(s->statistics, "%s/stats", ptq_cache_folder(s->statistics));
    const char *identity = ptq_session_identity(s->statistics, plan->model);
    struct ptq_model_stats *stats = ptq_new(s->statistics, struct ptq_model_stats, 1);
    PTQ_TRY(ptq_stats_get(s->statistics, &plan->model->model, identity, &calib->windows, calib->with_moments, folder,
                          stats, err));
    calib->stats = stats;
    s->measured = calib;
    if (stats->from_cache) return PTQ_OK;
    ptq_peak_rss_lap(&cell->peak_rss_bytes_calibrate);
    cell->seconds_calibrate = ptq_seconds() - started;
    return PTQ_OK;
}

void ptq_session_free(struct ptq_session *session)
{
    if (!session) return;
    ptq_session_forget(session, NULL);
    ptq_session_forget_prefix(session, NULL);
    for (struct ptq_shared_model *m = session->model; m; m = m->next) {
        ptq_tokenizer_close(m->tokenizer);
        ptq_model_close(&m->model);
    }
    ptq_arena_free(session->arena);
}

static enum ptq_status open_tokenizer(struct ptq_session *s, struct ptq_shared_model *m, struct ptq_error *err)
{
    const struct ptq_checkpoint *file = &m->model.checkpoint;
    if (file->gguf) {
        PTQ_TRY(ptq_tokenizer_from_gguf(s->arena, file->gguf, file->path, &m->tokenizer, err));
        if (ptq_tokenizer_size(m->tokenizer) <= m->model.config.vocab) return PTQ_OK;
        return ptq_fail(err, PTQ_EINPUT, "%s: tokenizer.ggml.tokens has %d tokens, and the embedding %lld rows",
                        file->path, (int)ptq_tokenizer_size(m->tokenizer), (long long)m->model.config.vocab);
    }
    return ptq_tokenizer_open(s->arena, file->folder, &m->tokenizer, err);
}

static enum ptq_status share_model(struct ptq_session *s, const char *name, int exact, struct ptq_shared_model **out,
                                   struct ptq_error *err)
{
    for (struct ptq_shared_model *m = s->model; m; m = m->next)
        if (m->model.exact == exact && strcmp(m->model.name, name) == 0) {
            *out = m;
            return PTQ_OK;
        }
    const char *path;
    PTQ_TRY(ptq_locate_model(s->arena, name, &path, err));
    struct ptq_shared_model *m = ptq_new(s->arena, struct ptq_shared_model, 1);
    PTQ_TRY(ptq_model_open(s->arena, path, name, &m->model, err));
    enum ptq_status status = open_tokenizer(s, m, err);
    if (!status) status = ptq_checkpoint_sha256(&m->model.checkpoint, m->sha256, err);
    if (!status) status = ptq_checkpoint_config_sha256(&m->model.checkpoint, m->config_sha256, err);
    if (status) {
        ptq_tokenizer_close(m->tokenizer);
        ptq_model_close(&m->model);
        return status;
    }
    if (exact) ptq_model_exact(&m->model);
    s->n_loaded++;
    m->next = s->model;
    s->model = *out = m;
    return PTQ_OK;
}

static enum ptq_status read_stream(struct ptq_session *s, struct ptq_shared_model *model, const char *text, size_t size,
                                   struct ptq_shared_text *t, struct ptq_error *err)
{
    struct ptq_stream_ids *ids = ptq_new(s->arena, struct ptq_stream_ids, 1);
    if (ptq_tokenizer_encode(model->tokenizer, text, size, 0, s->arena, &ids->id, &ids->n, err))
        return ptq_within(err, "%s", t->path);
    ids->bos = ptq_tokenizer_bos(model->tokenizer);
    t->ids = ids;
    return PTQ_OK;
}

/* Documents of a plain text point into it, so it is kept; those of JSON lines are copies. */
static enum ptq_status read_documents(struct ptq_session *s, const char *text, size_t size, struct ptq_shared_text *t,
                                      struct ptq_error *err)
{
    struct ptq_documents *documents = ptq_new(s->arena, struct ptq_documents, 1);
    if (!ptq_is_json_lines(t->path)) text = ptq_strndup(s->arena, text, size);
    PTQ_TRY(ptq_documents_read(s->arena, t->path, text, size, documents, err));
    t->documents = documents;
    return PTQ_OK;
}

/* Reads t's file for the form that is missing. */
static enum ptq_status read_text(struct ptq_session *s, struct ptq_shared_model *model, struct ptq_shared_text *t,
                                 int as_documents, struct ptq_error *err)
{
    struct ptq_arena *work = ptq_arena_make("text");
    char *text;
    size_t size;
    enum ptq_status status = PTQ_OK;
    s->n_loaded++;
    if (!as_documents && ptq_is_json_lines(t->path))
        status = ptq_fail(err, PTQ_EINPUT,
                          "%s: holds JSON lines by its name, which only the calibration samples gptq and awq take; "
                          "give plain text, or calibrate with --calib-sample gptq or awq (calib.sample)",
                          t->path);
    if (!status) status = ptq_text_read(work, t->path, as_documents, &text, &size, err);
    if (!status) {
        ptq_sha256(text, size, t->sha256);
        status = as_documents ? read_documents(s, text, size, t, err) : read_stream(s, model, text, size, t, err);
    }
    ptq_arena_free(work);
    return status;
}

static enum ptq_status locate_text(struct ptq_session *s, const char *name, const char **path, struct ptq_error *err)
{
    PTQ_TRY(ptq_locate_text(s->arena, name, path, err));
    if (!ptq_is_folder(*path)) return PTQ_OK; /* where nobody can say, it cannot be opened, or is read */
    return ptq_fail(err, PTQ_EINPUT, "%s: is a folder, and a text is one file; give a file in it", *path);
}

/* sample: what is to be taken of the text. */
static enum ptq_status share_text(struct ptq_session *s, struct ptq_shared_model *model, const char *name,
                                  enum ptq_sample sample, struct ptq_shared_text **out, struct ptq_error *err)
{
    struct ptq_shared_text *t = model->text;
    while (t && strcmp(t->name, name) != 0) t = t->next;
    int is_new = t == NULL;
    if (is_new) {
        t = ptq_new(s->arena, struct ptq_shared_text, 1);
        PTQ_TRY(locate_text(s, name, &t->path, err));
        t->name = ptq_strdup(s->arena, name);
    }
    int as_documents = ptq_samples_documents(sample, t->path);
    if (as_documents ? !t->documents : !t->ids) PTQ_TRY(read_text(s, model, t, as_documents, err));
    if (is_new) {
        t->next = model->text;
        model->text = t;
    }
    *out = t;
    return PTQ_OK;
}

/* ---- the device ---- */

int ptq_on_device(const struct ptq_job *job)
{
    return job->device && strcmp(job->device, "cuda") == 0;
}

enum ptq_status ptq_session_device(const struct ptq_job *job, struct ptq_model *model, struct ptq_arena *arena,
                                   struct ptq_cell *cell, struct ptq_error *err)
{
    char why[256];
    model->device = NULL;
    if (!ptq_on_device(job)) return PTQ_OK;
    model->device = ptq_cuda_device(why, sizeof why);
    if (model->device) {
        cell->device = ptq_strdup(arena, model->device->name);
        return PTQ_OK;
    }
    return ptq_fail(err, PTQ_EDEVICE, "device cuda: %s; or compute on the CPU, --device cpu", why);
}

/* ---- the evaluation's and the calibration's windows ---- */

static enum ptq_status take_windows(struct ptq_session *s, const struct ptq_planned *plan,
                                    const struct ptq_shared_text *text, struct ptq_shared_windows *want,
                                    struct ptq_error *err)
{
    if (!ptq_samples_documents(want->sample, text->path))
        return ptq_windows_cut(s->arena, text->ids, text->name, want->length, want->max, want->need, want->bos,
                               want->sample, want->seed, &want->windows, err);
    struct ptq_sampling sampling = {
        .sample = want->sample, .bos = want->bos, .length = want->length, .n = want->max, .seed = want->seed};
    return ptq_sample_documents(s->arena, plan->model->tokenizer, text->documents, text->name, &sampling,
                                &want->windows, err);
}

static enum ptq_status share_windows(struct ptq_session *s, const struct ptq_job *job, const struct ptq_planned *plan,
                                     struct ptq_shared_text *text, struct ptq_shared_windows want,
                                     struct ptq_shared_windows **out, struct ptq_error *err)
{
    for (struct ptq_shared_windows *w = text->windows; w; w = w->next)
        if (w->length == want.length && w->max == want.max && w->bos == job->bos && w->sample == want.sample &&
            w->seed == job->seed && w->order == want.order && w->on_device == ptq_on_device(job)) {
            *out = w;
            return PTQ_OK;
        }
    want.bos = job->bos;
    want.seed = job->seed;
    want.on_device = ptq_on_device(job);
    PTQ_TRY(take_windows(s, plan, text, &want, err));
    ptq_windows_shuffle(s->arena, want.order, &want.windows);
    want.next = text->windows;
    text->windows = *out = ptq_new(s->arena, struct ptq_shared_windows, 1);
    **out = want;
    return PTQ_OK;
}

/* A window beyond the model's positions: learned ones end there, rotary ones go on, which is said once a model. */
static enum ptq_status check_reach(struct ptq_shared_model *m, const char *what, int64_t window, struct ptq_error *err)
{
    const struct ptq_config *c = &m->model.config;
    if (window <= c->positions) return PTQ_OK;
    if (c->family->position == PTQ_LEARNED)
        return ptq_fail(err, PTQ_EUSAGE, "%s is %lld, but %s has only %lld positions; take a shorter one", what,
                        (long long)window, m->model.name, (long long)c->positions);
    if (c->family->position != PTQ_ROPE || window <= m->noted) return PTQ_OK;
    m->noted = window;
    ptq_progress_note("%s is %lld, but %s was made for %lld positions; what it says of tokens beyond them may be poor",
                      what, (long long)window, m->model.name, (long long)c->positions);
    return PTQ_OK;
}

static enum ptq_status eval_windows(struct ptq_session *s, const struct ptq_job *job, struct ptq_planned *plan,
                                    struct ptq_error *err)
{
    const struct ptq_config *c = &plan->model->model.config;
    int64_t window = job->window ? job->window : c->positions < DEFAULT_WINDOW ? c->positions : DEFAULT_WINDOW;
    if (window < 2) return ptq_fail(err, PTQ_EUSAGE, "window is %lld; it must be at least 2 tokens", (long long)window);
    PTQ_TRY(check_reach(plan->model, "window", window, err));
    struct ptq_shared_windows want = {.length = window,
                                      .max = job->max_windows,
                                      .need = job->fewer_do ? 1 : job->max_windows,
                                      .sample = PTQ_SAMPLE_FIRST};
    return share_windows(s, job, plan, plan->text, want, &plan->eval, err);
}

/* What is asked for, else the preset's, else the first windows. */
static enum ptq_sample sample_of(const struct ptq_job *job, const struct ptq_spec *spec)
{
    if (job->calib_sample != PTQ_SAMPLE_AUTO) return job->calib_sample;
    return spec->preset ? spec->preset->sample : PTQ_SAMPLE_FIRST;
}

static enum ptq_status calib_windows(struct ptq_session *s, const struct ptq_job *job, struct ptq_planned *plan,
                                     struct ptq_error *err)
{
    const struct ptq_config *c = &plan->model->model.config;
    int64_t window = job->calib_window ? job->calib_window : DEFAULT_CALIB_WINDOW;
    int64_t n = job->calib_windows ? job->calib_windows : DEFAULT_CALIB_WINDOWS;
    if (window > c->positions && !job->calib_window) window = c->positions;
    PTQ_TRY(check_reach(plan->model, "calib_window", window, err));
    struct ptq_shared_windows want = {.length = window, .max = n, .need = n, .sample = plan->sample};
    if (ptq_spec_has(&plan->spec, "order")) want.order = (uint64_t)ptq_spec_value(&plan->spec, "order");
    return share_windows(s, job, plan, plan->calib_text, want, &plan->calib, err);
}

/* ---- the cell's configuration ---- */

static int has_calib(const struct ptq_job *job)
{
    return job->calib && strcmp(job->calib, PTQ_NO_CALIB) != 0;
}

/* Whether the spec reads calibration data, or could report with it. */
static int uses_calib(const struct ptq_job *job, const struct ptq_spec *spec)
{
    return has_calib(job) && ptq_spec_quantizes(spec);
}

/* A text that somebody named is there, also where the method does not read it. */
static enum ptq_status check_calib(struct ptq_session *s, const struct ptq_job *job, const struct ptq_spec *spec,
                                   struct ptq_error *err)
{
    const char *path;
    if (has_calib(job)) return job->calib_by_default ? PTQ_OK : locate_text(s, job->calib, &path, err);
    if (!ptq_spec_needs_calib(spec)) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE, "%s needs a calibration text; give --calib FILE (calib.text)", job->spec);
}

/* What the windows were made of, where that is not one stream. */
static const char *sources(struct ptq_arena *arena, const struct ptq_planned *plan)
{
    if (!ptq_samples_documents(plan->sample, plan->calib_text->path)) return "";
    if (plan->sample == PTQ_SAMPLE_GPTQ) return ", each of a document";
    return ptq_format(arena, " of %lld %s", (long long)plan->calib->max,
                      plan->calib_text->documents->paragraphs ? "paragraphs" : "documents");
}

static void describe_text(struct ptq_arena *arena, const struct ptq_job *job, const struct ptq_planned *plan,
                          struct ptq_cell *cell)
{
    cell->text = ptq_strdup(arena, job->text);
    cell->text_sha256 = ptq_strdup(arena, plan->text->sha256);
    cell->tokens_sha256 = ptq_strdup(arena, plan->eval->windows.sha256);
    cell->window = plan->eval->windows.length;
    cell->windows = plan->eval->windows.n;
    cell->tokens = plan->eval->windows.n * (plan->eval->windows.length - 1);
    const char *which = "all windows"; /* of a text with fewer than were allowed, too */
    if (job->max_windows && job->max_windows <= cell->windows)
        which = ptq_format(arena, "first %lld windows", (long long)job->max_windows);
    cell->protocol = ptq_format(arena, "window %lld, %s, bos %s, first token not scored, tail dropped, text %.12s",
                                (long long)cell->window, which, ptq_bos_name(job->bos), cell->text_sha256);
}

static void describe_texts(struct ptq_arena *arena, const struct ptq_job *job, const struct ptq_planned *plan,
                           struct ptq_cell *cell)
{
    cell->text = cell->text_sha256 = cell->tokens_sha256 = cell->protocol = "";
    if (plan->text) describe_text(arena, job, plan, cell);
    cell->calib = cell->calib_sha256 = cell->calib_protocol = "";
    if (!uses_calib(job, &plan->spec)) return;
    cell->calib = ptq_strdup(arena, job->calib);
    cell->calib_sha256 = ptq_strdup(arena, plan->calib->windows.sha256);
    cell->calib_windows = plan->calib->windows.n;
    cell->calib_window = plan->calib->windows.length;
    cell->calib_protocol =
        ptq_format(arena, "%s %lld windows of %lld%s, bos %s, text %.12s", ptq_sample_name(plan->sample),
                   (long long)plan->calib->windows.n, (long long)plan->calib->windows.length, sources(arena, plan),
                   ptq_bos_name(job->bos), plan->calib_text->sha256);
}

/* Everything that the numbers depend on and that was asked for; not the machine, which is provenance. */
static void identify(struct ptq_arena *arena, const struct ptq_planned *plan, struct ptq_cell *cell)
{
    const char *calib = "", *seed = "", *model = "";
    if (plan->model->config_sha256[0]) model = ptq_format(arena, "model_config=%s\n", plan->model->config_sha256);
    if (cell->calib[0])
        calib = ptq_format(arena, "calib=%s\ncalib_windows=%lld\ncalib_window=%lld\n", cell->calib_sha256,
                           (long long)cell->calib_windows, (long long)cell->calib_window);
    if (ptq_spec_need(&plan->spec) & PTQ_NEED_SEED) seed = ptq_format(arena, "seed=%lld\n", (long long)cell->seed);
    cell->config = ptq_format(
        arena, "schema=%d\nspec=%s\nmodel=%s\ntokens=%s\nwindow=%lld\nprotocol=%s\ndevice=%s\npath=%s\n%s%s%s",
        PTQ_RESULTS_SCHEMA, cell->spec, cell->model_sha256, cell->tokens_sha256, (long long)cell->window,
        cell->protocol, cell->device, cell->path, model, calib, seed);
    ptq_cell_identify(cell);
}

static void describe(struct ptq_arena *arena, const struct ptq_job *job, const struct ptq_planned *plan,
                     struct ptq_cell *cell)
{
    const struct ptq_model *m = &plan->model->model;
    *cell = (struct ptq_cell){.seed = (int64_t)job->seed};
    cell->experiment = ptq_strdup(arena, job->experiment ? job->experiment : "eval");
    cell->spec = ptq_spec_format(&plan->spec, arena);
    cell->method = plan->spec.method->name;
    cell->model = ptq_strdup(arena, m->name);
    cell->model_sha256 = ptq_strdup(arena, plan->model->sha256);
    cell->family = m->config.family->model_type;
    cell->source_dtype = m->source_dtype;
    cell->device = job->device ? ptq_strdup(arena, job->device) : "cpu";
    int quantizes = ptq_spec_quantizes(&plan->spec);
    cell->path = plan->path;
    /* A checkpoint of codes is what it is, whatever the method that leaves it alone is called. */
    const struct ptq_quantization *codes = m->source_bits < 16 || ptq_model_has_images(m) ? m->quantization : NULL;
    cell->w_bit = quantizes ? plan->spec.grid.w_bit : codes ? codes->bits : 16;
    cell->group_size = quantizes ? plan->spec.grid.group_size : codes ? codes->group_size : 0;
    cell->fraction = ptq_spec_value_or(&plan->spec, "fraction", 0);
    describe_texts(arena, job, plan, cell);
    ptq_provenance(arena, cell);
    identify(arena, plan, cell);
}

enum ptq_status ptq_session_plan(struct ptq_session *s, const struct ptq_job *job, struct ptq_planned *plan,
                                 struct ptq_error *err)
{
    *plan = (struct ptq_planned){0};
    PTQ_TRY(ptq_job_check(job, err));
    PTQ_TRY(ptq_spec_parse(job->spec ? job->spec : "fp16", &plan->spec, err));
    PTQ_TRY(check_calib(s, job, &plan->spec, err));
    PTQ_TRY(share_model(s, job->model, plan->spec.method->exact, &plan->model, err));
    PTQ_TRY(ptq_job_check_source(&plan->model->model, &plan->spec, err));
    plan->path = ptq_job_path(job, &plan->spec, &plan->model->model);
    if (plan->spec.method->check && plan->spec.method->check(&plan->spec, &plan->model->model.config, err))
        return ptq_within(err, "%s", plan->model->model.name);
    if (job->text) {
        PTQ_TRY(share_text(s, plan->model, job->text, PTQ_SAMPLE_FIRST, &plan->text, err));
        PTQ_TRY(eval_windows(s, job, plan, err));
    }
    PTQ_TRY(ptq_job_check_only(s, job, plan, err));
    if (!uses_calib(job, &plan->spec)) return PTQ_OK;
    plan->sample = sample_of(job, &plan->spec);
    PTQ_TRY(ptq_sampling_check(plan->sample, job->bos, err));
    PTQ_TRY(share_text(s, plan->model, job->calib, plan->sample, &plan->calib_text, err));
    PTQ_TRY(calib_windows(s, job, plan, err));
    plan->calib->with_moments |= (ptq_spec_need(&plan->spec) & PTQ_NEED_MOMENTS) != 0;
    return PTQ_OK;
}

enum ptq_status ptq_cell_plan(struct ptq_session *session, const struct ptq_job *job, struct ptq_arena *arena,
                              struct ptq_cell *cell, struct ptq_error *err)
{
    struct ptq_planned plan;
    double started = ptq_seconds();
    int n_loaded = session->n_loaded;
    ptq_peak_rss_restart();
    PTQ_TRY(ptq_session_plan(session, job, &plan, err));
    describe(arena, job, &plan, cell);
    if (session->n_loaded > n_loaded) ptq_peak_rss_lap(&cell->peak_rss_bytes_load);
    cell->seconds_load = ptq_seconds() - started;
    return PTQ_OK;
}
