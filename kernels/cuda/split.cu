/* Float32 in FP16 parts and the products of those; sums of |x|. */
#include "solver.cuh"

#include "memory.cuh"

namespace ptq_cuda
{
/* A block a row; what is not finite does not count. */
__global__ void largest_kernel(float *state, const float *x, int64_t ldx, int64_t k)
{
    const float *row = x + (int64_t)blockIdx.x * ldx;
    float max = 0, *part = ptq_shared<float>();
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) {
        float size = fabsf(row[j]);
        if (size < INFINITY) max = fmaxf(max, size);
    }
    max = block_max(max, part);
    /* sizes compare as the integers that their bits are */
    if (threadIdx.x == 0 && max > 0)
        ptq_atomic_max(reinterpret_cast<unsigned *>(state) + SPLIT_MAX, ptq_float_bits(max));
}

__global__ void split_kernel(struct ptq_split to, const float *x, int64_t ldx)
{
    const float *row = x + (int64_t)blockIdx.x * ldx;
    uint16_t *hi = to.hi + (int64_t)blockIdx.x * to.ld, *lo = to.lo + (int64_t)blockIdx.x * to.ld;
    int exponent = split_exponent(to.state[SPLIT_MAX]), inexact = 0;
    float inverse = ldexpf(1, -exponent);
    for (int64_t j = threadIdx.x; j < to.k; j += blockDim.x) {
        uint16_t high, low;
        split_value(row[j] * inverse, &high, &low);
        hi[j] = high;
        lo[j] = low;
        if (to.again) hi[to.k + j] = high;
        inexact |= (low & 0x7fff) != 0;
    }
    if (inexact) ptq_set_flag(to.state + SPLIT_INEXACT, 1.0f);
    if (blockIdx.x == 0 && threadIdx.x == 0) to.state[SPLIT_FACTOR] = ldexpf(1, exponent);
}

/* The same, four at a time. */
__global__ void split4_kernel(struct ptq_split to, const float *x, int64_t ldx)
{
    const float4 *row = reinterpret_cast<const float4 *>(x + (int64_t)blockIdx.x * ldx);
    uint2 *hi = reinterpret_cast<uint2 *>(to.hi + (int64_t)blockIdx.x * to.ld);
    uint2 *lo = reinterpret_cast<uint2 *>(to.lo + (int64_t)blockIdx.x * to.ld);
    int exponent = split_exponent(to.state[SPLIT_MAX]), inexact = 0, n = (int)(to.k / 4);
    float inverse = ldexpf(1, -exponent);
    for (int j = (int)threadIdx.x; j < n; j += (int)blockDim.x) {
        float4 value = row[j];
        uint16_t high[4], low[4];
        split_value(value.x * inverse, &high[0], &low[0]);
        split_value(value.y * inverse, &high[1], &low[1]);
        split_value(value.z * inverse, &high[2], &low[2]);
        split_value(value.w * inverse, &high[3], &low[3]);
        hi[j] = uint2{high[0] | (uint32_t)high[1] << 16, high[2] | (uint32_t)high[3] << 16};
        if (to.again) hi[n + j] = hi[j];
        lo[j] = uint2{low[0] | (uint32_t)low[1] << 16, low[2] | (uint32_t)low[3] << 16};
        inexact |= ((low[0] | low[1] | low[2] | low[3]) & 0x7fff) != 0;
    }
    if (inexact) ptq_set_flag(to.state + SPLIT_INEXACT, 1.0f);
    if (blockIdx.x == 0 && threadIdx.x == 0) to.state[SPLIT_FACTOR] = ldexpf(1, exponent);
}

static bool in_fours(const struct ptq_split *to, const float *x, int64_t ldx)
{
    return to->k % 4 == 0 && ldx % 4 == 0 && (uintptr_t)x % 16 == 0 && to->ld % 4 == 0 && (uintptr_t)to->hi % 8 == 0 &&
           (uintptr_t)to->lo % 8 == 0;
}

