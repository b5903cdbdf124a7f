/* GPTQ on the device: Hessian to factor, and the column loop of methods/gptq_solve.c.
 *
 * With e = codes' values less weights and H + damp = R R^T, t = -e R is kept for all columns to come (there, for those
 * of a span). A block of at most 128 columns [from, to):
 *
 *   now = w + t R[block, block]^-1     the weights as they stand before the block
 *   groups that begin in it            scale, zero from now
 *   column by column                   code, its error times a row of R[block, block]^-1 off the columns behind
 *   t -= e[block] R[block, >= to]      one product in float32
 *
 * A warp has a row, lane l its columns l, l + 32, .. of the block. */
#include "grid.cuh"
#include "memory.cuh"

namespace ptq_cuda
{
enum { COLUMNS = PTQ_DEVICE_COLUMNS, OWN = COLUMNS / WARP, ROWS = 16 /* warps of a block */ };

/* ---- Hessian and factor ---- */

__global__ void scale_kernel(float *h, int64_t k, float factor, float *diagonal)
{
    int64_t i = blockIdx.x;
    for (int64_t j = i + threadIdx.x; j < k; j += blockDim.x) {
        float value = h[i * k + j] *= factor;
        if (j == i) diagonal[i] = value;
    }
}

static void scale(float *h, int64_t k, float factor, float *diagonal)
{
    PTQ_LAUNCH(scale_kernel, dim3((unsigned)k), threads_for(k), 0, h, k, factor, diagonal);
}

/* Row i of a is place K - 1 - i. */
__global__ void reverse_kernel(double *a, const float *h, const int32_t *column, const float *diagonal, double damp,
                               int64_t k)
{
    int64_t i = blockIdx.x, row = column[k - 1 - i];
    for (int64_t j = threadIdx.x; j < i; j += blockDim.x) {
        int64_t other = column[k - 1 - j];
        a[i * k + j] = row < other ? h[row * k + other] : h[other * k + row];
    }
    if (threadIdx.x == 0) a[i * k + i] = (double)diagonal[row] + damp;
}

static int64_t factor(double *a, const float *h, const int32_t *column, const float *diagonal, double damp, int64_t k)
{
    PTQ_LAUNCH(reverse_kernel, dim3((unsigned)k), threads_for(k), 0, a, h, column, diagonal, damp, k);
    return cholesky(a, k);
}

__global__ void turn_kernel(float *r, const double *a, int64_t k)
{
    int64_t p = blockIdx.x;
    const double *row = a + (k - 1 - p) * k + k - 1;
    for (int64_t q = threadIdx.x; q < k; q += blockDim.x) r[p * k + q] = q < p ? 0 : (float)row[-q];
}

static void turn(float *r, const double *a, int64_t k)
{
    PTQ_LAUNCH(turn_kernel, dim3((unsigned)k), threads_for(k), 0, r, a, k);
}

/* Where row i of an upper triangle begins, less i: its entry of column q stands at triangle_at(i) + q. */
__device__ __host__ __forceinline__ int64_t triangle_at(int64_t i)
{
    return i * COLUMNS - i * (i + 1) / 2;
}

/* A block a block of columns; thread q has column q of R[block, block]^-1, from its diagonal upwards. In shared memory
 * the triangle alone: the whole square, 128 KiB, is more than every device from sm_80 on gives a block. */
__global__ void invert_kernel(struct ptq_device_gptq t)
{
    int64_t block = blockIdx.x, from = t.where[block], n = t.where[block + 1] - from, q = threadIdx.x, k = t.k;
    double *u = ptq_shared<double>();
    for (int64_t p = n - 1; p >= 0; p--) {
        const double *row = t.a + (k - 1 - from - p) * k + k - 1 - from; /* R[from + p][from + i] is row[-i] */
        double sum = p == q;
        if (q < n && p <= q) {
            for (int64_t i = p + 1; i <= q; i++) sum -= row[-i] * u[triangle_at(i) + q];
            sum /= row[-p];
            u[triangle_at(p) + q] = sum;
        }
        if (q < n) t.u[block * COLUMNS * COLUMNS + p * COLUMNS + q] = p <= q ? (float)sum : 0;
    }
}

/* ---- grids known beforehand ---- */

/* sym: the published code leaves the lower end at 0 where no weight is negative, yet puts the zero in the middle. */
__device__ static struct ends fit_ends(const struct ptq_device_gptq &t, float lo, float hi, bool *saturates)
{
    struct ptq_grid grid = t.grid;
    struct ends e = grid_ends(grid, lo, hi);
    float maxq = (float)((1 << grid.w_bit) - 1);
    if (grid.sym && grid.range == PTQ_RANGE_GPTQ && lo >= 0 && hi > 0) e.scale = hi / maxq;
    *saturates = grid_saturates(e, lo, hi, maxq);
    return e;
}

/* A warp a group of a row. */
__global__ void fit_kernel(struct ptq_device_gptq t)
{
    int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, row = at / t.n_groups;
    int64_t first = at % t.n_groups * t.group_size, end = first + t.group_size < t.k ? first + t.group_size : t.k;
    float lo = INFINITY, hi = -INFINITY;
    bool saturates;
    if (row >= t.n) return;
    for (int64_t j = first + threadIdx.x % WARP; j < end; j += WARP) {
        float w = t.dead[j] && !t.with_dead ? 0 : t.w[row * t.k + j];
        lo = fminf(lo, w);
        hi = fmaxf(hi, w);
    }
    struct ends e = fit_ends(t, warp_min(lo), warp_max(hi), &saturates);
    if (threadIdx.x % WARP) return;
    t.scale[at] = e.scale;
    t.zero[at] = e.zero;
    if (saturates) ptq_atomic_add(t.saturated + row, 1);
}

/* ---- the column loop ---- */

/* What a lane has of a row's block. */
struct lane_row {
    float w[OWN], original[OWN], back[OWN];
    struct ends grid[OWN];
    int code[OWN];
};

/* The groups that begin in the block, from now[n]; all lanes take part. */
__device__ static void fit_block(const struct ptq_device_gptq &t, const float *now, int64_t row, int64_t from,
                                 int64_t n)
{
    int lane = (int)threadIdx.x % WARP;
    for (int64_t first = (from + t.group_size - 1) / t.group_size * t.group_size; first < from + n;
         first += t.group_size) {
        int64_t begin = first - from, end = begin + t.group_size < n ? begin + t.group_size : n;
        float lo = INFINITY, hi = -INFINITY;
        bool saturates;
        for (int64_t j = begin + lane; j < end; j += WARP) {
            lo = fminf(lo, now[j]);
            hi = fmaxf(hi, now[j]);
        }
        struct ends e = fit_ends(t, warp_min(lo), warp_max(hi), &saturates);
        if (lane) continue;
        t.scale[row * t.n_groups + first / t.group_size] = e.scale;
        t.zero[row * t.n_groups + first / t.group_size] = e.zero;
        t.saturated[row] += saturates;
    }
    __syncwarp();
}

__device__ static void feed_block(struct lane_row *r, const float *u, int64_t n, float maxq, double *loss)
{
    int lane = (int)threadIdx.x % WARP;
    PTQ_UNROLL
    for (int c = 0; c < OWN; c++) {
        int64_t left = n - c * WARP;
        float inverse = lane < left ? 1 / u[(c * WARP + lane) * COLUMNS + c * WARP + lane] : 0;
        for (int l = 0; l < WARP && l < left; l++) {
            float q = grid_code(r->grid[c], r->w[c], maxq), back = r->grid[c].scale * (q - r->grid[c].zero);
            float mine = (r->w[c] - back) * inverse, error = ptq_shuffle(mine, l);
            const float *row = u + (c * WARP + l) * COLUMNS + lane;
            if (lane == l) {
                r->code[c] = (int)q;
                r->back[c] = back;
                *loss += (double)mine * mine;
            }
            PTQ_UNROLL
            for (int d = 0; d < OWN; d++)
                if (d > c || (d == c && lane > l)) r->w[d] = fmaf(-error, row[d * WARP], r->w[d]);
        }
    }
}

/* A warp a row; the block's u is shared, and each warp's weights as they stand. */
__global__ void __launch_bounds__(ROWS *WARP)
    block_kernel(struct ptq_device_gptq t, int64_t from, int64_t n, int64_t block)
{
    float *u = ptq_shared<float>();
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    float *now = u + COLUMNS * COLUMNS + warp * COLUMNS, maxq = (float)((1 << t.grid.w_bit) - 1);
    for (int64_t i = threadIdx.x; i < n * COLUMNS; i += blockDim.x)
        u[i] = i % COLUMNS < n ? t.u[block * COLUMNS * COLUMNS + i] : 0;
    __syncthreads();
    for (int64_t row = (int64_t)blockIdx.x * ROWS + warp; row < t.n; row += (int64_t)gridDim.x * ROWS) {
        struct lane_row r;
        double loss = 0;
        PTQ_UNROLL
        for (int c = 0; c < OWN; c++) {
            int64_t j = c * WARP + lane, column = j < n ? t.column[from + j] : 0;
            r.original[c] = j < n && !t.dead[column] ? t.w[row * t.k + column] : 0;
            now[j] = j < n && from ? t.t[row * t.k + from + j] : 0;
            r.w[c] = 0;
        }
        __syncwarp();
        for (int64_t i = 0; i < n && from; i++) {
            float value = now[i];
            PTQ_UNROLL
            for (int c = 0; c < OWN; c++) r.w[c] = fmaf(value, u[i * COLUMNS + c * WARP + lane], r.w[c]);
        }
        __syncwarp();
        PTQ_UNROLL
        for (int c = 0; c < OWN; c++) now[c * WARP + lane] = r.w[c] += r.original[c];
        __syncwarp();
        if (t.fits) fit_block(t, now, row, from, n);
        PTQ_UNROLL
        for (int c = 0; c < OWN; c++) {
            int64_t j = c * WARP + lane, group = row * t.n_groups + (j < n ? t.group[from + j] : 0);
            r.grid[c].scale = j < n ? t.scale[group] : 1;
            r.grid[c].zero = j < n ? t.zero[group] : 0;
        }
        feed_block(&r, u, n, maxq, &loss);
        PTQ_UNROLL
        for (int c = 0; c < OWN; c++) {
            int64_t j = c * WARP + lane;
            if (j >= n) break;
            int64_t column = t.column[from + j];
            t.code[row * t.k + column] = (uint8_t)r.code[c];
            t.back[row * t.k + column] = r.back[c];
            t.error[row * COLUMNS + j] = r.back[c] - r.original[c];
        }
        for (int mask = WARP / 2; mask; mask /= 2) loss += ptq_shuffle_xor(loss, mask);
        if (lane == 0) t.loss[row] += loss / 2;
        __syncwarp();
    }
}

static void solve(const struct ptq_device_gptq *t)
{
    size_t shared = sizeof(float) * COLUMNS * (COLUMNS + ROWS);
    int64_t k = t->k, rows = (t->n + ROWS - 1) / ROWS, most = 3 * processors(); /* as many as fit, for they load u */
    clear(t->t, sizeof(float) * (size_t)(t->n * k));
    clear(t->loss, sizeof(double) * (size_t)t->n);
    clear(t->saturated, sizeof(int32_t) * (size_t)t->n);
    if (!t->fits) PTQ_LAUNCH(fit_kernel, blocks_for(t->n * t->n_groups, THREADS / WARP), THREADS, 0, *t);
    PTQ_LAUNCH(invert_kernel, dim3((unsigned)t->n_blocks), dim3(COLUMNS), sizeof(double) * COLUMNS * (COLUMNS + 1) / 2,
               *t);
    for (int64_t i = 0; i < t->n_blocks; i++) {
        int64_t from = t->block[i], to = t->block[i + 1], n = to - from;
        PTQ_LAUNCH(block_kernel, dim3((unsigned)(rows < most ? rows : most)), ROWS * WARP, shared, *t, from, n, i);
        if (to < k) subtract_plain(t->t + to, k, t->error, COLUMNS, t->r + from * k + to, k, t->n, k - to, n);
    }
}

void fill_gptq_slots(struct ptq_device_solver *s)
{
    s->scale = scale;
    s->factor = factor;
    s->turn = turn;
    s->gptq = solve;
}
} // namespace ptq_cuda
