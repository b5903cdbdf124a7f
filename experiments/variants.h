/* The methods axis of an experiment: from what a researcher writes to SPECs whose w and g may still be open. */
#ifndef PTQ_VARIANTS_H
#define PTQ_VARIANTS_H

#include "arena.h"
#include "status.h"
#include "tokens.h"
#include "yaml_tree.h"

#include <stdint.h>

enum { PTQ_MAX_VARIANTS = 10000 };

/* One method with its parameters chosen. */
struct ptq_variant {
    const struct ptq_yaml *node; /* where it stands, for errors */
    const char *method, *items;  /* "salient", "select=weight,fraction=0.01" */
    int has_w, has_g;            /* 1: items or their preset give it, so it is not crossed */
    enum ptq_sample sample;      /* the preset's, or auto */
    int quantizes;               /* 0: crosses with nothing that only quantised cells have */
};

/* Reads a list of methods, or one: a name, a SPEC, or a mapping of one name or SPEC to parameters, each of which is a
 * value or a list; lists are crossed, the last one fastest. Every value is checked where it stands. *out [*n], n >= 1,
 * in arena; at most limit of them. Fails with PTQ_EINPUT. */
enum ptq_status ptq_variants_read(struct ptq_arena *arena, const struct ptq_yaml *methods, int limit,
                                  struct ptq_variant **out, int *n, struct ptq_error *err);

/* The canonical SPEC with w_bit and group_size where the variant leaves them open; in arena. */
enum ptq_status ptq_variant_spec(struct ptq_arena *arena, const struct ptq_variant *variant, int64_t w_bit,
                                 int64_t group_size, const char **spec, struct ptq_error *err);

#endif
