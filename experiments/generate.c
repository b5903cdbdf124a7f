#include "generate.h"

#include "decode.h"
#include "device.h"
#include "escape.h"
#include "hold.h"
#include "idle_options.h"
#include "json.h"
#include "mapped.h"
#include "offload.h"
#include "path.h"
#include "pieces.h"
#include "pool.h"
#include "progress.h"
#include "session.h"
#include "version.h"
#include "words.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_TOKENS = 128 };

/* One run of the command. */
struct talk {
    const struct ptq_options *o;
    struct ptq_arena *arena, *scratch;
    struct ptq_held held;
    struct ptq_decoder decoder;
    struct ptq_pieces pieces;
    struct ptq_utf8_stream stream;
    struct ptq_choice choice;
    struct ptq_rng rng;
    int32_t *prompt, *end;
    int64_t n_prompt, n_new, wanted;
    int n_end;
    const char *stopped; /* "eos", "length" or "interrupt" */
    char *text;          /* what was printed, [used] of [room] */
    size_t used, room;
    double prefill, decode; /* seconds */
};

/* ---- options ---- */

static enum ptq_status real_option(const char *name, const char *text, double fallback, double *out,
                                   struct ptq_error *err)
{
    char *end;
    *out = fallback;
    if (!text) return PTQ_OK;
    errno = 0;
    *out = strtod(text, &end);
    if (!*text || *end || errno || !(*out >= 0 && *out <= 1e6))
        return ptq_fail(err, PTQ_EUSAGE, "--%s is '%s'; it must be a number from 0 on", name, text);
    return PTQ_OK;
}

/* Sampling that was asked for without a temperature has temperature 1. */
static enum ptq_status read_choice(const struct ptq_options *o, struct ptq_choice *choice, struct ptq_error *err)
{
    PTQ_TRY(real_option("temperature", o->temperature, o->top_k || o->top_p ? 1 : 0, &choice->temperature, err));
    PTQ_TRY(real_option("top-p", o->top_p, 1, &choice->top_p, err));
    choice->top_k = o->top_k;
    if (!(choice->top_p > 0 && choice->top_p <= 1))
        return ptq_fail(err, PTQ_EUSAGE, "--top-p is '%s'; it must be above 0 and at most 1", o->top_p);
    return PTQ_OK;
}

/* ---- text ---- */

/* The prompt's ids behind the template's BOS. */
static enum ptq_status encode_prompt(struct talk *t, struct ptq_error *err)
{
    const struct ptq_tokenizer *tokenizer = t->held.tokenizer;
    int32_t *id, bos = ptq_tokenizer_bos(tokenizer);
    size_t n, before = bos >= 0;
    if (ptq_tokenizer_encode(tokenizer, t->o->prompt, strlen(t->o->prompt), 0, t->arena, &id, &n, err))
        return ptq_within(err, "--prompt");
    if (n + before == 0) return ptq_fail(err, PTQ_EUSAGE, "--prompt is empty, and this model has no BOS to begin with");
    t->prompt = ptq_new(t->arena, int32_t, n + before);
    t->prompt[0] = bos;
    memcpy(t->prompt + before, id, sizeof *id * n);
    t->n_prompt = (int64_t)(n + before);
    return ptq_check_ids(t->held.model, t->prompt, 0, t->n_prompt, err); /* before the prompt is said */
}

/* Whole characters, ended by a NUL. A file or a pipe gets them as they are; a terminal would obey some, and what a
 * model says is a stranger's text. */
static void show(const char *text, size_t n)
{
    if (!isatty(STDOUT_FILENO)) {
        fwrite(text, 1, n, stdout);
    } else {
        for (size_t i = 0, length; i < n; i += length) {
            size_t plain = ptq_printable(text + i);
            length = plain ? plain : 1;
            if (plain || text[i] == '\n' || text[i] == '\t')
                fwrite(text + i, 1, length, stdout);
            else
                putchar('?');
        }
    }
    fflush(stdout);
}

static void say(struct talk *t, const char *bytes, size_t n)
{
    if (t->used + n + 1 > t->room) {
        t->room = 2 * t->room + n + 256;
        t->text = ptq_realloc(t->text, t->room, 1, "generated text");
    }
    memcpy(t->text + t->used, bytes, n);
    t->used += n;
    t->text[t->used] = 0;
    if (!t->o->json) show(t->text + t->used - n, n);
}

