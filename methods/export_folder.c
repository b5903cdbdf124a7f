#include "export_folder.h"

#include "dtype.h"
#include "progress.h"

#include <math.h>
#include <string.h>

enum { ROWS_AT_ONCE = 256 };

struct folder {
    const struct ptq_folder_linears *linears;
    struct ptq_tensor_writer *writer;
    unsigned biased; /* ptq_folder_biased */
};

static const char *const norm_suffix[] = {".weight", ".bias", ".weight", ".bias"};

static void add(const struct ptq_model *m, struct ptq_folder_tensor *out, int *n, const char *pattern,
                const char *suffix, const struct ptq_tensor *rows, const float *x)
{
    if (!rows && !x) return;
    out[*n] = (struct ptq_folder_tensor){.rows = rows, .x = x, .n = m->config.width};
    ptq_hf_name(&m->config, pattern, 0, suffix, out[(*n)++].name);
}

int ptq_folder_outer(const struct ptq_model *m, struct ptq_folder_tensor out[PTQ_FOLDER_OUTER])
{
    const struct ptq_names *hf = &m->config.family->hf;
    int n = 0;
    add(m, out, &n, hf->embed, ".weight", m->embed, NULL);
    add(m, out, &n, hf->positions, ".weight", m->positions, NULL);
    add(m, out, &n, hf->project_in, ".weight", m->project_in, NULL);
    add(m, out, &n, hf->project_out, ".weight", m->project_out, NULL);
    add(m, out, &n, hf->head, ".weight", m->head != m->embed ? m->head : NULL, NULL);
    add(m, out, &n, hf->embed_norm, ".weight", NULL, m->embed_norm_w);
    add(m, out, &n, hf->embed_norm, ".bias", NULL, m->embed_norm_b);
    add(m, out, &n, hf->final_norm, ".weight", NULL, m->final_norm_w);
    add(m, out, &n, hf->final_norm, ".bias", NULL, m->final_norm_b);
    return n;
}

/* The norms of a block, their patterns: weight and bias of the first and the second. */
static const char *norm_pattern(const struct ptq_model *m, int i)
{
    return i < 2 ? m->config.family->hf.norm1 : m->config.family->hf.norm2;
}

int ptq_folder_norms(const struct ptq_model *m, int64_t index, const struct ptq_block *block,
                     struct ptq_folder_tensor out[PTQ_FOLDER_NORMS])
{
    const float *norm[] = {block->norm1_w, block->norm1_b, block->norm2_w, block->norm2_b};
    int n = 0;
    for (int i = 0; i < PTQ_FOLDER_NORMS; i++) {
        if (!norm[i]) continue;
        out[n] = (struct ptq_folder_tensor){.x = norm[i], .n = m->config.width};
        ptq_hf_name(&m->config, norm_pattern(m, i), index, norm_suffix[i], out[n++].name);
    }
    return n;
}

/* Whether any block has a bias for any of the roles. */
static int has_any(const struct ptq_model *m, unsigned roles)
{
    for (int64_t block = 0; block < m->config.blocks; block++)
        for (int role = 0; role < PTQ_N_ROLE; role++)
            if (roles >> role & 1 && ptq_model_has_bias(m, block, (enum ptq_role)role)) return 1;
    return 0;
}

unsigned ptq_folder_biased(const struct ptq_model *m)
{
    unsigned biased = m->config.biased;
    for (int i = 0; i < PTQ_N_BIAS_KEY; i++) {
        unsigned roles = m->config.family->bias_keys[i].roles;
        if (has_any(m, roles)) biased |= roles;
    }
    return biased;
}

const char *ptq_part_name(const struct ptq_linear *linear, const char *part, char out[PTQ_NAME_SIZE + 16])
{
    snprintf(out, PTQ_NAME_SIZE + 16, "%s.%s", linear->name, part);
    return out;
}

enum ptq_status ptq_folder_scales(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                  const struct ptq_qmat *q, struct ptq_error *err)
{
    float *row = ptq_new(x->scratch, float, q->n);
    for (int64_t g = 0; g < q->n_groups; g++) {
        for (int64_t n = 0; n < q->n; n++) row[n] = q->scale[n * q->n_groups + g];
        PTQ_TRY(ptq_tensor_write_f16(to, name, row, q->n, err));
    }
    return PTQ_OK;
}

/* ---- planning ---- */

static void plan_outer(const struct ptq_export *x, struct ptq_tensor_writer *to)
{
    struct ptq_folder_tensor outer[PTQ_FOLDER_OUTER];
    int n = ptq_folder_outer(x->model, outer);
    for (int i = 0; i < n; i++) {
        const struct ptq_tensor *rows = outer[i].rows;
        ptq_tensor_plan(to, outer[i].name, PTQ_F16, rows ? rows->shape[0] : outer[i].n, rows ? rows->shape[1] : -1);
    }
}

