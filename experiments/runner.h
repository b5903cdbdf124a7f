/* The pipeline (methods/pipeline.h) as what plans and runs an experiment's cells. */
#ifndef PTQ_RUNNER_H
#define PTQ_RUNNER_H

#include "plan.h"

extern const struct ptq_runner ptq_pipeline_runner;

#endif
