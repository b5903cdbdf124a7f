/* The entries of exclude and include: mappings of axes to values, which take cells out of an experiment's cross or put
 * others beside it. */
#ifndef PTQ_ENTRIES_H
#define PTQ_ENTRIES_H

#include "method.h"
#include "pipeline.h"
#include "schema.h"
#include "variants.h"

/* One mapping. A setting that it does not name is that of the experiment (include) or any (exclude). */
struct ptq_entry {
    const struct ptq_yaml *node;
    int given[PTQ_N_SETTINGS]; /* 1: the entry names it */
    struct ptq_setting setting[PTQ_N_SETTINGS];
    struct ptq_variant *variant; /* [n_variants]; 0 of them where the entry of exclude names no methods */
    int n_variants;
    /* of exclude: which values dropped a cell. [PTQ_SET_METHODS] is by variant */
    char *used[PTQ_N_SETTINGS];
    struct ptq_spec *pattern; /* [n_variants] */
};

/* The entries of setting id (PTQ_SET_EXCLUDE, PTQ_SET_INCLUDE), none where the experiment has none; base and variant
 * are the experiment's own. *out [*n] in arena. Fails with PTQ_EINPUT. */
enum ptq_status ptq_entries_read(struct ptq_arena *arena, enum ptq_setting_id id, const struct ptq_setting *base,
                                 struct ptq_variant *variant, int n_variants, struct ptq_entry **out, int *n,
                                 struct ptq_error *err);

/* 1 where the job is one of those that the entry of exclude describes: on each axis that it names, the job has one of
 * its values. What only quantised cells have is named for them alone. Notes which values did it. */
int ptq_entry_drops(struct ptq_entry *entry, const struct ptq_job *job, const struct ptq_spec *spec);

/* PTQ_EINPUT where a value of the entry dropped no cell at all: it is misspelt, or not on the axis. */
enum ptq_status ptq_entry_check_used(const struct ptq_entry *entry, struct ptq_error *err);

#endif