/* Whether NAME.scales stand with the activation of each block. */
static int stores_divisor(const struct ptq_export *x, const struct folder *f)
{
    return f->linears->divides && x->model->config.family->hf.activation;
}

static void plan_block(const struct ptq_export *x, const struct folder *f, int64_t block)
{
    const struct ptq_model *m = x->model;
    char name[PTQ_NAME_SIZE];
    int has_bias = m->config.family->norm == PTQ_LAYERNORM;
    for (int i = 0; i < 4; i += has_bias ? 1 : 2) {
        ptq_hf_name(&m->config, norm_pattern(m, i), block, norm_suffix[i], name);
        ptq_tensor_plan(f->writer, name, PTQ_F16, m->config.width, -1);
    }
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        int64_t n, k;
        ptq_linear_size(&m->config, (enum ptq_role)role, &n, &k);
        if (!n) continue;
        ptq_hf_name(&m->config, m->config.family->hf.linear[role], block, "", name);
        f->linears->plan(x, f->writer, name, n, k);
        if (!(f->biased >> role & 1)) continue;
        ptq_hf_name(&m->config, m->config.family->hf.linear[role], block, ".bias", name);
        ptq_tensor_plan(f->writer, name, PTQ_F16, n, -1);
    }
    if (!stores_divisor(x, f)) return;
    ptq_hf_name(&m->config, m->config.family->hf.activation, block, ".scales", name);
    ptq_tensor_plan(f->writer, name, PTQ_F16, m->config.ff, -1);
}

/* ---- writing ---- */

enum ptq_status ptq_folder_rows(const struct ptq_export *x, const struct ptq_folder_tensor *t, ptq_take_rows *take,
                                void *context, struct ptq_error *err)
{
    if (!t->rows) return take(context, t->name, t->x, t->n, err);
    int64_t columns = t->rows->shape[1];
    struct ptq_mark mark = ptq_arena_mark(x->scratch);
    float *rows = ptq_new(x->scratch, float, ROWS_AT_ONCE *columns);
    for (int64_t row = 0; row < t->rows->shape[0]; row += ROWS_AT_ONCE) {
        int64_t n = t->rows->shape[0] - row < ROWS_AT_ONCE ? t->rows->shape[0] - row : ROWS_AT_ONCE;
        PTQ_TRY(ptq_interrupted(err));
        PTQ_TRY(ptq_model_rows(t->rows, row, n, rows, err));
        PTQ_TRY(take(context, t->name, rows, n * columns, err));
    }
    ptq_arena_rewind(x->scratch, mark);
    return PTQ_OK;
}

static enum ptq_status write_f16(void *context, const char *name, const float *x, int64_t n, struct ptq_error *err)
{
    return ptq_tensor_write_f16(context, name, x, n, err);
}

static enum ptq_status write_outer(const struct ptq_export *x, struct ptq_tensor_writer *to, struct ptq_error *err)
{
    struct ptq_folder_tensor outer[PTQ_FOLDER_OUTER];
    int n = ptq_folder_outer(x->model, outer);
    for (int i = 0; i < n; i++) PTQ_TRY(ptq_folder_rows(x, &outer[i], write_f16, to, err));
    return PTQ_OK;
}

enum ptq_status ptq_folder_begin(struct ptq_export *x, const struct ptq_folder_linears *linears, struct ptq_error *err)
{
    struct folder *f = ptq_new(x->arena, struct folder, 1);
    *f = (struct folder){
        .linears = linears, .writer = ptq_tensor_writer_make(x->arena), .biased = ptq_folder_biased(x->model)};
    x->state = f;
    PTQ_TRY(ptq_export_config(x, linears->config ? linears->config(x) : NULL, linears->config_file, err));
    PTQ_TRY(ptq_export_tokenizer(x, err));
    plan_outer(x, f->writer);
    for (int64_t i = 0; i < x->model->config.blocks; i++) plan_block(x, f, i);
    PTQ_TRY(ptq_safetensors_open(f->writer, x->folder, x->shard_bytes, err));
    return write_outer(x, f->writer, err);
}

static enum ptq_status write_bias(const struct ptq_export *x, struct ptq_tensor_writer *to, int64_t index,
                                  enum ptq_role role, const struct ptq_linear *linear, struct ptq_error *err)
{
    const struct folder *f = x->state;
    char name[PTQ_NAME_SIZE + 16];
    int has; /* and yet not written: zeros of a GGUF, by ptq_export_config */
    if (!(f->biased >> role & 1)) return ptq_export_check_bias(x, index, role, linear, &has, err);
    const float *b = linear->b ? linear->b : ptq_new(x->scratch, float, linear->n);
    return ptq_tensor_write_f16(to, ptq_part_name(linear, "bias", name), b, linear->n, err);
}

