/* `ptq diff` of two models: what is not in tensors. */
#ifndef PTQ_DIFF_CONFIG_H
#define PTQ_DIFF_CONFIG_H

#include "checkpoint.h"

#include <stdio.h>

/* Prints a line for each key of config.json (of quantize_config.json, quant_config.json) of two folders whose value is
 * another one. *same: whether a results file would take the two for one model, the weights being the same
 * (ptq_checkpoint_config_sha256): 0 also where the files differ in how they are written alone, which a line says. What
 * is no folder has none of these files; of two GGUF files it is the metadata that is compared so, and of others
 * nothing.
 */
enum ptq_status ptq_diff_configs(struct ptq_arena *arena, const struct ptq_checkpoint *a,
                                 const struct ptq_checkpoint *b, FILE *out, int *same, struct ptq_error *err);

#endif
