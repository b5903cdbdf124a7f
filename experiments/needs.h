/* What an experiment reads: so that a script can fetch it before anything runs. */
#ifndef PTQ_NEEDS_H
#define PTQ_NEEDS_H

#include "experiment.h"

/* The models and texts of all jobs as they were named, each once, one a line. */
void ptq_experiment_needs(const struct ptq_experiment *experiment, FILE *out);

#endif
