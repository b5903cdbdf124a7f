/* fp16: a plain checkpoint of what the codes stand for, each weight rounded once to FP16. Holds whatever a method does.
 */
#include "export_folder.h"

static void plan(const struct ptq_export *x, struct ptq_tensor_writer *to, const char *name, int64_t n, int64_t k)
{
    char full[PTQ_NAME_SIZE + 16];
    snprintf(full, sizeof full, "%s.weight", name);
    int transposed = x->model->config.family->hf.transposed;
    ptq_tensor_plan(to, full, PTQ_F16, transposed ? k : n, transposed ? n : k);
}

static enum ptq_status write(const struct ptq_export *x, struct ptq_tensor_writer *to, const struct ptq_linear *linear,
                             const struct ptq_qmat *q, struct ptq_error *err)
{
    char name[PTQ_NAME_SIZE + 16];
    (void)q;
    if (x->model->config.family->hf.transposed) {
        float *turned = ptq_new(x->scratch, float, linear->n * linear->k);
        for (int64_t i = 0; i < linear->n; i++)
            for (int64_t j = 0; j < linear->k; j++) turned[j * linear->n + i] = linear->w[i * linear->k + j];
        return ptq_tensor_write_f16(to, ptq_part_name(linear, "weight", name), turned, linear->n * linear->k, err);
    }
    return ptq_tensor_write_f16(to, ptq_part_name(linear, "weight", name), linear->w, linear->n * linear->k, err);
}

static const struct ptq_folder_linears linears = {.plan = plan, .write = write};

static enum ptq_status check(const struct ptq_export *x, struct ptq_error *err)
{
    (void)x, (void)err;
    return PTQ_OK;
}

static enum ptq_status begin(struct ptq_export *x, struct ptq_error *err)
{
    return ptq_folder_begin(x, &linears, err);
}

extern const struct ptq_export_format ptq_export_fp16;
const struct ptq_export_format ptq_export_fp16 = {
    .name = "fp16",
    .summary = "a plain Hugging Face folder of the dequantised weights",
    .check = check,
    .begin = begin,
    .block = ptq_folder_block,
    .finish = ptq_folder_finish,
    .abandon = ptq_folder_abandon,
};
