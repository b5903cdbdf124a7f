#include "quantize.h"

#include "eval.h"
#include "export.h"
#include "idle_options.h"
#include "loaders.h"
#include "mapped.h"
#include "model_card.h"
#include "new_folder.h"
#include "progress.h"
#include "session.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The size that Hugging Face's own tools cut at; PTQ_SHARD_BYTES is for tests. */
static const int64_t default_shard_bytes = 5000000000;

/* One export, from options to a folder. */
struct work {
    const struct ptq_options *o;
    struct ptq_session *session;
    struct ptq_arena *arena;
    struct ptq_job job;
    struct ptq_block_sink sink;
    struct ptq_export x;
    struct ptq_new_folder folder;
    struct ptq_cell made, measured;
};

static enum ptq_status take_block(void *context, int64_t index, const struct ptq_block *block, const struct ptq_qmat *q,
                                  struct ptq_error *err)
{
    return ptq_export_block(context, index, block, q, err);
}

static enum ptq_status shard_bytes(uint64_t *out, struct ptq_error *err)
{
    const char *text = getenv("PTQ_SHARD_BYTES");
    int64_t bytes = default_shard_bytes;
    if (text && !ptq_parse_int(text, 1, INT64_MAX, &bytes))
        return ptq_fail(err, PTQ_EUSAGE, "PTQ_SHARD_BYTES is '%.40s'; it must be a number of bytes", text);
    *out = (uint64_t)bytes;
    return PTQ_OK;
}

static enum ptq_status check_options(const struct ptq_options *o, struct ptq_error *err)
{
    PTQ_TRY(ptq_options_check_model(o, "quantize", err));
    if (!o->method) return ptq_fail(err, PTQ_EUSAGE, "quantize needs --method SPEC; ptq methods lists them");
    if (!o->format) return ptq_fail(err, PTQ_EUSAGE, "quantize needs --format, " PTQ_EXPORT_WORDS);
    if (!o->out) return ptq_fail(err, PTQ_EUSAGE, "quantize needs -o DIR, a folder that is not there yet");
    return PTQ_OK;
}

/* Everything that can be refused, before anything is computed. */
static enum ptq_status plan(struct work *w, struct ptq_error *err)
{
    struct ptq_planned *planned = ptq_new(w->arena, struct ptq_planned, 1); /* keeps the spec */
    PTQ_TRY(ptq_export_find(w->o->format, &w->x.format, err));
    PTQ_TRY(ptq_options_job(w->o, &w->job, err));
    w->sink = (struct ptq_block_sink){take_block, &w->x};
    w->job.model = w->o->operand[0];
    w->job.experiment = "quantize";
    w->job.sink = &w->sink;
    PTQ_TRY(ptq_cell_plan(w->session, &w->job, w->arena, &w->made, err));
    PTQ_TRY(ptq_session_plan(w->session, &w->job, planned, err));
    PTQ_TRY(ptq_idle_options("quantize", w->o, planned, err));
    w->x.model = &planned->model->model;
    w->x.spec = &planned->spec;
    PTQ_TRY(shard_bytes(&w->x.shard_bytes, err));
    PTQ_TRY(ptq_export_check(&w->x, err));
    if (ptq_loaders_none(&w->x))
        ptq_progress_note("note: --format %s of %s: loaded by %s", w->x.format->name, w->made.spec,
                          ptq_loaders(w->arena, &w->x));
    return PTQ_OK;
}

static enum ptq_status write_blocks(struct work *w, struct ptq_error *err)
{
    w->x.folder = w->folder.temporary;
    enum ptq_status status = ptq_export_begin(&w->x, err);
    if (!status) status = ptq_cell_run(w->session, &w->job, w->arena, &w->made, err);
    if (!status) status = ptq_export_finish(&w->x, err);
    ptq_export_abandon(&w->x);
    return status;
}

