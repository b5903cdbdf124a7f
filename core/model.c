#include "model.h"

#include "inventory.h"
#include "model_parts.h"
#include "pool.h"
#include "positions.h"
#include "progress.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = PTQ_NAME_SIZE };

/* ---- names ---- */

void ptq_tensor_name(char out[NAME_SIZE], const char *prefix, const char *pattern, int64_t block, const char *suffix)
{
    const char *hole = strstr(pattern, "%d");
    if (hole)
        snprintf(out, NAME_SIZE, "%s%.*s%lld%s%s", prefix, (int)(hole - pattern), pattern, (long long)block, hole + 2,
                 suffix);
    else
        snprintf(out, NAME_SIZE, "%s%s%s", prefix, pattern, suffix);
}

/* How many outputs and inputs a linear has. */
static void linear_shape(const struct ptq_config *c, enum ptq_role role, int64_t *n, int64_t *k)
{
    int64_t q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    const int64_t outputs[PTQ_N_ROLE] = {q, kv, kv, c->width, c->ff, c->ff, c->width};
    const int64_t inputs[PTQ_N_INPUT] = {c->width, q, c->width, c->ff};
    *n = role == PTQ_Q && ptq_fused_qkv(c->family) ? q + 2 * kv : outputs[role];
    *k = inputs[ptq_role_input[role]];
}

struct ptq_row_layout ptq_layout_in(const struct ptq_config *config, const struct ptq_names *names, enum ptq_role role)
{
    struct ptq_row_layout layout = {.head_size = config->head_size, .transposed = names->transposed};
    if (role <= PTQ_K) layout.order = names->order;
    linear_shape(config, role, &layout.n, &layout.k);
    return layout;
}

struct ptq_row_layout ptq_linear_layout(const struct ptq_model *m, enum ptq_role role)
{
    return ptq_layout_in(&m->config, m->names, role);
}

/* ---- lookup ---- */

void ptq_linear_size(const struct ptq_config *config, enum ptq_role role, int64_t *n, int64_t *k)
{
    *n = *k = 0;
    if (config->family->hf.linear[role]) linear_shape(config, role, n, k);
}

void ptq_hf_name(const struct ptq_config *config, const char *pattern, int64_t block, const char *suffix,
                 char out[PTQ_NAME_SIZE])
{
    const struct ptq_names *hf = &config->family->hf;
    ptq_tensor_name(out, pattern == hf->head ? "" : hf->prefix[0], pattern, block, suffix);
}

static void mark(const struct ptq_model *m, const struct ptq_tensor *t)
{
    if (t) m->used[t - m->checkpoint.tensor] = 1;
}

enum ptq_status ptq_find_tensor(const struct ptq_model *m, const char *name, int64_t n, int64_t k, int needed,
                                const struct ptq_tensor **out, struct ptq_error *err)
{
    *out = ptq_checkpoint_find(&m->checkpoint, name);
    if (!*out && needed) return ptq_tensor_missing(m, name, err);
    if (!*out) return PTQ_OK;
    mark(m, *out);
    return ptq_tensor_shape(*out, n, k, "the config", err);
}

enum ptq_status ptq_find_linear(const struct ptq_model *m, int64_t block, enum ptq_role role, const char *suffix,
                                int needed, const struct ptq_tensor **out, struct ptq_error *err)
{
    char name[NAME_SIZE];
    int64_t n, k;
    linear_shape(&m->config, role, &n, &k);
    ptq_tensor_name(name, m->prefix, m->names->linear[role], block, suffix);
    if (suffix[1] == 'b') return ptq_find_tensor(m, name, n, -1, needed, out, err);
    return ptq_find_tensor(m, name, m->names->transposed ? k : n, m->names->transposed ? n : k, needed, out, err);
}

enum ptq_status ptq_find_quantized(const struct ptq_model *m, int64_t block, enum ptq_role role,
                                   struct ptq_quantized_linear *out, int *found, struct ptq_error *err)
{
    char name[NAME_SIZE];
    int64_t n, k;
    *found = 0;
    if (!m->quantization) return PTQ_OK;
    linear_shape(&m->config, role, &n, &k);
    ptq_tensor_name(name, m->prefix, m->names->linear[role], block, "");
    PTQ_TRY(ptq_quantized_find(m->quantization, &m->checkpoint, name, n, k, out, found, err));
    const struct ptq_tensor *part[] = {out->codes, out->zeros, out->scales, out->g_idx, out->image};
    for (int i = 0; *found && i < 5; i++) mark(m, part[i]);
    return PTQ_OK;
}

