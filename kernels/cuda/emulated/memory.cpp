/* Device memory is the host's, each piece by itself, so that AddressSanitizer sees a kernel leave it. */
#include "../../device.h"
#include "../memory.cuh"

#include "../decode.cuh"
#include "../parts.cuh"

#include <cstdio>
#include <cstdlib>

namespace emulated
{
namespace
{
bool records;
std::vector<std::function<void()>> recorded;
} // namespace

void later(const std::function<void()> &what)
{
    if (records)
        recorded.push_back(what);
    else
        what();
}

void begin_recording()
{
    not_recorded("another recording");
    records = true;
}

std::vector<std::function<void()>> end_recording()
{
    records = false;
    return std::move(recorded);
}

void not_recorded(const char *what)
{
    if (!records) return;
    fprintf(stderr, "emulated CUDA: %s while a step is recorded\n", what);
    abort();
}
} // namespace emulated

extern "C" const struct ptq_device *ptq_cuda_emulated_device(void)
{
    return ptq_cuda::device(nullptr, 0);
}

namespace ptq_cuda
{
const char *open_device(char *, size_t)
{
    return "emulated CUDA";
}

void *take(size_t bytes)
{
    return malloc(bytes ? bytes : 1);
}

void give(void *memory)
{
    free(memory);
}

void upload(void *device, const void *host, size_t bytes)
{
    emulated::not_recorded("an upload");
    memcpy(device, host, bytes);
}

void download(void *host, const void *device, size_t bytes)
{
    emulated::not_recorded("a download");
    memcpy(host, device, bytes);
}

size_t room()
{
    return (size_t)1 << 40;
}

/* A small one, so that work is cut as on a large one. */
int processors()
{
    return 2;
}

size_t most_shared()
{
    return emulated::most_shared;
}

const char *error()
{
    return nullptr;
}

int version()
{
    return 90;
}

/* ---- recordings, and ids that come back ---- */

static int32_t id_here;

void fetch(const int32_t *id)
{
    emulated::not_recorded("a fetch");
    id_here = *id;
}

int32_t fetched(const char **failure)
{
    *failure = error();
    return id_here;
}

using recording = std::vector<std::function<void()>>;

void *record(void (*step)(void *), void *context)
{
    emulated::begin_recording();
    step(context);
    return new recording(emulated::end_recording());
}

void replay(void *what)
{
    for (const std::function<void()> &each : *static_cast<recording *>(what)) each();
}

void forget(void *what)
{
    delete static_cast<recording *>(what);
}

/* ---- what cuBLAS does there ---- */

void product(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t ldw, int accumulate, int64_t m,
             int64_t n, int64_t k)
{
    emulated::later([=] {
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                float sum = 0;
                for (int64_t l = 0; l < k; l++) sum += x[i * ldx + l] * w[j * ldw + l];
                y[i * ldy + j] = accumulate ? y[i * ldy + j] + sum : sum;
            }
    });
}

void half_product(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int accumulate,
                  int64_t m, int64_t n, int64_t k)
{
    emulated::later([=] {
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                float sum = 0;
                for (int64_t l = 0; l < k; l++)
                    sum += ptq_half_to_float(x[i * ldx + l]) * ptq_half_to_float(w[j * ldw + l]);
                y[i * ldy + j] = accumulate ? y[i * ldy + j] + sum : sum;
            }
    });
}

void add_plain(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m, int64_t n,
               int64_t k)
{
    emulated::not_recorded("add_plain");
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) y[i * ldy + j] += a[i * lda + l] * b[l * ldb + j];
}

void subtract_plain(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                    int64_t n, int64_t k)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) y[i * ldy + j] -= a[i * lda + l] * b[l * ldb + j];
}

void columns_product(float *y, int64_t ldy, float fade, float sign, const float *a, int64_t lda, const float *b,
                     int64_t ldb, int64_t m, int64_t n, int64_t k)
{
    emulated::not_recorded("columns_product");
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) y[i * ldy + j] *= fade;
    for (int64_t l = 0; l < k; l++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) y[i * ldy + j] += sign * a[l * lda + i] * b[l * ldb + j];
}
} // namespace ptq_cuda
