/* The emulated device must show what is wrong with a kernel: each of these is, and each is noticed. */
#include "model.cuh"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 64 };

/* out = in, back to front, through shared memory. */
__global__ void reverse_kernel(float *out, const float *in, bool with_barrier)
{
    float *shared = ptq_shared<float>();
    shared[threadIdx.x] = in[threadIdx.x];
    if (with_barrier) __syncthreads();
    out[threadIdx.x] = shared[N - 1 - threadIdx.x];
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
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        if (which == 0) PTQ_LAUNCH(half_barrier_kernel, 1, N, 0);
        if (which == 1) PTQ_LAUNCH(half_warp_kernel, 1, N, 0);
        if (which == 2) PTQ_LAUNCH(unfinished_kernel, 1, 32, 32 * 16, in);
        _exit(0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
