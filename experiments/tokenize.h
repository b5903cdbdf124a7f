/* `ptq tokenize`: ids on one line, separated by spaces. */
#ifndef PTQ_TOKENIZE_H
#define PTQ_TOKENIZE_H

#include "options.h"

enum ptq_status ptq_tokenize(const struct ptq_options *options, struct ptq_error *err);

#endif