int ptq_may_have_bias(const struct ptq_model *m, enum ptq_role role)
{
    return m->gguf || ptq_model_has_images(m) || m->config.biased >> role & 1;
}

int ptq_model_has_bias(const struct ptq_model *m, int64_t block, enum ptq_role role)
{
    char name[NAME_SIZE];
    if (!ptq_may_have_bias(m, role)) return 0;
    ptq_tensor_name(name, m->prefix, m->names->linear[role], block, ".bias");
    return ptq_checkpoint_find(&m->checkpoint, name) != NULL;
}

/* ---- opening ---- */

/* Which of the names' prefixes the file uses: the one under which the embedding is found. */
static enum ptq_status choose_prefix(struct ptq_model *m, struct ptq_error *err)
{
    char name[NAME_SIZE];
    for (int i = 0; i < 3 && m->names->prefix[i]; i++) {
        m->prefix = m->names->prefix[i];
        ptq_tensor_name(name, m->prefix, m->names->embed, 0, ".weight");
        if ((m->embed = ptq_checkpoint_find(&m->checkpoint, name))) return PTQ_OK;
    }
    ptq_tensor_name(name, m->names->prefix[0], m->names->embed, 0, ".weight");
    return ptq_tensor_missing(m, name, err);
}

/* Whether two tensors of one shape hold the same numbers, whatever their types. */
static enum ptq_status same_numbers(const struct ptq_tensor *a, const struct ptq_tensor *b, struct ptq_arena *arena,
                                    int *same, struct ptq_error *err)
{
    struct ptq_mark mark = ptq_arena_mark(arena);
    int64_t n = a->shape[1];
    float *x = ptq_new(arena, float, n), *y = ptq_new(arena, float, n);
    enum ptq_status status = PTQ_OK;
    int alike = a->dtype == b->dtype && memcmp(a->data, b->data, a->bytes) == 0;
    *same = 1;
    for (int64_t row = 0; row < a->shape[0] && !alike && *same && !status; row++) {
        status = ptq_model_rows(a, row, 1, x, err);
        if (!status) status = ptq_model_rows(b, row, 1, y, err);
        for (int64_t i = 0; i < n && *same && !status; i++) *same = x[i] == y[i];
    }
    ptq_arena_rewind(arena, mark);
    return status;
}

/* The head, where the config ties it to the embedding, and yet a tensor of its own is there: a copy is none; of two
 * that differ programs take what is there, or what the config says. */
static enum ptq_status tie_head(struct ptq_model *m, struct ptq_arena *arena, struct ptq_error *err)
{
    const struct ptq_tensor *own = m->head;
    int same;
    PTQ_TRY(same_numbers(own, m->embed, arena, &same, err));
    if (same) {
        m->head = m->embed;
        return PTQ_OK;
    }
    m->config.tied = 0;
    ptq_progress_note("%s: the config ties the head to the embedding, but tensor '%s' differs from '%s'; it is read as "
                      "the head, as transformers 5 does",
                      own->file->path, own->name, m->embed->name);
    return PTQ_OK;
}

static enum ptq_status find_outer(struct ptq_model *m, struct ptq_arena *arena, struct ptq_error *err)
{
    struct ptq_config *c = &m->config;
    char name[NAME_SIZE];
    PTQ_TRY(choose_prefix(m, err));
    if (m->gguf && m->embed->rank == 2) c->vocab = m->embed->shape[0];
    PTQ_TRY(ptq_find_tensor(m, m->embed->name, c->vocab, c->embed_width, 1, &m->embed, err));
    ptq_tensor_name(name, "", m->names->head, 0, ".weight");
    PTQ_TRY(ptq_find_tensor(m, name, c->vocab, c->embed_width, !m->gguf && !c->tied, &m->head, err));
    if (c->tied && m->head) PTQ_TRY(tie_head(m, arena, err));
    if (!m->head) m->head = m->embed; /* a GGUF without a head is tied */
    if (c->family->position == PTQ_LEARNED) {
        ptq_tensor_name(name, m->prefix, m->names->positions, 0, ".weight");
        PTQ_TRY(ptq_find_tensor(m, name, c->positions + c->family->position_offset, c->width, 1, &m->positions, err));
    }
    if (c->embed_width != c->width) {
        ptq_tensor_name(name, m->prefix, m->names->project_in, 0, ".weight");
        PTQ_TRY(ptq_find_tensor(m, name, c->width, c->embed_width, 1, &m->project_in, err));
        ptq_tensor_name(name, m->prefix, m->names->project_out, 0, ".weight");
        PTQ_TRY(ptq_find_tensor(m, name, c->embed_width, c->width, 1, &m->project_out, err));
    }
    return PTQ_OK;
}

