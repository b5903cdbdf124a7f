/* Inside ref: its files' slots. */
#ifndef PTQ_REF_H
#define PTQ_REF_H

#include "ops.h"

/* acts and packed. */
void ptq_packed_ref(struct ptq_ops *ops);

#endif
