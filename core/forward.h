/* The one forward pass, for every family: windows of tokens travel through the blocks together.
 *
 *   ids [W][T] --embed--> x [W * T][C] --block 0..L-1, in place--> x --final norm, head, log-sum-exp--> nll [W][T - 1]
 *
 * Work is cut into tiles of PTQ_TILE_ROWS rows, whatever the number of threads; a tile runs norm, q, k, v and rotation,
 * and after one barrier attention, output, MLP. Attention touches the triangle only, logits are never held. */
#ifndef PTQ_FORWARD_H
#define PTQ_FORWARD_H

#include "model.h"
#include "reference.h"
#include "tokens.h"

enum { PTQ_TILE_ROWS = 512, PTQ_BATCH_ROWS = 4096, PTQ_VOCAB_ROWS = 2048 };

struct ptq_split;

/* Looks at the inputs of a block's linears while it runs: x[input] is [PTQ_BATCH_ROWS or one window][K], filled for the
 * batch's rows before seen is called (on the calling thread, batch after batch in order). */
struct ptq_tap {
    float *x[PTQ_N_INPUT];
    void (*seen)(void *context, int64_t first_row, int64_t rows);
    void *context;
    /* On a device, where not NULL, instead of both: x[rows][K] and its parts as they lie there, input after input. */
    void (*there)(void *context, enum ptq_input input, const float *x, const struct ptq_split *parts);
};

/* Some windows on their way. Made in an arena, which keeps everything. */
struct ptq_forward {
    const struct ptq_model *model;
    const int32_t *id; /* [windows][length] */
    int64_t windows, length;
    float *x;                    /* [windows * length][C] */
    int moved;                   /* 1: a step has changed x; who puts x back, or counts the blocks, clears it */
    int64_t batch_windows;       /* windows that go through a block together */
    float *qkv;                  /* [batch_windows * length][(H + 2 H_kv) D] */
    float *cosine, *sine;        /* [length][D / 2], NULL without rotation */
    float **scratch;             /* [threads] */
    int split;                   /* 1: a single tile's linears are cut by outputs, for all threads (few rows) */
    struct ptq_offload *offload; /* blocks and head on the model's device (offload.h); NULL: here */
    int away;                    /* 1: x is on the device, and what stands here is older; see ptq_forward_here */
};

/* Room for windows of id (not copied); chunk: see ptq_forward_chunk. */
void ptq_forward_make(struct ptq_arena *arena, const struct ptq_model *model, const int32_t *id, int64_t windows,
                      int64_t length, struct ptq_forward *out);
/* Whoever reads or changes x calls this first: it fetches x where it is on a device. Who writes all of x may clear away
 * instead. What fails is told by the device's next block or head. */
void ptq_forward_here(struct ptq_forward *f);
/* What ptq_forward_make takes beside x, in bytes, where windows of that length fill a batch. */
int64_t ptq_forward_bytes(const struct ptq_model *model, int64_t length);
/* How many windows fit into the memory that x may take (ptq_chunk_bytes, 128 MiB; at least one window). The same for
 * any number of threads. Tests make it small. */
extern int64_t ptq_chunk_bytes;
int64_t ptq_forward_chunk(const struct ptq_model *model, int64_t length);

/* block's linears packed from q[PTQ_N_ROLE] in arena, which from now on are what a forward pass computes with: w may
 * go. Those without codes (n = 0) stay float32, all of an input or none. Fails where q has no packed form (ptq_pack).
 */
enum ptq_status ptq_block_pack(struct ptq_arena *arena, const struct ptq_qmat *q, struct ptq_block *block,
                               struct ptq_error *err);
/* Room for the activations of packed linears, of so many bits (struct ptq_acts), shared by block[0..n): needed before
 * they go through a pass. */
void ptq_block_room(struct ptq_arena *arena, struct ptq_block *block, int64_t n, int act_bits);

