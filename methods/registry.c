#include "registry.h"

#include "method.h"

#define X(name) extern const struct ptq_method ptq_method_##name;
PTQ_METHODS(X)
#undef X

const struct ptq_method *const ptq_methods[] = {
#define X(name) &ptq_method_##name,
    PTQ_METHODS(X)
#undef X
};

const int ptq_n_methods = sizeof ptq_methods / sizeof *ptq_methods;
