/* The first CUDA device: memory, failures, and products by cuBLAS in float32. */
#include "../memory.cuh"

#include "../../device.h"
#include "../cuda.h"
#include "../decode.cuh"
#include "../parts.cuh"

#include <cstdio>
#include <cublas_v2.h>

extern "C" const struct ptq_device *ptq_cuda_device(char *why, size_t size)
{
    return ptq_cuda::device(why, size);
}

namespace ptq_cuda
{
static char failure[256];
static cudaDeviceProp properties;
static cublasHandle_t blas, blas_half; /* float32 as it is, no TF32; FP16 on tensor cores */
cudaStream_t stream;
bool early;

void note(cudaError_t status, const char *what)
{
    if (status != cudaSuccess && !failure[0])
        snprintf(failure, sizeof failure, "CUDA, %s: %s", what, cudaGetErrorString(status));
}

static void note_blas(cublasStatus_t status, const char *what)
{
    if (status != CUBLAS_STATUS_SUCCESS && !failure[0])
        snprintf(failure, sizeof failure, "cuBLAS, %s: %s", what, cublasGetStatusString(status));
}

void note_failure(const char *what, int status)
{
    if (!failure[0]) snprintf(failure, sizeof failure, "%s: status %d", what, status);
}

/* The first failure that was noted, once. */
static const char *tell()
{
    static char told[sizeof failure];
    if (!failure[0]) return nullptr;
    snprintf(told, sizeof told, "%s", failure);
    failure[0] = 0;
    return told;
}

const char *error()
{
    note(cudaDeviceSynchronize(), "a kernel");
    return tell();
}

int processors()
{
    return properties.multiProcessorCount;
}

size_t most_shared()
{
    return properties.sharedMemPerBlockOptin;
}

/* What the code can that runs here. It need not be what the device can: one that is newer than all that were compiled
 * for compiles sm_80's PTX, whose kernels neither wait for their turn (ptq_turn) nor have wgmma. */
enum { CAN_TAKE_TURNS = 1, CAN_WGMMA = 2 };
static int code_can;

static __global__ void code_can_kernel(int *can)
{
    *can = 0;
#if __CUDA_ARCH__ >= 900
    *can |= CAN_TAKE_TURNS;
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    *can |= CAN_WGMMA;
#endif
}

static cudaError_t ask_code()
{
    int *can = nullptr;
    cudaError_t status = cudaMalloc(&can, sizeof *can);
    if (status != cudaSuccess) return status;
    code_can_kernel<<<1, 1, 0, stream>>>(can);
    status = cudaGetLastError();
    if (status == cudaSuccess)
        status = cudaMemcpyAsync(&code_can, can, sizeof code_can, cudaMemcpyDeviceToHost, stream);
    if (status == cudaSuccess) status = cudaStreamSynchronize(stream);
    cudaFree(can);
    return status;
}

const char *open_device(char *why, size_t size)
{
    int n = 0;
    cudaError_t status = cudaGetDeviceCount(&n);
    if (status == cudaSuccess && n == 0) status = cudaErrorNoDevice;
    if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, 0);
    if (status != cudaSuccess) {
        int driver = 0;
        if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
        if (why) ptq_cuda_explain(driver, CUDART_VERSION, n, why, size);
        return nullptr;
    }
    if (properties.major < 8) {
        if (why)
            snprintf(why, size, "%s is sm_%d%d; sm_80 or newer is needed", properties.name, properties.major,
                     properties.minor);
        return nullptr;
    }
    status = cudaStreamCreate(&stream);
    if (status == cudaSuccess) status = ask_code();
    if (status != cudaSuccess) {
        if (why)
            snprintf(why, size, "%s (sm_%d%d) runs no kernel of this ptq: %s", properties.name, properties.major,
                     properties.minor, cudaGetErrorString(status));
        return nullptr;
    }
    early = code_can & CAN_TAKE_TURNS;
    if (cublasCreate(&blas) != CUBLAS_STATUS_SUCCESS || cublasCreate(&blas_half) != CUBLAS_STATUS_SUCCESS) {
        if (why) snprintf(why, size, "%s: cuBLAS does not start", properties.name);
        return nullptr;
    }
    note_blas(cublasSetMathMode(blas, CUBLAS_PEDANTIC_MATH), "math mode");
    note_blas(cublasSetStream(blas, stream), "stream");
    note_blas(cublasSetStream(blas_half, stream), "stream");
    return properties.name;
}

