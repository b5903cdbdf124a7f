/* Planned tensors as safetensors (the reading side is in safetensors.h). */
#ifndef PTQ_SAFETENSORS_WRITE_H
#define PTQ_SAFETENSORS_WRITE_H

#include "tensor_writer.h"

/* Makes folder's model.safetensors, or the shards of at most shard_bytes each (a tensor is never cut) and
 * model.safetensors.index.json, with their whole space. Within a file aligned tensors come first, then wider types,
 * then names. */
enum ptq_status ptq_safetensors_open(struct ptq_tensor_writer *writer, const char *folder, uint64_t shard_bytes,
                                     struct ptq_error *err);

/* The same where sizes are known only file by file: room for n_files (two or more); then, n_files times, what was
 * planned since the last time becomes a file, and is written as above; in the end the index. */
void ptq_safetensors_expect(struct ptq_tensor_writer *writer, int n_files);
enum ptq_status ptq_safetensors_next(struct ptq_tensor_writer *writer, const char *folder, struct ptq_error *err);
enum ptq_status ptq_safetensors_index(const struct ptq_tensor_writer *writer, const char *folder,
                                      struct ptq_error *err);

#endif
