/* gguf: one GGUF file for llama.cpp, with the tokenizer in it. A block of 32 neighbours is a group, so of our grids
 * three fit, codes unchanged:
 *
 *   Q4_0   4 bits, symmetric    | d: f16 | 32 x 4 bit |            w = d (code - 8)       d = scale
 *   Q4_1   4 bits               | d: f16 | m: f16 | 32 x 4 bit |   w = d code + m         d = scale, m = -scale zero
 *   Q8_0   8 bits, symmetric    | d: f16 | 32 x int8 |             w = d (code - 128)     d = scale
 *
 * d and m are rounded to FP16, as scales are in every container. Norms are float32; embedding and head are what a
 * source GGUF has, else FP16. q and k go back to the order of rows in which llama.cpp rotates. */
#include "export.h"

#include "dtype.h"
#include "gguf_write.h"
#include "mapped.h"
#include "tokenizer_export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 32, ROWS_AT_ONCE = 256 };

/* One row a type: which grid it holds, general.file_type, and how a group is written. */
static const struct kind {
    enum ptq_dtype dtype;
    int w_bit, sym, file_type;
} kinds[] = {{PTQ_Q4_0, 4, 1, 2}, {PTQ_Q4_1, 4, 0, 3}, {PTQ_Q8_0, 8, 1, 7}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

struct gguf {
    const struct kind *kind;
    struct ptq_tensor_writer *writer;
};

static const struct kind *find_kind(const struct ptq_grid *grid)
{
    for (int i = 0; i < N_KINDS; i++)
        if (kinds[i].w_bit == grid->w_bit && kinds[i].sym == grid->sym && grid->group_size == GROUP) return &kinds[i];
    return NULL;
}

static enum ptq_status check(const struct ptq_export *x, struct ptq_error *err)
{
    const struct ptq_family *family = x->model->config.family;
    if (!family->gguf || family->norm != PTQ_RMSNORM)
        return ptq_fail(err, PTQ_EINPUT,
                        "ptq writes a GGUF of llama, mistral and qwen2 alone, and none of the %s family; take another "
                        "format",
                        family->model_type);
    PTQ_TRY(ptq_export_needs_codes(x, 0, err));
    if (x->model->config.sliding)
        return ptq_fail(err, PTQ_EINPUT,
                        "llama.cpp's %s has no sliding window, which this model's blocks have; take another format",
                        family->gguf);
    if (!find_kind(&x->spec->grid))
        return ptq_fail(err, PTQ_EUSAGE,
                        "a GGUF holds without loss w4,g32,sym=1 (Q4_0), w4,g32 (Q4_1) and w8,g32,sym=1 (Q8_0), and "
                        "not w%d,g%lld,sym=%d",
                        x->spec->grid.w_bit, (long long)x->spec->grid.group_size, x->spec->grid.sym);
    if (ptq_export_reorders(x->spec))
        return ptq_fail(err, PTQ_EUSAGE,
                        "act_order's groups are not of neighbours, as a GGUF's are; static_groups=1 "
                        "keeps them so");
    return ptq_export_multiples(x, 1, GROUP, "--format fp16 takes any number", err);
}

/* ---- metadata ---- */

static const char *key(const struct ptq_export *x, const char *name)
{
    return ptq_format(x->scratch, "%s.%s", x->model->config.family->gguf, name);
}

static void put_sizes(const struct ptq_export *x, struct ptq_gguf_keys *to)
{
    const struct ptq_config *c = &x->model->config;
    ptq_gguf_put_text(to, "general.architecture", c->family->gguf);
    ptq_gguf_put_text(to, "general.name", x->model->name);
    ptq_gguf_put_int(to, key(x, "block_count"), c->blocks);
    ptq_gguf_put_int(to, key(x, "context_length"), c->positions);
    ptq_gguf_put_int(to, key(x, "embedding_length"), c->width);
    ptq_gguf_put_int(to, key(x, "feed_forward_length"), c->ff);
    ptq_gguf_put_int(to, key(x, "attention.head_count"), c->heads);
    ptq_gguf_put_int(to, key(x, "attention.head_count_kv"), c->kv_heads);
    ptq_gguf_put_int(to, key(x, "attention.key_length"), c->head_size);
    ptq_gguf_put_int(to, key(x, "attention.value_length"), c->head_size);
    ptq_gguf_put_real(to, key(x, "attention.layer_norm_rms_epsilon"), c->norm_eps);
    ptq_gguf_put_int(to, key(x, "vocab_size"), c->vocab);
    if (c->family->position != PTQ_ROPE) return;
    ptq_gguf_put_int(to, key(x, "rope.dimension_count"), c->head_size);
    ptq_gguf_put_real(to, key(x, "rope.freq_base"), c->rope_theta);
    if (strcmp(c->rope_type, "linear")) return;
    ptq_gguf_put_text(to, key(x, "rope.scaling.type"), "linear");
    ptq_gguf_put_real(to, key(x, "rope.scaling.factor"), c->rope_factor);
}

static enum ptq_status put_keys(const struct ptq_export *x, const struct gguf *g, struct ptq_gguf_keys *to,
                                struct ptq_error *err)
{
    const struct ptq_checkpoint *file = &x->model->checkpoint;
    if (file->gguf) {
        ptq_gguf_put_all(to, file->gguf, "general.file_type");
    } else {
        put_sizes(x, to);
        ptq_gguf_put_int(to, "general.quantization_version", 2);
        PTQ_TRY(ptq_gguf_put_tokenizer(to, x->scratch, file->folder, x->model->config.vocab, err));
    }
    ptq_gguf_put_int(to, "general.file_type", g->kind->file_type);
    return PTQ_OK;
}

/* ---- tensors ---- */

static const char *tensor_name(const struct ptq_export *x, const char *pattern, int64_t block, const char *suffix)
{
    const char *hole = strstr(pattern, "%d");
    if (!hole) return ptq_format(x->scratch, "%s%s", pattern, suffix);
    return ptq_format(x->scratch, "%.*s%lld%s%s", (int)(hole - pattern), pattern, (long long)block, hole + 2, suffix);
}

static int is_llama3(const struct ptq_export *x)
{
    const struct ptq_config *c = &x->model->config;
    return c->family->ggml.rope_factors && strcmp(c->rope_type, "llama3") == 0;
}

/* A tensor outside the blocks: as it is where the source is a GGUF, else FP16. */
static enum ptq_dtype outer_dtype(const struct ptq_export *x, const struct ptq_tensor *t)
{
    return x->model->gguf ? t->dtype : PTQ_F16;
}

struct outer {
    const char *name;
    const struct ptq_tensor *tensor;
};
enum { N_OUTER = 3 };

static void list_outer(const struct ptq_export *x, struct outer out[N_OUTER])
{
    const struct ptq_model *m = x->model;
    const struct ptq_names *ggml = &m->config.family->ggml;
    out[0] = (struct outer){tensor_name(x, ggml->embed, 0, ".weight"), m->embed};
    out[1] = (struct outer){tensor_name(x, ggml->head, 0, ".weight"), m->head != m->embed ? m->head : NULL};
    out[2] = (struct outer){NULL, NULL};
    if (!m->gguf || !ggml->rope_factors) return;
    out[2].name = tensor_name(x, ggml->rope_factors, 0, ".weight");
    out[2].tensor = ptq_checkpoint_find(&m->checkpoint, out[2].name);
}

static void plan(const struct ptq_export *x, const struct gguf *g)
{
    const struct ptq_model *m = x->model;
    const struct ptq_names *ggml = &m->config.family->ggml;
    struct outer outer[N_OUTER];
    list_outer(x, outer);
    for (int i = 0; i < N_OUTER; i++) {
        const struct ptq_tensor *t = outer[i].tensor;
        if (t)
            ptq_tensor_plan(g->writer, outer[i].name, outer_dtype(x, t), t->shape[0], t->rank > 1 ? t->shape[1] : -1);
    }
    if (is_llama3(x)) ptq_tensor_plan(g->writer, "rope_freqs.weight", PTQ_F32, m->config.head_size / 2, -1);
    ptq_tensor_plan(g->writer, tensor_name(x, ggml->final_norm, 0, ".weight"), PTQ_F32, m->config.width, -1);
    for (int64_t b = 0; b < m->config.blocks; b++) {
        ptq_tensor_plan(g->writer, tensor_name(x, ggml->norm1, b, ".weight"), PTQ_F32, m->config.width, -1);
        ptq_tensor_plan(g->writer, tensor_name(x, ggml->norm2, b, ".weight"), PTQ_F32, m->config.width, -1);
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            int64_t n, k;
            ptq_linear_size(&m->config, (enum ptq_role)role, &n, &k);
            if (!n) continue;
            ptq_tensor_plan(g->writer, tensor_name(x, ggml->linear[role], b, ".weight"), g->kind->dtype, n, k);
            if (ptq_model_has_bias(m, b, (enum ptq_role)role))
                ptq_tensor_plan(g->writer, tensor_name(x, ggml->linear[role], b, ".bias"), PTQ_F32, n, -1);
        }
    }
}

