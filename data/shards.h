/* A folder of safetensors: which files it is made of. */
#ifndef PTQ_SHARDS_H
#define PTQ_SHARDS_H

#include "arena.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

#define PTQ_ONE_FILE "model.safetensors"
#define PTQ_INDEX_FILE "model.safetensors.index.json"

struct ptq_shard_entry {
    const char *tensor;
    int shard;
};

struct ptq_shards {
    const char *path;  /* of the index */
    const char **name; /* of the shards: bare file names, sorted, each once */
    int n;
    struct ptq_shard_entry *entry; /* the weight_map */
    size_t n_entries;
    int64_t total_size; /* bytes of all tensors, as the index has it; -1 where it has none */
};

/* The name of a folder's file of weights that is called neither: the only *.safetensors that is there, or of several
 * the one that quantize_config.json names. *name is NULL where there is none, or an index. */
enum ptq_status ptq_other_file(struct ptq_arena *arena, const char *folder, const char **name, struct ptq_error *err);

/* Reads folder's index into arena. Fails with PTQ_EINPUT, also where there is none: the error then says what the folder
 * holds instead and what can be done with it. */
enum ptq_status ptq_shards_read(struct ptq_arena *arena, const char *folder, struct ptq_shards *out,
                                struct ptq_error *err);

#endif
