/* exact: nothing is quantised, and what is there as codes is what its container defines, in float32: d code + m of a
 * GGUF, scale (code - zero) of AWQ and GPTQ. So a program computes that runs the file as it is (llama.cpp); fp16 takes
 * the FP16 checkpoint that the file stands for. The same numbers as fp16 where nothing is there as codes. */
#include "method.h"

extern const struct ptq_method ptq_method_exact;
const struct ptq_method ptq_method_exact = {
    .name = "exact",
    .summary = "nothing quantised; a GGUF's or checkpoint's codes in float32, not rounded to FP16",
    .cite = "",
    .exact = 1,
};
