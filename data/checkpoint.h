/* A checkpoint: named tensors in mapped files, whatever the container. safetensors (one file, or shards with
 * model.safetensors.index.json) and GGUF (v2, v3) look the same from here; what is peculiar to GGUF's metadata is in
 * gguf.h. Nothing is converted or copied: a tensor is a read-only view, and every offset, size and product was checked
 * before ptq_checkpoint_open returned. */
#ifndef PTQ_CHECKPOINT_H
#define PTQ_CHECKPOINT_H

#include "arena.h"
#include "dtype.h"
#include "mapped.h"
#include "sha256.h"
#include "status.h"

enum { PTQ_MAX_RANK = 8 };

struct ptq_tensor {
    const char *name; /* as in the file */
    enum ptq_dtype dtype;
    int rank;
    int64_t shape[PTQ_MAX_RANK]; /* outermost first; GGUF's order is turned round, so a matrix is [N][K] */
    int64_t count;               /* elements */
    const void *data;            /* need not be aligned */
    size_t bytes;
    const struct ptq_mapped *file;
    int exact; /* 1: read as its type is defined, not rounded to FP16 (dtype.h) */
};

struct ptq_gguf; /* gguf.h */

struct ptq_checkpoint {
    const char *path;   /* what was opened: a folder or a file */
    const char *folder; /* the folder that holds config.json and tokenizer.json, NULL for a single file */
    struct ptq_mapped *file;
    int n_files;
    struct ptq_tensor *tensor; /* sorted by name, names are unique */
    int n_tensors;
    struct ptq_gguf *gguf; /* metadata, or NULL for safetensors */
};

/* path: a folder with model.safetensors, with model.safetensors.index.json and its shards, or with a .safetensors of
 * another name that is the only one or is said to be the model's (shards.h); one .safetensors file; or one .gguf file
 * (told by its magic, not its name). All memory from arena, the maps live until ptq_checkpoint_close. */
enum ptq_status ptq_checkpoint_open(struct ptq_arena *arena, const char *path, struct ptq_checkpoint *out,
                                    struct ptq_error *err);
void ptq_checkpoint_close(struct ptq_checkpoint *checkpoint);

/* NULL where there is none. */
const struct ptq_tensor *ptq_checkpoint_find(const struct ptq_checkpoint *checkpoint, const char *name);

/* PTQ_EINPUT where it is not [n][k], or [n] where k < 0, as asking ("the config") asks for. */
enum ptq_status ptq_tensor_shape(const struct ptq_tensor *tensor, int64_t n, int64_t k, const char *asking,
                                 struct ptq_error *err);

/* SHA-256 of the weights: of the file where it is one; of "name sha256\n" lines in name order where there are several.
 */
enum ptq_status ptq_checkpoint_sha256(const struct ptq_checkpoint *checkpoint, char hex[PTQ_SHA256_HEX],
                                      struct ptq_error *err);
/* SHA-256 of config.json, which changes what the weights mean (rotary base, norm epsilon) and so is part of a model's
 * identity; "" where there is none (a GGUF carries its own). */
enum ptq_status ptq_checkpoint_config_sha256(const struct ptq_checkpoint *checkpoint, char hex[PTQ_SHA256_HEX],
                                             struct ptq_error *err);

/* Elements [first, first + n) of the flattened tensor as float32. Asserts the range; first and n are multiples of the
 * dtype's block. Fails with PTQ_EINPUT when the dtype is known only by its size, with PTQ_ENUMERIC when a value is NaN
 * or infinite (names tensor and index). */
enum ptq_status ptq_tensor_read(const struct ptq_tensor *tensor, int64_t first, int64_t n, float *out,
                                struct ptq_error *err);

#endif
