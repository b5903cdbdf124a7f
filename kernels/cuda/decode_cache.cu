/* Attention of a few rows over the keys and values of the tokens before.
 *
 * The keys of a row are cut into splits of `chunk`, a block each, so that one row of one head still fills the device;
 * splits behind the row's position end at once, which is how a recorded step serves every length. In a block, groups of
 * 8 lanes take a key each, 16 keys at a time: lane l of a group holds elements 4 l .. 4 l + 3, + 32, ... of the head.
 * Softmax runs along (arXiv:1805.02867); a block leaves its mixed values, their sum and their largest score, and the
 * last block of a row adds them up in the order of the splits. */
#include "decode.cuh"
#include "packed_row.cuh"

namespace ptq_cuda
{
enum {
    GROUP = 8,
    GROUPS = 16,
    LANES = GROUP * GROUPS,
    VECTOR = 4,
    PASS = GROUP * VECTOR,
    MIN_CHUNK = 64,
    MAX_SPLITS = 64
};

struct recall_task {
    float *y;
    int64_t ldy;
    const float *q;
    int64_t ldq, d, heads, heads_a_kv, capacity, window, chunk, splits, first;
    const float *cosine, *sine; /* of the fresh row; half: D / 2 */
    int64_t half;
    float scale;
    const float *slope; /* [heads] or NULL */
    const int32_t *at;
    struct row_out out; /* of the fresh row, where it is not float32: y is NULL then */
    float *part;        /* [rows][heads][splits][D + 2]: mixed, sum, max */
    unsigned *count;    /* [rows][heads]: blocks that are done */
};

/* A key's or value's elements that a lane holds. */
template <int N> struct held {
    float value[N][VECTOR];
};

template <int N, class T> __device__ __forceinline__ void hold(struct held<N> *out, const T *from, int lane, int64_t d)
{
    PTQ_UNROLL
    for (int i = 0; i < N; i++) PTQ_UNROLL
    for (int e = 0; e < VECTOR; e++) {
        int64_t at = i * PASS + lane * VECTOR + e;
        out->value[i][e] = at < d ? as_float(from[at]) : 0;
    }
}
template <int N> __device__ __forceinline__ void hold_vectors(struct held<N> *out, const float *from, int lane)
{
    PTQ_UNROLL
    for (int i = 0; i < N; i++) {
        float4 four = *reinterpret_cast<const float4 *>(from + i * PASS + lane * VECTOR);
        out->value[i][0] = four.x, out->value[i][1] = four.y, out->value[i][2] = four.z, out->value[i][3] = four.w;
    }
}
template <int N> __device__ __forceinline__ void hold_vectors(struct held<N> *out, const uint16_t *from, int lane)
{
    PTQ_UNROLL
    for (int i = 0; i < N; i++) {
        uint2 four = *reinterpret_cast<const uint2 *>(from + i * PASS + lane * VECTOR);
        out->value[i][0] = ptq_half_to_float((uint16_t)four.x);
        out->value[i][1] = ptq_half_to_float((uint16_t)(four.x >> 16));
        out->value[i][2] = ptq_half_to_float((uint16_t)four.y);
        out->value[i][3] = ptq_half_to_float((uint16_t)(four.y >> 16));
    }
}

/* Vectors where a head fills whole passes, which also aligns them. */
template <int N, class T> __device__ __forceinline__ void take(struct held<N> *out, const T *from, int lane, int64_t d)
{
    if (d == N * PASS)
        hold_vectors<N>(out, from, lane);
    else
        hold<N>(out, from, lane, d);
}

/* What a group has mixed so far. */
template <int N> struct mixed {
    float max, sum;
    struct held<N> value;
};

template <int N> __device__ __forceinline__ float dot(const struct held<N> *a, const struct held<N> *b)
{
    float sum = 0;
    PTQ_UNROLL
    for (int i = 0; i < N; i++) PTQ_UNROLL
    for (int e = 0; e < VECTOR; e++) sum += a->value[i][e] * b->value[i][e];
    for (int mask = GROUP / 2; mask; mask /= 2) sum += ptq_shuffle_xor(sum, mask);
    return sum;
}

/* One more key of the score. */
template <int N> __device__ __forceinline__ void mix(struct mixed<N> *m, float score, const struct held<N> *value)
{
    float max = fmaxf(m->max, score), p = score == -INFINITY ? 0 : expf(score - max);
    float shrink = m->max == -INFINITY ? 0 : expf(m->max - max);
    m->sum = m->sum * shrink + p;
    m->max = max;
    PTQ_UNROLL
    for (int i = 0; i < N; i++) PTQ_UNROLL
    for (int e = 0; e < VECTOR; e++) m->value.value[i][e] = m->value.value[i][e] * shrink + p * value->value[i][e];
}

/* Keys and values that are loaded before the first is needed. */
template <int N> __device__ __host__ constexpr int ahead()
{
    return N > 4 ? 2 : 4;
}
template <int N> struct batch {
    struct held<N> key[ahead<N>()], value[ahead<N>()];
};

/* Keys base + GROUPS i + the thread's group, those behind the end as the last one; none where there is none. */
template <int N, class T>
__device__ __forceinline__ void load(struct batch<N> *out, const struct recall_task *t, const T *k, const T *v,
                                     int64_t base, int64_t end)
{
    PTQ_UNROLL
    for (int i = 0; base < end && i < ahead<N>(); i++) {
        int64_t at = base + i * GROUPS + threadIdx.x / GROUP;
        at = at < end ? at : end - 1;
        take<N>(&out->key[i], k + at * t->d, (int)threadIdx.x % GROUP, t->d);
        take<N>(&out->value[i], v + at * t->d, (int)threadIdx.x % GROUP, t->d);
    }
}

/* Keys [first, end), of which `now` has the first; all lanes of a warp go round as often. */
template <int N, class T>
__device__ __forceinline__ void mix_keys(struct mixed<N> *out, struct batch<N> *now, const struct recall_task *t,
                                         const T *k, const T *v, int64_t first, int64_t end, int64_t position,
                                         float slope, const struct held<N> *q)
{
    for (int64_t base = first; base < end; base += ahead<N>() * GROUPS) {
        if (base > first) load<N>(now, t, k, v, base, end);
        PTQ_UNROLL
        for (int i = 0; i < ahead<N>(); i++) {
            int64_t at = base + i * GROUPS + threadIdx.x / GROUP;
            float score = dot<N>(q, &now->key[i]) * t->scale + slope * (float)(at - position);
            mix<N>(out, at < end ? score : -INFINITY, &now->value[i]);
        }
    }
}

/* What each of n <= MAX_SPLITS parts counts for, part i's on lane i % 32, with the sum and the largest score of all.
 * Each warp finds them for itself. */
struct shares {
    float of[MAX_SPLITS / WARP], sum, max;
};
__device__ __forceinline__ struct shares shares_of(const float *part, int64_t n, int64_t d)
{
    struct shares s = {{}, 0, -INFINITY};
    float sum[MAX_SPLITS / WARP];
    PTQ_UNROLL
    for (int i = 0; i < MAX_SPLITS / WARP; i++) {
        int64_t at = i * WARP + threadIdx.x % WARP;
        const float *p = part + at * (d + 2) + d;
        s.of[i] = at < n ? p[1] : -INFINITY;
        sum[i] = at < n ? p[0] : 0;
        s.max = fmaxf(s.max, s.of[i]);
    }
    s.max = warp_max(s.max);
    PTQ_UNROLL
    for (int i = 0; i < MAX_SPLITS / WARP; i++) {
        s.of[i] = s.of[i] > -INFINITY ? expf(s.of[i] - s.max) : 0;
        s.sum += s.of[i] * sum[i];
    }
    s.sum = warp_sum(s.sum);
    return s;
}

/* part[n][D + 2], sums and largest scores last, to y[D] / sum, or to one more part where `whole` is not set; all
 * threads, in the order of the parts. */
__device__ static void add_up(float *y, const float *part, int64_t n, int64_t d, bool whole)
{
    struct shares s = shares_of(part, n, d);
    float scale = whole ? 1 / s.sum : 1;
    for (int64_t first = 0; first < d; first += blockDim.x) { /* all lanes, for the shuffles */
        int64_t e = first + threadIdx.x, at = e < d ? e : d - 1;
        float value = 0;
        PTQ_UNROLL
        for (int i = 0; i < MAX_SPLITS / WARP; i++) {
            int64_t left = n - i * WARP < WARP ? n - i * WARP : (int64_t)WARP;
            for (int64_t j = 0; j < left; j++)
                value += ptq_shuffle(s.of[i], (int)j) * part[(i * WARP + j) * (d + 2) + at];
        }
        if (e < d) y[e] = value * scale;
    }
    if (whole || threadIdx.x) return;
    y[d] = s.sum;
    y[d + 1] = s.max;
}

/* The parts of the block's groups into shared memory. */
template <int N> __device__ __forceinline__ void share(float *part, const struct mixed<N> *m, int64_t d)
{
    int lane = (int)threadIdx.x % GROUP;
    float *mine = part + threadIdx.x / GROUP * (d + 2);
    PTQ_UNROLL
    for (int i = 0; i < N; i++) PTQ_UNROLL
    for (int e = 0; e < VECTOR; e++) {
        int64_t at = i * PASS + lane * VECTOR + e;
        if (at < d) mine[at] = m->value.value[i][e];
    }
    if (lane) return;
    mine[d] = m->sum;
    mine[d + 1] = m->max;
}

/* ---- the row that is new ---- */

/* q, k and v of a head of the row that is computed: rotated, and as the cache would have them. [D] each, shared. */
struct fresh {
    float *q, *k, *v;
};

/* A thread's angle: of pair threadIdx.x of a head, which has no more of them than a block has threads. */
struct angle {
    float cosine, sine;
};
__device__ __forceinline__ struct angle angle_of(const struct recall_task *t, int64_t position)
{
    int64_t at = position * t->half + threadIdx.x;
    if (!t->cosine || threadIdx.x >= t->half) return angle{1, 0};
    return angle{t->cosine[at], t->sine[at]};
}

__device__ __forceinline__ void rotate(float *to, const float *from, const struct recall_task *t, struct angle by)
{
    int64_t j = threadIdx.x;
    float a = from[j], b = from[j + t->half];
    to[j] = a * by.cosine - b * by.sine;
    to[j + t->half] = b * by.cosine + a * by.sine;
}

/* As the cache would have it, and into the cache where `to` is there. */
template <class T> __device__ __forceinline__ void keep(float *x, T *to)
{
    T kept;
    set(&kept, *x);
    *x = as_float(kept);
    if (to) *to = kept;
}

/* All threads; with_key: k and v, too, into the cache where this head is the first that reads them. A thread's elements
 * are its own until the barrier. */
template <class T>
__device__ static void make_fresh(const struct fresh *f, const struct recall_task *t, T *k, T *v, int64_t head,
                                  bool with_key, struct angle by)
{
    int64_t kv = head / t->heads_a_kv, j = threadIdx.x;
    const float *q = t->q + head * t->d, *new_k = t->q + (t->heads + kv) * t->d,
                *new_v = new_k + t->heads / t->heads_a_kv * t->d;
    bool writes = head % t->heads_a_kv == 0, rotates = t->cosine != nullptr;
    if (rotates && j < t->half) rotate(f->q, q, t, by);
    if (rotates && j < t->half && with_key) rotate(f->k, new_k, t, by);
    for (int64_t e = j; e < t->d; e += blockDim.x) {
        if (!rotates) f->q[e] = q[e];
        if (!rotates && with_key) f->k[e] = new_k[e];
        if (with_key) f->v[e] = new_v[e];
        if (with_key) keep(f->v + e, writes ? v + e : nullptr);
        if (with_key && !rotates) keep(f->k + e, writes ? k + e : nullptr);
    }
    for (int half = 0; rotates && with_key && j < t->half && half < 2; half++)
        keep(f->k + j + half * t->half, writes ? k + j + half * t->half : nullptr);
    __syncthreads();
}

/* The new key, which the block's first group takes. */
template <int N>
__device__ __forceinline__ void mix_fresh(struct mixed<N> *m, const struct fresh *f, const struct recall_task *t,
                                          const struct held<N> *q)
{
    struct held<N> key, value;
    hold<N>(&key, f->k, (int)threadIdx.x % GROUP, t->d);
    hold<N>(&value, f->v, (int)threadIdx.x % GROUP, t->d);
    float score = dot<N>(q, &key) * t->scale;
    mix<N>(m, threadIdx.x < GROUP ? score : -INFINITY, &value);
}

/* ---- kernels ---- */

/* n parts to y, or, where it is NULL, to the chunks of this head; whole: shared, [D]. */
__device__ static void put_head(const struct recall_task *t, float *y, const float *part, int64_t n, float *whole)
{
    if (y) {
        add_up(y, part, n, t->d, true);
        return;
    }
    add_up(whole, part, n, t->d, true);
    __syncthreads();
    int64_t begin = blockIdx.y * t->d, end = begin + t->d, size;
    int64_t size_of = t->out.stride < CHUNK ? t->out.stride : (int64_t)CHUNK; /* of each chunk, by row_serves */
    for (int64_t c = begin / size_of + threadIdx.x / WARP; c * size_of < end; c += LANES / WARP) {
        int64_t first = chunk_place(&t->out, c, &size), at = first - begin + threadIdx.x % WARP * FOUR;
        float v[FOUR];
        for (int i = 0; i < FOUR; i++) v[i] = at + i < first - begin + size ? whole[at + i] : 0;
        put_chunk(&t->out, c, first, size, v);
    }
}

/* The row's splits in order; the block that comes last does it. shared: the groups' parts. */
__device__ static void finish(const struct recall_task *t, float *y, float *shared, int64_t at, int64_t active)
{
    float *whole = shared + GROUPS * (t->d + 2) + 1;
    if (active == 1) {
        put_head(t, y, shared, GROUPS, whole);
        return;
    }
    float *part = t->part + at * t->splits * (t->d + 2);
    unsigned *done = reinterpret_cast<unsigned *>(whole - 1);
    add_up(part + blockIdx.x * (t->d + 2), shared, GROUPS, t->d, false);
    ptq_fence();
    __syncthreads();
    if (threadIdx.x == 0) *done = ptq_atomic_count(t->count + at, (unsigned)active - 1);
    __syncthreads();
    if (*done != (unsigned)active - 1) return;
    ptq_fence();
    put_head(t, y, part, active, whole);
}

/* FRESH: the only row's q, k and v are as their products left them, and its key is not in the cache yet. */
template <int N, class T, bool FRESH>
__global__ void __launch_bounds__(LANES) recall_kernel(struct recall_task t, T *k, T *v)
{
    int64_t head = blockIdx.y, row = blockIdx.z, kv = head / t.heads_a_kv * t.capacity * t.d;
    int64_t position = *t.at + t.first + row;
    int64_t from = t.window && position >= t.window ? position - t.window + 1 : 0, keys = position + 1 - from;
    int64_t active = (keys + t.chunk - 1) / t.chunk, first = from + blockIdx.x * t.chunk;
    int64_t end = first + t.chunk < position + 1 ? first + t.chunk : position + 1;
    bool last = FRESH && blockIdx.x == active - 1;
    struct batch<N> now;
    struct held<N> q;
    struct mixed<N> m = {
        - INFINITY, 0,
        {
        }
    };
    float *shared = ptq_shared<float>(), *y = t.y ? t.y + row * t.ldy + head * t.d : nullptr;
    if (blockIdx.x < active) load<N>(&now, &t, k + kv, v + kv, first, end - last);
    struct angle by = FRESH && blockIdx.x < active ? angle_of(&t, position) : angle{1, 0};
    if (FRESH) ptq_turn_aside();
    if (blockIdx.x >= active) return;
    struct fresh f = {shared, shared + t.d, shared + 2 * t.d};
    if (FRESH) make_fresh(&f, &t, k + kv + position * t.d, v + kv + position * t.d, head, last, by);
    hold<N>(&q, FRESH ? f.q : t.q + row * t.ldq + head * t.d, (int)threadIdx.x % GROUP, t.d);
    mix_keys<N>(&m, &now, &t, k + kv, v + kv, first, end - last, position, t.slope ? t.slope[head] : 0, &q);
    if (last) mix_fresh<N>(&m, &f, &t, &q);
    if (FRESH) __syncthreads(); /* the parts come where the fresh row was */
    share<N>(shared, &m, t.d);
    __syncthreads();
    finish(&t, y, shared, row * t.heads + head, active);
}

/* Keys of a split, a multiple of GROUPS, and how many splits the longest row has. */
static int64_t chunk_for(const struct ptq_attention *shape, int64_t capacity, int64_t *splits)
{
    int64_t keys = shape->window && shape->window < capacity ? shape->window : capacity;
    int64_t chunk = (keys + MAX_SPLITS - 1) / MAX_SPLITS;
    chunk = chunk < MIN_CHUNK ? (int64_t)MIN_CHUNK : (chunk + GROUPS - 1) / GROUPS * GROUPS;
    *splits = (keys + chunk - 1) / chunk;
    return chunk;
}

static size_t part_bytes(const struct ptq_attention *shape, int64_t splits)
{
    return sizeof(float) * (size_t)(PTQ_RECALL_ROWS * shape->heads * splits * (shape->head_size + 2));
}

size_t recall_scratch(const struct ptq_attention *shape, int64_t capacity)
{
    int64_t splits;
    chunk_for(shape, capacity, &splits);
    return part_bytes(shape, splits) + sizeof(unsigned) * (size_t)(PTQ_RECALL_ROWS * shape->heads);
}

template <int N, class T> static void launch_as(const struct recall_task &t, T *k, T *v, int64_t m, bool fresh)
{
    dim3 grid((unsigned)t.splits, (unsigned)t.heads, (unsigned)m);
    size_t bytes = sizeof(float) * (size_t)(GROUPS * (t.d + 2) + 1 + t.d);
    if (fresh)
        PTQ_LAUNCH_EARLY((recall_kernel<N, T, true>), grid, LANES, bytes, t, k, v);
    else
        PTQ_LAUNCH((recall_kernel<N, T, false>), grid, LANES, bytes, t, k, v);
}

template <int N>
static void launch_recall(const struct recall_task &t, const struct ptq_cache *cache, int64_t m, bool fresh)
{
    if (cache->is_half)
        launch_as<N>(t, static_cast<uint16_t *>(cache->k), static_cast<uint16_t *>(cache->v), m, fresh);
    else
        launch_as<N>(t, static_cast<float *>(cache->k), static_cast<float *>(cache->v), m, fresh);
}

static void launch(const struct recall_task &t, const struct ptq_cache *cache, int64_t m, bool fresh)
{
    if (t.d <= PASS)
        launch_recall<1>(t, cache, m, fresh);
    else if (t.d <= 2 * PASS)
        launch_recall<2>(t, cache, m, fresh);
    else if (t.d <= 4 * PASS)
        launch_recall<4>(t, cache, m, fresh);
    else
        launch_recall<PTQ_DEVICE_HEAD / PASS>(t, cache, m, fresh);
}

static struct recall_task task_of(float *y, int64_t ldy, const float *q, int64_t ldq, const struct ptq_attention *shape,
                                  const struct ptq_cache *cache, void *scratch)
{
    struct recall_task t = {};
    t.y = y, t.ldy = ldy, t.q = q, t.ldq = ldq, t.d = shape->head_size, t.heads = shape->heads;
    t.heads_a_kv = shape->heads / shape->kv_heads, t.half = shape->head_size / 2;
    t.capacity = cache->capacity, t.window = shape->window, t.at = cache->at;
    t.scale = shape->scale, t.slope = shape->slope;
    t.chunk = chunk_for(shape, cache->capacity, &t.splits);
    t.part = static_cast<float *>(scratch);
    t.count = reinterpret_cast<unsigned *>(static_cast<unsigned char *>(scratch) + part_bytes(shape, t.splits));
    return t;
}

void recall(float *y, int64_t ldy, const float *q, int64_t ldq, const struct ptq_attention *shape,
            const struct ptq_cache *cache, int64_t first, int64_t m, void *scratch)
{
    struct recall_task t = task_of(y, ldy, q, ldq, shape, cache, scratch);
    t.first = first;
    launch(t, cache, m, false);
}

void attend_row(const struct ptq_row *y, const float *qkv, const float *cosine, const float *sine,
                const struct ptq_attention *shape, const struct ptq_cache *cache, void *scratch)
{
    struct recall_task t = task_of(y->w ? nullptr : y->y, 0, qkv, 0, shape, cache, scratch);
    t.cosine = cosine, t.sine = sine;
    t.out = row_out_of(y, shape->heads * shape->head_size);
    launch(t, cache, 1, true);
}
} // namespace ptq_cuda
