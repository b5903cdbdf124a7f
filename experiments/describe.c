#include "describe.h"

#include "family.h"
#include "method.h"
#include "preset.h"

#include <string.h>

static void print_words(FILE *out, const struct ptq_param *p, double value)
{
    const char *word = p->words;
    for (int i = 0; i < (int)value; i++) word += strcspn(word, "|") + 1;
    fprintf(out, "  %-16s %-24s %s [%.*s]\n", p->name, p->words, p->doc, (int)strcspn(word, "|"), word);
}

static void print_param(FILE *out, const struct ptq_param *p, double value)
{
    char range[64];
    if (p->words) {
        print_words(out, p, value);
        return;
    }
    if (p->text) {
        fprintf(out, "  %-16s %-24s %s [all]\n", p->name, "a text", p->doc);
        return;
    }
    snprintf(range, sizeof range, "%.10g..%.10g", p->min, p->max);
    fprintf(out, "  %-16s %-24s %s [%g]\n", p->name, range, p->doc, value);
}

/* A preset's switches are long: they have a line of their own. */
static void print_presets(FILE *out, const char *method)
{
    for (const struct ptq_preset *p = ptq_presets; p->name; p++) {
        if (strcmp(p->method, method) != 0) continue;
        fprintf(out, "  preset=%-16s %s\n  %-23s = %s, calib.sample=%s\n", p->name, p->doc, "", p->items,
                ptq_sample_name(p->sample));
    }
}

static void print_method(FILE *out, const struct ptq_method *m)
{
    fprintf(out, "\n%s  %s%s%s\n", m->name, m->summary, m->cite[0] ? "; " : "", m->cite);
    if (!m->grid.w_bit) return;
    const double grid[] = {m->grid.w_bit, (double)m->grid.group_size, m->grid.range, m->grid.sym, m->grid.scale_f16};
    const struct ptq_param *p = ptq_grid_params();
    for (int j = 0; p[j].name; j++) print_param(out, &p[j], p[j].text ? 0 : grid[j]);
    for (p = m->param; p && p->name; p++) print_param(out, p, p->fallback);
    print_presets(out, m->name);
}

enum ptq_status ptq_describe_methods(const char *name, FILE *out, struct ptq_error *err)
{
    const struct ptq_method *only = NULL;
    if (name) PTQ_TRY(ptq_method_find(name, &only, err));
    fprintf(out, "SPEC is METHOD, or METHOD:wBITS,gGROUP,key=value,...   ranges, what it is, [default]\n");
    for (int i = 0; i < ptq_n_methods; i++)
        if (!only || only == ptq_methods[i]) print_method(out, ptq_methods[i]);
    return PTQ_OK;
}

void ptq_describe_models(FILE *out)
{
    fprintf(out, "Families, by config.json's model_type; a GGUF of the architecture behind gguf is read too.\n\n");
    for (int i = 0; i < ptq_n_families; i++) {
        const struct ptq_family *f = ptq_families[i];
        fprintf(out, "%-8s gguf %-6s %s, %s, %s%s\n", f->model_type, f->gguf ? f->gguf : "-",
                f->norm == PTQ_RMSNORM ? "RMSNorm" : "LayerNorm", ptq_position_name[f->position],
                ptq_activation_name[f->activation], ptq_fused_qkv(f) ? ", fused q, k, v" : "");
    }
}
