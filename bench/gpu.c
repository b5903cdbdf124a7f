/* bench_gpu [N K]: what the packed kernels reach on the device, beside cuBLAS in FP16 on the same shapes, in one run.
 *
 * One line a measurement, separated by tabs: N, K, tokens, kernel, microseconds (median), GB/s (weights, activations
 * and results, each once), TFLOP/s, how many times as fast as cuBLAS FP16. Weights are random and rotate over copies of
 * three times the L2 cache and more, so that they come from memory. */
#include "device.h"
#include "dtype.h"
#include "rng.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 128, RUNS = 15, MAX_COPIES = 64, MAX_TOKENS = 2048 };
static const size_t rotated = (size_t)256 << 20;

static const struct {
    int64_t n, k;
} shapes[] = {{4096, 4096}, {8192, 8192}, {28672, 8192}, {8192, 28672}};
static const int64_t tokens[] = {1, 4, 16, 32, 64, 128, 256, 512, MAX_TOKENS};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, N_TOKENS = sizeof tokens / sizeof *tokens };

static const char *const kind_name[] = {"best", "gather", "plain", "fused", "panels"};

/* One linear, in copies. */
struct work {
    const struct ptq_device *device;
    cublasHandle_t blas;
    cudaEvent_t begin, end;
    int64_t n, k, m;
    struct ptq_packed packed[MAX_COPIES];
    unsigned char *half[MAX_COPIES];
    int copies;
    float *x, *y;
    void *x16, *y16, *scratch;
    size_t bytes; /* of one copy */
};

static void die(const char *what)
{
    fprintf(stderr, "bench_gpu: %s\n", what);
    exit(1);
}

static void *take(const struct ptq_device *d, size_t bytes)
{
    void *memory = d->take(bytes);
    if (!memory) die("too little device memory");
    return memory;
}

/* ---- weights ---- */

static void make_image(struct ptq_arena *arena, int bits, int64_t n, int64_t k, struct ptq_packed *out)
{
    struct ptq_rng rng = ptq_rng_make(1, "bench_gpu");
    struct ptq_qmat q = {.n = n, .k = k, .n_groups = ptq_n_groups(k, GROUP)};
    struct ptq_error err;
    q.grid = (struct ptq_grid){.w_bit = bits, .group_size = GROUP};
    q.code = ptq_new(arena, uint8_t, n * k);
    q.scale = ptq_new(arena, float, n *q.n_groups);
    q.zero = ptq_new(arena, float, n *q.n_groups);
    q.perm = ptq_new(arena, int32_t, k);
    for (int64_t i = 0; i < n * k; i += 8) {
        uint64_t word = ptq_rng_below(&rng, UINT64_MAX);
        for (int64_t j = i; j < n * k && j < i + 8; j++)
            q.code[j] = (uint8_t)(word >> 8 * (j - i) & ((1U << bits) - 1));
    }
    for (int64_t i = 0; i < n * q.n_groups; i++) {
        q.scale[i] = (float)(1 + (int)ptq_rng_below(&rng, 64)) / 4096; /* FP16 values */
        q.zero[i] = (float)ptq_rng_below(&rng, 1U << bits);
    }
    for (int64_t i = 0; i < k; i++) q.perm[i] = (int32_t)i;
    for (int64_t i = k - 1; i > 0; i--) {
        int64_t j = (int64_t)ptq_rng_below(&rng, (uint64_t)i + 1);
        int32_t kept = q.perm[i];
        q.perm[i] = q.perm[j];
        q.perm[j] = kept;
    }
    if (ptq_pack(arena, &q, out, &err)) die(err.text);
}

static void put_packed(struct work *w, int bits)
{
    struct ptq_arena *arena = ptq_arena_make("bench_gpu");
    struct ptq_packed host;
    make_image(arena, bits, w->n, w->k, &host);
    w->bytes = host.bytes;
    w->copies = (int)(rotated / host.bytes) + 1;
    if (w->copies > MAX_COPIES) w->copies = MAX_COPIES;
    for (int i = 0; i < w->copies; i++) {
        unsigned char *image = take(w->device, host.bytes);
        w->device->upload(image, host.image, host.bytes);
        w->packed[i] = host;
        ptq_packed_move(&w->packed[i], image);
    }
    ptq_arena_free(arena);
}

