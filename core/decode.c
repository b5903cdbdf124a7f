#include "decode.h"

#include "forward_parts.h"
#include "json.h"
#include "mapped.h"
#include "ops.h"
#include "pool.h"
#include "progress.h"
#include "resident.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_ROWS = 512, MAX_ENDS = 64, CONFIG_LIMIT = 1 << 24 };

/* ---- the head ---- */

struct head_task {
    struct ptq_decoder *d;
    const float *x;
    uint16_t *half; /* to fill, or NULL */
    struct ptq_error *err;
};

static void read_head(void *context, int64_t i, int worker)
{
    struct head_task *t = context;
    const struct ptq_tensor *head = t->d->model->head;
    int64_t e = head->shape[1], first = i * HEAD_ROWS, rows = min64(HEAD_ROWS, head->shape[0] - first);
    float *row = t->d->head + (t->half ? worker * HEAD_ROWS : first) * e;
    t->err[i].status = PTQ_OK;
    if (ptq_model_rows(head, first, rows, row, &t->err[i]) || !t->half) return;
    for (int64_t j = 0; j < rows * e; j++) t->half[first * e + j] = ptq_f16_encode(row[j]);
}

/* Mapped where the file has FP16, else decoded: to FP16 where that holds all values. */
static enum ptq_status take_head(struct ptq_arena *arena, struct ptq_decoder *d, struct ptq_error *err)
{
    const struct ptq_tensor *t = d->model->head;
    int64_t parts = (t->shape[0] + HEAD_ROWS - 1) / HEAD_ROWS;
    if (t->dtype == PTQ_F16 && (uintptr_t)t->data % 2 == 0) {
        d->head16 = (const uint16_t *)t->data;
        return PTQ_OK;
    }
    struct head_task task = {.d = d, .err = ptq_new(arena, struct ptq_error, parts)};
    if (t->dtype == PTQ_F16 || ptq_dtypes[t->dtype].block_elements > 1) {
        d->head16 = task.half = ptq_new(arena, uint16_t, t->count);
        d->head = ptq_new(arena, float, ptq_pool_size() * HEAD_ROWS * t->shape[1]);
    } else {
        d->head = ptq_new(arena, float, t->count);
    }
    ptq_parallel_for(parts, read_head, &task);
    for (int64_t i = 0; i < parts; i++)
        if (task.err[i].status) {
            *err = task.err[i];
            return err->status;
        }
    return PTQ_OK;
}

static void head_rows(void *context, int64_t i, int worker)
{
    struct head_task *t = context;
    int64_t e = t->d->model->config.embed_width, vocab = t->d->model->config.vocab;
    int64_t first = i * HEAD_ROWS, n = min64(HEAD_ROWS, vocab - first);
    (void)worker;
    if (t->d->head16)
        ptq_ops()->linear_f16(t->d->logits + first, vocab, t->x, e, t->d->head16 + first * e, 1, n, e);
    else
        ptq_ops()->linear(t->d->logits + first, vocab, t->x, e, t->d->head + first * e, NULL, 0, 1, n, e);
}

/* logits from row number `row` of x, which stays. */
static void score(struct ptq_decoder *d, int64_t row)
{
    const struct ptq_model *m = d->model;
    const struct ptq_config *c = &m->config;
    float *x = d->last, *y = d->last + c->width;
    memcpy(x, d->forward.x + row * c->width, sizeof *x * (size_t)c->width);
    if (c->final_norm) ptq_norm_rows(&d->forward, x, x, m->final_norm_w, m->final_norm_b, 1);
    if (d->project) ptq_ops()->linear(y, c->embed_width, x, c->width, d->project, NULL, 0, 1, c->embed_width, c->width);
    struct head_task task = {.d = d, .x = d->project ? y : x};
    ptq_parallel_for((c->vocab + HEAD_ROWS - 1) / HEAD_ROWS, head_rows, &task);
}

/* ---- tokens ---- */

