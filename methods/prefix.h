/* The evaluation's windows in full precision at the inputs of blocks: cells that quantise some blocks alone (only=) are
 * the same up to the first of these, and start there. Kept by the first cell that comes by. */
#ifndef PTQ_PREFIX_H
#define PTQ_PREFIX_H

#include "forward.h"

struct ptq_prefix;

extern int64_t ptq_prefix_bytes; /* what all of them may take: 256 MiB. Then only every n-th block's input is kept */

/* Of so many rows of windows that all go through the model together, in room bytes. arena keeps everything. */
struct ptq_prefix *ptq_prefix_make(struct ptq_arena *arena, const struct ptq_model *model, int64_t rows, int64_t room);
/* What it may come to hold, in bytes. */
int64_t ptq_prefix_limit(const struct ptq_prefix *prefix);
/* The same of one that is yet to be made. */
int64_t ptq_prefix_most(const struct ptq_model *model, int64_t rows, int64_t room);
/* Puts f's x at the input of the last block up to `block` that is kept, and returns that; -1 where none is. */
int64_t ptq_prefix_fetch(const struct ptq_prefix *prefix, int64_t block, struct ptq_forward *f);
/* f's x is the input of `block`, in full precision. */
void ptq_prefix_keep(struct ptq_prefix *prefix, int64_t block, struct ptq_forward *f);

#endif
