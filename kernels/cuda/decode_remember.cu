/* Rows of q, k and v: rotated, and k and v into the cache. */
#include "decode.cuh"

namespace ptq_cuda
{
struct remember_task {
    float *qkv;
    int64_t ld;
    const float *cosine, *sine;
    int64_t heads, kv_heads, d, half, capacity, m; /* half: of D, rounded up where nothing is rotated */
    const int32_t *at;
};

/* A thread a pair (j, j + D / 2) of one head of q, k or v. */
template <class T> __global__ void remember_kernel(struct remember_task t, T *k, T *v)
{
    int64_t all = t.heads + 2 * t.kv_heads, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t row = i / (all * t.half), head = i / t.half % all, j = i % t.half;
    if (row >= t.m) return;
    int64_t position = *t.at + row, kv = head - t.heads;
    bool pair = j + t.half < t.d;
    float *from = t.qkv + row * t.ld + head * t.d + j, a = from[0], b = pair ? from[t.half] : 0;
    if (t.cosine && kv < t.kv_heads) {
        float c = t.cosine[position * t.half + j], s = t.sine[position * t.half + j], kept = a;
        from[0] = a = kept * c - b * s;
        from[t.half] = b = b * c + kept * s;
    }
    if (kv < 0) return;
    T *to = (kv < t.kv_heads ? k : v) + (kv % t.kv_heads * t.capacity + position) * t.d + j;
    set(to, a);
    if (pair) set(to + t.half, b);
}

void remember(float *qkv, int64_t ld, const float *cosine, const float *sine, const struct ptq_attention *shape,
              const struct ptq_cache *cache, int64_t m)
{
    struct remember_task t = {qkv,
                              ld,
                              cosine,
                              sine,
                              shape->heads,
                              shape->kv_heads,
                              shape->head_size,
                              (shape->head_size + 1) / 2,
                              cache->capacity,
                              m,
                              cache->at};
    dim3 blocks = blocks_for(m * (t.heads + 2 * t.kv_heads) * t.half, THREADS);
    if (cache->is_half)
        PTQ_LAUNCH(remember_kernel<uint16_t>, blocks, THREADS, 0, t, static_cast<uint16_t *>(cache->k),
                   static_cast<uint16_t *>(cache->v));
    else
        PTQ_LAUNCH(remember_kernel<float>, blocks, THREADS, 0, t, static_cast<float *>(cache->k),
                   static_cast<float *>(cache->v));
}
} // namespace ptq_cuda
