/* Products with FP16 weights: for one row a kernel that is bound by reading the weights, for more rows tensor cores by
 * cuBLAS.
 *
 * One row: a warp takes ROWS outputs; a lane reads 16 bytes of each, 8 weights, UNROLL times before it needs the first,
 * so that enough loads are under way to fill the memory's latency. x stays float32 and comes from L1.
 * More rows: x = factor (high + low), FP16 both, factor a power of two for each row; two products. */
#include "decode.cuh"

namespace ptq_cuda
{
enum { WARPS = 8, ROWS = 2, UNROLL = 4, VECTOR = 8, PASS = WARP * VECTOR };

struct half_task {
    float *y;
    const float *x;
    const uint16_t *w;
    const float *b;
    int accumulate;
    int64_t n, k;
};

__device__ __forceinline__ float dot_pair(uint32_t w, float x0, float x1, float sum)
{
    sum += ptq_half_to_float((uint16_t)w) * x0;
    return sum + ptq_half_to_float((uint16_t)(w >> 16)) * x1;
}

/* sum += the 8 weights times x[0..8) */
__device__ __forceinline__ float dot_vector(uint4 w, float4 low, float4 high, float sum)
{
    sum = dot_pair(w.x, low.x, low.y, sum);
    sum = dot_pair(w.y, low.z, low.w, sum);
    sum = dot_pair(w.z, high.x, high.y, sum);
    return dot_pair(w.w, high.z, high.w, sum);
}

/* N vectors of each row from column `first` on; K is a multiple of 8. */
template <int N>
__device__ __forceinline__ void load(uint4 (&w)[N][ROWS], const struct half_task *t, int64_t row, int64_t first)
{
    PTQ_UNROLL
    for (int i = 0; i < N; i++) PTQ_UNROLL
    for (int r = 0; r < ROWS; r++) {
        int64_t at = row + r < t->n ? row + r : t->n - 1;
        w[i][r] = ptq_stream_load(reinterpret_cast<const uint4 *>(t->w + at * t->k + first + i * PASS));
    }
}

template <int N>
__device__ __forceinline__ void multiply(float (&sum)[ROWS], const uint4 (&w)[N][ROWS], const struct half_task *t,
                                         int64_t first)
{
    PTQ_UNROLL
    for (int i = 0; i < N; i++) {
        const float4 *x = reinterpret_cast<const float4 *>(t->x + first + i * PASS);
        float4 low = x[0], high = x[1];
        PTQ_UNROLL
        for (int r = 0; r < ROWS; r++) sum[r] = dot_vector(w[i][r], low, high, sum[r]);
    }
}

__device__ static void put_rows(const struct half_task *t, int64_t row, float (&sum)[ROWS])
{
    for (int r = 0; r < ROWS; r++) {
        float value = warp_sum(sum[r]);
        if (threadIdx.x % WARP || row + r >= t->n) continue;
        if (t->b) value += t->b[row + r];
        t->y[row + r] = t->accumulate ? t->y[row + r] + value : value;
    }
}

/* The next weights are asked for before the ones that came are used, the first before there is an x. */
__global__ void __launch_bounds__(WARPS *WARP, 2) half_row_kernel(struct half_task t)
{
    int64_t row = ((int64_t)blockIdx.x * WARPS + threadIdx.x / WARP) * ROWS, k = threadIdx.x % WARP * VECTOR;
    int64_t whole = k + (UNROLL - 1) * PASS;
    float sum[ROWS] = {};
    uint4 now[UNROLL][ROWS], next[UNROLL][ROWS];
    if (row < t.n && whole < t.k) load<UNROLL>(next, &t, row, k);
    ptq_turn();
    if (row >= t.n) return;
    for (; whole < t.k; k += UNROLL * PASS, whole += UNROLL * PASS) {
        memcpy(now, next, sizeof now);
        if (whole + UNROLL * PASS < t.k) load<UNROLL>(next, &t, row, k + UNROLL * PASS);
        multiply<UNROLL>(sum, now, &t, k);
    }
    for (; k < t.k; k += PASS) {
        uint4 one[1][ROWS];
        load<1>(one, &t, row, k);
        multiply<1>(sum, one, &t, k);
    }
    put_rows(&t, row, sum);
}

/* Any K and any alignment. */
__global__ void __launch_bounds__(WARPS *WARP) odd_row_kernel(struct half_task t)
{
    int64_t row = ((int64_t)blockIdx.x * WARPS + threadIdx.x / WARP) * ROWS;
    float sum[ROWS] = {};
    ptq_turn();
    if (row >= t.n) return;
    for (int64_t k = threadIdx.x % WARP; k < t.k; k += WARP)
        for (int r = 0; r < ROWS && row + r < t.n; r++) sum[r] += ptq_half_to_float(t.w[(row + r) * t.k + k]) * t.x[k];
    put_rows(&t, row, sum);
}

/* ---- more rows ---- */

/* [m][K] each, and [m] */
struct two_halves {
    uint16_t *high, *low;
    float *factor, *sum; /* sum [m][N]: what the products give */
};

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static size_t place_halves(struct two_halves *h, int64_t m, int64_t n, int64_t k, unsigned char *scratch)
{
    size_t half = aligned(2 * (size_t)(m * k)), factor = aligned(4 * (size_t)m);
    h->high = reinterpret_cast<uint16_t *>(scratch);
    h->low = reinterpret_cast<uint16_t *>(scratch + half);
    h->factor = reinterpret_cast<float *>(scratch + 2 * half);
    h->sum = reinterpret_cast<float *>(scratch + 2 * half + factor);
    return 2 * half + factor + aligned(4 * (size_t)(m * n));
}

size_t half_scratch(int64_t m, int64_t n, int64_t k)
{
    struct two_halves h;
    return m == 1 ? 0 : place_halves(&h, m, n, k, nullptr);
}

/* A block a row. What is not finite stays so in high. */
__global__ void split_kernel(struct two_halves h, const float *x, int64_t ldx, int64_t k)
{
    const float *row = x + blockIdx.x * ldx;
    float max = 0;
    int exponent = 0;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) max = fmaxf(max, fabsf(row[j]));
    max = block_max(max, ptq_shared<float>());
    if (max > 0 && max < INFINITY) frexpf(max, &exponent);
    exponent = exponent < -90 ? -90 : exponent; /* its inverse stays finite */
    float factor = ldexpf(1, exponent - 10), inverse = ldexpf(1, 10 - exponent);
    if (threadIdx.x == 0) h.factor[blockIdx.x] = factor;
    for (int64_t j = threadIdx.x; j < k; j += blockDim.x) {
        float value = row[j] * inverse;
        uint16_t high = ptq_float_to_half(value);
        h.high[blockIdx.x * k + j] = high;
        h.low[blockIdx.x * k + j] = ptq_float_to_half(value - ptq_half_to_float(high));
    }
}

