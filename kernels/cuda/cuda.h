/* The CUDA side of the build. Its kernels are not written yet: what is here finds the devices, so that a build with the
 * toolkit and one without are both real, and `--device cuda` can say what there is. */
#ifndef PTQ_CUDA_H
#define PTQ_CUDA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "CUDA 13.0; device 0: NVIDIA H200, sm_90, 139 GiB", "CUDA 13.0; no device: ...", or "built without CUDA". */
void ptq_cuda_describe(char *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
