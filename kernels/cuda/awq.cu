/* AWQ's searches on the device. Scales: a trial's error dW = Q(W s) / s - W is never stored but as FP16, scaled by what
 * makes C = D^-1 H D^-1 have ones on its diagonal; one product with C, and row sums. Bounds: a warp tries all ten of a
 * row's group against the group's Gram matrix. */
#include "grid.cuh"
#include "memory.cuh"

namespace ptq_cuda
{
enum { CLIPS = 10, OWN = PTQ_DEVICE_COLUMNS / WARP, ROWS = 8 };

__global__ void root_kernel(float *d, const float *h, int64_t k)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < k) d[i] = sqrtf(h[i * k + i]);
}

/* An input that is always 0 has no part in any loss. */
__global__ void correlation_kernel(uint16_t *c, const float *d, const float *h, int64_t k)
{
    int64_t i = blockIdx.x;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) {
        float both = d[i] * d[j], value = i < j ? h[i * k + j] : h[j * k + i];
        c[i * k + j] = ptq_float_to_half(i == j ? (float)(both > 0) : both > 0 ? value / both : 0);
    }
}

static void begin(uint16_t *c, float *d, const float *h, int64_t k)
{
    PTQ_LAUNCH(root_kernel, blocks_for(k, THREADS), THREADS, 0, d, h, k);
    PTQ_LAUNCH(correlation_kernel, dim3((unsigned)k), threads_for(k), 0, c, d, h, k);
}

/* A block a row, a warp a group of it. The row's errors wait for their largest in shared memory (SHARED), or, where a
 * row is too long for that, where its product will come. */
template <bool SHARED> __global__ void trial_kernel(struct ptq_device_awq t)
{
    float *error = SHARED ? ptq_shared<float>() : t.product + blockIdx.x * t.k;
    float *part = SHARED ? error + t.k : ptq_shared<float>(), maxq = (float)((1 << t.grid.w_bit) - 1), most = 0;
    int64_t row = blockIdx.x, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const float *w = t.w + row * t.k;
    for (int64_t g = threadIdx.x / WARP; g < t.n_groups; g += warps) {
        int64_t first = g * t.group_size, end = first + t.group_size < t.k ? first + t.group_size : t.k;
        float lo = INFINITY, hi = -INFINITY;
        for (int64_t j = first + lane; j < end; j += WARP) {
            float value = w[j] * t.scale[j];
            lo = fminf(lo, value);
            hi = fmaxf(hi, value);
        }
        lo = warp_min(lo);
        hi = warp_max(hi);
        struct ends e = grid_ends(t.grid, lo, hi);
        for (int64_t j = first + lane; j < end; j += WARP) {
            float q = grid_code(e, w[j] * t.scale[j], maxq);
            error[j] = (e.scale * (q - e.zero) / t.scale[j] - w[j]) * t.d[j];
            most = fmaxf(most, fabsf(error[j]));
        }
    }
    most = block_max(most, part);
    int exponent = split_exponent(most) + 14; /* to [1/2, 1): a product with C of K terms stays far from the end */
    float inverse = ldexpf(1, -exponent);
    for (int64_t j = threadIdx.x; j < t.k; j += blockDim.x)
        t.delta[row * t.k + j] = ptq_float_to_half(error[j] * inverse);
    if (threadIdx.x == 0) t.factor[row] = ldexpf(1, exponent);
}

__global__ void trial_loss_kernel(struct ptq_device_awq t)
{
    float *part = ptq_shared<float>(), sum = 0;
    int64_t row = blockIdx.x;
    for (int64_t j = threadIdx.x; j < t.k; j += blockDim.x)
        sum += ptq_half_to_float(t.delta[row * t.k + j]) * t.product[row * t.k + j];
    sum = block_sum(sum, part);
    if (threadIdx.x == 0) t.loss[row] = (double)sum * t.factor[row] * t.factor[row];
}

__global__ void one_kernel(float *one)
{
    *one = 1;
}

