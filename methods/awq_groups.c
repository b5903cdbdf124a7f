/* Source of the groups: llm-awq auto_scale.py, auto_scale_block, and auto_clip.py, auto_clip_block (d6e797a). */
#include "awq_groups.h"

#include "pool.h"
#include "words.h"

#include <string.h>

enum { ROWS_A_TASK = 64 };

/* LLaMA and Qwen2 (Mistral: AutoAWQ): gate and up are judged by what the MLP gives. */
static const struct ptq_awq_group gated[PTQ_N_INPUT] = {
    [PTQ_ATTN_IN] = {PTQ_Q, PTQ_V, PTQ_AWQ_NORM1, PTQ_AWQ_ATTENTION},
    [PTQ_ATTN_OUT] = {PTQ_O, PTQ_O, PTQ_AWQ_V, PTQ_AWQ_SELF},
    [PTQ_MLP_IN] = {PTQ_GATE, PTQ_UP, PTQ_AWQ_NORM2, PTQ_AWQ_MLP},
    [PTQ_MLP_OUT] = {PTQ_DOWN, PTQ_DOWN, PTQ_AWQ_UP, PTQ_AWQ_SELF},
};

/* OPT: fc1 is judged by itself. 1 / s passes the ReLU, which is positively homogeneous. */
static const struct ptq_awq_group plain[PTQ_N_INPUT] = {
    [PTQ_ATTN_IN] = {PTQ_Q, PTQ_V, PTQ_AWQ_NORM1, PTQ_AWQ_ATTENTION},
    [PTQ_ATTN_OUT] = {PTQ_O, PTQ_O, PTQ_AWQ_V, PTQ_AWQ_SELF},
    [PTQ_MLP_IN] = {PTQ_UP, PTQ_UP, PTQ_AWQ_NORM2, PTQ_AWQ_SELF},
    [PTQ_MLP_OUT] = {PTQ_DOWN, PTQ_DOWN, PTQ_AWQ_UP, PTQ_AWQ_SELF},
};

/* GPT-2, as its nearest kin there, BigCode: v -> o is left out where q, k, v are fused. */
static const struct ptq_awq_group fused[PTQ_N_INPUT] = {
    [PTQ_ATTN_IN] = {PTQ_Q, PTQ_Q, PTQ_AWQ_NORM1, PTQ_AWQ_ATTENTION},
    [PTQ_ATTN_OUT] = {PTQ_O, PTQ_O, PTQ_AWQ_NONE, PTQ_AWQ_SELF},
    [PTQ_MLP_IN] = {PTQ_UP, PTQ_UP, PTQ_AWQ_NORM2, PTQ_AWQ_MLP},
    [PTQ_MLP_OUT] = {PTQ_DOWN, PTQ_DOWN, PTQ_AWQ_ACTIVATION, PTQ_AWQ_SELF},
};

/* BLOOM: judged by the whole block, see awq_probe.h. */
static const struct ptq_awq_group bloom[PTQ_N_INPUT] = {
    [PTQ_ATTN_IN] = {PTQ_Q, PTQ_Q, PTQ_AWQ_NORM1, PTQ_AWQ_BLOCK},
    [PTQ_ATTN_OUT] = {PTQ_O, PTQ_O, PTQ_AWQ_NONE, PTQ_AWQ_SELF},
    [PTQ_MLP_IN] = {PTQ_UP, PTQ_UP, PTQ_AWQ_NORM2, PTQ_AWQ_BLOCK},
    [PTQ_MLP_OUT] = {PTQ_DOWN, PTQ_DOWN, PTQ_AWQ_ACTIVATION, PTQ_AWQ_SELF},
};

/* Not clipped is what has "q_", "k_" or "query" in its name: q and k, or all of BLOOM's query_key_value; but GPT-2's
 * c_attn is. */
enum { NOT_Q_K = 0x7f & ~(1 << PTQ_Q | 1 << PTQ_K), NOT_FUSED = 0x7f & ~(1 << PTQ_Q), ALL = 0x7f };

static const struct ptq_awq_family families[] = {
    {"llama", gated, NOT_Q_K}, {"mistral", gated, NOT_Q_K}, {"qwen2", gated, NOT_Q_K},
    {"opt", plain, NOT_Q_K},   {"gpt2", fused, ALL},        {"bloom", bloom, NOT_FUSED},
};

enum { N_FAMILIES = sizeof families / sizeof *families };

static enum ptq_status unknown_family(const char *type, struct ptq_error *err)
{
    struct ptq_buffer known = {0};
    for (int i = 0; i < N_FAMILIES; i++) ptq_buffer_add(&known, "%s%s", i ? ", " : "", families[i].model_type);
    enum ptq_status status = ptq_fail(err, PTQ_EINPUT,
                                      "AWQ of %s is not known: which linears share a scale, and into what it is "
                                      "folded (known for %s); take another method",
                                      type, known.data);
    free(known.data);
    return status;
}

enum ptq_status ptq_awq_family(const struct ptq_config *config, const struct ptq_awq_family **out,
                               struct ptq_error *err)
{
    const char *type = config->family->model_type;
    if (config->post_norm)
        return ptq_fail(
            err, PTQ_EINPUT,
            "AWQ folds scales into the norms before attention and MLP, and in this %s model norms come after "
            "them (do_layer_norm_before is false); take rtn, salient or gptq",
            type);
    for (int i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i].model_type, type) == 0) {
            *out = &families[i];
            return PTQ_OK;
        }
    return unknown_family(type, err);
}

