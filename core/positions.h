/* What a model's positions are made of: rotary frequencies, ALiBi's slopes. */
#ifndef PTQ_POSITIONS_H
#define PTQ_POSITIONS_H

#include "family.h"

/* [D / 2], scaled as the config says. In float32, step by step, as the reference does it: at position 2000 the rounding
 * of the frequency is seen. */
float *ptq_rope_frequencies(struct ptq_arena *arena, const struct ptq_config *config);

/* [H] 2^(-8 i / H), i = 1 .. H, for H a power of two; else those of the power below, and of twice that every other one.
 * In float32 as BLOOM has them: a power of the float32 base. */
float *ptq_alibi_slopes(struct ptq_arena *arena, int64_t heads);

#endif
