/* `ptq quantize`: a model quantised, and written as a checkpoint that other programs load (methods/export.h). */
#ifndef PTQ_QUANTIZE_H
#define PTQ_QUANTIZE_H

#include "options.h"

enum ptq_status ptq_quantize(const struct ptq_options *options, struct ptq_error *err);

#endif
