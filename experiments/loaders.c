#include "loaders.h"

#include "words.h"

#include <stdlib.h>
#include <string.h>

/* GPTQModel 7.7.0: SUPPORTS_GROUP_SIZE of its torch kernels, which are the widest; the one that it chooses for 4 bits
 * on a CPU with AVX-512 has no shorter last group (no SUPPORTS_AUTO_PADDING). vLLM: those of its Marlin kernels; it
 * counts K / G groups, and its BLOOM has no place for what AWQ divides the activation by. LMDeploy: what its TurboMind
 * lets pass; it adds one to every zero of a gptq. */
static const struct loader {
    const char *format, *name; /* "gptq": gptq_v2, too */
    int group[9];              /* sizes that it takes, -1 a row; 0 behind them */
    int symmetric;             /* with sym=1 alone, 4 bits (4), or 4 and 8 (8) */
    int whole;                 /* 1: no shorter last group; 4: at 4 bits none */
    int plain;                 /* of gptq the first version, groups of neighbours */
    const char *families;      /* those alone; NULL: all */
} loaders[] = {
    {.format = "awq", .name = "transformers with GPTQModel", .group = {-1, 16, 32, 64, 128}},
    {.format = "awq", .name = "vLLM", .group = {-1, 32, 64, 128}, .families = "llama, mistral, qwen2, opt"},
    {.format = "awq", .name = "LMDeploy", .group = {128}, .families = "llama, mistral, qwen2"},
    {.format = "gptq",
     .name = "transformers with optimum and GPTQModel",
     .group = {-1, 16, 32, 64, 128, 256, 512, 1024},
     .whole = 4},
    {.format = "gptq", .name = "vLLM", .group = {-1, 32, 64, 128}, .symmetric = 8, .whole = 1},
    {.format = "gptq",
     .name = "LMDeploy",
     .group = {128},
     .symmetric = 4,
     .whole = 1,
     .plain = 1,
     .families = "llama, mistral, qwen2"},
};
enum { N_LOADERS = sizeof loaders / sizeof *loaders };

static int is_of(const struct loader *l, const struct ptq_export *x)
{
    return strncmp(x->format->name, l->format, strlen(l->format)) == 0;
}

/* Whether groups of that size leave no shorter last one, in any linear. */
static int divides(const struct ptq_config *config, int64_t group)
{
    for (int role = 0; role < PTQ_N_ROLE && group > 0; role++) {
        int64_t n, k;
        ptq_linear_size(config, (enum ptq_role)role, &n, &k);
        if (k % group) return 0;
    }
    return 1;
}

static int takes(const struct loader *l, const struct ptq_export *x)
{
    const struct ptq_grid *grid = &x->spec->grid;
    if (l->symmetric && !(grid->sym && (grid->w_bit == 4 || grid->w_bit == l->symmetric))) return 0;
    if ((l->whole == 1 || l->whole == grid->w_bit) && !divides(&x->model->config, grid->group_size)) return 0;
    if (l->plain && (strcmp(x->format->name, l->format) || ptq_export_reorders(x->spec))) return 0;
    if (l->families && !strstr(l->families, x->model->config.family->model_type)) return 0;
    for (int i = 0; l->group[i]; i++)
        if (l->group[i] == grid->group_size) return 1;
    return 0;
}

/* "symmetric 4 and 8 bits in groups of a row, 32, 64 or 128 that divide all inputs" */
static void add_taken(struct ptq_buffer *out, const struct loader *l)
{
    if (l->symmetric) ptq_buffer_add(out, "symmetric %s in ", l->symmetric == 4 ? "4 bits" : "4 and 8 bits");
    ptq_buffer_add(out, "groups of ");
    for (int i = 0; l->group[i]; i++) {
        ptq_buffer_add(out, "%s", i == 0 ? "" : l->group[i + 1] ? ", " : " or ");
        if (l->group[i] < 0)
            ptq_buffer_add(out, "a row");
        else
            ptq_buffer_add(out, "%d", l->group[i]);
    }
    if (l->whole)
        ptq_buffer_add(out, l->whole == 4 ? ", at 4 bits those that divide all inputs" : " that divide all inputs");
    if (l->plain) ptq_buffer_add(out, ", as %s without act_order", l->format);
    if (l->families) ptq_buffer_add(out, ", for the families %s", l->families);
}

int ptq_loaders_none(const struct ptq_export *x)
{
    int some = 0, takers = 0;
    for (int i = 0; i < N_LOADERS; i++) {
        if (!is_of(&loaders[i], x)) continue;
        some = 1;
        takers += takes(&loaders[i], x);
    }
    return some && !takers;
}

const char *ptq_loaders(struct ptq_arena *arena, const struct ptq_export *x)
{
    struct ptq_buffer out = {0};
    if (ptq_loaders_none(x)) ptq_buffer_add(&out, "no program but ptq");
    for (int refused = 0; refused < 2; refused++)
        for (int i = 0; i < N_LOADERS; i++) {
            if (!is_of(&loaders[i], x) || takes(&loaders[i], x) == refused) continue;
            ptq_buffer_add(&out, "%s%s%s", out.size ? "; " : "", refused ? "not " : "", loaders[i].name);
            if (!refused) continue;
            ptq_buffer_add(&out, ", which takes ");
            add_taken(&out, &loaders[i]);
        }
    const char *text = out.size ? ptq_strdup(arena, out.data) : NULL;
    free(out.data);
    return text;
}
