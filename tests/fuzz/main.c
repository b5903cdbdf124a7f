/* libFuzzer's door: PTQ_FUZZ_TARGET=gguf ptq_fuzz FOLDER... */
#include "fuzz.h"

#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ptq_fuzz_target *target;

/* libFuzzer keeps the input of whatever dies by a sanitizer, children too: what their death means the target knows. */
static void keep_nothing(void)
{
    __sanitizer_set_death_callback(NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("PTQ_FUZZ_TARGET");
    (void)argc, (void)argv;
    target = name ? ptq_fuzz_find(name) : NULL;
    if (target) return pthread_atfork(NULL, NULL, keep_nothing);
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
