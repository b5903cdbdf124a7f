/* What only the build that looks for races shows (PTQ_RACES): a kernel that is right in every order of its threads, and
 * wrong on a device. */
#include "model.cuh"

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

/* All lanes come to the shuffle, but it passes values and orders no memory. */
__global__ void shuffled_kernel(float *out, bool with_barrier)
{
    float *shared = ptq_shared<float>();
    shared[threadIdx.x] = (float)threadIdx.x;
    int other = ptq_shuffle_xor((int)threadIdx.x, 1);
    if (with_barrier) __syncwarp();
    out[threadIdx.x] = shared[other];
}

/* 1 where its read behind the shuffle is taken for a race. */
extern "C" int emulation_races(int with_barrier)
{
    enum { FOUND = 66 /* ThreadSanitizer's exit */ };
    static float out[32];
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        PTQ_LAUNCH(shuffled_kernel, 1, 32, sizeof out, out, with_barrier != 0);
        exit(0); /* not _exit: it has its say there */
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == FOUND;
}

extern "C" int emulation_looks_for_races()
{
#ifdef PTQ_RACES
    return 1;
#else
    return 0;
#endif
}
