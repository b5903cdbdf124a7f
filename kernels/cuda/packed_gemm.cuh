/* Products with packed linears for many tokens, in two ways:
 *
 *   fused   codes go from memory to the registers of tensor cores; they are exact, as in packed.cu (packed_fused.cu)
 *   panels  rows of the weights are written out in FP16, a panel at a time, for cuBLAS: each weight is rounded once, to
 *           2^-11 of itself, which adds as much to an output's error as rounding x does
 *
 * The way follows from the tokens and the device alone, so that linears that read the same x can share what is made of
 * it. Scratch holds that first, and behind it what one product needs. */
#ifndef PTQ_PACKED_GEMM_CUH
#define PTQ_PACKED_GEMM_CUH

#include "packed.cuh"

namespace ptq_cuda
{
enum gemm_way { GEMM_NONE, GEMM_FUSED, GEMM_PANELS };
/* Places that the fused kernel takes at a time; and of them, 128 bytes of a token. */
enum { SLICE = 128, HALF_SLICE = SLICE / 2 };

/* What a product reads and where it puts it. */
struct gemm {
    float *y;
    int64_t ldy;
    const float *b;
    int accumulate;
    struct ptq_packed w;
    int64_t m;
    /* m tokens of x / factor in FP16; 0 at salient columns and fillings. Panels: [m][places]. Fused: as the stages of
     * shared memory, [token / tokens][half][token % tokens][64], tokens and places filled up (packed_fused.cu). */
    uint16_t *x;
    float *factor; /* [m] powers of two, mostly 1; NaN where the token is not finite */
    float *kept;   /* [m][n_keep] */
    int tokens;    /* of a tile of the fused kernel; 0: panels */
    int halves;    /* of slices, of a row: an even number */
    /* What is still to be finished: sums[splits][m][width], outputs from first_row on. */
    float *sums;
    int64_t first_row, width;
    int splits;
    uint16_t *panel;   /* [width][places] */
    float *row_factor; /* [N filled up] powers of two; NULL: 1 */
    int *scaled;       /* whether one of them is not 1 */
};

/* An output from its sum: factors, salient columns, the bias, what was there. */
__device__ __forceinline__ void finish_output(const struct gemm *g, int64_t token, int64_t n, float sum)
{
    int64_t tile = n / PTQ_PACK_ROWS, row = n % PTQ_PACK_ROWS;
    float value = sum * g->factor[token], *to = g->y + token * g->ldy + n;
    if (g->row_factor) value *= g->row_factor[n];
    for (int64_t i = 0; i < g->w.n_keep; i++)
        value += ptq_half_to_float(g->w.kept[(tile * g->w.n_keep + i) * PTQ_PACK_ROWS + row]) *
                 g->kept[token * g->w.n_keep + i];
    if (g->b) value += g->b[n];
    *to = g->accumulate ? *to + value : value;
}

/* How many parts of K the fused kernel sums apart; a function of the shape. */
int fused_splits(const struct ptq_packed *w, int64_t m, int tokens);
void fused_product(const struct gemm *g);

/* The way that m tokens go: none below those that packed.cu is for. */
enum gemm_way gemm_way_for(const struct ptq_packed *w, int64_t m);
/* That of one kind of kernel; the ways ask for more tokens than packed.cu is for. */
enum gemm_way gemm_way_of(const struct ptq_packed *w, int64_t m, enum ptq_packed_kernel kind);
size_t gemm_scratch(const struct ptq_packed *w, int64_t m);
void gemm_acts(const struct ptq_packed *w, const float *x, int64_t ldx, int64_t m, void *scratch, enum gemm_way way);
void gemm_multiply(float *y, int64_t ldy, const struct ptq_packed *w, const float *b, int accumulate, int64_t m,
                   void *scratch, enum gemm_way way);
} // namespace ptq_cuda

#endif