enum ptq_status ptq_decoder_make(struct ptq_arena *arena, const struct ptq_model *model, const struct ptq_block *block,
                                 int64_t capacity, struct ptq_decoder *out, struct ptq_error *err)
{
    const struct ptq_config *c = &model->config;
    if (c->family->position == PTQ_LEARNED && capacity > c->positions)
        return ptq_fail(err, PTQ_EUSAGE,
                        "prompt and text need %lld positions, but %s has only %lld; "
                        "ask for fewer tokens",
                        (long long)capacity, model->name, (long long)c->positions);
    if (c->family->position == PTQ_ROPE && capacity > c->positions)
        ptq_progress_note("prompt and text may need %lld positions, but %s was made for %lld; text beyond them "
                          "may be poor",
                          (long long)capacity, model->name, (long long)c->positions);
    *out = (struct ptq_decoder){.model = model, .block = block, .capacity = capacity};
    out->id = ptq_new(arena, int32_t, capacity);
    ptq_forward_make(arena, model, out->id, 1, capacity, &out->forward);
    out->logits = ptq_new(arena, float, c->vocab);
    PTQ_TRY(ptq_read_projection(model->project_out, arena, &out->project, err));
    PTQ_TRY(take_head(arena, out, err));
    if (model->device)
        return ptq_resident_make(arena, &out->forward, block, capacity, out->head16, out->head, out->project,
                                 &out->there, err);
    out->cache = ptq_new(arena, float *, c->blocks);
    int64_t row = (c->heads + 2 * c->kv_heads) * c->head_size;
    for (int64_t b = 0; b < c->blocks; b++) out->cache[b] = ptq_new(arena, float, capacity *row);
    out->last = ptq_new(arena, float, c->width + c->embed_width);
    return PTQ_OK;
}

/* At most a tile of tokens. */
static enum ptq_status push_rows(struct ptq_decoder *d, int64_t n, struct ptq_error *err)
{
    struct ptq_forward *f = &d->forward;
    PTQ_TRY(ptq_forward_embed_rows(f, d->n, n, err));
    f->split = 1; /* one tile: its linears are what the threads share */
    for (int64_t b = 0; b < d->model->config.blocks; b++) {
        f->qkv = d->cache[b];
        PTQ_TRY(ptq_forward_rows(f, &d->block[b], b, d->n, n, err));
    }
    d->n += n;
    return PTQ_OK;
}

static enum ptq_status check_logits(const struct ptq_decoder *d, struct ptq_error *err)
{
    for (int64_t i = 0; i < d->model->config.vocab; i++)
        if (!isfinite(d->logits[i]))
            return ptq_fail(err, PTQ_ENUMERIC, "%s: token %lld: the logit of id %lld is not finite", d->model->name,
                            (long long)d->n - 1, (long long)i);
    return PTQ_OK;
}

/* The device says by its choice whether all logits are finite. */
static enum ptq_status push_there(struct ptq_decoder *d, int64_t n, struct ptq_error *err)
{
    PTQ_TRY(ptq_forward_embed_rows(&d->forward, d->n, n, err));
    PTQ_TRY(ptq_resident_push(d->there, d->n, n, &d->best, err));
    d->n += n;
    if (d->best >= 0) return PTQ_OK;
    PTQ_TRY(ptq_resident_logits(d->there, d->logits, err));
    return check_logits(d, err);
}

enum ptq_status ptq_decoder_push(struct ptq_decoder *d, const int32_t *id, int64_t n, struct ptq_error *err)
{
    if (n < 1 || n > d->capacity - d->n)
        return ptq_fail(err, PTQ_EINPUT, "%lld more tokens behind %lld, but there is room for %lld", (long long)n,
                        (long long)d->n, (long long)d->capacity);
    memcpy(d->id + d->n, id, sizeof *id * (size_t)n);
    if (d->there) return push_there(d, n, err);
    for (int64_t rows; n > 0; n -= rows) {
        rows = min64(n, PTQ_TILE_ROWS);
        PTQ_TRY(push_rows(d, rows, err));
    }
    score(d, d->n - 1);
    return check_logits(d, err);
}

enum ptq_status ptq_decoder_logits(struct ptq_decoder *d, const float **logits, struct ptq_error *err)
{
    *logits = d->logits;
    return d->there ? ptq_resident_logits(d->there, d->logits, err) : PTQ_OK;
}

/* ---- choosing ---- */

struct candidate {
    float logit;
    int32_t id;
};

static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

