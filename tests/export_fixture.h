/* For tests of export: a tiny llama whose sizes are multiples of 32, written here, and an export through the pipeline
 * that remembers the codes which went out. */
#ifndef PTQ_TESTS_EXPORT_FIXTURE_H
#define PTQ_TESTS_EXPORT_FIXTURE_H

#include "export.h"
#include "files.h"
#include "locate.h"
#include "new_folder.h"
#include "pipeline.h"
#include "pool.h"
#include "progress.h"
#include "rng.h"
#include "safetensors_write.h"
#include "session.h"

#include <math.h>

#define MODELS PTQ_FIXTURES "/models/"

enum { EXPORT_BLOCKS = 2, EXPORT_VOCAB = 287, EXPORT_WIDTH = 64, EXPORT_FF = 96 };

/* Fails the test with the sentence. */
#define EXPORT_OK(err, call)                                                                                           \
    do {                                                                                                               \
        if (call) fail_msg("%s", (err)->text);                                                                         \
    } while (0)

static const struct tiny_tensor {
    const char *name; /* with %d: one a block */
    int64_t rows, columns;
} tiny_tensors[] = {
    {"model.embed_tokens", EXPORT_VOCAB, EXPORT_WIDTH},
    {"model.norm", EXPORT_WIDTH, -1},
    {"lm_head", EXPORT_VOCAB, EXPORT_WIDTH},
    {"model.layers.%d.input_layernorm", EXPORT_WIDTH, -1},
    {"model.layers.%d.post_attention_layernorm", EXPORT_WIDTH, -1},
    {"model.layers.%d.self_attn.q_proj", EXPORT_WIDTH, EXPORT_WIDTH},
    {"model.layers.%d.self_attn.k_proj", EXPORT_WIDTH / 2, EXPORT_WIDTH},
    {"model.layers.%d.self_attn.v_proj", EXPORT_WIDTH / 2, EXPORT_WIDTH},
    {"model.layers.%d.self_attn.o_proj", EXPORT_WIDTH, EXPORT_WIDTH},
    {"model.layers.%d.mlp.gate_proj", EXPORT_FF, EXPORT_WIDTH},
    {"model.layers.%d.mlp.up_proj", EXPORT_FF, EXPORT_WIDTH},
    {"model.layers.%d.mlp.down_proj", EXPORT_WIDTH, EXPORT_FF},
};
enum { N_TINY = sizeof tiny_tensors / sizeof *tiny_tensors };

/* Calls with every tensor's name of every block. */
static inline void each_tiny(void (*call)(void *context, const char *name, const struct tiny_tensor *t), void *context)
{
    char name[160], stem[128];
    for (int i = 0; i < N_TINY; i++) {
        const char *hole = strstr(tiny_tensors[i].name, "%d");
        for (int b = 0; b < (hole ? EXPORT_BLOCKS : 1); b++) {
            snprintf(stem, sizeof stem, "%s", tiny_tensors[i].name);
            if (hole)
                snprintf(stem, sizeof stem, "%.*s%d%s", (int)(hole - tiny_tensors[i].name), tiny_tensors[i].name, b,
                         hole + 2);
            snprintf(name, sizeof name, "%s.weight", stem);
            call(context, name, &tiny_tensors[i]);
        }
    }
}

static inline void plan_tiny(void *context, const char *name, const struct tiny_tensor *t)
{
    ptq_tensor_plan(context, name, PTQ_F16, t->rows, t->columns);
}

/* Weights between -0.5 and 0.5, norms near 1; by name, so that no order matters. */
static inline void write_tiny(void *context, const char *name, const struct tiny_tensor *t)
{
    struct ptq_rng rng = ptq_rng_make(7, name);
    int64_t n = t->rows * (t->columns < 0 ? 1 : t->columns);
    float *x = malloc(sizeof *x * (size_t)n);
    struct ptq_error err;
    for (int64_t i = 0; i < n; i++) {
        double u = ptq_rng_uniform(&rng);
        x[i] = (float)(t->columns < 0 ? 0.75 + 0.5 * u : u - 0.5);
    }
    EXPORT_OK(&err, ptq_tensor_write_f16(context, name, x, n, &err));
    free(x);
}

static inline void copy_file(const char *from, const char *folder, const char *name)
{
    struct ptq_arena *arena = ptq_arena_make("copy");
    struct ptq_error err;
    char *text;
    size_t size;
    EXPORT_OK(&err, ptq_read_file(arena, from, 1 << 26, &text, &size, &err));
    write_test_file(folder, name, text, size);
    ptq_arena_free(arena);
}

