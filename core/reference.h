/* What the full-precision model says of the evaluated tokens, kept so that a quantised cell can be compared with it.
 *
 * The head stays in full precision in every method, so both models end in logits W x + b with the same W [V][E] and b:
 * x from the full-precision model, y from the cell. With p = softmax(W x + b), q = softmax(W y + b), Z their sums of
 * exponentials and m = sum_v p_v W_v, the mean of the head's rows under p,
 *
 *   D(p || q) = sum_v p_v ((W x + b)_v - (W y + b)_v) - log Z_p + log Z_q = (m x - log Z_p) - m y + log Z_q
 *
 * so that m [E], one number m x - log Z_p, the true token's nll and the id of the largest logit are all that is kept of
 * a position, and the divergence costs the cell a dot product: log Z_q is what its nll needs anyway. It would not hold
 * for a model that bends its logits (soft capping). Rounding: log Z is good to about 3e-6 of a nat in float32, and so
 * is the divergence; where that makes it negative it is stored as 0.
 *
 * Positions come in the chunks in which the evaluation takes its windows. Each chunk is a file under a content address
 * (FOLDER/KEY/FIRST.ref: model, ids, windows, kernels; sealed by SHA-256), and in memory too as long as all together
 * take no more than ptq_reference_bytes. */
#ifndef PTQ_REFERENCE_H
#define PTQ_REFERENCE_H

#include "model.h"
#include "tokens.h"

/* Of rows = windows * length positions; the last one of a window scores nothing. */
struct ptq_reference_rows {
    int64_t rows, width; /* width: E */
    double *offset;      /* [rows] m x - log Z_p, in nats */
    float *nll;          /* [rows] -ln p of the true token; 0 where none follows */
    int32_t *top;        /* [rows] id of the largest logit */
    float *mean;         /* [rows][E] m */
};

struct ptq_reference;

extern int64_t ptq_reference_bytes; /* 64 MiB; tests make it small */

/* For windows of eval, which outlives it as model does. identity names the model's content. folder: where files go;
 * NULL: none. All memory in arena. */
struct ptq_reference *ptq_reference_make(struct ptq_arena *arena, const struct ptq_model *model, const char *identity,
                                         const struct ptq_windows *eval, const char *folder);

/* Room for windows in arena. */
void ptq_reference_room(struct ptq_arena *arena, const struct ptq_reference *reference, int64_t windows,
                        struct ptq_reference_rows *out);
/* The windows [first, first + windows), in arena or where they are kept: from memory, from their file, or else from a
 * full-precision pass, which is then kept. A file that is damaged or another's counts as none. */
enum ptq_status ptq_reference_get(struct ptq_reference *reference, int64_t first, int64_t windows,
                                  struct ptq_arena *arena, struct ptq_reference_rows *out, struct ptq_error *err);
/* Keeps what a full-precision cell measured on its way. */
void ptq_reference_put(struct ptq_reference *reference, int64_t first, int64_t windows,
                       const struct ptq_reference_rows *rows);
/* 1 where a chunk could be kept nowhere (no room in memory, no folder or one that takes nothing): whoever compares on
 * would make a full-precision pass a cell. A note has said so. */
int ptq_reference_given_up(const struct ptq_reference *reference);
/* 1 where the chunk from first on is kept in memory or in a file. */
int ptq_reference_is_there(const struct ptq_reference *reference, int64_t first, int64_t windows);

#endif
