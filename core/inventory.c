#include "inventory.h"

#include <string.h>

/* Ends of names of what follows from the config, and is stored all the same. */
static const char *const needless[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"};

static int is_needless(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof needless / sizeof *needless; i++) {
        size_t tail = strlen(needless[i]);
        if (length >= tail && strcmp(name + length - tail, needless[i]) == 0) return 1;
    }
    return 0;
}

enum ptq_status ptq_inventory_check(const struct ptq_checkpoint *c, const unsigned char *used, const char *family,
                                    struct ptq_error *err)
{
    for (int i = 0; i < c->n_tensors; i++)
        if (!used[i] && !is_needless(c->tensor[i].name))
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: tensor '%.100s' is none that a model of this config (%s) has; it is not read, and so "
                            "the numbers would be another model's",
                            c->tensor[i].file->path, c->tensor[i].name, family);
    return PTQ_OK;
}