/* Whether the vocabulary has id[first .. first + n); else PTQ_EINPUT that names the first which it has not. */
enum ptq_status ptq_check_ids(const struct ptq_model *model, const int32_t *id, int64_t first, int64_t n,
                              struct ptq_error *err);
/* x = embeddings (+ positions). Ids outside the vocabulary are PTQ_EINPUT. */
enum ptq_status ptq_forward_embed(struct ptq_forward *f, struct ptq_error *err);
/* The same for rows [first, first + rows) alone. */
enum ptq_status ptq_forward_embed_rows(struct ptq_forward *f, int64_t first, int64_t rows, struct ptq_error *err);
/* x through block number `index`, whose weights are given. tap may be NULL. A value that is not finite is PTQ_ENUMERIC
 * and names block, window and token. */
enum ptq_status ptq_forward_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                  const struct ptq_tap *tap, struct ptq_error *err);
/* Rows [first, first + rows) of the only window alone; qkv holds what this function left there for this block and the
 * rows before them. */
enum ptq_status ptq_forward_rows(struct ptq_forward *f, const struct ptq_block *block, int64_t index, int64_t first,
                                 int64_t rows, struct ptq_error *err);
/* A block in its six steps, for those who calibrate between them: GPTQ, which quantises a linear before it computes
 * what the next one sees, and AWQ, which tries weights on one part. Steps with weights read them from block when they
 * are called, so they may have changed since the step before. Of windows [window, window + n) of f; in and out hold the
 * rows of these windows only.
 *
 *   ATTN_IN    out[rows][C]   = norm1(x), or x where norms come after
 *   ATTENTION  out[rows][H D] = attention of q, k, v of in [rows][C]; n <= batch_windows
 *   ATTN_OUT   x += o(in [rows][H D]), and norm1 where it comes after; out is not used
 *   MLP_IN     out[rows][C]   = norm2(x), or x
 *   MLP        out[rows][F]   = activation of gate, up of in [rows][C]
 *   MLP_OUT    x += down(in [rows][F]), and norm2 where it comes after; out is not used */
enum ptq_step {
    PTQ_ATTN_IN_STEP,
    PTQ_ATTENTION_STEP,
    PTQ_ATTN_OUT_STEP,
    PTQ_MLP_IN_STEP,
    PTQ_MLP_STEP,
    PTQ_MLP_OUT_STEP
};
void ptq_forward_step(struct ptq_forward *f, const struct ptq_block *block, enum ptq_step step, int64_t window,
                      int64_t n, const float *in, float *out);
/* nll[windows][length - 1] = -ln p(next token). x is used up. */
enum ptq_status ptq_forward_nll(struct ptq_forward *f, struct ptq_arena *arena, float *nll, struct ptq_error *err);
/* What is measured of each scored token, [windows][length - 1]; the last three only against a reference. */
struct ptq_scores {
    float *nll;        /* -ln p(next token) */
    float *kl;         /* D(p of the reference || p), in nats */
    float *delta_p;    /* p(next token) less the reference's */
    uint8_t *same_top; /* 1 where both have their largest logit at the same token */
};
/* Scores, and in the same pass over the vocabulary: against, what f is compared with (or NULL); made, what others will
 * be compared with (or NULL), with room for f's rows. x is used up. */
enum ptq_status ptq_forward_score(struct ptq_forward *f, struct ptq_arena *arena,
                                  const struct ptq_reference_rows *against, struct ptq_reference_rows *made,
                                  const struct ptq_scores *out, struct ptq_error *err);
/* logits[windows * length][V], for checks on small models. x is used up. */
enum ptq_status ptq_forward_logits(struct ptq_forward *f, struct ptq_arena *arena, float *logits,
                                   struct ptq_error *err);

/* Inputs (K) of the linears that read this input. */
int64_t ptq_input_width(const struct ptq_config *config, enum ptq_input input);

#endif
