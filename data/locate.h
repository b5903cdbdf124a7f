/* From the name that somebody typed to a path on this machine. ptq itself never goes to the network. */
#ifndef PTQ_LOCATE_H
#define PTQ_LOCATE_H

#include "arena.h"
#include "mapped.h"
#include "status.h"

/* The cache outside the tree: $PTQ_CACHE, else $XDG_CACHE_HOME/ptq, else .cache/ptq in the home folder ($HOME, else
 * the password database's). */
const char *ptq_cache_folder(struct ptq_arena *arena);

/* A model: an existing path as it is; else a name in the cache's models/ folder (what data/MANIFEST calls it); else
 * "org/name[@revision]", or "name[@revision]" of a model that the hub has without an organisation ("gpt2"), in the
 * Hugging Face cache (HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub,
 * ~/.cache/huggingface/hub; refs/main, snapshots/COMMIT). Fails with PTQ_EINPUT in one sentence that says how to fetch
 * it: `data/fetch NAME` for a name of the MANIFEST, `data/fetch hub ORG/NAME` for a hub name. */
enum ptq_status ptq_locate_model(struct ptq_arena *arena, const char *name, const char **path, struct ptq_error *err);
/* "org/name" where that is how name was found, without its revision; NULL of a path, or of a word alone. */
const char *ptq_hub_id(struct ptq_arena *arena, const char *name);
/* A text: an existing path; else NAME or NAME.txt in the cache's texts/ folder. */
enum ptq_status ptq_locate_text(struct ptq_arena *arena, const char *name, const char **path, struct ptq_error *err);

/* Whether a name found inside a file may become a file name: letters, digits, '.', '_' and '-', not beginning with '.',
 * at most 255 of them. */
int ptq_is_bare_name(const char *name);

/* Maps the file name of a model folder. Links are followed as far as they stay in the folder, or, for a snapshot of the
 * Hugging Face cache (models--ORG--NAME/snapshots/COMMIT), in that model's own folder; PTQ_EINPUT when they leave it.
 * out->path is "folder/name". */
enum ptq_status ptq_map_member(struct ptq_arena *arena, const char *folder, const char *name, struct ptq_mapped *out,
                               struct ptq_error *err);
/* The same of a path: the model's folder is the one that the file is in. */
enum ptq_status ptq_map_inside(struct ptq_arena *arena, const char *path, struct ptq_mapped *out,
                               struct ptq_error *err);

#endif
