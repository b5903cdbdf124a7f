/* `ptq inspect` of a model: what a folder or a checkpoint file holds, without reading a weight. */
#ifndef PTQ_CMD_INSPECT_H
#define PTQ_CMD_INSPECT_H

#include "status.h"

#include <stdio.h>

/* Prints format, files, GGUF metadata, tensors (name, dtype, shape, bytes) and totals to out: for people, or as one
 * JSON object {path, format, files: [{name, bytes}], metadata: {key: value}, tensors: [{name, dtype, shape, bytes}],
 * dtypes: {dtype: {tensors, elements, bytes}}, total: {tensors, elements, bytes}}. Arrays of the metadata are told by
 * their size. path: what ptq_checkpoint_open takes. */
enum ptq_status ptq_inspect_checkpoint(const char *path, int json, FILE *out, struct ptq_error *err);

#endif