enum ptq_status ptq_awq_check(const struct ptq_spec *spec, const struct ptq_config *config, struct ptq_error *err)
{
    const struct ptq_awq_family *family;
    (void)spec;
    return ptq_awq_family(config, &family, err);
}

int ptq_awq_scalable(const struct ptq_config *c, const struct ptq_awq_group *group, int vo_average)
{
    if (group->prev == PTQ_AWQ_NONE) return 0;
    if (group->prev != PTQ_AWQ_V || vo_average) return 1;
    return c->kv_heads == c->heads && c->heads * c->head_size == c->width;
}

/* The row of v from which channel k of o's input is mixed. */
static int64_t v_row(const struct ptq_config *c, int64_t k)
{
    return k / c->head_size / (c->heads / c->kv_heads) * c->head_size + k % c->head_size;
}

void ptq_awq_share(const struct ptq_config *c, const struct ptq_awq_group *group, float *term)
{
    int64_t sharing = c->heads / c->kv_heads, d = c->head_size;
    if (group->prev != PTQ_AWQ_V || sharing == 1) return;
    for (int64_t kv = 0; kv < c->kv_heads; kv++)
        for (int64_t j = 0; j < d; j++) {
            float *first = term + kv * sharing * d + j;
            double sum = 0;
            for (int64_t h = 0; h < sharing; h++) sum += first[h * d];
            for (int64_t h = 0; h < sharing; h++) first[h * d] = (float)(sum / (double)sharing);
        }
}

int64_t ptq_awq_outputs(const struct ptq_block *block, const struct ptq_awq_group *group)
{
    int64_t n = 0;
    for (int role = (int)group->first; role <= (int)group->last; role++) n += block->linear[role].n;
    return n;
}

/* Nothing where v is NULL: RMSNorm has no bias, most linears have none. */
static void divide(float *v, const float *s, int64_t n)
{
    for (int64_t i = 0; v && i < n; i++) v[i] /= s[i];
}

int ptq_awq_row_divisors(const struct ptq_config *c, const struct ptq_awq_group *group, int role, const float *s,
                         float *divisor)
{
    int of_v = group->prev == PTQ_AWQ_V && role == PTQ_V, of_up = group->prev == PTQ_AWQ_UP && role == PTQ_UP;
    /* s is one value for all channels that are mixed from one row of v (ptq_awq_share): any of them stands for it */
    for (int64_t k = 0; of_v && k < c->heads * c->head_size; k++) divisor[v_row(c, k)] = s[k];
    for (int64_t k = 0; of_up && k < c->ff; k++) divisor[k] = s[k];
    return of_v || of_up;
}

struct scale_task {
    float *w;
    const float *s;
    int64_t n, k;
};

static void divide_some_rows(void *context, int64_t i, int worker)
{
    const struct scale_task *t = context;
    int64_t first = i * ROWS_A_TASK, end = first + ROWS_A_TASK < t->n ? first + ROWS_A_TASK : t->n;
    (void)worker;
    for (int64_t row = first; row < end; row++)
        for (int64_t j = 0; j < t->k; j++) t->w[row * t->k + j] /= t->s[row];
}

static void divide_rows(const struct ptq_config *c, const struct ptq_awq_group *group, int role, const float *s,
                        struct ptq_linear *linear)
{
    struct ptq_arena *arena = ptq_arena_make("divisors");
    float *divisor = ptq_new(arena, float, linear->n);
    ptq_awq_row_divisors(c, group, role, s, divisor);
    struct scale_task task = {linear->w, divisor, linear->n, linear->k};
    ptq_parallel_for((linear->n + ROWS_A_TASK - 1) / ROWS_A_TASK, divide_some_rows, &task);
    divide(linear->b, divisor, linear->n);
    ptq_arena_free(arena);
}

static void scale_rows(void *context, int64_t i, int worker)
{
    const struct scale_task *t = context;
    int64_t first = i * ROWS_A_TASK, end = first + ROWS_A_TASK < t->n ? first + ROWS_A_TASK : t->n;
    (void)worker;
    for (int64_t row = first; row < end; row++)
        for (int64_t j = 0; j < t->k; j++) t->w[row * t->k + j] *= t->s[j];
}

void ptq_awq_apply_scale(const struct ptq_config *c, struct ptq_block *b, const struct ptq_awq_group *group,
                         const float *s)
{
    int64_t k = b->linear[group->first].k, n = ptq_awq_outputs(b, group);
    float *w = b->linear[group->first].w;
    struct scale_task task = {w, s, n, k};
    ptq_parallel_for((n + ROWS_A_TASK - 1) / ROWS_A_TASK, scale_rows, &task);
    switch (group->prev) {
    case PTQ_AWQ_NORM1:
        divide(b->norm1_w, s, k);
        divide(b->norm1_b, s, k);
        break;
    case PTQ_AWQ_NORM2:
        divide(b->norm2_w, s, k);
        divide(b->norm2_b, s, k);
        break;
    case PTQ_AWQ_V:
        divide_rows(c, group, PTQ_V, s, &b->linear[PTQ_V]);
        break;
    case PTQ_AWQ_UP:
        divide_rows(c, group, PTQ_UP, s, &b->linear[PTQ_UP]);
        break;
    case PTQ_AWQ_ACTIVATION:
        b->activation_scale = s;
        break;
    case PTQ_AWQ_NONE:
        break;
    }
}
