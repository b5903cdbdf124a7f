/* Tensors that nobody asked for: a checkpoint that holds more than its config says is of another model, and numbers
 * made without what it holds would be wrong without a word. */
#ifndef PTQ_INVENTORY_H
#define PTQ_INVENTORY_H

#include "checkpoint.h"

/* used [n_tensors]. PTQ_EINPUT with the first tensor that is neither used nor one of those that say nothing (rotary
 * frequencies, causal masks). family is named in the sentence. */
enum ptq_status ptq_inventory_check(const struct ptq_checkpoint *checkpoint, const unsigned char *used,
                                    const char *family, struct ptq_error *err);

#endif
