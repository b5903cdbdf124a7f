/* One safetensors file:  u64 N, little-endian | N bytes of JSON | data.
 * {"NAME": {"dtype": "F16", "shape": [...], "data_offsets": [begin, end]}, ..., "__metadata__": {text: text}}; offsets
 * count from the start of data, which they cover without holes, overlap or rest. */
#ifndef PTQ_SAFETENSORS_H
#define PTQ_SAFETENSORS_H

#include "checkpoint.h"

#include <stddef.h>

/* Reads the header: *tensor the n tensors in order of their offsets, in arena; views of file, which must outlive them.
 * Stricter than the format's own reader: names are unique, not empty and without control characters, the rank is at
 * most PTQ_MAX_RANK. Dtypes known only by their size are taken (reading them fails); others are refused by name. */
enum ptq_status ptq_safetensors_read(struct ptq_arena *arena, const struct ptq_mapped *file, struct ptq_tensor **tensor,
                                     size_t *n, struct ptq_error *err);

#endif
