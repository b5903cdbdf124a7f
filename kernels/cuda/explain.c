#include "cuda.h"

#include <stdio.h>

void ptq_cuda_explain(int driver, int runtime, int devices, char *out, size_t size)
{
    if (driver == 0)
        snprintf(out, size, "this machine has no NVIDIA driver, so no GPU; run where nvidia-smi lists one");
    else if (driver < runtime)
        snprintf(out, size,
                 "this machine's NVIDIA driver is made for CUDA %d.%d, and this ptq for %d.%d; update the driver",
                 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    else if (devices == 0)
        snprintf(out, size,
                 "this process sees no GPU; nvidia-smi must list one, and CUDA_VISIBLE_DEVICES must not hide it");
    else
        snprintf(out, size, "the GPU does not answer; see whether nvidia-smi lists it and who uses it");
}