static void give_packed(struct work *w)
{
    for (int i = 0; i < w->copies; i++) w->device->give((void *)w->packed[i].image);
}

/* FP16 patterns of normal numbers around 1 / 64: the low bits are random, the exponent is not. */
static void put_half(struct work *w)
{
    size_t count = (size_t)(w->n * w->k);
    struct ptq_rng rng = ptq_rng_make(2, "bench_gpu");
    uint16_t *host = malloc(2 * count);
    if (!host) die("too little memory");
    for (size_t i = 0; i < count; i++)
        host[i] = (uint16_t)(0x2400 | (ptq_rng_below(&rng, 2) << 15) | ptq_rng_below(&rng, 1024));
    w->bytes = 2 * count;
    w->copies = (int)(rotated / w->bytes) + 1;
    if (w->copies > MAX_COPIES) w->copies = MAX_COPIES;
    for (int i = 0; i < w->copies; i++) {
        w->half[i] = take(w->device, w->bytes);
        w->device->upload(w->half[i], host, w->bytes);
    }
    free(host);
}

/* ---- timing ---- */

static void once_packed(struct work *w, int copy, int kind)
{
    w->device->packed(w->y, w->n, w->x, w->k, &w->packed[copy], NULL, 0, w->m, w->scratch,
                      (enum ptq_packed_kernel)kind);
}

