/* The emulated device must show what is wrong with a kernel: each of these is, and each is noticed. */
#include "model.cuh"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 64, WARPS = 8, ROUNDS = 4 };

/* out = in, back to front, through shared memory. */
__global__ void reverse_kernel(float *out, const float *in, bool with_barrier)
{
    float *shared = ptq_shared<float>();
    shared[threadIdx.x] = in[threadIdx.x];
    if (with_barrier) __syncthreads();
    out[threadIdx.x] = shared[N - 1 - threadIdx.x];
}

/* Two sums over a block through the same room: without the barrier a warp may write there while another, far behind,
 * still reads the first one. */
__global__ void sum_twice_kernel(float *out, bool with_barrier)
{
    float *part = ptq_shared<float>(), sum = (float)threadIdx.x;
    for (int round = 0; round < 2; round++) {
        for (int mask = 16; mask; mask /= 2) sum += ptq_shuffle_xor(sum, mask);
        if (round && with_barrier) __syncthreads();
        if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
        __syncthreads();
        sum = 0;
        for (int i = 0; i < WARPS; i++) sum += part[i];
    }
    out[threadIdx.x] = sum;
}

/* A ring of one stage, filled for each round: a lane says for its warp that the stage is free, right where the wait for
 * products is the warp's. */
__global__ void arrive_kernel(float *out, const float *in)
{
    unsigned char *shared = ptq_shared<unsigned char>();
    uint64_t *full = reinterpret_cast<uint64_t *>(shared + 1024 * 4), *empty = full + 1;
    if (threadIdx.x == 0) ptq_barrier_init(full, 1), ptq_barrier_init(empty, 4);
    ptq_barriers_ready();
    __syncthreads();
    float sum[16] = {};
    const uint32_t a[4] = {0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u}; /* ones */
    for (uint32_t round = 0; round < ROUNDS; round++) {
        if (threadIdx.x == 0) {
            if (round) ptq_barrier_wait(empty, (round - 1) & 1);
            ptq_barrier_expect(full, 1024 * 4);
            ptq_copy_bulk(shared, in + round * 1024, 1024 * 4, full);
        }
        ptq_barrier_wait(full, round & 1);
        ptq_wgmma_fence();
        ptq_wgmma<32>(sum, a, ptq_operand_at(shared), 0);
        ptq_wgmma_commit();
        ptq_wgmma_wait<0>();
        if (threadIdx.x % 32 == 0) ptq_barrier_arrive(empty);
    }
    out[threadIdx.x] = sum[0];
}

__global__ void copy_kernel(float *out, const float *in, bool with_wait)
{
    float *shared = ptq_shared<float>();
    ptq_copy_async16(shared + 4 * threadIdx.x, in + 4 * threadIdx.x, 12);
    ptq_copy_commit();
    if (with_wait) ptq_copy_wait<0>();
    for (int i = 0; i < 4; i++) out[4 * threadIdx.x + i] = shared[4 * threadIdx.x + i];
    ptq_copy_wait<0>();
}

__global__ void half_barrier_kernel()
{
    if (threadIdx.x < N / 2) __syncthreads();
}

__global__ void half_warp_kernel()
{
    if (threadIdx.x % 32 < 16) ptq_shuffle_xor(1, 1);
}

__global__ void unfinished_kernel(const float *in)
{
    ptq_copy_async16(ptq_shared<float>(), in, 16);
}

__global__ void large_kernel(float *out)
{
    *out = 1;
}

/* Of `orders` orders of the threads, in how many the reversed array is right. */
extern "C" int emulation_reversed(int with_barrier, int orders)
{
    float in[N], out[N];
    int right = 0;
    for (int i = 0; i < N; i++) in[i] = (float)i;
    for (int order = 0; order < orders; order++) {
        emulated::seed((uint64_t)order);
        PTQ_LAUNCH(reverse_kernel, 1, N, sizeof in, out, in, with_barrier != 0);
        bool same = true;
        for (int i = 0; i < N; i++) same = same && out[i] == in[N - 1 - i];
        right += same;
    }
    return right;
}

/* Of `orders` orders, in how many both sums are right. */
extern "C" int emulation_summed_twice(int with_barrier, int orders)
{
    float out[32 * WARPS];
    int right = 0;
    for (int order = 0; order < orders; order++) {
        emulated::seed((uint64_t)order);
        PTQ_LAUNCH(sum_twice_kernel, 1, 32 * WARPS, sizeof(float) * WARPS, out, with_barrier != 0);
        bool same = true;
        for (float sum : out) same = same && sum == 256.0f * (255 * 256 / 2);
        right += same;
    }
    return right;
}

/* Of `orders` orders, in how many the products of ones and 1, 2, 4, 8 are all there. */
extern "C" int emulation_arrived(int orders)
{
    alignas(16) static uint16_t in[ROUNDS][1024 * 2];
    float out[128];
    int right = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (uint16_t &half : in[round]) half = (uint16_t)(0x3c00 + 0x400 * round);
    for (int order = 0; order < orders; order++) {
        emulated::seed((uint64_t)order);
        PTQ_LAUNCH(arrive_kernel, 1, 128, 1024 * 4 + 16, out, reinterpret_cast<const float *>(in[0]));
        bool same = true;
        for (float sum : out) same = same && sum == 16 * (1 + 2 + 4 + 8);
        right += same;
    }
    return right;
}

/* 1 where copies of 3 of 4 values arrive, the fourth as 0. */
extern "C" int emulation_copied(int with_wait)
{
    alignas(16) float in[4 * 32];
    float out[4 * 32];
    for (int i = 0; i < 4 * 32; i++) in[i] = (float)i;
    PTQ_LAUNCH(copy_kernel, 1, 32, sizeof in, out, in, with_wait != 0);
    bool same = true;
    for (int i = 0; i < 4 * 32; i++) same = same && out[i] == (i % 4 == 3 ? 0 : in[i]);
    return same;
}

/* 1 where the kernel ends the process by abort, as it must. */
extern "C" int emulation_ends(int which)
{
    alignas(16) static const float in[4] = {};
    static float out;
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        if (which == 0) PTQ_LAUNCH(half_barrier_kernel, 1, N, 0);
        if (which == 1) PTQ_LAUNCH(half_warp_kernel, 1, N, 0);
        if (which == 2) PTQ_LAUNCH(unfinished_kernel, 1, 32, 32 * 16, in);
        if (which == 3) PTQ_LAUNCH(large_kernel, 1, 1, (99 << 10) + 16, &out);
        if (which == 4) PTQ_LAUNCH(large_kernel, 1, 1, 99 << 10, &out);
        _exit(0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
