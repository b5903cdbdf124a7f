/* For tests of export: tiny models whose sizes are multiples of 32, written here, and an export through the pipeline
 * that remembers the codes which went out. */
#ifndef PTQ_TESTS_EXPORT_FIXTURE_H
#define PTQ_TESTS_EXPORT_FIXTURE_H

#include "checkpoint.h"
#include "dtype.h"
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

enum { EXPORT_BLOCKS = 2, EXPORT_VOCAB = 287, EXPORT_WIDTH = 64, EXPORT_FF = 96, EXPORT_MOST_K = 512 };

/* Fails the test with the sentence. */
#define EXPORT_OK(err, call)                                                                                           \
    do {                                                                                                               \
        if (call) fail_msg("%s", (err)->text);                                                                         \
    } while (0)

/* ---- a tiny model of any family: its tensors as the family's own struct has them ---- */

/* Takes a tensor by name, [rows][columns] or [rows]. */
typedef void tiny_visit(void *context, const char *name, int64_t rows, int64_t columns);

static inline void tiny_pair(tiny_visit *visit, void *context, const struct ptq_config *c, const char *pattern,
                             int64_t block, int biased)
{
    char name[PTQ_NAME_SIZE];
    if (!pattern) return;
    ptq_hf_name(c, pattern, block, ".weight", name);
    visit(context, name, c->width, -1);
    ptq_hf_name(c, pattern, block, ".bias", name);
    if (biased) visit(context, name, c->width, -1);
}

static inline void tiny_linear(tiny_visit *visit, void *context, const struct ptq_config *c, int role, int64_t block)
{
    const struct ptq_names *names = &c->family->hf;
    char name[PTQ_NAME_SIZE];
    int64_t n, k;
    ptq_linear_size(c, (enum ptq_role)role, &n, &k);
    if (!n) return;
    ptq_hf_name(c, names->linear[role], block, ".weight", name);
    visit(context, name, names->transposed ? k : n, names->transposed ? n : k);
    ptq_hf_name(c, names->linear[role], block, ".bias", name);
    if (c->biased >> role & 1) visit(context, name, n, -1);
}

static inline void tiny_matrix(tiny_visit *visit, void *context, const struct ptq_config *c, const char *pattern,
                               int64_t rows)
{
    char name[PTQ_NAME_SIZE];
    ptq_hf_name(c, pattern, 0, ".weight", name);
    visit(context, name, rows, c->width);
}

static inline void each_tiny(const struct ptq_config *c, tiny_visit *visit, void *context)
{
    const struct ptq_names *names = &c->family->hf;
    int biased = c->family->norm == PTQ_LAYERNORM;
    tiny_matrix(visit, context, c, names->embed, c->vocab);
    if (!c->tied) tiny_matrix(visit, context, c, names->head, c->vocab);
    if (c->family->position == PTQ_LEARNED)
        tiny_matrix(visit, context, c, names->positions, c->positions + c->family->position_offset);
    tiny_pair(visit, context, c, names->embed_norm, 0, biased);
    tiny_pair(visit, context, c, names->final_norm, 0, biased);
    for (int64_t b = 0; b < c->blocks; b++) {
        tiny_pair(visit, context, c, names->norm1, b, biased);
        tiny_pair(visit, context, c, names->norm2, b, biased);
        for (int role = 0; role < PTQ_N_ROLE; role++) tiny_linear(visit, context, c, role, b);
    }
}

static inline void plan_tiny(void *context, const char *name, int64_t rows, int64_t columns)
{
    ptq_tensor_plan(context, name, PTQ_F16, rows, columns);
}

