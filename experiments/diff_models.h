/* `ptq diff` of two models: tensor by tensor. */
#ifndef PTQ_DIFF_MODELS_H
#define PTQ_DIFF_MODELS_H

#include "status.h"

#include <stdio.h>

/* a, b: what ptq_checkpoint_open takes. Prints a line for each tensor whose values, type or shape differ (largest and
 * root mean square difference, and that relative to a), and that only one has, then what differs in config.json
 * (diff_config.h), then a summary. *equal: 1 where every value is the same, and config.json too. Tensors are paired by
 * name, so a GGUF is compared with a GGUF. */
enum ptq_status ptq_diff_models(const char *a, const char *b, FILE *out, int *equal, struct ptq_error *err);

#endif