/* A vector as float32 in arena. */
static enum ptq_status read_vector(const struct ptq_model *m, const char *name, int64_t n, struct ptq_arena *arena,
                                   float **out, struct ptq_error *err)
{
    const struct ptq_tensor *t;
    PTQ_TRY(ptq_find_tensor(m, name, n, -1, 1, &t, err));
    *out = ptq_new(arena, float, n);
    return ptq_tensor_read(t, 0, n, *out, err);
}

static enum ptq_status read_norm(const struct ptq_model *m, const char *pattern, int64_t block, struct ptq_arena *arena,
                                 float **w, float **b, struct ptq_error *err)
{
    char name[NAME_SIZE];
    ptq_tensor_name(name, m->prefix, pattern, block, ".weight");
    PTQ_TRY(read_vector(m, name, m->config.width, arena, w, err));
    *b = NULL;
    if (m->config.family->norm == PTQ_RMSNORM) return PTQ_OK;
    ptq_tensor_name(name, m->prefix, pattern, block, ".bias");
    return read_vector(m, name, m->config.width, arena, b, err);
}

/* A GGUF may have a factor for each rotary frequency. */
static enum ptq_status make_rope(struct ptq_arena *arena, struct ptq_model *m, struct ptq_error *err)
{
    int64_t half = m->config.head_size / 2;
    float *frequency = ptq_rope_frequencies(arena, &m->config), *factor;
    char name[NAME_SIZE];
    m->rope_frequency = frequency;
    if (!m->names->rope_factors) return PTQ_OK;
    ptq_tensor_name(name, m->prefix, m->names->rope_factors, 0, ".weight");
    if (!ptq_checkpoint_find(&m->checkpoint, name)) return PTQ_OK;
    PTQ_TRY(read_vector(m, name, half, arena, &factor, err));
    for (int64_t i = 0; i < half; i++) {
        if (!(factor[i] > 0))
            return ptq_fail(err, PTQ_EINPUT, "%s: %s holds %g; factors must be positive", m->checkpoint.path,
                            m->names->rope_factors, (double)factor[i]);
        frequency[i] /= factor[i];
    }
    return PTQ_OK;
}

/* The tensor that holds struct ptq_block's activation_scale; 0 where its container has none. */
static int name_divisor(const struct ptq_model *m, int64_t block, char out[NAME_SIZE])
{
    const struct ptq_names *names = m->names;
    if (ptq_model_has_images(m))
        ptq_tensor_name(out, m->prefix, names->linear[PTQ_DOWN], block, PTQ_ACTIVATION_SCALE);
    else if (names->activation && m->quantization && ptq_quantization_divides(m->quantization))
        ptq_tensor_name(out, m->prefix, names->activation, block, ".scales");
    else
        return 0;
    return 1;
}

/* Stored bits a weight of the first block's linears, counted as ptq_qmat_bits does for codes of our own. */
static enum ptq_status count_source_bits(struct ptq_model *m, struct ptq_error *err)
{
    const struct ptq_quantization *q = m->quantization;
    double bits = 0, weights = 0;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_quantized_linear l;
        int found;
        if (!m->names->linear[role]) continue;
        PTQ_TRY(ptq_find_quantized(m, 0, (enum ptq_role)role, &l, &found, err));
        if (!found) continue;
        if (l.image) {
            bits += 8 * (double)l.image->bytes;
            weights += (double)l.n * (double)l.k;
            continue;
        }
        int64_t groups = q->group_size < 0 ? 1 : (l.k + q->group_size - 1) / q->group_size;
        double n = (double)l.n, k = (double)l.k;
        bits += n * k * q->bits + n * (double)groups * (16 + (q->sym ? 0 : q->bits)) + (q->desc_act ? 32 * k : 0);
        weights += n * k;
    }
    char name[NAME_SIZE];
    const struct ptq_tensor *divisor = name_divisor(m, 0, name) ? ptq_checkpoint_find(&m->checkpoint, name) : NULL;
    if (divisor) bits += 8 * (double)divisor->bytes;
    m->source_bits = weights > 0 ? bits / weights : 16;
    return PTQ_OK;
}

