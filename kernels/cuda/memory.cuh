/* Memory and failures of the device, and finding it: nvidia/memory.cu, emulated/memory.cpp. */
#ifndef PTQ_MEMORY_CUH
#define PTQ_MEMORY_CUH

#include "model.cuh"

struct ptq_device;

namespace ptq_cuda
{
/* Its name, static storage, or NULL and a sentence in why. */
const char *open_device(char *why, size_t size);
void *take(size_t bytes);
void give(void *memory);
void upload(void *device, const void *host, size_t bytes);
void download(void *host, const void *device, size_t bytes);
size_t room();
/* Multiprocessors; bytes of shared memory that a block may have: those of a multiprocessor but for BLOCK_BYTES, which
 * every block takes beside its own. */
enum { BLOCK_BYTES = 1024 };
int processors();
size_t most_shared();
const char *error();
/* What kernels may be chosen: 90 where those run that were compiled for sm_90a, else 80. */
int version();
/* Of a library: what it did and its status; nvidia alone. */
void note_failure(const char *what, int status);

/* device.h's table, all slots that this build has. */
const struct ptq_device *device(char *why, size_t size);
} // namespace ptq_cuda

#endif
