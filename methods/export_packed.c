/* packed: ptq's own. Each linear of a block is the image that `--path packed` computes with (kernels/packed.h), and
 * nothing beside them is rounded either, so that the folder gives the numbers of the cell that it was made of, to the
 * last bit.
 *
 *   model-00001-of-N.safetensors   embeddings, head, final norm
 *   model-0000i-of-N.safetensors   block i - 2:  NAME.packed, U8, each at a multiple of 64 bytes
 *                                                norms, biases
 *                                                DOWN.activation_scale [F]: what AWQ divides the activation by
 *
 * How large an image is depends on its numbers (scales that FP16 holds, zeros in the middle), so a file's header can be
 * written when the block is there: a file a block. What is no image is F16, BF16 or F32, whichever is the smallest
 * that holds all of a tensor. Rows of images are in our order; biases are in that of the family's files. */
#include "export_folder.h"

#include "quantized.h"
#include "version.h"

_Static_assert(PTQ_TENSOR_ALIGN % PTQ_PACK_ALIGN == 0, "images are used where they lie in the file");
enum { MOST_VECTORS = PTQ_FOLDER_NORMS + PTQ_N_ROLE + 1 };

/* What is written of one block. */
struct content {
    struct ptq_folder_tensor vector[MOST_VECTORS];
    int n_vectors;
    struct ptq_packed image[PTQ_N_ROLE]; /* bytes 0: the family has no such linear */
};

static enum ptq_status check(const struct ptq_export *x, struct ptq_error *err)
{
    return ptq_export_quantizes(x, err);
}

static json_t *config(const struct ptq_export *x)
{
    const struct ptq_grid *grid = &x->spec->grid;
    return json_pack("{s:s, s:i, s:i, s:I, s:b, s:s, s:s}", "quant_method", "ptq", "version", PTQ_CONTAINER_VERSION,
                     "bits", grid->w_bit, "group_size", (json_int_t)grid->group_size, "sym", grid->sym, "spec",
                     ptq_spec_format(x->spec, x->scratch), "quantizer", ptq_format(x->scratch, "ptq %s", ptq_version));
}

/* ---- outside the blocks ---- */

static enum ptq_status look(void *context, const char *name, const float *x, int64_t n, struct ptq_error *err)
{
    (void)name, (void)err;
    ptq_exact_type_look(context, x, n);
    return PTQ_OK;
}

static void plan(const struct ptq_export *x, const struct ptq_folder_tensor *t, const struct ptq_exact_type *type)
{
    int64_t rows = t->rows ? t->rows->shape[0] : t->n, columns = t->rows ? t->rows->shape[1] : -1;
    ptq_tensor_plan(x->state, t->name, ptq_exact_type(type), rows, columns);
}

static enum ptq_status write_exact(void *context, const char *name, const float *x, int64_t n, struct ptq_error *err)
{
    return ptq_tensor_write_exact(context, name, x, n, err);
}

static enum ptq_status begin(struct ptq_export *x, struct ptq_error *err)
{
    struct ptq_folder_tensor outer[PTQ_FOLDER_OUTER];
    struct ptq_tensor_writer *writer = x->state = ptq_tensor_writer_make(x->arena);
    int n = ptq_folder_outer(x->model, outer);
    PTQ_TRY(ptq_export_config(x, config(x), NULL, err));
    PTQ_TRY(ptq_export_tokenizer(x, err));
    ptq_safetensors_expect(writer, (int)x->model->config.blocks + 1);
    for (int i = 0; i < n; i++) {
        struct ptq_exact_type type = {0};
        PTQ_TRY(ptq_folder_rows(x, &outer[i], look, &type, err));
        plan(x, &outer[i], &type);
    }
    PTQ_TRY(ptq_safetensors_next(writer, x->folder, err));
    for (int i = 0; i < n; i++) PTQ_TRY(ptq_folder_rows(x, &outer[i], write_exact, writer, err));
    return PTQ_OK;
}

/* ---- a block ---- */

/* Where config.json says that there is a bias, and where a method made one. */
static int has_bias(const struct ptq_export *x, int64_t index, enum ptq_role role, const struct ptq_linear *l)
{
    struct ptq_error ignored;
    int has;
    return ptq_folder_biased(x->model) >> role & 1 || ptq_export_check_bias(x, index, role, l, &has, &ignored);
}

