#include "export.h"

#include "awq_groups.h"
#include "dtype.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define F16_MOST 65504.0f

#define X(word) extern const struct ptq_export_format ptq_export_##word;
PTQ_EXPORT_FORMATS(X)
#undef X

#define X(word) &ptq_export_##word,
const struct ptq_export_format *const ptq_export_formats[] = {PTQ_EXPORT_FORMATS(X)};
#undef X
const int ptq_n_export_formats = sizeof ptq_export_formats / sizeof *ptq_export_formats;

enum ptq_status ptq_export_find(const char *name, const struct ptq_export_format **out, struct ptq_error *err)
{
    struct ptq_buffer known = {0};
    for (int i = 0; i < ptq_n_export_formats; i++) {
        *out = ptq_export_formats[i];
        if (strcmp((*out)->name, name) == 0) {
            free(known.data);
            return PTQ_OK;
        }
        ptq_buffer_add(&known, "%s%s", i ? ", " : "", (*out)->name);
    }
    ptq_fail(err, PTQ_EUSAGE, "format '%.40s' is not known; known: %s", name, known.data);
    free(known.data);
    return err->status;
}

/* ---- an export ---- */

enum ptq_status ptq_export_check(const struct ptq_export *x, struct ptq_error *err)
{
    return x->format->check(x, err) ? ptq_within(err, "--format %s", x->format->name) : PTQ_OK;
}

enum ptq_status ptq_export_begin(struct ptq_export *x, struct ptq_error *err)
{
    struct ptq_mark mark = ptq_arena_mark(x->scratch);
    enum ptq_status status = x->format->begin(x, err);
    ptq_arena_rewind(x->scratch, mark);
    return status;
}

enum ptq_status ptq_export_block(struct ptq_export *x, int64_t index, const struct ptq_block *block,
                                 const struct ptq_qmat *q, struct ptq_error *err)
{
    struct ptq_mark mark = ptq_arena_mark(x->scratch);
    enum ptq_status status = x->format->block(x, index, block, q, err);
    ptq_arena_rewind(x->scratch, mark);
    return status ? ptq_within(err, "--format %s", x->format->name) : PTQ_OK;
}

enum ptq_status ptq_export_finish(struct ptq_export *x, struct ptq_error *err)
{
    return x->format->finish(x, err);
}

void ptq_export_abandon(struct ptq_export *x)
{
    x->format->abandon(x);
}

/* ---- what formats ask ---- */

int ptq_export_reorders(const struct ptq_spec *spec)
{
    return ptq_spec_value_or(spec, "act_order", 0) > 0 && !(ptq_spec_value_or(spec, "static_groups", 0) > 0) &&
           spec->grid.group_size > 0;
}

/* Whether the method is one with AWQ's scales, in a family where one of them stays behind the activation. */
static int scales_activation(const struct ptq_export *x)
{
    const struct ptq_awq_family *family;
    struct ptq_error ignored;
    if (!ptq_spec_has(x->spec, "formula") || ptq_awq_family(&x->model->config, &family, &ignored)) return 0;
    return family->group[PTQ_MLP_OUT].prev == PTQ_AWQ_ACTIVATION;
}

enum ptq_status ptq_export_quantizes(const struct ptq_export *x, struct ptq_error *err)
{
    if (ptq_spec_quantizes(x->spec)) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE, "%s quantises nothing; --format fp16 writes its weights", x->spec->method->name);
}

enum ptq_status ptq_export_needs_codes(const struct ptq_export *x, int divides, struct ptq_error *err)
{
    const struct ptq_names *hf = &x->model->config.family->hf;
    PTQ_TRY(ptq_export_quantizes(x, err));
    if (hf->transposed)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s stores its linears the other way round (Conv1D), which readers of this container do not "
                        "replace; --format fp16 writes what the codes stand for",
                        x->model->config.family->model_type);
    if (scales_activation(x) && !(divides && hf->activation))
        return ptq_fail(err, PTQ_EINPUT,
                        "%s divides what %s's activation gives, which this container has no place for; %s--format fp16 "
                        "writes weights that do the same",
                        x->spec->method->name, x->model->config.family->model_type,
                        hf->activation ? "--format awq holds it at 4 bits, and " : "");
    if (ptq_spec_has(x->spec, "fraction"))
        return ptq_fail(err, PTQ_EUSAGE,
                        "%s has columns that are not codes alone, which this container has no place for; --format fp16 "
                        "writes what they stand for",
                        x->spec->method->name);
    return PTQ_OK;
}

