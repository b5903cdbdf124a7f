/* Planned tensors as safetensors (the reading side is in safetensors.h). */
#ifndef PTQ_SAFETENSORS_WRITE_H
#define PTQ_SAFETENSORS_WRITE_H

#include "tensor_writer.h"

/* Makes folder's model.safetensors, or the shards of at most shard_bytes each (a tensor is never cut) and
 * model.safetensors.index.json, with their whole space. Within a file wider types come first, then names. */
enum ptq_status ptq_safetensors_open(struct ptq_tensor_writer *writer, const char *folder, uint64_t shard_bytes,
                                     struct ptq_error *err);

#endif
