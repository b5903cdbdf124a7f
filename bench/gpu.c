/* bench_gpu [N K [TOKENS]]: what the packed kernels reach on the device, beside cuBLAS in FP16 on the same shapes, in
 * one run.
 *
 * One line a measurement, separated by tabs: N, K, tokens, kernel, microseconds (median), GB/s (weights, activations
 * and results, each once), that in percent of a copy's, TFLOP/s, how many times as fast as cuBLAS FP16. Weights are
 * random and rotate over copies of three times the L2 cache and more, so that they come from memory. Calls are timed in
 * CUDA graphs of many, so that what is timed is the device's work and not the host's. */
#include "device.h"
#include "dtype.h"
#include "grid.h"
#include "rng.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 128, RUNS = 9, REPLAYS = 3, MAX_COPIES = 64, MAX_CALLS = 128, MAX_TOKENS = 8192, SOME_ROWS = 256 };
static const size_t rotated = (size_t)256 << 20, workspace = (size_t)32 << 20;
static const double graph_us = 600; /* about as long is a graph */

static const struct {
    int64_t n, k;
} shapes[] = {{4096, 4096}, {8192, 8192}, {28672, 8192}, {8192, 28672}};
static const int64_t tokens[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048, MAX_TOKENS};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, N_TOKENS = sizeof tokens / sizeof *tokens };