static enum ptq_status name_source(struct ptq_model *m, struct ptq_error *err)
{
    struct ptq_quantized_linear codes;
    const struct ptq_tensor *first;
    int found;
    PTQ_TRY(count_source_bits(m, err));
    PTQ_TRY(ptq_find_quantized(m, 0, PTQ_Q, &codes, &found, err));
    if (found) {
        m->source_dtype = m->quantization->text;
        return PTQ_OK;
    }
    PTQ_TRY(ptq_find_linear(m, 0, PTQ_Q, ".weight", 1, &first, err));
    m->source_dtype = ptq_dtypes[first->dtype].name;
    return PTQ_OK;
}

static enum ptq_status open_model(struct ptq_arena *arena, struct ptq_model *m, struct ptq_error *err)
{
    const struct ptq_checkpoint *file = &m->checkpoint;
    m->gguf = file->gguf != NULL;
    if (m->gguf) {
        PTQ_TRY(ptq_config_from_gguf(file->gguf, file->path, &m->config, err));
    } else {
        if (!file->folder)
            return ptq_fail(err, PTQ_EINPUT, "%s: a single safetensors file has no config.json; give its folder",
                            file->path);
        PTQ_TRY(ptq_config_from_json(arena, ptq_join(arena, file->folder, "config.json"), &m->config, err));
        PTQ_TRY(ptq_quantization_read(arena, file->folder, &m->quantization, err));
    }
    m->used = ptq_new(arena, unsigned char, file->n_tensors);
    m->names = m->gguf ? &m->config.family->ggml : &m->config.family->hf;
    PTQ_TRY(find_outer(m, arena, err));
    PTQ_TRY(ptq_model_check(m, arena, err));
    if (m->config.final_norm)
        PTQ_TRY(read_norm(m, m->names->final_norm, 0, arena, &m->final_norm_w, &m->final_norm_b, err));
    if (m->names->embed_norm)
        PTQ_TRY(read_norm(m, m->names->embed_norm, 0, arena, &m->embed_norm_w, &m->embed_norm_b, err));
    if (m->config.family->position == PTQ_ROPE) PTQ_TRY(make_rope(arena, m, err));
    if (m->config.family->position == PTQ_ALIBI) m->alibi_slope = ptq_alibi_slopes(arena, m->config.heads);
    PTQ_TRY(name_source(m, err));
    return ptq_inventory_check(file, m->used, m->config.family->model_type, err);
}

enum ptq_status ptq_model_open(struct ptq_arena *arena, const char *path, const char *name, struct ptq_model *out,
                               struct ptq_error *err)
{
    *out = (struct ptq_model){.name = ptq_strdup(arena, name)};
    PTQ_TRY(ptq_checkpoint_open(arena, path, &out->checkpoint, err));
    enum ptq_status status = open_model(arena, out, err);
    if (status) ptq_model_close(out);
    return status;
}

void ptq_model_close(struct ptq_model *model)
{
    ptq_checkpoint_close(&model->checkpoint);
}

void ptq_model_exact(struct ptq_model *model)
{
    model->exact = 1;
    for (int i = 0; i < model->checkpoint.n_tensors; i++) model->checkpoint.tensor[i].exact = 1;
}

/* ---- reading ---- */

enum ptq_status ptq_model_rows(const struct ptq_tensor *tensor, int64_t first, int64_t rows, float *out,
                               struct ptq_error *err)
{
    return ptq_tensor_read(tensor, first * tensor->shape[1], rows * tensor->shape[1], out, err);
}

enum ptq_status ptq_read_activation_scale(const struct ptq_model *m, int64_t block, struct ptq_arena *arena,
                                          const float **out, struct ptq_error *err)
{
    const struct ptq_tensor *t;
    char name[NAME_SIZE];
    *out = NULL;
    if (!name_divisor(m, block, name)) return PTQ_OK;
    PTQ_TRY(ptq_find_tensor(m, name, m->config.ff, -1, 0, &t, err));
    if (!t) return PTQ_OK;
    float *scale = ptq_new(arena, float, t->count);
    PTQ_TRY(ptq_tensor_read(t, 0, t->count, scale, err));
    for (int64_t i = 0; i < t->count; i++)
        if (!(scale[i] > 0))
            return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s': element %lld is %g; it must be above 0", t->file->path,
                            t->name, (long long)i, (double)scale[i]);
    *out = scale;
    return PTQ_OK;
}

