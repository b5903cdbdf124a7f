/* A forward pass on a device (kernels/device.h): x of all windows stays there from block to block and comes back when
 * somebody reads it (ptq_forward_here); a block's weights, float32 or packed, go there when the block is computed, into
 * the room of the block before.
 *
 *   there:   x [windows * length][C]     a block's weights | rows of a batch: normed, q k v, mixed, MLP
 *
 * Where all of x has no room beside one window's rows, the rows of a batch travel to the device and back for each
 * block. Memory is taken once, at the first block, and given back with the arena of the pass. */
#ifndef PTQ_OFFLOAD_H
#define PTQ_OFFLOAD_H

#include "device.h"
#include "forward.h"

/* A product on the device: one linear that is packed, or all float32 ones that lie stacked. */
struct ptq_offload_product {
    int64_t n, k;
    const float *b;
    struct ptq_split w; /* [n][k] */
    struct ptq_packed packed;
    int is_packed;
};

/* What the head takes; room NULL: nothing. */
struct ptq_offload_head {
    unsigned char *room;
    size_t bytes;
    int64_t rows;  /* that go together */
    float *x;      /* [all rows][E], normed and projected */
    float *w;      /* [PTQ_VOCAB_ROWS][E] */
    float *logits; /* [rows][PTQ_VOCAB_ROWS] */
    float *mean;   /* [all rows][E] or NULL */
    float *norm_w, *norm_b, *project;
    struct ptq_lse *state; /* [all rows] */
    int32_t *target;       /* [all rows] */
};

/* Rooms of ptq_offload_room. */
enum { PTQ_ROOM_SUMS, PTQ_ROOM_SOLVER, PTQ_OFFLOAD_ROOMS };

struct ptq_offload {
    const struct ptq_device *device;
    /* taken at the first block; NULL before */
    float *x;            /* [x_rows][C] */
    unsigned char *room; /* all that follows */
    int64_t x_rows;
    size_t x_bytes, room_bytes;
    int64_t windows;                    /* that go through a block together */
    int resident;                       /* x holds all rows; else those of a batch */
    float *normed, *wide, *mixed, *mlp; /* wide [rows][q, k, v], and of gated MLPs [rows][F] behind attention */
    float *cosine, *sine, *slope;       /* cosine, sine [rows][D / 2] */
    float *finite;                      /* 0, or NaN where x is not finite */
    void *scratch;                      /* of attention and of packed products */
    size_t scratch_bytes;
    float *copy;         /* [rows][C] x of a batch that is to stay as it is */
    struct ptq_split in; /* of a batch, what a product reads: [rows][any width], in: */
    uint16_t *in_room;
    float *in_state;
    float *held[PTQ_N_INPUT]; /* ATTN_OUT, MLP_OUT: [all rows][K], or NULL; see ptq_offload_hold */
    unsigned char *weights;   /* the block's, here: */
    size_t weight_bytes;
    float *staging; /* a stack of linears before it is split */
    size_t staging_bytes, held_bytes[PTQ_N_INPUT];
    struct ptq_offload_product product[PTQ_N_ROLE];
    float *norm[4]; /* norm1 w, b, norm2 w, b */
    float *divisor; /* [F] or NULL */
    struct ptq_offload_head head;
    struct {
        unsigned char *at;
        size_t bytes;
    } extra[PTQ_OFFLOAD_ROOMS];
    int64_t unchecked; /* 1 + the block whose end was put off, or 0 */
};

/* f's blocks and head are computed on f->model->device from now on. Memory of the host from arena; that of the device
 * is given back with it. */
void ptq_offload_make(struct ptq_arena *arena, struct ptq_forward *f);

/* PTQ_EDEVICE where the device's plain attention, which decoding and the longest windows take, does not hold the
 * model's heads: it would leave a part of them out. */
enum ptq_status ptq_offload_check_heads(const struct ptq_model *model, struct ptq_error *err);

/* ptq_forward_block of a pass that has f->offload. Too little memory: half as many windows at a time, which is said
 * once; where not even one has room, and where the device fails: PTQ_EDEVICE. */
enum ptq_status ptq_offload_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                  const struct ptq_tap *tap, struct ptq_error *err);

/* A block in parts, for those who calibrate between them (as ptq_forward_step's steps). Each part ends where an input
 * is there, and is looked at by the tap's `there`:
 *
 *   ATTN_IN   norm1           ATTN_OUT  q, k, v, attention           MLP_IN  o is added to x, norm2
 *   MLP_OUT   gate, up, activation                                   END     down is added to x
 *
 * A part reads what the ones before left in the same call; where it is the first, what it needs is held from the call
 * before or computed again. */
enum ptq_offload_part { PTQ_PART_ATTN_IN, PTQ_PART_ATTN_OUT, PTQ_PART_MLP_IN, PTQ_PART_MLP_OUT, PTQ_PART_END };
/* Room, the block's weights and x are there. */
enum ptq_status ptq_offload_begin(struct ptq_forward *f, const struct ptq_block *block, struct ptq_error *err);
/* All rows through parts [first, last] of the block that was begun; look: x stays as it is. */
void ptq_offload_parts(struct ptq_forward *f, const struct ptq_block *block, enum ptq_offload_part first,
                       enum ptq_offload_part last, int look, const struct ptq_tap *tap);