enum ptq_status ptq_export_multiples(const struct ptq_export *x, int64_t of_n, int64_t of_k, const char *instead,
                                     struct ptq_error *err)
{
    const struct ptq_config *c = &x->model->config;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        int64_t n, k;
        char name[PTQ_NAME_SIZE];
        ptq_linear_size(c, (enum ptq_role)role, &n, &k);
        if (n % of_n == 0 && k % of_k == 0) continue;
        int outputs = n % of_n != 0;
        ptq_hf_name(c, c->family->hf.linear[role], 0, "", name);
        return ptq_fail(err, PTQ_EINPUT, "%s is [%lld, %lld], and this format takes %s in multiples of %lld; %s", name,
                        (long long)n, (long long)k, outputs ? "outputs" : "inputs", (long long)(outputs ? of_n : of_k),
                        instead);
    }
    return PTQ_OK;
}

/* The largest |code - zero| of one group of a row. */
static float farthest(const struct ptq_qmat *q, int64_t n, int64_t group)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size,
            end = (group + 1) * g < q->k ? (group + 1) * g : q->k;
    float most = 0;
    for (int64_t p = group * g; p < end; p++)
        most = fmaxf(most,
                     fabsf((float)q->code[n * q->k + (q->perm ? q->perm[p] : p)] - q->zero[n * q->n_groups + group]));
    return most;
}

static enum ptq_status check_group(const char *name, const struct ptq_qmat *q, int64_t n, int64_t group, int least,
                                   struct ptq_error *err)
{
    float scale = q->scale[n * q->n_groups + group], zero = q->zero[n * q->n_groups + group];
    float moved = fabsf(ptq_f16_round(scale) - scale);
    if (!(zero >= (float)least && zero < (float)(1 << q->grid.w_bit) && zero == rintf(zero)))
        return ptq_fail(err, PTQ_EINPUT, "%s: output %lld, group %lld: a zero of %g has no place here%s", name,
                        (long long)n, (long long)group, (double)zero + 0.0, /* not -0 */
                        zero == 0 ? ", since this container stores zeros less one; --format gptq_v2 holds it" : "");
    if (moved <= scale * 0x1p-11f || moved * farthest(q, n, group) <= scale / 2) return PTQ_OK;
    return ptq_fail(err, PTQ_ENUMERIC,
                    "%s: output %lld, group %lld: a scale of %g becomes %g in FP16, and weights would move by more "
                    "than half a step; --format fp16 has no scales",
                    name, (long long)n, (long long)group, (double)scale, (double)ptq_f16_round(scale));
}

enum ptq_status ptq_export_check_codes(const struct ptq_export *x, const char *name, const struct ptq_qmat *q,
                                       int least, struct ptq_error *err)
{
    if (q->n_keep || q->n_divided)
        return ptq_fail(err, PTQ_EINPUT, "%s: %s has columns that are not codes alone", name, x->spec->method->name);
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t group = 0; group < q->n_groups; group++) PTQ_TRY(check_group(name, q, n, group, least, err));
    return PTQ_OK;
}

/* A scale so small that no code can reach that far is most often the case. */
static int fits_fp16(const struct ptq_qmat *q, int64_t n, int64_t group)
{
    float scale = ptq_f16_round(q->scale[n * q->n_groups + group]);
    return scale * (float)(1 << q->grid.w_bit) <= F16_MOST || isfinite(ptq_f16_round(scale * farthest(q, n, group)));
}

enum ptq_status ptq_export_check_weights(const char *name, const struct ptq_qmat *q, struct ptq_error *err)
{
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t group = 0; group < q->n_groups; group++)
            if (!fits_fp16(q, n, group))
                return ptq_fail(err, PTQ_ENUMERIC,
                                "%s: output %lld, group %lld: a scale of %g gives a weight beyond %g, the largest of "
                                "FP16, as which programs read it; take another group size or method, or --format "
                                "packed",
                                name, (long long)n, (long long)group, (double)q->scale[n * q->n_groups + group],
                                (double)F16_MOST);
    return PTQ_OK;
}

enum ptq_status ptq_export_check_bias(const struct ptq_export *x, int64_t index, enum ptq_role role,
                                      const struct ptq_linear *linear, int *has, struct ptq_error *err)
{
    *has = linear->b && ptq_model_has_bias(x->model, index, role);
    for (int64_t i = 0; linear->b && !*has && i < linear->n; i++)
        if (linear->b[i] != 0)
            return ptq_fail(err, PTQ_EINPUT, "%s: has got a bias that its family has not", linear->name);
    return PTQ_OK;
}
