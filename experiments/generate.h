/* ptq generate: text from a model, token after token, on weights that are held packed. */
#ifndef PTQ_GENERATE_H
#define PTQ_GENERATE_H

#include "options.h"

enum ptq_status ptq_generate(const struct ptq_options *options, struct ptq_error *err);

#endif