static void split(const struct ptq_split *to, const float *x, int64_t ldx)
{
    dim3 rows = dim3((unsigned)to->m);
    clear(to->state, sizeof(float) * PTQ_SPLIT_STATE);
    PTQ_LAUNCH(largest_kernel, rows, threads_for(to->k), THREADS / WARP * sizeof(float), to->state, x, ldx, to->k);
    if (in_fours(to, x, ldx))
        PTQ_LAUNCH(split4_kernel, rows, threads_for(to->k / 4), 0, *to, x, ldx);
    else
        PTQ_LAUNCH(split_kernel, rows, threads_for(to->k), 0, *to, x, ldx);
}

static int exact(const struct ptq_split *s)
{
    float state[PTQ_SPLIT_STATE];
    download(state, s->state, sizeof state);
    return state[SPLIT_INEXACT] == 0;
}

__global__ void join_kernel(float *x, struct ptq_split s)
{
    float factor = s.state[SPLIT_FACTOR];
    for (int64_t j = threadIdx.x; j < s.k; j += blockDim.x) {
        int64_t at = (int64_t)blockIdx.x * s.ld + j;
        float sum = ptq_half_to_float(s.hi[at]);
        if (s.lo) sum += ptq_half_to_float(s.lo[at]);
        x[(int64_t)blockIdx.x * s.k + j] = factor * sum;
    }
}

static void join(float *x, const struct ptq_split *s)
{
    PTQ_LAUNCH(join_kernel, dim3((unsigned)s->m), threads_for(s->k), 0, x, *s);
}

__global__ void alpha_kernel(float *alpha, const float *a, const float *b)
{
    *alpha = *a * *b;
}

/* Of two arrays, in the first one's room. */
static const float *alpha_of(const struct ptq_split *x, const struct ptq_split *w)
{
    float *alpha = x->state + SPLIT_ALPHA;
    PTQ_LAUNCH(alpha_kernel, dim3(1), dim3(1), 0, alpha, x->state + SPLIT_FACTOR, w->state + SPLIT_FACTOR);
    return alpha;
}

/* The small terms first. */
static void product_split(float *y, int64_t ldy, const struct ptq_split *x, const struct ptq_split *w, const float *b,
                          int accumulate)
{
    const float *alpha = alpha_of(x, w);
    struct floats out = {y, ldy, 0};
    struct halves both = {x->lo, x->ld, 0}, x_hi = {x->hi, x->ld, 0}, w_hi = {w->hi, w->ld, 0},
                  w_lo = {w->lo, w->ld, 0};
    if (b) fill_bias(y, ldy, b, accumulate, x->m, w->m);
    accumulate |= b != nullptr;
    if (w->lo) half_product(out, x_hi, w_lo, alpha, accumulate, x->m, w->m, x->k, 1), accumulate = 1;
    half_product(out, both, w_hi, alpha, accumulate, x->m, w->m, 2 * x->k, 1);
}

/* Block columns of an eighth, so that little more than the triangle is computed. */
static void gram_split(float *h, const struct ptq_split *x)
{
    int64_t k = x->k, step = (k / 8 + 255) / 256 * 256;
    const float *alpha = alpha_of(x, x);
    if (step < 256) step = 256;
    for (int64_t first = 0; first < k; first += step) {
        int64_t n = k - first < step ? k - first : step, rows = first + n;
        half_columns(h + first, k, x->lo, x->ld, x->hi + first, x->ld, alpha, rows, n, x->m);
        half_columns(h + first, k, x->hi, x->ld, x->lo + first, x->ld, alpha, rows, n, x->m);
        half_columns(h + first, k, x->hi, x->ld, x->hi + first, x->ld, alpha, rows, n, x->m);
    }
}

enum { RUNS = 256, RUN_WARPS = 16, AHEAD = 16, LEVELS = 4 };

/* A thread a column, its rows in order; level 0 is full after 2^power rows. */
__global__ void absmean_kernel(float *level, int levels, int power, int64_t seen, const float *x, int64_t m, int64_t k)
{
    enum { MOST = LEVELS };
    int64_t j = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, mask = ((int64_t)1 << power) - 1;
    float sum[MOST], next[AHEAD];
    if (j >= k) return;
    PTQ_UNROLL
    for (int l = 0; l < MOST; l++) sum[l] = l < levels ? level[l * k + j] : 0;
    for (int64_t row = 0; row < m; row += AHEAD) {
        PTQ_UNROLL
        for (int i = 0; i < AHEAD; i++) next[i] = row + i < m ? fabsf(x[(row + i) * k + j]) : 0;
        PTQ_UNROLL
        for (int i = 0; i < AHEAD; i++) {
            int64_t at = seen + row + i + 1;
            if (row + i >= m) break;
            sum[0] += next[i];
            if (at & mask) continue;
            PTQ_UNROLL
            for (int l = 1; l < MOST; l++) {
                if (l >= levels) break;
                sum[l] += sum[l - 1];
                sum[l - 1] = 0;
                if (at & (mask << l * power)) break;
            }
        }
    }
    PTQ_UNROLL
    for (int l = 0; l < MOST; l++)
        if (l < levels) level[l * k + j] = sum[l];
}

