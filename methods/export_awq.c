/* awq: AutoAWQ's GEMM layout, 4 bits (data/packed_codes.h draws it). Zeros are always stored; a symmetric grid stores
 * 8, since no reader makes use of zero_point = false. What AWQ divides a GELU by stands with it (gelu_impl.scales of
 * BLOOM): transformers asks for it there always, AWQ's scales or none, and would compute with what it finds in memory.
 */
#include "export_folder.h"

#include "dtype.h"
#include "packed_codes.h"

static int64_t group_of(const struct ptq_export *x, int64_t k)
{
    int64_t g = x->spec->grid.group_size;
    return g < 0 ? k : g;
}

static enum ptq_status check(const struct ptq_export *x, struct ptq_error *err)
{
    const struct ptq_grid *grid = &x->spec->grid;
    PTQ_TRY(ptq_export_needs_codes(x, 1, err));
    if (grid->w_bit != 4)
        return ptq_fail(
            err, PTQ_EUSAGE,
            "no AWQ container holds %d bits, only 4; --format gptq_v2 holds 2, 3, 4 and 8, and AWQ's scales "
            "are in the model's own weights",
            grid->w_bit);
    if (ptq_export_reorders(x->spec))
        return ptq_fail(err, PTQ_EUSAGE,
                        "act_order's groups have no place here; --format gptq_v2 has g_idx for them, and "
                        "static_groups=1 keeps groups of neighbours");
    PTQ_TRY(ptq_export_multiples(x, 8, 1, "--format fp16 takes any number", err));
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        int64_t n, k;
        ptq_linear_size(&x->model->config, (enum ptq_role)role, &n, &k);
        if (n && k % group_of(x, k))
            return ptq_export_multiples(x, 8, grid->group_size, "take a group size that divides them, or --format fp16",
                                        err);
    }
    return PTQ_OK;
}

static void plan(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name, int64_t n, int64_t k)
{
    char full[PTQ_NAME_SIZE + 16];
    int64_t groups = k / group_of(x, k);
    snprintf(full, sizeof full, "%s.qweight", name);
    ptq_tensor_plan(to, full, PTQ_I32, k, n / 8);
    snprintf(full, sizeof full, "%s.qzeros", name);
    ptq_tensor_plan(to, full, PTQ_I32, groups, n / 8);
    snprintf(full, sizeof full, "%s.scales", name);
    ptq_tensor_plan(to, full, PTQ_F16, groups, n);
}

static enum ptq_status write_codes(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                   const struct ptq_qmat *q, struct ptq_error *err)
{
    uint8_t *column = ptq_new(x->scratch, uint8_t, q->n);
    uint32_t *word = ptq_new(x->scratch, uint32_t, q->k * q->n / 8);
    for (int64_t k = 0; k < q->k; k++) {
        for (int64_t n = 0; n < q->n; n++) column[n] = q->code[n * q->k + k];
        ptq_awq_pack(column, q->n, word + k * q->n / 8);
    }
    return ptq_tensor_write(to, name, word, (size_t)(q->k * q->n / 2), err);
}

static enum ptq_status write_zeros(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                   const struct ptq_qmat *q, struct ptq_error *err)
{
    uint8_t *zero = ptq_new(x->scratch, uint8_t, q->n);
    uint32_t *word = ptq_new(x->scratch, uint32_t, q->n / 8);
    for (int64_t g = 0; g < q->n_groups; g++) {
        for (int64_t n = 0; n < q->n; n++) zero[n] = (uint8_t)q->zero[n * q->n_groups + g];
        ptq_awq_pack(zero, q->n, word);
        PTQ_TRY(ptq_tensor_write(to, name, word, (size_t)q->n / 2, err));
    }
    return PTQ_OK;
}

static enum ptq_status write(const struct ptq_export *x, struct ptq_tensor_writer *to, const struct ptq_linear *linear,
                             const struct ptq_qmat *q, struct ptq_error *err)
{
    char name[PTQ_NAME_SIZE + 16];
    PTQ_TRY(ptq_export_check_codes(x, linear->name, q, 0, err));
    PTQ_TRY(ptq_export_check_weights(linear->name, q, err));
    PTQ_TRY(write_codes(x, to, ptq_part_name(linear, "qweight", name), q, err));
    PTQ_TRY(write_zeros(x, to, ptq_part_name(linear, "qzeros", name), q, err));
    return ptq_folder_scales(x, to, ptq_part_name(linear, "scales", name), q, err);
}

/* Linears outside the blocks stay as they are; a reader that replaces every linear of the model must be told so. */
static json_t *config(const struct ptq_export *x)
{
    const struct ptq_model *m = x->model;
    json_t *spared = m->project_in ? json_pack("[s, s, s]", m->config.family->hf.project_in,
                                               m->config.family->hf.project_out, m->config.family->hf.head)
                                   : json_null();
    return json_pack("{s:s, s:i, s:I, s:b, s:s, s:o}", "quant_method", "awq", "bits", 4, "group_size",
                     (json_int_t)x->spec->grid.group_size, "zero_point", 1, "version", "gemm", "modules_to_not_convert",
                     spared);
}

static const struct ptq_folder_linears linears = {.plan = plan, .write = write, .config = config, .divides = 1};

static enum ptq_status begin(struct ptq_export *x, struct ptq_error *err)
{
    return ptq_folder_begin(x, &linears, err);
}

extern const struct ptq_export_format ptq_export_awq;
const struct ptq_export_format ptq_export_awq = {
    .name = "awq",
    .summary = "AutoAWQ's GEMM layout, 4 bits",
    .check = check,
    .begin = begin,
    .block = ptq_folder_block,
    .finish = ptq_folder_finish,
    .abandon = ptq_folder_abandon,
};