enum ptq_status ptq_choose(const float *logits, int64_t n, const struct ptq_choice *choice, struct ptq_rng *rng,
                           struct ptq_arena *scratch, int32_t *out, struct ptq_error *err)
{
    if (!(choice->temperature >= 0) || !(choice->top_p > 0 && choice->top_p <= 1) || choice->top_k < 0)
        return ptq_fail(err, PTQ_EUSAGE, "temperature is %g, top-p %g; they must be from 0 on, and from 0 to 1",
                        choice->temperature, choice->top_p);
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) best = logits[i] > logits[best] ? i : best;
    *out = (int32_t)best;
    if (choice->temperature == 0) return PTQ_OK;
    struct ptq_mark mark = ptq_arena_mark(scratch);
    struct candidate *c = ptq_new(scratch, struct candidate, n);
    double *weight = ptq_new(scratch, double, n), sum = 0, kept = 0;
    for (int64_t i = 0; i < n; i++) c[i] = (struct candidate){logits[i], (int32_t)i};
    qsort(c, (size_t)n, sizeof *c, by_logit);
    if (choice->top_k && choice->top_k < n) n = choice->top_k;
    for (int64_t i = 0; i < n; i++) sum += weight[i] = exp(((double)c[i].logit - c[0].logit) / choice->temperature);
    int64_t last = 0;
    while (last < n && (last == 0 || kept < choice->top_p * sum)) kept += weight[last++];
    double at = ptq_rng_uniform(rng) * kept;
    int64_t i = 0;
    while (i + 1 < last && at >= weight[i]) at -= weight[i++];
    *out = c[i].id;
    ptq_arena_rewind(scratch, mark);
    return PTQ_OK;
}

enum ptq_status ptq_decoder_choose(struct ptq_decoder *d, const struct ptq_choice *choice, struct ptq_rng *rng,
                                   struct ptq_arena *scratch, int32_t *out, struct ptq_error *err)
{
    const float *logits;
    if (d->there && choice->temperature == 0) {
        d->there->greedy = 1;
        *out = d->best;
        return PTQ_OK;
    }
    PTQ_TRY(ptq_decoder_logits(d, &logits, err));
    return ptq_choose(logits, d->model->config.vocab, choice, rng, scratch, out, err);
}

/* ---- where a text ends ---- */

/* A number, a list of numbers, null or nothing. */
static void take_ends(const json_t *value, int32_t *id, int *n)
{
    size_t size = ptq_json_is(value, JSON_ARRAY) ? json_array_size(value) : 1;
    for (size_t i = 0; i < size && *n < MAX_ENDS; i++) {
        const json_t *one = ptq_json_is(value, JSON_ARRAY) ? json_array_get(value, i) : value;
        if (ptq_json_is(one, JSON_INTEGER) && json_integer_value(one) >= 0 && json_integer_value(one) <= INT32_MAX)
            id[(*n)++] = (int32_t)json_integer_value(one);
    }
}

enum ptq_status ptq_model_ends(const struct ptq_model *model, struct ptq_arena *arena, int32_t **id, int *n,
                               struct ptq_error *err)
{
    static const char *const files[] = {"generation_config.json", "config.json"};
    const struct ptq_checkpoint *c = &model->checkpoint;
    *id = ptq_new(arena, int32_t, MAX_ENDS);
    *n = 0;
    if (c->gguf) {
        int64_t end;
        if (!ptq_gguf_has(c->gguf, "tokenizer.ggml.eos_token_id")) return PTQ_OK;
        PTQ_TRY(ptq_gguf_int(c->gguf, "tokenizer.ggml.eos_token_id", 0, INT32_MAX, &end, err));
        (*id)[(*n)++] = (int32_t)end;
        return PTQ_OK;
    }
    for (int i = 0; i < 2 && *n == 0; i++) {
        json_t *root;
        enum ptq_kind kind;
        const char *path = ptq_join(arena, c->folder, files[i]);
        PTQ_TRY(ptq_look(path, &kind, err));
        if (kind != PTQ_FILE) continue;
        PTQ_TRY(ptq_json_load(path, CONFIG_LIMIT, &root, err));
        take_ends(json_object_get(root, "eos_token_id"), *id, n);
        json_decref(root);
    }
    return PTQ_OK;
}