/* The same on a thread of its own, since a device takes only so many kernels ahead: the host goes on with what is not
 * the device's. tap and its context stay until the next function here, all of which wait for it. */
void ptq_offload_parts_later(struct ptq_forward *f, const struct ptq_block *block, enum ptq_offload_part first,
                             enum ptq_offload_part last, const struct ptq_tap *tap);
/* Waits for that thread. */
void ptq_offload_settle(void);
/* What failed since, and whether x is finite. */
enum ptq_status ptq_offload_end(struct ptq_forward *f, int64_t index, struct ptq_error *err);
/* From here on the outputs of ATTN_OUT and MLP_OUT are held from one call to the next, where there is room. Given back
 * with the pass. */
void ptq_offload_hold(struct ptq_forward *f);
/* As ptq_offload_end, but told by the next ptq_offload_begin of f: the host need not wait. */
void ptq_offload_end_later(struct ptq_forward *f, int64_t index);
/* Memory of f for whoever asks with that number, until f's is given back: what the same number held before is lost.
 * NULL where there is no room. */
unsigned char *ptq_offload_room(struct ptq_forward *f, int number, size_t bytes);

/* With PTQ_DEVICE_TIMES=1 in the environment: the seconds since the last lap, all work on the device done, belong to
 * `stage` (static storage); else nothing, and nothing waits. told: what a block took goes to stderr, and begins anew.
 */
void ptq_device_lap(const struct ptq_device *device, const char *stage);
void ptq_device_laps_told(const struct ptq_device *device, int64_t block);

/* The linears that read an input, one product there: [N][K], NULL where there is none; and others in their place (a
 * copy, exact to 2^-22). */
struct ptq_split *ptq_offload_weights(struct ptq_forward *f, enum ptq_input input);
void ptq_offload_replace(struct ptq_forward *f, enum ptq_input input, const float *w);

/* The head on the device (core/head.c): begun, then each tile of the vocabulary, ended. project [E][C], state, target
 * and mean (of lse_mean; or NULL) are the host's; mean is 0. Returns 0 where the device has no room or not all of x:
 * then the CPU does all of it. */
int ptq_offload_head_begin(struct ptq_forward *f, const float *project, const struct ptq_lse *state,
                           const int32_t *target, const float *mean);
/* The vocabulary's [first, first + n), w [n][E] of the host. */
void ptq_offload_head_tile(struct ptq_forward *f, const float *w, int64_t first, int64_t n);
/* state, and x [rows][E] (normed and projected) and mean where they are not NULL, come back; what failed since is
 * PTQ_EDEVICE. x of f is used up. */
enum ptq_status ptq_offload_head_end(struct ptq_forward *f, struct ptq_lse *state, float *x, float *mean,
                                     struct ptq_error *err);

/* ---- checking: the environment's PTQ_DEVICE_CHECK=1 (offload_check.c) ---- */

/* Whether each block and the head are computed on the CPU, too, from the same x, and compared. */
int ptq_offload_checks(void);
/* The largest difference that passes, in largest values of the row that the CPU has (float32 sums in another order;
 * packed: activations of FP16 there, integers of 16 bits here), and of a token's -ln p, in nats. */
extern const double ptq_check_float, ptq_check_packed, ptq_check_nll;
/* ptq_offload_block, and the same block on the CPU from the same x. The first row and column that differ by more than
 * the bound are named, with both values: PTQ_EDEVICE. x is the device's afterwards. */
enum ptq_status ptq_offload_check_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                        const struct ptq_tap *tap, struct ptq_error *err);
/* -ln p of each row that has a target. */
enum ptq_status ptq_offload_compare_nll(const struct ptq_forward *f, const struct ptq_lse *here,
                                        const struct ptq_lse *there, const int32_t *target, struct ptq_error *err);

/* Bytes of device memory that passes held at most together, up to now; 0 where none ran there. */
int64_t ptq_offload_peak_bytes(void);

/* Inside: a piece of the room, aligned; the room's end moves. base NULL: only counted. */
struct ptq_carve {
    unsigned char *base;
    size_t used;
};
void *ptq_carve(struct ptq_carve *c, size_t bytes);
float *ptq_carve_floats(struct ptq_carve *c, int64_t n);
/* Takes and gives, counted. */
void *ptq_offload_take(const struct ptq_device *device, size_t bytes);
void ptq_offload_give(const struct ptq_device *device, void *memory, size_t bytes);
void ptq_offload_norm(const struct ptq_forward *f, float *y, const float *x, const float *w, const float *b,
                      int64_t rows);
/* PTQ_EDEVICE where the device failed since it was asked last. */
enum ptq_status ptq_offload_failed(const struct ptq_forward *f, struct ptq_error *err);

#endif
