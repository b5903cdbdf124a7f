/* Token after token on the device: what decode*.cu give ops.cu's table (device.h, struct ptq_decoding). */
#ifndef PTQ_DECODE_CUH
#define PTQ_DECODE_CUH

#include "../device.h"
#include "parts.cuh"

namespace ptq_cuda
{
/* An element of a cache. */
__device__ __forceinline__ float as_float(float x)
{
    return x;
}
__device__ __forceinline__ float as_float(uint16_t x)
{
    return ptq_half_to_float(x);
}
__device__ __forceinline__ void set(float *to, float x)
{
    *to = x;
}
__device__ __forceinline__ void set(uint16_t *to, float x)
{
    *to = ptq_float_to_half(x);
}

/* memory.cu */
void *record(void (*step)(void *), void *context);
void replay(void *recording);
void forget(void *recording);
void fetch(const int32_t *id);
int32_t fetched(const char **failure);

void linear_half(float *y, int64_t ldy, const float *x, int64_t ldx, const uint16_t *w, const float *b, int accumulate,
                 int64_t m, int64_t n, int64_t k, void *scratch);
size_t half_scratch(int64_t m, int64_t n, int64_t k);
void remember(float *qkv, int64_t ld, const float *cosine, const float *sine, const struct ptq_attention *shape,
              const struct ptq_cache *cache, int64_t m);
void recall(float *y, int64_t ldy, const float *q, int64_t ldq, const struct ptq_attention *shape,
            const struct ptq_cache *cache, int64_t first, int64_t m, void *scratch);
void attend_row(const struct ptq_row *y, const float *qkv, const float *cosine, const float *sine,
                const struct ptq_attention *shape, const struct ptq_cache *cache, void *scratch);
void norm_row(const struct ptq_row *y, const float *x, const float *g, const float *b, float eps, int64_t k);
void silu_row(const struct ptq_row *y, const float *gate, const float *up, int64_t n);
void embed_row(float *x, int32_t *at, const int32_t *id, const uint16_t *table, int64_t vocab, int64_t k);
int row_serves(const struct ptq_packed *w, int64_t head_size);
size_t recall_scratch(const struct ptq_attention *shape, int64_t capacity);
void likeliest(int32_t *id, const float *x, int64_t n, void *scratch);
size_t likeliest_scratch();
} // namespace ptq_cuda

#endif
