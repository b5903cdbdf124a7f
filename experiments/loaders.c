#include "loaders.h"

#include "words.h"

#include <stdlib.h>
#include <string.h>

/* GPTQModel 7.7.0: SUPPORTS_GROUP_SIZE of its torch kernels, which are the widest. vLLM: those of its Marlin kernels.
 */
static const struct loader {
    const char *format, *name; /* "gptq": gptq_v2, too */
    int group[9];              /* sizes that it takes, -1 a row; 0 behind them */
    int symmetric;             /* 4 and 8 bits alone, with sym=1 */
} loaders[] = {
    {"awq", "transformers with GPTQModel", {-1, 16, 32, 64, 128}, 0},
    {"awq", "vLLM", {-1, 32, 64, 128}, 0},
    {"awq", "LMDeploy", {128}, 0},
    {"gptq", "transformers with optimum and GPTQModel", {-1, 16, 32, 64, 128, 256, 512, 1024}, 0},
    {"gptq", "vLLM", {-1, 32, 64, 128}, 1},
};
enum { N_LOADERS = sizeof loaders / sizeof *loaders };

static int is_of(const struct loader *l, const struct ptq_export *x)
{
    return strncmp(x->format->name, l->format, strlen(l->format)) == 0;
}

static int takes(const struct loader *l, const struct ptq_grid *grid)
{
    if (l->symmetric && !(grid->sym && (grid->w_bit == 4 || grid->w_bit == 8))) return 0;
    for (int i = 0; l->group[i]; i++)
        if (l->group[i] == grid->group_size) return 1;
    return 0;
}

/* "symmetric 4 and 8 bits in groups of a row, 32, 64 or 128" */
static void add_taken(struct ptq_buffer *out, const struct loader *l)
{
    ptq_buffer_add(out, "%sgroups of ", l->symmetric ? "symmetric 4 and 8 bits in " : "");
    for (int i = 0; l->group[i]; i++) {
        ptq_buffer_add(out, "%s", i == 0 ? "" : l->group[i + 1] ? ", " : " or ");
        if (l->group[i] < 0)
            ptq_buffer_add(out, "a row");
        else
            ptq_buffer_add(out, "%d", l->group[i]);
    }
}

int ptq_loaders_none(const struct ptq_export *x)
{
    int some = 0, takers = 0;
    for (int i = 0; i < N_LOADERS; i++) {
        if (!is_of(&loaders[i], x)) continue;
        some = 1;
        takers += takes(&loaders[i], &x->spec->grid);
    }
    return some && !takers;
}

const char *ptq_loaders(struct ptq_arena *arena, const struct ptq_export *x)
{
    struct ptq_buffer out = {0};
    if (ptq_loaders_none(x)) ptq_buffer_add(&out, "no program but ptq");
    for (int refused = 0; refused < 2; refused++)
        for (int i = 0; i < N_LOADERS; i++) {
            if (!is_of(&loaders[i], x) || takes(&loaders[i], &x->spec->grid) == refused) continue;
            ptq_buffer_add(&out, "%s%s%s", out.size ? "; " : "", refused ? "not " : "", loaders[i].name);
            if (!refused) continue;
            ptq_buffer_add(&out, ", which takes ");
            add_taken(&out, &loaders[i]);
        }
    const char *text = out.size ? ptq_strdup(arena, out.data) : NULL;
    free(out.data);
    return text;
}