static enum ptq_status write_outer(const struct ptq_export *x, const struct gguf *g, const struct outer *o,
                                   struct ptq_error *err)
{
    const struct ptq_tensor *t = o->tensor;
    if (!t) return PTQ_OK;
    if (x->model->gguf) return ptq_tensor_write(g->writer, o->name, t->data, t->bytes, err);
    struct ptq_mark mark = ptq_arena_mark(x->scratch);
    float *rows = ptq_new(x->scratch, float, ROWS_AT_ONCE * t->shape[1]);
    for (int64_t row = 0; row < t->shape[0]; row += ROWS_AT_ONCE) {
        int64_t n = t->shape[0] - row < ROWS_AT_ONCE ? t->shape[0] - row : ROWS_AT_ONCE;
        PTQ_TRY(ptq_model_rows(t, row, n, rows, err));
        PTQ_TRY(ptq_tensor_write_f16(g->writer, o->name, rows, n * t->shape[1], err));
    }
    ptq_arena_rewind(x->scratch, mark);
    return PTQ_OK;
}

static enum ptq_status write_floats(const struct ptq_export *x, const char *pattern, int64_t block, const char *suffix,
                                    const float *w, int64_t n, struct ptq_error *err)
{
    const struct gguf *g = x->state;
    return ptq_tensor_write(g->writer, tensor_name(x, pattern, block, suffix), w, sizeof *w * (size_t)n, err);
}