void *take(size_t bytes)
{
    void *memory = nullptr;
    if (cudaMalloc(&memory, bytes ? bytes : 1) == cudaSuccess) return memory;
    cudaGetLastError(); /* the caller asks for less, or says so: it is no failure of a kernel */
    return nullptr;
}

void give(void *memory)
{
    note(cudaFree(memory), "free");
}

size_t room()
{
    size_t left = 0, all = 0;
    note(cudaMemGetInfo(&left, &all), "memory");
    return left;
}

int version()
{
    return code_can & CAN_WGMMA ? 90 : 80;
}

/* ---- ids that come back while what follows them is computed ---- */

static struct {
    int32_t *id; /* pinned */
    cudaEvent_t here;
} coming;

void fetch(const int32_t *id)
{
    if (!coming.id) {
        note(cudaMallocHost(&coming.id, sizeof *coming.id), "pinned memory");
        note(cudaEventCreateWithFlags(&coming.here, cudaEventDisableTiming), "an event");
    }
    note(cudaMemcpyAsync(coming.id, id, sizeof *id, cudaMemcpyDeviceToHost, stream), "an id");
    note(cudaEventRecord(coming.here, stream), "an id");
}

int32_t fetched(const char **failure)
{
    note(cudaEventSynchronize(coming.here), "an id");
    *failure = tell();
    return *failure ? -1 : *coming.id;
}

/* ---- recordings: CUDA graphs ---- */

void *record(void (*step)(void *), void *context)
{
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t ready = nullptr;
    cudaError_t status = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (status == cudaSuccess) {
        step(context);
        status = cudaStreamEndCapture(stream, &graph);
    }
    if (status == cudaSuccess) status = cudaGraphInstantiate(&ready, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (status == cudaSuccess) return ready;
    cudaGetLastError(); /* the next kernel's launch would be taken for what failed */
    note(status, "a recorded step");
    return nullptr;
}

void replay(void *recording)
{
    note(cudaGraphLaunch(static_cast<cudaGraphExec_t>(recording), stream), "a recorded step");
}

void forget(void *recording)
{
    if (recording) note(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recording)), "a recorded step");
}

/* ---- cuBLAS is column-major: a row-major [M][N] is its [N][M], so the operands change places ---- */

static const float one = 1, zero = 0;

void product(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t ldw, int accumulate, int64_t m,
             int64_t n, int64_t k)
{
    note_blas(cublasSgemm(blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)n, (int)m, (int)k, &one, w, (int)ldw, x, (int)ldx,
                          accumulate ? &one : &zero, y, (int)ldy),
              "product");
}

void half_product(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int accumulate,
                  int64_t m, int64_t n, int64_t k)
{
    note_blas(cublasGemmEx(blas_half, CUBLAS_OP_T, CUBLAS_OP_N, (int)n, (int)m, (int)k, &one, w, CUDA_R_16F, (int)ldw,
                           x, CUDA_R_16F, (int)ldx, accumulate ? &one : &zero, y, CUDA_R_32F, (int)ldy,
                           CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
              "half_product");
}

void add_plain(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m, int64_t n,
               int64_t k)
{
    note_blas(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, (int)n, (int)m, (int)k, &one, b, (int)ldb, a, (int)lda, &one,
                          y, (int)ldy),
              "add_plain");
}

void subtract_plain(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                    int64_t n, int64_t k)
{
    static const float minus = -1;
    note_blas(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, (int)n, (int)m, (int)k, &minus, b, (int)ldb, a, (int)lda,
                          &one, y, (int)ldy),
              "subtract_plain");
}

void columns_product(float *y, int64_t ldy, float fade, float sign, const float *a, int64_t lda, const float *b,
                     int64_t ldb, int64_t m, int64_t n, int64_t k)
{
    note_blas(cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_T, (int)n, (int)m, (int)k, &sign, b, (int)ldb, a, (int)lda,
                          &fade, y, (int)ldy),
              "columns_product");
}
} // namespace ptq_cuda
