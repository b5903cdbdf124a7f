#include "kept.h"

#include "apply.h"

#include <string.h>

float *ptq_copy_floats(struct ptq_arena *arena, const float *from, int64_t n)
{
    if (!from) return NULL;
    float *to = ptq_new(arena, float, n);
    memcpy(to, from, sizeof *from * (size_t)n);
    return to;
}

struct ptq_kept ptq_kept_view(const struct ptq_block *b, const struct ptq_qmat *q)
{
    struct ptq_kept kept = {.norm = {b->norm1_w, b->norm1_b, b->norm2_w, b->norm2_b},
                            .activation_scale = b->activation_scale};
    memcpy(kept.q, q, sizeof kept.q);
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (q[role].n) kept.bias[role] = b->linear[role].b;
    return kept;
}

struct ptq_kept ptq_kept_copy(struct ptq_arena *arena, const struct ptq_kept *now, const struct ptq_config *config)
{
    struct ptq_kept kept = *now;
    for (int i = 0; i < 4; i++) kept.norm[i] = ptq_copy_floats(arena, now->norm[i], config->width);
    for (int role = 0; role < PTQ_N_ROLE; role++)
        kept.bias[role] = ptq_copy_floats(arena, now->bias[role], now->q[role].n);
    kept.activation_scale = ptq_copy_floats(arena, now->activation_scale, config->ff);
    return kept;
}

int ptq_kept_fits(const struct ptq_kept *kept, const struct ptq_block *b)
{
    const float *norm[] = {b->norm1_w, b->norm1_b, b->norm2_w, b->norm2_b};
    int good = 1;
    for (int i = 0; i < 4; i++) good &= !kept->norm[i] == !norm[i];
    for (int role = 0; role < PTQ_N_ROLE; role++) good &= !kept->bias[role] == !b->linear[role].b;
    return good;
}

static void copy_back(float *to, const float *from, int64_t n)
{
    if (from) memcpy(to, from, sizeof *to * (size_t)n);
}

void ptq_kept_put_back(const struct ptq_kept *kept, const struct ptq_config *config, struct ptq_block *b)
{
    float *norm[] = {b->norm1_w, b->norm1_b, b->norm2_w, b->norm2_b};
    ptq_reapply(kept->q, b);
    b->activation_scale = kept->activation_scale;
    for (int i = 0; i < 4; i++) copy_back(norm[i], kept->norm[i], config->width);
    for (int role = 0; role < PTQ_N_ROLE; role++) copy_back(b->linear[role].b, kept->bias[role], b->linear[role].n);
}