/* rope: what stands for rope_scaling in config.json. tokenizer: of which fixture. */
static inline void make_tiny_llama(const char *folder, const char *tokenizer, const char *rope)
{
    struct ptq_arena *arena = ptq_arena_make("tiny");
    struct ptq_tensor_writer *writer = ptq_tensor_writer_make(arena);
    struct ptq_error err;
    each_tiny(plan_tiny, writer);
    EXPORT_OK(&err, ptq_safetensors_open(writer, folder, UINT64_MAX, &err));
    each_tiny(write_tiny, writer);
    EXPORT_OK(&err, ptq_tensor_writer_finish(writer, &err));
    write_test_text(folder, "config.json",
                    ptq_format(arena,
                               "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
                               "\"torch_dtype\": \"float16\", \"hidden_size\": %d, \"intermediate_size\": %d, "
                               "\"num_hidden_layers\": %d, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
                               "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", "
                               "\"vocab_size\": %d, \"tie_word_embeddings\": false, \"rope_theta\": 10000.0, "
                               "\"bos_token_id\": 1, \"eos_token_id\": 2, \"rope_scaling\": %s}\n",
                               EXPORT_WIDTH, EXPORT_FF, EXPORT_BLOCKS, EXPORT_VOCAB, rope));
    copy_file(ptq_format(arena, MODELS "%s/tokenizer.json", tokenizer), folder, "tokenizer.json");
    ptq_arena_free(arena);
}

/* ---- an export that remembers ---- */

struct remembered {
    struct ptq_arena *arena;
    struct ptq_session *session;
    struct ptq_export x;
    struct ptq_planned plan;
    struct ptq_cell cell;
    struct ptq_qmat q[EXPORT_BLOCKS][PTQ_N_ROLE]; /* what went out */
};

static inline void *remember(struct ptq_arena *arena, const void *from, size_t bytes)
{
    void *to = ptq_alloc(arena, bytes, "remembered");
    if (bytes) memcpy(to, from, bytes);
    return to;
}

static inline enum ptq_status remember_block(void *context, int64_t index, const struct ptq_block *block,
                                             const struct ptq_qmat *q, struct ptq_error *err)
{
    struct remembered *r = context;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_qmat *to = &r->q[index][role];
        *to = q[role];
        to->code = remember(r->arena, q[role].code, (size_t)(to->n * to->k));
        to->scale = remember(r->arena, q[role].scale, sizeof(float) * (size_t)(to->n * to->n_groups));
        to->zero = remember(r->arena, q[role].zero, sizeof(float) * (size_t)(to->n * to->n_groups));
        if (to->perm) to->perm = remember(r->arena, to->perm, sizeof(int32_t) * (size_t)to->k);
    }
    return ptq_export_block(&r->x, index, block, q, err);
}

static inline void forget(struct remembered *r)
{
    ptq_session_free(r->session);
    ptq_arena_free(r->x.scratch);
    ptq_arena_free(r->arena);
}

static inline enum ptq_status try_export(struct remembered *r, struct ptq_job *job, const char *format,
                                         struct ptq_error *err)
{
    PTQ_TRY(ptq_export_find(format, &r->x.format, err));
    PTQ_TRY(ptq_cell_plan(r->session, job, r->arena, &r->cell, err));
    PTQ_TRY(ptq_session_plan(r->session, job, &r->plan, err));
    r->x.model = &r->plan.model->model;
    r->x.spec = &r->plan.spec;
    PTQ_TRY(ptq_export_check(&r->x, err));
    enum ptq_status status = ptq_export_begin(&r->x, err);
    if (!status) status = ptq_cell_run(r->session, job, r->arena, &r->cell, err);
    if (!status) status = ptq_export_finish(&r->x, err);
    ptq_export_abandon(&r->x);
    return status;
}

/* model by spec into the empty folder; forget(r) afterwards, also where it failed. */
static inline enum ptq_status export_into(struct remembered *r, const char *model, const char *spec, const char *format,
                                          const char *folder, struct ptq_error *err)
{
    *r = (struct remembered){.arena = ptq_arena_make("test"), .session = ptq_session_make()};
    r->x.arena = r->arena;
    r->x.scratch = ptq_arena_make("scratch");
    r->x.folder = folder;
    r->x.shard_bytes = UINT64_MAX;
    struct ptq_block_sink sink = {remember_block, r};
    struct ptq_job job = {.model = model,
                          .spec = spec,
                          .calib = MODELS "calib.txt",
                          .calib_window = 32,
                          .calib_windows = 4,
                          .sink = &sink};
    return try_export(r, &job, format, err);
}

#endif
