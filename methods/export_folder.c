#include "export_folder.h"

#include "progress.h"

#include <string.h>

enum { ROWS_AT_ONCE = 256 };

struct folder {
    const struct ptq_folder_linears *linears;
    struct ptq_tensor_writer *writer;
    unsigned biased; /* ptq_folder_biased */
};

/* A tensor outside the blocks, and the pattern of its name. */
struct outer {
    const char *pattern;
    const struct ptq_tensor *tensor;
};
enum { N_OUTER = 5 };

static void list_outer(const struct ptq_model *m, struct outer out[N_OUTER])
{
    const struct ptq_names *hf = &m->config.family->hf;
    const struct outer all[N_OUTER] = {{hf->embed, m->embed},
                                       {hf->positions, m->positions},
                                       {hf->project_in, m->project_in},
                                       {hf->project_out, m->project_out},
                                       {hf->head, m->head != m->embed ? m->head : NULL}};
    memcpy(out, all, sizeof all);
}

/* The norms of a block, their patterns: weight and bias of the first and the second. */
static const char *norm_pattern(const struct ptq_model *m, int i)
{
    return i < 2 ? m->config.family->hf.norm1 : m->config.family->hf.norm2;
}

static const char *const norm_suffix[] = {".weight", ".bias", ".weight", ".bias"};

/* Norms outside the blocks, weight and bias by turns as norm_suffix has them. */
struct outer_norm {
    const char *pattern;
    const float *x;
};
enum { N_OUTER_NORM = 4 };

static void list_norms(const struct ptq_model *m, struct outer_norm out[N_OUTER_NORM])
{
    const struct ptq_names *hf = &m->config.family->hf;
    const struct outer_norm all[N_OUTER_NORM] = {{hf->embed_norm, m->embed_norm_w},
                                                 {hf->embed_norm, m->embed_norm_b},
                                                 {hf->final_norm, m->final_norm_w},
                                                 {hf->final_norm, m->final_norm_b}};
    memcpy(out, all, sizeof all);
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
    const struct ptq_model *m = x->model;
    struct outer outer[N_OUTER];
    char name[PTQ_NAME_SIZE];
    list_outer(m, outer);
    for (int i = 0; i < N_OUTER; i++) {
        if (!outer[i].tensor) continue;
        ptq_hf_name(&m->config, outer[i].pattern, 0, ".weight", name);
        ptq_tensor_plan(to, name, PTQ_F16, outer[i].tensor->shape[0], outer[i].tensor->shape[1]);
    }
    struct outer_norm norm[N_OUTER_NORM];
    list_norms(m, norm);
    for (int i = 0; i < N_OUTER_NORM; i++) {
        if (!norm[i].x) continue;
        ptq_hf_name(&m->config, norm[i].pattern, 0, norm_suffix[i], name);
        ptq_tensor_plan(to, name, PTQ_F16, m->config.width, -1);
    }
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
}

/* ---- writing ---- */

static enum ptq_status write_rows(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                  const struct ptq_tensor *t, struct ptq_error *err)
{
    int64_t columns = t->shape[1];
    struct ptq_mark mark = ptq_arena_mark(x->scratch);
    float *rows = ptq_new(x->scratch, float, ROWS_AT_ONCE *columns);
    for (int64_t row = 0; row < t->shape[0]; row += ROWS_AT_ONCE) {
        int64_t n = t->shape[0] - row < ROWS_AT_ONCE ? t->shape[0] - row : ROWS_AT_ONCE;
        PTQ_TRY(ptq_interrupted(err));
        PTQ_TRY(ptq_model_rows(t, row, n, rows, err));
        PTQ_TRY(ptq_tensor_write_f16(to, name, rows, n * columns, err));
    }
    ptq_arena_rewind(x->scratch, mark);
    return PTQ_OK;
}

static enum ptq_status write_outer(const struct ptq_export *x, struct ptq_tensor_writer *to, struct ptq_error *err)
{
    const struct ptq_model *m = x->model;
    struct outer outer[N_OUTER];
    char name[PTQ_NAME_SIZE];
    list_outer(m, outer);
    for (int i = 0; i < N_OUTER; i++) {
        if (!outer[i].tensor) continue;
        ptq_hf_name(&m->config, outer[i].pattern, 0, ".weight", name);
        PTQ_TRY(write_rows(x, to, name, outer[i].tensor, err));
    }
    struct outer_norm norm[N_OUTER_NORM];
    list_norms(m, norm);
    for (int i = 0; i < N_OUTER_NORM; i++) {
        if (!norm[i].x) continue;
        ptq_hf_name(&m->config, norm[i].pattern, 0, norm_suffix[i], name);
        PTQ_TRY(ptq_tensor_write_f16(to, name, norm[i].x, m->config.width, err));
    }
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

/* size bytes a row, ours to the file's order; NULL stays NULL. */
static void *in_file_order(struct ptq_arena *arena, const struct ptq_row_layout *layout, const void *rows, int64_t size)
{
    if (!rows) return NULL; /* no test: BLOOM alone has rows in another order, and it has every bias */
    unsigned char *to = ptq_new(arena, unsigned char, layout->n *size);
    for (int64_t row = 0; row < layout->n; row++)
        memcpy(to + ptq_file_row(layout, row) * size, (const unsigned char *)rows + row * size, (size_t)size);
    return to;
}

/* Where a method divides what the activation gives (AWQ behind GELU), the weights that do the same without that. */
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
        l.w = in_file_order(x->scratch, &layout, l.w, l.k * (int64_t)sizeof *l.w);
        l.b = in_file_order(x->scratch, &layout, l.b, sizeof *l.b);
        if (q->n) {
            codes.code = in_file_order(x->scratch, &layout, q->code, q->k);
            codes.scale = in_file_order(x->scratch, &layout, q->scale, q->n_groups * (int64_t)sizeof *q->scale);
            codes.zero = in_file_order(x->scratch, &layout, q->zero, q->n_groups * (int64_t)sizeof *q->zero);
        }
    }
    PTQ_TRY(f->linears->write(x, f->writer, &l, &codes, err));
    return write_bias(x, f->writer, index, role, &l, err);
}

enum ptq_status ptq_folder_block(struct ptq_export *x, int64_t index, const struct ptq_block *block,
                                 const struct ptq_qmat *q, struct ptq_error *err)
{
    const struct folder *f = x->state;
    const float *norm[] = {block->norm1_w, block->norm1_b, block->norm2_w, block->norm2_b};
    char name[PTQ_NAME_SIZE];
    for (int i = 0; i < 4; i++) {
        if (!norm[i]) continue;
        ptq_hf_name(&x->model->config, norm_pattern(x->model, i), index, norm_suffix[i], name);
        PTQ_TRY(ptq_tensor_write_f16(f->writer, name, norm[i], x->model->config.width, err));
    }
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