static enum ptq_status add_linear(const struct ptq_export *x, int64_t index, enum ptq_role role,
                                  const struct ptq_linear *l, const struct ptq_qmat *q, struct content *c,
                                  struct ptq_error *err)
{
    const struct ptq_config *config = &x->model->config;
    struct ptq_row_layout layout = ptq_layout_in(config, &config->family->hf, role);
    if (ptq_pack(x->scratch, q, &c->image[role], err)) return ptq_within(err, "%s", l->name);
    if (!has_bias(x, index, role, l)) return PTQ_OK;
    const float *b = l->b ? l->b : ptq_new(x->scratch, float, l->n);
    struct ptq_folder_tensor *bias = &c->vector[c->n_vectors++];
    *bias = (struct ptq_folder_tensor){.x = ptq_folder_order(x->scratch, &layout, b, sizeof *b), .n = l->n};
    ptq_hf_name(config, config->family->hf.linear[role], index, ".bias", bias->name);
    return PTQ_OK;
}

static enum ptq_status gather(const struct ptq_export *x, int64_t index, const struct ptq_block *block,
                              const struct ptq_qmat *q, struct content *c, struct ptq_error *err)
{
    const struct ptq_config *config = &x->model->config;
    c->n_vectors = ptq_folder_norms(x->model, index, block, c->vector);
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (block->linear[role].n)
            PTQ_TRY(add_linear(x, index, (enum ptq_role)role, &block->linear[role], &q[role], c, err));
    if (!block->activation_scale) return PTQ_OK;
    struct ptq_folder_tensor *scale = &c->vector[c->n_vectors++];
    *scale = (struct ptq_folder_tensor){.x = block->activation_scale, .n = config->ff};
    ptq_hf_name(config, config->family->hf.linear[PTQ_DOWN], index, PTQ_ACTIVATION_SCALE, scale->name);
    return PTQ_OK;
}

static const char *image_name(const struct ptq_export *x, int64_t index, int role, char out[PTQ_NAME_SIZE])
{
    ptq_hf_name(&x->model->config, x->model->config.family->hf.linear[role], index, ".packed", out);
    return out;
}

static enum ptq_status write_block(struct ptq_export *x, int64_t index, const struct ptq_block *block,
                                   const struct ptq_qmat *q, struct ptq_error *err)
{
    struct content c = {0};
    char name[PTQ_NAME_SIZE];
    PTQ_TRY(gather(x, index, block, q, &c, err));
    for (int i = 0; i < c.n_vectors; i++) {
        struct ptq_exact_type type = {0};
        ptq_exact_type_look(&type, c.vector[i].x, c.vector[i].n);
        plan(x, &c.vector[i], &type);
    }
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (c.image[role].bytes)
            ptq_tensor_plan_aligned(x->state, image_name(x, index, role, name), c.image[role].bytes);
    PTQ_TRY(ptq_safetensors_next(x->state, x->folder, err));
    for (int i = 0; i < c.n_vectors; i++)
        PTQ_TRY(ptq_tensor_write_exact(x->state, c.vector[i].name, c.vector[i].x, c.vector[i].n, err));
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (c.image[role].bytes)
            PTQ_TRY(ptq_tensor_write(x->state, image_name(x, index, role, name), c.image[role].image,
                                     c.image[role].bytes, err));
    return PTQ_OK;
}

static enum ptq_status finish(struct ptq_export *x, struct ptq_error *err)
{
    PTQ_TRY(ptq_safetensors_index(x->state, x->folder, err));
    return ptq_tensor_writer_finish(x->state, err);
}

static void abandon(struct ptq_export *x)
{
    ptq_tensor_writer_abandon(x->state);
}

extern const struct ptq_export_format ptq_export_packed;
const struct ptq_export_format ptq_export_packed = {
    .name = "packed",
    .summary = "ptq's own, whatever a method makes, to the bit: what --path packed computes with",
    .lossless = 1,
    .check = check,
    .begin = begin,
    .block = write_block,
    .finish = finish,
    .abandon = abandon,
};