static void say_token(struct talk *t, int32_t id)
{
    struct ptq_mark mark = ptq_arena_mark(t->scratch);
    size_t size;
    const char *piece = ptq_piece(&t->pieces, id, t->scratch, &size);
    char *whole = ptq_alloc(t->scratch, 3 * size + 6, "a token");
    say(t, whole, ptq_utf8_push(&t->stream, piece, size, whole));
    ptq_arena_rewind(t->scratch, mark);
}

static int ends(const struct talk *t, int32_t id)
{
    for (int i = 0; i < t->n_end; i++)
        if (t->end[i] == id) return 1;
    return 0;
}

/* ---- the loop ---- */

static enum ptq_status next_tokens(struct talk *t, struct ptq_error *err)
{
    struct ptq_decoder *d = &t->decoder;
    t->stopped = "length";
    for (t->n_new = 0; t->n_new < t->wanted; t->n_new++) {
        int32_t id;
        PTQ_TRY(ptq_decoder_choose(d, &t->choice, &t->rng, t->scratch, &id, err));
        if (ends(t, id)) {
            t->stopped = "eos";
            return PTQ_OK;
        }
        say_token(t, id);
        PTQ_TRY(ptq_output_check(err)); /* nobody reads on */
        if (t->n_new + 1 < t->wanted)
            PTQ_TRY(ptq_decoder_push(d, &id, 1, err));
        else
            d->id[d->n] = id; /* the last one is said, not computed */
        if (ptq_interrupted(err)) {
            t->n_new++;
            t->stopped = "interrupt";
            return PTQ_OK;
        }
    }
    return PTQ_OK;
}

static enum ptq_status generate(struct talk *t, struct ptq_error *err)
{
    char rest[4];
    double started = ptq_seconds();
    if (!t->o->json) say(t, t->o->prompt, strlen(t->o->prompt));
    PTQ_TRY(ptq_output_check(err));
    t->used = 0; /* the text is what is new */
    PTQ_TRY(ptq_decoder_push(&t->decoder, t->prompt, t->n_prompt, err));
    t->prefill = ptq_seconds() - started;
    started = ptq_seconds();
    enum ptq_status status = next_tokens(t, err);
    t->decode = ptq_seconds() - started;
    say(t, rest, ptq_utf8_finish(&t->stream, rest));
    if (!t->o->json) putchar('\n');
    return status;
}

/* ---- what is said of it ---- */

/* The first new token comes of the prompt; the others are what decoding computed. */
static double pace(const struct talk *t)
{
    return t->decode > 0 && t->n_new > 1 ? (double)(t->n_new - 1) / t->decode : 0;
}

static double prompt_pace(const struct talk *t)
{
    return t->prefill > 0 ? (double)t->n_prompt / t->prefill : 0;
}

static const char *place_of(const struct talk *t)
{
    return t->held.model->device ? t->held.model->device->name : "cpu";
}

static enum ptq_status print_json(const struct talk *t, struct ptq_error *err)
{
    json_t *ids = json_array();
    for (int64_t i = 0; i < t->n_new; i++) json_array_append_new(ids, json_integer(t->decoder.id[t->n_prompt + i]));
    json_t *json = json_pack(
        "{s:s%, s:o, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:{s:f, s:f, s:f, s:f, s:f}, "
        "s:I, s:I, s:I, s:s}",
        "text", t->text ? t->text : "", t->used, "ids", ids, "prompt_tokens", (json_int_t)t->n_prompt, "tokens",
        (json_int_t)t->n_new, "stopped", t->stopped, "model", t->held.model->name, "method", t->held.spec, "path",
        t->held.path, "device", place_of(t), "seed", (json_int_t)t->o->seed, "tokens_per_second", pace(t),
        "prompt_tokens_per_second", prompt_pace(t), "bits", 8 * t->held.bytes / t->held.weights, "seconds", "load",
        t->held.seconds_load, "calibrate", t->held.seconds_calibrate, "quantize", t->held.seconds_quantize, "prompt",
        t->prefill, "decode", t->decode, "peak_rss_bytes", (json_int_t)ptq_peak_rss_bytes(), "device_peak_bytes",
        (json_int_t)ptq_offload_peak_bytes(), "threads", (json_int_t)ptq_pool_size(), "version", ptq_version);
    char *text = ptq_json_dump(json, JSON_ENSURE_ASCII | JSON_INDENT(1));
    json_decref(json);
    if (!text) return ptq_fail(err, PTQ_EINPUT, "JSON holds no name that is not UTF-8; call without --json");
    puts(text);
    free(text);
    return PTQ_OK;
}