static void trial(const struct ptq_device_awq *t)
{
    size_t warps = sizeof(float) * (THREADS / WARP), errors = sizeof(float) * (size_t)t->k;
    struct halves delta = {t->delta, t->k, 0}, c = {t->c, t->k, 0};
    float *one = (float *)t->loss; /* the losses come afterwards */
    if (errors + warps <= most_shared())
        PTQ_LAUNCH(trial_kernel<true>, dim3((unsigned)t->n), threads_for(t->k), errors + warps, *t);
    else
        PTQ_LAUNCH(trial_kernel<false>, dim3((unsigned)t->n), threads_for(t->k), warps, *t);
    PTQ_LAUNCH(one_kernel, dim3(1), dim3(1), 0, one);
    half_product(floats{t->product, t->k, 0}, delta, c, one, 0, t->n, t->k, t->k, 1);
    PTQ_LAUNCH(trial_loss_kernel, dim3((unsigned)t->n), threads_for(t->k), warps, *t);
}

/* ---- bounds ---- */

__global__ void rescale_kernel(float *w, const float *columns, const float *rows, int64_t k)
{
    float divisor = rows[blockIdx.x];
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) {
        int64_t at = blockIdx.x * k + j;
        w[at] = w[at] * columns[j] / divisor;
    }
}

static void rescale(float *w, const float *columns, const float *rows, int64_t n, int64_t k)
{
    PTQ_LAUNCH(rescale_kernel, dim3((unsigned)n), threads_for(k), 0, w, columns, rows, k);
}

/* A block a group: measure = X_g^T X_g. */
__global__ void measure_kernel(struct ptq_device_clip t)
{
    int64_t first = (int64_t)blockIdx.x * t.group_size, left = t.k - first,
            n = left < t.group_size ? left : t.group_size;
    float *h = t.measure + (int64_t)blockIdx.x * t.group_size * t.group_size;
    for (int64_t at = threadIdx.x; at < n * n; at += blockDim.x) {
        int64_t i = at / n, j = at % n;
        float sum = 0;
        for (int64_t s = 0; s < t.n_sample; s++) sum += t.sample[s * t.k + first + i] * t.sample[s * t.k + first + j];
        h[i * t.group_size + j] = sum;
    }
}

__device__ static float bound(float most, int i)
{
    return most * (float)(1 - i / 20.0);
}

/* Errors e[j][clip] of a row's group for all bounds, all lanes' columns. */
__device__ static void try_bounds(const struct ptq_device_clip &t, const float *w, int64_t n, float *error, float *most)
{
    float mine[OWN], lo = INFINITY, hi = -INFINITY, maxq = (float)((1 << t.grid.w_bit) - 1);
    int lane = (int)threadIdx.x % WARP;
    PTQ_UNROLL
    for (int c = 0; c < OWN; c++) {
        int64_t j = c * WARP + lane;
        mine[c] = j < n ? w[j] : 0;
        if (j < n) lo = fminf(lo, mine[c]), hi = fmaxf(hi, mine[c]);
    }
    lo = warp_min(lo);
    hi = warp_max(hi);
    *most = fmaxf(fabsf(lo), fabsf(hi));
    for (int i = 0; i < CLIPS; i++) {
        float limit = bound(*most, i);
        struct ends e = grid_ends(t.grid, grid_clamp(lo, -limit, limit), grid_clamp(hi, -limit, limit));
        PTQ_UNROLL
        for (int c = 0; c < OWN; c++) {
            int64_t j = c * WARP + lane;
            float q = grid_code(e, grid_clamp(mine[c], -limit, limit), maxq);
            if (j < n) error[j * CLIPS + i] = e.scale * (q - e.zero) - mine[c];
        }
    }
}