/* One linear, in copies. */
struct work {
    const struct ptq_device *device;
    cublasHandle_t blas;
    cudaStream_t stream; /* of cuBLAS */
    cudaEvent_t begin, end;
    int64_t n, k, m;
    struct ptq_packed packed[MAX_COPIES];
    unsigned char *half[MAX_COPIES];
    int copies;
    float *x, *y;
    void *x16, *y16, *scratch;
    size_t bytes;    /* of one copy */
    double copy_gbs; /* of a copy within the device */
    int64_t most;    /* tokens */
    void (*once)(struct work *, int copy);
    int calls; /* of a graph */
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

/* Device memory of `bytes` bytes that repeats `some` bytes of the host. */
static void *repeated(const struct ptq_device *d, const void *host, size_t some, size_t bytes)
{
    char *memory = take(d, bytes);
    if (some > bytes) some = bytes;
    d->upload(memory, host, some);
    for (size_t done = some; done < bytes; done += some) {
        if (done > some) some = done;
        if (some > bytes - done) some = bytes - done;
        if (cudaMemcpy(memory + done, memory, some, cudaMemcpyDeviceToDevice) != cudaSuccess) die("a copy fails");
    }
    return memory;
}

/* ---- weights ---- */

/* SOME_ROWS rows, packed. */
static void pack_some(struct ptq_arena *arena, int bits, int64_t k, struct ptq_packed *out)
{
    struct ptq_rng rng = ptq_rng_make(1, "bench_gpu");
    const int64_t n = SOME_ROWS;
    struct ptq_grid grid = {.w_bit = bits, .group_size = GROUP};
    struct ptq_qmat q;
    struct ptq_error err;
    ptq_qmat_make(arena, &grid, n, k, &q);
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
    ptq_rng_permutation(&rng, q.perm, (int32_t)k);
    if (ptq_pack(arena, &q, out, &err)) die(err.text);
}

/* The rows that were packed, again and again, until there are N: as pointers, without an image. */
static void put_packed(struct work *w, int bits)
{
    struct ptq_arena *arena = ptq_arena_make("bench_gpu");
    struct ptq_packed host;
    pack_some(arena, bits, w->k, &host);
    const size_t tiles = SOME_ROWS / PTQ_PACK_ROWS, all = (size_t)w->n / PTQ_PACK_ROWS,
                 code = (size_t)(host.places / PTQ_PACK_STEP) * (size_t)bits * PTQ_PACK_ROWS * sizeof(uint32_t),
                 scale = (size_t)host.n_groups * PTQ_PACK_ROWS * sizeof(uint16_t),
                 zero = (size_t)(host.n_groups * host.zero_bytes), perm = (size_t)w->k * sizeof(int32_t);
    w->bytes = all * (code + scale + zero) + perm;
    w->copies = (int)(rotated / w->bytes) + 2;
    if (w->copies > MAX_COPIES) w->copies = MAX_COPIES;
    for (int i = 0; i < w->copies; i++) {
        w->packed[i] = host;
        w->packed[i].n = w->n;
        w->packed[i].tiles = (int64_t)all;
        w->packed[i].code = repeated(w->device, host.code, tiles * code, all * code);
        w->packed[i].scale16 = repeated(w->device, host.scale16, tiles * scale, all * scale);
        w->packed[i].zero = repeated(w->device, host.zero, tiles * zero, all * zero);
        w->packed[i].perm = repeated(w->device, host.perm, perm, perm);
    }
    ptq_arena_free(arena);
}

static void give_packed(struct work *w)
{
    for (int i = 0; i < w->copies; i++) {
        const void *all[] = {w->packed[i].code, w->packed[i].scale16, w->packed[i].zero, w->packed[i].perm};
        for (int j = 0; j < 4; j++) w->device->give((void *)all[j]);
    }
}

/* FP16 patterns of normal numbers around 1 / 64: the low bits are random, the exponent is not. */
static void put_half(struct work *w)
{
    size_t count = (size_t)(w->n * w->k), some = (size_t)SOME_ROWS * (size_t)w->k;
    struct ptq_rng rng = ptq_rng_make(2, "bench_gpu");
    uint16_t *host = malloc(2 * some);
    if (!host) die("too little memory");
    for (size_t i = 0; i < some; i++)
        host[i] = (uint16_t)(0x2400 | (ptq_rng_below(&rng, 2) << 15) | ptq_rng_below(&rng, 1024));
    w->bytes = 2 * count;
    w->copies = (int)(rotated / w->bytes) + 2;
    if (w->copies > MAX_COPIES) w->copies = MAX_COPIES;
    for (int i = 0; i < w->copies; i++) w->half[i] = repeated(w->device, host, 2 * some, 2 * count);
    free(host);
}

/* ---- one call ---- */

static void as_kind(struct work *w, int copy, enum ptq_packed_kernel kind)
{
    w->device->packed(w->y, w->n, w->x, w->k, &w->packed[copy], NULL, 0, w->m, w->scratch, kind);
}

static void once_whole(struct work *w, int copy)
{
    as_kind(w, copy, PTQ_PACKED_BEST);
}

static void once_gather(struct work *w, int copy)
{
    as_kind(w, copy, PTQ_PACKED_GATHER);
}

static void once_fused(struct work *w, int copy)
{
    as_kind(w, copy, PTQ_PACKED_FUSED);
}

static void once_panels(struct work *w, int copy)
{
    as_kind(w, copy, PTQ_PACKED_PANELS);
}

static void once_plain(struct work *w, int copy)
{
    as_kind(w, copy, PTQ_PACKED_PLAIN);
}

/* The activations are there already, as they are for all but the first of the linears that read the same. */
static void once_alone(struct work *w, int copy)
{
    w->device->packed_multiply(w->y, w->n, &w->packed[copy], NULL, 0, w->m, w->scratch);
}

/* y[M][N] in row-major is [N][M] in cuBLAS's order. */
static void once_half(struct work *w, int copy)
{
    static const float one = 1, zero = 0;
    if (cublasGemmEx(w->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)w->n, (int)w->m, (int)w->k, &one, w->half[copy],
                     CUDA_R_16F, (int)w->k, w->x16, CUDA_R_16F, (int)w->k, &zero, w->y16, CUDA_R_16F, (int)w->n,
                     CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS)
        die("cuBLAS refuses a product");
}

/* ---- timing ---- */

static void calls_of_graph(void *context)
{
    struct work *w = context;
    for (int i = 0; i < w->calls; i++) w->once(w, i % w->copies);
}

/* cuBLAS is on a stream of its own, which the device's record does not know. */
static void *record_half(struct work *w)
{
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    if (cudaStreamBeginCapture(w->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) die("no capture begins");
    calls_of_graph(w);
    if (cudaStreamEndCapture(w->stream, &graph) != cudaSuccess) die("cuBLAS cannot be captured");
    if (cudaGraphInstantiate(&ready, graph, 0) != cudaSuccess) die("a graph is refused");
    cudaGraphDestroy(graph);
    return ready;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float time_replays(struct work *w, void *graph, int is_half)
{
    float ms;
    cudaEventRecord(w->begin, NULL);
    for (int i = 0; i < REPLAYS; i++) {
        if (!is_half)
            w->device->decoding.replay(graph);
        else if (cudaGraphLaunch(graph, w->stream) != cudaSuccess)
            die("a graph does not start");
    }
    cudaEventRecord(w->end, NULL);
    cudaEventSynchronize(w->end);
    if (cudaEventElapsedTime(&ms, w->begin, w->end) != cudaSuccess) die("the clock of the device fails");
    return ms;
}

/* Microseconds of a call: the median of runs of graphs of many, each of which takes about us. */
static double measure(struct work *w, void (*once)(struct work *, int), double us)
{
    float ms[RUNS];
    int is_half = once == once_half;
    double calls = graph_us / us;
    w->once = once;
    w->calls = calls > MAX_CALLS ? MAX_CALLS : calls < 2 ? 2 : (int)calls;
    for (int i = 0; i < 3; i++) once(w, i % w->copies); /* loads the kernels, which a capture may not */
    void *graph = is_half ? record_half(w) : w->device->decoding.record(calls_of_graph, w);
    if (!graph) die(w->device->error());
    time_replays(w, graph, is_half);
    for (int run = 0; run < RUNS; run++) ms[run] = time_replays(w, graph, is_half);
    const char *failure = w->device->error();
    if (failure) die(failure);
    if (is_half)
        cudaGraphExecDestroy(graph);
    else
        w->device->decoding.forget(graph);
    qsort(ms, RUNS, sizeof *ms, by_size);
    return 1000.0 * ms[RUNS / 2] / REPLAYS / w->calls;
}

static void print_line(const struct work *w, const char *kernel, double us, double activation_bytes, double half_us)
{
    double bytes = (double)w->bytes + activation_bytes * (double)w->m * (double)(w->n + w->k);
    double flop = 2.0 * (double)w->m * (double)w->n * (double)w->k, gbs = bytes / us / 1e3;
    printf("%lld\t%lld\t%lld\t%s\t%.2f\t%.0f\t%.0f\t%.1f\t%.2f\n", (long long)w->n, (long long)w->k, (long long)w->m,
           kernel, us, gbs, 100 * gbs / w->copy_gbs, flop / us / 1e6, half_us / us);
    fflush(stdout);
}

/* About what a call takes: from memory or from tensor cores. */
static double expected_us(const struct work *w)
{
    double memory = (double)w->bytes / 4e6, product = 2.0 * (double)w->m * (double)w->n * (double)w->k / 5e8;
    return (memory > product ? memory : product) + 2;
}

static void bench_half(struct work *w, double half_us[N_TOKENS])
{
    put_half(w);
    for (int i = 0; i < N_TOKENS && tokens[i] <= w->most; i++) {
        w->m = tokens[i];
        half_us[i] = measure(w, once_half, expected_us(w));
        print_line(w, "cuBLAS FP16", half_us[i], 2, half_us[i]);
    }
    for (int i = 0; i < w->copies; i++) w->device->give(w->half[i]);
}

static void bench_packed(struct work *w, int bits, const double half_us[N_TOKENS])
{
    static const struct {
        const char *name;
        void (*once)(struct work *, int);
        int64_t least, most; /* tokens that it is timed for */
        double slow;         /* times what is expected of the others */
    } ways[] = {{"W%d", once_alone, 1, MAX_TOKENS, 1},        {"W%d with activations", once_whole, 1, MAX_TOKENS, 1},
                {"W%d gather", once_gather, 1, 1, 10},        {"W%d plain", once_plain, 1, 1, 40},
                {"W%d fused", once_fused, 32, MAX_TOKENS, 1}, {"W%d panels", once_panels, 32, MAX_TOKENS, 1}};
    put_packed(w, bits);
    w->scratch = take(w->device, w->device->packed_scratch(&w->packed[0], MAX_TOKENS));
    for (int i = 0; i < N_TOKENS && tokens[i] <= w->most; i++)
        for (int way = 0; way < (int)(sizeof ways / sizeof *ways); way++) {
            char name[32];
            w->m = tokens[i];
            if (w->m < ways[way].least || w->m > ways[way].most) continue;
            w->device->packed_acts(&w->packed[0], w->x, w->k, w->m, w->scratch);
            snprintf(name, sizeof name, ways[way].name, bits);
            print_line(w, name, measure(w, ways[way].once, expected_us(w) * ways[way].slow), 4, half_us[i]);
        }
    w->device->give(w->scratch);
    give_packed(w);
}

static void bench_shape(struct work *w)
{
    double half_us[N_TOKENS];
    size_t wide = (size_t)(w->n > w->k ? w->n : w->k) * MAX_TOKENS, some = (size_t)1 << 20;
    float *host = malloc(sizeof *host * some);
    uint16_t *half = malloc(2 * some);
    struct ptq_rng rng = ptq_rng_make(3, "bench_gpu");
    if (!host || !half) die("too little memory");
    for (size_t i = 0; i < some; i++) host[i] = (float)ptq_rng_uniform(&rng) - 0.5F;
    for (size_t i = 0; i < some; i++) half[i] = ptq_f16_encode(host[i]);
    w->x = repeated(w->device, host, sizeof(float) * some, sizeof(float) * wide);
    w->y = take(w->device, sizeof(float) * wide);
    w->x16 = repeated(w->device, half, 2 * some, 2 * wide);
    w->y16 = take(w->device, 2 * wide);
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
    w->copy_gbs = 2 * sizeof(float) * COUNT / ms[0][RUNS / 2] / 1e6;
    printf("# copy %.0f GB/s (read and written), read %.0f GB/s\n", w->copy_gbs,
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
    if (cudaStreamCreate(&w.stream) != cudaSuccess) die("no stream");
    if (cudaEventCreate(&w.begin) != cudaSuccess || cudaEventCreate(&w.end) != cudaSuccess) die("no events");
    printf("# %s, group %d\n# N\tK\ttokens\tkernel\tus\tGB/s\t%% of copy\tTFLOP/s\ttimes cuBLAS FP16\n", w.device->name,
           GROUP);
    bench_memory(&w);
    void *room = take(w.device, workspace); /* a capture may not allocate */
    if (cublasSetStream(w.blas, w.stream) != CUBLAS_STATUS_SUCCESS ||
        cublasSetWorkspace(w.blas, room, workspace) != CUBLAS_STATUS_SUCCESS)
        die("cuBLAS refuses its stream");
    w.most = argc > 3 ? strtol(argv[3], NULL, 10) : MAX_TOKENS;
    for (int i = 0; i < (argc > 2 ? 1 : N_SHAPES); i++) {
        w.n = argc > 2 ? strtol(argv[1], NULL, 10) : shapes[i].n;
        w.k = argc > 2 ? strtol(argv[2], NULL, 10) : shapes[i].k;
        if (w.n < SOME_ROWS || w.n % SOME_ROWS || w.k < GROUP || w.k % GROUP)
            die("N must be a multiple of 256, K one of 128");
        bench_shape(&w);
    }
    return 0;
}