/* Matrices between -0.5 and 0.5, vectors near 1 (biases among them); by name, so that no order matters. */
static inline void write_tiny(void *context, const char *name, int64_t rows, int64_t columns)
{
    struct ptq_rng rng = ptq_rng_make(7, name);
    int64_t n = rows * (columns < 0 ? 1 : columns);
    float *x = malloc(sizeof *x * (size_t)n);
    struct ptq_error err;
    for (int64_t i = 0; i < n; i++) {
        double u = ptq_rng_uniform(&rng);
        x[i] = (float)(columns < 0 ? 0.75 + 0.5 * u : u - 0.5);
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

/* config: the whole config.json. tokenizer: of which fixture. */
static inline void make_tiny(const char *folder, const char *tokenizer, const char *config)
{
    struct ptq_arena *arena = ptq_arena_make("tiny");
    struct ptq_tensor_writer *writer = ptq_tensor_writer_make(arena);
    struct ptq_config c;
    struct ptq_error err;
    write_test_text(folder, "config.json", config);
    EXPORT_OK(&err, ptq_config_from_json(arena, ptq_join(arena, folder, "config.json"), &c, &err));
    each_tiny(&c, plan_tiny, writer);
    EXPORT_OK(&err, ptq_safetensors_open(writer, folder, UINT64_MAX, &err));
    each_tiny(&c, write_tiny, writer);
    EXPORT_OK(&err, ptq_tensor_writer_finish(writer, &err));
    copy_file(ptq_format(arena, MODELS "%s/tokenizer.json", tokenizer), folder, "tokenizer.json");
    ptq_arena_free(arena);
}

/* rope: what stands for rope_scaling in config.json. */
static inline void make_tiny_llama(const char *folder, const char *tokenizer, const char *rope)
{
    char config[1000];
    snprintf(config, sizeof config,
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
             "\"torch_dtype\": \"float16\", \"hidden_size\": %d, \"intermediate_size\": %d, "
             "\"num_hidden_layers\": %d, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
             "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", "
             "\"vocab_size\": %d, \"tie_word_embeddings\": false, \"rope_theta\": 10000.0, "
             "\"bos_token_id\": 1, \"eos_token_id\": 2, \"rope_scaling\": %s}\n",
             EXPORT_WIDTH, EXPORT_FF, EXPORT_BLOCKS, EXPORT_VOCAB, rope);
    make_tiny(folder, tokenizer, config);
}

/* ---- an export that remembers ---- */

struct remembered {
    struct ptq_arena *arena;
    struct ptq_session *session;
    struct ptq_export x;
    struct ptq_planned plan;
    struct ptq_model model; /* as the export sees it */
    struct ptq_cell cell;
    struct ptq_qmat q[EXPORT_BLOCKS][PTQ_N_ROLE]; /* what went out */
};

static inline void *remember(struct ptq_arena *arena, const void *from, size_t bytes)
{
    void *to = ptq_alloc(arena, bytes, "remembered");
    if (bytes) memcpy(to, from, bytes);
    return to;
}

/* What a test makes of a model before it goes out, of a block and its codes on their way. */
static void (*change_model)(struct ptq_model *model);
static void (*change_block)(struct ptq_block *block, struct ptq_qmat *q);

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
    struct ptq_block out = *block;
    struct ptq_qmat codes[PTQ_N_ROLE];
    memcpy(codes, q, sizeof codes);
    if (change_block) change_block(&out, codes);
    return ptq_export_block(&r->x, index, &out, codes, err);
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
    r->model = r->plan.model->model; /* what the method works on stays as it is */
    if (change_model) change_model(&r->model);
    r->x.model = &r->model;
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

/* folder: a new one, with the GGUF of a model in it, whose path is given back. */
static inline void make_gguf(char *folder, char *path, size_t size, const char *model)
{
    struct remembered r;
    struct ptq_error err;
    make_test_folder(folder);
    EXPORT_OK(&err, export_into(&r, model, "rtn:w4,g32,sym=1", "gguf", folder, &err));
    forget(&r);
    snprintf(path, size, "%s/model.gguf", folder);
}

/* ---- there and back ---- */

/* The group of each column. */
static inline void groups_of(const struct ptq_qmat *q, int32_t *group)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size;
    for (int64_t p = 0; p < q->k; p++) group[q->perm ? q->perm[p] : p] = (int32_t)(p / g);
}

/* layout: how the file has the rows that are in our order in `out`. */
static inline void same_linear(const char *what, const struct ptq_row_layout *layout, const struct ptq_qmat *out,
                               const struct ptq_qmat *back)
{
    int32_t before[EXPORT_MOST_K], after[EXPORT_MOST_K];
    assert_int_equal(out->n, back->n);
    assert_int_equal(out->k, back->k);
    assert_int_equal(out->n_groups, back->n_groups);
    assert_true(out->k <= EXPORT_MOST_K);
    for (int64_t row = 0; row < out->n; row++) {
        int64_t there = ptq_file_row(layout, row), at = row * out->n_groups, from = there * out->n_groups;
        if (memcmp(out->code + row * out->k, back->code + there * out->k, (size_t)out->k))
            fail_msg("%s: the codes of row %lld differ", what, (long long)row);
        for (int64_t g = 0; g < out->n_groups; g++) {
            if (out->zero[at + g] != back->zero[from + g]) fail_msg("%s: a zero differs", what);
            if (ptq_f16_round(out->scale[at + g]) != back->scale[from + g])
                fail_msg("%s: a scale is not the FP16 of what it was", what);
        }
    }
    groups_of(out, before);
    groups_of(back, after);
    if (memcmp(before, after, sizeof *before * (size_t)out->k)) fail_msg("%s: a column is in another group", what);
}

static inline void same_codes(const char *what, const struct remembered *r, const char *folder)
{
    struct ptq_arena *arena = ptq_arena_make("back");
    struct ptq_model model;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_model_open(arena, folder, "back", &model, &err));
    assert_non_null(model.quantization);
    assert_string_equal(model.source_dtype, model.quantization->text);
    for (int block = 0; block < EXPORT_BLOCKS; block++)
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            const struct ptq_qmat *out = &r->q[block][role];
            struct ptq_quantized_linear linear;
            struct ptq_qmat back;
            char name[PTQ_NAME_SIZE];
            int found;
            if (!out->n) continue;
            ptq_hf_name(&model.config, model.config.family->hf.linear[role], block, "", name);
            EXPORT_OK(&err, ptq_quantized_find(model.quantization, &model.checkpoint, name, out->n, out->k, &linear,
                                               &found, &err));
            assert_true(found);
            EXPORT_OK(&err, ptq_quantized_codes(model.quantization, &linear, arena, &back, &err));
            struct ptq_row_layout layout = ptq_linear_layout(&model, (enum ptq_role)role);
            same_linear(what, &layout, out, &back);
        }
    ptq_model_close(&model);
    ptq_arena_free(arena);
}

