/* Which devices there are, and what to do where there is none. */
#ifndef PTQ_CUDA_H
#define PTQ_CUDA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "CUDA 13.0; device 0: NVIDIA H200, sm_90, 139 GiB", "CUDA 13.0; no device: ...", or "built without CUDA". */
void ptq_cuda_describe(char *out, size_t size);

/* Why no device can be used, and what to do about it, in one sentence without CUDA's own words: driver and runtime are
 * CUDA's numbers of their versions (12040 is 12.4; driver 0: none is installed), devices how many were found. */
void ptq_cuda_explain(int driver, int runtime, int devices, char *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