void *ptq_folder_order(struct ptq_arena *arena, const struct ptq_row_layout *layout, const void *rows, int64_t size)
{
    if (!rows) return NULL; /* no test: BLOOM alone has rows in another order, and it has every bias */
    unsigned char *to = ptq_new(arena, unsigned char, layout->n *size);
    for (int64_t row = 0; row < layout->n; row++)
        memcpy(to + ptq_file_row(layout, row) * size, (const unsigned char *)rows + row * size, (size_t)size);
    return to;
}

/* Where a method divides what the activation gives (AWQ behind GELU), the weights that do the same without that; codes
 * stay, so what stores them must divide, too. */
static float *undo_activation_scale(const struct ptq_export *x, const struct ptq_linear *l, const float *scale)
{
    float *w = ptq_new(x->scratch, float, l->n * l->k);
    for (int64_t n = 0; n < l->n; n++)
        for (int64_t k = 0; k < l->k; k++) w[n * l->k + k] = l->w[n * l->k + k] / scale[k];
    return w;
}

static enum ptq_status write_linear(const struct ptq_export *x, int64_t index, enum ptq_role role,
                                    const struct ptq_block *block, const struct ptq_qmat *q, struct ptq_error *err)
{
    const struct folder *f = x->state;
    const struct ptq_linear *linear = &block->linear[role];
    const struct ptq_config *c = &x->model->config;
    struct ptq_row_layout layout = ptq_layout_in(c, &c->family->hf, role);
    struct ptq_linear l = *linear;
    struct ptq_qmat codes = *q;
    if (block->activation_scale && ptq_role_input[role] == PTQ_MLP_OUT)
        l.w = undo_activation_scale(x, linear, block->activation_scale);
    if (layout.order != PTQ_ROWS_PLAIN) {
        l.w = ptq_folder_order(x->scratch, &layout, l.w, l.k * (int64_t)sizeof *l.w);
        l.b = ptq_folder_order(x->scratch, &layout, l.b, sizeof *l.b);
        if (q->n) {
            codes.code = ptq_folder_order(x->scratch, &layout, q->code, q->k);
            codes.scale = ptq_folder_order(x->scratch, &layout, q->scale, q->n_groups * (int64_t)sizeof *q->scale);
            codes.zero = ptq_folder_order(x->scratch, &layout, q->zero, q->n_groups * (int64_t)sizeof *q->zero);
        }
    }
    PTQ_TRY(f->linears->write(x, f->writer, &l, &codes, err));
    return write_bias(x, f->writer, index, role, &l, err);
}

/* Programs divide by it as it is stored: where FP16 has fewer bits than its own the numbers would be others. */
static enum ptq_status write_divisor(const struct ptq_export *x, int64_t index, const float *scale,
                                     struct ptq_error *err)
{
    const struct folder *f = x->state;
    const struct ptq_config *c = &x->model->config;
    float *s = ptq_new(x->scratch, float, c->ff);
    char name[PTQ_NAME_SIZE];
    ptq_hf_name(c, c->family->hf.activation, index, ".scales", name);
    for (int64_t i = 0; i < c->ff; i++) {
        s[i] = scale ? scale[i] : 1;
        if (!(fabsf(ptq_f16_round(s[i]) - s[i]) <= s[i] * 0x1p-11f))
            return ptq_fail(err, PTQ_ENUMERIC,
                            "tensor '%s': element %lld is %g, which becomes %g in FP16; --format fp16 does without it",
                            name, (long long)i, (double)s[i], (double)ptq_f16_round(s[i]));
    }
    return ptq_tensor_write_f16(f->writer, name, s, c->ff, err);
}

enum ptq_status ptq_folder_block(struct ptq_export *x, int64_t index, const struct ptq_block *block,
                                 const struct ptq_qmat *q, struct ptq_error *err)
{
    const struct folder *f = x->state;
    struct ptq_folder_tensor norm[PTQ_FOLDER_NORMS];
    int n = ptq_folder_norms(x->model, index, block, norm);
    for (int i = 0; i < n; i++) PTQ_TRY(ptq_tensor_write_f16(f->writer, norm[i].name, norm[i].x, norm[i].n, err));
    if (stores_divisor(x, f)) PTQ_TRY(write_divisor(x, index, block->activation_scale, err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        if (!block->linear[role].n) continue;
        struct ptq_mark mark = ptq_arena_mark(x->scratch);
        PTQ_TRY(write_linear(x, index, (enum ptq_role)role, block, &q[role], err));
        ptq_arena_rewind(x->scratch, mark);
    }
    return PTQ_OK;
}

enum ptq_status ptq_folder_finish(struct ptq_export *x, struct ptq_error *err)
{
    struct folder *f = x->state;
    return ptq_tensor_writer_finish(f->writer, err);
}

void ptq_folder_abandon(struct ptq_export *x)
{
    struct folder *f = x->state;
    if (f) ptq_tensor_writer_abandon(f->writer);
}