static inline void there_and_back(const char *model, const char *spec, const char *format)
{
    char folder[64], what[200];
    struct remembered r;
    struct ptq_error err;
    make_test_folder(folder);
    snprintf(what, sizeof what, "%s as %s", spec, format);
    if (export_into(&r, model, spec, format, folder, &err)) fail_msg("%s: %s", what, err.text);
    same_codes(what, &r, folder);
    forget(&r);
    remove_test_folder(folder);
}

static inline double ppl_on(const char *path, const char *model, const char *spec)
{
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("ppl");
    struct ptq_job job = {.model = model, .spec = spec, .path = path, .text = MODELS "text.txt", .window = 32};
    struct ptq_cell cell;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_cell_plan(session, &job, arena, &cell, &err));
    EXPORT_OK(&err, ptq_cell_run(session, &job, arena, &cell, &err));
    double ppl = cell.ppl;
    ptq_arena_free(arena);
    ptq_session_free(session);
    return ppl;
}

static inline double ppl_by(const char *model, const char *spec)
{
    return ppl_on("fp32", model, spec);
}

static inline double ppl_of(const char *model)
{
    return ppl_by(model, "fp16");
}

/* What a group of tests with a tiny LLaMA begins and ends with: threads, a cache of its own, the model. */
static inline void begin_exports(char *cache, char *tiny)
{
    ptq_progress_quiet(PTQ_QUIET);
    ptq_pool_start(2);
    make_test_folder(cache);
    setenv("PTQ_CACHE", cache, 1);
    make_test_folder(tiny);
    make_tiny_llama(tiny, "llama", "null");
}

static inline int end_exports(const char *const *folder, int n)
{
    for (int i = 0; i < n; i++) remove_test_folder(folder[i]);
    ptq_pool_stop();
    return 0;
}

#endif
