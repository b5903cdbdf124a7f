/* gptq and gptq_v2: AutoGPTQ's layout, 2, 3, 4 and 8 bits (data/packed_codes.h draws it). The first version stores
 * zeros less one, and so cannot hold a zero of 0. */
#include "export_folder.h"

#include "dtype.h"
#include "packed_codes.h"
#include "version.h"

#include <string.h>

static int less_one(const struct ptq_export *x)
{
    return strcmp(x->format->name, "gptq") == 0;
}

static enum ptq_status check(const struct ptq_export *x, struct ptq_error *err)
{
    int bits = x->spec->grid.w_bit;
    PTQ_TRY(ptq_export_needs_codes(x, 0, err));
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return ptq_fail(err, PTQ_EUSAGE, "this container holds 2, 3, 4 or 8 bits, not %d; --format fp16 holds any",
                        bits);
    return ptq_export_multiples(x, 32, 32, "--format fp16 takes any number", err);
}

static void plan(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name, int64_t n, int64_t k)
{
    char full[PTQ_NAME_SIZE + 16];
    int bits = x->spec->grid.w_bit;
    int64_t groups = ptq_n_groups(k, x->spec->grid.group_size);
    snprintf(full, sizeof full, "%s.qweight", name);
    ptq_tensor_plan(to, full, PTQ_I32, ptq_stream_words(k, bits), n);
    snprintf(full, sizeof full, "%s.qzeros", name);
    ptq_tensor_plan(to, full, PTQ_I32, groups, ptq_stream_words(n, bits));
    snprintf(full, sizeof full, "%s.scales", name);
    ptq_tensor_plan(to, full, PTQ_F16, groups, n);
    snprintf(full, sizeof full, "%s.g_idx", name);
    ptq_tensor_plan(to, full, PTQ_I32, k, -1);
}

static enum ptq_status write_codes(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                   const struct ptq_qmat *q, struct ptq_error *err)
{
    int64_t words = ptq_stream_words(q->k, q->grid.w_bit) * q->n;
    uint32_t *word = ptq_new(x->scratch, uint32_t, words);
    for (int64_t n = 0; n < q->n; n++) ptq_stream_pack(q->code + n * q->k, q->k, q->grid.w_bit, word + n, q->n);
    return ptq_tensor_write(to, name, word, (size_t)words * 4, err);
}

static enum ptq_status write_zeros(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                   const struct ptq_qmat *q, struct ptq_error *err)
{
    int64_t words = ptq_stream_words(q->n, q->grid.w_bit);
    uint8_t *zero = ptq_new(x->scratch, uint8_t, q->n);
    uint32_t *word = ptq_new(x->scratch, uint32_t, words);
    for (int64_t g = 0; g < q->n_groups; g++) {
        for (int64_t n = 0; n < q->n; n++) zero[n] = (uint8_t)((int)q->zero[n * q->n_groups + g] - less_one(x));
        ptq_stream_pack(zero, q->n, q->grid.w_bit, word, 1);
        PTQ_TRY(ptq_tensor_write(to, name, word, (size_t)words * 4, err));
    }
    return PTQ_OK;
}

/* Which group a column belongs to. */
static enum ptq_status write_g_idx(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name,
                                   const struct ptq_qmat *q, struct ptq_error *err)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size;
    int32_t *group = ptq_new(x->scratch, int32_t, q->k);
    for (int64_t p = 0; p < q->k; p++) group[q->perm ? q->perm[p] : p] = (int32_t)(p / g);
    return ptq_tensor_write(to, name, group, sizeof *group * (size_t)q->k, err);
}

static enum ptq_status write(const struct ptq_export *x, struct ptq_tensor_writer *to, const struct ptq_linear *linear,
                             const struct ptq_qmat *q, struct ptq_error *err)
{
    char name[PTQ_NAME_SIZE + 16];
    PTQ_TRY(ptq_export_check_codes(x, linear->name, q, less_one(x), err));
    PTQ_TRY(ptq_export_check_weights(linear->name, q, err));
    PTQ_TRY(write_codes(x, to, ptq_part_name(linear, "qweight", name), q, err));
    PTQ_TRY(write_zeros(x, to, ptq_part_name(linear, "qzeros", name), q, err));
    PTQ_TRY(ptq_folder_scales(x, to, ptq_part_name(linear, "scales", name), q, err));
    return write_g_idx(x, to, ptq_part_name(linear, "g_idx", name), q, err);
}

/* Readers want the keys of GPTQ's own switches whatever the method was; what it was is in meta. */
static json_t *config(const struct ptq_export *x)
{
    const struct ptq_spec *spec = x->spec;
    json_t *meta = json_pack("{s:[s], s:s}", "quantizer", ptq_format(x->scratch, "ptq:%s", ptq_version), "spec",
                             ptq_spec_format(spec, x->scratch));
    return json_pack("{s:s, s:s, s:i, s:I, s:b, s:b, s:b, s:b, s:f, s:b, s:s, s:o}", "quant_method", "gptq",
                     "checkpoint_format", x->format->name, "bits", spec->grid.w_bit, "group_size",
                     (json_int_t)spec->grid.group_size, "desc_act", ptq_export_reorders(spec), "sym", spec->grid.sym,
                     "static_groups", (int)ptq_spec_value_or(spec, "static_groups", 0), "true_sequential",
                     (int)ptq_spec_value_or(spec, "true_sequential", 0), "damp_percent",
                     ptq_spec_value_or(spec, "percdamp", 0.01), "lm_head", 0, "pack_dtype", "int32", "meta", meta);
}

static const struct ptq_folder_linears linears = {
    .plan = plan, .write = write, .config = config, .config_file = "quantize_config.json"};

static enum ptq_status begin(struct ptq_export *x, struct ptq_error *err)
{
    return ptq_folder_begin(x, &linears, err);
}

extern const struct ptq_export_format ptq_export_gptq, ptq_export_gptq_v2;
const struct ptq_export_format ptq_export_gptq = {
    .name = "gptq",
    .summary = "AutoGPTQ's layout, its first version: 2, 3, 4 or 8 bits, zeros from 1 up",
    .check = check,
    .begin = begin,
    .block = ptq_folder_block,
    .finish = ptq_folder_finish,
    .abandon = ptq_folder_abandon,
};
const struct ptq_export_format ptq_export_gptq_v2 = {
    .name = "gptq_v2",
    .summary = "AutoGPTQ's layout with zeros as they are: any grid of 2, 3, 4 or 8 bits",
    .check = check,
    .begin = begin,
    .block = ptq_folder_block,
    .finish = ptq_folder_finish,
    .abandon = ptq_folder_abandon,
};
