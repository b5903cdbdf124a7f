/* A decoder on a device: all blocks' weights, keys and values, and the head, are there from the first token to the
 * last; a token's embedding goes there, its likeliest successor (and its logits, where they are asked for) come back.
 *
 *   x [n][C] --block 0..L-1--> x --final norm, projection, head, of the last row--> logits [V] --> the likeliest id
 *
 * Float32 weights whose values FP16 holds are kept as FP16. Packed linears of one input that read alike become one. A
 * single token is recorded once as a step and replayed for each (struct ptq_decoding). */
#ifndef PTQ_RESIDENT_H
#define PTQ_RESIDENT_H

#include "device.h"
#include "forward.h"

/* One product: linears that lie stacked, in one of three forms. */
enum ptq_resident_form { PTQ_AS_FLOAT, PTQ_AS_HALF, PTQ_AS_PACKED };
struct ptq_resident_product {
    enum ptq_resident_form form;
    int64_t n, k;
    const void *w; /* float32 or FP16 [n][k] */
    const float *b;
    struct ptq_packed packed;
};

struct ptq_resident_block {
    struct {
        struct ptq_resident_product product[PTQ_N_ROLE];
        int n;
        int alike; /* packed: the first one's activations serve all */
    } input[PTQ_N_INPUT];
    float *norm[4]; /* norm1 w, b, norm2 w, b */
    float *divisor; /* [F] or NULL */
    int64_t window;
    struct ptq_cache cache;
};

struct ptq_resident {
    const struct ptq_device *device;
    const struct ptq_model *model;
    const struct ptq_forward *forward; /* embeddings are made here: x [capacity][C] */
    unsigned char *room;
    size_t bytes;
    int64_t capacity, most_rows; /* most_rows: that go together */
    struct ptq_resident_block *block;
    int32_t *at; /* the position of the first row of x; best beside it and x 256 bytes behind go there with it */
    float *x;    /* [most_rows][C] */
    unsigned char *arrives;
    float *normed, *wide, *mixed, *mlp; /* as in struct ptq_offload */
    float *cosine, *sine, *slope;
    float *final_norm_w, *final_norm_b, *project, *projected, *logits;
    int projects; /* 1: there is a projection between final norm and head */
    struct ptq_resident_product head;
    int32_t *best;         /* the likeliest id, behind at */
    const uint16_t *table; /* [V][C] FP16, where a token's embedding is its row and nothing else; or NULL */
    int greedy;            /* 1: the likeliest id is what will be pushed: its step may be computed ahead */
    int64_t ahead;         /* the position of a step that is under way of itself, of the id last told; 0: none */
    int32_t told;
    int at_first; /* 1: at is the position of the first of many rows, not of the last */
    void *scratch, *recall_scratch, *likeliest_scratch;
    size_t scratch_bytes;
    void *recording; /* of a step of one row, or NULL */
    int no_recording;
};

/* What a decoder of this capacity takes there, filled. head16 [V][E], or head, as in struct ptq_decoder; project [E][C]
 * or NULL. Host memory from arena; that of the device is given back with it. Too little: PTQ_EDEVICE. */
enum ptq_status ptq_resident_make(struct ptq_arena *arena, const struct ptq_forward *forward,
                                  const struct ptq_block *block, int64_t capacity, const uint16_t *head16,
                                  const float *head, const float *project, struct ptq_resident **out,
                                  struct ptq_error *err);
/* Rows [first, first + n) of forward->x, which are embeddings, through all of it. *best: the likeliest next id, -1
 * where a logit is not finite. */
enum ptq_status ptq_resident_push(struct ptq_resident *r, int64_t first, int64_t n, int32_t *best,
                                  struct ptq_error *err);
/* logits[V] of the last row. */
enum ptq_status ptq_resident_logits(struct ptq_resident *r, float *logits, struct ptq_error *err);

/* ---- between resident.c and resident_send.c ---- */

/* Sets out everything that stays, in `room`, and sends it; room NULL: only counts. scratch: the host's, for FP16. */
size_t ptq_resident_send(struct ptq_resident *r, struct ptq_arena *scratch, unsigned char *room,
                         const struct ptq_block *block, const uint16_t *head16, const float *head,
                         const float *project);

#endif
