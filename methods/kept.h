/* A quantised block as it is put back later: its codes, and the norms, biases and activation scale that a block method
 * may have transformed. */
#ifndef PTQ_KEPT_H
#define PTQ_KEPT_H

#include "family.h"
#include "model.h"
#include "qmat.h"

struct ptq_kept {
    struct ptq_qmat q[PTQ_N_ROLE];
    float *norm[4], *bias[PTQ_N_ROLE]; /* [C], [N]; NULL where there is none */
    const float *activation_scale;     /* [F] or NULL */
};

/* The block with its codes as it is now; nothing is copied. */
struct ptq_kept ptq_kept_view(const struct ptq_block *block, const struct ptq_qmat *q);
/* What of now is not codes is copied into arena; the codes are those of now. */
struct ptq_kept ptq_kept_copy(struct ptq_arena *arena, const struct ptq_kept *now, const struct ptq_config *config);
/* What is kept has a place in the block: norms and biases where it has them, and nowhere else. */
int ptq_kept_fits(const struct ptq_kept *kept, const struct ptq_block *block);
/* The block, loaded anew, is as it was; the activation scale stays where it is kept. */
void ptq_kept_put_back(const struct ptq_kept *kept, const struct ptq_config *config, struct ptq_block *block);

/* from[n] in arena; NULL where from is. */
float *ptq_copy_floats(struct ptq_arena *arena, const float *from, int64_t n);

#endif
