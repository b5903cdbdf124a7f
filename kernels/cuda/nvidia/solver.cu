/* cuBLAS on tensor cores (FP16 in, float32 sums) and cuSOLVER in float64, with handles of their own: alpha is read on
 * the device. cuSOLVER, 0.3 GB with what it needs, is loaded when GPTQ asks for it: nothing else does. */
#include "../memory.cuh"
#include "../solver.cuh"

#include <cublas_v2.h>
#include <cusolverDn.h>
#include <dlfcn.h>

namespace ptq_cuda
{
struct handles {
    cublasHandle_t blas;
    float *beta; /* {0, 1} */
};

static void note_status(int status, const char *what)
{
    if (status) note_failure(what, status);
}

static const struct handles *handles()
{
    static struct handles h;
    const float beta[2] = {0, 1};
    if (h.blas) return &h;
    note_status(cublasCreate(&h.blas), "cuBLAS, create");
    note_status(cublasSetPointerMode(h.blas, CUBLAS_POINTER_MODE_DEVICE), "cuBLAS, pointer mode");
    note_status(cublasSetMathMode(h.blas, static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                                                    CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
                "cuBLAS, math mode");
    note_status(cublasSetStream(h.blas, stream), "cuBLAS, stream");
    h.beta = static_cast<float *>(take(sizeof beta));
    if (h.beta) upload(h.beta, beta, sizeof beta);
    return &h;
}

/* Column-major: y's [N][M] = op(w) x */
static void batched(cublasOperation_t op, struct floats y, struct halves x, struct halves w, const float *alpha,
                    int accumulate, int64_t m, int64_t n, int64_t k, int64_t batch)
{
    const struct handles *h = handles();
    note_status(cublasGemmStridedBatchedEx(h->blas, op, CUBLAS_OP_N, (int)n, (int)m, (int)k, alpha, w.at, CUDA_R_16F,
                                           (int)w.ld, w.stride, x.at, CUDA_R_16F, (int)x.ld, x.stride,
                                           h->beta + (accumulate != 0), y.at, CUDA_R_32F, (int)y.ld, y.stride,
                                           (int)batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                "cuBLAS, product in FP16");
}

void half_product(struct floats y, struct halves x, struct halves w, const float *alpha, int accumulate, int64_t m,
                  int64_t n, int64_t k, int64_t batch)
{
    batched(CUBLAS_OP_T, y, x, w, alpha, accumulate, m, n, k, batch);
}

void half_plain(struct floats y, struct halves x, struct halves w, const float *alpha, int accumulate, int64_t m,
                int64_t n, int64_t k, int64_t batch)
{
    batched(CUBLAS_OP_N, y, x, w, alpha, accumulate, m, n, k, batch);
}

void half_columns(float *y, int64_t ldy, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                  const float *alpha, int64_t m, int64_t n, int64_t k)
{
    const struct handles *h = handles();
    note_status(cublasGemmEx(h->blas, CUBLAS_OP_N, CUBLAS_OP_T, (int)n, (int)m, (int)k, alpha, b, CUDA_R_16F, (int)ldb,
                             a, CUDA_R_16F, (int)lda, h->beta + 1, y, CUDA_R_32F, (int)ldy, CUBLAS_COMPUTE_32F,
                             CUBLAS_GEMM_DEFAULT),
                "cuBLAS, Gram matrix in FP16");
}

struct cusolver {
    cusolverDnHandle_t handle;
    decltype(&cusolverDnDpotrf_bufferSize) room;
    decltype(&cusolverDnDpotrf) factor;
};

template <class Function> static bool find(void *library, const char *name, Function *out)
{
    *out = reinterpret_cast<Function>(dlsym(library, name));
    return *out != nullptr;
}

/* NULL, and a failure noted, where it is not installed. */
static const struct cusolver *cusolver()
{
#define PTQ_TEXT(x) #x
#define PTQ_LIBRARY(major) "libcusolver.so." PTQ_TEXT(major)
    static const char name[] = PTQ_LIBRARY(CUSOLVER_VER_MAJOR);
    static struct cusolver s;
    decltype(&cusolverDnCreate) create;
    decltype(&cusolverDnSetStream) set_stream;
    if (s.handle) return &s;
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library || !find(library, "cusolverDnCreate", &create) || !find(library, "cusolverDnSetStream", &set_stream) ||
        !find(library, "cusolverDnDpotrf_bufferSize", &s.room) || !find(library, "cusolverDnDpotrf", &s.factor)) {
        note_failure(PTQ_LIBRARY(CUSOLVER_VER_MAJOR) ", which GPTQ needs, is not found (LD_LIBRARY_PATH)", 0);
        return nullptr;
    }
    note_status(create(&s.handle), "cuSOLVER, create");
    if (s.handle) note_status(set_stream(s.handle, stream), "cuSOLVER, stream");
    return s.handle ? &s : nullptr;
}

/* Row-major lower is column-major upper. */
int64_t cholesky(double *a, int64_t k)
{
    const struct cusolver *s = cusolver();
    int floats = 0, bad = 0, n = (int)k;
    if (!s) return 0;
    note_status(s->room(s->handle, CUBLAS_FILL_MODE_UPPER, n, a, n, &floats), "cuSOLVER, room");
    size_t bytes = sizeof(double) * (size_t)floats;
    unsigned char *room = static_cast<unsigned char *>(take(bytes + 256));
    if (!room) {
        note_failure("cuSOLVER: too little memory for a factor", 0);
        return 0;
    }
    note_status(s->factor(s->handle, CUBLAS_FILL_MODE_UPPER, n, a, n, reinterpret_cast<double *>(room + 256), floats,
                          reinterpret_cast<int *>(room)),
                "cuSOLVER, potrf");
    download(&bad, room, sizeof bad);
    give(room);
    return bad;
}

void copy(void *to, const void *from, size_t bytes)
{
    note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copy");
}

void clear(void *at, size_t bytes)
{
    note(cudaMemsetAsync(at, 0, bytes, stream), "clear");
}
} // namespace ptq_cuda