/* "rtn:w4,g64 packed, 4.62 bits a weight"; of what is not packed, what the file has and what is computed with. */
static const char *what_ran(const struct talk *t)
{
    const struct ptq_held *h = &t->held;
    if (ptq_path_act_bits(h->path))
        return ptq_format(t->arena, "%s %s, %.2f bits a weight", h->model->path ? h->model->source_dtype : h->spec,
                          h->path, 8 * h->bytes / h->weights);
    if (strcmp(h->spec, "fp16") == 0)
        return ptq_format(t->arena, "weights as in the file (%s), computed in float32", h->model->source_dtype);
    return ptq_format(t->arena, "%s dequantised, computed in float32", h->spec);
}

static void print_pace(const struct talk *t)
{
    if (t->o->quiet) return;
    ptq_progress_clear();
    /* The first new token is the prompt's: of one there is no pace. */
    ptq_say(stderr, "%s, %s%s%s: prompt %s, %.1f tokens/s; %lld new%s (%s)\n", t->held.model->name, what_ran(t),
            t->held.model->device ? ", on " : "", t->held.model->device ? place_of(t) : "",
            ptq_counted(t->arena, t->n_prompt, "token"), prompt_pace(t), (long long)t->n_new,
            t->n_new > 1 ? ptq_format(t->arena, ", %.1f tokens/s", pace(t)) : "", t->stopped);
}

static enum ptq_status prepare(struct talk *t, struct ptq_session *session, struct ptq_error *err)
{
    struct ptq_job job;
    struct ptq_planned plan;
    PTQ_TRY(read_choice(t->o, &t->choice, err));
    PTQ_TRY(ptq_options_job(t->o, &job, err));
    job.model = t->o->operand[0];
    if (!job.path) job.path = ptq_paths[PTQ_PATH_PACKED].name;
    PTQ_TRY(ptq_hold_plan(session, &job, &plan, &t->held, err));
    PTQ_TRY(ptq_idle_options("generate", t->o, &plan, err));
    PTQ_TRY(ptq_options_check_path(t->o, t->held.path, t->held.model->name, t->held.model->source_dtype, err));
    PTQ_TRY(encode_prompt(t, err));
    PTQ_TRY(ptq_hold(session, &job, t->arena, &t->held, err));
    PTQ_TRY(ptq_model_ends(t->held.model, t->arena, &t->end, &t->n_end, err));
    ptq_pieces_make(t->arena, t->held.tokenizer, &t->pieces);
    t->wanted = t->o->n ? t->o->n : DEFAULT_TOKENS;
    t->rng = ptq_rng_make((uint64_t)t->o->seed, "generate");
    return ptq_decoder_make(t->arena, t->held.model, t->held.block, t->n_prompt + t->wanted, &t->decoder, err);
}

enum ptq_status ptq_generate(const struct ptq_options *o, struct ptq_error *err)
{
    PTQ_TRY(ptq_options_check_model(o, "generate", err));
    if (!o->prompt) return ptq_fail(err, PTQ_EUSAGE, "generate needs --prompt TEXT");
    struct talk t = {.o = o, .arena = ptq_arena_make("generate"), .scratch = ptq_arena_make("a token")};
    struct ptq_session *session = ptq_session_make();
    enum ptq_status status = prepare(&t, session, err);
    if (!status) {
        ptq_pool_wait_busily(1);
        status = generate(&t, err);
        ptq_pool_wait_busily(0);
    }
    if (!status && o->json) status = print_json(&t, err);
    if (!status) print_pace(&t);
    if (!status && strcmp(t.stopped, "interrupt") == 0) status = ptq_interrupted(err);
    free(t.text);
    ptq_session_free(session);
    ptq_arena_free(t.scratch);
    ptq_arena_free(t.arena);
    return status;
}
