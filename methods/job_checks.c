/* What a job is refused for before anything is computed, and the path that it takes. */
#include "device.h"
#include "only.h"
#include "path.h"
#include "session.h"

#include <string.h>

enum ptq_status ptq_job_check(const struct ptq_job *job, struct ptq_error *err)
{
    if (job->device && strcmp(job->device, "cpu") && strcmp(job->device, "cuda"))
        return ptq_fail(err, PTQ_EUSAGE, "device '%s' is not known; known: cpu, cuda", job->device);
    if (job->path && ptq_path_find(job->path) < 0)
        return ptq_fail(err, PTQ_EUSAGE, "path '%s' is not known to this build; it must be " PTQ_PATH_WORDS, job->path);
    if (job->path && ptq_on_device(job) && !ptq_paths[ptq_path_find(job->path)].on_device)
        return ptq_fail(err, PTQ_EUSAGE, "path %s is computed on the CPU alone; take device cpu, or path %s on cuda",
                        job->path, ptq_paths[PTQ_PATH_PACKED].name);
    if (!job->model || (!job->text && !job->sink))
        return ptq_fail(err, PTQ_EUSAGE, "a cell needs a model and an evaluation text");
    return PTQ_OK;
}

/* A block method may change what it does not quantise, and that is not kept from chunk to chunk. Under a budget the
 * chunks are known, and looked at, when the cell runs. */
enum ptq_status ptq_job_check_only(const struct ptq_session *s, const struct ptq_job *job,
                                   const struct ptq_planned *plan, struct ptq_error *err)
{
    if (!*plan->spec.only) return PTQ_OK;
    if (job->sink || !plan->eval)
        return ptq_fail(err, PTQ_EUSAGE, "only= is for evaluation; a checkpoint has all its linears quantised");
    int64_t first, last, most = ptq_forward_chunk(&plan->model->model, plan->eval->windows.length);
    PTQ_TRY(ptq_only_blocks(plan->spec.only, &plan->model->model, &first, &last, err));
    if (ptq_path_act_bits(plan->path) && !ptq_only_is_whole(plan->spec.only, &plan->model->model))
        return ptq_fail(err, PTQ_EUSAGE,
                        "only=%s leaves out some linears of a block, and such a block has no packed "
                        "form; name whole blocks, or give --path fp32 (path)",
                        plan->spec.only);
    if (s->budget || !plan->spec.method->block_method || plan->eval->windows.n <= most) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE, "%s with only= takes at most %lld evaluation windows of %lld, and here are %lld",
                    plan->spec.method->name, (long long)most, (long long)plan->eval->windows.length,
                    (long long)plan->eval->windows.n);
}

/* One of ptq_paths: what has no codes is fp32. */
const char *ptq_job_path(const struct ptq_job *job, const struct ptq_spec *spec, const struct ptq_model *model)
{
    int packs = ptq_spec_quantizes(spec) || ptq_model_packs(model), asked = ptq_path_find(job->path);
    return ptq_paths[packs && asked >= 0 ? asked : PTQ_PATH_FP32].name;
}

/* Codes made of codes would be judged against weights that nobody trained. */
enum ptq_status ptq_job_check_source(const struct ptq_model *model, const struct ptq_spec *spec, struct ptq_error *err)
{
    if (!model->quantization || !ptq_spec_quantizes(spec)) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: is quantised already (%s) and can be evaluated as it is (fp16); take the full-precision "
                    "checkpoint for %s",
                    model->name, model->source_dtype, spec->method->name);
}