/* w, unless it is not needed, and b of the linears of one input, one behind the other. */
static void place_group(const struct ptq_model *m, enum ptq_input input, struct ptq_arena *arena, struct ptq_block *out)
{
    int64_t outputs = 0, inputs = 0;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &out->linear[role];
        if (ptq_role_input[role] != input || !m->names->linear[role]) continue;
        linear_shape(&m->config, role, &l->n, &l->k);
        outputs += l->n;
        inputs = l->k;
    }
    float *w = m->path ? NULL : ptq_new(arena, float, outputs *inputs), *b = ptq_new(arena, float, outputs);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &out->linear[role];
        if (ptq_role_input[role] != input || !l->n) continue;
        l->w = w;
        l->b = b;
        if (w) w += l->n * l->k;
        b += l->n;
    }
}

/* A linear's bias in our order. It is read as a whole: a GGUF may hold it in blocks. */
static enum ptq_status read_bias(const struct ptq_model *m, const struct ptq_tensor *t, enum ptq_role role,
                                 struct ptq_arena *arena, const struct ptq_linear *l, struct ptq_error *err)
{
    struct ptq_row_layout layout = ptq_linear_layout(m, role);
    struct ptq_mark mark = ptq_arena_mark(arena);
    float *b = ptq_new(arena, float, l->n);
    enum ptq_status status = ptq_tensor_read(t, 0, l->n, b, err);
    for (int64_t r = 0; r < l->n; r++) l->b[r] = b[ptq_file_row(&layout, r)];
    ptq_arena_rewind(arena, mark);
    return status;
}

/* Biases into their places. Where no linear of the input has one, b becomes NULL; where only some have, zeros stand
 * in. */
static enum ptq_status read_biases(const struct ptq_model *m, int64_t block, struct ptq_arena *arena,
                                   struct ptq_block *out, struct ptq_error *err)
{
    int present[PTQ_N_INPUT] = {0};
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        const struct ptq_tensor *t;
        struct ptq_linear *l = &out->linear[role];
        if (!l->n || !ptq_may_have_bias(m, role)) continue;
        PTQ_TRY(ptq_find_linear(m, block, role, ".bias", 0, &t, err));
        if (!t) continue;
        present[ptq_role_input[role]] = 1;
        PTQ_TRY(read_bias(m, t, role, arena, l, err));
    }
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (!present[ptq_role_input[role]]) out->linear[role].b = NULL;
    return PTQ_OK;
}

int ptq_linear_name(const struct ptq_model *m, int64_t block, enum ptq_role role, char out[PTQ_NAME_SIZE])
{
    const struct ptq_names *names = &m->config.family->hf;
    if (!names->linear[role]) return 0;
    ptq_tensor_name(out, names->prefix[0], names->linear[role], block, "");
    return 1;
}

enum ptq_status ptq_block_load(const struct ptq_model *m, int64_t i, struct ptq_arena *arena, struct ptq_block *out,
                               struct ptq_error *err)
{
    *out = (struct ptq_block){0};
    int64_t n_tasks = 0, most = 0;
    if (m->config.sliding && (!m->config.slides || m->config.slides[i])) out->window = m->config.sliding;
    for (int input = 0; input < PTQ_N_INPUT; input++) place_group(m, input, arena, out);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_row_layout layout = ptq_linear_layout(m, role);
        if (out->linear[role].n) most += ptq_n_row_tasks(&layout);
    }
    struct ptq_row_task *task = ptq_new(arena, struct ptq_row_task, most);
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        struct ptq_linear *l = &out->linear[role];
        const struct ptq_tensor *t;
        if (!l->n) continue;
        ptq_linear_name(m, i, role, l->name);
        int done;
        PTQ_TRY(ptq_load_codes(m, i, (enum ptq_role)role, arena, l, &done, err));
        if (done) continue;
        PTQ_TRY(ptq_find_linear(m, i, role, ".weight", 1, &t, err));
        struct ptq_row_layout layout = ptq_linear_layout(m, role);
        n_tasks += ptq_row_tasks(t, &layout, l->w, task + n_tasks);
    }
    PTQ_TRY(ptq_read_rows(task, n_tasks, arena, err));
    PTQ_TRY(read_biases(m, i, arena, out, err));
    PTQ_TRY(ptq_read_activation_scale(m, i, arena, &out->activation_scale, err));
    PTQ_TRY(read_norm(m, m->names->norm1, i, arena, &out->norm1_w, &out->norm1_b, err));
    return read_norm(m, m->names->norm2, i, arena, &out->norm2_w, &out->norm2_b, err);
}