__global__ void finish_kernel(float *y, int64_t ldy, struct two_halves h, const float *b, int accumulate, int64_t m,
                              int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, row = i / n, j = i % n;
    if (row >= m) return;
    float value = h.sum[i] * h.factor[row] + (b ? b[j] : 0);
    y[row * ldy + j] = accumulate ? y[row * ldy + j] + value : value;
}

void linear_half(float *y, int64_t ldy, const float *x, int64_t ldx, const uint16_t *w, const float *b, int accumulate,
                 int64_t m, int64_t n, int64_t k, void *scratch)
{
    struct two_halves h;
    if (m == 1) {
        struct half_task t = {y, x, w, b, accumulate, n, k};
        bool whole =
            k % VECTOR == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0 && reinterpret_cast<uintptr_t>(w) % 16 == 0;
        if (whole)
            PTQ_LAUNCH_EARLY(half_row_kernel, blocks_for(n, WARPS * ROWS), WARPS * WARP, 0, t);
        else
            PTQ_LAUNCH_EARLY(odd_row_kernel, blocks_for(n, WARPS * ROWS), WARPS * WARP, 0, t);
        return;
    }
    place_halves(&h, m, n, k, static_cast<unsigned char *>(scratch));
    PTQ_LAUNCH(split_kernel, dim3((unsigned)m), THREADS, THREADS / WARP * sizeof(float), h, x, ldx, k);
    half_product(h.sum, n, h.high, k, w, k, 0, m, n, k);
    half_product(h.sum, n, h.low, k, w, k, 1, m, n, k);
    PTQ_LAUNCH(finish_kernel, blocks_for(m * n, THREADS), THREADS, 0, y, ldy, h, b, accumulate, m, n);
}
} // namespace ptq_cuda
