/* What slurm.c, which submits, and slurm_queue.c, which asks and waits, have in common. */
#ifndef PTQ_SLURM_H
#define PTQ_SLURM_H

#include "launch.h"

/* What to install where there is no such program. */
extern const char ptq_slurm_hint[];

/* The value of a line "NAME   = VALUE" of Slurm's configuration, "" where there is none; in arena. */
enum ptq_status ptq_slurm_config(struct ptq_arena *arena, const char *name, const char **value, struct ptq_error *err);
/* Refuses to be sent to another cluster: jobs have numbers of their own in each, and nobody writes down in which. */
enum ptq_status ptq_slurm_check_cluster(struct ptq_error *err);

#endif