/* Llama 3.1's scaling as llama.cpp has it: by what a frequency is divided. */
static enum ptq_status write_rope_factors(const struct ptq_export *x, struct ptq_error *err)
{
    const struct ptq_config *c = &x->model->config;
    float *factor = ptq_new(x->scratch, float, c->head_size / 2);
    for (int64_t i = 0; i < c->head_size / 2; i++)
        factor[i] =
            1.0f / powf((float)c->rope_theta, (float)(2 * i) / (float)c->head_size) / x->model->rope_frequency[i];
    return write_floats(x, "rope_freqs", 0, ".weight", factor, c->head_size / 2, err);
}

static enum ptq_status begin(struct ptq_export *x, struct ptq_error *err)
{
    struct gguf *g = ptq_new(x->arena, struct gguf, 1);
    struct ptq_gguf_keys keys = {0};
    struct outer outer[N_OUTER];
    g->kind = find_kind(&x->spec->grid);
    g->writer = ptq_tensor_writer_make(x->arena);
    x->state = g;
    plan(x, g);
    enum ptq_status status = put_keys(x, g, &keys, err);
    if (!status) status = ptq_gguf_open(g->writer, ptq_join(x->scratch, x->folder, "model.gguf"), &keys, err);
    free(keys.bytes.data);
    if (status) return status;
    list_outer(x, outer);
    for (int i = 0; i < N_OUTER; i++) PTQ_TRY(write_outer(x, g, &outer[i], err));
    if (is_llama3(x)) PTQ_TRY(write_rope_factors(x, err));
    return write_floats(x, x->model->config.family->ggml.final_norm, 0, ".weight", x->model->final_norm_w,
                        x->model->config.width, err);
}

/* ---- blocks ---- */

static unsigned char *put_half(unsigned char *to, float value)
{
    uint16_t half = ptq_f16_encode(value);
    memcpy(to, &half, 2);
    return to + 2;
}

/* One group of 32 codes; returns what is behind it. */
static unsigned char *put_group(unsigned char *to, const struct kind *kind, const uint8_t *code, float scale,
                                float zero)
{
    to = put_half(to, scale);
    if (kind->dtype == PTQ_Q4_1) to = put_half(to, -scale * zero);
    if (kind->w_bit == 8) {
        for (int j = 0; j < GROUP; j++) to[j] = (unsigned char)(code[j] - 128);
        return to + GROUP;
    }
    for (int j = 0; j < GROUP / 2; j++) to[j] = (unsigned char)(code[j] | code[j + GROUP / 2] << 4);
    return to + GROUP / 2;
}

/* Our row at each row of the file: llama.cpp has the halves of a rotated head interleaved. */
static int64_t *rows_of_file(struct ptq_arena *arena, const struct ptq_row_layout *layout)
{
    int64_t *ours = ptq_new(arena, int64_t, layout->n);
    for (int64_t row = 0; row < layout->n; row++) ours[ptq_file_row(layout, row)] = row;
    return ours;
}

