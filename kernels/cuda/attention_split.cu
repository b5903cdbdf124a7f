/* Causal attention of a whole window on tensor cores, float32 in FP16 parts. For panels of PANEL query rows, all heads
 * together:
 *
 *   S = [q hi | q hi | q lo] [k hi | k lo | k hi]^T      one product of 3 D inputs
 *   P = softmax of S, times 2^14, in parts               zeros behind the row's own key
 *   y = P hi v lo + P lo v hi + P hi v hi
 *
 * k and v are written once for each query head, so that heads are a stride apart. */
#include "solver.cuh"

namespace ptq_cuda
{
enum { PANEL = 512, LONGEST = 8192 /* tokens; beyond, a panel's scores are too many: attention.cu */ };
static const float p_scale = 16384;

struct split_room {
    float *state, *scores;                   /* scores [heads][panel][T] */
    uint16_t *q, *k, *v_hi, *v_lo, *hi, *lo; /* q, k [T][heads][3 D]; v [T][heads][D]; hi, lo [heads][panel][T] */
};

static int64_t panel_of(int64_t length)
{
    return length < PANEL ? length : (int64_t)PANEL;
}

/* base NULL: *bytes is counted. */
static struct split_room room_of(unsigned char *base, const struct ptq_attention *s, int64_t length, size_t *bytes)
{
    size_t used = 0, heads = (size_t)s->heads, rows = (size_t)length, d = (size_t)s->head_size;
    size_t square = heads * (size_t)panel_of(length) * rows;
    auto piece = [&](size_t size) {
        unsigned char *at = base ? base + used : nullptr;
        used += (size + 255) / 256 * 256;
        return at;
    };
    struct split_room r;
    r.state = (float *)piece(sizeof(float) * 2 * PTQ_SPLIT_STATE);
    r.scores = (float *)piece(sizeof(float) * square);
    r.q = (uint16_t *)piece(2 * rows * heads * 3 * d);
    r.k = (uint16_t *)piece(2 * rows * heads * 3 * d);
    r.v_hi = (uint16_t *)piece(2 * rows * heads * d);
    r.v_lo = (uint16_t *)piece(2 * rows * heads * d);
    r.hi = (uint16_t *)piece(2 * square);
    r.lo = (uint16_t *)piece(2 * square);
    if (bytes) *bytes = used;
    return r;
}

size_t attention_split_bytes(const struct ptq_attention *shape, int64_t length)
{
    size_t bytes = 0;
    if (length <= LONGEST) room_of(nullptr, shape, length, &bytes);
    return bytes;
}

__global__ void attention_largest_kernel(float *state, const float *q, const float *k, const float *v, int64_t ld,
                                         int64_t width, int64_t kv_width)
{
    int64_t row = blockIdx.x * ld;
    float max = 0, *part = ptq_shared<float>();
    for (int64_t j = threadIdx.x; j < width + 2 * kv_width; j += blockDim.x) {
        const float *from = j < width              ? q + row + j
                            : j < width + kv_width ? k + row + j - width
                                                   : v + row + j - width - kv_width;
        if (fabsf(*from) < INFINITY) max = fmaxf(max, fabsf(*from));
    }
    max = block_max(max, part);
    if (threadIdx.x == 0 && max > 0)
        ptq_atomic_max(reinterpret_cast<unsigned *>(state) + SPLIT_MAX, ptq_float_bits(max));
}

/* A block a row. */
__global__ void attention_parts_kernel(struct split_room r, const float *q, const float *k, const float *v, int64_t ld,
                                       int64_t heads, int64_t heads_a_kv, int64_t d)
{
    int64_t row = blockIdx.x;
    int exponent = split_exponent(r.state[SPLIT_MAX]), width = (int)(heads * d), size = (int)d;
    float inverse = ldexpf(1, -exponent);
    for (int j = (int)threadIdx.x; j < width; j += (int)blockDim.x) {
        int64_t head = j / size, e = j % size, from = row * ld + head / heads_a_kv * d + e;
        uint16_t *to_q = r.q + (row * heads + head) * 3 * d + e, *to_k = r.k + (row * heads + head) * 3 * d + e;
        uint16_t hi, lo;
        split_value(q[row * ld + j] * inverse, &hi, &lo);
        to_q[0] = to_q[d] = hi;
        to_q[2 * d] = lo;
        split_value(k[from] * inverse, &hi, &lo);
        to_k[0] = to_k[2 * d] = hi;
        to_k[d] = lo;
        split_value(v[from] * inverse, &hi, &lo);
        r.v_hi[row * heads * d + j] = hi;
        r.v_lo[row * heads * d + j] = lo;
    }
    if (row == 0 && threadIdx.x == 0) { /* of S, of y */
        r.state[PTQ_SPLIT_STATE] = ldexpf(1, exponent) * ldexpf(1, exponent);
        r.state[PTQ_SPLIT_STATE + 1] = ldexpf(1, exponent) / p_scale;
    }
}

/* A block a query row of a head: keys [from, at] count, those up to `end` get a zero. A thread has FOUR neighbouring
 * keys of every 4 blockDim.x, up to HELD times. Rows are read to the row's own key. */
enum { FOUR = 4 };
template <int HELD>
__global__ void softmax_kernel(struct split_room r, int64_t panel, int64_t length, int64_t first, int64_t end,
                               float scale, int64_t window, const float *slope)
{
    int64_t head = blockIdx.y, row = blockIdx.x, at = first + row, offset = (head * panel + row) * length;
    int64_t from = window && at >= window ? at - window + 1 : 0;
    float *part = ptq_shared<float>(), steep = slope ? slope[head] : 0, max = -INFINITY, sum = 0;
    float value[HELD][FOUR];
    bool whole = length % FOUR == 0;
    PTQ_UNROLL
    for (int h = 0; h < HELD; h++) {
        int64_t begin = FOUR * ((int64_t)h * blockDim.x + threadIdx.x);
        float4 four = {0, 0, 0, 0};
        if (begin <= at && whole && begin + FOUR <= end)
            four = *reinterpret_cast<const float4 *>(r.scores + offset + begin);
        float score[FOUR] = {four.x, four.y, four.z, four.w};
        PTQ_UNROLL
        for (int i = 0; i < FOUR; i++) {
            int64_t j = begin + i;
            if (j <= at && !(whole && begin + FOUR <= end)) score[i] = r.scores[offset + j];
            value[h][i] = j >= from && j <= at ? score[i] * scale + steep * (float)(j - at) : -INFINITY;
            max = fmaxf(max, value[h][i]);
        }
    }
    max = block_max(max, part);
    PTQ_UNROLL
    for (int h = 0; h < HELD; h++) PTQ_UNROLL
    for (int i = 0; i < FOUR; i++) {
        float p = expf(value[h][i] - max); /* a NaN among the scores is one in the sum; all -inf where max is */
        value[h][i] = p;
        sum += p;
    }
    float factor = p_scale / block_sum(sum, part);
    PTQ_UNROLL
    for (int h = 0; h < HELD; h++) {
        int64_t begin = FOUR * ((int64_t)h * blockDim.x + threadIdx.x);
        uint16_t hi[FOUR], lo[FOUR];
        PTQ_UNROLL
        for (int i = 0; i < FOUR; i++) split_value(value[h][i] * factor, &hi[i], &lo[i]);
        if (whole && begin + FOUR <= end) {
            *reinterpret_cast<uint2 *>(r.hi + offset + begin) =
                uint2{hi[0] | (uint32_t)hi[1] << 16, hi[2] | (uint32_t)hi[3] << 16};
            *reinterpret_cast<uint2 *>(r.lo + offset + begin) =
                uint2{lo[0] | (uint32_t)lo[1] << 16, lo[2] | (uint32_t)lo[3] << 16};
            continue;
        }
        PTQ_UNROLL
        for (int i = 0; i < FOUR; i++)
            if (begin + i < end) {
                r.hi[offset + begin + i] = hi[i];
                r.lo[offset + begin + i] = lo[i];
            }
    }
}

/* As few places a thread as hold `end` keys: LONGEST is 8 FOUR THREADS. */
static void softmax(const struct split_room *r, const struct ptq_attention *shape, int64_t m, int64_t panel,
                    int64_t length, int64_t first, int64_t end)
{
    dim3 rows = dim3((unsigned)m, (unsigned)shape->heads), threads = threads_for((end + FOUR - 1) / FOUR);
    size_t bytes = sizeof(float) * WARP;
    if (end <= FOUR * THREADS)
        PTQ_LAUNCH(softmax_kernel<1>, rows, threads, bytes, *r, panel, length, first, end, shape->scale, shape->window,
                   shape->slope);
    else if (end <= 2 * FOUR * THREADS)
        PTQ_LAUNCH(softmax_kernel<2>, rows, threads, bytes, *r, panel, length, first, end, shape->scale, shape->window,
                   shape->slope);
    else
        PTQ_LAUNCH(softmax_kernel<8>, rows, threads, bytes, *r, panel, length, first, end, shape->scale, shape->window,
                   shape->slope);
}

void attention_split(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                     const struct ptq_attention *shape, int64_t length, void *scratch)
{
    if (length > LONGEST) {
        attention(y, ldy, q, k, v, ldqkv, shape, 0, length, nullptr);
        return;
    }
    int64_t heads = shape->heads, d = shape->head_size, panel = panel_of(length), square = panel * length;
    struct split_room r = room_of((unsigned char *)scratch, shape, length, nullptr);
    dim3 rows = dim3((unsigned)length);
    clear(r.state, sizeof(float) * 2 * PTQ_SPLIT_STATE);
    PTQ_LAUNCH(attention_largest_kernel, rows, threads_for(heads * d), THREADS / WARP * sizeof(float), r.state, q, k, v,
               ldqkv, heads * d, shape->kv_heads * d);
    PTQ_LAUNCH(attention_parts_kernel, rows, threads_for(heads * d), 0, r, q, k, v, ldqkv, heads,
               heads / shape->kv_heads, d);
    const float *of_scores = r.state + PTQ_SPLIT_STATE, *of_y = of_scores + 1;
    for (int64_t first = 0; first < length; first += panel) {
        int64_t m = length - first < panel ? length - first : panel, end = first + m;
        half_product(floats{r.scores, length, square}, halves{r.q + first * heads * 3 * d, heads * 3 * d, 3 * d},
                     halves{r.k, heads * 3 * d, 3 * d}, of_scores, 0, m, end, 3 * d, heads);
        softmax(&r, shape, m, panel, length, first, end);
        struct floats out = {y + first * ldy, ldy, d};
        struct halves hi = {r.hi, length, square}, lo = {r.lo, length, square};
        struct halves v_hi = {r.v_hi, heads * d, d}, v_lo = {r.v_lo, heads * d, d};
        half_plain(out, hi, v_lo, of_y, 0, m, d, end, heads);
        half_plain(out, lo, v_hi, of_y, 1, m, d, end, heads);
        half_plain(out, hi, v_hi, of_y, 1, m, d, end, heads);
    }
}
} // namespace ptq_cuda
