/* Which programs load a checkpoint of codes, by what they say of themselves: one table for the card, for the line that
 * `ptq quantize` says, and for docs/compat.md. */
#ifndef PTQ_LOADERS_H
#define PTQ_LOADERS_H

#include "export.h"

/* "transformers with GPTQModel; vLLM; not LMDeploy, which takes groups of 128", in arena; NULL: the format is none of
 * codes. */
const char *ptq_loaders(struct ptq_arena *arena, const struct ptq_export *x);
/* Whether no program but ptq is known to load it. */
int ptq_loaders_none(const struct ptq_export *x);

#endif
