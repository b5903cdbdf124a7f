/* Stands in where the CUDA toolkit was not found. */
#include "cuda.h"
#include "device.h"

#include <stdio.h>

void ptq_cuda_describe(char *out, size_t size)
{
    snprintf(out, size, "built without CUDA");
}

const struct ptq_device *ptq_cuda_device(char *why, size_t size)
{
    snprintf(why, size, "this ptq was built without CUDA; build it where nvcc is");
    return NULL;
}
