/* The README.md of an exported checkpoint: what it is made of, by what, and what was measured on it. */
#ifndef PTQ_MODEL_CARD_H
#define PTQ_MODEL_CARD_H

#include "export.h"
#include "results.h"

struct ptq_model_card {
    const struct ptq_export *x;
    const struct ptq_cell *made;     /* of the codes, as the method made them */
    const struct ptq_cell *measured; /* of the written files; tokens = 0 where there was no text */
    const char *weights_sha256;      /* of the written files */
};

/* What the codes' own perplexity is called, beside that of the files. */
const char *ptq_card_before(const struct ptq_export_format *format);

/* The text, in arena. */
const char *ptq_model_card(struct ptq_arena *arena, const struct ptq_model_card *card);

#endif
