#include "cuda.h"

#include <cuda_runtime_api.h>
#include <stdio.h>

extern "C" void ptq_cuda_describe(char *out, size_t size)
{
    int n = 0;
    cudaError_t status = cudaGetDeviceCount(&n);
    int used = snprintf(out, size, "CUDA %d.%d", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (status != cudaSuccess || n == 0) {
        snprintf(out + used, size - used, "; no device: %s", status ? cudaGetErrorString(status) : "none found");
        return;
    }
    for (int i = 0; i < n && (size_t)used < size; i++) {
        cudaDeviceProp device;
        if (cudaGetDeviceProperties(&device, i) != cudaSuccess) continue;
        used += snprintf(out + used, size - used, "; device %d: %s, sm_%d%d, %.0f GiB", i, device.name, device.major,
                         device.minor, (double)device.totalGlobalMem / (1 << 30));
    }
}
