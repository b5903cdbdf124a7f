/* libFuzzer's door: PTQ_FUZZ_TARGET=gguf ptq_fuzz FOLDER... */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ptq_fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("PTQ_FUZZ_TARGET");
    (void)argc, (void)argv;
    target = name ? ptq_fuzz_find(name) : NULL;
    if (target) return 0;
    fprintf(stderr, "PTQ_FUZZ_TARGET must be one of:\n");
    for (int i = 0; i < ptq_n_fuzz_targets; i++)
        fprintf(stderr, "  %-16s %s\n", ptq_fuzz_targets[i].name, ptq_fuzz_targets[i].about);
    exit(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= target->largest) target->run(data, size);
    return 0;
}