/* The same where batches hold whole runs of 2^power rows: a run's sum begins with 0, so that runs are summed side by
 * side. A block 32 columns; its warps share the runs out, and its first one goes over their sums. */
__global__ void run_sums_kernel(float *level, int levels, int power, int64_t seen, const float *x, int64_t m, int64_t k)
{
    float *sums = ptq_shared<float>(), kept[LEVELS], next[AHEAD];
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, step = 1 << power, runs = (int)(m >> power);
    int64_t j = (int64_t)blockIdx.x * WARP + lane, mask = ((int64_t)1 << power) - 1;
    PTQ_UNROLL
    for (int l = 0; l < LEVELS; l++) kept[l] = l < levels && j < k ? level[l * k + j] : 0;
    for (int first = 0; first < runs; first += RUNS) {
        int n = runs - first < RUNS ? runs - first : (int)RUNS;
        __syncthreads();
        for (int run = warp; run < n; run += RUN_WARPS) {
            const float *row = x + (int64_t)(first + run) * step * k + j;
            float sum = 0;
            for (int i = 0; i < step; i += AHEAD) {
                PTQ_UNROLL
                for (int a = 0; a < AHEAD; a++) next[a] = j < k ? fabsf(row[(i + a) * k]) : 0;
                PTQ_UNROLL
                for (int a = 0; a < AHEAD; a++) sum += next[a];
            }
            sums[run * WARP + lane] = sum;
        }
        __syncthreads();
        for (int run = 0; warp == 0 && run < n; run++) {
            int64_t at = seen + (int64_t)(first + run + 1) * step;
            float carried = sums[run * WARP + lane];
            PTQ_UNROLL
            for (int l = 1; l < LEVELS; l++) {
                if (l >= levels) break;
                kept[l] = carried += kept[l];
                if (l + 1 == levels || (at & (mask << l * power))) break;
                kept[l] = 0;
            }
        }
    }
    PTQ_UNROLL
    for (int l = 0; l < LEVELS; l++)
        if (warp == 0 && l < levels && j < k) level[l * k + j] = kept[l];
}

static void absmean(float *level, int levels, int power, int64_t seen, const float *x, int64_t m, int64_t k)
{
    int64_t mask = ((int64_t)1 << power) - 1;
    if (levels > 1 && power >= 4 && !(seen & mask) && !(m & mask) && m < (int64_t)1 << 31)
        PTQ_LAUNCH(run_sums_kernel, blocks_for(k, WARP), RUN_WARPS * WARP, sizeof(float) * RUNS * WARP, level, levels,
                   power, seen, x, m, k);
    else
        PTQ_LAUNCH(absmean_kernel, blocks_for(k, 64), dim3(64), 0, level, levels, power, seen, x, m, k);
}

/* A block a row. */
__global__ void finite_kernel(float *flag, const float *x, int64_t k)
{
    const float *row = x + (int64_t)blockIdx.x * k;
    bool bad = false;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) bad |= !(fabsf(row[j]) < INFINITY);
    if (bad) ptq_set_flag(flag, NAN);
}

static void finite(float *flag, const float *x, int64_t m, int64_t k)
{
    PTQ_LAUNCH(finite_kernel, dim3((unsigned)m), threads_for(k), 0, flag, x, k);
}

void fill_split_slots(struct ptq_device_solver *s)
{
    s->split = split;
    s->exact = exact;
    s->join = join;
    s->product = product_split;
    s->gram = gram_split;
    s->copy = copy;
    s->clear = clear;
    s->absmean = absmean;
    s->finite = finite;
    s->attention = attention_split;
    s->attention_bytes = attention_split_bytes;
}
} // namespace ptq_cuda
