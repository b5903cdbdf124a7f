/* fp16: nothing is quantised; the row that every other one is compared with. Weights are what the checkpoint holds. */
#include "method.h"

extern const struct ptq_method ptq_method_fp16;
const struct ptq_method ptq_method_fp16 = {
    .name = "fp16",
    .summary = "the checkpoint's own weights, nothing quantised",
    .cite = "",
};
