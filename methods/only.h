/* only=WHICH: of what a method makes, the linears whose codes are put in place; all others stay in full precision. So a
 * cell swaps one linear (or one block, or all linears of a role) for its quantised version, and what that alone costs
 * is the cell's difference to FP16.
 *
 *   WHICH    = PATTERN or PATTERN|PATTERN...
 *   PATTERN  = a role ("down"), a block ("3"), both ("3.down"), or a whole name ("model.layers.3.mlp.down_proj"), with
 *              the shell's * ? [...] in it
 *
 * Roles are q k v o gate up down; where one tensor holds q, k and v it is q. The codes are those that the method makes
 * for the whole model: GPTQ's windows travel through blocks that are quantised whole, AWQ's scales are searched for all
 * linears of an input. */
#ifndef PTQ_ONLY_H
#define PTQ_ONLY_H

#include "method.h"
#include "model.h"

/* "q", "k", ... by role. */
extern const char *const ptq_role_word[PTQ_N_ROLE];

/* Bit `role` for each linear of the block that only names; all of them where only is empty. */
unsigned ptq_only_roles(const char *only, const struct ptq_model *model, int64_t block);
/* The first and the last block with such a linear. PTQ_EUSAGE where the model has none, and the sentence says how its
 * linears are called. */
enum ptq_status ptq_only_blocks(const char *only, const struct ptq_model *model, int64_t *first, int64_t *last,
                                struct ptq_error *err);

/* Whether it names all linears of a block or none, for each block. */
int ptq_only_is_whole(const char *only, const struct ptq_model *model);

/* The block and the role where only is one linear by its short name ("3.down"), else 0. */
int ptq_only_is_one(const char *only, int64_t *block, enum ptq_role *role);

/* What "{0..29}.{q|k|down}" stands for, each by itself: braces hold words parted by | or a range of whole numbers, the
 * last pair changing fastest. In arena; [*n]. PTQ_EUSAGE where braces are not closed or more than eight pairs, a range
 * falls, one of them is longer than a SPEC takes, or there are more than limit. */
enum ptq_status ptq_only_expand(struct ptq_arena *arena, const char *text, int limit, const char ***out, int *n,
                                struct ptq_error *err);

#endif
