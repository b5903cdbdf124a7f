/* Stands in where the CUDA toolkit was not found. */
#include "cuda.h"

#include <stdio.h>

void ptq_cuda_describe(char *out, size_t size)
{
    snprintf(out, size, "built without CUDA");
}