/* y[M][N] in row-major is [N][M] in cuBLAS's order. */
static void once_half(struct work *w, int copy, int kind)
{
    static const float one = 1, zero = 0;
    (void)kind;
    if (cublasGemmEx(w->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)w->n, (int)w->m, (int)w->k, &one, w->half[copy],
                     CUDA_R_16F, (int)w->k, w->x16, CUDA_R_16F, (int)w->k, &zero, w->y16, CUDA_R_16F, (int)w->n,
                     CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS)
        die("cuBLAS refuses a product");
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Microseconds: the median of runs of as many calls as there are copies, or more. */
static double measure(struct work *w, void (*once)(struct work *, int, int), int kind)
{
    float ms[RUNS];
    int calls = w->copies < 16 && w->m < 256 ? 16 : w->copies < 4 ? 4 : w->copies;
    for (int i = 0; i < calls; i++) once(w, i % w->copies, kind);
    for (int run = 0; run < RUNS; run++) {
        cudaEventRecord(w->begin, NULL);
        for (int i = 0; i < calls; i++) once(w, i % w->copies, kind);
        cudaEventRecord(w->end, NULL);
        cudaEventSynchronize(w->end);
        if (cudaEventElapsedTime(&ms[run], w->begin, w->end) != cudaSuccess) die("the clock of the device fails");
    }
    const char *failure = w->device->error();
    if (failure) die(failure);
    qsort(ms, RUNS, sizeof *ms, by_size);
    return 1000.0 * ms[RUNS / 2] / calls;
}

static void print_line(const struct work *w, const char *kernel, double us, double activation_bytes, double half_us)
{
    double bytes = (double)w->bytes + activation_bytes * (double)w->m * (double)(w->n + w->k);
    double flop = 2.0 * (double)w->m * (double)w->n * (double)w->k;
    printf("%lld\t%lld\t%lld\t%s\t%.2f\t%.0f\t%.1f\t%.2f\n", (long long)w->n, (long long)w->k, (long long)w->m, kernel,
           us, bytes / us / 1e3, flop / us / 1e6, half_us / us);
    fflush(stdout);
}

static void bench_half(struct work *w, double half_us[N_TOKENS])
{
    put_half(w);
    for (int i = 0; i < N_TOKENS; i++) {
        w->m = tokens[i];
        half_us[i] = measure(w, once_half, 0);
        print_line(w, "cuBLAS FP16", half_us[i], 2, half_us[i]);
    }
    for (int i = 0; i < w->copies; i++) w->device->give(w->half[i]);
}

static void bench_packed(struct work *w, int bits, const double half_us[N_TOKENS])
{
    put_packed(w, bits);
    w->scratch = take(w->device, w->device->packed_scratch(&w->packed[0], MAX_TOKENS));
    for (int i = 0; i < N_TOKENS; i++)
        for (int kind = PTQ_PACKED_BEST; kind <= PTQ_PACKED_PANELS; kind++) {
            char name[32];
            w->m = tokens[i];
            if (kind && (w->m > 16) != (kind >= PTQ_PACKED_FUSED)) continue; /* what they are for, or compared at */
            snprintf(name, sizeof name, "W%d %s", bits, kind_name[kind]);
            print_line(w, name, measure(w, once_packed, kind), 4, half_us[i]);
        }
    w->device->give(w->scratch);
    give_packed(w);
}

static void bench_shape(struct work *w)
{
    double half_us[N_TOKENS];
    size_t wide = (size_t)(w->n > w->k ? w->n : w->k) * MAX_TOKENS;
    float *host = malloc(sizeof *host * wide);
    struct ptq_rng rng = ptq_rng_make(3, "bench_gpu");
    if (!host) die("too little memory");
    for (size_t i = 0; i < wide; i++) host[i] = (float)ptq_rng_uniform(&rng) - 0.5F;
    w->x = take(w->device, sizeof(float) * wide);
    w->y = take(w->device, sizeof(float) * wide);
    w->x16 = take(w->device, 2 * wide);
    w->y16 = take(w->device, 2 * wide);
    w->device->upload(w->x, host, sizeof(float) * wide);
    uint16_t *half = malloc(2 * wide);
    if (!half) die("too little memory");
    for (size_t i = 0; i < wide; i++) half[i] = ptq_f16_encode(host[i]);
    w->device->upload(w->x16, half, 2 * wide);
    free(half);
    free(host);
    bench_half(w, half_us);
    bench_packed(w, 4, half_us);
    bench_packed(w, 3, half_us);
    w->device->give(w->x);
    w->device->give(w->y);
    w->device->give(w->x16);
    w->device->give(w->y16);
}

/* GB/s of a copy within the device, bytes read and bytes written, and of reading alone (a sum of absolute values):
 * what the kernels' GB/s are held against. */
static void bench_memory(struct work *w)
{
    enum { COUNT = 1 << 28 };
    float *from = take(w->device, sizeof(float) * COUNT), *to = take(w->device, sizeof(float) * COUNT), ms[2][RUNS];
    cudaMemset(from, 0x11, sizeof(float) * COUNT);
    for (int run = -1; run < RUNS; run++)
        for (int what = 0; what < 2; what++) {
            float sum;
            cudaEventRecord(w->begin, NULL);
            if (what == 0)
                cudaMemcpyAsync(to, from, sizeof(float) * COUNT, cudaMemcpyDeviceToDevice, NULL);
            else
                cublasSasum(w->blas, COUNT, from, 1, &sum);
            cudaEventRecord(w->end, NULL);
            cudaEventSynchronize(w->end);
            if (cudaEventElapsedTime(&ms[what][run < 0 ? 0 : run], w->begin, w->end) != cudaSuccess)
                die("the clock of the device fails");
        }
    for (int what = 0; what < 2; what++) qsort(ms[what], RUNS, sizeof(float), by_size);
    printf("# copy %.0f GB/s (read and written), read %.0f GB/s\n", 2 * sizeof(float) * COUNT / ms[0][RUNS / 2] / 1e6,
           sizeof(float) * COUNT / ms[1][RUNS / 2] / 1e6);
    w->device->give(from);
    w->device->give(to);
}

int main(int argc, char **argv)
{
    char why[256];
    struct work w = {.device = ptq_cuda_device(why, sizeof why)};
    if (!w.device) die(why);
    if (cublasCreate(&w.blas) != CUBLAS_STATUS_SUCCESS) die("cuBLAS does not start");
    if (cudaEventCreate(&w.begin) != cudaSuccess || cudaEventCreate(&w.end) != cudaSuccess) die("no events");
    printf("# %s, group %d\n# N\tK\ttokens\tkernel\tus\tGB/s\tTFLOP/s\ttimes cuBLAS FP16\n", w.device->name, GROUP);
    bench_memory(&w);
    for (int i = 0; i < N_SHAPES; i++) {
        if (argc == 3 && (shapes[i].n != atol(argv[1]) || shapes[i].k != atol(argv[2]))) continue;
        w.n = shapes[i].n;
        w.k = shapes[i].k;
        bench_shape(&w);
    }
    return 0;
}
