/* Numbers of strangers: blocks as files hold them, and weights before the grid. */
#include "dtype.h"
#include "dtype_fast.h"
#include "fuzz.h"
#include "grid.h"
#include "ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* The first byte chooses the type; blocks lie at odd addresses as well as even ones. */
void ptq_fuzz_blocks(const uint8_t *data, size_t size)
{
    if (size == 0) return;
    const struct ptq_dtype_info *type = &ptq_dtypes[data[0] % PTQ_N_DTYPE];
    size_t blocks = (size - 1) / (size_t)type->block_bytes, n = blocks * (size_t)type->block_elements;
    if (!type->to_f32 || !n) return;
    float *fast = malloc(sizeof *fast * n), *plain = malloc(sizeof *plain * n);
    type->to_f32(data + 1, fast, n);
    ptq_fast_off(1);
    type->to_f32(data + 1, plain, n);
    ptq_fast_off(0);
    for (size_t i = 0; i < n; i++) ptq_fuzz_require(same(fast[i], plain[i]), "fast and plain decoders agree");
    if (type->block_elements > 1)
        for (size_t i = 0; i < n; i++)
            ptq_fuzz_require(!isfinite(plain[i]) || ptq_f16_round(plain[i]) == plain[i], "a block's values are FP16");
    free(fast);
    free(plain);
}

/* ---- the grid ---- */

/* What a code stands for is within half a step of its weight, or the code is at an end. Tolerances: w / scale and
 * scale * (code - zero) are each rounded once; of FP16 arithmetic, the quotient is rounded to 11 bits. */
static void check_group(const struct ptq_grid *grid, const float *w, const uint8_t *code, int64_t n, float scale,
                        float zero)
{
    int maxq = (1 << grid->w_bit) - 1;
    ptq_fuzz_require(isfinite(scale) && scale > 0, "a scale is a positive number");
    ptq_fuzz_require(isfinite(zero) && zero == rintf(zero), "a zero is a whole number");
    if (grid->range == PTQ_RANGE_AWQ || grid->sym)
        ptq_fuzz_require(zero >= 0 && zero <= (float)maxq, "a zero is a code");
    for (int64_t i = 0; i < n; i++) {
        ptq_fuzz_require(code[i] <= maxq, "a code has no more bits than it may");
        double back = (double)scale * ((double)code[i] - (double)zero), off = fabs(back - (double)w[i]);
        double slack = (double)scale * (grid->scale_f16 ? 0.5 + maxq * 0x1p-10 : 0.5 + maxq * 0x1p-21);
        ptq_fuzz_require(off <= slack || code[i] == 0 || code[i] == maxq, "within half a step, or clipped");
    }
}

/* Grid, group and columns from the first bytes, then two rows of finite floats. */
void ptq_fuzz_quantizer(const uint8_t *data, size_t size)
{
    struct ptq_fuzz_bytes in = {data, size};
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_grid grid = {.w_bit = 2 + (int)ptq_fuzz_below(&in, 7)};
    uint32_t flags = ptq_fuzz_byte(&in);
    int64_t n = 2, k = 1 + ptq_fuzz_below(&in, 200);
    struct ptq_qmat q;
    grid.group_size = (int64_t)ptq_fuzz_below(&in, 130) - 1;
    if (!grid.group_size) grid.group_size = 1;
    grid.sym = flags & 1;
    grid.range = flags & 2 ? PTQ_RANGE_GPTQ : PTQ_RANGE_AWQ;
    grid.scale_f16 = flags >> 2 & 1;
    float *w = ptq_new(arena, float, n *k), *back = ptq_new(arena, float, n *k);
    ptq_fuzz_fill(&in, w, sizeof *w * (size_t)(n * k));
    float most = grid.scale_f16 ? 32000 : 1e37f; /* larger weights have no FP16 scale, and no float32 one */
    for (int64_t i = 0; i < n * k; i++)
        if (!(fabsf(w[i]) <= most)) w[i] = grid.scale_f16 ? ptq_f16_round(ldexpf(w[i], -120)) : 0;
    for (int64_t i = 0; i < n * k; i++)
        if (!(fabsf(w[i]) <= most)) w[i] = 1;
    ptq_qmat_make(arena, &grid, n, k, &q);
    ptq_grid_quantize(&q, w);
    int64_t g = grid.group_size < 0 || grid.group_size > k ? k : grid.group_size;
    for (int64_t row = 0; row < n; row++)
        for (int64_t at = 0, group = 0; at < k; at += g, group++)
            check_group(&grid, w + row * k + at, q.code + row * k + at, k - at < g ? k - at : g,
                        q.scale[row * q.n_groups + group], q.zero[row * q.n_groups + group]);
    ptq_ops()->dequantize(back, &q, 0, n);
    for (int64_t i = 0; i < n * k; i++) ptq_fuzz_require(isfinite(back[i]), "a weight comes back as a number");
    ptq_arena_free(arena);
}
