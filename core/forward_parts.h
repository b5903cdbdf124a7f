/* Inside the forward pass: what its two files share. */
#ifndef PTQ_FORWARD_PARTS_H
#define PTQ_FORWARD_PARTS_H

#include "forward.h"
#include "ops.h"

/* One worker's scratch: a tile's intermediate rows. */
struct ptq_tile_scratch {
    float *normed;    /* [TILE][C] */
    float *mixed;     /* [TILE][H D] */
    float *mlp;       /* [TILE][2 F] gate and up, or [TILE][F] */
    float *attention; /* ptq_attention_scratch(T) */
    float *lse;       /* ptq_lse_scratch(TILE) */
};

struct ptq_tile_scratch ptq_tile_scratch(const struct ptq_forward *f, int worker);

/* The model's kind of norm; y may be x. */
void ptq_norm_rows(const struct ptq_forward *f, float *y, const float *x, const float *w, const float *b, int64_t rows);

/* Outputs of q, k and v together. */
int64_t ptq_qkv_width(const struct ptq_config *config);

struct ptq_attention ptq_attention_shape(const struct ptq_model *model, const struct ptq_block *block);

/* The block of that number, on the CPU. */
enum ptq_status ptq_forward_block_here(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                       const struct ptq_tap *tap, struct ptq_error *err);

/* Says that this row of x is not finite behind block `index`. */
enum ptq_status ptq_bad_row(const struct ptq_forward *f, int64_t index, int64_t row, struct ptq_error *err);

/* A projection of OPT-350m as float32 in arena, or NULL where t is. */
enum ptq_status ptq_read_projection(const struct ptq_tensor *t, struct ptq_arena *arena, float **out,
                                    struct ptq_error *err);

/* Rows of one tile on their way through the linears of one input. */
struct ptq_tile {
    const float *x; /* [rows][K] */
    float *y;       /* [rows][outputs of all of them] */
    int64_t ldx, ldy;
    int accumulate; /* added to y */
    int64_t rows;
};

/* y = all linears of block that read this input, as float32 products or packed (core/linear.c). */
void ptq_tile_linear(const struct ptq_forward *f, const struct ptq_block *block, enum ptq_input input,
                     const struct ptq_tile *tile, int worker);

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#endif
