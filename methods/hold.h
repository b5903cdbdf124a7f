/* A model in memory, block by block as a job's method leaves it, for decoding. */
#ifndef PTQ_HOLD_H
#define PTQ_HOLD_H

#include "pipeline.h"
#include "tokenizer.h"

struct ptq_planned;

struct ptq_held {
    const struct ptq_model *model;         /* the session's */
    const struct ptq_tokenizer *tokenizer; /* the session's */
    struct ptq_block *block;               /* [blocks], packed; float32 where the path is fp32 */
    const char *spec, *path;
    double bytes, weights; /* of the blocks' linears as they are held */
    double seconds_load, seconds_calibrate, seconds_quantize;
};

/* What can be refused before anything is computed; of out the model, the tokenizer and the path. */
enum ptq_status ptq_hold_plan(struct ptq_session *session, const struct ptq_job *job, struct ptq_planned *plan,
                              struct ptq_held *out, struct ptq_error *err);
/* Quantises the model of a job, which needs no evaluation text, and keeps it in arena. */
enum ptq_status ptq_hold(struct ptq_session *session, const struct ptq_job *job, struct ptq_arena *arena,
                         struct ptq_held *out, struct ptq_error *err);

#endif