/* A block a group and some rows, one a warp at a time; ROWS warps, or fewer where shared memory is short. */
__global__ void __launch_bounds__(ROWS *WARP) clip_kernel(struct ptq_device_clip t, int64_t rows)
{
    int64_t g = t.group_size, group = blockIdx.x, left = t.k - group * g, n = left < g ? left : g;
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, warps = (int)blockDim.x / WARP;
    float *h = ptq_shared<float>(), *error = h + g * g + warp * g * CLIPS;
    for (int64_t i = threadIdx.x; i < g * g; i += blockDim.x)
        h[i] = i / g < n && i % g < n ? t.measure[group * g * g + i] : 0;
    __syncthreads();
    int64_t end = (blockIdx.y + 1) * rows < t.n ? (blockIdx.y + 1) * rows : t.n;
    for (int64_t row = blockIdx.y * rows + warp; row < end; row += warps) {
        float product[OWN][CLIPS], most, least = INFINITY;
        int best = 0;
        try_bounds(t, t.w + row * t.k + group * g, n, error, &most);
        __syncwarp();
        PTQ_UNROLL
        for (int c = 0; c < OWN; c++) PTQ_UNROLL
        for (int i = 0; i < CLIPS; i++) product[c][i] = 0;
        for (int64_t i = 0; i < n; i++) {
            PTQ_UNROLL
            for (int c = 0; c < OWN; c++) {
                float value = c * WARP + lane < n ? h[i * g + c * WARP + lane] : 0;
                PTQ_UNROLL
                for (int b = 0; b < CLIPS; b++) product[c][b] = fmaf(error[i * CLIPS + b], value, product[c][b]);
            }
        }
        PTQ_UNROLL
        for (int b = 0; b < CLIPS; b++) {
            float sum = 0;
            PTQ_UNROLL
            for (int c = 0; c < OWN; c++)
                if (c * WARP + lane < n) sum += error[(c * WARP + lane) * CLIPS + b] * product[c][b];
            sum = warp_sum(sum);
            if (b == 0 || sum < least) least = sum, best = b;
        }
        if (lane == 0) {
            t.max[row * t.n_groups + group] = bound(most, best);
            t.best[row * t.n_groups + group] = (uint8_t)best;
        }
        __syncwarp();
    }
}

static size_t clip_bytes(const struct ptq_device_clip *t, int warps)
{
    return sizeof(float) * (size_t)(t->group_size * (t->group_size + warps * CLIPS));
}

static void clip(const struct ptq_device_clip *t)
{
    enum { ROWS_A_BLOCK = 128 };
    int warps = ROWS;
    while (warps > 1 && clip_bytes(t, warps) > most_shared()) warps /= 2;
    PTQ_LAUNCH(measure_kernel, dim3((unsigned)t->n_groups), THREADS, 0, *t);
    PTQ_LAUNCH(clip_kernel, dim3((unsigned)t->n_groups, (unsigned)((t->n + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK)),
               warps * WARP, clip_bytes(t, warps), *t, ROWS_A_BLOCK);
}

/* A warp a group of a row. */
__global__ void code_kernel(struct ptq_device_clip t)
{
    int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, row = at / t.n_groups;
    int64_t first = at % t.n_groups * t.group_size, end = first + t.group_size < t.k ? first + t.group_size : t.k;
    float lo = INFINITY, hi = -INFINITY, maxq = (float)((1 << t.grid.w_bit) - 1);
    if (row >= t.n) return;
    float limit = t.max ? t.max[at] : INFINITY;
    for (int64_t j = first + threadIdx.x % WARP; j < end; j += WARP) {
        float w = grid_clamp(t.w[row * t.k + j], -limit, limit);
        lo = fminf(lo, w);
        hi = fmaxf(hi, w);
    }
    lo = warp_min(lo);
    hi = warp_max(hi);
    struct ends e = grid_ends(t.grid, lo, hi);
    for (int64_t j = first + threadIdx.x % WARP; j < end; j += WARP)
        t.code[row * t.k + j] = (uint8_t)grid_code(e, grid_clamp(t.w[row * t.k + j], -limit, limit), maxq);
    if (threadIdx.x % WARP) return;
    t.scale[at] = e.scale;
    t.zero[at] = e.zero;
    if (grid_saturates(e, lo, hi, maxq)) ptq_atomic_add(t.saturated + row, 1);
}

static void code(const struct ptq_device_clip *t)
{
    clear(t->saturated, sizeof(int32_t) * (size_t)t->n);
    PTQ_LAUNCH(code_kernel, blocks_for(t->n * t->n_groups, THREADS / WARP), THREADS, 0, *t);
}

void fill_awq_slots(struct ptq_device_solver *s)
{
    s->awq_begin = begin;
    s->awq_trial = trial;
    s->rescale = rescale;
    s->awq_clip = clip;
    s->awq_code = code;
}
} // namespace ptq_cuda
