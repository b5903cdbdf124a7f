#include "positions.h"

#include <math.h>
#include <string.h>

/* Meta's scaling of Llama 3.1: long waves are slowed by the factor, short ones left, those between interpolated. */
static float llama3_frequency(const struct ptq_config *c, float frequency)
{
    float wave = 2 * (float)M_PI / frequency, original = (float)c->rope_original;
    if (wave > original / (float)c->rope_low) return frequency / (float)c->rope_factor;
    if (wave < original / (float)c->rope_high) return frequency;
    float smooth = (original / wave - (float)c->rope_low) / ((float)c->rope_high - (float)c->rope_low);
    return (1 - smooth) * frequency / (float)c->rope_factor + smooth * frequency;
}

float *ptq_rope_frequencies(struct ptq_arena *arena, const struct ptq_config *c)
{
    int64_t half = c->head_size / 2;
    float *frequency = ptq_new(arena, float, half);
    for (int64_t i = 0; i < half; i++) {
        frequency[i] = 1.0f / powf((float)c->rope_theta, (float)(2 * i) / (float)c->head_size);
        if (strcmp(c->rope_type, "llama3") == 0) frequency[i] = llama3_frequency(c, frequency[i]);
        if (strcmp(c->rope_type, "linear") == 0) frequency[i] /= (float)c->rope_factor;
    }
    return frequency;
}

float *ptq_alibi_slopes(struct ptq_arena *arena, int64_t heads)
{
    float *slope = ptq_new(arena, float, heads);
    int64_t power = 1;
    while (2 * power <= heads) power *= 2;
    float base = (float)pow(2, -8.0 / (double)power), finer = (float)pow(2, -4.0 / (double)power);
    for (int64_t i = 0; i < heads; i++)
        slope[i] = i < power ? powf(base, (float)(i + 1)) : powf(finer, (float)(2 * (i - power) + 1));
    return slope;
}
