#include "preset.h"

#include "words.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PRESETS = 32 };

#define AWQ_SWITCHES "g128,range=awq,sym=0,scale_dtype=fp16,loss=module,clip=1,vo_average=0,grid=20"
#define GPTQ_SWITCHES "range=gptq,scale_dtype=fp32,static_groups=0,percdamp=0.01,fresh_groups=0,mse=0"

/* Switches are spelt out, defaults too: a default that changes must not change what is called published. AWQ and
 * AutoAWQ compute in the checkpoint's FP16, of which the grid's roundings are taken over (docs/methods.md). */
const struct ptq_preset ptq_presets[] = {
    {.name = "awq-paper",
     .method = "awq",
     .items = AWQ_SWITCHES ",formula=2023-11",
     .sample = PTQ_SAMPLE_AWQ,
     .doc = "arXiv:2306.00978 v2 and later; llm-awq d6e797a, entry.py"},
    {.name = "awq-2023",
     .method = "awq",
     .items = AWQ_SWITCHES ",formula=2023-05",
     .sample = PTQ_SAMPLE_AWQ,
     .doc = "llm-awq's first release of 2023-05-31: the scale has a weight term"},
    {.name = "autoawq",
     .method = "awq",
     .items = AWQ_SWITCHES ",formula=autoawq",
     .sample = PTQ_SAMPLE_AWQ,
     .doc = "AutoAWQ's defaults: duo_scaling, apply_clip, pileval"},
    {.name = "gptq-iclr",
     .method = "gptq",
     .items = "g-1," GPTQ_SWITCHES ",sym=0,act_order=0,true_sequential=0",
     .sample = PTQ_SAMPLE_GPTQ,
     .doc = "arXiv:2210.17323, ICLR tables; IST-DASLab/gptq opt.py's defaults"},
    {.name = "gptq-llama",
     .method = "gptq",
     .items = "g-1," GPTQ_SWITCHES ",sym=0,act_order=1,true_sequential=1",
     .sample = PTQ_SAMPLE_GPTQ,
     .doc = "IST-DASLab/gptq llama.py as its README's LLaMA table calls it"},
    {.name = "autogptq",
     .method = "gptq",
     .items = "g128," GPTQ_SWITCHES ",sym=1,act_order=1,true_sequential=1",
     .sample = PTQ_SAMPLE_FIRST,
     .doc = "AutoGPTQ BaseQuantizeConfig's defaults with group_size=128; it pins no sampling"},
    {0},
};

int ptq_preset_any(const char *method)
{
    for (const struct ptq_preset *p = ptq_presets; p->name; p++)
        if (strcmp(p->method, method) == 0) return 1;
    return 0;
}

/* Another method's preset is named, not hidden: it may be the method that is mistyped. */
static enum ptq_status refuse(const char *name, const char *method, struct ptq_error *err)
{
    const char *names[MAX_PRESETS];
    size_t n = 0;
    struct ptq_buffer list = {0};
    for (const struct ptq_preset *p = ptq_presets; p->name; p++)
        if (strcmp(p->name, name) == 0)
            return ptq_fail(err, PTQ_EUSAGE, "preset '%s' belongs to %s, not to %s; write %s:preset=%s", name,
                            p->method, method, p->method, name);
    for (const struct ptq_preset *p = ptq_presets; p->name; p++) {
        if (strcmp(p->method, method) != 0) continue;
        ptq_buffer_add(&list, "%s%s", n ? ", " : "", p->name);
        names[n++] = p->name;
    }
    if (!n) return ptq_fail(err, PTQ_EUSAGE, "%s has no presets; leave preset=%s away", method, name);
    const char *near = ptq_nearest(name, names, n);
    enum ptq_status status =
        ptq_fail(err, PTQ_EUSAGE, "preset '%s' is not known%s%s%s; %s has %s", name, near ? ", did you mean '" : "",
                 near ? near : "", near ? "'" : "", method, list.data);
    free(list.data);
    return status;
}

enum ptq_status ptq_preset_find(const char *name, const char *method, const struct ptq_preset **out,
                                struct ptq_error *err)
{
    for (const struct ptq_preset *p = ptq_presets; p->name; p++)
        if (strcmp(p->name, name) == 0 && strcmp(p->method, method) == 0) {
            *out = p;
            return PTQ_OK;
        }
    return refuse(name, method, err);
}
