/* `ptq methods`, `ptq models`: what is plugged in, read off the registries. */
#ifndef PTQ_DESCRIBE_H
#define PTQ_DESCRIBE_H

#include "status.h"

#include <stdio.h>

/* All of them, or the one of this name (NULL: all): its parameters, ranges, defaults and presets. */
enum ptq_status ptq_describe_methods(const char *name, FILE *out, struct ptq_error *err);
void ptq_describe_models(FILE *out);

#endif