static enum ptq_status write_codes(const struct ptq_export *x, const char *name, const struct ptq_qmat *q,
                                   const int64_t *ours, struct ptq_error *err)
{
    const struct gguf *g = x->state;
    size_t bytes = (size_t)(q->n_groups * ptq_dtypes[g->kind->dtype].block_bytes);
    unsigned char *row = ptq_new(x->scratch, unsigned char, bytes);
    for (int64_t f = 0; f < q->n; f++) {
        int64_t n = ours[f];
        unsigned char *to = row;
        for (int64_t i = 0; i < q->n_groups; i++)
            to = put_group(to, g->kind, q->code + n * q->k + i * GROUP, q->scale[n * q->n_groups + i],
                           q->zero[n * q->n_groups + i]);
        PTQ_TRY(ptq_tensor_write(g->writer, name, row, bytes, err));
    }
    return PTQ_OK;
}

/* Without a minimum, all zeros are the middle; with one, m = -scale zero in FP16 must not move a weight by half a step,
 * either. */
static enum ptq_status check_zeros(const struct ptq_export *x, const char *name, const struct ptq_qmat *q,
                                   struct ptq_error *err)
{
    const struct gguf *g = x->state;
    int middle = 1 << (g->kind->w_bit - 1);
    for (int64_t i = 0; i < q->n * q->n_groups; i++) {
        long long output = i / q->n_groups, group = i % q->n_groups;
        float m = -q->scale[i] * q->zero[i], half = ptq_f16_round(m);
        if (g->kind->dtype != PTQ_Q4_1 && (int)q->zero[i] != middle) /* zeros are whole, as codes were checked before */
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: output %lld, group %lld: a zero of %g has no place here, where all are %d; --format "
                            "gptq_v2 holds it",
                            name, output, group, (double)q->zero[i], middle);
        if (g->kind->dtype == PTQ_Q4_1 && !(fabsf(half - m) <= q->scale[i] / 2))
            return ptq_fail(err, PTQ_ENUMERIC,
                            "%s: output %lld, group %lld: a minimum of %g becomes %g in FP16; --format fp16 has none",
                            name, output, group, (double)m, (double)half);
    }
    return PTQ_OK;
}

static enum ptq_status write_linear(const struct ptq_export *x, int64_t index, enum ptq_role role,
                                    const struct ptq_linear *l, const struct ptq_qmat *q, struct ptq_error *err)
{
    const struct ptq_names *ggml = &x->model->config.family->ggml;
    struct ptq_row_layout layout = ptq_layout_in(&x->model->config, ggml, role);
    const int64_t *ours = rows_of_file(x->scratch, &layout);
    PTQ_TRY(ptq_export_check_codes(x, l->name, q, 0, err));
    PTQ_TRY(check_zeros(x, l->name, q, err));
    PTQ_TRY(write_codes(x, tensor_name(x, ggml->linear[role], index, ".weight"), q, ours, err));
    int has;
    PTQ_TRY(ptq_export_check_bias(x, index, role, l, &has, err));
    if (!has) return PTQ_OK;
    float *bias = ptq_new(x->scratch, float, l->n);
    for (int64_t f = 0; f < l->n; f++) bias[f] = l->b[ours[f]];
    return write_floats(x, ggml->linear[role], index, ".bias", bias, l->n, err);
}

static enum ptq_status block(struct ptq_export *x, int64_t index, const struct ptq_block *b, const struct ptq_qmat *q,
                             struct ptq_error *err)
{
    const struct ptq_names *ggml = &x->model->config.family->ggml;
    PTQ_TRY(write_floats(x, ggml->norm1, index, ".weight", b->norm1_w, x->model->config.width, err));
    PTQ_TRY(write_floats(x, ggml->norm2, index, ".weight", b->norm2_w, x->model->config.width, err));
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (b->linear[role].n) PTQ_TRY(write_linear(x, index, (enum ptq_role)role, &b->linear[role], &q[role], err));
    return PTQ_OK;
}

static enum ptq_status finish(struct ptq_export *x, struct ptq_error *err)
{
    struct gguf *g = x->state;
    return ptq_tensor_writer_finish(g->writer, err);
}

static void abandon(struct ptq_export *x)
{
    struct gguf *g = x->state;
    if (g) ptq_tensor_writer_abandon(g->writer);
}

extern const struct ptq_export_format ptq_export_gguf;
const struct ptq_export_format ptq_export_gguf = {
    .name = "gguf",
    .summary = "one GGUF file: Q4_0, Q4_1 or Q8_0, whichever the grid is",
    .exact = 1,
    .check = check,
    .begin = begin,
    .block = block,
    .finish = finish,
    .abandon = abandon,
};
