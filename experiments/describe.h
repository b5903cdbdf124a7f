/* `ptq methods`, `ptq models`: what is plugged in, read off the registries. */
#ifndef PTQ_DESCRIBE_H
#define PTQ_DESCRIBE_H

#include <stdio.h>

void ptq_describe_methods(FILE *out);
void ptq_describe_models(FILE *out);

#endif
