/* One sequence, token after token: a model whose blocks are held in memory, or on the model's device (resident.h), and
 * what was computed of the tokens before.
 *
 * The cache of a block is the q, k, v rows of its forward pass, float32, [capacity][(H + 2 H_kv) D]: a token is one
 * more row of a window that has begun, so decoding is the forward pass and no second program. */
#ifndef PTQ_DECODE_H
#define PTQ_DECODE_H

#include "forward.h"
#include "model.h"
#include "rng.h"

struct ptq_decoder {
    const struct ptq_model *model;
    const struct ptq_block *block; /* [blocks], packed or float32 */
    struct ptq_forward forward;
    float **cache; /* [blocks] */
    int32_t *id;   /* [capacity], the first n are computed */
    int64_t n, capacity;
    const uint16_t *head16;     /* [V][E] FP16, or NULL and then */
    float *head;                /* float32 */
    float *project;             /* [E][C] or NULL */
    float *last;                /* [C + E] of the last token */
    float *logits;              /* [V] of the last token; on a device: once they are asked for */
    struct ptq_resident *there; /* all of it on the model's device, or NULL; then cache is not used */
    int32_t best;               /* there: the likeliest id behind the last token */
};

/* For at most capacity tokens; block[blocks] must outlive it. All in arena. A head whose values FP16 holds (F16, and
 * GGUF's quantised types) is kept or mapped as FP16, any other as float32. */
enum ptq_status ptq_decoder_make(struct ptq_arena *arena, const struct ptq_model *model, const struct ptq_block *block,
                                 int64_t capacity, struct ptq_decoder *out, struct ptq_error *err);
/* Computes n more tokens, and logits of what follows the last. Ids outside the vocabulary, or more than the capacity:
 * PTQ_EINPUT. */
enum ptq_status ptq_decoder_push(struct ptq_decoder *decoder, const int32_t *id, int64_t n, struct ptq_error *err);

/* logits[V] of the last token, wherever they are computed. */
enum ptq_status ptq_decoder_logits(struct ptq_decoder *decoder, const float **logits, struct ptq_error *err);

/* How the next token is chosen. temperature 0: the likeliest, the first of equals. Else the top_k likeliest (0: all),
 * of these the fewest whose probabilities reach top_p, drawn by probability at this temperature. */
struct ptq_choice {
    double temperature, top_p;
    int64_t top_k;
};
enum ptq_status ptq_decoder_choose(struct ptq_decoder *decoder, const struct ptq_choice *choice, struct ptq_rng *rng,
                                   struct ptq_arena *scratch, int32_t *out, struct ptq_error *err);
/* Of logits that are here. */
enum ptq_status ptq_choose(const float *logits, int64_t n, const struct ptq_choice *choice, struct ptq_rng *rng,
                           struct ptq_arena *scratch, int32_t *out, struct ptq_error *err);

/* The ids that end a text, by generation_config.json, config.json or GGUF; none may be known. In arena. */
enum ptq_status ptq_model_ends(const struct ptq_model *model, struct ptq_arena *arena, int32_t **id, int *n,
                               struct ptq_error *err);

#endif
