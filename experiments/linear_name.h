/* What a linear's name says: "model.layers.3.self_attn.q_proj" and "blk.3.attn_q" are of block 3. */
#ifndef PTQ_LINEAR_NAME_H
#define PTQ_LINEAR_NAME_H

#include "arena.h"
#include "results.h"

/* The block, from 0, and the role ("q_proj", "attn_q"), in arena; -1 and the whole name where it has no number. */
int ptq_linear_block(struct ptq_arena *arena, const char *name, const char **role);

/* The linears of a cell as a grid: blocks by roles, roles in the order in which a block uses them. */
struct ptq_linear_grid {
    int blocks, n_roles;
    const char **role;
    const struct ptq_linear_report **linear; /* [blocks][n_roles]; NULL where there is none */
};
/* 0 where the cell has no linears, or names without numbers. */
int ptq_linear_grid_make(struct ptq_arena *arena, const struct ptq_cell *cell, struct ptq_linear_grid *out);

#endif