/* What was written is read back as anybody's checkpoint, and measured where there is a text. */
static enum ptq_status measure(struct work *w, const char *path, char sha256[PTQ_SHA256_HEX], struct ptq_error *err)
{
    struct ptq_model model;
    PTQ_TRY(ptq_model_open(w->arena, path, path, &model, err));
    if (w->x.format->lossless) w->made.effective_bits = model.source_bits; /* of the images as they are */
    enum ptq_status status = ptq_checkpoint_sha256(&model.checkpoint, sha256, err);
    ptq_model_close(&model);
    if (status || !w->o->text) return status;
    struct ptq_job job = w->job;
    job.model = path;
    job.spec = w->x.format->exact ? "exact" : "fp16";
    job.calib = NULL;
    job.sink = NULL;
    PTQ_TRY(ptq_cell_plan(w->session, &job, w->arena, &w->measured, err));
    return ptq_cell_run(w->session, &job, w->arena, &w->measured, err);
}

static enum ptq_status write_card(struct work *w, const char *sha256, struct ptq_error *err)
{
    struct ptq_model_card card = {&w->x, &w->made, &w->measured, sha256};
    const char *text = ptq_model_card(w->arena, &card);
    return ptq_write_file(ptq_join(w->arena, w->folder.temporary, "README.md"), text, strlen(text), err);
}

static enum ptq_status fill_folder(struct work *w, struct ptq_error *err)
{
    char sha256[PTQ_SHA256_HEX];
    enum ptq_kind kind;
    PTQ_TRY(write_blocks(w, err));
    const char *gguf = ptq_join(w->arena, w->folder.temporary, "model.gguf");
    PTQ_TRY(ptq_look(gguf, &kind, err));
    if (measure(w, kind == PTQ_FILE ? gguf : w->folder.temporary, sha256, err))
        return ptq_within(err, "the checkpoint as it was written");
    return write_card(w, sha256, err);
}

static enum ptq_status report(const struct work *w, struct ptq_error *err)
{
    struct ptq_cell cell = w->measured.tokens ? w->measured : w->made;
    cell.spec = w->made.spec;
    cell.model = w->made.model;
    cell.effective_bits = w->made.effective_bits;
    cell.calib_sha256 = w->made.calib_sha256;
    if (w->o->json) return ptq_eval_print_json(&cell, err);
    ptq_say(stdout, "%s  %s  --format %s  %.3f bits a weight  -> %s\n", cell.model, cell.spec, w->x.format->name,
            cell.effective_bits, w->folder.path);
    if (w->measured.tokens)
        printf("perplexity of these files %.4f; of %s %.4f\n", w->measured.ppl, ptq_card_before(w->x.format),
               w->made.ppl);
    return PTQ_OK;
}

static enum ptq_status run(struct work *w, struct ptq_error *err)
{
    PTQ_TRY(check_options(w->o, err));
    PTQ_TRY(plan(w, err));
    PTQ_TRY(ptq_new_folder_begin(w->arena, w->o->out, &w->folder, err));
    enum ptq_status status = fill_folder(w, err);
    if (!status) status = ptq_interrupted(err);
    if (status) {
        ptq_new_folder_discard(&w->folder);
        if (status == PTQ_EINTERRUPT)
            ptq_fail(err, status, "stopped by a signal; nothing is left of %s, so run the command again",
                     w->folder.path);
        return status;
    }
    PTQ_TRY(ptq_new_folder_publish(&w->folder, err));
    return report(w, err);
}

enum ptq_status ptq_quantize(const struct ptq_options *options, struct ptq_error *err)
{
    struct work w = {.o = options, .session = ptq_session_make(), .arena = ptq_arena_make("quantize")};
    w.x.arena = w.arena;
    w.x.scratch = ptq_arena_make("export");
    enum ptq_status status = run(&w, err);
    ptq_session_free(w.session);
    ptq_arena_free(w.x.scratch);
    ptq_arena_free(w.arena);
    return status;
}
